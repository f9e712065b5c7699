"""The tables of a report, as rows of cells that its template draws."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

from pleura.evaluation.comparison import CALLS_ABOUT, METHODS, Comparison, p_value
from pleura.evaluation.figures import FIGURES, OF_MASKS, By, Evaluation, Naive, Stratum
from pleura.evaluation.intervals import Score

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ShownCell:
    """A figure in a table: its value, and its interval below."""

    value: str
    interval: str = ""


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A table of figures: the first column names the rows, groups of rows have a heading."""

    title: str
    meaning: str
    columns: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[ShownCell, ...], ...]], ...]


def as_number(value: float) -> str:
    """Return a figure as it is shown, with three digits."""
    return "undefined" if math.isnan(value) else f"{value:.3f}"


def _rows(
    items: Sequence[Item], columns: Mapping[str, Callable[[Item], ShownCell]]
) -> tuple[tuple[ShownCell, ...], ...]:
    """Return a row for each item, of what each column says of it."""
    return tuple(tuple(cell(item) for cell in columns.values()) for item in items)


def _table(
    title: str,
    meaning: str,
    items: Sequence[Item],
    columns: Mapping[str, Callable[[Item], ShownCell]],
) -> ShownTable:
    return ShownTable(title, meaning, tuple(columns), (("", _rows(items, columns)),))


def _with_something(table: ShownTable) -> ShownTable:
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


def make_tables(evaluation: Evaluation, comparison: Comparison | None) -> list[ShownTable]:
    """Return the tables of a page, without the columns in which nothing stands."""
    tables = _comparison(comparison) if comparison is not None else []
    tables += [_all_figures(evaluation)]
    if evaluation.distances:
        tables.append(_distances(evaluation))
    if evaluation.points:
        tables.append(_points(evaluation))
    if evaluation.mixes:
        tables.append(_mixes(evaluation))
    tables += [_predictive_values(evaluation), _strata(evaluation)]
    if evaluation.naive is not None:
        tables += _usual(evaluation, evaluation.naive)
    return [_with_something(table) for table in tables]


def _mixes(evaluation: Evaluation) -> ShownTable:
    return _table(
        "Expected elsewhere",
        "The same images, weighed so that the share of positives, and where it is known the share "
        "of each size, are those of another set.",
        evaluation.mixes,
        {
            "": lambda item: ShownCell(item.name),
            "prevalence": lambda item: ShownCell(f"{100 * item.prevalence:.3g} %"),
            "mean Dice of answering none": lambda item: ShownCell(as_number(item.all_empty_dice)),
            "mean Dice": lambda item: _cell(item.mean_dice),
            "positive Dice": lambda item: _cell(item.positive_dice),
            "AUROC": lambda item: _cell(item.auroc),
            "sensitivity": lambda item: _cell(item.sensitivity),
            "specificity": lambda item: _cell(item.specificity),
        },
    )


def _usual(evaluation: Evaluation, naive: Naive) -> list[ShownTable]:
    rows = []
    for name in (place.name for place in fields(naive)):
        usual, ours = getattr(naive, name), getattr(evaluation, name).value
        if not math.isnan(usual - ours):
            apart = ShownCell(f"{usual - ours:+z.3f}")
            rows.append((ShownCell(_capital(FIGURES[name])), ShownCell(as_number(usual)), apart))
    if all(row[2].value == "+0.000" for row in rows):
        return []  # each patient has one image, and nothing was chosen on these
    return [
        ShownTable(
            "As usually computed",
            "Each image counts alike, however many its patient has, and thresholds are judged on "
            "the images that chose them, where these did. The last column is by how much that "
            "flatters.",
            ("", "value", "more than above"),
            (("", tuple(rows)),),
        )
    ]


def _comparison(comparison: Comparison) -> list[ShownTable]:
    stated = comparison.margin is not None
    rows = tuple(
        (
            ShownCell(_capital(FIGURES[item.name])),
            _cell(item.difference, sign=True),
            *([ShownCell(item.verdict or "undefined")] if stated else []),
            ShownCell("undefined" if math.isnan(item.above) else f"{100 * item.above:.1f} %"),
            ShownCell(as_number(item.ours)),
            ShownCell(as_number(item.theirs)),
        )
        for item in comparison.differences
    )
    margin = f"at a margin of {comparison.margin:g}" if stated else ""
    differences = ShownTable(
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


def _tests(comparison: Comparison) -> ShownTable:
    auroc = comparison.auroc
    rows = [
        (
            ShownCell(f"{CALLS_ABOUT[item.among]}: {METHODS[item.method]}"),
            ShownCell(f"{item.ours:,} of {item.images:,}"),
            ShownCell(f"{item.theirs:,} of {item.images:,}"),
            ShownCell(p_value(item.p)),
        )
        for item in comparison.calls
    ]
    if auroc is not None:
        apart = _cell(auroc.difference, sign=True)
        rows.insert(
            0, (ShownCell("AUROC: DeLong"), apart, ShownCell(""), ShownCell(p_value(auroc.p)))
        )
    return ShownTable(
        "Tests of the difference",
        "Of AUROC the difference by DeLong's method; of calls how many images this one alone, and "
        "the other alone, called rightly (McNemar). Patients count as one each, in DeLong's "
        "variance too (Obuchowski), so several images of a patient are not several witnesses.",
        ("", "this one alone", "the other alone", "p"),
        (("", tuple(rows)),),
    )


def _all_figures(evaluation: Evaluation) -> ShownTable:
    without = evaluation.images > 0 and not evaluation.annotated
    rows = []
    for name, words in FIGURES.items():
        if not (without and name in OF_MASKS):
            cell = _cell(getattr(evaluation, name))
            rows.append(
                (ShownCell(_capital(words)), replace(cell, interval=""), ShownCell(cell.interval))
            )
    return ShownTable(
        "All figures",
        "Of calls, at the default operating point. AUROC, average precision, Brier score and "
        "calibration error are of the calibrated score alone."
        + (" Nobody drew a mask, so there is no Dice." if without else ""),
        ("", "value", "95 % interval"),
        (("", tuple(rows)),),
    )


def _distances(evaluation: Evaluation) -> ShownTable:
    return _table(
        "Distance of the outlines",
        "The mean over images that have both a true and an answered outline; in mm over those "
        "whose spacing can be believed. Where a mask is empty there is no distance: such images "
        "are counted beside it, and none of them is in the mean.",
        evaluation.distances,
        {
            "": lambda item: ShownCell("in mm" if item.unit == "mm" else "in pixels"),
            "Hausdorff (95 %)": lambda item: _cell(item.hausdorff95, digits=1),
            "mean distance": lambda item: _cell(item.surface_distance, digits=1),
            "images with both": lambda item: ShownCell(f"{item.images:,}"),
            "missed": lambda item: ShownCell(f"{item.missed:,}"),
            "false alarms": lambda item: ShownCell(f"{item.false_alarms:,}"),
            "both empty": lambda item: ShownCell(f"{item.both_empty:,}"),
        },
    )


def _points(evaluation: Evaluation) -> ShownTable:
    return _table(
        "Operating points",
        "The default calls an image that keeps a mask; the others are thresholds of the score "
        "alone. Sensitive and specific reached 0.95 on the images they were chosen on. The rule "
        "calls where the probability exceeds 1 / (1 + d), d the Dice expected on a positive.",
        evaluation.points,
        {
            "": lambda item: ShownCell(item.name),
            "score": lambda item: ShownCell(f"{item.point.score:.3f}"),
            "mask": lambda item: ShownCell(f"{item.point.mask:.2f}"),
            "smallest area": lambda item: ShownCell(f"{100 * item.point.min_area:.3g} %"),
            "sensitivity": lambda item: _cell(item.sensitivity),
            "specificity": lambda item: _cell(item.specificity),
        },
    )


def _predictive_values(evaluation: Evaluation) -> ShownTable:
    return _table(
        "Predictive values",
        "What an answer at the default operating point means where this share of patients has a "
        "pneumothorax: by Bayes' rule from the sensitivity and specificity above.",
        evaluation.predictive_values,
        {
            "prevalence": lambda item: ShownCell(f"{100 * item.prevalence:.3g} %"),
            "called, and has one": lambda item: _cell(item.positive),
            "not called, and has none": lambda item: _cell(item.negative),
        },
    )


def _strata(evaluation: Evaluation) -> ShownTable:
    def unless(part: By, name: str) -> Callable[[Stratum], ShownCell]:
        return lambda item: ShownCell("") if item.by == part else _cell(getattr(item, name))

    columns: dict[str, Callable[[Stratum], ShownCell]] = {
        "": lambda item: ShownCell(item.name),
        "images": lambda item: ShownCell(f"{item.images:,}"),
        "positive": lambda item: ShownCell(f"{item.positives:,}"),
        "mean Dice": unless("size", "mean_dice"),
        "positive Dice": unless("negatives", "positive_dice"),
        "AUROC": lambda item: _cell(item.auroc),
        "sensitivity": unless("negatives", "sensitivity"),
        "specificity": unless("size", "specificity"),
    }
    strata = [item for item in evaluation.strata if item.images]
    parts = {heading: [item for item in strata if item.by == by] for by, heading in _PARTS.items()}
    return ShownTable(
        "By part of the images",
        "The sizes, as shares of the image, hold positives only, and their AUROC is against all "
        "images without a pneumothorax; that of a kind of negative is against all images with one.",
        tuple(columns),
        tuple((heading, _rows(items, columns)) for heading, items in parts.items() if items),
    )


def _cell(score: Score, *, sign: bool = False, digits: int = 3) -> ShownCell:
    if math.isnan(score.value):
        return ShownCell("undefined")
    form = f"{'+' if sign else ''}.{digits}f"
    if math.isnan(score.low):
        return ShownCell(f"{score.value:{form}}", "no interval")
    return ShownCell(f"{score.value:{form}}", f"{score.low:{form}} to {score.high:{form}}")


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
