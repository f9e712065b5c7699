"""The charts of a report, as inline SVG.

ROC and precision-recall curve, reliability, Dice against area, and scores by label. In the curves
patients count the same, as in the figures: the area below a curve is the figure that is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pleura import metrics
from pleura.evaluation.figures import Evaluation
from pleura.evaluation.intervals import patient_weights
from pleura.evaluation.outcomes import Outcome
from pleura.evaluation.proportions import wilson
from pleura.rendering import figures

_BINS = 25
MARKERS = {"sensitive": "^", "specific": "v", "rule": "s"}

Points = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Of a curve: ``(points,)`` across and ``(points,)`` up."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """What the curves are drawn from, ``(images,)`` each.

    Attributes:
        positive: Whether an image has a pneumothorax.
        score: Its score, higher meaning more likely: that before calibration, where it is known, as
            for AUROC.
        weight: What it weighs, so that patients count the same.
    """

    positive: NDArray[np.bool_]
    score: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> "Ranking":
        """Return the ranking of outcomes; patients count the same."""
        return cls(
            np.array([item.positive for item in outcomes], bool),
            np.array([o.score if o.raw_score is None else o.raw_score for o in outcomes], float),
            patient_weights([item.patient for item in outcomes]),
        )

    @property
    def prevalence(self) -> float:
        """The share of positives."""
        return float(self.weight @ self.positive / self.weight.sum())


def roc_svg(outcomes: Sequence[Outcome], evaluation: Evaluation) -> str:
    """Return the ROC curve of the image scores with the operating point on it.

    Empty where it is undefined: all images have the same label.
    """
    points = roc_points(Ranking.of(outcomes))
    if points is None:
        return ""

    with figures.panels() as (axes,):
        axes.set_title("ROC curve of the image score")
        axes.plot([0, 1], [0, 1], color=figures.QUIET, linewidth=0.9, linestyle=(0, (3, 3)))
        axes.plot(points[0], points[1], color=figures.SECOND)
        at = (1 - evaluation.specificity.value, evaluation.sensitivity.value)
        axes.plot(
            [at[0]],
            [at[1]],
            linestyle="",
            marker="o",
            markersize=6,
            color=figures.INK,
            zorder=4,
            label="operating point",
        )
        for item in evaluation.points[1:]:
            axes.plot(
                [1 - item.specificity.value],
                [item.sensitivity.value],
                linestyle="",
                marker=MARKERS.get(item.name, "D"),
                markersize=6,
                markerfacecolor="none",
                color=figures.INK,
                zorder=5,
                label=item.name,
            )
        axes.legend(loc="lower right", borderaxespad=0.6, borderpad=0)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(0, 1.04)
        axes.set_xlabel("false alarms (1 - specificity)")
        axes.set_ylabel("sensitivity")
        return figures.svg(axes, "ROC curve of the image score")


def roc_points(ranking: Ranking) -> Points | None:
    """Return false positive and true positive rate at each distinct score, from (0, 0) to (1, 1).

    None where all images that count have the same label.
    """
    counted = ranking.weight > 0
    order = np.flatnonzero(counted)[np.argsort(-ranking.score[counted], kind="stable")]
    score, weight = ranking.score[order], ranking.weight[order]
    found = np.cumsum(weight * ranking.positive[order])
    alarms = np.cumsum(weight * ~ranking.positive[order])
    if not found.size or not found[-1] or not alarms[-1]:
        return None
    last_of_its_score = np.append(score[1:] != score[:-1], True)
    return (
        np.append(0.0, alarms[last_of_its_score] / alarms[-1]),
        np.append(0.0, found[last_of_its_score] / found[-1]),
    )


def precision_svg(outcomes: Sequence[Outcome], evaluation: Evaluation) -> str:
    """Return the precision-recall curve of the image scores with the operating point on it.

    A dashed line is the share of positives, what calling at random gives. Empty where all images
    have the same label.
    """
    ranking = Ranking.of(outcomes)
    points = precision_points(ranking)
    if points is None:
        return ""

    with figures.panels() as (axes,):
        axes.set_title("Precision and recall of the image score")
        chance = ranking.prevalence
        axes.plot([0, 1], [chance] * 2, color=figures.QUIET, linewidth=0.9, linestyle=(0, (3, 3)))
        axes.step(points[0], points[1], where="pre", color=figures.SECOND)
        if any(item.called for item in outcomes):
            at = (evaluation.sensitivity.value, evaluation.ppv.value)
            axes.plot([at[0]], [at[1]], "o", markersize=6, color=figures.INK, zorder=4)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(0, 1.04)
        axes.set_xlabel("recall (sensitivity)")
        axes.set_ylabel("precision")
        return figures.svg(axes, "Precision-recall curve of the image score")


def precision_points(ranking: Ranking) -> Points | None:
    """Return recall and precision at each distinct score, the highest first, from recall 0.

    Precision at recall 0 is that at the highest score. None where all images that count have the
    same label.
    """
    points = roc_points(ranking)
    if points is None:
        return None
    share = ranking.prevalence
    found, alarms = points[1][1:] * share, points[0][1:] * (1 - share)
    precision = found / (found + alarms)
    return points[1], np.append(precision[0], precision)


def reliability_svg(outcomes: Sequence[Outcome]) -> str:
    """Return the share with a pneumothorax against the score, a dot for each bin of images.

    Bins hold equally many images as far as ties allow; bars are 95 % Wilson intervals of the share.
    Empty where there is no image.
    """
    if not outcomes:
        return ""
    said, share, low, high, _ = reliability_points(outcomes)

    with figures.panels() as (axes,):
        axes.set_title("Reliability of the calibrated score")
        axes.plot([0, 1], [0, 1], color=figures.QUIET, linewidth=0.9, linestyle=(0, (3, 3)))
        axes.vlines(said, low, high, color=figures.SECOND, alpha=0.5, linewidth=1.4)
        axes.plot(said, share, "o", markersize=5, color=figures.SECOND)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.04)
        axes.set_xlabel("mean score of the bin")
        axes.set_ylabel("share with a pneumothorax")
        return figures.svg(axes, "Reliability of the calibrated score")


def reliability_points(outcomes: Sequence[Outcome]) -> tuple[NDArray[np.float64], ...]:
    """Return of each bin its mean score, its share of positives, the interval, its images.

    Bins hold equally many images as far as ties allow. In means and shares patients count the same,
    as in the calibration error. The interval is Wilson's, of 95 %, with as many cases as patients.

    Returns:
        Five arrays ``(bins,)``: mean score, share, low, high, count.
    """
    score = np.array([item.score for item in outcomes])
    positive = np.array([item.positive for item in outcomes])
    patients = np.array([item.patient for item in outcomes], dtype=str)
    weight = patient_weights([item.patient for item in outcomes])
    bins = metrics.equal_mass_bins(score)
    parts = [bins == number for number in np.unique(bins)]
    said = np.array([np.average(score[part], weights=weight[part]) for part in parts])
    share = np.array([np.average(positive[part], weights=weight[part]) for part in parts])
    cases = np.array([len(np.unique(patients[part])) for part in parts])
    counts = np.array([np.count_nonzero(part) for part in parts])
    return said, share, *wilson(share, cases), counts


def area_svg(outcomes: Sequence[Outcome]) -> str:
    """Return Dice against the true area, a dot for each image with a pneumothorax.

    Empty where there is none.
    """
    positives = [item for item in outcomes if item.positive and item.annotated]
    if not positives:
        return ""
    with figures.panels() as (axes,):
        axes.set_title("Dice by area")
        for called, label, colour in (
            (True, "found", figures.SECOND),
            (False, "missed", figures.FIRST),
        ):
            chosen = [item for item in positives if item.called == called]
            axes.plot(
                [item.truth_px for item in chosen],
                [item.dice for item in chosen],
                linestyle="",
                marker="o" if called else "x",
                markersize=4.5,
                markeredgewidth=0 if called else 1.3,
                alpha=0.75,
                color=colour,
                label=label,
                clip_on=False,
            )
        areas = [item.truth_px for item in positives]
        figures.log_axis(axes, min(areas), max(areas))
        axes.set_ylim(0, 1)
        axes.set_xlabel("true area in pixels of the file")
        axes.set_ylabel("Dice")
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=2,
            borderaxespad=0.3,
            borderpad=0,
            handlelength=0.8,
        )
        return figures.svg(axes, "Dice against true area")


def score_svg(outcomes: Sequence[Outcome]) -> str:
    """Return how the image scores are spread in the two groups; empty where there is no image."""
    if not outcomes:
        return ""

    from matplotlib.ticker import MaxNLocator

    with figures.panels() as (axes,):
        axes.set_title("Image scores")
        edges = np.linspace(0, 1, _BINS + 1)
        for positive, label, colour in (
            (False, "none", figures.FIRST),
            (True, "pneumothorax", figures.SECOND),
        ):
            scores = [item.score for item in outcomes if item.positive == positive]
            if not scores:
                continue
            counts, _ = np.histogram(scores, edges)
            share = 100 * counts / len(scores)
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.35)
            axes.stairs(share, edges, color=colour, linewidth=1.5, label=label)
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.set_xlabel("image score")
        axes.set_ylabel("% of the group")
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.3, borderpad=0
        )
        return figures.svg(axes, "Image scores by label")
