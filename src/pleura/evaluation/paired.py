"""Tests of two systems on the same images, beside the bootstrap: DeLong's and McNemar's.

Both are as wrong as their textbooks' formulas where images are not independent, so both come in the
form for clusters: a patient is one, and its images weigh as little as everywhere here. Where every
patient has one image they are the tests of the textbooks.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom, norm

from pleura.evaluation.intervals import Score, patient_weights
from pleura.evaluation.proportions import Z

EXACT = 20
"""Up to so many patients who speak for one of the two, each way of exchanging them is counted."""

_SAME = 1e-9
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AurocTest:
    """Two areas under the ROC curve by DeLong's method.

    Attributes:
        difference: The first area less the second, with its 95 % interval; that is NaN where the
            method sees no error, as of two systems that rank everything rightly.
        error: Standard error of the difference.
        p: Of no difference, two-sided; NaN where the error is 0.
        clustered: Whether a patient has several images, so that the variance is Obuchowski's.
    """

    difference: Score
    error: float
    p: float
    clustered: bool


@dataclass(frozen=True, slots=True)
class CallsTest:
    """Two sets of calls by McNemar's test.

    Attributes:
        among: Which images: ``positives`` (so it is about sensitivity), ``negatives`` (specificity)
            or ``all`` (accuracy).
        images: How many of these.
        ours: Of them, those that the first system alone called rightly.
        theirs: Those that the second alone called rightly.
        patients: How many patients speak for one of the two.
        p: Of no difference, two-sided; 1 where nobody speaks for either.
        method: ``exact``, or ``chi-square`` where patients with several images are many.
        clustered: Whether one of these images' patients has several.
    """

    among: Literal["positives", "negatives", "all"]
    images: int
    ours: int
    theirs: int
    patients: int
    p: float
    method: Literal["exact", "chi-square"]
    clustered: bool


def compare_areas(
    positive: Bools, ours: Floats, theirs: Floats, groups: NDArray[np.int64]
) -> AurocTest:
    """Return how two areas under the ROC curve differ.

    The variance is that of the placements of each image among those of the other label, summed by
    patient. Patients weigh the same, so each of their n images weighs 1 / n; with one image each
    this is DeLong's variance, and with equal weights Obuchowski's for clusters.

    Args:
        positive: ``(images,)``.
        ours: ``(images,)`` scores of the one system, higher meaning more likely positive.
        theirs: The other's.
        groups: ``(images,)``: the patient of each image, numbered from 0.

    Sources: DeLong, DeLong and Clarke-Pearson, Biometrics 1988; 44: 837; Obuchowski, Biometrics
    1997; 53: 567.
    """
    weights = patient_weights(groups)
    first, second = (_placed(positive, scores, weights) for scores in (ours, theirs))
    variance = _variance(positive, first[1] - second[1], groups, weights)
    error = math.sqrt(variance) if variance > _SAME**2 else variance * 0
    value = first[0] - second[0]
    certain = not error > 0
    half = math.nan if certain else Z * error
    return AurocTest(
        difference=Score(value, value - half, value + half),
        error=error,
        p=math.nan if certain else float(2 * norm.sf(abs(value) / error)),
        clustered=bool(np.bincount(groups).max(initial=0) > 1),
    )


def compare_calls(
    among: Literal["positives", "negatives", "all"],
    rows: Bools,
    ours: Bools,
    theirs: Bools,
    groups: NDArray[np.int64],
) -> CallsTest:
    """Return how two sets of calls differ.

    A patient speaks for the system that called more of its images rightly, by the share of them.
    If both were alike, the two could be exchanged within any patient. So p is the share of all ways
    of exchanging that give a sum as large as the one found: with one image a patient this is
    McNemar's exact test. With more than :data:`EXACT` patients who speak, and shares that differ,
    it is Durkalski's chi-square in place of counting.

    McNemar's test over images would take each image of a patient for a witness of its own, and p
    would be too small.

    Args:
        among: What the images are called.
        rows: ``(images,)``: those that count.
        ours: ``(images,)``: whether the one system called each rightly.
        theirs: The same of the other.
        groups: ``(images,)``: the patient of each image, numbered from 0.

    Sources: McNemar, Psychometrika 1947; 12: 153; Durkalski et al., Stat Med 2003; 22: 2417.
    """
    weights = patient_weights(groups) * rows
    speaks = weights * (ours.astype(np.float64) - theirs.astype(np.float64))
    sums: Floats = np.bincount(groups, speaks, minlength=1).astype(np.float64)
    sums = sums[np.abs(sums) > _SAME]
    alike = bool(np.allclose(np.abs(sums), np.abs(sums[:1]), atol=_SAME))
    if alike or len(sums) <= EXACT:
        p = _exchanged_alike(sums) if alike else _exchanged(sums)
    else:
        p = float(2 * norm.sf(abs(sums.sum()) / math.sqrt((sums**2).sum())))
    return CallsTest(
        among=among,
        images=int(rows.sum()),
        ours=int((rows & ours & ~theirs).sum()),
        theirs=int((rows & theirs & ~ours).sum()),
        patients=len(sums),
        p=p,
        method="exact" if alike or len(sums) <= EXACT else "chi-square",
        clustered=bool(np.bincount(groups[rows]).max(initial=0) > 1),
    )


def paired_share_interval(ours: float, theirs: float, cases: float) -> tuple[float, float]:
    """Return the 95 % interval of a difference of two shares of the same cases.

    It holds also where the two differ on no case: of 36 it is -0.10 to 0.10.

    Args:
        ours: On how many cases only the first is counted.
        theirs: On how many only the second is.
        cases: How many there are.

    Source: Tango, Stat Med 1998; 17: 891.
    """
    value = (ours - theirs) / cases

    def apart(true: float) -> float:
        b = (2 * cases - ours + theirs) * true - ours - theirs
        c = -theirs * true * (1 - true)
        only_theirs = (math.sqrt(max(b * b - 8 * cases * c, 0)) - b) / (4 * cases)
        variance = cases * (2 * only_theirs + true * (1 - true))
        return (ours - theirs - cases * true) ** 2 - Z**2 * variance

    near = 1e-9  # at the difference itself there may be no variance
    low = -1.0 if value <= -1 + near else brentq(apart, -1.0, value - near)
    high = 1.0 if value >= 1 - near else brentq(apart, value + near, 1.0)
    return float(low), float(high)


def apart_interval(ours: Score, theirs: Score) -> tuple[float, float]:
    """Return the 95 % interval of a difference from the intervals of both figures.

    Both are taken as independent, so of the same images it is rather too wide.

    Sources: Newcombe, Stat Med 1998; 17: 873; Zou and Donner, Stat Med 2008; 27: 1693.
    """
    value = ours.value - theirs.value
    low = math.hypot(ours.value - ours.low, theirs.high - theirs.value)
    high = math.hypot(ours.high - ours.value, theirs.value - theirs.low)
    return value - low, value + high


def _placed(positive: Bools, scores: Floats, weights: Floats) -> tuple[float, Floats]:
    """Return the area, and for each image its placement among those of the other label less it."""
    places = np.full(len(scores), np.nan)
    for rows, sign in ((positive, 1.0), (~positive, -1.0)):
        others = ~rows
        order = np.argsort(scores[others], kind="stable")
        values, ours = scores[others][order], weights[others][order]
        below = np.append(0.0, np.cumsum(ours))
        left, right = (np.searchsorted(values, scores[rows], side) for side in ("left", "right"))
        if below[-1] > 0:
            share = (below[left] + below[right]) / 2 / below[-1]
            places[rows] = share if sign > 0 else 1 - share
    if positive.all() or not positive.any():
        return math.nan, places
    area = float((weights * places)[positive].sum() / weights[positive].sum())
    return area, places - area


def _variance(positive: Bools, apart: Floats, groups: NDArray[np.int64], weights: Floats) -> float:
    """Return the variance of what `apart` are the placements of, less their weighted mean."""
    parts, held = [], []
    for rows in (positive, ~positive):
        total = weights[rows].sum()
        inside = np.bincount(groups[rows], minlength=groups.max(initial=0) + 1) > 0
        if inside.sum() < 2:
            return math.nan
        values = np.where(rows, weights * apart, 0.0)
        parts.append(np.bincount(groups, values) / total)
        held.append(inside)
    variance = sum(
        n / (n - 1) * float((part**2).sum())
        for part, n in zip(parts, (int(one.sum()) for one in held), strict=True)
    )
    n = int((held[0] | held[1]).sum())
    return max(0.0, variance + 2 * n / (n - 1) * float((parts[0] * parts[1]).sum()))


def _exchanged_alike(sums: Floats) -> float:
    """Return the share of exchanges with a sum as large where all patients weigh the same."""
    fewer = min(int((sums > 0).sum()), int((sums < 0).sum()))
    return float(min(1.0, 2 * binom.cdf(fewer, len(sums), 0.5)))


def _exchanged(sums: Floats) -> float:
    """Return the share of exchanges with a sum as large, each of them counted."""
    reached = np.zeros(1)
    for one in np.abs(sums):
        reached = np.concatenate([reached - one, reached + one])
    return float((np.abs(reached) >= abs(sums.sum()) - _SAME).mean())
