"""One image's answer against its truth: what every figure is counted from."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura import metrics


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of an image beside its picture.

    Attributes:
        sex: As in the file.
        age_years: Whole years.
        view: View position.
        negatives: Of an image without a pneumothorax, what kind of negative it is, as a table says.
    """

    sex: str = ""
    age_years: int | None = None
    view: str = ""
    negatives: str = ""


@dataclass(frozen=True, slots=True)
class Surfaces:
    """How far the outlines of answer and truth lie apart, see :func:`metrics.surface_distances`.

    Attributes:
        hausdorff95_px: Hausdorff distance, 95 %, in pixels of the file.
        mean_px: Mean distance of the outlines.
        hausdorff95_mm: In mm; None where the file says no spacing that can be believed.
        mean_mm: Likewise.
    """

    hausdorff95_px: float
    mean_px: float
    hausdorff95_mm: float | None = None
    mean_mm: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One image's answer against its truth, over the file's own pixels.

    Attributes:
        image_id: SOP Instance UID.
        patient: Patient of the map, else the image's own id.
        positive: Whether it has a pneumothorax.
        called: Whether it was called positive.
        score: The image score, calibrated.
        dice: Dice of the masks without smoothing; 1 where both are empty, NaN where there is no
            true mask.
        iou: Intersection over union, likewise.
        truth_px: Area of the true mask; 0 where there is none.
        predicted_px: Area of the predicted mask.
        image_px: Area of the image.
        lesions: Connected parts of the true mask (pixels that share a corner are connected).
        lesions_found: Of these, those of which the answer covers at least one pixel.
        false_lesions: Connected parts of the answer that touch no pixel of the truth.
        traits: Sex, age, view and kind of negative, where they are known.
        raw_score: The network's score before calibration, by which images are ranked; None where
            only the calibrated one is known.
        reached: Names of the operating points beside the default that it reaches, where other
            images chose the points it is judged by; None where the model's own judge it.
        threshold: The score from which on it would be called by the points that judge it; None
            where that is not known.
        surfaces: How far the outlines lie apart; None where one of the masks is empty or not known.
    """

    image_id: str
    patient: str
    positive: bool
    called: bool
    score: float
    dice: float
    iou: float
    truth_px: int
    predicted_px: int
    image_px: int
    lesions: int
    lesions_found: int
    false_lesions: int
    traits: Traits = Traits()
    raw_score: float | None = None
    reached: frozenset[str] | None = None
    threshold: float | None = None
    surfaces: Surfaces | None = None

    @property
    def annotated(self) -> bool:
        """Whether there is a true mask, be it an empty one; else only a label of the image."""
        return not math.isnan(self.dice)


def outcome(
    image_id: str,
    score: float,
    mask: NDArray[np.bool_],
    truth: NDArray[np.bool_] | None,
    patient: str | None = None,
    traits: Traits = Traits(),
    raw_score: float | None = None,
    labelled_positive: bool = False,
    spacing_mm: tuple[float, float] | None = None,
) -> Outcome:
    """Return how an answer fares against the truth.

    Args:
        image_id: SOP Instance UID.
        score: The calibrated image score, 0..1.
        mask: ``(rows, columns)`` bool, the answer after the operating point.
        truth: ``(rows, columns)`` bool; None where nobody drew a mask.
        patient: From the patient map, or None.
        traits: What is known beside the picture.
        raw_score: The score before calibration.
        labelled_positive: Where there is no true mask, whether the image's label is positive.
        spacing_mm: Distance between (rows, columns), where it is known.

    Raises:
        ValueError: The masks differ in shape.
    """
    lesions, found, false = (0, 0, 0) if truth is None else _lesions(mask, truth)
    return Outcome(
        image_id=image_id,
        patient=patient or image_id,
        positive=labelled_positive if truth is None else bool(truth.any()),
        called=bool(mask.any()),
        score=score,
        dice=math.nan if truth is None else metrics.dice_coeff(truth, mask, smooth=0),
        iou=math.nan if truth is None else metrics.iou(truth, mask),
        truth_px=0 if truth is None else int(np.count_nonzero(truth)),
        predicted_px=int(np.count_nonzero(mask)),
        image_px=mask.size,
        lesions=lesions,
        lesions_found=found,
        false_lesions=false,
        traits=traits,
        raw_score=raw_score,
        surfaces=None if truth is None else _surfaces(truth, mask, spacing_mm),
    )


def _surfaces(
    truth: NDArray[np.bool_], mask: NDArray[np.bool_], spacing_mm: tuple[float, float] | None
) -> Surfaces | None:
    if not truth.any() or not mask.any():
        return None
    in_px = metrics.surface_distances(truth, mask)
    if spacing_mm is None:
        return Surfaces(*in_px)
    if math.isclose(*spacing_mm, rel_tol=1e-6):
        return Surfaces(*in_px, *(one * spacing_mm[0] for one in in_px))
    return Surfaces(*in_px, *metrics.surface_distances(truth, mask, spacing_mm))


def _lesions(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Return how many lesions there are, how many were found, and the parts that touch none."""
    count, parts = _connected(truth)
    said, answers = _connected(mask)
    found, touching = set(np.unique(parts[mask])), set(np.unique(answers[truth]))
    return count, len(found - {0}), said - len(touching - {0})


def _connected(mask: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32]]:
    """Return the number of connected parts, and for each pixel that of its part or 0."""
    if not mask.any():
        return 0, np.zeros(mask.shape, np.int32)
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return int(count) - 1, np.asarray(parts, np.int32)
