"""What an object of frames says of its only frame counts as if it stood at the top."""

import numpy as np
import pytest

from pleura.dicom.radiograph import read_radiograph
from pleura.errors import DicomError
from tests.dicom_files import EXPLICIT, IMPLICIT, make_dicom

RAMP12 = np.arange(4096, dtype=np.uint16).reshape(64, 64)
WINDOW = {"WindowCenter": "1200.5", "WindowWidth": "1500"}
RESCALE = {"RescaleIntercept": "4095", "RescaleSlope": "-1"}
SPACING = {"PixelSpacing": "5\\5"}
GROUPS = [
    {
        "FrameVOILUTSequence": [WINDOW],
        "PixelValueTransformationSequence": [RESCALE],
        "PixelMeasuresSequence": [SPACING],
    }
]
OTHERS = [{"FrameVOILUTSequence": [{"WindowCenter": "9", "WindowWidth": "9"}]}]


@pytest.fixture
def radiograph(tmp_path):
    def read(**attributes):
        path = tmp_path / "x.dcm"
        path.write_bytes(make_dicom(RAMP12, **{"BitsStored": 12} | attributes))
        return read_radiograph(path)

    return read


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize(
    "groups",
    [
        {"SharedFunctionalGroupsSequence": GROUPS},
        {"PerFrameFunctionalGroupsSequence": GROUPS},
        {"PerFrameFunctionalGroupsSequence": GROUPS, "SharedFunctionalGroupsSequence": OTHERS},
    ],
)
def test_window_rescale_and_spacing_of_the_frame_count(radiograph, groups, syntax):
    found = radiograph(NumberOfFrames="1", transfer_syntax=syntax, **groups)
    control = radiograph(transfer_syntax=syntax, **WINDOW, **RESCALE, **SPACING)
    np.testing.assert_array_equal(found.pixels, control.pixels)
    assert found.header.windows == control.header.windows
    assert found.spacing_mm == control.spacing_mm == (5, 5)


def test_what_stands_at_the_top_comes_first(radiograph):
    found = radiograph(SharedFunctionalGroupsSequence=OTHERS, **WINDOW)
    np.testing.assert_array_equal(found.pixels, radiograph(**WINDOW).pixels)


def test_groups_that_are_malformed_are_no_window_left_out(radiograph):
    broken = ("SQ", b"\0" * 8)
    with pytest.raises(DicomError, match=r"\(5200,9229\) holds something else than items"):
        radiograph(SharedFunctionalGroupsSequence=broken)
