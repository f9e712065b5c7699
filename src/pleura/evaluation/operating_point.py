"""The thresholds: searched for the best mean Dice on images that did not train the network."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pleura.metrics import dice_coeff
from pleura.models.bundle import OperatingPoint

MASK_THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(1, 9))
GATES = 200
"""At most so many score thresholds are tried."""


def choose_operating_point(
    judged: Iterable[tuple[NDArray[np.float32], float, NDArray[np.bool_]]],
) -> OperatingPoint:
    """Return mask and score thresholds with about the best mean Dice over `judged`.

    Every mask threshold is tried with every score threshold that lies midway between neighbouring
    scores. The very best pair of a small set is mostly luck, so the pair nearest to (0.5, 0.5) is
    taken whose mean Dice is less than one standard error below the best, image by image. With many
    images that error is small, and the rule becomes the plain maximum. A figure measured on the
    same images with these thresholds is still a little too good.

    Args:
        judged: For each image its probability map ``(S, S)`` float32, its score, and its true mask
            ``(S, S)`` bool.

    Returns:
        The thresholds; ``OperatingPoint()`` where there is no image.

    Source: the one-standard-error rule (Breiman et al. 1984, 3.4.3).
    """
    scores, rows, empty = [], [], []
    for probability, score, truth in judged:
        scores.append(score)
        rows.append([dice_coeff(truth, probability > t, smooth=0) for t in MASK_THRESHOLDS])
        empty.append(not truth.any())
    if not scores:
        return OperatingPoint()
    gates = _gates(np.array(scores))
    dice = _dice_table(np.array(scores), np.array(rows), np.array(empty, float), gates)
    mask, gate = _nearest_of_the_best(dice, gates)
    return OperatingPoint(score=gate, mask=mask)


def _gates(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return score thresholds: midway between neighbouring scores, and one half."""
    edges = np.concatenate([[0.0], np.unique(scores), [1.0]])
    middles = (edges[1:] + edges[:-1]) / 2
    chosen = np.linspace(0, len(middles) - 1, min(GATES, len(middles))).round().astype(int)
    return np.unique(np.append(middles[chosen], 0.5))


def _dice_table(
    scores: NDArray[np.float64],
    called: NDArray[np.float64],
    not_called: NDArray[np.float64],
    gates: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return Dice ``(masks, gates, images)`` for each pair of thresholds.

    Args:
        scores: Image scores ``(images,)``.
        called: Dice ``(images, masks)`` where the image is called positive.
        not_called: Dice ``(images,)`` where it is called negative: 1 for an empty one, else 0.
        gates: Score thresholds.
    """
    passes = scores >= gates[:, None]
    return np.where(passes[None], called.T[:, None, :], not_called[None, None, :])


def _nearest_of_the_best(
    dice: NDArray[np.float64], gates: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the (mask, score) thresholds nearest to one half among those as good as the best."""
    mean = dice.mean(axis=2)
    best = dice[np.unravel_index(int(mean.argmax()), mean.shape)]
    loss = best - dice
    error = loss.std(axis=2) / np.sqrt(dice.shape[2])
    good = loss.mean(axis=2) <= error + 1e-12
    masks = np.array(MASK_THRESHOLDS)
    distance = np.abs(masks[:, None] - 0.5) + np.abs(gates[None, :] - 0.5)
    mask, gate = np.unravel_index(int(np.where(good, distance, np.inf).argmin()), mean.shape)
    return float(masks[mask]), float(gates[gate])
