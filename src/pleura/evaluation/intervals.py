"""Confidence intervals by the bootstrap, whole patients at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Score:
    """A figure with its 95 % interval.

    All three are NaN where the figure is undefined, the interval alone where there is only one
    patient to draw from.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "undefined"
        if np.isnan(self.low):
            return f"{self.value:.3f} (no interval: one patient)"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    groups: Sequence[str],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Score:
    """Return `statistic` over all images, with its 95 % percentile interval.

    Patients are drawn with replacement and bring all their images, because images of one patient
    resemble each other. Resamples in which the figure is undefined are left out. One patient alone
    gives no interval.

    Args:
        statistic: From rows (repeats allowed) to a figure, NaN where undefined.
        groups: The patient of each row.
        seed: The same seed gives the same interval.
        resamples: How many samples to draw.
    """
    rng = np.random.default_rng(seed)
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    patients = [np.array(rows) for rows in members.values()]
    value = statistic(np.arange(len(groups)))
    drawn = []
    for _ in range(resamples if len(patients) > 1 else 0):
        chosen = rng.integers(len(patients), size=len(patients))
        drawn.append(statistic(np.concatenate([patients[number] for number in chosen])))
    defined = np.array([figure for figure in drawn if not np.isnan(figure)])
    if np.isnan(value) or not defined.size:
        return Score(value, float("nan"), float("nan"))
    low, high = np.percentile(defined, [2.5, 97.5])
    return Score(value, float(low), float(high))
