"""The charts of a report, as inline SVG.

ROC and precision-recall curve, reliability, Dice against area, and scores by label.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pleura import metrics
from pleura.evaluation.outcomes import Outcome
from pleura.evaluation.proportions import wilson
from pleura.evaluation.scores import Evaluation
from pleura.rendering import figures

_BINS = 25
MARKERS = {"sensitive": "^", "specific": "v", "rule": "s"}


def roc_svg(outcomes: Sequence[Outcome], evaluation: Evaluation) -> str:
    """Return the ROC curve of the image scores with the operating point on it.

    Empty where it is undefined: all images have the same label.
    """
    points = roc_points(outcomes)
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


def roc_points(
    outcomes: Sequence[Outcome],
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return false positive and true positive rate at each distinct score, from (0, 0) to (1, 1).

    None where all images have the same label.
    """
    positive = np.array([item.positive for item in outcomes], dtype=bool)
    score = np.array([item.score for item in outcomes], dtype=float)
    if positive.all() or not positive.any():
        return None
    order = np.argsort(-score, kind="stable")
    score, positive = score[order], positive[order]
    last_of_its_score = np.append(score[1:] != score[:-1], True)
    found = np.cumsum(positive)[last_of_its_score] / positive.sum()
    alarms = np.cumsum(~positive)[last_of_its_score] / (~positive).sum()
    return np.append(0.0, alarms), np.append(0.0, found)


def precision_svg(outcomes: Sequence[Outcome], evaluation: Evaluation) -> str:
    """Return the precision-recall curve of the image scores with the operating point on it.

    A dashed line is the share of positives, what calling at random gives. Empty where all images
    have the same label.
    """
    points = precision_points(outcomes)
    if points is None:
        return ""
    positives = sum(item.positive for item in outcomes)

    with figures.panels() as (axes,):
        axes.set_title("Precision and recall of the image score")
        chance = positives / len(outcomes)
        axes.plot([0, 1], [chance] * 2, color=figures.QUIET, linewidth=0.9, linestyle=(0, (3, 3)))
        axes.step(points[0], points[1], where="pre", color=figures.SECOND)
        called = sum(item.called for item in outcomes)
        if called:
            right = sum(item.called and item.positive for item in outcomes)
            at = (evaluation.sensitivity.value, right / called)
            axes.plot([at[0]], [at[1]], "o", markersize=6, color=figures.INK, zorder=4)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(0, 1.04)
        axes.set_xlabel("recall (sensitivity)")
        axes.set_ylabel("precision")
        return figures.svg(axes, "Precision-recall curve of the image score")


def precision_points(
    outcomes: Sequence[Outcome],
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return recall and precision at each distinct score, the highest first, from recall 0.

    Precision at recall 0 is that at the highest score. None where all images have the same label.
    """
    points = roc_points(outcomes)
    if points is None:
        return None
    positives = sum(item.positive for item in outcomes)
    found = points[1][1:] * positives
    alarms = points[0][1:] * (len(outcomes) - positives)
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


def reliability_points(
    outcomes: Sequence[Outcome],
) -> tuple[NDArray[np.float64], ...]:
    """Return of each bin its mean score, its share of positives, the interval, its images.

    Bins hold equally many images as far as ties allow; the interval is Wilson's, of 95 %.

    Returns:
        Five arrays ``(bins,)``: mean score, share, low, high, count.
    """
    score = np.array([item.score for item in outcomes])
    positive = np.array([item.positive for item in outcomes])
    bins = metrics.equal_mass_bins(score)
    filled = np.unique(bins)
    said = np.array([score[bins == number].mean() for number in filled])
    counts = np.array([np.count_nonzero(bins == number) for number in filled])
    share = np.array([positive[bins == number].mean() for number in filled])
    return said, share, *wilson(share, counts), counts


def area_svg(outcomes: Sequence[Outcome]) -> str:
    """Return Dice against the true area, a dot for each image with a pneumothorax.

    Empty where there is none.
    """
    positives = [item for item in outcomes if item.positive and item.annotated]
    if not positives:
        return ""
    from matplotlib.ticker import NullFormatter

    with figures.panels() as (axes,):
        axes.set_title("Dice against area")
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
        axes.set_xscale("log")
        axes.set_xlim(*_decades([item.truth_px for item in positives]))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(0, 1)
        axes.set_xlabel("true area in pixels of the file")
        axes.set_ylabel("Dice")
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.3, borderpad=0
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


def _decades(areas: Sequence[int]) -> tuple[float, float]:
    """Return whole powers of ten around the areas."""
    low, high = np.floor(np.log10(min(areas))), np.ceil(np.log10(max(areas) + 1))
    return float(10**low), float(10**high)
