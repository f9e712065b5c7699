"""The figures of an evaluation, as values: what each means, and how it is written as JSON."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import MappingProxyType
from typing import Any, Literal

from pleura.evaluation.intervals import Score
from pleura.models.bundle import OperatingPoint

By = Literal["size", "sex", "age", "view", "negatives", "truth"]


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
        "accuracy": "accuracy",
        "ppv": "positive predictive value",
        "npv": "negative predictive value",
        "lesion_sensitivity": "lesions found",
        "false_lesions": "false lesions per image",
        "brier": "Brier score",
        "calibration_error": "calibration error",
    }
)
"""The figures of an :class:`Evaluation` that have an interval, and how they are called."""


OF_MASKS = tuple(
    name for name in FIGURES if any(what in name for what in ("dice", "iou", "lesion"))
)
"""Those of them that want a true mask."""


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
class Distances:
    """How far the outlines of answer and truth lie apart, where both have one.

    A distance from an empty mask is none. So images of which one mask or both are empty are counted
    here and have no part in the means: read the means beside how many were missed.

    Attributes:
        unit: ``px``, pixels of the file, or ``mm``, of the images whose spacing can be believed.
        images: How many images have both outlines (and, for mm, a spacing).
        missed: Images with a true mask and an empty answer.
        false_alarms: Images with an empty true mask and an answer.
        both_empty: Images of which both are empty, which is right.
        hausdorff95: Mean Hausdorff distance, 95 %.
        surface_distance: Mean of the mean distance of the outlines.
    """

    unit: Literal["px", "mm"]
    images: int
    missed: int
    false_alarms: int
    both_empty: int
    hausdorff95: Score
    surface_distance: Score


@dataclass(frozen=True, slots=True)
class Stratum:
    """The figures over a part of the images.

    The parts by size hold the positives of that size alone. Their mean Dice would be the positive
    Dice, so it is left undefined, and their AUROC is against all the images without a pneumothorax.
    The kinds of negatives hold these alone, and their AUROC is against all images with a
    pneumothorax.

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
class Mixed:
    """The figures re-weighted to another set's sizes and prevalence (:mod:`pleura.evaluation.mix`).

    Attributes:
        name: Of the mix.
        prevalence: Share of positives there.
        all_empty_dice: What answering "none" to everything scores there as mean Dice.
        mean_dice: As in :class:`Evaluation`, like those below. Undefined where a size that the mix
            has is on none of the images.
        positive_dice: Over the positives.
        auroc: Of the image score.
        sensitivity: At the default operating point.
        specificity: There too.
    """

    name: str
    prevalence: float
    all_empty_dice: float
    mean_dice: Score
    positive_dice: Score
    auroc: Score
    sensitivity: Score
    specificity: Score


@dataclass(frozen=True, slots=True)
class Naive:
    """The same figures as they are usually told, to show by how much they flatter.

    Every image counts alike, however many its patient has, and the thresholds are judged on the
    images that chose them, where any of these images chose them.

    Attributes:
        mean_dice: Kaggle's own figure: the mean over images.
        positive_dice: The mean over images with a pneumothorax.
        auroc: Of the image score.
        sensitivity: At the default operating point.
        specificity: There too.
    """

    mean_dice: float
    positive_dice: float
    auroc: float
    sensitivity: float
    specificity: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures over a set of images, with 95 % intervals.

    Patients count the same: each of a patient's n images weighs 1 / n. Where every patient has one
    image, as on a new set, this is the plain mean.

    Attributes:
        images: How many images.
        annotated: Of these, with a true mask, be it an empty one. Of the others only a label is
            known: they have a part in AUROC, average precision, sensitivity, specificity, Brier
            score and calibration error, and in no figure about masks.
        positives: Of these, with a pneumothorax.
        patients: How many patients (images of unknown patients count as one each).
        lesions: Connected parts of all true masks.
        all_empty_dice: What answering "none" to everything scores as mean Dice.
        mean_dice: Mean over all images, 1 where both masks are empty.
        positive_dice: Mean over the images that have a pneumothorax.
        mean_iou: As mean Dice, with intersection over union.
        positive_iou: As positive Dice, with intersection over union.
        auroc: Of the image score, before any threshold.
        average_precision: Of the image score; its chance level is the share of positives.
        sensitivity: Share of positives called positive at the default operating point.
        specificity: Share of negatives called negative there.
        accuracy: Share of images called as they are.
        ppv: Share of the images called positive that are. As the one below it is of these images,
            with their share of positives; `predictive_values` are for others.
        npv: Share of the images called negative that are.
        lesion_sensitivity: Share of the lesions of which the answer covers at least one pixel.
        false_lesions: Parts of the answer that touch no lesion, per image.
        brier: Mean squared error of the score as a probability.
        calibration_error: Expected calibration error of the score, equal-mass bins.
        points: Each operating point of the model.
        predictive_values: At the default operating point, for each of :data:`PREVALENCES`.
        strata: By size, sex, age, view, kind of negative and, where some images have a label
            alone, by what the truth is.
        mixes: Re-weighted to other sets.
        naive: As usually computed.
        distances: Of the outlines, in pixels and, where any spacing can be believed, in mm; empty
            where no mask is known.
    """

    images: int
    annotated: int
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
    accuracy: Score
    ppv: Score
    npv: Score
    lesion_sensitivity: Score
    false_lesions: Score
    brier: Score
    calibration_error: Score
    points: tuple[PointScore, ...] = ()
    predictive_values: tuple[PredictiveValues, ...] = ()
    strata: tuple[Stratum, ...] = ()
    mixes: tuple[Mixed, ...] = ()
    naive: Naive | None = None
    distances: tuple[Distances, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain values: each figure by name, its interval as ``<name>_interval``.

        What is undefined is None; the counts beside it say how many images there were.
        """
        return as_plain(self)


_DIGITS = 6
"""Significant digits of a number in JSON; intervals of thousands of images have two or three."""


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


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.{_DIGITS}g}")
