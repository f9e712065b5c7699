"""What tables of masks and of labels say of images."""

import pytest

from pleura.data.known_labels import Label, known_labels
from pleura.errors import DataError


def test_labels_are_read_from_either_table(tmp_path, cohort):
    table = tmp_path / "labels.csv"
    table.write_text("image,pneumothorax,patient\na.jpg,0,7\nb.PNG,1,8\n1.2.3,No,\n")
    assert known_labels(table) == {
        "a": Label(False, "7"),
        "b": Label(True, "8"),
        "1.2.3": Label(False, ""),
    }
    labels = known_labels(cohort / "train-rle.csv")
    assert {label.positive for label in labels.values()} == {True, False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n", "a table of labels has a column of ids, named image or ImageId"),
        ("", "found none"),
        ("image,pneumothorax\na,maybe\n", "line 2, image a: pneumothorax is 'maybe'; it must"),
    ],
)
def test_a_table_that_is_not_understood_is_refused(tmp_path, text, message):
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=message):
        known_labels(table)


def test_a_table_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(DataError, match="could not be read"):
        known_labels(tmp_path / "absent.csv")
