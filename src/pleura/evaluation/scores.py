"""Predictions against the truth: one outcome per image, and the figures over all of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura import metrics
from pleura.evaluation.intervals import Score, bootstrap


@dataclass(frozen=True, slots=True)
class Outcome:
    """One image's answer against its truth, over the file's own pixels.

    Attributes:
        image_id: SOP Instance UID.
        patient: Patient of the map, else the image's own id.
        positive: Whether it has a pneumothorax.
        called: Whether it was called positive.
        score: The image score.
        dice: Dice of the masks without smoothing; 1 where both are empty.
        iou: Intersection over union; 1 where both are empty.
        truth_px: Area of the true mask.
        predicted_px: Area of the predicted mask.
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


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures over a set of images, with 95 % intervals.

    Attributes:
        images: How many images.
        positives: Of these, with a pneumothorax.
        patients: How many patients (images of unknown patients count as one each).
        mean_dice: Kaggle's figure: mean over all images, 1 where both masks are empty.
        positive_dice: Mean over the images that have a pneumothorax.
        all_empty_dice: What answering "none" to everything scores as mean Dice.
        mean_iou: As mean Dice, with intersection over union.
        auroc: Of the image score, before any threshold.
        sensitivity: Share of positives called positive at the operating point.
        specificity: Share of negatives called negative at the operating point.
    """

    images: int
    positives: int
    patients: int
    mean_dice: Score
    positive_dice: Score
    all_empty_dice: float
    mean_iou: Score
    auroc: Score
    sensitivity: Score
    specificity: Score

    def as_json(self) -> dict[str, Any]:
        """Return plain values: each figure by name, its interval as ``<name>_interval``."""
        plain: dict[str, Any] = {}
        for name, value in asdict(self).items():
            if isinstance(value, dict):
                plain[name] = _number(value["value"])
                plain[f"{name}_interval"] = [_number(value["low"]), _number(value["high"])]
            else:
                plain[name] = value
        return plain


def outcome(
    image_id: str,
    score: float,
    mask: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    patient: str | None = None,
) -> Outcome:
    """Return how an answer fares against the truth.

    Args:
        image_id: SOP Instance UID.
        score: The image score, 0..1.
        mask: ``(rows, columns)`` bool, the answer after the operating point.
        truth: ``(rows, columns)`` bool.
        patient: From the patient map, or None.

    Raises:
        ValueError: The masks differ in shape.
    """
    return Outcome(
        image_id=image_id,
        patient=patient or image_id,
        positive=bool(truth.any()),
        called=bool(mask.any()),
        score=score,
        dice=metrics.dice_coeff(truth, mask, smooth=0),
        iou=metrics.iou(truth, mask),
        truth_px=int(np.count_nonzero(truth)),
        predicted_px=int(np.count_nonzero(mask)),
    )


def summarise(outcomes: Sequence[Outcome], seed: int = 0) -> Evaluation:
    """Return the figures over `outcomes`; the same seed gives the same intervals."""
    positive = np.array([item.positive for item in outcomes], dtype=bool)
    called = np.array([item.called for item in outcomes], dtype=bool)
    score = np.array([item.score for item in outcomes], dtype=float)
    dice = np.array([item.dice for item in outcomes], dtype=float)
    iou = np.array([item.iou for item in outcomes], dtype=float)
    groups = [item.patient for item in outcomes]

    def figure(statistic: Callable[[NDArray[np.int64]], float], among: NDArray[np.bool_]) -> Score:
        """Return the figure over the images `among`, of which alone the patients are drawn."""
        members = np.flatnonzero(among)
        chosen = [groups[row] for row in members]
        return bootstrap(lambda drawn: statistic(members[drawn]), chosen, seed)

    everyone = np.ones(len(outcomes), dtype=bool)
    return Evaluation(
        images=len(outcomes),
        positives=int(positive.sum()),
        patients=len(set(groups)),
        mean_dice=figure(lambda rows: _mean(dice[rows]), everyone),
        positive_dice=figure(
            lambda rows: metrics.positive_dice(dice[rows], positive[rows]), positive
        ),
        all_empty_dice=float((~positive).mean()) if positive.size else math.nan,
        mean_iou=figure(lambda rows: _mean(iou[rows]), everyone),
        auroc=figure(lambda rows: metrics.auroc(positive[rows], score[rows]), everyone),
        sensitivity=figure(
            lambda rows: metrics.sensitivity(positive[rows], called[rows]), positive
        ),
        specificity=figure(
            lambda rows: metrics.specificity(positive[rows], called[rows]), ~positive
        ),
    )


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else math.nan


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
