"""Two systems on the same images: how much better one is, and how sure that is."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pleura.evaluation.figures import FIGURES, as_plain
from pleura.evaluation.intervals import Bounds, Draws, Samples, Score, draw_patients
from pleura.evaluation.outcomes import Outcome
from pleura.evaluation.paired import (
    AurocTest,
    CallsTest,
    apart_interval,
    compare_areas,
    compare_calls,
    paired_share_interval,
)
from pleura.evaluation.scores import Table, about, figure_samples, figure_score

LOWER_IS_BETTER = ("false_lesions", "brier", "calibration_error")
_CALLS = ("sensitivity", "specificity", "accuracy")

CALLS_ABOUT = {"positives": "sensitivity", "negatives": "specificity", "all": "accuracy"}
"""What calls among which images are about."""

METHODS = {"exact": "McNemar, exact", "chi-square": "McNemar for clusters, chi-square"}
"""How the tests of calls are called."""

Verdict = Literal["superior", "non-inferior", "inferior", "not shown", ""]


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of the one system less that of the other.

    Attributes:
        name: One of :data:`pleura.evaluation.figures.FIGURES`.
        ours: The one system's figure; NaN where undefined.
        theirs: The other's.
        difference: The first less the second, with its 95 % interval.
        above: Share of the resamples in which the difference is above 0; NaN where undefined.
        verdict: At the margin of the comparison: ``superior`` where the whole interval is on the
            better side of 0, ``non-inferior`` where it is on the better side of the margin,
            ``inferior`` where it is beyond it, else ``not shown``; empty without a margin.
    """

    name: str
    ours: float
    theirs: float
    difference: Score
    above: float
    verdict: Verdict = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two systems on the same images.

    Attributes:
        images: How many images both judged.
        positives: Of these, with a pneumothorax.
        patients: Of how many patients.
        margin: By how much the first may be worse and still count as no worse; None: not stated.
        differences: One for each figure, by paired bootstrap.
        auroc: DeLong's test; None where AUROC is undefined.
        calls: McNemar's test of the positives, of the negatives, and of all images.
    """

    images: int
    positives: int
    patients: int
    margin: float | None
    differences: tuple[Difference, ...]
    auroc: AurocTest | None
    calls: tuple[CallsTest, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain values, None where a figure is undefined."""
        return as_plain(self)


def compare(
    ours: Sequence[Outcome],
    theirs: Sequence[Outcome],
    seed: int = 0,
    *,
    margin: float | None = None,
    undefined: Collection[str] = (),
) -> Comparison:
    """Return how the outcomes of one system differ from another's on the same images.

    Both figures of a difference are taken over the same resamples of patients, so what makes an
    image hard for both systems cancels out.

    Args:
        ours: One per image.
        theirs: The other system's, of the same images in the same order.
        seed: Of the bootstrap.
        margin: By how much the first may be worse, see :attr:`Difference.verdict`; above 0.
        undefined: Figures that cannot be said of one of the two.

    Raises:
        ValueError: The images differ.
    """
    if [item.image_id for item in ours] != [item.image_id for item in theirs]:
        raise ValueError(
            f"{len(ours)} outcomes of one model and {len(theirs)} of another are not of the same "
            "images in the same order; a paired comparison needs that"
        )
    pair = _Pair(Table.of(ours), Table.of(theirs), seed, undefined)
    first, second = pair.first, pair.second
    right = first.called == first.positive, second.called == second.positive
    auroc = None
    if "auroc" not in undefined and first.positive.any() and not first.positive.all():
        auroc = compare_areas(first.positive, first.ranking, second.ranking, pair.draws.groups)
    everybody = np.ones(len(ours), np.bool_)
    return Comparison(
        images=len(ours),
        positives=int(first.positive.sum()),
        patients=len(set(first.patients)),
        margin=margin,
        differences=tuple(pair.difference(name, margin) for name in FIGURES),
        auroc=auroc,
        calls=(
            compare_calls("positives", first.positive, *right, pair.draws.groups),
            compare_calls("negatives", ~first.positive, *right, pair.draws.groups),
            compare_calls("all", everybody, *right, pair.draws.groups),
        ),
    )


class _Pair:
    """Two systems' tables, and their figures over the same draws."""

    def __init__(self, first: Table, second: Table, seed: int, undefined: Collection[str]) -> None:
        self.first, self.second = first, second
        self.draws = draw_patients(first.patients, seed, weigh="patients")
        self.samples = [figure_samples(table, self.draws) for table in (first, second)]
        for samples in self.samples:
            samples |= {name: samples[name] * np.nan for name in undefined}

    def difference(self, name: str, margin: float | None) -> Difference:
        """Return by how much the two differ in a figure."""
        one, other = (samples[name] for samples in self.samples)
        apart = one - other
        among = [about(name, table) for table in (self.first, self.second)]
        rows = None if among[0] is None or among[1] is None else among[0] | among[1]
        found = self.draws.share(apart, rows, self._bounds(name, one, other))
        return Difference(
            name=name,
            ours=float(one[0]),
            theirs=float(other[0]),
            difference=found,
            above=_above(apart[1:]),
            verdict="" if margin is None else verdict(found, margin, name in LOWER_IS_BETTER),
        )

    def _bounds(self, name: str, one: Samples, other: Samples) -> Bounds:
        """Return what gives the ends of an interval where every draw has the same difference."""
        if name in _CALLS:
            return lambda _, patients: self._of_calls(name, patients)
        figures = [
            figure_score(self.draws, table, name, samples)
            for table, samples in ((self.first, one), (self.second, other))
        ]
        if _vary(self.draws, one) or _vary(self.draws, other):  # the two move together
            if name in LOWER_IS_BETTER or abs(one[0] - other[0]) > 1e-9:
                return lambda value, _: (value, value)
            return lambda _, patients: paired_share_interval(0, 0, patients)
        return lambda *_: apart_interval(*figures)

    def _of_calls(self, name: str, patients: int) -> tuple[float, float]:
        rows = about(name, self.first)
        weights = self.draws.weights[0] * (1.0 if rows is None else rows)
        right = [table.called == table.positive for table in (self.first, self.second)]
        shares = weights / weights.sum() * patients
        return paired_share_interval(
            float(shares[right[0] & ~right[1]].sum()),
            float(shares[right[1] & ~right[0]].sum()),
            patients,
        )


def verdict(difference: Score, margin: float, lower_is_better: bool = False) -> Verdict:
    """Return what a difference shows at a margin of non-inferiority.

    That the 95 % interval excludes being worse by the margin is the one-sided test at 2.5 %.

    Source: Piaggio et al. (CONSORT for non-inferiority trials), JAMA 2012; 308: 2594.
    """
    low, high = difference.low, difference.high
    if lower_is_better:
        low, high = -high, -low
    if math.isnan(low):
        return ""
    if low > 0:
        return "superior"
    if low > -margin:
        return "non-inferior"
    return "inferior" if high < -margin else "not shown"


def p_value(p: float) -> str:
    """Return a p value as it is printed."""
    if math.isnan(p):
        return "undefined"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _vary(draws: Draws, samples: Samples) -> bool:
    found = draws.score(samples)
    return bool(found.high - found.low > 1e-9)


def _above(resampled: NDArray[np.float64]) -> float:
    defined = resampled[~np.isnan(resampled)]
    return float((defined > 0).mean()) if defined.size else float("nan")
