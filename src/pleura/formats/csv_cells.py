r"""Cells of the CSV tables that pleura writes: any text on one line, and never a formula.

A number stays what it is. In a text from outside (a file's name, a header, a reason):

* a character that is not printable, a line break and the blank at an end among them, is written as
  ``\xHH``, ``\uHHHH`` or ``\UHHHHHHHH``, and a backslash as two;
* one that begins like a formula (``=``, ``+``, ``-``, ``@``, also in full width) and is no number
  gets an apostrophe in front, by which spreadsheets tell a text.

So a row is a line for every reader, and :func:`text_of` gives the text back.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

from pleura.printable import escaped

_FORMULA: Final = re.compile("'*[=+\\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_ESCAPE: Final = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


def cell(value: object) -> str:
    """Return what stands in a table for a value: "" for None, a number as it is, a text safely."""
    if value is None:
        return ""
    text = str(value)
    if not isinstance(value, str) or _NUMBER.fullmatch(text):
        return text
    text = escaped(text.replace("\\", r"\\"))
    if text[:1] == " ":
        text = rf"\x20{text[1:]}"
    if text[-1:] == " ":
        text = rf"{text[:-1]}\x20"
    return f"'{text}" if _FORMULA.match(text) else text


def text_of(cell: str) -> str:
    """Return the text for which :func:`cell` gave what stands in a table."""
    if cell.startswith("'") and _FORMULA.match(cell):
        cell = cell[1:]
    return _ESCAPE.sub(_unescaped, cell) if "\\" in cell else cell


def csv_line(values: Iterable[object]) -> str:
    """Return a row of a table, with the end of its line."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([cell(value) for value in values])
    return text.getvalue()


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a whole table: a row of column names, and the rows."""
    return "".join(map(csv_line, [columns, *rows]))


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    number = int(code, 16) if code else ord("\\")
    return chr(number) if number <= 0x10FFFF else found[0]
