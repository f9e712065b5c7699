"""The charts of a report: ROC curve, Dice against area, and scores by label, as inline SVG."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pleura.evaluation.scores import Evaluation, Outcome
from pleura.formats import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 25


def roc_svg(outcomes: Sequence[Outcome], evaluation: Evaluation) -> str:
    """Return the ROC curve of the image scores with the operating point on it.

    Empty where it is undefined: all images have the same label.
    """
    points = roc_points(outcomes)
    if points is None:
        return ""

    def draw(axes: "Axes") -> None:
        axes.set_title("ROC curve of the image score")
        axes.plot([0, 1], [0, 1], color=figures.QUIET, linewidth=0.9, linestyle=(0, (3, 3)))
        axes.plot(points[0], points[1], color=figures.SECOND)
        at = (1 - evaluation.specificity.value, evaluation.sensitivity.value)
        axes.plot([at[0]], [at[1]], "o", markersize=6, color=figures.INK, zorder=4)
        axes.annotate(
            "operating point",
            at,
            xytext=(9, -13) if at[0] < 0.6 else (-9, -13),
            textcoords="offset points",
            ha="left" if at[0] < 0.6 else "right",
            fontsize=8.5,
        )
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(0, 1.04)
        axes.set_xlabel("false alarms (1 - specificity)")
        axes.set_ylabel("sensitivity")

    return figures.svg(draw, "ROC curve of the image score")


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


def area_svg(outcomes: Sequence[Outcome]) -> str:
    """Return Dice against the true area, a dot for each image with a pneumothorax.

    Empty where there is none.
    """
    positives = [item for item in outcomes if item.positive]
    if not positives:
        return ""
    from matplotlib.ticker import NullFormatter

    def draw(axes: "Axes") -> None:
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

    return figures.svg(draw, "Dice against true area")


def score_svg(outcomes: Sequence[Outcome]) -> str:
    """Return how the image scores are spread in the two groups; empty where there is no image."""
    if not outcomes:
        return ""

    from matplotlib.ticker import MaxNLocator

    def draw(axes: "Axes") -> None:
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

    return figures.svg(draw, "Image scores by label")


def _decades(areas: Sequence[int]) -> tuple[float, float]:
    """Return whole powers of ten around the areas."""
    low, high = np.floor(np.log10(min(areas))), np.ceil(np.log10(max(areas) + 1))
    return float(10**low), float(10**high)
