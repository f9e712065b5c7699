"""Files that lie in no file system are listed and read as others are."""

from pathlib import Path

import pytest

from pleura.dicom.signature import beginning_bytes
from pleura.errors import AddressError, DataError
from pleura.formats.text_file import read_bytes
from pleura.storage import elsewhere
from pleura.storage.archive import entries, is_file, is_folder, places, walk_files
from pleura.storage.content import Stamp, stamp_at
from pleura.storage.elsewhere import Elsewhere, at_hand, given, path_at

SET = path_at("s3://films/set")
CONTENTS = {
    "s3://films/set/a/1.dcm": b"one",
    "s3://films/set/a/.hidden/2.dcm": b"two",
    "s3://films/set/b.csv": b"id\n",
    "s3://films/set0.csv": "s3://films/set0.csv: is not for you",
}
ABOUTS = {name: (len(content), 5, 0, 7) for name, content in CONTENTS.items()}
FILES = Elsewhere(ABOUTS, given(CONTENTS).bring, {"s3://films/set/b.csv": b"id"})


def test_an_address_is_a_path_that_keeps_its_slashes():
    path = path_at("s3://films/set/a.dcm")
    assert str(path) == "s3://films/set/a.dcm" == str(path_at(Path(path)))
    assert str(path.parent / "b.dcm") == "s3://films/set/b.dcm"
    assert type(path_at("films/a.dcm")) is type(Path("films/a.dcm"))


def test_files_elsewhere_are_listed_and_read_as_others_are():
    with at_hand(FILES):
        assert is_folder(SET)
        assert is_folder(SET / "a")
        assert not is_folder(SET / "b.csv")
        assert is_file(SET / "b.csv")
        assert not is_file(SET)
        assert not is_file(SET / "c")
        assert entries(SET) == [SET / "a", SET / "b.csv"]
        assert list(walk_files(SET)) == [SET / "a/.hidden", SET / "a/1.dcm", SET / "b.csv"]
        assert list(walk_files(SET / "b.csv")) == places("s3:/films/set/b.csv") == [SET / "b.csv"]
        assert read_bytes(Path(SET / "a/1.dcm"), DataError, 9) == b"one"
        assert stamp_at(str(SET / "b.csv")) == Stamp(3, 5, 0, 7)
        assert beginning_bytes(SET / "b.csv", 1) == b"i"
        assert elsewhere.size_of(["s3:/films/set/b.csv", "here"]) == 3
        with at_hand(given({"s3://films/x": b"abc"})):
            assert beginning_bytes("s3://films/x", 2) == b"ab"
            assert not is_file(SET / "b.csv")
    assert not is_folder(SET)
    assert stamp_at(SET / "b.csv") is None


def test_what_cannot_be_had_says_why():
    with at_hand(FILES):
        with pytest.raises(AddressError, match=r"^s3://films/set0.csv: is not for you$"):
            read_bytes("s3://films/set0.csv", DataError, 9)
        with pytest.raises(OSError, match="nobody looked how it begins"):
            beginning_bytes(SET / "a/1.dcm", 9)
