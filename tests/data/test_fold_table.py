import pytest

from pleura.data.fold_table import read_folds, write_folds
from pleura.errors import DataError


@pytest.fixture
def table(tmp_path):
    def write(*lines, header="image_id,fold"):
        path = tmp_path / "folds.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return write


def test_a_table_comes_back(tmp_path):
    path = tmp_path / "new" / "folds.csv"
    rows = [{"image_id": "a", "fold": 1, "x": 2}, {"image_id": "b", "fold": 0, "x": 3}]
    write_folds(path, ["image_id", "fold", "x"], rows)
    assert read_folds(path) == {"a": 1, "b": 0}


def test_any_name_comes_back(tmp_path):
    names = ["=1+1", "a,b", 'a"b', " a ", "a\rb", "a\nb", "a\u2028b", "'=x", "a\\x0d", "\x1b[31m"]
    path = tmp_path / "folds.csv"
    rows = [{"image_id": name, "fold": 0} for name in names]
    write_folds(path, ["image_id", "fold"], rows)
    assert read_folds(path) == dict.fromkeys(names, 0)


def test_other_columns_and_blanks_are_passed_over(table):
    assert read_folds(table("x, a , 1", "y,b,0", header="who, image_id , fold")) == {"a": 1, "b": 0}
    assert read_folds(table("a,0", "a,0", "b,1")) == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,x"], r"line 2: the fold is 'x'; it must be a number from 0 to 999"),
        (["a,-1"], r"line 2: the fold is '-1'"),
        (["a,1000"], r"line 2: the fold is '1000'"),
        (["a"], r"line 2: the row has 1 values, but the table has 2 columns; repair it"),
        (["a," + "9" * 5000], r"line 2: the fold is '99"),
        (["a,0", "a,1"], r"line 3 puts image a into fold 1, an earlier one into fold 0; keep one"),
        (["a,0", "b,2"], r"fold 1 has no image; number the folds from 0 on"),
    ],
)
def test_a_bad_row_is_refused(table, lines, message):
    with pytest.raises(DataError, match=message):
        read_folds(table(*lines))


def test_without_its_columns(table, tmp_path):
    with pytest.raises(DataError, match="needs the columns image_id and fold; found a, b"):
        read_folds(table("1,2", header="a,b"))
    with pytest.raises(DataError, match=r"gone.csv: could not be read"):
        read_folds(tmp_path / "gone.csv")
    (tmp_path / "raw.csv").write_bytes(b"\xff\x00")
    with pytest.raises(DataError, match=r"raw.csv: line 1 holds byte 0xff"):
        read_folds(tmp_path / "raw.csv")
