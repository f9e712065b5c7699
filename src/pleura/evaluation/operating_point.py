"""The thresholds: searched for the best mean Dice on images that did not train the network."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pleura.inference.prediction import image_score
from pleura.metrics import dice_coeff
from pleura.models.bundle import OperatingPoint

MASK_THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(1, 9))


def choose_operating_point(
    maps: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]],
) -> OperatingPoint:
    """Return the mask and score thresholds with the best mean Dice over `maps`.

    For each mask threshold the score threshold is searched among the gaps between neighbouring
    scores; of neighbouring gaps that are equally good, the middle of all is taken. Equal results favour the mask threshold nearest
    to 0.5. A figure measured on the same images with these thresholds is a little too good.

    Args:
        maps: Pairs of probability map ``(S, S)`` float32 and true mask ``(S, S)`` bool.

    Returns:
        The thresholds; ``OperatingPoint()`` where there are no maps.
    """
    scores, rows, empty = [], [], []
    for probability, truth in maps:
        scores.append(image_score(probability))
        rows.append([dice_coeff(truth, probability > t, smooth=0) for t in MASK_THRESHOLDS])
        empty.append(not truth.any())
    if not scores:
        return OperatingPoint()
    table, score, is_empty = np.array(rows), np.array(scores), np.array(empty, dtype=float)
    best = (-1.0, 0.5, 0.5)
    for column, threshold in enumerate(MASK_THRESHOLDS):
        gate, value = _best_gate(score, table[:, column], is_empty)
        nearer = abs(threshold - 0.5) < abs(best[1] - 0.5)
        if value > best[0] + 1e-9 or (value > best[0] - 1e-9 and nearer):
            best = (value, threshold, gate)
    return OperatingPoint(score=best[2], mask=best[1])


def _best_gate(
    score: NDArray[np.float64], called: NDArray[np.float64], not_called: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the score threshold with the best mean Dice, and that mean.

    Args:
        score: Image scores ``(n,)``.
        called: Dice of each image when it is called positive.
        not_called: Dice of each image when it is called negative (1 for an empty one).
    """
    order = np.argsort(score)
    ranked = score[order]
    # Entry k: the k lowest scores are called negative, the others positive.
    low = np.concatenate([[0.0], np.cumsum(not_called[order])])
    high = np.concatenate([np.cumsum(called[order][::-1])[::-1], [0.0]])
    mean = (low + high) / len(score)
    edges = np.concatenate([[0.0], ranked, [1.0]])
    mean[edges[1:] <= edges[:-1]] = -1.0  # equal scores cannot be told apart
    first, last = _longest_plateau(mean)
    return float((edges[first] + edges[last + 1]) / 2), float(mean[first])


def _longest_plateau(values: NDArray[np.float64]) -> tuple[int, int]:
    """Return the first and last place of the longest run of the largest value."""
    best = np.concatenate([[False], values > values.max() - 1e-9, [False]])
    edges = np.flatnonzero(best[1:] != best[:-1])
    starts, stops = edges[0::2], edges[1::2]
    longest = int(np.argmax(stops - starts))
    return int(starts[longest]), int(stops[longest]) - 1
