"""Files of the kinds that people report bugs about, which lie beside the repository: each as its
control, or refused for what is wrong."""

from pathlib import Path

import numpy as np
import pytest

from pleura.dicom.radiograph import read_radiograph
from pleura.errors import DicomError

CASES = Path(__file__).parents[2].parent / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"the cases are not at {CASES}")

LIKE_CONTROL = {
    "01-*/says-16-holds-12.dcm": "01-*/control-says-12.dcm",
    "04-*/modality-lut-US-for-signed-pixels.dcm": "04-*/control-modality-lut-SS.dcm",
    "07-*/comma-window-and-spacing.dcm": "07-*/control-point.dcm",
    "10-*/blanks-behind-the-jpeg.dcm": "10-*/control.dcm",
    "10-*/no-delimiter.dcm": "10-*/control.dcm",
    "10-*/padding-behind-the-fragment.dcm": "10-*/control.dcm",
    "10-*/zeros-for-delimiter.dcm": "10-*/control.dcm",
    "15-*/no-operation-at-the-end.dcm": "15-*/control.dcm",
    "15-*/one-pixel-more.dcm": "15-*/control.dcm",
    "15-*/six-zeros-more.dcm": "15-*/control.dcm",
}


def case(pattern):
    (path,) = CASES.glob(pattern)
    return path


@pytest.mark.parametrize("pattern", LIKE_CONTROL)
def test_an_odd_file_shows_what_its_control_shows_and_has_a_note(pattern):
    found, control = read_radiograph(case(pattern)), read_radiograph(case(LIKE_CONTROL[pattern]))
    np.testing.assert_array_equal(found.pixels, control.pixels)
    assert found.header.notes
    assert not control.header.notes


@pytest.mark.parametrize(
    "pattern",
    ["04-*/voi-lut-*.dcm", "07-*/comma-rescale.dcm", "08-*/*.dcm", "13-*/*.dcm", "17-*/*.dcm"],
)
def test_others_are_read_with_a_note(pattern):
    for path in sorted(CASES.glob(pattern)):
        found = read_radiograph(path)
        assert found.header.notes, path
        assert len(np.unique(found.pixels)) > 100, path


def test_a_pad_byte_behind_a_frame_is_nothing_to_note():
    assert not read_radiograph(case("31-*/film.dcm")).header.notes


def test_a_frame_without_a_tile_is_refused():
    with pytest.raises(DicomError, match="1 of 4 tiles are missing"):
        read_radiograph(case("30-*/film.dcm"))
