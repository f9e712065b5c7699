"""The table of image labels: whether a radiograph shows a pneumothorax, where nobody drew a mask.

::

    image,pneumothorax,adjudicated,boxes,patient
    00000001_000.jpg,0,,,1
    00000002_000.jpg,1,0,,2
    00000003_001.jpg,1,,259.0 188.5 107.3 115.9,3

A label is 0, 1 or a probability between them, empty where nobody said anything, and -1 where
somebody was not certain, which is no label (a table of 1 and -1 alone is refused: there -1 may be
a negative). A column may hold a list of findings instead, as NIH's
``Finding Labels`` (``Effusion|Pneumothorax``) and PadChest's ``Labels`` do: then the label is
whether the list has the finding. Several columns may hold labels, of readers who are to be believed
more or less: the first that is not empty counts. Where each row is one reader's, the label is the
share of the readers who say so.
A row that cannot be trusted is among the problems, with its line and the reason, and its image has
no label.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pleura.dicom.structures import denies_pneumothorax
from pleura.dicom.suffixes import is_radiograph, suffix_of
from pleura.errors import DataError
from pleura.formats.annotations import FILE_NAME, ID_COLUMN, RowProblem, id_fault
from pleura.formats.csv_table import TableRow, columns_shown, number_of, open_table
from pleura.formats.label_row import (
    UNCERTAIN,
    UNSURE,
    WORDS,
    Box,
    ImageLabel,
    Refused,
    Wanted,
    label_of,
    label_of_readers,
    listed,
    weighted,
)
from pleura.storage.elsewhere import path_at

if TYPE_CHECKING:
    from pleura.config import Labels

MAX_PROBLEMS = 100_000
"""A table of which more rows are refused is refused as a whole."""

ID_COLUMNS = (
    "image",
    ID_COLUMN,
    "Image Index",
    "image_id",
    "ImageID",
    "Path",
    "dicom_id",
    "filename",
)
"""Where ids are looked for, in this order, if no column is named."""

FINDING = "pneumothorax"
"""The column of labels, and the finding in a list, in any case, if none is named."""

LIST_COLUMNS = ("Finding Labels", "Labels", "class_name")
"""Lists of findings that are looked into where no column of labels is named or found."""

READER = "rad_id"
"""The column of readers, if none is named: VinDr-CXR's."""

_OTHER_NAMES = {
    "patient": ("patient", "Patient ID", "PatientID", "patient_id", "subject_id"),
    "sex": ("sex", "Patient Gender", "Patient Sex", "Sex", "PatientSex_DICOM"),
    "age": ("age", "Patient Age", "Age"),
    "view": ("view", "View Position", "ViewPosition", "AP/PA", "Projection"),
}
"""Columns of what else is known, in our words and in those of public sets."""


_PATH = re.compile(r"[^\x00-\x1f\x7f]{1,512}/[^\x00-\x1f\x7f/]{1,255}")

_NONE_FOUND = {"no finding", "no findings", "normal"}
"""Findings that stand against every other one."""


@dataclass(frozen=True, slots=True)
class LabelTable:
    """What a table of image labels says, one entry per image.

    Attributes:
        path: The table.
        labels: Image id -> label, in the order of the file. An image whose label is None is named
            by the table and unlabelled.
        problems: What was refused, in the order of the file.
        rows: Data rows read, good and bad.
        uncertain: The ids of images of which somebody said that it is not certain, and nobody more.
        repeated: How many rows say again what another row says of their image.
        boxes_side: Longer side, in pixels, of the picture that the boxes lie in; 0: of the file.
        unused: Columns that were not read.
    """

    path: Path
    labels: Mapping[str, ImageLabel]
    problems: tuple[RowProblem, ...] = ()
    rows: int = 0
    repeated: int = 0
    boxes_side: float = 0.0
    unused: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The ids of all images that the table names, those with a problem too."""
        return frozenset(self.labels) | {problem.image_id for problem in self.problems}


def read_labels(settings: "Labels") -> LabelTable:
    """Return what a table says, one entry per image.

    Args:
        settings: The table (``.csv`` or ``.csv.gz`` in UTF-8; comma, semicolon or tab between
            values) and its columns. Those for sex, age and view, where it has them, are ``sex``,
            ``age`` and ``view``.

    Raises:
        DataError: The table cannot be read as a whole or lacks a column that is named.
        UsageError: A column of labels is given a weight that is none.
    """
    path = path_at(settings.table)
    asked = [weighted(text) for text in settings.columns]
    denying = next((name for name, _ in asked if denies_pneumothorax(name.replace("=", " "))), "")
    if denying:
        raise DataError(
            f"{path}: the column of labels {denying!r} says that there is no pneumothorax, so its 1"
            " would count as one; make a column of the contrary"
        )
    ids = (settings.id,) if settings.id else ID_COLUMNS

    def has_ids(names: Sequence[str]) -> bool:
        return any(name in names for name in ids)

    with open_table(path, has_ids) as rows:
        if not has_ids(rows.columns):
            raise DataError(
                f"{path}: a table of labels has a column of ids, named {' or '.join(ids)}; found "
                f"{columns_shown(rows.columns)}; name it with `label_id`"
            )
        columns = _found_columns(path, asked, rows.columns)
        wanted = Wanted(
            reader=settings.reader or (READER if READER in rows.columns else ""),
            others={
                name: next((own for own in names if own in rows.columns), name)
                for name, names in _OTHER_NAMES.items()
            },
            path=path,
            id=next(name for name in ids if name in rows.columns),
            labels=tuple(columns),
            weight=settings.weight,
            boxes=weighted(settings.boxes),
            patient=settings.patient,
            any_name=bool(settings.id),
        )
        unused = _unused(wanted, settings.reader, rows.columns)
        table = _Table(wanted)
        for row in rows.rows():
            table.take(row)
    for column, numbers in table.numbers.items():
        _require_shares(path, column, numbers)
    if columns != asked:
        _require_findings(path, columns[0][0], table.found.values())
    return table.finished(settings.boxes_side, unused)


def _unused(wanted: "Wanted", reader: str, there: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that are not read, where all that were named are there."""
    named = [*(listed(name)[0] for name, _ in wanted.labels), wanted.weight, wanted.boxes[0]]
    named += [wanted.patient, reader]
    missing = [name for name in named if name and name not in there]
    if missing:
        raise DataError(
            f"{wanted.path}: has no column {missing[0]!r}; its columns are {columns_shown(there)}"
        )
    read = {*named, wanted.id, wanted.reader, *wanted.others.values()}
    return tuple(name for name in there if name and name not in read)


def _found_columns(
    path: Path, columns: list[tuple[str, float]], there: Sequence[str]
) -> list[tuple[str, float]]:
    """Return the columns of labels; where none was named, those that a table has by its names."""
    if columns != [(FINDING, 1.0)]:
        return columns
    alike = [name for name in there if name.strip().lower() == FINDING]
    lists = [f"{name}={FINDING}" for name in LIST_COLUMNS if name in there]
    found = (alike or lists)[:1]
    if not found:
        raise DataError(
            f"{path}: has no column {FINDING!r} (or list of findings {' or '.join(LIST_COLUMNS)}); "
            f"its columns are {columns_shown(there)}; name the column of labels with `label_column`"
        )
    return [(found[0], 1.0)]


def _require_shares(path: Path, column: str, numbers: Counter[float]) -> None:
    """Refuse a column that is in per cent, logits or classes: its 0 and 1 say something else there.

    Where there are negative and positive labels, one number that cannot be is a slip, and so are a
    few, up to a tenth of the positive ones: their rows alone are refused.

    Args:
        path: The table.
        column: The column.
        numbers: Number -> in how many rows it stands.

    Raises:
        DataError: More rows hold a number outside 0..1 than slips would, or -1 stands beside 1
            where 0 is not found: for a negative, as classifiers write it, or for one uncertain.
    """
    outside = [number for number in numbers if not 0 <= number <= 1 and number != UNCERTAIN]
    rows = sum(numbers[number] for number in outside)
    negatives = any(0 <= number <= 0.5 for number in numbers)
    positives = sum(count for number, count in numbers.items() if 0.5 < number <= 1)
    if numbers[UNCERTAIN] and positives and not negatives:
        raise DataError(
            f"{path}: the column {column!r} holds 1 and -1 and no 0, so -1 may mean negative or "
            "not certain; write 0 for negative, and leave empty what is not certain"
        )
    what = "1 row of the column {} holds" if rows == 1 else f"{rows:,} rows of the column {{}} hold"
    if rows > (max(1, positives // 10) if positives and negatives else 0):
        raise DataError(
            f"{path}: {what.format(repr(column))} a number outside 0 to 1, such as "
            f"{outside[0]:g}, so its 0 and 1 may mean something else; write 0 for negative, 1 "
            "for positive or a probability between them (per cent: divide by 100)"
        )


def _require_findings(path: Path, column: str, labels: Collection[ImageLabel]) -> None:
    """Refuse a list that was found by its name, if nothing in it is known: all would be negative.

    Raises:
        DataError: No row has a pneumothorax, or says that nothing was found.
    """
    name, finding = listed(column)
    known = (one.probability or one.uncertain or one.finding in _NONE_FOUND for one in labels)
    if finding and labels and not any(known):
        raise DataError(
            f"{path}: no row of the column {name!r} has {finding!r} or 'No finding', so it may be "
            "no list of findings; name the column of labels with `label_column`"
        )


def key_of(name: str) -> str:
    """Return the id that a file's name, or an id in a table, stands for: without its suffix."""
    name = name.strip()
    path = PurePosixPath(name)
    return name[: -len(suffix_of(path))] or name if is_radiograph(path) else name


def boxes_text(boxes: tuple[Box, ...], scale: float = 1.0) -> str:
    """Return boxes as a record holds them, each number times `scale`."""
    return ";".join(" ".join(f"{scale * number:.6g}" for number in box) for box in boxes)


@dataclass(slots=True)
class _Table:
    """A table while it is being read."""

    wanted: Wanted
    rows: int = 0
    repeated: int = 0
    found: dict[str, ImageLabel] = field(default_factory=dict)
    readers: dict[str, dict[str, ImageLabel]] = field(default_factory=dict)
    uncertain: set[str] = field(default_factory=set)
    problems: list[RowProblem] = field(default_factory=list)
    numbers: dict[str, Counter[float]] = field(default_factory=dict)

    def take(self, row: TableRow) -> None:
        """Take in one row."""
        self.rows += 1
        line, values, broken = row
        image_id = key_of(values.get(self.wanted.id, ""))
        may_be = FILE_NAME if self.wanted.any_name else _PATH
        fault = "" if may_be.fullmatch(image_id) else id_fault(image_id)
        if fault:
            return self._refuse(line, repr(image_id[:64]), Refused(fault))
        if broken:
            return self._refuse(line, image_id, Refused(broken))
        self._count(values)
        try:
            label = label_of(line, values, self.wanted)
            if label.uncertain:
                self.uncertain.add(image_id)
            if self.wanted.reader:
                reader = values[self.wanted.reader]
                own = self.readers.setdefault(image_id, {})
                own[reader] = self._united(own[reader], label) if reader in own else label
                label = label_of_readers([*own.values()])
            elif image_id in self.found:
                label = self._united(self.found[image_id], label)
            self.found[image_id] = label
        except Refused as refused:
            self._refuse(line, image_id, refused)
        return None

    def _count(self, values: Mapping[str, str]) -> None:
        """Count the numbers in the columns of labels."""
        for name in (name for name, _ in self.wanted.labels if name in values):
            text = values[name].lower()
            number = WORDS.get(text, number_of(text))
            if math.isfinite(number) and text not in UNSURE:
                self.numbers.setdefault(name, Counter())[number] += 1

    def finished(self, boxes_side: float, unused: tuple[str, ...]) -> LabelTable:
        """Return what was read; an image with a problem has no label."""
        bad = {problem.image_id for problem in self.problems}
        return LabelTable(
            path=self.wanted.path,
            labels={key: label for key, label in self.found.items() if key not in bad},
            problems=tuple(self.problems),
            rows=self.rows,
            repeated=self.repeated,
            boxes_side=boxes_side,
            unused=unused,
            uncertain=tuple(
                key
                for key, label in self.found.items()
                if key in self.uncertain and key not in bad and label.probability is None
            ),
        )

    def _united(self, first: ImageLabel, second: ImageLabel) -> ImageLabel:
        if first.probability is None or second.probability is None:
            said, silent = (first, second) if second.probability is None else (second, first)
            return replace(said, line=first.line, patient=said.patient or silent.patient)
        if first.finding and second.finding and not _NONE_FOUND & {first.finding, second.finding}:
            higher = max(first, second, key=lambda label: label.probability or 0)
            first = replace(first, probability=higher.probability, finding=higher.finding)
            second = replace(second, probability=higher.probability)
        for name in ("probability", "weight", "patient"):
            one, other = getattr(first, name), getattr(second, name)
            if one != other and (name != "patient" or (one and other)):
                values = "" if name == "patient" else f" ({other:g}, not {one:g})"
                raise Refused(
                    f"its {name} is another one than on line {first.line}{values}; keep one row",
                    "label-conflict",
                )
        self.repeated += first.boxes == second.boxes
        boxes = tuple(dict.fromkeys([*first.boxes, *second.boxes]))
        return replace(first, boxes=boxes, patient=first.patient or second.patient)

    def _refuse(self, line: int, image_id: str, refused: Refused) -> None:
        self.problems.append(RowProblem(line, image_id, str(refused), refused.code))
        if len(self.problems) > MAX_PROBLEMS:
            raise DataError(
                f"{self.wanted.path}: more than {MAX_PROBLEMS:,} rows are refused, the first one "
                f"on {self.problems[0]}"
            )
