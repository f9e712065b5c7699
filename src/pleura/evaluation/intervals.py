"""Confidence intervals by the bootstrap, whole patients at a time."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pleura.evaluation.proportions import wilson

RESAMPLES = 1000
_BLOCK = 100
_SAME = 1e-9  # sums of the same weights differ by less

Weigh = Literal["patients", "images"]

Bounds = Callable[[float, int], tuple[Any, Any]]
"""From a figure and its number of patients to the ends of its interval."""

Samples = NDArray[np.float64]
"""``(1 + resamples,)``: a figure over all images, then over each resample; NaN where undefined."""


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


@dataclass(frozen=True, slots=True)
class Draws:
    """Bootstrap samples of a set of images, as how often each image is in each of them.

    Patients are drawn with replacement and bring all their images, because images of one patient
    resemble each other. All figures of a set share the draws, so that a difference of two of them,
    or of two models, is one of the same images.

    Attributes:
        weights: ``(1 + resamples, images)`` float64: how often an image is in a sample, times what
            it weighs; the first row is the images as they are.
        groups: ``(images,)`` int: the patient of each image, numbered from 0.
    """

    weights: NDArray[np.float64]
    groups: NDArray[np.int64]

    def among(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Draws":
        """Return the same draws of some images alone: ``(images,)`` bool, or ``(n,)`` places."""
        return Draws(self.weights[:, rows], self.groups[rows])

    def reweighted(self, parts: NDArray[np.int64], shares: Sequence[float]) -> "Draws":
        """Return the draws with each part of the images weighing a given share in every sample.

        Where a sample holds no image of a part that has a share, all its weights are NaN: no figure
        of that sample is defined.

        Args:
            parts: ``(images,)``: which part each image belongs to, from 0.
            shares: Of the parts, 0..1.
        """
        weights, possible = np.zeros_like(self.weights), np.ones(len(self.weights), bool)
        for part, share in enumerate(shares):
            rows = parts == part
            total = self.weights[:, rows].sum(axis=1, keepdims=True)
            if share:
                weights[:, rows] = share * self.divide(self.weights[:, rows], total)
                possible &= total[:, 0] > 0
        weights[~possible] = np.nan
        return Draws(weights, self.groups)

    def mean(self, values: NDArray[np.float64]) -> Samples:
        """Return the mean of ``(images,)`` values in each sample."""
        return self.ratio(values, np.ones(len(values)))

    def ratio(self, above: NDArray[np.float64], below: NDArray[np.float64]) -> Samples:
        """Return the sum of ``(images,)`` `above` over that of `below` in each sample."""
        return self.divide(self.weights @ above, self.weights @ below)

    def divide(self, above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `above` over `below`, in the shape of `above`; NaN where `below` is 0."""
        nothing = np.full(above.shape, np.nan)
        quotient: NDArray[np.float64] = np.divide(above, below, out=nothing, where=below != 0)
        return quotient

    def score(self, samples: Samples, among: NDArray[np.bool_] | None = None) -> Score:
        """Return a figure with its 95 % percentile interval.

        Resamples in which it is undefined are left out.

        Args:
            samples: The figure in each sample.
            among: ``(images,)`` bool: the images it is about, where these are not all. Where they
                are of one patient alone there is no interval.
        """
        value = float(samples[0])
        groups = self.groups if among is None else self.groups[among]
        defined = samples[1:][~np.isnan(samples[1:])]
        if np.isnan(value) or not defined.size or np.all(groups == groups[:1]):
            return Score(value, float("nan"), float("nan"))
        low, high = np.percentile(defined, [2.5, 97.5])
        return Score(value, float(low), float(high))

    def share(
        self, samples: Samples, among: NDArray[np.bool_] | None = None, bounds: Bounds = wilson
    ) -> Score:
        """Return a figure in 0..1 with its 95 % interval, also where every resample says the same.

        They do where the figure is 0 or 1, and a percentile interval would have no width. Then the
        interval is Wilson's, with as many cases as there are patients: 36 of 36 is 0.90 to 1. A
        figure that rests on one patient still has none.

        Args:
            samples: As for :meth:`score`.
            among: ``(images,)`` bool: the images it is about, where these are not all.
            bounds: What gives the interval in place of Wilson's, from the figure and the number of
                patients.
        """
        found = self.score(samples, among)
        if math.isnan(found.low) or found.high - found.low > _SAME:
            return found
        low, high = bounds(found.value, self.patients(among))
        return Score(found.value, float(low), float(high))

    def patients(self, among: NDArray[np.bool_] | None = None) -> int:
        """Return how many patients the images, or those of ``(images,)`` `among`, come from."""
        return len(np.unique(self.groups if among is None else self.groups[among]))


def draw_patients(
    groups: Sequence[str], seed: int = 0, resamples: int = RESAMPLES, weigh: Weigh = "images"
) -> Draws:
    """Return bootstrap samples of images.

    Args:
        groups: The patient of each image.
        seed: The same seed gives the same samples.
        resamples: How many to draw.
        weigh: What counts the same: with ``images`` each weighs 1; with ``patients`` the n images
            of a patient weigh 1 / n each, so that one with many images counts once.
    """
    names, numbers = np.unique(np.array(list(groups), dtype=str), return_inverse=True)
    weights = np.ones((1 + resamples, len(groups)))
    if len(names):
        rng = np.random.default_rng(seed)
        for row in range(1, 1 + resamples):
            drawn = rng.integers(len(names), size=len(names))
            weights[row] = np.bincount(drawn, minlength=len(names))[numbers]
        if weigh == "patients":
            weights *= patient_weights(numbers)
    return Draws(weights, numbers.astype(np.int64))


def patient_weights(groups: Sequence[str] | NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what each image weighs where patients count the same: 1 / n of a patient's n images.

    Args:
        groups: ``(images,)``: the patient of each image, a name or a number.

    Returns:
        ``(images,)``, more than 0 and at most 1.
    """
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    return np.asarray(1 / np.bincount(numbers)[numbers], np.float64)


def auroc_samples(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], draws: Draws
) -> Samples:
    """Return the area under the ROC curve in each sample; ties count one half.

    Args:
        positive: ``(images,)`` bool.
        scores: ``(images,)``, higher meaning more likely positive.
        draws: The samples.
    """

    def area(found: NDArray[np.float64], alarms: NDArray[np.float64]) -> Samples:
        below = np.cumsum(alarms, axis=1) - alarms / 2
        pairs = found.sum(axis=1) * alarms.sum(axis=1)
        return draws.divide((found * below).sum(axis=1), pairs)

    return _over_scores(area, positive, scores, draws)


def average_precision_samples(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], draws: Draws
) -> Samples:
    """Return the average precision in each sample.

    It is the sum over thresholds, from the highest score down, of the precision there times the
    recall gained. Images of equal score are gained together.

    Args:
        positive: ``(images,)`` bool.
        scores: ``(images,)``, higher meaning more likely positive.
        draws: The samples.
    """

    def gained(found: NDArray[np.float64], alarms: NDArray[np.float64]) -> Samples:
        found, alarms = found[:, ::-1], alarms[:, ::-1]
        so_far = np.cumsum(found, axis=1)
        called = so_far + np.cumsum(alarms, axis=1)
        precision = np.divide(so_far, called, out=np.zeros_like(called), where=called > 0)
        return draws.divide((precision * found).sum(axis=1), found.sum(axis=1))

    return _over_scores(gained, positive, scores, draws)


def _over_scores(
    figure: Callable[[NDArray[np.float64], NDArray[np.float64]], Samples],
    positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    draws: Draws,
) -> Samples:
    """Return a figure in each sample that follows from the labels at each distinct score.

    Args:
        figure: From ``(samples, distinct scores)`` positives and negatives of each score, rising,
            to ``(samples,)``. It is asked for some samples at a time, to keep memory flat.
        positive: ``(images,)`` bool.
        scores: ``(images,)``.
        draws: The samples.
    """
    order = np.argsort(scores, kind="stable")
    if not order.size:
        return np.full(len(draws.weights), np.nan)
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    pieces = []
    for first in range(0, len(draws.weights), _BLOCK):
        weights = draws.weights[first : first + _BLOCK, order]
        found = np.add.reduceat(weights * positive[order], starts, axis=1)
        pieces.append(figure(found, np.add.reduceat(weights, starts, axis=1) - found))
    return np.concatenate(pieces)
