"""What comes out for one radiograph."""

import html
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pleura.data.prepare import Frame, prepare_mask, restore
from pleura.errors import AnswerError, UsageError
from pleura.formats.rle import mask2rle
from pleura.models.bundle import Calibration, OperatingPoint

Called = Literal["positive", "negative", "not assessed"]
"""What a radiograph is called; not assessed where it is flagged, so that no answer counts."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Prediction:
    """The answer for one radiograph, over the file's own pixels.

    Attributes:
        image_id: SOP Instance UID of the radiograph; of a plain picture, its file's name without
            the suffix.
        score: How likely the image shows a pneumothorax, 0..1: the calibrated probability, before
            any threshold. Where the image is not assessed, neither the score nor the map counts.
        mask: ``(rows, columns)`` bool of the file, after the operating point; all False where the
            image is not called positive.
        prepared_map: ``(S, S)`` float32, 0..1, the network's map over the prepared square.
        frame: Where the file's pixels lie in that square.
        seconds: Time the network spent on it; of a batch, its share.
        flags: What speaks against an answer, as :func:`pleura.pictures.flags.judge` names it.
        assessed: Whether the answer counts: nothing is flagged, or it was asked for all the same.
        guard: How far the picture is from a frontal chest radiograph; None where nobody looked.
        notes: What is odd about the file that was read nonetheless, in words.
        prepared: ``(S, S)`` uint8, the prepared square that the network saw, to draw on; None where
            nobody keeps it, as in a job.
    """

    image_id: str
    score: float
    mask: NDArray[np.bool_]
    prepared_map: NDArray[np.float32]
    frame: Frame
    seconds: float = 0.0
    flags: tuple[str, ...] = ()
    assessed: bool = True
    guard: float | None = None
    notes: str = ""
    prepared: NDArray[np.uint8] | None = None

    def __repr__(self) -> str:
        flags = f", flags={self.flags}" if self.flags else ""
        size = f"{self.frame.rows}x{self.frame.columns}"
        score = f"score={self.score:.3f}, area_px={self.area_px}"
        return f"Prediction({self.image_id!r}, {self.called}, {score}{flags}, {size})"

    @property
    def called(self) -> Called:
        """What the radiograph is called."""
        if not self.assessed:
            return "not assessed"
        return "positive" if self.mask.any() else "negative"

    @property
    def probability(self) -> NDArray[np.float32]:
        """The map over the file's own pixels: ``(rows, columns)`` float32, 0..1; made anew."""
        return restore(self.prepared_map, self.frame)

    @property
    def rle(self) -> str:
        """The mask as run-length text of the SIIM form, ``-1`` where it is empty.

        That form has no word for an image that is not assessed: ask `called`.
        """
        return mask2rle(self.mask)

    @property
    def area_px(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.mask))

    @property
    def caption(self) -> str:
        """What it is called, its score where that counts, and its flags, in words."""
        from pleura.pictures.flags import in_words

        score = f"score {self.score:.2f}" if self.assessed else ""
        flags = in_words(self.flags)
        return " \N{MIDDLE DOT} ".join(filter(None, (self.called, score, flags)))

    def picture(self) -> NDArray[np.uint8]:
        """Return the radiograph as the network saw it, with the mask laid over.

        Returns:
            ``(rows, columns, 3)`` uint8, blue, green, red, with square pixels; at most S a side.

        Raises:
            UsageError: The radiograph was not kept.
        """
        from pleura.rendering.overlay import overlay

        if self.prepared is None:
            raise UsageError("the radiograph was not kept with this prediction; predict it alone")
        frame = self.frame
        mask = prepare_mask(self.mask, frame.size, frame.aspect)
        scale, (rows, columns) = frame.size / frame.side, frame.shown
        top, left = round(frame.top * scale), round(frame.left * scale)
        bottom = max(top + 1, round((frame.top + rows) * scale))
        right = max(left + 1, round((frame.left + columns) * scale))
        return overlay(self.prepared, mask)[top:bottom, left:right]

    def plot(self, ax: Any = None) -> Any:
        """Draw :meth:`picture` with its caption, and return the axes of matplotlib.

        Args:
            ax: Where to draw; left out, a figure of its own.

        Raises:
            UsageError: The radiograph was not kept.
        """
        picture = self.picture()
        if ax is None:
            from matplotlib import pyplot

            _, ax = pyplot.subplots()
        ax.imshow(picture[:, :, ::-1])
        ax.set_title(self.caption)
        ax.set_axis_off()
        return ax

    def _repr_html_(self) -> str:
        """Return the picture and its caption for a notebook."""
        from pleura.rendering.page import picture_source

        source = (
            "" if self.prepared is None else f'<img alt="" src="{picture_source(self.picture())}">'
        )
        caption = f"{self.caption} \N{MIDDLE DOT} not for diagnosis"
        return f"<figure>{source}<figcaption>{html.escape(caption)}</figcaption></figure>"


def decide(
    probability: NDArray[np.float32], score: float, point: OperatingPoint
) -> NDArray[np.bool_]:
    """Return the mask that `point` makes of a probability map and its image score.

    Args:
        probability: ``(rows, columns)`` float32 in 0..1.
        score: The calibrated image score.
        point: The thresholds.

    Returns:
        ``(rows, columns)`` bool: all False where the score or the area is too small.
    """
    mask = probability > point.mask
    if score < point.score or np.count_nonzero(mask) < point.min_area * mask.size:
        return np.zeros(mask.shape, np.bool_)
    return mask


def finish(
    image_id: str,
    prepared_map: NDArray[np.float32],
    score: float,
    frame: Frame,
    point: OperatingPoint,
    seconds: float = 0.0,
    calibration: Calibration = Calibration(),  # noqa: B008 - frozen
    flags: tuple[str, ...] = (),
    answer_flagged: bool = False,
) -> Prediction:
    """Return the prediction for a file from the network's map over the prepared square.

    Args:
        image_id: SOP Instance UID.
        prepared_map: ``(frame.size, frame.size)`` float32 in 0..1.
        score: The network's image score, 0..1.
        frame: Where the file's pixels lie in the square.
        point: The thresholds.
        seconds: Time the network spent.
        calibration: What makes a probability of the score, which the point's threshold is for.
        flags: What speaks against an answer; with any, the file is not assessed.
        answer_flagged: Whether it is answered all the same.

    Raises:
        AnswerError: The score or a pixel's probability is not a finite number.
    """
    if not (np.isfinite(score) and np.isfinite(prepared_map).all()):
        raise AnswerError(
            f"{image_id or 'the radiograph'}: the network's answer is not a finite number; try "
            "another model, or `precision` fp32"
        )
    score = float(calibration.apply(score))
    assessed = answer_flagged or not flags
    if not assessed or score < point.score:  # what decide would say, without the map at full size
        mask = np.zeros((frame.rows, frame.columns), np.bool_)
    else:
        mask = decide(restore(prepared_map, frame), score, point)
    return Prediction(image_id, score, mask, prepared_map, frame, seconds, flags, assessed)
