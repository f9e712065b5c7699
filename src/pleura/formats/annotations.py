"""What is known of the masks of a set: :class:`Annotations`, and what was refused.

One image may have several rows, and its one mask is their union: :class:`Annotations` has one entry
per image, never one per row. Three states are kept apart, because mixing them up trains on wrong
labels: an image with masks, an image marked ``-1`` (no pneumothorax), and an image without a row,
which is unlabelled. An image with a row that cannot be trusted belongs to none of the three; it is
among the problems, with the line and the reason.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pleura.errors import AnnotationError, OtherFormError, OutsideError, RleError, ZeroRunError
from pleura.formats.mask_doubts import doubts
from pleura.formats.rle import Form, area_px, other_form, overlap_px, runs, union, united

ID_COLUMN: Final = "ImageId"
MASK_COLUMN: Final = "EncodedPixels"

SAFE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FILE_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,512}")

ProblemCode = Literal[
    "malformed-rows",
    "runs-outside",
    "another-size",
    "mixed-forms",
    "impossible-mask",
    "zero-runs",
    "empty-beside-mask",
    "readers-disagree",
    "tables-disagree",
]
LabelCode = Literal["label-rows", "label-conflict", "box-beside-negative", "box-outside"]
NoteCode = Literal[
    "byte-order-mark",
    "no-header",
    "header-variant",
    "empty-mark-variant",
    "repeated-rows",
    "probability-maps",
    "not-a-mask",
    "boxes",
    "outlines",
    "same-mask",
    "common-pixels",
    "other-structures",
    "contrary-column",
]


@dataclass(frozen=True, slots=True)
class RowProblem:
    """One row that was refused; its image is left out.

    Attributes:
        line: Line in the file, counted from 1.
        image_id: The id as written, shortened and escaped where it is not one.
        reason: What is wrong and what to do.
        code: What kind of fault it is.
        made_for: ``(rows, columns)`` of the picture that its mask was likely made for, where that
            is another one.
        place: Where it stands, where that is no line: a file of a folder of masks.
    """

    line: int
    image_id: str
    reason: str
    code: ProblemCode | LabelCode = "malformed-rows"
    made_for: tuple[int, int] | None = None
    place: str = ""

    def __str__(self) -> str:
        return f"{self.where}, image {self.image_id}: {self.reason}"

    @property
    def where(self) -> str:
        """Where it stands, in words."""
        return self.place or f"line {self.line}"


@dataclass(frozen=True, slots=True)
class TableNote:
    """Something that is odd about a table, yet harmless: what, and how many rows (or names).

    `says` is more about it, in words; `table` is the table's name, where several were joined.
    """

    code: NoteCode
    count: int
    says: str = ""
    table: str = ""


def doubt_notes(
    masks: Mapping[str, Sequence[str]], shapes: Mapping[str, tuple[int, int]], form: Form
) -> tuple[TableNote, ...]:
    """Return a note for each doubt about masks; `shapes` are ``(rows, columns)`` by image id."""
    drawn = sum(map(bool, masks.values()))
    found = doubts(masks, shapes, form).items()
    return tuple(TableNote(doubt, n, f"{n:,} of {drawn:,} masks") for doubt, n in found)


_DOUBTS: Final[Mapping[str, str]] = {
    "boxes": "are upright rectangles, so they are boxes, which say nothing of where a pneumothorax "
    "ends: give them with `labels` and `label_boxes`",
    "outlines": "are outlines, which leave out what they enclose: fill them",
    "same-mask": "are one and the same: each radiograph has a mask of its own",
    "common-pixels": "have pixels in one place, where a caption or a mark may be burned in, or "
    "they are of something that each radiograph has, such as the lungs: look at some",
}


_SEVERAL: Final = (
    "are of several readers, by a column or because rows cover the same pixels: look at some, and "
    "say with `readers` which pixels count"
)


@dataclass(frozen=True, slots=True)
class Annotations:
    """What a table says, one entry per image.

    Attributes:
        path: The table.
        form: The run-length form that it was read in.
        rows: Data rows read, good and bad.
        masks: Image id -> its distinct run-length texts as written, ``()`` for an image marked
            ``-1``. In the order of the file. An image that is not here is not negative: it is
            unlabelled, or among the `problems`.
        lines: Image id -> the line of each of those texts (of its ``-1`` for an empty one).
        problems: The rows refused, in the order of the file.
        notes: What is odd about the table, yet harmless.
        last: Image id -> the text of its last row, which some programs take for all of it.
        unused: Columns that were not read.
        sizes: Image id -> ``(rows, columns)`` that its masks have, where the source says so.
        scores: Image id -> the score that the source gives it, where it gives one.
        spacings_mm: Image id -> distance between (rows, columns) in mm, where the source says one
            that can be believed.
        algorithms: Image id -> how its masks were made (AUTOMATIC, SEMIAUTOMATIC), and by what,
            where the source says it of all of them alike.
        sizes_said: Whether columns of a table say the sizes, so that masks may have others.
        readers: Image id -> how many readers drew on it, where a column says that several did.
        tables: Image id -> its table, where several were joined.
    """

    path: Path
    form: Form
    rows: int
    masks: Mapping[str, tuple[str, ...]]
    lines: Mapping[str, tuple[int, ...]]
    problems: tuple[RowProblem, ...] = ()
    notes: tuple[TableNote, ...] = ()
    last: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    spacings_mm: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    algorithms: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    sizes_said: bool = False
    readers: Mapping[str, int] = field(default_factory=dict)
    tables: Mapping[str, Path] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many images have a label that can be used."""
        return len(self.masks)

    @property
    def positives(self) -> int:
        """How many images have a mask."""
        return sum(1 for texts in self.masks.values() if texts)

    @property
    def empty(self) -> int:
        """How many images are marked ``-1``, as having no pneumothorax."""
        return self.images - self.positives

    @property
    def with_several_rows(self) -> int:
        """How many images have more than one distinct text."""
        return sum(1 for texts in self.masks.values() if len(texts) > 1)

    @property
    def refused(self) -> frozenset[str]:
        """The ids of the images left out because of a problem."""
        return frozenset(problem.image_id for problem in self.problems)

    @property
    def doubts(self) -> list[str]:
        """What masks may be instead, in words; nothing where they seem to be masks."""
        said = [f"{note.says} {_DOUBTS[note.code]}" for note in self.notes if note.code in _DOUBTS]
        several = len(self.readers) + len(self.drawn_twice())
        return said + [f"{several:,} of {self.positives:,} masks {_SEVERAL}"] * bool(several)

    def drawn_twice(self) -> dict[str, float]:
        """Return the images most of whose pixels several texts cover -> their share.

        So do masks of several readers: what one draws of a lesion that has several parts does not.
        """
        shares = {
            image_id: overlap_px(texts, form=self.form) / area_px(united(texts, form=self.form))
            for image_id, texts in self.masks.items()
            if len(texts) > 1 and image_id not in self.readers
        }
        return {image_id: share for image_id, share in shares.items() if share > 0.5}

    def told_by(self, image_id: str) -> str:
        """Return the table of an image with a colon, where several were joined; else nothing."""
        return f"{self.tables[image_id]}: " if image_id in self.tables else ""

    def overlapping(self) -> tuple[str, ...]:
        """Return the ids of the images of which two texts share a pixel, in file order."""
        return tuple(
            image_id
            for image_id, texts in self.masks.items()
            if len(texts) > 1 and overlap_px(texts, form=self.form)
        )

    def mask(self, image_id: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the one mask of an image, the union of its rows.

        Args:
            image_id: An id of the table.
            shape: ``(rows, columns)`` of the image's own file.

        Returns:
            Bool array of shape `shape`, in Fortran order; all False for an image marked ``-1``.

        Raises:
            AnnotationError: The table has no label that can be used for the image, which does not
                mean that there is no pneumothorax.
            RleError: A run leaves the image.
        """
        if image_id not in self.masks:
            reason = next((str(p) for p in self.problems if p.image_id == image_id), "no such row")
            raise AnnotationError(
                f"{self.path}: image {shown_id(image_id)} has no mask to use ({reason}); treat it "
                "as unlabelled, not as negative"
            )
        for line, text in zip(self.lines[image_id], self.masks[image_id], strict=False):
            fault = row_fault(text, self.form, shape)
            if fault:
                where = self.told_by(image_id) or f"{self.path}: "
                raise RleError(f"{where}line {line}, image {image_id}: {fault.reason}")
        return union(self.masks[image_id], shape, form=self.form)


def is_id(name: str) -> bool:
    """Return whether a table is read with this name although its column of ids is not named."""
    return SAFE_ID.fullmatch(name) is not None


def id_fault(image_id: str) -> str:
    """Return why a text is not an image id, or an empty str where it is one."""
    return (
        "" if SAFE_ID.fullmatch(image_id) else f"{shown_id(image_id)} is not an image id; {ID_RULE}"
    )


ID_RULE: Final = "an id is 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first"


class RowFault(NamedTuple):
    """What is wrong with a row, and of what kind that is."""

    reason: str
    code: ProblemCode = "malformed-rows"


_LONG, _FEWEST_LONG = 5, 3
"""Runs of a row, and such rows, from which on rising numbers are no chance."""


@dataclass(slots=True)
class Verdict:
    """Judges mask texts, and counts those that only read in the other run-length form."""

    path: Path
    form: Form
    judged: int = 0
    other_form: int = 0
    long: int = 0
    rising: int = 0

    def of(self, text: str, shape: tuple[int, int] | None) -> RowFault | None:
        """Return what is wrong with a text, None where nothing is."""
        self.judged += 1
        fault = row_fault(text, self.form, shape)
        if fault and not row_fault(text, other_form(self.form), shape):
            self.other_form += 1
        if fault is None and self.form == "relative" and text.count(" ") >= 2 * _LONG - 1:
            self.long += 1
            self.rising += row_fault(text, "absolute", shape) is None
        return fault

    def refuse_other_form(self) -> None:
        """Raise OtherFormError where most texts are in the other form.

        So are gaps of several rows that rise from run to run as places do: of SIIM-ACR's 3,576 rows
        not one does so, and without the size of an image nothing else tells.
        """
        if 2 * self.other_form > self.judged:
            other = other_form(self.form)
            raise OtherFormError(
                f"{self.path}: {self.other_form} of {self.judged} mask rows do not fit as the "
                f"{self.form} run-length form, but do as the {other} one; read the table with "
                f"`rle` {other}"
            )
        if self.long >= _FEWEST_LONG and 2 * self.rising > self.long:
            raise OtherFormError(
                f"{self.path}: in {self.rising} of its {self.long} rows of {_LONG} runs or more "
                "the first numbers rise from run to run, as places do and gaps do not; read the "
                "table with `rle` absolute"
            )


def row_fault(text: str, form: Form, shape: tuple[int, int] | None) -> RowFault | None:
    """Return what is wrong with a run-length text; the arguments are those of `runs`."""
    try:
        runs(text, shape, form=form)
    except OutsideError as error:
        return RowFault(str(error), "runs-outside")
    except ZeroRunError as error:
        return RowFault(str(error), "zero-runs")
    except RleError as error:
        return RowFault(str(error))
    return None


def by_line(problems: Iterable[RowProblem]) -> tuple[RowProblem, ...]:
    """Return problems in the order of the file."""
    return tuple(sorted(problems, key=lambda problem: problem.line))


def shown_id(image_id: str) -> str:
    """Return an id as it is, and anything else short and escaped."""
    if SAFE_ID.fullmatch(image_id):
        return image_id
    return repr(image_id if len(image_id) <= 64 else f"{image_id[:64]}...")
