"""Intervals that follow from a figure and a number of cases alone.

They stand where a bootstrap cannot speak: 36 of 36 are found in every resample too, and a
percentile interval would have no width.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import chi2

Z = 1.959964
"""Of the normal distribution's 97.5 %."""

_NEAR = 1e-9  # at an end itself the variance is 0


def wilson(share: ArrayLike, cases: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 95 % interval of shares of `cases`, each ``(n,)`` or a number.

    Of images that hang together, such as those of one patient, the cases are patients: fewer of
    them widen the interval.

    Source: Wilson, J Am Stat Assoc 1927; 22: 209.

    Example:
        >>> low, high = wilson(1.0, 36)
        >>> f"{float(low):.2f} to {float(high):.2f}"
        '0.90 to 1.00'
    """
    p, n = np.asarray(share, np.float64), np.asarray(cases, np.float64)
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) * Z / (1 + Z**2 / n)
    return np.clip(middle - half, 0, p), np.clip(middle + half, p, 1)


def auroc_interval(area: float, positives: float, negatives: float) -> tuple[float, float]:
    """Return the 95 % interval of an area under the ROC curve, also of one of 0 or 1.

    Its bounds are the areas from which the one found is just 1.96 standard errors away, each with
    the error that it would have itself. So scores that separate everything, for which every
    resample and DeLong's variance see no error, get an interval: with 20 positives and 20 negatives
    from 0.90 to 1.

    Args:
        area: 0..1.
        positives: How many patients have one.
        negatives: How many have an image without.

    Source: Newcombe, Stat Med 2006; 25: 559, method 5 (after Hanley and McNeil 1982).
    """

    def apart(true: float) -> float:
        return (area - true) ** 2 - Z**2 * auroc_variance(true, positives, negatives)

    low = 0.0 if area <= _NEAR else brentq(apart, 0.0, min(area, 1 - _NEAR))
    high = 1.0 if area >= 1 - _NEAR else brentq(apart, max(area, _NEAR), 1.0)
    return float(low), float(high)


def auroc_variance(area: float, positives: float, negatives: float) -> float:
    """Return the variance of an area under the ROC curve, from the area alone.

    The scores of both groups are taken as exponential, and both numbers of cases outside of the
    product are replaced by their mean, so that it does not matter which group is the rarer.

    Source: Hanley and McNeil, Radiology 1982; 143: 29; the mean: Newcombe, Stat Med 2006; 25: 559.
    """
    mean = (positives + negatives) / 2 - 1
    others = (1 - area) / (2 - area) + area / (1 + area)
    return area * (1 - area) * (1 + mean * others) / (positives * negatives)


def rate_interval(rate: float, cases: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate per case, such as false lesions per image.

    The exact bounds of a Poisson count; where nothing was counted, 0 to 3.69 / cases.

    Source: Garwood, Biometrika 1936; 28: 437.
    """
    count = rate * cases
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return float(low / cases), float(chi2.ppf(0.975, 2 * count + 2) / 2 / cases)
