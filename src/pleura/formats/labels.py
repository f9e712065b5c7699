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
from typing import TYPE_CHECKING, Literal, NamedTuple

from pleura.dicom.suffixes import is_radiograph, suffix_of
from pleura.errors import DataError, UsageError
from pleura.formats.annotations import ID_COLUMN, id_fault
from pleura.formats.csv_table import TableRow, columns_shown, number_of, open_table
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

_UNCERTAIN = -1.0
_NO_LABELS = {"exclude", "unchanged", "suboptimal study"}
"""Findings of PadChest that say nothing of the radiograph if they stand alone."""

_PATH = re.compile(r"[^\x00-\x1f\x7f]{1,512}/[^\x00-\x1f\x7f/]{1,255}")
_WORDS = dict.fromkeys(("true", "t", "yes", "y", "positive", "pos", "present"), 1.0)
_WORDS |= dict.fromkeys(("false", "f", "no", "n", "negative", "neg", "absent"), 0.0)
_UNSURE = ("uncertain",)
_WORDS |= dict.fromkeys(_UNSURE, _UNCERTAIN)
_NOTHING = {"", "nan", "na", "n/a", "<na>", "null"}
"""What programs write where nothing is known."""

_NONE_FOUND = {"no finding", "no findings", "normal"}
"""Findings that stand against every other one."""
_LONG_SEXES = {"MALE": "M", "FEMALE": "F"}
_SEXES, _VIEWS = ("M", "F", "O"), ("PA", "AP")

LabelCode = Literal["label-rows", "label-conflict", "box-beside-negative", "box-outside"]


class Box(NamedTuple):
    """A rectangle in a picture, in pixels: its left and upper edge, and its size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class ImageLabel:
    """What a table says of one image.

    Attributes:
        line: The line of its first row, from 1.
        probability: How likely it shows a pneumothorax, 0..1; None where nobody said anything.
        weight: How far that is believed, above 0 and up to 1.
        boxes: Where a pneumothorax lies, in pixels of :attr:`LabelTable.boxes_side`.
        otherwise: What a column of less standing says against the one that counts, in words; empty
            where none does.
        patient: Who is on it; empty where the table does not say. Never to be written.
        sex: ``M``, ``F``, ``O`` or empty.
        age: As written.
        view: ``PA``, ``AP`` or empty.
        uncertain: Whether somebody said that it is not certain.
        finding: The one finding that its list holds, in small letters; empty where it is no list or
            holds several.
    """

    line: int
    probability: float | None
    weight: float = 1.0
    boxes: tuple[Box, ...] = ()
    otherwise: str = ""
    patient: str = field(default="", repr=False)
    sex: str = ""
    age: str = ""
    view: str = ""
    uncertain: bool = False
    finding: str = ""


@dataclass(frozen=True, slots=True)
class LabelProblem:
    """One row, or one image, that was refused.

    Attributes:
        line: Line in the file, from 1.
        image_id: The id as written, shortened and escaped where it is not one.
        reason: What is wrong and what to do.
        code: What kind of fault it is.
    """

    line: int
    image_id: str
    reason: str
    code: LabelCode = "label-rows"

    def __str__(self) -> str:
        return f"line {self.line}, image {self.image_id}: {self.reason}"


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
    problems: tuple[LabelProblem, ...] = ()
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
    asked = [_weighted(text) for text in settings.columns]
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
        wanted = _Wanted(
            reader=settings.reader or (READER if READER in rows.columns else ""),
            others={
                name: next((own for own in names if own in rows.columns), name)
                for name, names in _OTHER_NAMES.items()
            },
            path=path,
            id=next(name for name in ids if name in rows.columns),
            labels=tuple(columns),
            weight=settings.weight,
            boxes=_weighted(settings.boxes),
            patient=settings.patient,
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


def _unused(wanted: "_Wanted", reader: str, there: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that are not read, where all that were named are there."""
    named = [*(_listed(name)[0] for name, _ in wanted.labels), wanted.weight, wanted.boxes[0]]
    named += [wanted.patient, reader]
    missing = [name for name in named if name and name not in there]
    if missing:
        raise DataError(
            f"{wanted.path}: has no column {missing[0]!r}; its columns are {columns_shown(there)}"
        )
    read = {*named, wanted.id, "sex", "age", "view"}
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
    outside = [number for number in numbers if not 0 <= number <= 1 and number != _UNCERTAIN]
    rows = sum(numbers[number] for number in outside)
    negatives = any(0 <= number <= 0.5 for number in numbers)
    positives = sum(count for number, count in numbers.items() if 0.5 < number <= 1)
    if numbers[_UNCERTAIN] and positives and not negatives:
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
    name, finding = _listed(column)
    known = (one.probability or one.uncertain or one.finding in _NONE_FOUND for one in labels)
    if finding and labels and not any(known):
        raise DataError(
            f"{path}: no row of the column {name!r} has {finding!r} or 'No finding', so it may be "
            "no list of findings; name the column of labels with `label_column`"
        )


def _listed(column: str) -> tuple[str, str]:
    """Return a column's name, and the finding that its list must have; "" where it is no list."""
    name, _, finding = column.partition("=")
    return name, finding.strip().lower()


def key_of(name: str) -> str:
    """Return the id that a file's name, or an id in a table, stands for: without its suffix."""
    name = name.strip()
    path = PurePosixPath(name)
    return name[: -len(suffix_of(path))] or name if is_radiograph(path) else name


def boxes_text(boxes: tuple[Box, ...], scale: float = 1.0) -> str:
    """Return boxes as a record holds them, each number times `scale`."""
    return ";".join(" ".join(f"{scale * number:.6g}" for number in box) for box in boxes)


class _Wanted(NamedTuple):
    """The columns to read."""

    path: Path
    id: str
    labels: tuple[tuple[str, float], ...]
    weight: str
    boxes: tuple[str, float]
    patient: str
    reader: str
    others: Mapping[str, str]


class _Fault(NamedTuple):
    """What is wrong with a row."""

    reason: str
    code: LabelCode = "label-rows"


class _Refused(Exception):  # noqa: N818
    """Carries a fault out of the reading of a row."""

    def __init__(self, reason: str, code: LabelCode = "label-rows") -> None:
        super().__init__(reason)
        self.fault = _Fault(reason, code)


@dataclass(slots=True)
class _Table:
    """A table while it is being read."""

    wanted: _Wanted
    rows: int = 0
    repeated: int = 0
    found: dict[str, ImageLabel] = field(default_factory=dict)
    readers: dict[str, dict[str, ImageLabel]] = field(default_factory=dict)
    uncertain: set[str] = field(default_factory=set)
    problems: list[LabelProblem] = field(default_factory=list)
    numbers: dict[str, Counter[float]] = field(default_factory=dict)

    def take(self, row: TableRow) -> None:
        """Take in one row."""
        self.rows += 1
        line, values, broken = row
        image_id = key_of(values.get(self.wanted.id, ""))
        fault = "" if _PATH.fullmatch(image_id) else id_fault(image_id)
        if fault:
            return self._refuse(line, repr(image_id[:64]), _Fault(fault))
        if broken:
            return self._refuse(line, image_id, _Fault(broken))
        self._count(values)
        try:
            label = _label(line, values, self.wanted)
            if label.uncertain:
                self.uncertain.add(image_id)
            if self.wanted.reader:
                reader = values[self.wanted.reader]
                own = self.readers.setdefault(image_id, {})
                own[reader] = self._united(own[reader], label) if reader in own else label
                label = _of_readers([*own.values()])
            elif image_id in self.found:
                label = self._united(self.found[image_id], label)
            self.found[image_id] = label
        except _Refused as refused:
            self._refuse(line, image_id, refused.fault)
        return None

    def _count(self, values: Mapping[str, str]) -> None:
        """Count the numbers in the columns of labels."""
        for name in (name for name, _ in self.wanted.labels if name in values):
            text = values[name].lower()
            number = _WORDS.get(text, number_of(text))
            if math.isfinite(number) and text not in _UNSURE:
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
                raise _Refused(
                    f"its {name} is another one than on line {first.line}{values}; keep one row",
                    "label-conflict",
                )
        self.repeated += first.boxes == second.boxes
        boxes = tuple(dict.fromkeys([*first.boxes, *second.boxes]))
        return replace(first, boxes=boxes, patient=first.patient or second.patient)

    def _refuse(self, line: int, image_id: str, fault: _Fault) -> None:
        self.problems.append(LabelProblem(line, image_id, fault.reason, fault.code))
        if len(self.problems) > MAX_PROBLEMS:
            raise DataError(
                f"{self.wanted.path}: more than {MAX_PROBLEMS:,} rows are refused, the first one "
                f"on {self.problems[0]}"
            )


def _label(line: int, values: Mapping[str, str], wanted: _Wanted) -> ImageLabel:
    """Return what one row says.

    Raises:
        _Refused: A value is not understood, or two contradict each other.
    """
    read = [(*_listed(column), weight) for column, weight in wanted.labels]
    shares = [_has(values[n], f) if f else _certainty(n, values[n]) for n, f, _ in read]
    columns = zip(read, shares, strict=True)
    said = [(n, s, w) for (n, _, w), s in columns if s is not None and s != _UNCERTAIN]
    lists = [words for n, f, _ in read if f and len(words := _findings(values[n])) == 1]
    boxes = _boxes(values.get(wanted.boxes[0], ""))
    if boxes and said and said[0][1] <= 0.5:
        raise _Refused(
            f"there is a box, but {said[0][0]} is {said[0][1]:g}; remove the wrong one",
            "box-beside-negative",
        )
    if boxes:  # somebody saw it
        said.insert(0, (wanted.boxes[0], 1.0, wanted.boxes[1]))
    weight = _share(wanted.weight, values[wanted.weight]) if values.get(wanted.weight) else 1.0
    _, probability, standing = said[0] if said else ("", 1.0, 1.0)
    believed = standing * weight
    silent = not said or not believed
    against = [f"{n} {p:g}" for n, p, _ in said[1:] if (p > 0.5) != (probability > 0.5)]
    sex, view = (values.get(wanted.others[name], "").upper() for name in ("sex", "view"))
    sex = _LONG_SEXES.get(sex, sex)
    return ImageLabel(
        line=line,
        probability=None if silent else probability,
        weight=1.0 if silent else believed,
        boxes=() if silent else boxes,
        otherwise="" if silent or not against else f"{said[0][0]} {probability:g}, {against[0]}",
        patient=values.get(wanted.patient or wanted.others["patient"], ""),
        sex=sex if sex in _SEXES else "",
        age=values.get(wanted.others["age"], ""),
        view=view if view in _VIEWS else "",
        uncertain=_UNCERTAIN in shares,
        finding=next(iter(lists[-1])) if lists else "",
    )


def _of_readers(labels: Sequence[ImageLabel]) -> ImageLabel:
    """Return what several readers say of one image: the share of them, all of their boxes."""
    said = [label.probability for label in labels if label.probability is not None]
    if not said:
        return labels[0]
    boxes = tuple(dict.fromkeys(box for label in labels for box in label.boxes))
    first = next(label for label in labels if label.probability is not None)
    patient = next((label.patient for label in labels if label.patient), "")
    return replace(first, probability=sum(said) / len(said), boxes=boxes, patient=patient)


def _certainty(name: str, text: str) -> float | None:
    """Return the label in a cell: 0..1, -1 where somebody was not certain, None where it is empty.

    Raises:
        _Refused: It is something else.
    """
    if text.lower() in _NOTHING:
        return None
    number = _WORDS.get(text.lower(), number_of(text))
    return _UNCERTAIN if number == _UNCERTAIN else _share(name, text, words=True)


def _has(text: str, finding: str) -> float | None:
    """Return whether a list of findings has one: 1 or 0; None where it says nothing.

    -1 where a longer word of it holds the finding's, as ``hydropneumothorax`` and ``no
    pneumothorax`` do: either may be meant.
    """
    found = _findings(text)
    if found <= _NO_LABELS:
        return None
    if finding not in found and any(finding in word for word in found):
        return _UNCERTAIN
    return float(finding in found)


def _findings(text: str) -> set[str]:
    return {word.strip().lower() for word in re.split(r"[|;,\[\]'\"]", text)} - {""}


def _share(name: str, text: str, *, words: bool = False) -> float:
    """Return a number from 0 to 1.

    Raises:
        _Refused: It is none.
    """
    if words and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    number = number_of(text)
    if not 0 <= number <= 1:
        what = "0, 1 or a probability between them" if words else "a number from 0 to 1"
        raise _Refused(
            f"{name} is {text[:20]!r}; it must be {what}, or empty where nothing is known"
        )
    return number


def _boxes(text: str) -> tuple[Box, ...]:
    """Return the boxes of ``x y width height; ...``.

    Raises:
        _Refused: It holds something else.
    """
    boxes = []
    for part in filter(str.strip, text.split(";")):
        numbers = [number_of(word) for word in re.split(r"[\s,]+", part.strip())]
        if len(numbers) != 4 or not all(map(math.isfinite, numbers)) or min(numbers[2:]) <= 0:
            raise _Refused(
                f"the box is {part.strip()[:40]!r}; it must be x, y, width and height in pixels, "
                "with blanks between them and ; between boxes"
            )
        boxes.append(Box(*numbers))
    return tuple(dict.fromkeys(boxes))


def _weighted(text: str) -> tuple[str, float]:
    """Return a column's name, and how far it is believed: by ``NAME``, or ``NAME:0.7``.

    Raises:
        UsageError: The weight is none.
    """
    name, colon, weight = text.rpartition(":")
    if not colon:
        return text, 1.0
    if not 0 < number_of(weight) <= 1:
        raise UsageError(
            f"the column {text!r} of labels has the weight {weight!r}; write NAME or NAME:WEIGHT, "
            "the weight above 0 and up to 1"
        )
    return name, number_of(weight)
