"""Predictions against the truth: one outcome per image, and the figures over all of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import MappingProxyType
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura import metrics
from pleura.evaluation import intervals
from pleura.evaluation.intervals import Draws, Samples, Score, draw_patients
from pleura.models.bundle import OperatingPoint

PREVALENCES = (0.01, 0.05, 0.20)
"""Shares of patients with a pneumothorax for which predictive values are told."""

SMALL, LARGE = 0.005, 0.013
"""Sizes as shares of the image: small is below the first, large above the second. They are about
the terciles of the SIIM-ACR set (5,243 and 13,631 pixels of 1024 x 1024), kept fixed so that the
strata of different sets are the same."""

AGES = ((0, 17), (18, 39), (40, 64), (65, 150))
"""Age bands in whole years, both ends within."""

By = Literal["size", "sex", "age", "view"]

FIGURES: Mapping[str, str] = MappingProxyType(
    {
        "mean_dice": "mean Dice",
        "positive_dice": "positive Dice",
        "mean_iou": "mean IoU",
        "positive_iou": "positive IoU",
        "auroc": "AUROC",
        "average_precision": "average precision",
        "sensitivity": "sensitivity",
        "specificity": "specificity",
        "lesion_sensitivity": "lesions found",
        "false_lesions": "false lesions per image",
        "brier": "Brier score",
        "calibration_error": "calibration error",
    }
)
"""The figures of an :class:`Evaluation` that have an interval, and how they are called."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of an image beside its picture: sex, whole years of age, view position."""

    sex: str = ""
    age_years: int | None = None
    view: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One image's answer against its truth, over the file's own pixels.

    Attributes:
        image_id: SOP Instance UID.
        patient: Patient of the map, else the image's own id.
        positive: Whether it has a pneumothorax.
        called: Whether it was called positive.
        score: The image score, calibrated.
        dice: Dice of the masks without smoothing; 1 where both are empty.
        iou: Intersection over union; 1 where both are empty.
        truth_px: Area of the true mask.
        predicted_px: Area of the predicted mask.
        image_px: Area of the image.
        lesions: Connected parts of the true mask (pixels that share a corner are connected).
        lesions_found: Of these, those of which the answer covers at least one pixel.
        false_lesions: Connected parts of the answer that touch no pixel of the truth.
        traits: Sex, age and view, where they are known.
    """

    image_id: str
    patient: str
    positive: bool
    called: bool
    score: float
    dice: float
    iou: float
    truth_px: int
    predicted_px: int
    image_px: int
    lesions: int
    lesions_found: int
    false_lesions: int
    traits: Traits = Traits()


@dataclass(frozen=True, slots=True)
class PointScore:
    """How an operating point does.

    Attributes:
        name: ``default``, ``sensitive``, ``specific`` or ``rule``.
        point: Its thresholds.
        sensitivity: Share of positives called positive. The default calls an image that keeps a
            mask; the others, which are thresholds of the score, one whose score reaches theirs.
        specificity: Share of negatives not called positive.
    """

    name: str
    point: OperatingPoint
    sensitivity: Score
    specificity: Score


@dataclass(frozen=True, slots=True)
class PredictiveValues:
    """What a call means where a given share of patients has a pneumothorax, by Bayes' rule.

    Attributes:
        prevalence: That share.
        positive: Share of the called that have one.
        negative: Share of the others that have none.
    """

    prevalence: float
    positive: Score
    negative: Score


@dataclass(frozen=True, slots=True)
class Stratum:
    """The figures over a part of the images.

    The parts by size hold the positives of that size alone. Their mean Dice would be the positive
    Dice, so it is left undefined, and their AUROC is against all the images without a pneumothorax.

    Attributes:
        by: What the parts differ in.
        name: Which part.
        images: How many images.
        positives: Of these, with a pneumothorax.
        mean_dice: As in :class:`Evaluation`, like those below.
        positive_dice: Undefined without a positive.
        auroc: Undefined where there is one label only.
        sensitivity: Undefined without a positive.
        specificity: Undefined without a negative.
    """

    by: By
    name: str
    images: int
    positives: int
    mean_dice: Score
    positive_dice: Score
    auroc: Score
    sensitivity: Score
    specificity: Score


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures over a set of images, with 95 % intervals.

    Attributes:
        images: How many images.
        positives: Of these, with a pneumothorax.
        patients: How many patients (images of unknown patients count as one each).
        lesions: Connected parts of all true masks.
        all_empty_dice: What answering "none" to everything scores as mean Dice.
        mean_dice: Kaggle's figure: mean over all images, 1 where both masks are empty.
        positive_dice: Mean over the images that have a pneumothorax.
        mean_iou: As mean Dice, with intersection over union.
        positive_iou: As positive Dice, with intersection over union.
        auroc: Of the image score, before any threshold.
        average_precision: Of the image score; its chance level is the share of positives.
        sensitivity: Share of positives called positive at the default operating point.
        specificity: Share of negatives called negative there.
        lesion_sensitivity: Share of the lesions of which the answer covers at least one pixel.
        false_lesions: Parts of the answer that touch no lesion, per image.
        brier: Mean squared error of the score as a probability.
        calibration_error: Expected calibration error of the score, equal-mass bins.
        points: Each operating point of the model.
        predictive_values: At the default operating point, for each of :data:`PREVALENCES`.
        strata: By size, sex, age and view.
    """

    images: int
    positives: int
    patients: int
    lesions: int
    all_empty_dice: float
    mean_dice: Score
    positive_dice: Score
    mean_iou: Score
    positive_iou: Score
    auroc: Score
    average_precision: Score
    sensitivity: Score
    specificity: Score
    lesion_sensitivity: Score
    false_lesions: Score
    brier: Score
    calibration_error: Score
    points: tuple[PointScore, ...] = ()
    predictive_values: tuple[PredictiveValues, ...] = ()
    strata: tuple[Stratum, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain values: each figure by name, its interval as ``<name>_interval``.

        What is undefined is None; the counts beside it say how many images there were.
        """
        return as_plain(self)


def as_plain(item: Any) -> dict[str, Any]:
    """Return a dataclass as plain values, in the form of :meth:`Evaluation.as_json`."""
    plain: dict[str, Any] = {}
    for place in fields(item):
        value = getattr(item, place.name)
        if isinstance(value, Score):
            plain[place.name] = _number(value.value)
            plain[f"{place.name}_interval"] = [_number(value.low), _number(value.high)]
        elif isinstance(value, tuple):
            plain[place.name] = [as_plain(one) for one in value]
        elif is_dataclass(value):
            plain[place.name] = as_plain(value)
        else:
            plain[place.name] = _number(value) if isinstance(value, float) else value
    return plain


def outcome(
    image_id: str,
    score: float,
    mask: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    patient: str | None = None,
    traits: Traits = Traits(),
) -> Outcome:
    """Return how an answer fares against the truth.

    Args:
        image_id: SOP Instance UID.
        score: The calibrated image score, 0..1.
        mask: ``(rows, columns)`` bool, the answer after the operating point.
        truth: ``(rows, columns)`` bool.
        patient: From the patient map, or None.
        traits: Sex, age and view.

    Raises:
        ValueError: The masks differ in shape.
    """
    dice = metrics.dice_coeff(truth, mask, smooth=0)
    return Outcome(
        image_id=image_id,
        patient=patient or image_id,
        positive=bool(truth.any()),
        called=bool(mask.any()),
        score=score,
        dice=dice,
        iou=metrics.iou(truth, mask),
        truth_px=int(np.count_nonzero(truth)),
        predicted_px=int(np.count_nonzero(mask)),
        image_px=truth.size,
        **_lesions(mask, truth),
        traits=traits,
    )


def summarise(
    outcomes: Sequence[Outcome],
    points: Mapping[Any, OperatingPoint] = MappingProxyType({}),
    seed: int = 0,
) -> Evaluation:
    """Return the figures over `outcomes`; the same seed gives the same intervals.

    Args:
        outcomes: One per image.
        points: The operating points of the model by name, as :attr:`Bundle.points` gives them.
        seed: Of the bootstrap.
    """
    table = Table.of(outcomes)
    draws = draw_patients(table.patients, seed)
    negative = ~table.positive
    samples = figure_samples(table, draws)
    among = {"positive_dice": table.positive, "positive_iou": table.positive}
    among |= {"sensitivity": table.positive, "specificity": negative}
    return Evaluation(
        images=len(outcomes),
        positives=int(table.positive.sum()),
        patients=len(set(table.patients)),
        lesions=int(table.lesions.sum()),
        all_empty_dice=float(negative.mean()) if negative.size else math.nan,
        **{name: draws.score(found, among.get(name)) for name, found in samples.items()},
        points=tuple(_at_point(table, draws, name, point) for name, point in points.items()),
        predictive_values=tuple(
            _predictive(draws, share, samples["sensitivity"], samples["specificity"])
            for share in PREVALENCES
        ),
        strata=tuple(
            _stratum(table, draws, by, name, rows) for by, name, rows in _strata(table, outcomes)
        ),
    )


@dataclass(frozen=True, slots=True)
class Table:
    """Outcomes as columns, ``(images,)`` each."""

    patients: tuple[str, ...]
    positive: NDArray[np.bool_]
    called: NDArray[np.bool_]
    score: NDArray[np.float64]
    dice: NDArray[np.float64]
    iou: NDArray[np.float64]
    lesions: NDArray[np.float64]
    lesions_found: NDArray[np.float64]
    false_lesions: NDArray[np.float64]
    share: NDArray[np.float64]

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
            dice=column("dice"),
            iou=column("iou"),
            lesions=column("lesions"),
            lesions_found=column("lesions_found"),
            false_lesions=column("false_lesions"),
            share=column("truth_px") / np.maximum(column("image_px"), 1),
        )


def figure_samples(table: Table, draws: Draws) -> dict[str, Samples]:
    """Return each of :data:`FIGURES` in each sample of `draws`."""
    positive = table.positive.astype(np.float64)
    called = table.called.astype(np.float64)
    return {
        "mean_dice": draws.mean(table.dice),
        "positive_dice": draws.ratio(table.dice * positive, positive),
        "mean_iou": draws.mean(table.iou),
        "positive_iou": draws.ratio(table.iou * positive, positive),
        "auroc": intervals.auroc_samples(table.positive, table.score, draws),
        "average_precision": intervals.average_precision_samples(
            table.positive, table.score, draws
        ),
        "sensitivity": draws.ratio(called * positive, positive),
        "specificity": draws.ratio((1 - called) * (1 - positive), 1 - positive),
        "lesion_sensitivity": draws.ratio(table.lesions_found, table.lesions),
        "false_lesions": draws.mean(table.false_lesions),
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
    called = table.called if name == "default" else table.score >= point.score
    negative = ~table.positive
    return PointScore(
        name=name,
        point=point,
        sensitivity=draws.score(_share(draws, called, table.positive), table.positive),
        specificity=draws.score(_share(draws, ~called, negative), negative),
    )


def _share(draws: Draws, which: NDArray[np.bool_], among: NDArray[np.bool_]) -> Samples:
    return draws.ratio((which & among).astype(np.float64), among.astype(np.float64))


def _predictive(
    draws: Draws, share: float, sensitivity: Samples, specificity: Samples
) -> PredictiveValues:
    found, alarms = sensitivity * share, (1 - specificity) * (1 - share)
    missed, cleared = (1 - sensitivity) * share, specificity * (1 - share)
    return PredictiveValues(
        prevalence=share,
        positive=draws.score(draws.divide(found, found + alarms)),
        negative=draws.score(draws.divide(cleared, cleared + missed)),
    )


def _strata(table: Table, outcomes: Sequence[Outcome]) -> list[tuple[By, str, NDArray[np.bool_]]]:
    """Return what the parts differ in, the part's name, and which images are in it.

    A size without an image is kept, a sex, age or view that no image has is not.
    """
    sizes = np.array(
        [
            "small" if share < SMALL else "large" if share > LARGE else "medium"
            for share in table.share
        ],
        dtype=str,
    )
    columns: dict[By, NDArray[np.str_]] = {
        "sex": np.array([item.traits.sex or "unknown" for item in outcomes], dtype=str),
        "age": np.array([_age_band(item.traits.age_years) for item in outcomes], dtype=str),
        "view": np.array([item.traits.view or "unknown" for item in outcomes], dtype=str),
    }
    parts: list[tuple[By, str, NDArray[np.bool_]]] = [
        ("size", size, table.positive & (sizes == size)) for size in ("small", "medium", "large")
    ]
    for by, column in columns.items():
        names = sorted({str(name) for name in column}, key=lambda name: (name == "unknown", name))
        parts += [(by, name, column == name) for name in names]
    return parts


def _age_band(years: int | None) -> str:
    for low, high in AGES:
        if years is not None and low <= years <= high:
            return f"{low:02}-{high}" if high < AGES[-1][1] else f"{low} and over"
    return "unknown"


def _stratum(table: Table, draws: Draws, by: By, name: str, rows: NDArray[np.bool_]) -> Stratum:
    positive, negative = rows & table.positive, rows & ~table.positive
    ranked = positive | ~table.positive if by == "size" else rows
    auroc = intervals.auroc_samples(
        table.positive[ranked], table.score[ranked], draws.among(ranked)
    )
    dice = draws.ratio(table.dice * rows, rows.astype(np.float64))
    found = draws.ratio(table.dice * positive, positive.astype(np.float64))
    undefined = Score(math.nan, math.nan, math.nan)
    return Stratum(
        by=by,
        name=name,
        images=int(rows.sum()),
        positives=int(positive.sum()),
        mean_dice=undefined if by == "size" else draws.score(dice, rows),
        positive_dice=draws.score(found, positive),
        auroc=draws.score(auroc, ranked),
        sensitivity=draws.score(_share(draws, table.called, positive), positive),
        specificity=draws.score(_share(draws, ~table.called, negative), negative),
    )


def _lesions(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> dict[str, int]:
    """Return how many lesions there are, how many were found, and the parts that touch none."""
    count, parts = _connected(truth)
    said, answers = _connected(mask)
    found, touching = set(np.unique(parts[mask])), set(np.unique(answers[truth]))
    return {
        "lesions": count,
        "lesions_found": len(found - {0}),
        "false_lesions": said - len(touching - {0}),
    }


def _connected(mask: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32]]:
    """Return the number of connected parts, and for each pixel that of its part or 0."""
    if not mask.any():
        return 0, np.zeros(mask.shape, np.int32)
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return int(count) - 1, np.asarray(parts, np.int32)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
