"""What comes out for one radiograph."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pleura.data.prepare import Frame, restore
from pleura.formats.rle import mask2rle
from pleura.models.bundle import Calibration, OperatingPoint


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one radiograph, over the file's own pixels.

    Attributes:
        image_id: SOP Instance UID of the radiograph.
        score: How likely the image shows a pneumothorax, 0..1: the calibrated probability, before
            any threshold.
        mask: ``(rows, columns)`` bool after the operating point; empty where the image is called
            negative.
        prepared_map: ``(S, S)`` float32, 0..1, the network's map over the prepared square.
        frame: Where the file's pixels lie in that square.
        seconds: Time the network spent on it, its share of a batch.
    """

    image_id: str
    score: float
    mask: NDArray[np.bool_]
    prepared_map: NDArray[np.float32]
    frame: Frame
    seconds: float = 0.0

    @property
    def probability(self) -> NDArray[np.float32]:
        """The map over the file's own pixels: ``(rows, columns)`` float32, 0..1; made anew."""
        return restore(self.prepared_map, self.frame)

    @property
    def rle(self) -> str:
        """The mask as run-length text of the SIIM form, ``-1`` where it is empty."""
        return mask2rle(self.mask)

    @property
    def area_px(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.mask))


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
    """
    score = float(calibration.apply(score))
    if score < point.score:  # what decide would say, without the map at full size
        mask = np.zeros((frame.rows, frame.columns), np.bool_)
    else:
        mask = decide(restore(prepared_map, frame), score, point)
    return Prediction(image_id, score, mask, prepared_map, frame, seconds)
