"""How many patients an evaluation takes: for an interval of a wanted width, or to tell two apart.

A patient with several images counts as one in every figure here. Its images still make its own part
of the figure steadier: by n / (1 + (n - 1) c), for n images that resemble each other by c, their
intraclass correlation.

Sources: sensitivity and specificity: Buderer, Acad Emerg Med 1996; 3: 895, with Wilson's interval
in place of Wald's; AUROC: Hanley and McNeil, Radiology 1982; 143: 29, and of two 1983; 148: 839;
two sets of calls: Connor, Biometrics 1987; 43: 207, and for a margin Liu et al., Stat Med 2002;
21: 231; several images of a patient: Obuchowski, Stat Med 1998; 17: 1495.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from scipy.stats import norm

from pleura.errors import UsageError
from pleura.evaluation.proportions import Z, auroc_interval, auroc_variance, wilson

Figure = Literal["auroc", "sensitivity", "specificity"]

MOST = 10_000_000
"""More patients are not planned for."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is taken for granted.

    Attributes:
        prevalence: Share of positives among the patients, above 0 and below 1. None: they are
            chosen by their label, for AUROC equally many of both.
        images: How many images a patient has, 1 or more.
        resemblance: Intraclass correlation of a patient's images, 0..1; 1: another image of a
            patient says nothing new.
        correlation: Between two systems on the same images, below 1: of the areas under the ROC
            curve, or of the calls. The higher it is, the fewer patients are needed.
        power: The power: how likely a true effect is shown.
    """

    prevalence: float | None = None
    images: float = 1.0
    resemblance: float = 1.0
    correlation: float = 0.5
    power: float = 0.8

    @property
    def worth(self) -> float:
        """How many independent images a patient's images are worth."""
        return self.images / (1 + (self.images - 1) * self.resemblance)


@dataclass(frozen=True, slots=True)
class Need:
    """How many patients one figure needs.

    Attributes:
        figure: Which figure.
        value: What it is expected to be.
        positives: Patients with a pneumothorax.
        negatives: Patients without.
    """

    figure: Figure
    value: float
    positives: int
    negatives: int


def for_width(
    figure: Figure, value: float, width: float, study: Circumstances = Circumstances()
) -> Need:
    """Return how many patients make a figure's 95 % interval as narrow as wanted.

    Args:
        figure: Which.
        value: What it is expected to be, above 0 and at most 1.
        width: From the one end of the interval to the other, above 0 and below 1.
        study: What is taken for granted.

    Raises:
        UsageError: It takes more than :data:`MOST` patients.
    """

    def narrow(positives: float, negatives: float) -> bool:
        if figure == "auroc":
            low, high = auroc_interval(value, positives, negatives)
        else:
            low, high = map(float, wilson(value, max(positives, negatives)))
        return high - low <= width

    return _fewest(figure, value, study, narrow)


def for_difference(
    figure: Figure,
    value: float,
    study: Circumstances = Circumstances(),
    *,
    difference: float = 0.0,
    margin: float = 0.0,
) -> Need:
    """Return how many patients show that a system is better than another, or no worse.

    Both judge the same images, and the test is two-sided at 5 % (for a margin one-sided at 2.5 %,
    which is the same end of a 95 % interval).

    Args:
        figure: Which figure is compared.
        value: The other system's, above 0 and below 1.
        study: What is taken for granted.
        difference: By how much the one is truly above it.
        margin: By how much it may be below it and still count as no worse.

    Raises:
        UsageError: Nothing is to be shown, the one's figure is not within 0 to 1, or it takes more
            than :data:`MOST` patients.
    """
    ours, beyond = value + difference, difference + margin
    if beyond <= 0 or not 0 < ours < 1:
        raise UsageError(
            f"difference {difference:g} from {value:g} with a margin of {margin:g}: the sum of "
            "difference and margin must be above 0, and both figures above 0 and below 1"
        )
    reach, power = Z, float(norm.ppf(study.power))

    def enough(positives: float, negatives: float) -> bool:
        if figure == "auroc":
            one, other = (auroc_variance(area, positives, negatives) for area in (ours, value))
            variance = one + other - 2 * study.correlation * math.sqrt(one * other)
            return (reach + power) * math.sqrt(variance) <= beyond
        spread = math.sqrt(ours * (1 - ours) * value * (1 - value))
        both = min(ours * value + study.correlation * spread, ours, value)
        differ = ours + value - 2 * both
        apart = math.sqrt(max(differ - difference**2, 0.0))
        by_chance = apart if margin else math.sqrt(differ)
        error = reach * by_chance + power * apart
        return error / math.sqrt(max(positives, negatives)) <= beyond

    return _fewest(figure, value, study, enough)


def _fewest(
    figure: Figure, value: float, study: Circumstances, enough: Callable[[float, float], bool]
) -> Need:
    """Return the fewest patients that are enough; more are taken to be enough too."""
    share = {"sensitivity": 1.0, "specificity": 0.0}.get(figure, study.prevalence or 0.5)

    def reached(patients: int) -> bool:
        worth = patients * study.worth
        return enough(worth * share, worth * (1 - share))

    most = 4
    while not reached(most):
        most *= 2
        if most > MOST:
            raise UsageError(
                f"{figure} {value:g}: that takes more than {MOST:,} patients; allow a wider "
                "interval, a larger margin or a larger difference"
            )
    least = 1
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if reached(middle) else (middle + 1, most)
    positives = math.ceil(least * share)
    negatives = math.ceil(least * (1 - share))
    if study.prevalence is not None:  # then whoever comes is taken, of either label
        wanted = [positives / study.prevalence, negatives / (1 - study.prevalence)]
        everybody = math.ceil(max(wanted) - 1e-9)
        positives = max(positives, round(everybody * study.prevalence))
        negatives = everybody - positives
    return Need(figure, value, positives, negatives)
