"""The table of run-length masks in: ``train-rle.csv``."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final

from pleura.choices import MaskReaders
from pleura.errors import AnnotationError
from pleura.formats.annotations import (
    FILE_NAME,
    ID_COLUMN,
    ID_RULE,
    MASK_COLUMN,
    SAFE_ID,
    Annotations,
    RowFault,
    RowProblem,
    TableNote,
    Verdict,
    by_line,
    row_fault,
    shown_id,
)
from pleura.formats.csv_table import BYTE_ORDER_MARK, CsvTable, TableHead, head_of, open_lines
from pleura.formats.mask_columns import (
    contradicts,
    presence_column,
    reader_column,
    rows_of_pneumothorax,
    size_columns,
    size_in,
)
from pleura.formats.mask_fit import check_masks
from pleura.formats.rle import EMPTY, Form, agreed, runs
from pleura.printable import few
from pleura.storage.elsewhere import path_at

MAX_PROBLEMS: Final = 100_000
"""A table of which more rows are refused is refused as a whole."""

_MOST_OF_EXCEL: Final = 32_767
"""Characters in a cell; what is beyond is cut off without a word."""


def read_annotations(
    path: str | os.PathLike[str],
    *,
    form: Form = "relative",
    shape: tuple[int, int] | None = None,
    columns: tuple[str, str] = ("", ""),
    label: str = "",
    readers: tuple[str, MaskReaders] = ("", "union"),
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
        readers: Name of the column of readers, "" where its name shows it; and which pixels count
            where several drew on one image.

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
    table = _Table(path_at(path), form, columns, label, readers)
    with open_lines(table.path, AnnotationError, _wanted()) as lines:
        table.read(lines)
    annotations = table.finished()
    if shape is None:
        return annotations
    return check_masks(annotations, dict.fromkeys(annotations.masks, shape))


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


@dataclass(slots=True)
class _Table:
    """A table while it is being read; `found` is image id -> text -> its first line."""

    path: Path
    form: Form
    wanted: tuple[str, str] = ("", "")
    label: str = ""
    rule: tuple[str, MaskReaders] = ("", "union")
    verdict: Verdict = field(init=False)
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
    reader_at: int | None = None
    size_at: tuple[int, int] | None = None
    readers: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.verdict = Verdict(self.path, self.form)

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
            self._find_columns(names, chosen.read)
        except AnnotationError as error:
            raise AnnotationError(f"{self.path}: {error}") from error
        if chosen.passed:
            self.notes.append(TableNote("other-structures", chosen.passed, chosen.structures))
        for line, cells, fault in chosen.rows:
            self._take(line, cells, fault)

    def _find_columns(self, names: Sequence[str], read: Sequence[str]) -> None:
        """Keep where the columns are that say more of a row."""
        self.presence_at = presence_column(names)
        self.reader_at = reader_column(names, self.rule[0])
        self.size_at = size_columns(names)
        if self.rule[1] != "union" and self.reader_at is None:
            raise AnnotationError(
                f"`readers` is {self.rule[1]}, but no column says who drew a mask; name it with "
                "`reader_column`"
            )
        places = (self.reader_at, *(self.size_at or ()))
        known = {*read, *(names[at] for at in places if at is not None)}
        self.unused = tuple(name for name in self.unused if name not in known)

    def _without_mark(self, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        for number, line in lines:
            if number == 1 and line.startswith(BYTE_ORDER_MARK):
                self.notes.append(TableNote("byte-order-mark", 1))
            yield number, line

    def finished(self) -> Annotations:
        """Return what was read, one entry per image."""
        self.verdict.refuse_other_form()
        self._refuse_conflicts()
        if self.rule[1] == "majority":
            self._agree()
        if self.padded_marks:
            self.notes.append(TableNote("empty-mark-variant", self.padded_marks))
        if self.repeated:
            self.notes.append(TableNote("repeated-rows", self.repeated))
        if self.contrary:
            says = f"the first is on line {self.contrary[0]}"
            self.notes.append(TableNote("contrary-column", len(self.contrary), says))
        bad = {problem.image_id for problem in self.problems}
        good = {key: found for key, found in self.found.items() if key not in bad}
        several = {key: len(own) for key, own in self.readers.items() if len(own) > 1}
        return Annotations(
            path=self.path,
            form=self.form,
            rows=self.rows,
            masks={key: tuple(t for t in found if t != EMPTY) for key, found in good.items()},
            lines={key: _lines_of(found) for key, found in good.items()},
            problems=by_line(self.problems),
            notes=tuple(self.notes),
            last=self.last,
            unused=self.unused,
            sizes={key: size for key, size in self.sizes.items() if key in good},
            sizes_said=True,
            readers={key: number for key, number in several.items() if key in good},
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
                    f"{self.path}: two columns have the name {shown_id(repeated)}; "
                    "rename one of them"
                )
            self.id_at, self.mask_at = names.index(ids), names.index(masks)
            self.unused = tuple(name for name in names if name not in {"", ids, masks})
            if list(head.cells[: len(names)]) != names:
                self.notes.append(TableNote("header-variant", 1))
        elif any(self.wanted) or not self._is_annotation(names):
            shown = few([shown_id(name) for name in names], 8) or "nothing that reads as CSV"
            raise AnnotationError(f"{self.path}: the columns are {shown}; {_wanted(ids, masks)}")
        else:
            self.notes.append(TableNote("no-header", 1))
        return tuple(names)

    def _is_annotation(self, values: Sequence[str]) -> bool:
        if len(values) != 2 or not SAFE_ID.fullmatch(values[0]):
            return False
        return values[1] == EMPTY or not row_fault(values[1], self.form, None)

    def _take(self, number: int, cells: Sequence[str], broken: str) -> None:
        self.rows += 1
        values = [cell.strip() for cell in cells]
        image_id = values[self.id_at] if len(values) > self.id_at else ""
        fault = RowFault(broken) if broken else self._row_fault(image_id, cells)
        if fault:
            self._refuse(RowProblem(number, shown_id(image_id), fault.reason, fault.code))
            return
        self.padded_marks += values[self.mask_at] == EMPTY != cells[self.mask_at]
        reader = "" if self.reader_at is None else values[self.reader_at]
        own = self.readers.setdefault(image_id, {}).setdefault(reader, [])
        text = values[self.mask_at]
        self.repeated += text in own
        own += [] if text in own else [text]
        self.found.setdefault(image_id, {}).setdefault(text, number)
        self.last[image_id] = text
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

    def _row_fault(self, image_id: str, cells: Sequence[str]) -> RowFault | None:
        text = cells[self.mask_at]
        if not (FILE_NAME if self.wanted[0] else SAFE_ID).fullmatch(image_id):
            return RowFault(f"this is not an image id; {ID_RULE}")
        if len(text) == _MOST_OF_EXCEL:  # blanks counted
            return RowFault(
                f"the run-length text has {_MOST_OF_EXCEL:,} characters, as many as Excel keeps of "
                "a longer one; take the row from the table before it was saved there"
            )
        try:
            size = size_in(cells, self.size_at)
        except AnnotationError as error:
            return RowFault(str(error))
        known = size and self.sizes.setdefault(image_id, size)
        if known != size:
            return RowFault(
                f"it says that its image has {_in_pixels(size)} (rows x columns), and another row "
                f"of this image says {_in_pixels(known)}; keep the right one"
            )
        return None if text.strip() == EMPTY else self.verdict.of(text.strip(), size)

    def _agree(self) -> None:
        """Keep of each image what more than half of its readers drew."""
        for image_id, own in self.readers.items():
            if len(own) < 2:
                continue
            found = self.found[image_id]
            text = agreed(own.values(), form=self.form, to=self.form)
            empty = sum(EMPTY in texts for texts in own.values())
            if text == EMPTY and 2 * empty <= len(own):
                reason = (
                    f"{len(own) - empty} of its {len(own)} readers drew a mask, but no pixel is in "
                    "more than half of the masks; decide which one counts"
                )
                self._refuse(RowProblem(max(found.values()), image_id, reason, "readers-disagree"))
            self.found[image_id] = {text: min(found.values())}
            self.last[image_id] = text

    def _refuse_conflicts(self) -> None:
        """Make a problem of each image that is marked empty and has a mask too, by one reader."""
        for image_id, found in self.found.items():
            own = self.readers[image_id].values()
            if any(EMPTY in texts and len(set(texts)) > 1 for texts in own):
                masked = min(line for text, line in found.items() if text != EMPTY)
                reason = (
                    f"the image is marked {EMPTY} on line {found[EMPTY]}, but has a mask on line "
                    f"{masked}; remove the wrong one of them"
                )
                line = max(found[EMPTY], masked)
                self._refuse(RowProblem(line, image_id, reason, "empty-beside-mask"))


def _lines_of(found: Mapping[str, int]) -> tuple[int, ...]:
    """Return the lines of an image's masks; that of its empty mark where it has none."""
    drawn = tuple(line for text, line in found.items() if text != EMPTY)
    return drawn or tuple(found.values())


def _in_pixels(size: tuple[int, int] | None) -> str:
    return " x ".join(map(str, size or ()))


def _wanted(ids: str = ID_COLUMN, masks: str = MASK_COLUMN) -> str:
    return (
        f"an annotation table is a CSV file with the columns {ids} and {masks}, such "
        "as SIIM-ACR's train-rle.csv; name others with `image_column` and `mask_column`"
    )
