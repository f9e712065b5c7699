"""The report: one HTML page that shows how good a model is, and on which images it is not.

The page stands alone: pictures and charts are inside it, and its content security policy forbids
the browser to fetch anything. It names images by UID, never a patient.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pleura.evaluation import charts
from pleura.evaluation.intervals import Score
from pleura.evaluation.scores import Evaluation, Outcome
from pleura.formats.atomic import write_text
from pleura.formats.page import picture_source, render

Kind = Literal["found", "missed", "false-alarm", "empty"]

KINDS: Mapping[Kind, str] = {
    "found": "found",
    "missed": "missed",
    "false-alarm": "false alarm",
    "empty": "correctly empty",
}
"""What an answer can be, and how it is called on the page."""


@dataclass(frozen=True, slots=True)
class Case:
    """One picture of the gallery of predictions.

    Attributes:
        outcome: How the answer fared.
        picture: ``(rows, columns, 3)`` uint8 blue, green, red, as
            :func:`pleura.data.gallery.overlay` makes it; 320 to 384 pixels wide is enough.
    """

    outcome: Outcome
    picture: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Report:
    """What a page shows.

    Attributes:
        title: Its heading.
        evaluation: The figures.
        outcomes: All images, for the charts.
        cases: The pictures, in the order they are shown.
        curves_svg: Learning curves as trusted ``<svg>`` elements, put in as they are
            (:func:`pleura.training.curves.curves_svg`); empty where there are none.
        facts: What a reader wants to know of model, data and run, by name.
        notes: What must be known to believe the figures, a sentence each.
    """

    title: str
    evaluation: Evaluation
    outcomes: Sequence[Outcome]
    cases: Sequence[Case]
    curves_svg: str
    facts: Mapping[str, str]
    notes: Sequence[str]


def write_report(report: Report, path: Path) -> None:
    """Write the page, whole or not at all. The same report gives the same bytes.

    Raises:
        OutputError: The page could not be written.
    """
    write_text(path, render_report(report))


def render_report(report: Report) -> str:
    """Return the page as HTML; every text of the report is escaped."""
    counts = dict.fromkeys(KINDS, 0)
    for item in report.outcomes:
        counts[kind_of(item)] += 1
    return render(
        "pleura.evaluation",
        "report",
        report=report,
        figures=_figures(report.evaluation),
        counts=counts,
        tiles=[_tile(case) for case in report.cases],
        kinds=KINDS,
        curves=Markup(report.curves_svg),
        charts=[Markup(chart) for chart in _charts(report) if chart],
        facts={**_measured(report.evaluation), **report.facts},
    )


def kind_of(outcome: Outcome) -> Kind:
    """Return what an answer is: found, missed, a false alarm, or correctly empty."""
    if outcome.positive:
        return "found" if outcome.called else "missed"
    return "false-alarm" if outcome.called else "empty"


def choose_cases(outcomes: Sequence[Outcome], n: int) -> list[str]:
    """Return the ids of at most `n` images that show fairly how a model does.

    Half are found ones, evenly spread from the best Dice through the median to the worst; the rest
    are shared among misses (spread by area), false alarms (by predicted area) and correctly empty
    ones (by score). A kind that has too few leaves its places to the others. The same outcomes, in
    any order, give the same choice.

    Args:
        outcomes: One per image.
        n: How many at most.
    """
    members: dict[Kind, list[Outcome]] = {kind: [] for kind in KINDS}
    for item in sorted(outcomes, key=lambda item: item.image_id):
        members[kind_of(item)].append(item)
    members["found"].sort(key=lambda item: -item.dice)
    members["missed"].sort(key=lambda item: -item.truth_px)
    members["false-alarm"].sort(key=lambda item: -item.predicted_px)
    members["empty"].sort(key=lambda item: -item.score)
    places = dict.fromkeys(members, 0)
    turns: list[Kind] = ["found", "missed", "found", "false-alarm", "found", "empty"]
    wanted = min(n, len(outcomes))
    for kind in cycle(turns):
        if sum(places.values()) >= wanted:
            break
        places[kind] += places[kind] < len(members[kind])
    return [item.image_id for kind in KINDS for item in _spread(members[kind], places[kind])]


def _spread(items: Sequence[Outcome], count: int) -> list[Outcome]:
    """Return `count` of the items, evenly spread with both ends; a single one is the middle."""
    if count <= 1:
        return [items[len(items) // 2]] if count else []
    return [items[number * (len(items) - 1) // (count - 1)] for number in range(count)]


@dataclass(frozen=True, slots=True)
class _Figure:
    """One figure of the headline: its words, and its interval in percent of 0..1."""

    name: str
    value: str
    interval: str
    meaning: str
    at: float | None
    low: float | None
    high: float | None
    mark: float | None = None


def _figures(evaluation: Evaluation) -> list[_Figure]:
    positives, negatives = evaluation.positives, evaluation.images - evaluation.positives
    nothing = evaluation.all_empty_dice
    return [
        _figure(
            "Mean Dice",
            evaluation.mean_dice,
            f"Over all images; 1 where both masks are empty. Answering “none” to everything "
            f"scores {_number(nothing)}.",
            None if math.isnan(nothing) else nothing,
        ),
        _figure(
            "Positive Dice",
            evaluation.positive_dice,
            f"Over the {positives:,} images with a pneumothorax alone; a missed one counts 0.",
        ),
        _figure(
            "AUROC",
            evaluation.auroc,
            "How well the image score ranks images with a pneumothorax above those without; 0.5 "
            "is chance.",
            0.5,
        ),
        _figure(
            "Sensitivity",
            evaluation.sensitivity,
            f"Share of the {positives:,} with a pneumothorax that were called positive.",
        ),
        _figure(
            "Specificity",
            evaluation.specificity,
            f"Share of the {negatives:,} without one that were called negative.",
        ),
    ]


def _figure(name: str, score: Score, meaning: str, mark: float | None = None) -> _Figure:
    bounded = not (math.isnan(score.low) or math.isnan(score.high))
    interval = f"95 %: {score.low:.3f} to {score.high:.3f}" if bounded else "no interval"
    return _Figure(
        name=name,
        value=_number(score.value),
        interval=interval,
        meaning=meaning,
        at=_percent(score.value),
        low=_percent(score.low),
        high=_percent(score.high),
        mark=None if mark is None or math.isnan(score.value) else _percent(mark),
    )


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"


def _percent(value: float) -> float | None:
    return None if math.isnan(value) else round(100 * value, 2)


def _measured(evaluation: Evaluation) -> dict[str, str]:
    """Return the facts that the figures themselves hold."""
    return {
        "Images": f"{evaluation.images:,}, of which {evaluation.positives:,} with a pneumothorax",
        "Patients": f"{evaluation.patients:,} (an image of an unknown patient counts as one)",
        "Mean IoU": str(evaluation.mean_iou),
    }


@dataclass(frozen=True, slots=True)
class _Tile:
    kind: Kind
    label: str
    outcome: Outcome
    dice: str
    source: str
    width: int
    height: int


def _tile(case: Case) -> _Tile:
    kind = kind_of(case.outcome)
    height, width = case.picture.shape[:2]
    return _Tile(
        kind=kind,
        label=KINDS[kind],
        outcome=case.outcome,
        dice=f"{case.outcome.dice:.2f}",
        source=picture_source(case.picture),
        width=width,
        height=height,
    )


def _charts(report: Report) -> list[str]:
    return [
        charts.roc_svg(report.outcomes, report.evaluation),
        charts.area_svg(report.outcomes),
        charts.score_svg(report.outcomes),
    ]
