import numpy as np
import pydicom
import pytest

from pleura.dicom.secondary import write_secondary_capture
from pleura.errors import OutputError, UsageError

KNOWN = {
    "sop_uid": "2.25.1",
    "study_uid": "2.25.2",
    "series_uid": "2.25.3",
    "patient_id": "someone",
    "patient_name": "someone",
    "age": 38,
    "sex": "M",
    "view": "PA",
    "spacing_mm": 0.168,
}
PIXELS = np.tile(np.arange(64, dtype=np.uint8) * 3, (48, 1))


def test_what_is_written_can_be_read(tmp_path):
    path = tmp_path / "a" / "b.dcm"
    write_secondary_capture(path, PIXELS, **KNOWN)
    dataset = pydicom.dcmread(path)
    assert dataset.SOPInstanceUID == "2.25.1"
    assert dataset.PixelSpacing == [0.168, 0.168]
    assert (dataset.Rows, dataset.Columns) == (48, 64)
    assert dataset.SeriesDescription == "view: PA"
    assert [file.name for file in path.parent.iterdir()] == ["b.dcm"]


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    for name in "ab":
        write_secondary_capture(tmp_path / name, PIXELS, **KNOWN)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("pixels", [PIXELS.astype(np.uint16), PIXELS[None]])
def test_pixels_of_another_kind_are_refused(tmp_path, pixels):
    with pytest.raises(UsageError, match=r"one 8-bit plane, but these pixels are uint\d+ of shape"):
        write_secondary_capture(tmp_path / "a.dcm", pixels, **KNOWN)


@pytest.mark.parametrize("name", ["SOP", "study", "series"])
def test_an_invalid_uid_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=f"{name} instance UID 'ID_1' is not valid"):
        write_secondary_capture(
            tmp_path / "a.dcm", PIXELS, **KNOWN | {f"{name.lower()}_uid": "ID_1"}
        )


def test_a_place_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(OutputError, match="could not be written"):
        write_secondary_capture(tmp_path / "a" / "b.dcm", PIXELS, **KNOWN)
