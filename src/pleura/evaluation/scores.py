"""The figures over all outcomes of a set of images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pleura import metrics
from pleura.evaluation import intervals
from pleura.evaluation.figures import (
    By,
    Distances,
    Evaluation,
    Mixed,
    Naive,
    PointScore,
    PredictiveValues,
    Stratum,
)
from pleura.evaluation.intervals import Draws, Samples, Score, draw_patients
from pleura.evaluation.mix import SIZES, Mix, size_class
from pleura.evaluation.outcomes import Outcome
from pleura.evaluation.proportions import auroc_interval, rate_interval, wilson
from pleura.models.bundle import OperatingPoint

PREVALENCES = (0.01, 0.05, 0.20)
"""Shares of patients with a pneumothorax for which predictive values are told."""

AGES = ((0, 17), (18, 39), (40, 64), (65, 150))
"""Age bands in whole years, both ends within."""


def summarise(
    outcomes: Sequence[Outcome],
    points: Mapping[Any, OperatingPoint] = MappingProxyType({}),
    seed: int = 0,
    *,
    mixes: Sequence[Mix] = (),
    naive: Sequence[Outcome] | None = None,
) -> Evaluation:
    """Return the figures over `outcomes`; the same seed gives the same intervals.

    Args:
        outcomes: One per image.
        points: The operating points of the model by name, as :attr:`Bundle.points` gives them.
        seed: Of the bootstrap.
        mixes: Other sets to re-weigh to.
        naive: The same images as judged by thresholds that they chose; `outcomes` themselves where
            they chose none.
    """
    table = Table.of(outcomes)
    draws = draw_patients(table.patients, seed, weigh="patients")
    negative = ~table.positive
    samples = figure_samples(table, draws)
    masks = Table.of([item for item in outcomes if item.annotated])
    return Evaluation(
        images=len(outcomes),
        annotated=int(table.annotated.sum()),
        positives=int(table.positive.sum()),
        patients=len(set(table.patients)),
        lesions=int(table.lesions.sum()),
        all_empty_dice=float(_share(draws, negative, table.annotated)[0]),
        **{name: figure_score(draws, table, name, found) for name, found in samples.items()},
        points=tuple(_at_point(table, draws, name, point) for name, point in points.items()),
        predictive_values=tuple(
            _predictive(draws, table, share, samples["sensitivity"], samples["specificity"])
            for share in PREVALENCES
        ),
        strata=tuple(
            _stratum(table, draws, by, name, rows) for by, name, rows in _strata(table, outcomes)
        ),
        mixes=tuple(_mixed(masks, draws.among(table.annotated), mix) for mix in mixes),
        naive=_naive(Table.of(outcomes if naive is None else naive)),
        distances=_distances(outcomes, table, draws),
    )


def _distances(outcomes: Sequence[Outcome], table: "Table", draws: Draws) -> tuple[Distances, ...]:
    if not table.annotated.any():
        return ()
    drawn = np.array([item.predicted_px > 0 for item in outcomes], bool)
    true = np.array([item.truth_px > 0 for item in outcomes], bool)
    found = []
    units: tuple[Literal["px", "mm"], ...] = ("px", "mm")
    for unit in units:
        far, mean = (
            np.array(
                [getattr(item.surfaces, f"{name}_{unit}", None) for item in outcomes], np.float64
            )
            for name in ("hausdorff95", "mean")
        )
        rows = ~np.isnan(far)
        if unit == "mm" and not rows.any():
            continue
        weights = rows.astype(np.float64)
        both = (draws.ratio(np.nan_to_num(one), weights) for one in (far, mean))
        found.append(
            Distances(
                unit,
                int(rows.sum()),
                int((table.annotated & true & ~drawn).sum()),
                int((table.annotated & ~true & drawn).sum()),
                int((table.annotated & ~true & ~drawn).sum()),
                *(draws.score(samples, rows) for samples in both),
            )
        )
    return tuple(found)


def about(name: str, table: "Table") -> NDArray[np.bool_] | None:
    """Return ``(images,)``: which images a figure is about; None where it is about all."""
    if name in ("positive_dice", "positive_iou"):
        return table.positive & table.annotated
    if name in ("sensitivity", "average_precision"):
        return table.positive
    if name == "specificity":
        return ~table.positive
    if name in ("ppv", "npv"):
        return table.called if name == "ppv" else ~table.called
    if name == "lesion_sensitivity":
        return table.lesions > 0
    about_masks = ("mean_dice", "mean_iou", "false_lesions")
    return table.annotated if name in about_masks else None


def _mixed(table: "Table", draws: Draws, mix: Mix) -> Mixed:
    samples = figure_samples(table, draws.reweighted(mix.parts(table.share), mix.shares()))
    return Mixed(
        name=mix.name,
        prevalence=mix.prevalence,
        all_empty_dice=1 - mix.prevalence,
        **{name: figure_score(draws, table, name, samples[name]) for name in _SHOWN},
    )


def _naive(table: "Table") -> Naive:
    alike = draw_patients(table.patients, resamples=0)
    samples = figure_samples(table, alike)
    return Naive(**{name: float(samples[name][0]) for name in _SHOWN})


_SHOWN = ("mean_dice", "positive_dice", "auroc", "sensitivity", "specificity")
"""The figures of :class:`Mixed` and :class:`Naive`."""


@dataclass(frozen=True, slots=True)
class Table:
    """Outcomes as columns, ``(images,)`` each.

    Attributes:
        patients: Whom each image shows.
        positive: Whether it has a pneumothorax.
        called: Whether it was called positive.
        score: Its calibrated score, 0..1.
        ranking: Its score before calibration where that is known, by which areas are computed.
        annotated: Whether its true mask is known.
        dice: 0..1; 0 where no true mask is known.
        iou: Likewise.
        lesions: How many lesions the true mask has.
        lesions_found: How many of them were found.
        false_lesions: How many connected parts of the answer touch none of them.
        share: Area of the true mask as a share of the image.
        reached: As in :class:`Outcome`.
    """

    patients: tuple[str, ...]
    positive: NDArray[np.bool_]
    called: NDArray[np.bool_]
    score: NDArray[np.float64]
    ranking: NDArray[np.float64]
    annotated: NDArray[np.bool_]
    dice: NDArray[np.float64]
    iou: NDArray[np.float64]
    lesions: NDArray[np.float64]
    lesions_found: NDArray[np.float64]
    false_lesions: NDArray[np.float64]
    share: NDArray[np.float64]
    reached: tuple[frozenset[str] | None, ...]

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> "Table":
        """Return the columns of `outcomes`."""

        def column(name: str) -> NDArray[np.float64]:
            return np.array([getattr(item, name) for item in outcomes], np.float64)

        return cls(
            patients=tuple(item.patient for item in outcomes),
            positive=column("positive").astype(bool),
            called=column("called").astype(bool),
            score=column("score"),
            ranking=np.array(
                [item.score if item.raw_score is None else item.raw_score for item in outcomes],
                np.float64,
            ),
            annotated=np.array([item.annotated for item in outcomes], bool),
            dice=np.nan_to_num(column("dice")),
            iou=np.nan_to_num(column("iou")),
            lesions=column("lesions"),
            lesions_found=column("lesions_found"),
            false_lesions=column("false_lesions"),
            share=column("truth_px") / np.maximum(column("image_px"), 1),
            reached=tuple(item.reached for item in outcomes),
        )

    def reaching(self, name: str, score: float) -> NDArray[np.bool_]:
        """Return ``(images,)``: which reach the threshold `score` of the operating point `name`."""
        return np.array(
            [
                own >= score if reached is None else name in reached
                for own, reached in zip(self.score, self.reached, strict=True)
            ],
            bool,
        )


def figure_samples(table: Table, draws: Draws) -> dict[str, Samples]:
    """Return each of :data:`FIGURES` in each sample of `draws`."""
    positive = table.positive.astype(np.float64)
    called = table.called.astype(np.float64)
    masks = table.annotated.astype(np.float64)
    lesions = masks * positive
    return {
        "mean_dice": draws.ratio(table.dice, masks),
        "positive_dice": draws.ratio(table.dice * positive, lesions),
        "mean_iou": draws.ratio(table.iou, masks),
        "positive_iou": draws.ratio(table.iou * positive, lesions),
        "auroc": intervals.auroc_samples(table.positive, table.ranking, draws),
        "average_precision": intervals.average_precision_samples(
            table.positive, table.ranking, draws
        ),
        "sensitivity": draws.ratio(called * positive, positive),
        "specificity": draws.ratio((1 - called) * (1 - positive), 1 - positive),
        "accuracy": draws.mean((table.called == table.positive).astype(np.float64)),
        "ppv": draws.ratio(called * positive, called),
        "npv": draws.ratio((1 - called) * (1 - positive), 1 - called),
        "lesion_sensitivity": draws.ratio(table.lesions_found, table.lesions),
        "false_lesions": draws.ratio(table.false_lesions, masks),
        "brier": draws.mean((table.score - positive) ** 2),
        "calibration_error": _calibration_error(table, draws),
    }


def _calibration_error(table: Table, draws: Draws) -> Samples:
    """Return the expected calibration error in each sample, over the bins of all images."""
    bins = metrics.equal_mass_bins(table.score)
    beside = np.zeros((len(bins), metrics.ECE_BINS))
    beside[np.arange(len(bins)), bins] = table.score - table.positive
    return draws.divide(np.abs(draws.weights @ beside).sum(axis=1), draws.weights.sum(axis=1))


def _at_point(table: Table, draws: Draws, name: str, point: OperatingPoint) -> PointScore:
    called = table.called if name == "default" else table.reaching(name, point.score)
    negative = ~table.positive
    return PointScore(
        name=name,
        point=point,
        sensitivity=draws.share(_share(draws, called, table.positive), table.positive),
        specificity=draws.share(_share(draws, ~called, negative), negative),
    )


def _share(draws: Draws, which: NDArray[np.bool_], among: NDArray[np.bool_]) -> Samples:
    return draws.ratio((which & among).astype(np.float64), among.astype(np.float64))


def figure_score(draws: Draws, table: Table, name: str, samples: Samples) -> Score:
    """Return one of :data:`FIGURES` with its interval."""
    if name == "auroc":
        return _ranked(draws, table.positive, samples)
    bounds = {"false_lesions": rate_interval}.get(name, wilson)
    interval = draws.score if name == "calibration_error" else partial(draws.share, bounds=bounds)
    return interval(samples, about(name, table))


def _ranked(draws: Draws, positive: NDArray[np.bool_], samples: Samples) -> Score:
    """Return an AUROC with its interval, over images of which `positive` are."""
    either = draws.patients(positive), draws.patients(~positive)
    return draws.share(samples, bounds=lambda area, _: auroc_interval(area, *either))


def _predictive(
    draws: Draws, table: Table, share: float, sensitivity: Samples, specificity: Samples
) -> PredictiveValues:
    def positive(found: Any, cleared: Any) -> Any:
        alarms = (1 - cleared) * (1 - share)
        return draws.divide(np.asarray(found * share), np.asarray(found * share + alarms))

    def negative(found: Any, cleared: Any) -> Any:
        cleared = cleared * (1 - share)
        return draws.divide(np.asarray(cleared), np.asarray(cleared + (1 - found) * share))

    found = draws.share(sensitivity, table.positive)
    cleared = draws.share(specificity, ~table.positive)

    def ends(of: Any) -> tuple[float, float]:
        """Return the bounds where every resample says the same: one of the two is moved."""
        low = of(found.low, cleared.value), of(found.value, cleared.low)
        high = of(found.high, cleared.value), of(found.value, cleared.high)
        return float(np.fmin(*low)), float(np.fmax(*high))

    return PredictiveValues(
        share,
        *(
            draws.share(of(sensitivity, specificity), bounds=lambda *_, of=of: ends(of))
            for of in (positive, negative)
        ),
    )


def _strata(table: Table, outcomes: Sequence[Outcome]) -> list[tuple[By, str, NDArray[np.bool_]]]:
    """Return what the parts differ in, the part's name, and which images are in it.

    A size without an image is kept, as long as any mask is known; a sex, age or view that no image
    has is not, nor are these three where they are known of none. Kinds of negatives are told where
    there are any.
    """
    sizes = size_class(table.share)
    columns: dict[By, NDArray[np.str_]] = {
        "sex": np.array([item.traits.sex or "unknown" for item in outcomes], dtype=str),
        "age": np.array([_age_band(item.traits.age_years) for item in outcomes], dtype=str),
        "view": np.array([item.traits.view or "unknown" for item in outcomes], dtype=str),
    }
    parts: list[tuple[By, str, NDArray[np.bool_]]] = []
    if table.annotated.any() or table.share.any():
        parts += [
            ("size", name, table.positive & (table.share > 0) & (sizes == number))
            for number, (name, _, _) in enumerate(SIZES)
        ]
    for by, column in columns.items():
        names = sorted({str(name) for name in column}, key=lambda name: (name == "unknown", name))
        if names != ["unknown"]:
            parts += [(by, name, column == name) for name in names]
    kinds = np.array([item.traits.negatives for item in outcomes], dtype=str)
    known = sorted({str(kind) for kind in kinds[~table.positive]} - {""})
    if table.annotated.any() and not table.annotated.all():
        parts += [("truth", "mask", table.annotated), ("truth", "label alone", ~table.annotated)]
    return parts + [("negatives", kind, ~table.positive & (kinds == kind)) for kind in known]


def _age_band(years: int | None) -> str:
    for low, high in AGES:
        if years is not None and low <= years <= high:
            return f"{low:02}-{high}" if high < AGES[-1][1] else f"{low} and over"
    return "unknown"


def _stratum(table: Table, draws: Draws, by: By, name: str, rows: NDArray[np.bool_]) -> Stratum:
    positive, negative = rows & table.positive, rows & ~table.positive
    against = {"size": ~table.positive, "negatives": table.positive}
    ranked = rows | against[by] if by in against else rows
    auroc = intervals.auroc_samples(
        table.positive[ranked], table.ranking[ranked], draws.among(ranked)
    )
    masks = rows & table.annotated
    dice = draws.ratio(table.dice * masks, masks.astype(np.float64))
    found = draws.ratio(table.dice * positive, (masks & positive).astype(np.float64))
    undefined = Score(math.nan, math.nan, math.nan)
    return Stratum(
        by=by,
        name=name,
        images=int(rows.sum()),
        positives=int(positive.sum()),
        mean_dice=undefined if by == "size" else draws.share(dice, masks),
        positive_dice=draws.share(found, masks & positive),
        auroc=_ranked(draws.among(ranked), table.positive[ranked], auroc),
        sensitivity=draws.share(_share(draws, table.called, positive), positive),
        specificity=draws.share(_share(draws, ~table.called, negative), negative),
    )
