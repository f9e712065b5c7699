import pytest

from pleura.errors import DataError
from pleura.formats.image_table import read_image_table


def test_one_thing_of_each_image(tmp_path):
    path = tmp_path / "kinds.csv"
    path.write_text(
        "\ufeffImageId, kind,more\na, report says none ,1\nb,,2\na,report says none,3\n"
    )
    assert read_image_table(path, "kind") == {"a": "report says none"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,kind\n", "needs the columns ImageId and kind; found id, kind"),
        ("", "needs the columns ImageId and kind; found none"),
        ("ImageId,kind\na,x\na,y\n", "line 3 says another kind of image a than an earlier line"),
        ('ImageId,kind\na,"x\nb,y\n', "line 2: the quotes of the row do not close on its line"),
        (f"ImageId,kind\na,{'x' * 81}\n", "line 2: kind has 81 characters; write at most 80"),
    ],
)
def test_what_is_no_such_table(tmp_path, text, message):
    path = tmp_path / "kinds.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_image_table(path, "kind")


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: could not be read"):
        read_image_table(tmp_path / "none.csv", "kind")
