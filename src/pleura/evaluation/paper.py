"""Figures for a paper: each as PNG, SVG and PDF, with its points as CSV.

They are read in grey too: lines differ by their strokes, groups by their marks, and the two colours
by their lightness. In curves patients count the same, as in all figures. Bands are 95 % intervals
over resamples of patients.
"""

import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pleura.evaluation.charts import (
    MARKERS,
    Points,
    Ranking,
    precision_points,
    reliability_points,
    roc_points,
)
from pleura.evaluation.figures import Evaluation
from pleura.evaluation.intervals import draw_patients, patient_weights
from pleura.evaluation.outcomes import Outcome
from pleura.evaluation.scores import Table
from pleura.formats.csv_cells import csv_line
from pleura.rendering import figures
from pleura.storage.atomic import write_bytes, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESAMPLES = 500
DARK, LIGHT = "#0b4f79", "#e08214"
"""A dark blue and a light orange, which stay apart in grey and for every kind of colour vision."""

_WIDTH, _HEIGHT, _LEGEND_LINE = 3.5, 3.3, 0.19  # inches; 3.5 is a column of a journal
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "path",  # a journal has other fonts
    "pdf.fonttype": 42,
    "axes.titleweight": "normal",
    "axes.labelcolor": figures.INK,
    "xtick.labelcolor": figures.INK,
    "ytick.labelcolor": figures.INK,
}
_GRID = np.linspace(0, 1, 101)
_FORMATS = ("png", "svg", "pdf")
_POINT: dict[str, Any] = {
    "color": LIGHT,
    "markeredgecolor": figures.INK,
    "zorder": 4,
    "clip_on": False,
}
_BAND: dict[str, Any] = {"color": DARK, "alpha": 0.18, "linewidth": 0, "label": "95 % band"}
_CHANCE: dict[str, Any] = {"color": figures.QUIET, "linewidth": 0.9, "linestyle": (0, (3, 3))}


@dataclass(frozen=True, slots=True)
class PaperFigure:
    """One figure.

    Attributes:
        name: Of its files.
        draw: Draws it.
        columns: Names of its points.
        rows: Its points.
        beside: How many entries of its legend stand side by side.
    """

    name: str
    draw: Callable[["Axes"], None]
    columns: tuple[str, ...]
    rows: Sequence[Sequence[float | str]]
    beside: int = 1


def write_figures(outcomes: Sequence[Outcome], evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write each figure that the outcomes allow into a folder; return the files.

    Raises:
        OutputError: One could not be written.
    """
    written = []
    for figure in paper_figures(outcomes, evaluation):
        for form in _FORMATS:
            path = folder / f"{figure.name}.{form}"
            write_bytes(path, _file(figure, form))
            written.append(path)
        path = folder / f"{figure.name}.csv"
        write_text(path, csv_line(figure.columns) + "".join(csv_line(row) for row in figure.rows))
        written.append(path)
    return written


def paper_figures(outcomes: Sequence[Outcome], evaluation: Evaluation) -> list[PaperFigure]:
    """Return the figures that the outcomes allow: no ROC curve where all have one label."""
    scored = not math.isnan(evaluation.auroc.value)
    curves = [_roc, _precision] if scored else []
    if scored and all(0 <= item.score <= 1 for item in outcomes):
        curves += [_reliability, _decision]
    made = [curve(outcomes, evaluation) for curve in curves]
    if any(item.positive and item.annotated for item in outcomes):
        made += [_area(outcomes)]
        made += [_froc(outcomes)] if scored else []
    table = Table.of(outcomes)
    made += [_confusion(table, "default", table.called)]
    return made + [
        _confusion(table, item.name, table.reaching(item.name, item.point.score))
        for item in evaluation.points[1:]
    ]


def drawn(paper_figure: PaperFigure) -> "Figure":
    """Return one figure as matplotlib's, a column of a journal wide."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**figures.STYLE, **_STYLE}):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        paper_figure.draw(axes)
        handles, labels = axes.get_legend_handles_labels()
        if labels:  # above the chart, which grows by it, so that it hides no curve
            lines = math.ceil(len(labels) / paper_figure.beside)
            figure.set_figheight(_HEIGHT + _LEGEND_LINE * lines)
            figure.legend(handles, labels, loc="outside upper center", ncols=paper_figure.beside)
    return figure


def _file(paper_figure: PaperFigure, form: str) -> bytes:
    import matplotlib

    content = io.BytesIO()
    no_date = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    salt: dict[Any, Any] = {"svg.hashsalt": paper_figure.name}
    with matplotlib.rc_context({**figures.STYLE, **_STYLE, **salt}):
        drawn(paper_figure).savefig(
            content, format=form, dpi=300, facecolor="white", metadata=no_date[form]
        )
    return content.getvalue()


def _band(outcomes: Sequence[Outcome], curve: Callable[[Ranking], Points | None]) -> Points:
    """Return the 95 % band of a curve over :data:`_GRID`, by resamples of whole patients."""
    draws = draw_patients([item.patient for item in outcomes], 0, RESAMPLES, weigh="patients")
    ranking, found = Ranking.of(outcomes), []
    for weights in draws.weights[1:]:
        points = curve(replace(ranking, weight=weights))
        if points is not None:
            found.append(np.interp(_GRID, points[0], points[1]))
    if not found:
        return np.full(len(_GRID), np.nan), np.full(len(_GRID), np.nan)
    low, high = np.percentile(np.array(found), [2.5, 97.5], axis=0)
    return low, high


def _unit(axes: "Axes", across: str, up: str) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    axes.set_xlabel(across)
    axes.set_ylabel(up)


def _told(name: str, score: Any) -> str:
    if math.isnan(score.low):
        return f"{name} {score.value:.2f}"
    return f"{name} {score.value:.2f} ({score.low:.2f} to {score.high:.2f})"


def _roc(outcomes: Sequence[Outcome], evaluation: Evaluation) -> PaperFigure:
    points = roc_points(Ranking.of(outcomes))
    assert points is not None  # there is an AUROC
    low, high = _band(outcomes, roc_points)
    told = {"default": (evaluation.specificity, evaluation.sensitivity)}
    told |= {item.name: (item.specificity, item.sensitivity) for item in evaluation.points[1:]}
    called_at = {name: (1 - cleared.value, found.value) for name, (cleared, found) in told.items()}

    def draw(axes: "Axes") -> None:
        axes.plot(points[0], points[1], color=DARK, label=_told("AUROC", evaluation.auroc))
        axes.fill_between(_GRID, low, high, **_BAND)
        axes.plot([0, 1], [0, 1], **_CHANCE, label="chance")
        for name, at in called_at.items():
            own = name == "default"
            axes.plot(
                *at,
                MARKERS.get(name, "D") if not own else "o",
                **{**_POINT, **({} if own else {"color": "white"})},
                label="operating point" if own else name,
            )
        _unit(axes, "1 \N{MINUS SIGN} specificity", "Sensitivity")

    rows = [("curve", *pair, "", "") for pair in zip(*_plain(points), strict=True)]
    rows += [("band", x, "", *pair) for x, *pair in zip(*_plain((_GRID, low, high)), strict=True)]
    rows += [(name, round(x, 6), round(y, 6), "", "") for name, (x, y) in called_at.items()]
    columns = ("part", "false_positive_rate", "sensitivity", "low", "high")
    return PaperFigure("roc", draw, columns, rows, beside=2)


def _precision(outcomes: Sequence[Outcome], evaluation: Evaluation) -> PaperFigure:
    ranking = Ranking.of(outcomes)
    points = precision_points(ranking)
    assert points is not None
    low, high = _band(outcomes, precision_points)
    share = ranking.prevalence

    def draw(axes: "Axes") -> None:
        label = _told("AP", evaluation.average_precision)
        axes.step(points[0], points[1], where="pre", color=DARK, label=label)
        axes.fill_between(_GRID, low, high, **_BAND)
        axes.plot([0, 1], [share] * 2, **_CHANCE, label=f"prevalence {share:.2f}")
        _unit(axes, "Recall (sensitivity)", "Precision")

    rows = [("curve", *pair, "", "") for pair in zip(*_plain(points), strict=True)]
    rows += [("band", x, "", *pair) for x, *pair in zip(*_plain((_GRID, low, high)), strict=True)]
    columns = ("part", "recall", "precision", "low", "high")
    return PaperFigure("precision-recall", draw, columns, rows, beside=2)


def _reliability(outcomes: Sequence[Outcome], evaluation: Evaluation) -> PaperFigure:
    said, share, low, high, counts = reliability_points(outcomes)

    def draw(axes: "Axes") -> None:
        bars = np.array([share - low, high - share])
        axes.errorbar(
            said,
            share,
            yerr=bars,
            fmt="o",
            color=DARK,
            capsize=2,
            linewidth=1,
            markersize=4,
            label=_told("calibration error", evaluation.calibration_error),
            clip_on=False,
        )
        axes.plot([0, 1], [0, 1], **_CHANCE, label="perfectly calibrated")
        _unit(axes, "Mean score", "Share with a pneumothorax")

    rows = list(zip(*_plain((said, share, low, high)), counts.tolist(), strict=True))
    return PaperFigure("reliability", draw, ("mean_score", "share", "low", "high", "images"), rows)


def _decision(outcomes: Sequence[Outcome], evaluation: Evaluation) -> PaperFigure:
    """Net benefit of calling from each threshold on (Vickers and Elkin 2006)."""
    ranking = Ranking.of(outcomes)
    share, weight = ranking.prevalence, ranking.weight / ranking.weight.sum()
    at = np.arange(0.01, 0.61, 0.01)
    odds = at / (1 - at)
    called = np.array([item.score for item in outcomes]) >= at[:, None]
    found, alarms = called @ (weight * ranking.positive), called @ (weight * ~ranking.positive)
    ours, everybody = found - alarms * odds, share - (1 - share) * odds

    def draw(axes: "Axes") -> None:
        axes.plot(at, ours, color=DARK, label="by the score")
        axes.plot(at, everybody, color=LIGHT, linestyle=(0, (5, 2)), label="call everybody")
        axes.axhline(0, color=figures.QUIET, linestyle=(0, (1, 1.5)), label="call nobody")
        top = max(float(ours.max()), share)
        axes.set_ylim(-0.25 * top, 1.1 * top)
        axes.set_xlim(0, 0.6)
        axes.set_xlabel("Threshold probability")
        axes.set_ylabel("Net benefit")

    rows = list(zip(*_plain((at, ours, everybody)), strict=True))
    columns = ("threshold", "by_score", "call_everybody")
    return PaperFigure("decision-curve", draw, columns, rows, beside=2)


def _area(outcomes: Sequence[Outcome]) -> PaperFigure:
    positives = [item for item in outcomes if item.positive and item.annotated and item.truth_px]
    share = [100 * item.truth_px / item.image_px for item in positives]

    def draw(axes: "Axes") -> None:
        for called, mark, colour, label in (
            (True, "o", DARK, "called positive"),
            (False, "x", LIGHT, "called negative"),
        ):
            chosen = [n for n, item in enumerate(positives) if item.called == called]
            axes.plot(
                [share[n] for n in chosen],
                [positives[n].dice for n in chosen],
                mark,
                color=colour,
                markersize=4 if called else 5,
                markeredgewidth=0 if called else 1.4,
                alpha=0.75 if called else 1,
                label=f"{label} ({len(chosen)})",
                clip_on=False,
            )
        figures.log_axis(axes, min(share), max(share))
        axes.set_ylim(0, 1)
        axes.set_xlabel("True area, % of the image")
        axes.set_ylabel("Dice")

    rows = [
        (item.image_id, part, item.dice, "positive" if item.called else "negative")
        for item, part in zip(positives, share, strict=True)
    ]
    columns = ("image_id", "area_percent", "dice", "called")
    return PaperFigure("dice-area", draw, columns, rows, beside=2)


def _froc(outcomes: Sequence[Outcome]) -> PaperFigure:
    """Lesions found against false lesions per image, as the score to be called rises."""
    known = sorted((o for o in outcomes if o.annotated), key=lambda o: -o.score)
    score = np.array([item.score for item in known])
    weight = patient_weights([item.patient for item in known])
    last = np.append(score[1:] != score[:-1], True)
    lesions = weight @ [item.lesions for item in known]
    found = np.cumsum(weight * [item.lesions_found for item in known])[last] / (lesions or 1)
    false = np.cumsum(weight * [item.false_lesions for item in known])[last] / weight.sum()

    def draw(axes: "Axes") -> None:
        axes.step(np.append(0, false), np.append(0, found), where="post", color=DARK)
        axes.plot(false[-1], found[-1], "o", **_POINT, label="operating point")
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1)
        axes.set_xlabel("False lesions per image")
        axes.set_ylabel("Share of lesions found")

    rows = list(zip(*_plain((score[last], false, found)), strict=True))
    return PaperFigure("froc", draw, ("score", "false_lesions_per_image", "lesions_found"), rows)


def _confusion(table: Table, name: str, called: NDArray[np.bool_]) -> PaperFigure:
    positive = table.positive
    counts = np.array(
        [
            [np.count_nonzero(positive & called), np.count_nonzero(positive & ~called)],
            [np.count_nonzero(~positive & called), np.count_nonzero(~positive & ~called)],
        ]
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def draw(axes: "Axes") -> None:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25)
        for row in range(2):
            for column in range(2):
                n, share = counts[row, column], shares[row, column]
                colour = "white" if share > 0.75 else figures.INK
                text = f"{n:,}\n{100 * share:.1f} %"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=11)
        axes.set_xticks([0, 1], ["positive", "negative"])
        axes.set_yticks([0, 1], ["positive", "negative"], rotation=90, va="center")
        axes.set_xlabel(f"Called (operating point: {name})")
        axes.set_ylabel("Truth (each row adds up to 100 %)")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)

    rows = [
        (truth, call, int(counts[r, c]))
        for r, truth in enumerate(("positive", "negative"))
        for c, call in enumerate(("positive", "negative"))
    ]
    return PaperFigure(f"confusion-{name}", draw, ("truth", "called", "images"), rows)


def _plain(columns: Iterable[NDArray[np.float64]]) -> list[list[float]]:
    return [[round(value, 6) for value in column.tolist()] for column in columns]
