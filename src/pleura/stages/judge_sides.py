"""Predictions and the truth as :mod:`pleura.stages.judge` holds them against each other.

Either side may be masks in any form, or a table; a table of predictions holds scores.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from pleura import config
from pleura.choices import Match
from pleura.data.matching import Matched, match_keys
from pleura.data.scan import Scan
from pleura.dicom.structures import denies_pneumothorax
from pleura.errors import DataError, UsageError
from pleura.formats.annotations import Annotations
from pleura.formats.csv_table import TableRow, columns_shown, number_of, open_table
from pleura.formats.label_row import ImageLabel
from pleura.formats.labels import ID_COLUMNS, LabelTable, read_labels
from pleura.formats.mask_fit import check_masks
from pleura.formats.masks import MaskReading, is_mask_table, read_masks
from pleura.inference.tables import answers_in, read_answered_masks
from pleura.printable import few
from pleura.storage.archive import is_folder

SCORE_COLUMNS = ("score", "Pneumothorax", "pneumothorax", "probability", "prediction")
"""Where scores are looked for, in this order, if no column is named."""

_CALLED = {"positive": True, "negative": False, "1": True, "0": False}

_NOT_ASSESSED = "not assessed"
"""What a column ``called`` may say."""

_THRESHOLD = 0.5
"""From which probability on an image is called, if nothing says it."""

_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+")
"""A number whose comma may part thousands."""

_ROUNDING = 1e-3
"""So far beyond 0 or 1 a score is still a probability."""


@dataclass(frozen=True, slots=True)
class Judging:
    """How predictions and truth are to be read.

    Attributes:
        masks: Of masks, on either side.
        labels: Of a truth that is a table of image labels; its table is the truth itself.
        score_column: The column of scores; empty: found by its name.
        threshold: From which score on an image is called positive, where neither a mask nor a
            column ``called`` says so; None: 0.5, if the scores are probabilities.
        size: ``(rows, columns)`` of images whose run lengths do not say it.
        images: Folder of the radiographs: sizes, spacing (distances are then in mm, too), and what
            their headers say of age, sex and view.
        patients: A table of who is on which image.
        match: What ids are matched by.
    """

    masks: MaskReading = field(default_factory=MaskReading)
    labels: config.Labels = field(default_factory=config.Labels)
    score_column: str = ""
    threshold: float | None = None
    size: tuple[int, int] | None = None
    images: Path | None = None
    patients: Path | None = None
    match: Match = ""

    @property
    def limit(self) -> float:
        """The threshold in use."""
        return _THRESHOLD if self.threshold is None else self.threshold


@dataclass(slots=True)
class ScoreTable:
    """A table of scores, by image id.

    Attributes:
        scores: Each image's; None where it was not assessed.
        called: Whether it was called positive, where a column says so.
        thresholds: From which score on, likewise.
        files: The radiograph's file, where a column ``path`` says it.
        problems: Each row that could not be used, with its reason.
        repeated: Ids of several rows.
        notes: What a reader must know of the table, a sentence each.
    """

    scores: dict[str, float | None] = field(default_factory=dict)
    called: dict[str, bool] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    repeated: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def take(self, row: TableRow, name: str, column: str) -> None:
        """Take the row of an image in, or its fault; of several for one image none counts."""
        if name in self.scores:
            self.repeated.add(name)
        twice = "comes twice; keep one row" if name in self.repeated else ""
        fault = row.fault or twice or _score_fault(row.values, column)
        if fault:
            self.problems.append((name[:80] or f"line {row.line}", f"line {row.line}: {fault}"))
            for own in (self.scores, self.called, self.thresholds, self.files):
                own.pop(name, None)
            return
        if file := row.values.get("path", ""):
            self.files[name] = file
        called, limit = row.values.get("called", "").lower(), row.values.get("score_threshold", "")
        if called == _NOT_ASSESSED:
            self.scores[name] = None
            return
        self.scores[name] = number_of(row.values.get(column, ""))
        if called in _CALLED:
            self.called[name] = _CALLED[called]
        if limit:
            self.thresholds[name] = number_of(limit)

    def renamed(self, names: Mapping[str, str]) -> "ScoreTable":
        """Return the same with other ids for those that `names` holds."""

        def of(column: Mapping[str, Any]) -> dict[str, Any]:
            return {names.get(key, key): one for key, one in column.items()}

        return replace(
            self,
            scores=of(self.scores),
            called=of(self.called),
            thresholds=of(self.thresholds),
            files=of(self.files),
        )

    def call_doubts(self) -> list[str]:
        """Return what is odd about calls: that positive ones have the lower scores."""
        kinds: dict[bool, list[float]] = {True: [], False: []}
        for name, called in self.called.items():
            score = self.scores.get(name)
            if score is not None:
                kinds[called].append(score)
        if not all(kinds.values()) or median(kinds[True]) >= median(kinds[False]):
            return []
        return [
            f"Images called positive have lower scores (median {median(kinds[True]):g}) than those "
            f"called negative ({median(kinds[False]):g}): one of the columns may be the other way "
            "round."
        ]


@dataclass(slots=True)
class Predicted:
    """All predictions: masks, scores, or both."""

    masks: Annotations | None
    table: ScoreTable

    @property
    def problems(self) -> list[tuple[str, str]]:
        """What of the masks, and of the table, could not be used."""
        of_masks = () if self.masks is None else self.masks.problems
        return [*((one.image_id, str(one)) for one in of_masks), *self.table.problems]

    @property
    def ids(self) -> list[str]:
        """The ids of all images that anything was predicted of."""
        ids = dict.fromkeys(self.masks.masks if self.masks is not None else ())
        return list(ids | dict.fromkeys(self.table.scores))

    def texts(self, name: str) -> Sequence[str] | None:
        """Return the run lengths of an image; None where scores are all that was predicted.

        Raises:
            DataError: Of mask and score, which are predicted of others, it has one.
        """
        if self.masks is None:
            return None
        texts = self.masks.masks.get(name)
        if texts is None:
            raise DataError("has a score and no predicted mask")
        if self.table.scores and self.table.scores.get(name) is None:
            raise DataError("has a predicted mask and no score")
        return texts


def read_predictions(path: Path, scores: Path | None, how: Judging) -> Predicted:
    """Return predictions: masks with or without a table of scores beside them, or scores alone.

    The folder that ``pleura predict`` wrote has both.

    Raises:
        DataError, AnnotationError: They cannot be read as a whole.
        UsageError: Two tables of scores are named, or scores that are no probabilities say alone
            what is called positive, and no threshold is given.
    """
    answers = answers_in(path) if is_folder(path) else None
    if answers is not None and scores is None:
        return Predicted(read_answered_masks(answers), _read_scores(answers, how))
    if is_mask_table(path, how.masks):
        masks = read_masks(path, how.masks)
        if scores is None:
            return Predicted(masks, ScoreTable())
        table = _read_scores(scores, how)
        names = match_keys(list(masks.masks), list(table.scores), how.match).names
        of = {own: name for name, own in names.items()}  # the two may write an id differently
        return Predicted(masks, table.renamed(of))
    if scores is not None:
        raise UsageError(
            f"{path}: is a table of scores, and `scores` names another one; name one table of "
            "scores, beside masks if there are any"
        )
    table = _read_scores(path, how)
    if how.threshold is None:
        _require_probabilities(table)
    return Predicted(None, table)


def _require_probabilities(table: ScoreTable) -> None:
    """Check that scores which alone say what is called positive can be held against 0.5."""
    alone = [s for name, s in table.scores.items() if s is not None and name not in table.called]
    least, most = min(alone, default=0.0), max(alone, default=0.0)
    if least < -_ROUNDING or most > 1 + _ROUNDING:
        raise UsageError(
            f"the scores lie between {least:g} and {most:g}, so they are no probabilities, and "
            f"{_THRESHOLD} says nothing of who is called positive; name the score from which on "
            "with `threshold`: such as 0 of logits, 50 of per cent"
        )


def _read_scores(path: Path, how: Judging) -> ScoreTable:
    ids = (how.masks.image_column,) if how.masks.image_column else ID_COLUMNS
    wanted = (how.score_column,) if how.score_column else SCORE_COLUMNS

    def first(names: Sequence[str], there: Sequence[str]) -> str:
        return next((name for name in names if name in there), "")

    with open_table(path, lambda names: bool(first(ids, names) and first(wanted, names))) as table:
        id_column, column = first(ids, table.columns), first(wanted, table.columns)
        if not id_column or not column:
            raise DataError(
                f"{path}: a table of scores has a column of ids ({' or '.join(ids)}) and one of "
                f"scores ({' or '.join(wanted)}); found {columns_shown(table.columns)}; name them "
                "with `image_column` and `score_column`"
            )
        if denies_pneumothorax(column):
            raise DataError(
                f"{path}: the column of scores {column!r} says that there is no pneumothorax, so "
                "its largest scores would be the positives; make a column of the contrary"
            )
        found = ScoreTable()
        texts = []
        for row in table.rows():
            found.take(row, row.values.get(id_column, ""), column)
            texts.append(row.values.get(column, ""))
        others = [name for name in SCORE_COLUMNS if name in table.columns and name != column]
    _check_commas(path, column, texts)
    if others and not how.score_column:
        found.notes.append(
            f"Scores are those of the column {column}; {few(others, 3)} may hold scores too, and "
            "is not read."
        )
    found.notes += found.call_doubts()
    return found


def _check_commas(path: Path, column: str, texts: Sequence[str]) -> None:
    """Check that a comma can mean one thing alone: 1,200 is 1.2 to some, and 1200 to others."""
    parted = [text for text in texts if "," in text]
    if parted and all(map(_THOUSANDS.fullmatch, parted)):
        raise DataError(
            f"{path}: the comma in {parted[0]} (column {column}) may be a decimal one or part "
            "thousands; write numbers with a point, and none between thousands"
        )


def _score_fault(values: Mapping[str, str], column: str) -> str:
    """Return what is wrong with a row of scores; empty where nothing is."""
    called, limit = values.get("called", "").lower(), values.get("score_threshold", "")
    if called == _NOT_ASSESSED:
        return ""
    if called and called not in _CALLED:
        return f"called is {called[:20]!r}; it must be positive, negative or not assessed"
    for name, text in ((column, values.get(column, "")), ("score_threshold", limit or "0")):
        if not math.isfinite(number_of(text)):
            return f"{name} is {text[:20]!r}; it must be a number"
    return ""


class KnownTruth(NamedTuple):
    """What is known of the images: masks, or what a table of labels says."""

    masks: Annotations | None
    labels: LabelTable | None

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the images, in the order of their table."""
        if self.masks is not None:
            return list(self.masks.masks)
        return [] if self.labels is None else list(self.labels.labels)

    @property
    def problems(self) -> list[tuple[str, str]]:
        """Each row that could not be used, with its reason."""
        masks = [] if self.masks is None else [(p.image_id, str(p)) for p in self.masks.problems]
        labels = [] if self.labels is None else [(p.image_id, str(p)) for p in self.labels.problems]
        return [(name, f"truth: {said}") for name, said in masks + labels]

    def label(self, name: str) -> ImageLabel | None:
        """Return what a table of labels says of an image."""
        return None if self.labels is None else self.labels.labels[name]


def read_truth(path: Path, how: Judging) -> KnownTruth:
    """Return the truth: masks, or a table of image labels.

    Raises:
        DataError, AnnotationError: It cannot be read as a whole.
    """
    if is_mask_table(path, how.masks):
        return KnownTruth(read_masks(path, how.masks), None)
    return KnownTruth(None, read_labels(replace(how.labels, table=str(path))))


def match_sides(
    said: Predicted, truth: KnownTruth, how: Judging, files: Mapping[str, Scan]
) -> Matched:
    """Return which prediction each image of the truth has.

    The one may call an image by its SOP Instance UID, and the other by its file. Both are known of
    the radiographs, if there are any, and of what ``pleura predict`` wrote.
    """
    also = {name: (file.image_id, file.path) for name, file in files.items()}
    return match_keys(truth.ids, said.ids, how.match, also=also, files=said.table.files)


def without_misfits(
    said: Predicted, truth: KnownTruth, how: Judging, files: Mapping[str, Scan]
) -> tuple[Predicted, KnownTruth]:
    """Return both sides without run lengths that were not made for images of their size.

    That is the size of the radiograph, else that of the other side's mask, else the one that was
    given. `files` are by the ids of the truth.
    """
    matched = match_sides(said, truth, how, files).names
    meant = {own: name for name, own in matched.items()}
    drawn, right = (() if one is None else one.masks for one in (said.masks, truth.masks))
    stated = {} if said.masks is None else said.masks.sizes
    known = {name: (file.rows, file.columns) for name, file in files.items()}
    shapes = {name: known.get(name) or stated.get(matched.get(name, "")) for name in right}
    if truth.masks is not None:
        known = {**truth.masks.sizes, **known}
        truth = truth._replace(masks=_checked(truth.masks, shapes, how))
    if said.masks is not None:
        shapes = {own: known.get(meant.get(own, "")) for own in drawn}
        said = replace(said, masks=_checked(said.masks, shapes, how))
    return said, truth


def _checked(
    masks: Annotations, shapes: Mapping[str, tuple[int, int] | None], how: Judging
) -> Annotations:
    """Return masks without those that do not fit; what states its size is compared elsewhere."""
    sized = {name: shape or how.size for name, shape in shapes.items() if name not in masks.sizes}
    known = {name: shape for name, shape in sized.items() if shape is not None}
    return check_masks(masks, known) if known else masks
