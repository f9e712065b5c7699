"""What one row of a table of image labels says."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from pleura.dicom.structures import names_pneumothorax
from pleura.errors import UsageError
from pleura.formats.annotations import LabelCode
from pleura.formats.csv_table import number_of, patient_of

UNCERTAIN = -1.0
UNSURE = ("uncertain",)
WORDS = dict.fromkeys(("true", "t", "yes", "y", "positive", "pos", "present"), 1.0)
WORDS |= dict.fromkeys(("false", "f", "no", "n", "negative", "neg", "absent"), 0.0)
WORDS |= dict.fromkeys(UNSURE, UNCERTAIN)

_SEXES, _VIEWS = ("M", "F", "O"), ("PA", "AP")


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


class Wanted(NamedTuple):
    """The columns to read; `any_name`: whether that of ids was named, and may hold any names."""

    path: Path
    id: str
    labels: tuple[tuple[str, float], ...]
    weight: str
    boxes: tuple[str, float]
    patient: str
    reader: str
    others: Mapping[str, str]
    any_name: bool = False


class Refused(Exception):  # noqa: N818
    """What is wrong with a row, and of what kind that is."""

    def __init__(self, reason: str, code: LabelCode = "label-rows") -> None:
        super().__init__(reason)
        self.code = code


_NO_LABELS = {"exclude", "unchanged", "suboptimal study"}
"""Findings of PadChest that say nothing of the radiograph if they stand alone."""

_IN_SHORT = re.compile(r"\b(?:ptx|pnx|pneumothora\w+)\b")
_NOTHING = {"", "nan", "na", "n/a", "<na>", "null"}
"""What programs write where nothing is known."""

_LONG_SEXES = {"MALE": "M", "FEMALE": "F"}


def listed(column: str) -> tuple[str, str]:
    """Return a column's name, and the finding that its list must have; "" where it is no list."""
    name, _, finding = column.partition("=")
    return name, finding.strip().lower()


def label_of(line: int, values: Mapping[str, str], wanted: Wanted) -> ImageLabel:
    """Return what one row says.

    Raises:
        Refused: A value is not understood, or two contradict each other.
    """
    read = [(*listed(column), weight) for column, weight in wanted.labels]
    shares = [_has(values[n], f) if f else _certainty(n, values[n]) for n, f, _ in read]
    columns = zip(read, shares, strict=True)
    said = [(n, s, w) for (n, _, w), s in columns if s is not None and s != UNCERTAIN]
    lists = [words for n, f, _ in read if f and len(words := _findings(values[n])) == 1]
    boxes = _boxes(values.get(wanted.boxes[0], ""))
    if boxes and said and said[0][1] <= 0.5:
        raise Refused(
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
        patient=patient_of(values.get(wanted.patient or wanted.others["patient"], "")),
        sex=sex if sex in _SEXES else "",
        age=values.get(wanted.others["age"], ""),
        view=view if view in _VIEWS else "",
        uncertain=UNCERTAIN in shares,
        finding=next(iter(lists[-1])) if lists else "",
    )


def label_of_readers(labels: Sequence[ImageLabel]) -> ImageLabel:
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
        Refused: It is something else.
    """
    if text.lower() in _NOTHING:
        return None
    number = WORDS.get(text.lower(), number_of(text))
    return UNCERTAIN if number == UNCERTAIN else _share(name, text, words=True)


def _has(text: str, finding: str) -> float | None:
    """Return whether a list of findings has one: 1 or 0; None where it says nothing.

    -1 where a longer word of it holds the finding's, as ``hydropneumothorax`` and ``no
    pneumothorax`` do: either may be meant.

    Raises:
        Refused: A word may be the finding in short or in the plural, as ``PTX`` is.
    """
    found = _findings(text)
    if found <= _NO_LABELS:
        return None
    if finding not in found and any(finding in word for word in found):
        return UNCERTAIN
    short = min(filter(_IN_SHORT.search, found), default="")
    if finding not in found and short and names_pneumothorax(finding):
        raise Refused(f"the list holds {short[:20]!r}, which may be {finding}: write it out")
    return float(finding in found)


def _findings(text: str) -> set[str]:
    return {word.strip().lower() for word in re.split(r"[|;,\[\]'\"]", text)} - {""}


def _share(name: str, text: str, *, words: bool = False) -> float:
    """Return a number from 0 to 1.

    Raises:
        Refused: It is none.
    """
    if words and text.lower() in WORDS:
        return WORDS[text.lower()]
    number = number_of(text)
    if not 0 <= number <= 1:
        what = "0, 1 or a probability between them" if words else "a number from 0 to 1"
        raise Refused(
            f"{name} is {text[:20]!r}; it must be {what}, or empty where nothing is known"
        )
    return number


def _boxes(text: str) -> tuple[Box, ...]:
    """Return the boxes of ``x y width height; ...``.

    Raises:
        Refused: It holds something else.
    """
    boxes = []
    for part in filter(str.strip, text.split(";")):
        numbers = [number_of(word) for word in re.split(r"[\s,]+", part.strip())]
        if len(numbers) != 4 or not all(map(math.isfinite, numbers)) or min(numbers[2:]) <= 0:
            raise Refused(
                f"the box is {part.strip()[:40]!r}; it must be x, y, width and height in pixels, "
                "with blanks between them and ; between boxes"
            )
        boxes.append(Box(*numbers))
    return tuple(dict.fromkeys(boxes))


def weighted(text: str) -> tuple[str, float]:
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
