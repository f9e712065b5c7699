import gzip
import tracemalloc
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.errors import DataError
from pleura.formats import csv_table
from pleura.formats.csv_table import columns_shown, open_table, shown, whole_number


@pytest.fixture
def table(tmp_path):
    def write(content):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def rows(path, wanted=("a", "b")):
    with open_table(path, set(wanted).issubset) as found:
        return found.columns, [(row.line, row.values, bool(row.fault)) for row in found.rows()]


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,x y\n2,z\n",
        "\ufeff a , b \r\n 1,x y \r\n2 , z\r\n",
        "a;b\n1;x y\n2;z",
        "a\tb\r1\tx y\r2\tz\r",
        'a,"b"\n"1","x y"\n2,"z"\n',
        gzip.compress(b"a,b,,\n1,x y,,\n2,z,,\n", mtime=0),
        "a|b\n1|x y\n2|z\n",
        "a,b\n1,x y,,\n2,z,,\n",
        "a,b\n1,x y\n2,z\n".encode("utf-16"),
        gzip.compress("a;b\r\n1;x y\r\n2;z\r\n".encode("utf-16"), mtime=0),
    ],
)
def test_a_table_as_programs_write_it(table, content):
    columns, found = rows(table(content))
    assert columns == ("a", "b")
    assert found == [(2, {"a": "1", "b": "x y"}, False), (3, {"a": "2", "b": "z"}, False)]


@pytest.mark.parametrize(
    "content",
    [
        "sep=;\r\na;b\r\n1;x y\r\n",
        '\ufeff"sep=,"\na,b\n1,x y\n',
        "sep=\t\na\tb\n1\tx y\n",
        "SEP=|,,\na|b\n1|x y\n",
        "# made by hand; a, b\na,b\n1,x y\n",
        "\n,,\na,b\n1,x y\n",
    ],
)
def test_lines_above_the_names(table, content):
    columns, found = rows(table(content))
    assert columns == ("a", "b")
    assert [values for _, values, _ in found] == [{"a": "1", "b": "x y"}]


def test_a_column_without_a_name_is_no_value(table):
    """Programs write the numbers of the rows so, and "" stands for a column that is not asked."""
    assert rows(table(",a,b\n0,1,x\n"))[1] == [(2, {"a": "1", "b": "x"}, False)]


def test_a_name_may_begin_like_a_comment(table):
    columns, found = rows(table("#,b\n#1,x\n"), wanted=("#", "b"))
    assert columns == ("#", "b")
    assert found == [(2, {"#": "#1", "b": "x"}, False)]


@pytest.mark.parametrize("above", ["# made by hand\n", ",,\n"])
def test_comments_have_an_end(table, above):
    """Each is looked at with every separator, which would take minutes for two million."""
    most = csv_table.MAX_COMMENTS
    assert rows(table(above * most + "a,b\n1,x\n"))[0] == ("a", "b")
    assert rows(table(above * (most + 1) + "a,b\n1,x\n"))[0] != ("a", "b")
    assert rows(table("\n" * (most + 1) + "a,b\n1,x\n"))[0] == ("a", "b")


def test_empty_cells_behind_the_last_column_are_as_many_in_each_row(table):
    """A row of a decimal comma, ``0,5,``, looks like one with an empty cell behind it."""
    found = rows(table("a,b,c\nx,1,\ny,0,5,\n"), wanted=("a", "b", "c"))[1]
    assert [bad for _, _, bad in found] == [False, True]
    found = rows(table("a,b,c\nx,0,5,\ny,1,\n"), wanted=("a", "b", "c"))[1]
    assert [bad for _, _, bad in found] == [False, True]


def test_lines_that_stand_in_quotes_as_a_whole(table):
    with pytest.raises(
        DataError, match="its first line stands in quotes as a whole, so it has one column alone"
    ):
        rows(table('"a;b"\n"1;x"\n'))


@pytest.mark.parametrize("content", [b"\xff\xfe,", "a,b\n1,x\n".encode("utf-16")[:-1]])
def test_a_text_in_utf_16_that_breaks_off(table, content):
    with pytest.raises(DataError, match="is no whole text in UTF-16, as its beginning says"):
        rows(table(content))


def test_a_file_of_a_spreadsheet_program(tmp_path):
    with zipfile.ZipFile(tmp_path / "new.csv", "w") as book:
        book.writestr("xl/workbook.xml", "")
    (tmp_path / "old.csv").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504))
    for name in ("new.csv", "old.csv"):
        with pytest.raises(
            DataError,
            match=f"{name}: is a file of a spreadsheet program; save the table from there as CSV",
        ):
            rows(tmp_path / name)
    (tmp_path / "broken.csv").write_bytes(b"PK\x03\x04" + bytes(64))
    with pytest.raises(DataError, match="is a ZIP file; name the table in it"):
        rows(tmp_path / "broken.csv")


def test_a_bad_row_is_named_and_the_others_are_read(table):
    path = table('a,b\n1,"x\n2,y\n3\n4,x,y\n\n5,"x ""y"" z"\n')
    found = rows(path)[1]
    assert [line for line, _, bad in found if bad] == [2, 4, 5]
    assert [values for _, values, bad in found if not bad] == [
        {"a": "2", "b": "y"},
        {"a": "5", "b": 'x "y" z'},
    ]
    assert found[0][1]["a"] == "1"
    with (
        open_table(path, {"a"}.issubset) as opened,
        pytest.raises(DataError, match=r"table.csv: line 2: the quotes of the row do not close on"),
    ):
        list(opened.whole_rows())


def test_two_columns_of_one_name(table):
    with pytest.raises(DataError, match="two columns have the name a; rename one of them"):
        rows(table("a,b,a\n"))


def test_what_holds_nothing(table):
    assert rows(table(b""))[0] == ()
    assert rows(table("a,b\n\n \n")) == (("a", "b"), [])


def test_a_small_file_that_unpacks_to_very_much_takes_little_memory(table, monkeypatch):
    monkeypatch.setattr(csv_table, "MAX_TABLE_BYTES", 1 << 24)
    path = table(gzip.compress(b"a,b\n" + (b"1," + b"x" * 4094 + b"\n") * 5000))
    tracemalloc.start()
    with (
        open_table(path, {"a"}.issubset) as opened,
        pytest.raises(DataError, match=r"the table holds more than 16777216 bytes \(decompressed"),
    ):
        for _ in opened.rows():
            pass
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


def test_lines_that_are_many_or_long(table, monkeypatch):
    monkeypatch.setattr(csv_table, "MAX_LINES", 3)
    assert len(rows(table("a,b\r\n1,2\r\n1,2\r\n"))[1]) == 2
    with pytest.raises(DataError, match="the table has more than 3 lines"):
        rows(table("a,b\n1,2\r1,2\r1,2\n"))
    assert rows(table("a,b\n" + "," * 20_000))[1][0][2]


def test_values_that_a_message_shows():
    assert shown("\x1b[31m" + "x" * 50) == repr("\x1b[31m" + "x" * 35 + "...")
    assert columns_shown(["a"] * 14) == ", ".join(["a"] * 12) + " and 2 more"
    assert columns_shown([]) == "none"


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_whole_numbers(number, most):
    assert whole_number(f"00{number}", most) == (number if number <= most else None)


@pytest.mark.parametrize("text", ["", "-1", "1.0", "1e3", " 1", "٣", "9" * 5000, "1_0"])
def test_what_is_no_number_from_0_to_the_most(text):
    assert whole_number(text, 10**6) is None
