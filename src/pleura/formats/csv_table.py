"""Tables of people and programs as CSV, hostile until read: bounded, a row at a time, each named.

A row ends where its line ends. A quote that does not close is a fault of its own row, and never
swallows the rows behind it; so no value may run over several lines.

What spreadsheets make of a table is read: another separator, the line ``sep=;`` that names it,
UTF-16, empty columns at the end. So are lines of comments (``#``) above the names of the columns.
"""

import codecs
import contextlib
import csv
import gzip
import io
import math
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from pleura.errors import AnnotationError, DataError
from pleura.formats.text_file import open_regular, why_not_read
from pleura.printable import few
from pleura.storage.elsewhere import path_at

MAX_TABLE_BYTES: Final = 1 << 28
"""A table that holds more, after decompression, is refused (SIIM-ACR's largest holds 5 MB)."""

MAX_LINE_BYTES: Final = 1 << 24
"""A longer line is refused (SIIM-ACR's longest has 10 kB)."""

MAX_LINES: Final = 2_000_000
"""A table of more lines is refused (SIIM-ACR's has 12,955)."""

MAX_VALUES: Final = 10_000
"""A row of more values is not taken apart."""

MAX_COMMENTS: Final = 1000
"""More lines of comments above the names of the columns are not passed over."""

BYTE_ORDER_MARK: Final = "\ufeff"

DELIMITERS: Final = (",", ";", "\t", "|")
"""What may stand between two cells."""

_STATED = re.compile(r'"?sep=(.)"?[,;\t|\s]*', re.IGNORECASE)
"""The line by which a table tells spreadsheets what stands between its cells."""

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"
_EXCEL = "is a file of a spreadsheet program; save the table from there as CSV in UTF-8"
_SHOWN = 40
_MOST_SHOWN = 12

TableError = type[AnnotationError] | type[DataError]


class TableRow(NamedTuple):
    """One row of a table.

    Attributes:
        line: Its line in the file, from 1.
        values: Value by column, without the blanks around it. Where there is a fault, as far as
            can be told.
        fault: Why the row cannot be trusted, and what to do; empty where it can.
    """

    line: int
    values: dict[str, str]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A table that is being read.

    Attributes:
        path: The file.
        columns: Their names, without blanks around them; none where the file is empty.
        delimiter: What stands between two cells.
        width: How many cells the line of the names has, empty ones at its end counted.
    """

    path: Path
    columns: tuple[str, ...]
    delimiter: str
    width: int
    _lines: Iterator[tuple[int, str]]

    def rows(self) -> Iterator[TableRow]:
        """Yield each row behind the first, bad ones with what is wrong with them.

        Raises:
            DataError: The file cannot be read on.
        """
        for line, found, fault in self.cells():
            values = dict(zip(self.columns, map(str.strip, found), strict=False))
            values.pop("", None)  # a column without a name, such as one of row numbers
            yield TableRow(line, values, fault)

    def cells(self) -> Iterator[tuple[int, list[str], str]]:
        """Yield of each row its line, its cells as written, and what is wrong with it.

        Raises:
            DataError: The file cannot be read on.
        """
        width, allowed = len(self.columns), {len(self.columns), self.width}
        first = True
        for line, text in self._lines:
            if not text or text.isspace():
                continue
            values = fields_of(text, self.delimiter)
            fault = "" if values is not None else UNCLOSED
            # A row whose quotes do not close still names the image that must be left out.
            found = values or text.replace('"', "").split(self.delimiter, width)
            count, blank = len(found), not any(map(str.strip, found[width:]))
            # Spreadsheets write empty cells behind the last column, and then as many in each row:
            # a row with more than the others may have been parted at a decimal comma.
            if first and blank and count > self.width:
                allowed = {count}
            first = False
            if blank and count in allowed:
                del found[width:]
            elif not fault:
                fault = f"the row has {count} values, but the table has {width} columns; repair it"
            yield line, found, fault

    def whole_rows(self) -> Iterator[TableRow]:
        """Yield each row behind the first.

        Raises:
            DataError: The file cannot be read on, or a row cannot be trusted.
        """
        for row in self.rows():
            if row.fault:
                raise DataError(f"{self.path}: line {row.line}: {row.fault}")
            yield row


UNCLOSED: Final = (
    "the quotes of the row do not close on its line, or its values are too many or too long; "
    "repair it"
)


@contextlib.contextmanager
def open_table(
    path: str | os.PathLike[str], known: Callable[[Sequence[str]], bool]
) -> Iterator[CsvTable]:
    """Yield a table with a row of column names, ``.csv`` or gzipped, in UTF-8 or UTF-16.

    Args:
        path: The file.
        known: Whether columns are those that are wanted; tried with each delimiter, and where it
            holds for none, the table is read with the first one.

    Raises:
        DataError: The file cannot be read, or two of its columns have one name.
    """
    table = path_at(path)
    with open_lines(table, DataError) as lines:
        head = head_of(lines, known, table, DataError)
        names = [name.strip() for name in head.cells]
        while names and not names[-1]:
            names.pop()
        repeated = [name for name in names if name and names.count(name) > 1]
        if repeated:
            raise DataError(
                f"{path}: two columns have the name {shown(repeated[0])}; rename one of them"
            )
        yield CsvTable(table, tuple(names), head.delimiter, len(head.cells), lines)


def rows_with(path: str | os.PathLike[str], needed: Sequence[str], what: str) -> Iterator[TableRow]:
    """Yield the rows of a table that has the columns needed.

    Args:
        path: The table.
        needed: The columns.
        what: What messages call such a table, such as ``a fold table``.

    Raises:
        DataError: It cannot be read, lacks a column that is needed, or a row cannot be trusted.
    """
    with open_table(path, set(needed).issubset) as table:
        if not set(needed) <= set(table.columns):
            raise DataError(
                f"{path}: {what} needs the columns {' and '.join(needed)}; found "
                f"{columns_shown(table.columns)}"
            )
        yield from table.whole_rows()


class TableHead(NamedTuple):
    """The first line of a table that says something.

    Attributes:
        line: Its number, from 1; 0 where there is none.
        cells: What stands in it, as written; none where it is no CSV.
        delimiter: What stands between them.
        text: The line.
    """

    line: int = 0
    cells: tuple[str, ...] = ()
    delimiter: str = DELIMITERS[0]
    text: str = ""


def head_of(
    lines: Iterator[tuple[int, str]],
    known: Callable[[Sequence[str]], bool],
    path: Path,
    error: TableError,
) -> TableHead:
    """Return the first line that says something, parted by what parts the columns.

    Passed over are empty lines, one that names the separator, and comments.

    Args:
        lines: The lines of a table; read up to that one.
        known: As for :func:`open_table`; asked about cells without the blanks around them.
        path: The table.
        error: What to raise.

    Raises:
        error: Each line stands in quotes as a whole.
    """
    delimiters: Sequence[str] = DELIMITERS
    passed = 0
    for number, line in lines:
        text = line.removeprefix(BYTE_ORDER_MARK)
        if not text or text.isspace():
            continue
        if stated := _STATED.fullmatch(text):
            delimiters = (stated[1] if stated[1] in DELIMITERS else "\t",)
            continue
        parted = [(fields_of(text, delimiter) or [], delimiter) for delimiter in delimiters]
        cells, delimiter = next(
            ((cells, one) for cells, one in parted if known([*map(str.strip, cells)])), parted[0]
        )
        if not known([*map(str.strip, cells)]):
            blank = cells and not any(map(str.strip, cells))
            if (blank or text.startswith("#")) and passed < MAX_COMMENTS:
                passed += 1
                continue
            _check_quotes(cells, known, path, error)
        return TableHead(number, tuple(cells), delimiter, text)
    return TableHead()


def _check_quotes(
    cells: Sequence[str], known: Callable[[Sequence[str]], bool], path: Path, error: TableError
) -> None:
    """Raise where the cell of a line that has one alone holds the columns that are wanted."""
    if len(cells) == 1 and any(known(names_of(cells[0], one)) for one in DELIMITERS):
        raise error(
            f"{path}: its first line stands in quotes as a whole, so it has one column alone; "
            "write the table again without them"
        )


@contextlib.contextmanager
def open_lines(
    path: Path, error: TableError, wanted: str = "is it a table?"
) -> Iterator[Iterator[tuple[int, str]]]:
    """Yield the lines of a table: number, from 1, and text without its end.

    Args:
        path: The file, plain or gzipped.
        error: What to raise where it cannot be read.
        wanted: What to say of a file that is too large, after a semicolon.

    Raises:
        error: It is not a regular file, is larger than a table may be, or is not text in UTF-8 (or
            in UTF-16 that says so). The same while its lines are read.
    """
    with open_regular(path, error) as stream:
        yield _lines(stream, path, error, wanted)


def fields_of(line: str, delimiter: str = ",") -> list[str] | None:
    """Return the values of one CSV line, or None where its quotes do not close."""
    if line.count(delimiter) >= MAX_VALUES:
        return None
    if '"' not in line:
        return line.split(delimiter)
    # Blanks between a closing quote and what follows are passed over, as those before a quote are.
    for text in (line, re.sub(f'" +(?={re.escape(delimiter)}|$)', '"', line)):
        with contextlib.suppress(csv.Error, StopIteration):
            return next(csv.reader([text], strict=True, skipinitialspace=True, delimiter=delimiter))
    return None


def names_of(line: str, delimiter: str = ",") -> list[str]:
    """Return the column names in a table's first line; none where it is no CSV."""
    return [name.strip() for name in fields_of(line, delimiter) or []] if line.strip() else []


def columns_shown(names: Sequence[str]) -> str:
    """Return column names as a message shows them."""
    return few([shown(name) for name in names], _MOST_SHOWN) or "none"


def shown(value: str) -> str:
    """Return a value as a message shows it: short, and escaped where it is not plain."""
    short = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
    return short if short.isprintable() else repr(short)


def whole_number(text: str, most: int) -> int | None:
    """Return a whole number from 0 to `most`, written in ASCII digits; None where it is none."""
    if not (text.isascii() and text.isdecimal()):
        return None
    digits = text.lstrip("0") or "0"
    number = int(digits) if len(digits) <= len(str(most)) else most + 1
    return number if number <= most else None


def patient_of(text: str) -> str:
    """Return whom a cell names as a patient; "" where it is what stands for nobody.

    Else all images without a patient would be one patient's.
    """
    return "" if text.strip().lower() in _NOBODY else text


def number_of(text: str) -> float:
    """Return a number, with a point or a comma; NaN where it is none."""
    try:
        return float(text.replace(",", ".")) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


_NOBODY: Final = frozenset(
    (
        *("", "nan", "na", "n/a", "<na>", "none", "null", "unknown", "not known", "-", "?"),
        *("anon", "anonym", "anonymous", "anonymized", "anonymised", "deidentified"),
    )
)
"""What programs and people write for a patient whom they do not know or name."""


def _lines(
    stream: BinaryIO, path: Path, error: TableError, wanted: str
) -> Iterator[tuple[int, str]]:
    total = number = 0
    try:
        for raw in _raw_lines(_unpacked(stream, path, error), path, error):
            total += len(raw)
            if len(raw) > MAX_LINE_BYTES:
                raise error(
                    f"{path}: line {number + 1} is longer than {MAX_LINE_BYTES} bytes; {wanted}"
                )
            if total > MAX_TABLE_BYTES:
                raise error(
                    f"{path}: the table holds more than {MAX_TABLE_BYTES} bytes (decompressed); "
                    f"{wanted}"
                )
            if number + raw.rstrip(b"\r\n").count(b"\r") >= MAX_LINES:
                raise error(f"{path}: the table has more than {MAX_LINES} lines; {wanted}")
            # A lone carriage return ends a line too, as old programs write it.
            for piece in _decoded(raw, path, number + 1, error).rstrip("\r\n").split("\r"):
                number += 1
                yield number, piece
    except (OSError, EOFError, zlib.error) as fault:
        raise error(
            f"{path}: could not be read ({why_not_read(fault)}); check the path, or fetch the file "
            "again"
        ) from fault


def _unpacked(stream: BinaryIO, path: Path, error: TableError) -> io.BufferedReader:
    start = stream.read(4)
    stream.seek(0)
    if start == _OLD_EXCEL or (start == b"PK\x03\x04" and _is_spreadsheet(stream)):
        raise error(f"{path}: {_EXCEL}")
    if start == b"PK\x03\x04":
        raise error(f"{path}: is a ZIP file; name the table in it, such as {path}/labels.csv")
    packed = start[:2] == b"\x1f\x8b"
    return cast(io.BufferedReader, gzip.GzipFile(fileobj=stream) if packed else stream)


def _is_spreadsheet(stream: BinaryIO) -> bool:
    """Return whether a ZIP file is one of Excel, LibreOffice or Numbers."""
    try:
        names = zipfile.ZipFile(stream).namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    return any(name.startswith(("xl/", "Index/")) or name == "content.xml" for name in names)


def _raw_lines(opened: io.BufferedReader, path: Path, error: TableError) -> Iterator[bytes]:
    """Yield the lines of a file with their ends, those of UTF-16 as UTF-8."""
    if opened.peek(2)[:2] not in _UTF_16:
        while raw := opened.readline(MAX_LINE_BYTES + 1):
            yield raw
        return
    text = codecs.getreader("utf-16")(opened)
    try:
        while line := text.readline(MAX_LINE_BYTES + 1):
            yield line.encode()
        codecs.utf_16_le_decode(text.bytebuffer, "strict", True)  # half a letter is left there
    except UnicodeError as fault:
        raise error(
            f"{path}: is no whole text in UTF-16, as its beginning says; save the table as CSV in "
            "UTF-8"
        ) from fault


def _decoded(raw: bytes, path: Path, line: int, error: TableError) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as fault:
        found = f"byte 0x{raw[fault.start]:02x}"
    else:
        if "\0" not in text:
            return text
        found = "a null byte"
    raise error(
        f"{path}: line {line} holds {found}, so this is not a text file in UTF-8; save the table "
        "as CSV in UTF-8"
    )
