"""What a network says of images whose truth is known, kept small enough for any number of them.

A mask over the prepared square takes a megabyte; what thresholds and calibration are fitted to is
only the image's score and, for each mask threshold that may be chosen, the Dice and the area it
would give. So predictions are counted as they come, and the maps dropped.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pleura.engines.engine import Probabilities
from pleura.models.bundle import Calibration

MASK_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 19))
"""Mask thresholds that are tried: 0.05 to 0.9."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """What is said of a set of images, counted beside the truth.

    Attributes:
        scores: ``(n,)`` float64 in 0..1.
        positive: ``(n,)`` bool, whether the truth is not empty, or the image's label positive.
        dice: ``(n, masks)`` float64: Dice at each of :data:`MASK_THRESHOLDS`, whatever the score;
            NaN where there is no true mask.
        areas: ``(n, masks)`` float64: area of the answer at each, as a share of the file's pixels.
    """

    scores: NDArray[np.float64]
    positive: NDArray[np.bool_]
    dice: NDArray[np.float64]
    areas: NDArray[np.float64]

    @property
    def annotated(self) -> NDArray[np.bool_]:
        """``(n,)``: of which images there is a mask, be it an empty one."""
        return ~np.isnan(self.dice[:, 0])

    def among(self, rows: NDArray[np.bool_]) -> "Predictions":
        """Return those of the images that ``(n,)`` `rows` marks."""
        return Predictions(
            self.scores[rows], self.positive[rows], self.dice[rows], self.areas[rows]
        )

    def calibrated(self, calibration: Calibration) -> "Predictions":
        """Return the same with calibrated scores."""
        return replace(self, scores=calibration.apply(self.scores))


def count_image(
    said: Probabilities,
    truth: NDArray[np.bool_] | None,
    inside: float = 1.0,
    labelled_positive: bool = False,
) -> Predictions:
    """Return what a network says of one prepared image, counted in one pass over the map.

    Args:
        said: Maps ``(1, S, S)`` and scores ``(1,)``; the score is not calibrated.
        truth: ``(S, S)`` bool; None where nobody drew a mask.
        inside: Share of the square that the file's pixels cover; the rest is its black border.
        labelled_positive: Where there is no mask, whether the image's label is positive.
    """
    # A pixel at level k exceeds exactly the first k thresholds.
    levels = np.searchsorted(np.array(MASK_THRESHOLDS, np.float32), said.maps[0], side="left")
    masks = len(MASK_THRESHOLDS)
    predicted = _exceeding(levels, masks)
    if truth is None:
        positive, dice = labelled_positive, np.full(masks, np.nan)
    else:
        both, total = _exceeding(levels[truth], masks), predicted + np.count_nonzero(truth)
        dice = np.divide(2 * both, total, out=np.ones(masks), where=total > 0)
        positive = bool(truth.any())
    area = predicted / (levels.size * inside)
    return Predictions(said.scores.astype(np.float64), np.array([positive]), dice[None], area[None])


def joined(parts: Iterable[Predictions]) -> Predictions:
    """Return several as one; they may be of one network or, one part after the other, of folds.

    Fit thresholds and calibration only to images that did not train the network that said it.
    """
    none = np.zeros((0, len(MASK_THRESHOLDS)))
    kept = [Predictions(np.zeros(0), np.zeros(0, np.bool_), none, none), *parts]
    return Predictions(
        np.concatenate([part.scores for part in kept]),
        np.concatenate([part.positive for part in kept]),
        np.concatenate([part.dice for part in kept]),
        np.concatenate([part.areas for part in kept]),
    )


def _exceeding(levels: NDArray[np.int64], masks: int) -> NDArray[np.float64]:
    """Return how many pixels exceed each threshold."""
    counts = np.bincount(levels.ravel(), minlength=masks + 1)
    return np.cumsum(counts[::-1])[::-1][1:].astype(np.float64)
