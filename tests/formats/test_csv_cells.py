"""The tables that pleura writes: a line per row, no formula, and every text comes back."""

import csv
import io

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.formats.csv_cells import cell, csv_text, text_of

TEXTS = st.text(st.characters(exclude_categories=()), max_size=20) | st.text(
    st.sampled_from("\\'=+-@\t\r\n\0\u2028\x1b\u202e\udcff \"',;x1uU09af"), max_size=12
)


@given(TEXTS)
def test_a_text_comes_back(text: str) -> None:
    assert text_of(cell(text)) == text


@given(TEXTS)
def test_a_cell_is_printable_and_no_formula(text: str) -> None:
    shown = cell(text)
    assert shown.isprintable()
    assert shown == shown.strip()
    assert shown[:1] not in tuple("=+-@\uff1d\uff0b\uff0d\uff20") or float(shown) == float(text)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
def test_other_readers_find_the_same_rows(rows: list[tuple[str, str]]) -> None:
    table = csv_text(["image_id", "path"], rows)
    assert table.count("\n") == 1 + len(rows)
    _, *found = csv.reader(io.StringIO(table, newline=""))
    assert [tuple(map(text_of, row)) for row in found] == rows
    frame = pl.read_csv(table.encode(), infer_schema=False).fill_null("")
    assert [tuple(map(text_of, row)) for row in frame.rows()] == rows


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1.2.840", "1.2.840"),
        ("-1", "-1"),
        ("+1.5e-3", "+1.5e-3"),
        (-3, "-3"),
        (-0.5, "-0.5"),
        (None, ""),
        ("", ""),
        ("=1+1", "'=1+1"),
        ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\uff1dA1", "'\uff1dA1"),
        ("'=1", "''=1"),
        ("'quoted'", "'quoted'"),
        ("\t=1", "\\x09=1"),
        (" a b ", "\\x20a b\\x20"),
        ("a\rb\nc\0d", "a\\x0db\\x0ac\\x00d"),
        ("a\u2028\u202eb", "a\\u2028\\u202eb"),
        ("\udcff.dcm", "\\udcff.dcm"),
        ("a\\x0d", "a\\\\x0d"),
        ("1,5", "1,5"),
    ],
)
def test_what_stands_in_a_table(value: object, expected: str) -> None:
    assert cell(value) == expected


def test_what_is_no_escape_of_pleura_stays() -> None:
    assert text_of(r"C:\new\file \U99999999 'a'") == r"C:\new\file \U99999999 'a'"
