"""The report: one HTML page that shows how good a model is, and on which images it is not.

The page stands alone: pictures and charts are inside it, and its content security policy forbids
the browser to fetch anything. It names images by UID, never a patient.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import cycle
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pleura.evaluation import charts
from pleura.evaluation.comparison import CALLS_ABOUT, METHODS, Comparison, p_value
from pleura.evaluation.figures import FIGURES, OF_MASKS, By, Evaluation, Naive, Stratum
from pleura.evaluation.intervals import Score
from pleura.evaluation.outcomes import Outcome
from pleura.rendering.page import picture_source, render
from pleura.storage.atomic import write_text

Item = TypeVar("Item")
Kind = Literal["found", "missed", "false-alarm", "empty"]

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
    cases: Mapping[str, NDArray[np.uint8]]
    failures: Mapping[str, NDArray[np.uint8]]
    curves_svg: str
    facts: Mapping[str, str]
    notes: Sequence[str]
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
    tables = [_with_something(table) for table in _tables(report)]
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
    of_masks = [
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
            f"Of the image score; {_number(positives / max(evaluation.images, 1))} is chance.",
            positives / max(evaluation.images, 1),
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


@dataclass(frozen=True, slots=True)
class _Cell:
    """A figure in a table: its value, and its interval below."""

    value: str
    interval: str = ""


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of figures: the first column names the rows, groups of rows have a heading."""

    title: str
    meaning: str
    columns: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[_Cell, ...], ...]], ...]


def _rows(
    items: Sequence[Item], columns: Mapping[str, Callable[[Item], _Cell]]
) -> tuple[tuple[_Cell, ...], ...]:
    """Return a row for each item, of what each column says of it."""
    return tuple(tuple(cell(item) for cell in columns.values()) for item in items)


def _table(
    title: str, meaning: str, items: Sequence[Item], columns: Mapping[str, Callable[[Item], _Cell]]
) -> _Table:
    return _Table(title, meaning, tuple(columns), (("", _rows(items, columns)),))


def _with_something(table: _Table) -> _Table:
    """Return a table without the columns that say nothing of anything."""
    rows = [row for _, rows in table.groups for row in rows]
    kept = [
        n
        for n in range(len(table.columns))
        if n == 0 or any(row[n].value not in ("", "undefined") for row in rows)
    ]
    groups = tuple(
        (name, tuple(tuple(row[n] for n in kept) for row in rows)) for name, rows in table.groups
    )
    return replace(table, columns=tuple(table.columns[n] for n in kept), groups=groups)


_PARTS: Mapping[By, str] = {
    "size": "Size of the pneumothorax",
    "sex": "Sex",
    "age": "Age in years",
    "view": "View",
    "negatives": "Kind of negative",
    "truth": "What the truth is",
}


def _tables(report: Report) -> list[_Table]:
    tables = _comparison(report.comparison) if report.comparison is not None else []
    tables += [_all_figures(report.evaluation)]
    if report.evaluation.distances:
        tables.append(_distances(report.evaluation))
    if report.evaluation.points:
        tables.append(_points(report.evaluation))
    if report.evaluation.mixes:
        tables.append(_mixes(report.evaluation))
    tables += [_predictive_values(report.evaluation), _strata(report.evaluation)]
    if report.evaluation.naive is not None:
        tables += _usual(report.evaluation, report.evaluation.naive)
    return tables


def _mixes(evaluation: Evaluation) -> _Table:
    return _table(
        "Expected elsewhere",
        "The same images, weighed so that the share of positives, and where it is known the share "
        "of each size, are those of another set.",
        evaluation.mixes,
        {
            "": lambda item: _Cell(item.name),
            "prevalence": lambda item: _Cell(f"{100 * item.prevalence:.3g} %"),
            "mean Dice of answering none": lambda item: _Cell(_number(item.all_empty_dice)),
            "mean Dice": lambda item: _cell(item.mean_dice),
            "positive Dice": lambda item: _cell(item.positive_dice),
            "AUROC": lambda item: _cell(item.auroc),
            "sensitivity": lambda item: _cell(item.sensitivity),
            "specificity": lambda item: _cell(item.specificity),
        },
    )


def _usual(evaluation: Evaluation, naive: Naive) -> list[_Table]:
    rows = []
    for name in (place.name for place in fields(naive)):
        usual, ours = getattr(naive, name), getattr(evaluation, name).value
        if not math.isnan(usual - ours):
            apart = _Cell(f"{usual - ours:+z.3f}")
            rows.append((_Cell(_capital(FIGURES[name])), _Cell(_number(usual)), apart))
    if all(row[2].value == "+0.000" for row in rows):
        return []  # each patient has one image, and nothing was chosen on these
    return [
        _Table(
            "As usually computed",
            "Each image counts alike, however many its patient has, and thresholds are judged on "
            "the images that chose them, where these did. The last column is by how much that "
            "flatters.",
            ("", "value", "more than above"),
            (("", tuple(rows)),),
        )
    ]


def _comparison(comparison: Comparison) -> list[_Table]:
    stated = comparison.margin is not None
    rows = tuple(
        (
            _Cell(_capital(FIGURES[item.name])),
            _cell(item.difference, sign=True),
            *([_Cell(item.verdict or "undefined")] if stated else []),
            _Cell("undefined" if math.isnan(item.above) else f"{100 * item.above:.1f} %"),
            _Cell(_number(item.ours)),
            _Cell(_number(item.theirs)),
        )
        for item in comparison.differences
    )
    margin = f"at a margin of {comparison.margin:g}" if stated else ""
    differences = _Table(
        "Against the other",
        f"On the same {comparison.images:,} images ({comparison.positives:,} with a pneumothorax) "
        f"of {comparison.patients:,} patients. Paired bootstrap: both figures of a difference over "
        "the same draws of patients. Above 0 is the share of draws in which this one's figure is "
        "the higher; of false lesions, Brier score and calibration error lower is better."
        + (
            " Non-inferior is what by its 95 % interval is worse by less than the margin."
            if stated
            else ""
        ),
        ("", "difference", *([margin] if stated else []), "above 0 in", "this one", "the other"),
        (("", rows),),
    )
    return [differences, _tests(comparison)]


def _tests(comparison: Comparison) -> _Table:
    auroc = comparison.auroc
    rows = [
        (
            _Cell(f"{CALLS_ABOUT[item.among]}: {METHODS[item.method]}"),
            _Cell(f"{item.ours:,} of {item.images:,}"),
            _Cell(f"{item.theirs:,} of {item.images:,}"),
            _Cell(p_value(item.p)),
        )
        for item in comparison.calls
    ]
    if auroc is not None:
        apart = _cell(auroc.difference, sign=True)
        rows.insert(0, (_Cell("AUROC: DeLong"), apart, _Cell(""), _Cell(p_value(auroc.p))))
    return _Table(
        "Tests of the difference",
        "Of AUROC the difference by DeLong's method; of calls how many images this one alone, and "
        "the other alone, called rightly (McNemar). Patients count as one each, in DeLong's "
        "variance too (Obuchowski), so several images of a patient are not several witnesses.",
        ("", "this one alone", "the other alone", "p"),
        (("", tuple(rows)),),
    )


def _all_figures(evaluation: Evaluation) -> _Table:
    without = evaluation.images > 0 and not evaluation.annotated
    rows = []
    for name, words in FIGURES.items():
        if not (without and name in OF_MASKS):
            cell = _cell(getattr(evaluation, name))
            rows.append((_Cell(_capital(words)), replace(cell, interval=""), _Cell(cell.interval)))
    return _Table(
        "All figures",
        "Of calls, at the default operating point. AUROC, average precision, Brier score and "
        "calibration error are of the calibrated score alone."
        + (" Nobody drew a mask, so there is no Dice." if without else ""),
        ("", "value", "95 % interval"),
        (("", tuple(rows)),),
    )


def _distances(evaluation: Evaluation) -> _Table:
    return _table(
        "Distance of the outlines",
        "The mean over images that have both a true and an answered outline; in mm over those "
        "whose spacing can be believed. Where a mask is empty there is no distance: such images "
        "are counted beside it, and none of them is in the mean.",
        evaluation.distances,
        {
            "": lambda item: _Cell("in mm" if item.unit == "mm" else "in pixels"),
            "Hausdorff (95 %)": lambda item: _cell(item.hausdorff95, digits=1),
            "mean distance": lambda item: _cell(item.surface_distance, digits=1),
            "images with both": lambda item: _Cell(f"{item.images:,}"),
            "missed": lambda item: _Cell(f"{item.missed:,}"),
            "false alarms": lambda item: _Cell(f"{item.false_alarms:,}"),
            "both empty": lambda item: _Cell(f"{item.both_empty:,}"),
        },
    )


def _points(evaluation: Evaluation) -> _Table:
    return _table(
        "Operating points",
        "The default calls an image that keeps a mask; the others are thresholds of the score "
        "alone. Sensitive and specific reached 0.95 on the images they were chosen on. The rule "
        "calls where the probability exceeds 1 / (1 + d), d the Dice expected on a positive.",
        evaluation.points,
        {
            "": lambda item: _Cell(item.name),
            "score": lambda item: _Cell(f"{item.point.score:.3f}"),
            "mask": lambda item: _Cell(f"{item.point.mask:.2f}"),
            "smallest area": lambda item: _Cell(f"{100 * item.point.min_area:.3g} %"),
            "sensitivity": lambda item: _cell(item.sensitivity),
            "specificity": lambda item: _cell(item.specificity),
        },
    )


def _predictive_values(evaluation: Evaluation) -> _Table:
    return _table(
        "Predictive values",
        "What an answer at the default operating point means where this share of patients has a "
        "pneumothorax: by Bayes' rule from the sensitivity and specificity above.",
        evaluation.predictive_values,
        {
            "prevalence": lambda item: _Cell(f"{100 * item.prevalence:.3g} %"),
            "called, and has one": lambda item: _cell(item.positive),
            "not called, and has none": lambda item: _cell(item.negative),
        },
    )


def _strata(evaluation: Evaluation) -> _Table:
    def unless(part: By, name: str) -> Callable[[Stratum], _Cell]:
        return lambda item: _Cell("") if item.by == part else _cell(getattr(item, name))

    columns: dict[str, Callable[[Stratum], _Cell]] = {
        "": lambda item: _Cell(item.name),
        "images": lambda item: _Cell(f"{item.images:,}"),
        "positive": lambda item: _Cell(f"{item.positives:,}"),
        "mean Dice": unless("size", "mean_dice"),
        "positive Dice": unless("negatives", "positive_dice"),
        "AUROC": lambda item: _cell(item.auroc),
        "sensitivity": unless("negatives", "sensitivity"),
        "specificity": unless("size", "specificity"),
    }
    strata = [item for item in evaluation.strata if item.images]
    parts = {heading: [item for item in strata if item.by == by] for by, heading in _PARTS.items()}
    return _Table(
        "By part of the images",
        "The sizes, as shares of the image, hold positives only, and their AUROC is against all "
        "images without a pneumothorax; that of a kind of negative is against all images with one.",
        tuple(columns),
        tuple((heading, _rows(items, columns)) for heading, items in parts.items() if items),
    )


def _cell(score: Score, *, sign: bool = False, digits: int = 3) -> _Cell:
    if math.isnan(score.value):
        return _Cell("undefined")
    form = f"{'+' if sign else ''}.{digits}f"
    if math.isnan(score.low):
        return _Cell(f"{score.value:{form}}", "no interval")
    return _Cell(f"{score.value:{form}}", f"{score.low:{form}} to {score.high:{form}}")


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


@dataclass(frozen=True, slots=True)
class _Tile:
    kind: Kind
    label: str
    outcome: Outcome
    dice: str
    source: str
    width: int
    height: int


def _tiles(pictures: Mapping[str, NDArray[np.uint8]], outcomes: Sequence[Outcome]) -> list[_Tile]:
    """Return the tiles of `pictures`; the best, median and worst of the found ones are named so."""
    found = _by_kind(outcomes)["found"]
    ranks = {}
    if len(found) > 2:
        places = {"median": (len(found) - 1) // 2, "best": 0, "worst": -1}
        ranks = {found[place].image_id: f", {rank}" for rank, place in places.items()}
    by_id = {item.image_id: item for item in outcomes}
    return [_tile(by_id[name], one, ranks.get(name, "")) for name, one in pictures.items()]


def _tile(outcome: Outcome, picture: NDArray[np.uint8], rank: str) -> _Tile:
    kind = kind_of(outcome)
    height, width = picture.shape[:2]
    return _Tile(
        kind=kind,
        label=KINDS[kind] + rank,
        outcome=outcome,
        dice=f"{outcome.dice:.2f}",
        source=picture_source(picture),
        width=width,
        height=height,
    )


def _charts(report: Report) -> list[str]:
    return [
        charts.roc_svg(report.outcomes, report.evaluation),
        charts.precision_svg(report.outcomes, report.evaluation),
        charts.reliability_svg(report.outcomes),
        charts.area_svg(report.outcomes),
        charts.score_svg(report.outcomes),
    ]
