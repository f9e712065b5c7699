"""What a model says of one radiograph, as results need it."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pleura.choices import ResultKind
from pleura.dicom.own_result import MAKER
from pleura.errors import UsageError

KINDS: tuple[ResultKind, ...] = get_args(ResultKind)
"""Binary segmentation, probability map, structured report, presentation state, picture."""

Called = Literal["positive", "negative", "not assessed"]
"""What a radiograph is called; not assessed where it is flagged, so that no answer counts."""

NOT_FOR_DIAGNOSIS = "NOT FOR DIAGNOSIS"


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """A model's answer for one radiograph, over the file's own pixels.

    Attributes:
        mask: ``(rows, columns)`` bool; empty where nothing is outlined.
        probability: ``(rows, columns)`` float32, 0..1; None where no map shall be written.
        score: How likely the image shows a pneumothorax, 0..1, calibrated; no result tells it of
            an image that is not assessed.
        called: What the image is called. A positive answer may have an empty mask, the others
            never have another.
        model_digest: Hexadecimal digest of the model, 16 digits or more.
        version: Of the program, such as ``0.1.0``.
        score_threshold: Least score of a positive image.
        mask_threshold: Probability that a pixel of the mask exceeds.
        min_area: Least area of a mask as a share of the image.
        algorithm: Name of the program.
        doubts: What speaks against an answer, in words; "" where nothing does. An image that is not
            assessed has some; another may have been answered all the same.
    """

    mask: NDArray[np.bool_]
    probability: NDArray[np.float32] | None
    score: float
    called: Called
    model_digest: str
    version: str
    score_threshold: float
    mask_threshold: float
    min_area: float = 0.0
    algorithm: str = MAKER
    doubts: str = ""

    @property
    def area_px(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.mask))

    @property
    def positive(self) -> bool:
        """Whether the image is called positive."""
        return self.called == "positive"

    @property
    def assessed(self) -> bool:
        """Whether an answer counts."""
        return self.called != "not assessed"

    @property
    def warning(self) -> str:
        """Why the image is not assessed, or that it is flagged; "" where nothing is."""
        if not self.assessed:
            return f"Not assessed: {self.doubts}"
        return f"Flagged, answered all the same: {self.doubts}" if self.doubts else ""

    @property
    def short_warning(self) -> str:
        """The same below a line that says that the image is not assessed."""
        return self.warning if self.assessed else f"Why: {self.doubts}"

    @property
    def parameters(self) -> dict[str, str]:
        """What decided the answer, for the identification of the algorithm."""
        return {
            "model digest": self.model_digest,
            "score threshold": f"{self.score_threshold:.6g}",
            "mask threshold": f"{self.mask_threshold:.6g}",
            "smallest area, share of the image": f"{self.min_area:.6g}",
        }


def require_detection(detection: Detection, shape: tuple[int, int]) -> None:
    """Check that an answer belongs to a picture of `shape` and does not contradict itself.

    Raises:
        UsageError: It does not.
    """
    arrays = {"mask": detection.mask, "probability map": detection.probability}
    for name, array in arrays.items():
        if array is not None and array.shape != shape:
            raise UsageError(
                f"the {name} is {array.shape} but the radiograph {shape}; bring it to the file's"
                " own size first"
            )
    if detection.mask.dtype != np.bool_:
        raise UsageError(f"the mask is {detection.mask.dtype}; it must be bool")
    numbers = np.array([detection.score], np.float64)
    if detection.probability is not None:
        extremes = (detection.probability.min(), detection.probability.max())
        numbers = np.append(numbers, extremes)
    if not ((numbers >= 0) & (numbers <= 1)).all():
        raise UsageError("a score or a probability is not between 0 and 1; results need 0..1")
    if detection.area_px and not detection.positive:
        raise UsageError(
            f"the image is called {detection.called} but its mask has {detection.area_px:,} pixels;"
            " empty the mask"
        )
    if not detection.assessed and not detection.doubts:
        raise UsageError("the image is not assessed and nothing says why; give its doubts")
