"""Dice, IoU and detection figures, with empty masks spelled out.

Kaggle's score is the mean over images of Dice, where two empty masks score 1: "mean Dice". Over the
images that do have a pneumothorax alone it is "positive Dice", usually about 0.3 lower. The two are
never mixed here.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def dice_coeff(truth: ArrayLike, prediction: ArrayLike, smooth: float = 1.0) -> float:
    """Return the Dice coefficient ``(2 |x and y| + smooth) / (|x| + |y| + smooth)``.

    The project's brief prints ``2 (|x and y| + s) / (|x| + |y| + s)``, which is 2 for two empty
    masks; its bracket is misplaced, and this is the intended formula.

    Args:
        truth: Any shape: bool, whole numbers (0 outside, above it inside, such as 255) or 0..1.
        prediction: The same shape, likewise (probabilities give the soft coefficient).
        smooth: At least 0; keeps the value defined, and smooth, where both are empty.

    Returns:
        In 0..1 for masks. Both empty: 1, also with ``smooth=0``. Only one of them empty:
        ``smooth / (area + smooth)``, so 0 with ``smooth=0``.

    Raises:
        ValueError: The shapes differ, smooth is negative, a whole number is, or a float is not in
            0..1.

    Example:
        >>> dice_coeff([1, 1, 0, 0], [1, 0, 0, 0], smooth=0)
        0.6666666666666666
        >>> dice_coeff([0, 0], [0, 0])
        1.0
    """
    x, y = _same_shape(truth, prediction)
    if smooth < 0:
        raise ValueError(f"smooth is {smooth}; it must be 0 or more")
    both, total = _overlap(x, y)
    if total + smooth == 0:
        return 1.0
    return float((2 * both + smooth) / (total + smooth))


def iou(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Return intersection over union of two masks, 1 where both are empty.

    Args:
        truth: Any shape: bool, whole numbers (0 outside, above it inside, such as 255) or 0..1.
        prediction: The same shape, likewise.

    Raises:
        ValueError: The shapes differ, a whole number is negative, or a float is not in 0..1.
    """
    x, y = _same_shape(truth, prediction)
    both, total = _overlap(x, y)
    union = total - both
    return float(both / union) if union else 1.0


def surface_distances(
    truth: ArrayLike, prediction: ArrayLike, spacing: tuple[float, float] = (1.0, 1.0)
) -> tuple[float, float]:
    """Return how far the outlines of two masks lie apart: Hausdorff distance (95 %) and the mean.

    The outline of a mask is made of its pixels that have a neighbour above, below or beside them
    outside of it; beyond the picture is outside. Of either outline, each pixel's distance from the
    other one is taken. The first number is the greater of both 95 % percentiles, the second the
    mean over all pixels of both.

    Args:
        truth: ``(rows, columns)`` bool.
        prediction: The same shape.
        spacing: Distance between (rows, columns); pixels by default.

    Returns:
        Both in the unit of `spacing`. Two empty masks: 0, for they are equal. Only one of them
        empty: infinite, for there is nothing to be near to. Whoever takes a mean counts such images
        apart: 0 would flatter, and infinity has no mean.

    Raises:
        ValueError: The shapes differ, or are not of two axes.

    Source: Huttenlocher et al., IEEE Trans Pattern Anal 1993; 15: 850; as MONAI computes them.
    """
    x, y = _same_shape(truth, prediction)
    if x.ndim != 2:
        raise ValueError(f"a mask has rows and columns; this one has {x.ndim} axes")
    outlines = [_outline(mask.astype(bool)) * np.array(spacing) for mask in (x, y)]
    if not all(len(points) for points in outlines):
        apart = 0.0 if len(outlines[0]) == len(outlines[1]) else float("inf")
        return apart, apart
    from scipy.spatial import cKDTree  # so that who measures nothing need not wait for it

    one, other = outlines
    there, back = cKDTree(other).query(one)[0], cKDTree(one).query(other)[0]
    far = max(np.percentile(there, 95), np.percentile(back, 95))
    return float(far), float(np.concatenate([there, back]).mean())


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the pixels ``(n, 2)`` of a mask that have a neighbour outside."""
    around = np.pad(mask, 1)
    inside = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return np.argwhere(mask & ~inside)


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the area under the ROC curve; NaN where only one label occurs.

    Args:
        labels: ``(n,)`` bool.
        scores: ``(n,)`` numbers, higher meaning more likely positive; ties count one half.

    Raises:
        ValueError: The lengths differ, a label is neither 0 nor 1, or a score is no number.
    """
    positive, values = _labelled(labels, scores)
    if positive.all() or not positive.any():
        return float("nan")
    negatives = np.sort(values[~positive])
    below = np.searchsorted(negatives, values[positive], side="left")
    not_above = np.searchsorted(negatives, values[positive], side="right")
    return float((below + not_above).mean() / (2 * negatives.size))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the average precision: precision at each threshold times the recall gained there.

    Images of equal score are gained together; nothing is interpolated. NaN without a positive.

    Args:
        labels: ``(n,)`` bool.
        scores: ``(n,)`` numbers, higher meaning more likely positive.

    Raises:
        ValueError: The lengths differ, a label is neither 0 nor 1, or a score is no number.
    """
    positive, values = _labelled(labels, scores)
    if not positive.any():
        return float("nan")
    distinct, place = np.unique(-values, return_inverse=True)
    gained = np.bincount(place, positive, minlength=len(distinct))
    called = np.cumsum(np.bincount(place, minlength=len(distinct)))
    return float((np.cumsum(gained) / called * gained).sum() / positive.sum())


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean squared distance of probabilities from the labels; NaN without an image.

    0 is perfect; answering the prevalence q everywhere gives q (1 - q).

    Args:
        labels: ``(n,)`` bool.
        probabilities: ``(n,)``, 0..1.

    Raises:
        ValueError: The lengths differ, a label is neither 0 nor 1, or a probability is not in 0..1.

    Source: Brier, Monthly Weather Review 1950; 78: 1.
    """
    truth, values = _labelled(labels, probabilities, shares=True)
    return _share((values - truth) ** 2)


ECE_BINS = 15
"""Bins of the expected calibration error and of reliability diagrams, at most."""

ECE_IMAGES = 10
"""Images that a bin holds at least: the share of positives among fewer is mostly chance."""


def equal_mass_bins(probabilities: ArrayLike, bins: int | None = None) -> NDArray[np.int64]:
    """Return the bin of each of ``(n,)`` probabilities: as many images in each as ties allow.

    Equal probabilities share a bin, so some may stay empty.

    Args:
        probabilities: ``(n,)`` numbers, 0..1.
        bins: How many; by default :data:`ECE_BINS`, or fewer so that each has its
            :data:`ECE_IMAGES`, but at least one.

    Returns:
        ``(n,)`` int64, 0 to bins - 1, rising with the probability.
    """
    values = np.asarray(probabilities, np.float64)
    if not values.size:
        return np.zeros(0, np.int64)
    bins = bins or max(1, min(ECE_BINS, values.size // ECE_IMAGES))
    below = np.searchsorted(np.sort(values), values, side="left")
    return (below * bins // values.size).astype(np.int64)


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, bins: int | None = None
) -> float:
    """Return the mean over images of how far their bin's mean probability is from its prevalence.

    Bins are of equal mass, see :func:`equal_mass_bins`: with equal widths, as in Guo et al. 2017,
    most images of a good model share one bin. Never 0 for a finite set, even of a perfectly
    calibrated score: chance alone keeps a bin's share of positives away from its mean. NaN without
    an image.

    Args:
        labels: ``(n,)`` bool.
        probabilities: ``(n,)``, 0..1.
        bins: As for :func:`equal_mass_bins`.

    Raises:
        ValueError: The lengths differ, a label is neither 0 nor 1, or a probability is not in 0..1.

    Source: Nixon et al., CVPR workshops 2019.
    """
    truth, values = _labelled(labels, probabilities, shares=True)
    if not values.size:
        return float("nan")
    beside = np.bincount(equal_mass_bins(values, bins), values - truth)
    return float(np.abs(beside).sum() / values.size)


def sensitivity(labels: ArrayLike, decisions: ArrayLike) -> float:
    """Return the share of positives that were called positive; NaN where there are none.

    Args:
        labels: ``(n,)`` bool: whether an image is positive.
        decisions: ``(n,)`` bool: whether it was called positive.

    Raises:
        ValueError: The lengths differ, or a label or a decision is neither 0 nor 1.
    """
    truth, called = _same_shape(labels, decisions)
    return _share(_decided(called, "decision")[_decided(truth, "label")])


def specificity(labels: ArrayLike, decisions: ArrayLike) -> float:
    """Return the share of negatives that were called negative; NaN where there are none.

    Args:
        labels: ``(n,)`` bool: whether an image is positive.
        decisions: ``(n,)`` bool: whether it was called positive.

    Raises:
        ValueError: The lengths differ, or a label or a decision is neither 0 nor 1.
    """
    truth, called = _same_shape(labels, decisions)
    return _share(~_decided(called, "decision")[~_decided(truth, "label")])


def positive_dice(dice: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean Dice over the positive images alone; NaN where there are none.

    Args:
        dice: ``(n,)`` Dice of each image.
        labels: ``(n,)`` bool, whether the image has a pneumothorax.

    Raises:
        ValueError: The lengths differ, or a label is neither 0 nor 1.
    """
    values, truth = _same_shape(dice, labels)
    return _share(values[_decided(truth, "label")])


def _labelled(
    labels: ArrayLike, scores: ArrayLike, *, shares: bool = False
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return labels as bool and scores as float64; `shares`: which must be probabilities."""
    truth, values = _same_shape(labels, scores)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"scores are {values.dtype}; give numbers")
    found = values.astype(np.float64)
    if np.isnan(found).any():
        raise ValueError("a score is NaN")
    if shares and found.size and not (found.min() >= 0 and found.max() <= 1):
        raise ValueError(
            f"probabilities go from {found.min():g} to {found.max():g}; they must be in 0 to 1"
        )
    return _decided(truth, "label").ravel(), found.ravel()


def _decided(values: NDArray[Any], what: str) -> NDArray[np.bool_]:
    """Return 0 and 1 as bool, for all else would count as 1: NaN, -1, 0.3, "0"."""
    if values.dtype == bool:
        return values
    other = values.dtype.kind not in "iuf" or not ((values == 0) | (values == 1)).all()
    if other and values.size:
        strange = [one for one in values.ravel().tolist() if one not in (0, 1)]
        shown = f"{strange[0]!r:.40}" if strange else f"{values.dtype}"
        raise ValueError(
            f"a {what} is {shown}; it must be 0 or 1, or False or True: leave out what is not "
            "known, and hold scores against a threshold"
        )
    return values.astype(bool)


def _share(values: NDArray[Any]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _overlap(x: NDArray[Any], y: NDArray[Any]) -> tuple[float, float]:
    """Return the sum of the products and the sum of both, without a copy for masks."""
    if x.dtype == bool and y.dtype == bool:
        both = float(np.count_nonzero(x & y))
        return both, float(np.count_nonzero(x) + np.count_nonzero(y))
    x, y = _shares(x), _shares(y)
    return float((x * y).sum()), float(x.sum() + y.sum())


def _shares(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return a mask, in which whole numbers above 0 are inside, or probabilities, as float64."""
    if values.dtype.kind in "iu" and not (values < 0).any():
        values = values != 0
    shares: NDArray[np.float64] = values.astype(np.float64)
    if shares.size and not (shares.min() >= 0 and shares.max() <= 1):
        raise ValueError(
            f"values go from {shares.min():g} to {shares.max():g}; a mask is bool or whole numbers "
            "(0 outside, above it inside), probabilities go from 0 to 1"
        )
    return shares


def _same_shape(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = np.asarray(first), np.asarray(second)
    if x.shape != y.shape:
        raise ValueError(f"shapes {x.shape} and {y.shape} differ; give both the same size")
    return x, y
