"""The thresholds: searched for the best expected mean Dice on images that did not train."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pleura.choices import PointName
from pleura.evaluation.predictions import MASK_THRESHOLDS, Predictions
from pleura.models.bundle import OperatingPoint

MIN_AREAS = (0.0, 0.0002, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005)
"""Smallest areas that are tried, as shares of the image; 0.002 is 2,097 pixels of 1024 x 1024."""

GATES = 200
"""At most so many score thresholds are tried."""

REACHED = 0.95
"""The sensitivity, and the specificity, of the presets."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The operating points chosen on a set of predictions.

    Attributes:
        default: The thresholds with about the best mean Dice.
        sensitive: The highest score threshold that 95 % of the positives reach; None where there
            is no positive.
        specific: The lowest score threshold that 95 % of the negatives do not reach; None where
            there is no negative, or too many of them have the score 1.
        rule: The score threshold 1 / (1 + d), d being `expected_dice`; None without a positive.
        expected_dice: Mean Dice of the positives if all were called, at the default's mask
            threshold; None where there is no positive.
    """

    default: OperatingPoint
    sensitive: OperatingPoint | None = None
    specific: OperatingPoint | None = None
    rule: OperatingPoint | None = None
    expected_dice: float | None = None

    @property
    def presets(self) -> dict[PointName, OperatingPoint]:
        """The points beside the default that could be reached, by name."""
        named: dict[PointName, OperatingPoint | None] = {
            "sensitive": self.sensitive,
            "specific": self.specific,
            "rule": self.rule,
        }
        return {name: point for name, point in named.items() if point is not None}


def choose_operating_point(predictions: Predictions) -> Choice:
    """Return the thresholds with about the best mean Dice, and presets beside them.

    Every mask threshold is tried with every smallest area and every score threshold that lies
    between neighbouring scores. The very best triplet of a small set is mostly luck, a spike that
    other images do not have. So all triplets count as good whose mean Dice is less than one
    standard error, image by image, below the best. The largest connected part of these is the
    plateau (along the score an interval of equal decisions counts by its width), and the triplet
    nearest to its centre is taken. With many images that error is small, and the rule becomes the
    plain maximum. A figure measured on the same images with these thresholds is still a little too
    good.

    The presets are thresholds of the score alone, with the default's mask threshold and no smallest
    area. The rule follows from what a call is worth: with probability p of a pneumothorax, calling
    the image gives p d on average and not calling it 1 - p, so it is called where p > 1 / (1 + d).
    It holds as far as the score is calibrated.

    Only annotated masks choose by Dice. Where some images have a label alone, and those with a mask
    are not of both labels, the score threshold is what that rule gives, or one half, and the mask
    threshold the best one for the positives that have a mask, or one half.

    Args:
        predictions: Of images that did not train the network, best out of fold, with calibrated
            scores.

    Returns:
        The points; ``OperatingPoint()`` and no preset where there is no image.

    Sources: the one-standard-error rule, Breiman et al. 1984, 3.4.3; the threshold that maximises
    an expected gain, Elkan, IJCAI 2001.
    """
    if not predictions.scores.size:
        return Choice(OperatingPoint())
    annotated = predictions.among(predictions.annotated)
    both = annotated.positive.any() and not annotated.positive.all()
    enough = both or predictions.annotated.all()
    default = _plateau_centre(annotated) if enough else _without_masks(annotated)
    column = MASK_THRESHOLDS.index(default.mask)
    found = annotated.dice[annotated.positive, column]
    expected = float(found.mean()) if found.size else None
    scores, positive = predictions.scores, predictions.positive
    return Choice(
        default=default,
        sensitive=_at(default, sensitive_threshold(scores, positive)),
        specific=_at(default, specific_threshold(scores, positive)),
        rule=_at(default, None if expected is None else 1 / (1 + expected)),
        expected_dice=expected,
    )


def _without_masks(annotated: Predictions) -> OperatingPoint:
    """Return thresholds where masks of both labels to choose by are not there."""
    found = annotated.dice[annotated.positive]
    if not len(found):
        return OperatingPoint(score=0.5, mask=0.5)
    means = found.mean(axis=0)
    best = int(means.argmax())
    return OperatingPoint(score=float(1 / (1 + means[best])), mask=MASK_THRESHOLDS[best])


def sensitive_threshold(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """Return the highest threshold that at least :data:`REACHED` of the positives reach.

    An image reaches every threshold up to its score. Positives of equal score reach the same ones,
    so more than that share may reach this one. It lies midway to the next lower score of any image,
    so that rounding moves no image across. None where there is no positive.

    Args:
        scores: ``(images,)``, 0..1.
        positive: ``(images,)`` bool.
    """
    found = np.sort(scores[positive])[::-1]
    if not found.size:
        return None
    # Less a hair: 0.95 * 20 may come out above 19.
    last = found[max(math.ceil(REACHED * found.size - 1e-9), 1) - 1]
    return float((last + np.max(scores[scores < last], initial=0.0)) / 2)


def specific_threshold(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """Return the lowest threshold that at least :data:`REACHED` of the negatives do not reach.

    It lies midway to the next higher score of any image. None where there is no negative, or where
    so many negatives have the score 1 that no threshold lies above enough of them.

    Args:
        scores: ``(images,)``, 0..1.
        positive: ``(images,)`` bool.
    """
    others = np.sort(scores[~positive])
    if not others.size:
        return None
    last = others[max(math.ceil(REACHED * others.size - 1e-9), 1) - 1]
    if last >= 1:
        return None
    return float((last + np.min(scores[scores > last], initial=1.0)) / 2)


def _at(default: OperatingPoint, score: float | None) -> OperatingPoint | None:
    return None if score is None else OperatingPoint(score=score, mask=default.mask)


@dataclass(frozen=True, slots=True)
class _Cells:
    """Intervals ``(low, high]`` of score thresholds within which no decision changes."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def middle(self) -> NDArray[np.float64]:
        return (self.low + self.high) / 2

    @property
    def width(self) -> NDArray[np.float64]:
        return self.high - self.low


def _plateau_centre(predictions: Predictions) -> OperatingPoint:
    cells = _cells(predictions.scores)
    good = _good(predictions, cells)
    parts, _ = ndimage.label(good, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel(), (good * (cells.width + 1e-12)).ravel())
    members = np.argwhere(parts == 1 + int(sizes[1:].argmax()))
    places = np.stack(
        [
            members[:, 0] / len(MASK_THRESHOLDS),
            members[:, 1] / len(MIN_AREAS),
            cells.middle[members[:, 2]],
        ],
        axis=1,
    )
    weights = cells.width[members[:, 2]] + 1e-12
    centre = np.average(places, axis=0, weights=weights)
    # How far a cell is from the centre counts from its edge: the widest may hold the centre.
    beside = np.abs(places[:, 2] - centre[2]) - cells.width[members[:, 2]] / 2
    apart = np.abs(places[:, :2] - centre[:2]).sum(axis=1) + np.maximum(beside, 0)
    mask, area, cell = members[int(apart.argmin())]
    margin = cells.width[cell] / 4
    score = np.clip(centre[2], cells.low[cell] + margin, cells.high[cell] - margin)
    return OperatingPoint(float(score), MASK_THRESHOLDS[mask], MIN_AREAS[area])


def _cells(scores: NDArray[np.float64]) -> _Cells:
    """Return the intervals between neighbouring scores; of many, evenly chosen ones."""
    edges = np.unique(np.concatenate([[0.0, 1.0], scores]))
    chosen = np.linspace(0, len(edges) - 2, min(GATES, len(edges) - 1)).round().astype(int)
    return _Cells(edges[chosen], edges[chosen + 1])


def _good(predictions: Predictions, cells: _Cells) -> NDArray[np.bool_]:
    """Return ``(masks, areas, cells)``: which triplets are within one standard error of the best.

    With the images in the order of their scores a threshold calls the last of them, so sums over
    called and not called ones come from running sums, for all thresholds at once.
    """
    order = np.argsort(predictions.scores, kind="stable")
    first = np.searchsorted(predictions.scores[order], cells.high, side="left")
    empty = (~predictions.positive[order]).astype(np.float64)
    areas = predictions.areas[order][:, :, None] >= np.array(MIN_AREAS)
    # The mask is dropped where it is too small, so the answer is "none" there.
    called = np.where(areas, predictions.dice[order][:, :, None], empty[:, None, None])

    def by_cell(if_called: NDArray[np.float64], if_not: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``(masks, areas, cells)``: the mean over images of either value."""
        above = _running(if_called)[-1] - _running(if_called)[first]
        below = _running(if_not)[first]
        means: NDArray[np.float64] = np.moveaxis(above + below.reshape(-1, 1, 1), 0, -1)
        return means / len(order)

    mean = by_cell(called, empty)
    mask, area, cell = np.unravel_index(int(mean.argmax()), mean.shape)
    best = np.where(np.arange(len(order)) >= first[cell], called[:, mask, area], empty)
    loss = mean[mask, area, cell] - mean
    square = by_cell((best[:, None, None] - called) ** 2, (best - empty) ** 2)
    variance = np.maximum(square - loss**2, 0)
    within: NDArray[np.bool_] = loss <= np.sqrt(variance / len(order)) + 1e-9
    return within


def _running(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sums over the first 0, 1, ... n rows."""
    sums: NDArray[np.float64] = np.cumsum(values, axis=0)
    return np.concatenate([np.zeros((1, *values.shape[1:])), sums])
