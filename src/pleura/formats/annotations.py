"""The table of run-length masks in (``train-rle.csv``), and ``submission.csv`` out.

One image may have several rows, and its one mask is their union: :class:`Annotations` has one entry
per image, never one per row. Three states are kept apart, because mixing them up trains on wrong
labels: an image with masks, an image marked ``-1`` (no pneumothorax), and an image without a row,
which is unlabelled. An image with a row that cannot be trusted belongs to none of the three; it is
among the problems, with the line and the reason.
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pleura.errors import (
    AnnotationError,
    OtherFormError,
    OutsideError,
    RleError,
    UsageError,
    ZeroRunError,
)
from pleura.formats.csv_cells import cell, csv_line
from pleura.formats.csv_table import BYTE_ORDER_MARK, CsvTable, TableHead, head_of, open_lines
from pleura.formats.mask_columns import contradicts, presence_column, rows_of_pneumothorax
from pleura.formats.mask_doubts import doubts, why_impossible
from pleura.formats.mask_size import Misfit, exchanged, find_misfits
from pleura.formats.rle import EMPTY, Form, other_form, overlap_px, runs, union
from pleura.printable import few
from pleura.storage.atomic import atomic_path
from pleura.storage.elsewhere import path_at

ID_COLUMN: Final = "ImageId"
MASK_COLUMN: Final = "EncodedPixels"

MAX_PROBLEMS: Final = 100_000
"""A table of which more rows are refused is refused as a whole."""

_MOST_OF_EXCEL: Final = 32_767
"""Characters in a cell; what is beyond is cut off without a word."""

_SMALLEST: Final = 64
"""Pixels a side. In smaller pictures a mask of a table may look like anything."""

_SAFE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FILE_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,512}")

ProblemCode = Literal[
    "malformed-rows",
    "runs-outside",
    "zero-runs",
    "empty-beside-mask",
    "another-size",
    "mixed-forms",
    "impossible-mask",
]
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
    code: ProblemCode = "malformed-rows"
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

    `says` is more about it, in words.
    """

    code: NoteCode
    count: int
    says: str = ""


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
        return [f"{note.says} {_DOUBTS[note.code]}" for note in self.notes if note.code in _DOUBTS]

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
                f"{self.path}: image {_shown(image_id)} has no mask to use ({reason}); treat it as "
                "unlabelled, not as negative"
            )
        for line, text in zip(self.lines[image_id], self.masks[image_id], strict=False):
            fault = _fault(text, self.form, shape)
            if fault:
                raise RleError(f"{self.path}: line {line}, image {image_id}: {fault.reason}")
        return union(self.masks[image_id], shape, form=self.form)


def read_annotations(
    path: str | os.PathLike[str],
    *,
    form: Form = "relative",
    shape: tuple[int, int] | None = None,
    columns: tuple[str, str] = ("", ""),
    label: str = "",
) -> Annotations:
    r"""Return what an annotation table says, one entry per image.

    The table is a CSV file in UTF-8 or UTF-16, plain or gzipped, comma, semicolon, tab or | between
    its cells, with the columns ``ImageId`` and ``EncodedPixels``. Blanks around names and values,
    and a byte-order mark, do no harm. A table of two columns may lack its header.

    An image with a row that cannot be trusted (a malformed one, or ``-1`` beside a mask) is left
    out and is among the `problems`, because half a mask is a wrong mask. A row repeated word for
    word is used once.

    Args:
        path: The table.
        form: The run-length form of the table, ``"relative"`` for SIIM-ACR's.
        shape: ``(rows, columns)``, where all images have the same; runs that leave it are problems.
            None leaves this to :func:`check_masks`, or :meth:`Annotations.mask`.
        columns: Names of the column of ids and of that of run lengths, where they are others; ""
            for the usual one. Where that of ids is named, an id may be a file's name or path.
        label: Which structure is the pneumothorax, where a column names several: see
            :mod:`pleura.formats.mask_columns`.

    Raises:
        AnnotationError: The file cannot be read, is not such a table, is unreasonably large, or
            does not say which structure is the pneumothorax.
        OtherFormError: It is written in the other run-length form.
        UsageError: The shape or the form makes no sense.

    Examples:
        >>> import pathlib, tempfile
        >>> table = pathlib.Path(tempfile.mkdtemp(), "train-rle.csv")
        >>> _ = table.write_text("ImageId, EncodedPixels\na, -1\nb, 0 2\nb, 1 2\nc, 5\n")
        >>> annotations = read_annotations(table)
        >>> annotations.masks
        {'a': (), 'b': ('0 2', '1 2')}
        >>> annotations.problems[0].line, annotations.refused
        (5, frozenset({'c'}))
        >>> annotations.mask("b", (2, 2)).astype(int)
        array([[1, 1],
               [1, 0]])
    """
    runs(EMPTY, shape, form=form)
    table = _Table(path_at(path), form, columns, label)
    with open_lines(table.path, AnnotationError, _wanted()) as lines:
        table.read(lines)
    annotations = table.finished()
    if shape is None:
        return annotations
    return check_masks(annotations, dict.fromkeys(annotations.masks, shape))


def check_masks(annotations: Annotations, shapes: Mapping[str, tuple[int, int]]) -> Annotations:
    """Return the annotations without the images whose masks were not made for their own picture.

    Their runs leave it, or touch each other only in a picture of another height, or in the other
    run-length form (see :mod:`pleura.formats.mask_size`).

    Args:
        annotations: What :func:`read_annotations` returned.
        shapes: Image id -> ``(rows, columns)`` of its file, best for all images in one call (the
            verdicts on form and size go by the majority too). Images without an entry are left as
            they are.

    Returns:
        A copy in which each such image is among the problems instead of the masks.

    Raises:
        OtherFormError: Most mask rows do not fit their picture, and do in the other run-length
            form.
    """
    verdict = _Verdict(annotations.path, annotations.form)
    laid = [
        _Laid(image_id, line, text, shapes[image_id])
        for image_id, texts in annotations.masks.items()
        if image_id in shapes and image_id not in annotations.sizes
        for line, text in zip(annotations.lines[image_id], texts, strict=False)
    ]
    for mask in laid:
        mask.fault = verdict.of(mask.text, mask.shape)
    whole = [m for m in laid if m.fault is None or m.fault.code == "runs-outside"]
    misfits = find_misfits([m.text for m in whole], [m.shape for m in whole], annotations.form)
    for mask in whole:
        tried = mask.fault is None and min(mask.shape) >= _SMALLEST
        why = why_impossible(mask.text, mask.shape, annotations.form) if tried else ""
        mask.fault = _Fault(why, "impossible-mask") if why else mask.fault
    for place, misfit in misfits.items():
        mask = whole[place]
        verdict.other_form += misfit.size is None and mask.fault is None
        mask.made_for = misfit.size
        mask.fault = _misfit_fault(misfit, mask, other_form(annotations.form))
    verdict.refuse_other_form()
    other_size = _of_another_size(annotations, shapes)
    problems = other_size + [
        RowProblem(mask.line, mask.image_id, mask.fault.reason, mask.fault.code, mask.made_for)
        for mask in laid
        if mask.fault is not None
    ]
    bad = {problem.image_id for problem in problems}
    unsized = {key: own for key, own in shapes.items() if key not in annotations.sizes}
    return replace(
        annotations,
        notes=(*annotations.notes, *doubt_notes(annotations.masks, unsized, annotations.form)),
        masks={key: texts for key, texts in annotations.masks.items() if key not in bad},
        lines={key: lines for key, lines in annotations.lines.items() if key not in bad},
        problems=_by_line([*annotations.problems, *problems]),
    )


def _of_another_size(
    annotations: Annotations, shapes: Mapping[str, tuple[int, int]]
) -> list[RowProblem]:
    """Return a problem for each image whose masks say that they have another size than it."""
    problems = []
    for image_id, size in annotations.sizes.items():
        shape = shapes.get(image_id)
        if shape is None or shape == size or image_id not in annotations.masks:
            continue
        made, has = (f"{rows} x {columns}" for rows, columns in (size, shape))
        way_out = exchanged(size, shape) or (
            "; resize the mask, or take the image that it was drawn on"
        )
        reason = f"the mask has {made} pixels (rows x columns), but its image has {has}{way_out}"
        problems.append(
            RowProblem(0, image_id, reason, "another-size", size, place=annotations.path.name)
        )
    return problems


def write_submission(path: str | os.PathLike[str], rows: Iterable[tuple[str, str]]) -> None:
    """Write a submission, ``ImageId,EncodedPixels`` and one row per image, whole or not at all.

    Args:
        path: Where the file shall stand.
        rows: Image id and run-length text (relative form, ``-1`` for none), in the order wanted.

    Raises:
        UsageError: An id comes twice, or is not an id.
        RleError: A text is malformed.
        OutputError: The file could not be written.
    """
    seen: set[str] = set()
    with atomic_path(path) as partial, partial.open("w", encoding="ascii", newline="\n") as file:
        file.write(f"{ID_COLUMN},{MASK_COLUMN}\n")
        for image_id, text in rows:
            _check_submitted(Path(path), image_id, text, seen)
            seen.add(image_id)
            file.write(f"{image_id},{text.strip()}\n")


def write_mask_table(
    path: str | os.PathLike[str], images: Iterable[tuple[str, Sequence[str]]]
) -> None:
    """Write an annotation table: a row for each run-length text, ``-1`` for an image without one.

    Args:
        path: Where the file shall stand.
        images: A name, for which :func:`name_fault` has nothing to say, and texts in one form.

    Raises:
        OutputError: The file could not be written.
    """
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{ID_COLUMN},{MASK_COLUMN}\n")
        for name, texts in images:
            file.writelines(csv_line([name, text]) for text in texts or [EMPTY])


def name_fault(name: str) -> str:
    """Return why a table cannot hold a name of an image as it is; an empty str where it can."""
    if _FILE_NAME.fullmatch(name) and cell(name) == name == name.strip():
        return ""
    return "a table cannot hold this name; rename the image, or give ids with `images`"


def is_id(name: str) -> bool:
    """Return whether a table is read with this name although its column of ids is not named."""
    return _SAFE_ID.fullmatch(name) is not None


def columns_of(path: str | os.PathLike[str], wanted: Collection[str] = ()) -> set[str] | None:
    """Return the columns of a CSV by its first line; None where it cannot be read.

    Args:
        path: The file.
        wanted: Columns that show what parts it; none: what makes several columns of it.
    """

    def known(names: Sequence[str]) -> bool:
        return set(wanted) <= set(names) if wanted else len(names) > 1

    table = path_at(path)
    try:
        with open_lines(table, AnnotationError) as lines:
            return {cell.strip() for cell in head_of(lines, known, table, AnnotationError).cells}
    except AnnotationError:
        return None


def id_fault(image_id: str) -> str:
    """Return why a text is not an image id, or an empty str where it is one."""
    return (
        "" if _SAFE_ID.fullmatch(image_id) else f"{_shown(image_id)} is not an image id; {_ID_RULE}"
    )


def _check_submitted(path: Path, image_id: str, text: str, seen: set[str]) -> None:
    fault = id_fault(image_id)
    if fault:
        raise UsageError(f"{path}: {fault}")
    if image_id in seen:
        raise UsageError(
            f"{path}: image {image_id} comes twice, but a submission has one row per image; unite "
            "its masks first"
        )
    wrong = _fault(text, "relative", None)
    if wrong:
        raise RleError(f"{path}: image {image_id}: {wrong.reason}")


_ID_RULE: Final = "an id is 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first"


class _Fault(NamedTuple):
    """What is wrong with a row, and of what kind that is."""

    reason: str
    code: ProblemCode = "malformed-rows"


@dataclass(slots=True)
class _Laid:
    """One mask text, the picture that it is to be laid on, and what is wrong with that."""

    image_id: str
    line: int
    text: str
    shape: tuple[int, int]
    fault: _Fault | None = None
    made_for: tuple[int, int] | None = None


def _misfit_fault(misfit: Misfit, mask: _Laid, other: Form) -> _Fault:
    """Return what is wrong with a mask that was not made for its picture."""
    if misfit.size is None:
        return mask.fault or _Fault(
            f"the runs of neighbouring columns touch only when read in the {other} run-length "
            "form, unlike the other rows; write all rows in one form",
            "mixed-forms",
        )
    size, picture = (" x ".join(map(str, shape)) for shape in (misfit.size, mask.shape))
    if mask.fault is not None:
        return _Fault(
            f"{mask.fault.reason}; it was likely made for {size} (rows x columns)", mask.fault.code
        )
    if misfit.alike is not None:
        others, told = misfit.alike
        why = f"as {others} of the {told} masks of this table that show it were"
    else:
        why = "where alone its runs in neighbouring columns touch"
    if misfit.size == mask.shape[::-1]:
        why += " (the runs may have been counted along the rows)"
    return _Fault(
        f"the mask was likely made for a picture of {size} (rows x columns), {why}, but its image "
        f"has {picture}; resize the mask, or take the image that it was drawn on",
        "another-size",
    )


@dataclass(slots=True)
class _Verdict:
    """Judges mask texts, and counts those that only read in the other run-length form."""

    path: Path
    form: Form
    judged: int = 0
    other_form: int = 0

    def of(self, text: str, shape: tuple[int, int] | None) -> _Fault | None:
        """Return what is wrong with a text, None where nothing is."""
        self.judged += 1
        fault = _fault(text, self.form, shape)
        if fault and not _fault(text, other_form(self.form), shape):
            self.other_form += 1
        return fault

    def refuse_other_form(self) -> None:
        """Raise OtherFormError where most texts are in the other form."""
        if 2 * self.other_form > self.judged:
            other = other_form(self.form)
            raise OtherFormError(
                f"{self.path}: {self.other_form} of {self.judged} mask rows do not fit as the "
                f"{self.form} run-length form, but do as the {other} one; read the table with "
                f"`rle` {other}"
            )


@dataclass(slots=True)
class _Table:
    """A table while it is being read; `found` is image id -> text -> its first line."""

    path: Path
    form: Form
    wanted: tuple[str, str] = ("", "")
    label: str = ""
    verdict: _Verdict = field(init=False)
    rows: int = 0
    found: dict[str, dict[str, int]] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)
    repeated: int = 0
    problems: list[RowProblem] = field(default_factory=list)
    notes: list[TableNote] = field(default_factory=list)
    padded_marks: int = 0
    unused: tuple[str, ...] = ()
    id_at: int = 0
    mask_at: int = 1
    presence_at: int | None = None
    contrary: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.verdict = _Verdict(self.path, self.form)

    def read(self, lines: Iterator[tuple[int, str]]) -> None:
        """Take in every line of the file."""
        ids, masks = self.wanted[0] or ID_COLUMN, self.wanted[1] or MASK_COLUMN

        def known(cells: Sequence[str]) -> bool:
            return {ids, masks} <= set(cells) or self._is_annotation(cells)

        head = head_of(self._without_mark(lines), known, self.path, AnnotationError)
        if not head.line:
            raise AnnotationError(f"{self.path}: the file is empty; {_wanted()}")
        names = self._begin(head, ids, masks)
        if not {ids, masks} <= set(names):  # its first line is a row
            lines = chain([(head.line, head.text)], lines)
        table = CsvTable(self.path, names, head.delimiter, len(head.cells), lines)
        try:
            chosen = rows_of_pneumothorax(names, table.cells(), self.mask_at, self.label)
        except AnnotationError as error:
            raise AnnotationError(f"{self.path}: {error}") from error
        if chosen.passed:
            self.notes.append(TableNote("other-structures", chosen.passed, chosen.structures))
        self.presence_at = presence_column(names)
        self.unused = tuple(name for name in self.unused if name not in chosen.read)
        for line, cells, fault in chosen.rows:
            self._take(line, cells, fault)

    def _without_mark(self, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        for number, line in lines:
            if number == 1 and line.startswith(BYTE_ORDER_MARK):
                self.notes.append(TableNote("byte-order-mark", 1))
            yield number, line

    def finished(self) -> Annotations:
        """Return what was read, one entry per image."""
        self.verdict.refuse_other_form()
        self._refuse_conflicts()
        if self.padded_marks:
            self.notes.append(TableNote("empty-mark-variant", self.padded_marks))
        if self.repeated:
            self.notes.append(TableNote("repeated-rows", self.repeated))
        if self.contrary:
            says = f"the first is on line {self.contrary[0]}"
            self.notes.append(TableNote("contrary-column", len(self.contrary), says))
        bad = {problem.image_id for problem in self.problems}
        good = {key: found for key, found in self.found.items() if key not in bad}
        return Annotations(
            path=self.path,
            form=self.form,
            rows=self.rows,
            masks={key: tuple(t for t in found if t != EMPTY) for key, found in good.items()},
            lines={key: tuple(found.values()) for key, found in good.items()},
            problems=_by_line(self.problems),
            notes=tuple(self.notes),
            last=self.last,
            unused=self.unused,
        )

    def _begin(self, head: TableHead, ids: str, masks: str) -> tuple[str, ...]:
        """Return the columns, and keep where those of ids and masks are."""
        names = [name.strip() for name in head.cells]
        while names and not names[-1]:
            names.pop()
        if ids in names and masks in names:
            repeated = next((name for name in (ids, masks) if names.count(name) > 1), "")
            if repeated:
                raise AnnotationError(
                    f"{self.path}: two columns have the name {_shown(repeated)}; rename one of them"
                )
            self.id_at, self.mask_at = names.index(ids), names.index(masks)
            self.unused = tuple(name for name in names if name not in {"", ids, masks})
            if list(head.cells[: len(names)]) != names:
                self.notes.append(TableNote("header-variant", 1))
        elif any(self.wanted) or not self._is_annotation(names):
            shown = few([_shown(name) for name in names], 8) or "nothing that reads as CSV"
            raise AnnotationError(f"{self.path}: the columns are {shown}; {_wanted(ids, masks)}")
        else:
            self.notes.append(TableNote("no-header", 1))
        return tuple(names)

    def _is_annotation(self, values: Sequence[str]) -> bool:
        if len(values) != 2 or not _SAFE_ID.fullmatch(values[0]):
            return False
        return values[1] == EMPTY or not _fault(values[1], self.form, None)

    def _take(self, number: int, cells: Sequence[str], broken: str) -> None:
        self.rows += 1
        values = [cell.strip() for cell in cells]
        image_id = values[self.id_at] if len(values) > self.id_at else ""
        fault = _Fault(broken) if broken else self._row_fault(image_id, cells[self.mask_at])
        if fault:
            self._refuse(RowProblem(number, _shown(image_id), fault.reason, fault.code))
            return
        self.padded_marks += values[self.mask_at] == EMPTY != cells[self.mask_at]
        found = self.found.setdefault(image_id, {})
        self.repeated += found.setdefault(values[self.mask_at], number) != number
        self.last[image_id] = values[self.mask_at]
        if self.presence_at is not None and contradicts(
            values[self.presence_at], values[self.mask_at]
        ):
            self.contrary.append(number)

    def _refuse(self, problem: RowProblem) -> None:
        self.problems.append(problem)
        if len(self.problems) > MAX_PROBLEMS:
            raise AnnotationError(
                f"{self.path}: more than {MAX_PROBLEMS} rows are refused, the first one on "
                f"{self.problems[0]}; {_wanted()}"
            )

    def _row_fault(self, image_id: str, text: str) -> _Fault | None:
        if not (_FILE_NAME if self.wanted[0] else _SAFE_ID).fullmatch(image_id):
            return _Fault(f"this is not an image id; {_ID_RULE}")
        if len(text) == _MOST_OF_EXCEL:  # blanks counted
            return _Fault(
                f"the run-length text has {_MOST_OF_EXCEL:,} characters, as many as Excel keeps of "
                "a longer one; take the row from the table before it was saved there"
            )
        return None if text.strip() == EMPTY else self.verdict.of(text.strip(), None)

    def _refuse_conflicts(self) -> None:
        """Make a problem of each image that is marked empty and has a mask too."""
        for image_id, found in self.found.items():
            if EMPTY in found and len(found) > 1:
                masked = min(line for text, line in found.items() if text != EMPTY)
                reason = (
                    f"the image is marked {EMPTY} on line {found[EMPTY]}, but has a mask on line "
                    f"{masked}; remove the wrong one of them"
                )
                line = max(found[EMPTY], masked)
                self._refuse(RowProblem(line, image_id, reason, "empty-beside-mask"))


def _fault(text: str, form: Form, shape: tuple[int, int] | None) -> _Fault | None:
    try:
        runs(text, shape, form=form)
    except OutsideError as error:
        return _Fault(str(error), "runs-outside")
    except ZeroRunError as error:
        return _Fault(str(error), "zero-runs")
    except RleError as error:
        return _Fault(str(error))
    return None


def _by_line(problems: Iterable[RowProblem]) -> tuple[RowProblem, ...]:
    return tuple(sorted(problems, key=lambda problem: problem.line))


def _shown(image_id: str) -> str:
    """Return an id as it is, and anything else short and escaped."""
    if _SAFE_ID.fullmatch(image_id):
        return image_id
    return repr(image_id if len(image_id) <= 64 else f"{image_id[:64]}...")


def _wanted(ids: str = ID_COLUMN, masks: str = MASK_COLUMN) -> str:
    return (
        f"an annotation table is a CSV file with the columns {ids} and {masks}, such "
        "as SIIM-ACR's train-rle.csv; name others with `image_column` and `mask_column`"
    )
