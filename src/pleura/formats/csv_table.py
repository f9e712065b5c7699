"""Tables of people and programs as CSV, hostile until read: bounded, a row at a time, each named.

A row ends where its line ends. A quote that does not close is a fault of its own row, and never
swallows the rows behind it; so no value may run over several lines.
"""

import contextlib
import csv
import gzip
import math
import os
import re
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

BYTE_ORDER_MARK: Final = "\ufeff"

_DELIMITERS = (",", ";", "\t")
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
    """

    path: Path
    columns: tuple[str, ...]
    delimiter: str
    _lines: Iterator[tuple[int, str]]

    def rows(self) -> Iterator[TableRow]:
        """Yield each row behind the first, bad ones with what is wrong with them.

        Raises:
            DataError: The file cannot be read on.
        """
        width = len(self.columns)
        for line, text in self._lines:
            if not text or text.isspace():
                continue
            values = fields_of(text, self.delimiter)
            fault = "" if values is not None else UNCLOSED
            # A row whose quotes do not close still names the image that must be left out.
            found = values or text.replace('"', "").split(self.delimiter, width)
            while len(found) > width and not found[-1].strip():  # as spreadsheets write them
                found.pop()
            if not fault and len(found) != width:
                fault = f"the row has {len(found)} values, but the table has {width} columns"
                fault += "; repair it"
            yield TableRow(
                line, dict(zip(self.columns, map(str.strip, found), strict=False)), fault
            )

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
    """Yield a table with a row of column names, ``.csv`` or gzipped, in UTF-8.

    Args:
        path: The file.
        known: Whether columns are those that are wanted; tried with each delimiter, and where it
            holds for none, the table is read with the first one.

    Raises:
        DataError: The file cannot be read, or two of its columns have one name.
    """
    table = path_at(path)
    with open_lines(table, DataError) as lines:
        line = next((text for _, text in lines if text.strip()), "").removeprefix(BYTE_ORDER_MARK)
        found = [(names_of(line, delimiter), delimiter) for delimiter in _DELIMITERS]
        names, delimiter = next((pair for pair in found if known(pair[0])), found[0])
        while names and not names[-1]:
            names.pop()
        repeated = [name for name in names if name and names.count(name) > 1]
        if repeated:
            raise DataError(
                f"{path}: two columns have the name {shown(repeated[0])}; rename one of them"
            )
        yield CsvTable(table, tuple(names), delimiter, lines)


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
        error: It is not a regular file, is larger than a table may be, or is not text in UTF-8.
            The same while its lines are read.
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


def number_of(text: str) -> float:
    """Return a number, with a point or a comma; NaN where it is none."""
    try:
        return float(text.replace(",", ".")) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def _lines(
    stream: BinaryIO, path: Path, error: TableError, wanted: str
) -> Iterator[tuple[int, str]]:
    total = number = 0
    try:
        opened = _unpacked(stream, path, error)
        while raw := opened.readline(MAX_LINE_BYTES + 1):
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


def _unpacked(stream: BinaryIO, path: Path, error: TableError) -> BinaryIO:
    start = stream.read(4)
    stream.seek(0)
    if start == b"PK\x03\x04":
        raise error(f"{path}: is a ZIP file; name the table in it, such as {path}/labels.csv")
    if start[:2] == b"\x1f\x8b":
        return cast(BinaryIO, gzip.GzipFile(fileobj=stream))
    return stream


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
