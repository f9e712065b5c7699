"""Which transfer syntax a data set is in: the stated one, or what its first elements show."""

from itertools import product

import numpy as np
import pytest

from pleura.dicom.elements import walk
from pleura.dicom.encoding import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ShortBufferError,
    evident_encoding,
)
from pleura.dicom.radiograph import read_radiograph
from tests.dicom_files import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, encode, make_dicom


@pytest.fixture
def save(tmp_path):
    def save(content):
        path = tmp_path / "x.dcm"
        path.write_bytes(content)
        return path

    return save


@pytest.mark.parametrize(
    ("stated", "written"),
    [
        pair
        for pair in product([IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED, None], repeat=2)
        if pair[1] and pair[0] != pair[1]
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_data_set_is_read_the_way_it_is_written(save, stated, written, whole):
    pixels = np.arange(384, dtype=np.uint16).reshape(16, 24) * 100
    more = {} if whole else {"SOPClassUID": None, "SOPInstanceUID": None, "Modality": None}
    content = make_dicom(pixels, transfer_syntax=written, **more)
    old = encode({"TransferSyntaxUID": written})
    new = encode({"TransferSyntaxUID": stated})
    assert content.count(old) == 1
    path = save(content.replace(old, new))
    radiograph = read_radiograph(path)
    expected = read_radiograph(save(content)).pixels
    np.testing.assert_array_equal(radiograph.pixels, expected)
    assert radiograph.header.transfer_syntax_uid == written
    notes = [note for note in radiograph.header.notes if note.kind != "id-elsewhere"]
    assert [note.kind for note in notes] == ["wrong-syntax"]
    assert "Transfer Syntax UID (0002,0010)" in notes[0].text


def test_a_large_file_that_says_implicit_is_read(save):
    pixels = np.zeros((1500, 1000), np.uint16)
    content = make_dicom(pixels)
    path = save(content.replace(encode({"TransferSyntaxUID": EXPLICIT}), b""))
    assert read_radiograph(path).header.transfer_syntax_uid == EXPLICIT


@pytest.mark.parametrize("data", [b"", b"\x08\x00", b"\xff" * 60, b"\x08\x00\x16\x00??\2\0ab" * 4])
def test_what_is_no_data_set_shows_nothing(data):
    assert evident_encoding(data, 0, len(data), EXPLICIT_LITTLE) is None


def test_a_long_value_shows_as_much_as_was_loaded():
    data = encode({"SOPClassUID": "1.2.3", "PatientName": ("LO", b"x" * 500), "Rows": 3})
    assert evident_encoding(data[:40], 0, len(data), None) == EXPLICIT_LITTLE
    with pytest.raises(ShortBufferError):
        walk(data[:40], 0, EXPLICIT_LITTLE, len(data))


def test_the_byte_order_of_empty_elements_shows_in_their_groups():
    names = ("SOPClassUID", "SOPInstanceUID", "StudyDate", "Modality")
    data = encode(dict.fromkeys(names, b""), big=True)
    assert evident_encoding(data, 0, len(data), EXPLICIT_LITTLE) == EXPLICIT_BIG
    data = encode(dict.fromkeys(names, b""), implicit=True)
    assert evident_encoding(data, 0, len(data), EXPLICIT_BIG) == IMPLICIT_LITTLE
