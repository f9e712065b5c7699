"""The report: one HTML page that shows how good a model is, and on which images it is not.

The page stands alone: pictures and charts are inside it, and its content security policy forbids
the browser to fetch anything. It names images by UID, never a patient.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pleura.evaluation import charts
from pleura.evaluation.comparison import Comparison
from pleura.evaluation.figures import Evaluation
from pleura.evaluation.intervals import Score
from pleura.evaluation.outcomes import Outcome
from pleura.evaluation.report_tables import as_number, make_tables
from pleura.rendering.page import picture_source, render
from pleura.storage.atomic import write_text

Kind = Literal["found", "missed", "false-alarm", "empty"]
Shown = dict[str, Any]
"""What the template asks for of a figure, or of a tile."""

KINDS: Mapping[Kind, str] = {
    "found": "found",
    "missed": "missed",
    "false-alarm": "false alarm",
    "empty": "correctly empty",
}
"""What an answer can be, and how it is called on the page."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a page shows.

    Attributes:
        title: Its heading.
        evaluation: The figures.
        outcomes: All images, for the charts.
        cases: Pictures of answers from the best to the worst, by image id in the order they are
            shown: ``(rows, columns, 3)`` uint8 blue, green, red, as
            :func:`pleura.rendering.overlay.overlay` makes them; 320 to 384 pixels wide is enough.
        failures: Pictures of misses and false alarms, likewise.
        curves_svg: Learning curves as trusted ``<svg>`` elements, put in as they are
            (:func:`pleura.training.curves.curves_svg`); empty where there are none.
        facts: What a reader wants to know of model, data and run, by name.
        notes: What must be known to believe the figures, a sentence each.
        comparison: With another model, where there is one.
    """

    title: str
    evaluation: Evaluation
    outcomes: Sequence[Outcome]
    facts: Mapping[str, str]
    notes: Sequence[str]
    cases: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    failures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    curves_svg: str = ""
    comparison: Comparison | None = None


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
    tables = make_tables(report.evaluation, report.comparison)
    charts_shown = [Markup(chart) for chart in _charts(report) if chart]
    return render(
        "pleura.evaluation",
        "report",
        report=report,
        figures=_figures(report.evaluation),
        counts=counts,
        cases=_tiles(report.cases, report.outcomes),
        failures=_tiles(report.failures, report.outcomes),
        failed=counts["missed"] + counts["false-alarm"],
        kinds=KINDS,
        tables=tables,
        contents=[
            *(["How the answers are spread"] if charts_shown else []),
            *(table.title for table in tables),
            *(["Training"] if report.curves_svg else []),
            *(["Best, median and worst"] if report.cases else []),
            *(["Failures"] if report.failures else []),
            "Facts",
        ],
        curves=Markup(report.curves_svg),
        charts=charts_shown,
        facts={**_measured(report.evaluation), **report.facts},
    )


def kind_of(outcome: Outcome) -> Kind:
    """Return what an answer is: found, missed, a false alarm, or correctly empty."""
    if outcome.positive:
        return "found" if outcome.called else "missed"
    return "false-alarm" if outcome.called else "empty"


def choose_cases(outcomes: Sequence[Outcome], n: int) -> list[str]:
    """Return the ids of at most `n` images that show fairly what right answers look like.

    Three quarters are found ones, evenly spread from the best Dice through the median to the worst;
    the rest are correctly empty ones, from the highest score down. A kind that has too few leaves
    its places to the other. The same outcomes, in any order, give the same choice.

    Args:
        outcomes: One per image.
        n: How many at most.
    """
    members = _by_kind(outcomes)
    places = _places(members, ("found", "found", "found", "empty"), n)
    return [item.image_id for kind in places for item in _spread(members[kind], places[kind])]


def choose_failures(outcomes: Sequence[Outcome], n: int) -> list[str]:
    """Return the ids of at most `n` images that were answered wrongly, the gravest of each kind.

    Half are misses, the largest first, and half are false alarms, the highest score first; a kind
    that has too few leaves its places to the other.

    Args:
        outcomes: One per image.
        n: How many at most.
    """
    members = _by_kind(outcomes)
    places = _places(members, ("missed", "false-alarm"), n)
    return [item.image_id for kind in places for item in members[kind][: places[kind]]]


def _by_kind(outcomes: Sequence[Outcome]) -> dict[Kind, list[Outcome]]:
    """Return the outcomes of each kind, those first that show it best."""
    members: dict[Kind, list[Outcome]] = {kind: [] for kind in KINDS}
    shown = (item for item in outcomes if item.annotated)  # no picture without a true mask
    for item in sorted(shown, key=lambda item: item.image_id):
        members[kind_of(item)].append(item)
    members["found"].sort(key=lambda item: -item.dice)
    members["missed"].sort(key=lambda item: -item.truth_px)
    members["false-alarm"].sort(key=lambda item: -item.score)
    members["empty"].sort(key=lambda item: -item.score)
    return members


def _places(
    members: Mapping[Kind, Sequence[Outcome]], turns: Sequence[Kind], n: int
) -> dict[Kind, int]:
    """Return how many of each kind are shown where kinds take a place each in turn."""
    places = dict.fromkeys(turns, 0)
    wanted = min(n, sum(len(members[kind]) for kind in places))
    for kind in cycle(turns):
        if sum(places.values()) >= wanted:
            break
        places[kind] += places[kind] < len(members[kind])
    return places


def _spread(items: Sequence[Outcome], count: int) -> list[Outcome]:
    """Return `count` of the items, evenly spread with both ends; a single one is the middle."""
    if count <= 1:
        return [items[len(items) // 2]] if count else []
    return [items[number * (len(items) - 1) // (count - 1)] for number in range(count)]


def _figures(evaluation: Evaluation) -> list[Shown]:
    positives, negatives = evaluation.positives, evaluation.images - evaluation.positives
    nothing = evaluation.all_empty_dice
    of_masks = [
        _figure(
            "Mean Dice",
            evaluation.mean_dice,
            f"Over all images; 1 where both masks are empty. Answering “none” to everything "
            f"scores {as_number(nothing)}.",
            None if math.isnan(nothing) else nothing,
        ),
        _figure(
            "Positive Dice",
            evaluation.positive_dice,
            f"Over the {positives:,} images with a pneumothorax alone; a missed one counts 0.",
        ),
    ]
    of_scores = [
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
    if evaluation.annotated or not evaluation.images:
        return of_masks + of_scores
    return [
        *of_scores,
        _figure(
            "Average precision",
            evaluation.average_precision,
            f"Of the image score; {as_number(positives / max(evaluation.images, 1))} is chance.",
            positives / max(evaluation.images, 1),
        ),
    ]


def _figure(name: str, score: Score, meaning: str, mark: float | None = None) -> Shown:
    """Return one figure of the headline: its words, and its interval in percent of 0..1."""
    bounded = not (math.isnan(score.low) or math.isnan(score.high))
    interval = f"95 %: {score.low:.3f} to {score.high:.3f}" if bounded else "no interval"
    return {
        "name": name,
        "value": as_number(score.value),
        "interval": interval,
        "meaning": meaning,
        "at": _percent(score.value),
        "low": _percent(score.low),
        "high": _percent(score.high),
        "mark": None if mark is None or math.isnan(score.value) else _percent(mark),
    }


def _percent(value: float) -> float | None:
    return None if math.isnan(value) else round(100 * value, 2)


def _measured(evaluation: Evaluation) -> dict[str, str]:
    """Return the facts that the figures themselves hold."""
    without = evaluation.images - evaluation.annotated
    facts = {
        "Images": f"{evaluation.images:,}, of which {evaluation.positives:,} with a pneumothorax"
        + (f"; {without:,} with a label and no mask" if without else ""),
        "Patients": f"{evaluation.patients:,} (an image of an unknown patient counts as one)",
    }
    if not evaluation.annotated:
        return facts
    return facts | {
        "Lesions": f"{evaluation.lesions:,} (parts of the true masks; pixels that share a corner "
        "are connected; found where the answer covers at least one pixel)"
    }


def _tiles(pictures: Mapping[str, NDArray[np.uint8]], outcomes: Sequence[Outcome]) -> list[Shown]:
    """Return the tiles of `pictures`; the best, median and worst of the found ones are named so."""
    found = _by_kind(outcomes)["found"]
    ranks = {}
    if len(found) > 2:
        places = {"median": (len(found) - 1) // 2, "best": 0, "worst": -1}
        ranks = {found[place].image_id: f", {rank}" for rank, place in places.items()}
    by_id = {item.image_id: item for item in outcomes}
    return [_tile(by_id[name], one, ranks.get(name, "")) for name, one in pictures.items()]


def _tile(outcome: Outcome, picture: NDArray[np.uint8], rank: str) -> Shown:
    kind = kind_of(outcome)
    height, width = picture.shape[:2]
    return {
        "kind": kind,
        "label": KINDS[kind] + rank,
        "outcome": outcome,
        "dice": f"{outcome.dice:.2f}",
        "source": picture_source(picture),
        "width": width,
        "height": height,
    }


def _charts(report: Report) -> list[str]:
    return [
        charts.roc_svg(report.outcomes, report.evaluation),
        charts.precision_svg(report.outcomes, report.evaluation),
        charts.reliability_svg(report.outcomes),
        charts.area_svg(report.outcomes),
        charts.score_svg(report.outcomes),
    ]
