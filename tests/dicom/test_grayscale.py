"""Windows that are for other values than the pixels of their file."""

import numpy as np
import pytest

from pleura.dicom.grayscale import Window
from pleura.dicom.radiograph import open_radiograph, read_radiograph
from tests.dicom_files import make_dicom

RNG = np.random.default_rng(1)
HALVED_TWICE = {"RescaleSlope": "0.25", "RescaleIntercept": "0"}
LOWERED = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}
DEEP = RNG.integers(0, 4096, (64, 64)).astype(np.uint16)
DEEP[0, :2] = 0, 4095
BORDERED = np.pad(DEEP // 2 + 2048, 128)  # 96 % of it is 0
EIGHT = (DEEP // 16).astype(np.uint8)


@pytest.fixture
def radiograph(tmp_path):
    def read(pixels=DEEP, **attributes):
        path = tmp_path / "x.dcm"
        path.write_bytes(make_dicom(pixels, **{"BitsStored": 12} | attributes))
        return read_radiograph(path)

    return read


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("pixels", "attributes"),
    [
        (DEEP, {"WindowCenter": 32768, "WindowWidth": 65536}),
        (DEEP, {"WindowCenter": 32767, "WindowWidth": 65535, "VOILUTFunction": "LINEAR_EXACT"}),
        (DEEP, {"WindowCenter": 32768, "WindowWidth": 65536, "VOILUTFunction": "SIGMOID"}),
        (DEEP, {"WindowCenter": 8192, "WindowWidth": 16384}),
        (DEEP // 4, {"BitsStored": 10, "WindowCenter": 2048, "WindowWidth": 4096}),
        (DEEP, {"WindowCenter": 32768, "WindowWidth": 65536, "BitsStored": 16}),
        (DEEP // 8, {"WindowCenter": 2048, "WindowWidth": 4096}),
        (DEEP.astype(np.int16) - 2048, {"WindowCenter": 0, "WindowWidth": 65536}),
        (
            DEEP,
            {
                "WindowCenter": 2048,
                "WindowWidth": 4096,
                "RescaleSlope": "0.25",
                "RescaleIntercept": 0,
            },
        ),
        (DEEP, {"WindowCenter": 4096, "WindowWidth": 8192}),
        (DEEP, {"WindowCenter": 8192, "WindowWidth": 16384, "BitsStored": 14}),
        (DEEP, {"WindowCenter": 8192, "WindowWidth": 16384, "BitsStored": 16}),
        (DEEP, {"WindowCenter": 8000, "WindowWidth": 4000, "BitsStored": 14}),
        (DEEP, {"WindowCenter": 8000, "WindowWidth": 4000, "VOILUTFunction": "SIGMOID"}),
        (DEEP, {"WindowCenter": 127, "WindowWidth": 255}),
        (DEEP, {"WindowCenter": 0, "WindowWidth": 1}),
        (BORDERED, {"WindowCenter": 8000, "WindowWidth": 4000}),
        (DEEP, {"WindowCenter": -1024, "WindowWidth": 2048}),
        (DEEP // 16, {"WindowCenter": 500, "WindowWidth": 2048}),
        (DEEP + 12288, {"WindowCenter": 8192, "WindowWidth": 16384, "BitsStored": 16}),
        (EIGHT, {"WindowCenter": 600, "WindowWidth": 200, "BitsStored": 8}),
        (EIGHT, {"WindowCenter": 0, "WindowWidth": 10, "BitsStored": 8}),
        (DEEP // 16, {"WindowCenter": 2048, "WindowWidth": 4096, "BitsStored": 8}),
        (EIGHT, {"WindowCenter": 2048, "WindowWidth": 4096, "BitsStored": 8}),
        (EIGHT, {"WindowCenter": 32768, "WindowWidth": 65535, "BitsStored": 8}),
    ],
)
def test_a_window_for_other_values_is_left_out(radiograph, pixels, attributes, photometric):
    attributes = attributes | {"PhotometricInterpretation": photometric}
    found = radiograph(pixels, **attributes)
    bare = {key: value for key, value in attributes.items() if not key.startswith(("Win", "VOI"))}
    expected = radiograph(pixels, **bare)
    assert found.pixels.dtype == expected.pixels.dtype
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    (note,) = found.header.notes
    assert note.kind == "window-of-other-values"
    assert note.text.startswith(f"the window (0028,1050) Center {attributes['WindowCenter']}, ")
    assert note.text.endswith("it is left out")


def test_the_first_window_that_fits_is_taken(radiograph):
    several = {"WindowCenter": [60000, 127, 2048, 900], "WindowWidth": [10, 255, 4096, 400]}
    found = radiograph(DEEP, **several)
    expected = radiograph(DEEP, WindowCenter=2048, WindowWidth=4096)
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    (note,) = found.header.notes
    assert note.text.startswith("the window (0028,1050) Center 60000, ")
    assert note.text.endswith("Center 2048, (0028,1051) Width 4096 is taken")


@pytest.mark.parametrize(("most", "left_out"), [(4095, True), (4094, False), (3000, False)])
def test_a_window_of_one_bit_more_than_the_pixels_end_with(radiograph, most, left_out):
    pixels = np.minimum(DEEP, most)
    pixels[0, 0] = most
    found = radiograph(pixels, WindowCenter=4096, WindowWidth=8192, BitsStored=14)
    assert [note.kind for note in found.header.notes] == ["window-of-other-values"] * left_out


@pytest.mark.parametrize(
    ("pixels", "attributes"),
    [
        (DEEP, {"WindowCenter": 2048, "WindowWidth": 4096}),
        (DEEP, {"WindowCenter": 3000, "WindowWidth": 6000}),  # darker on purpose
        (DEEP // 3, {"WindowCenter": 2048, "WindowWidth": 4096}),  # dark, but no quarter
        (DEEP, {"WindowCenter": 800, "WindowWidth": 200}),
        (DEEP // 6 + 1600, {"WindowCenter": 2048, "WindowWidth": 4096}),  # pale, in the middle
        (BORDERED, {"WindowCenter": 3000, "WindowWidth": 2000}),  # black are but the borders
        (EIGHT, {"WindowCenter": 128, "WindowWidth": 256, "BitsStored": 8}),
        (EIGHT // 32, {"WindowCenter": 128, "WindowWidth": 256, "BitsStored": 8}),
        (
            DEEP,
            {
                "WindowCenter": -500,
                "WindowWidth": 1500,
                "RescaleIntercept": "-1024",
                "RescaleSlope": 1,
            },
        ),
        (DEEP * 0 + 9, {"WindowCenter": 2048, "WindowWidth": 4096}),  # nothing to span
    ],
)
def test_a_window_that_may_be_meant_is_taken(radiograph, pixels, attributes):
    found = radiograph(pixels, **attributes)
    assert found.header.notes == ()
    assert found.pixels.dtype == np.uint16


def test_padding_says_nothing_of_what_a_window_is_for(radiograph):
    """Padding far from the pixels does not make a window one for them."""
    pixels = DEEP.copy()
    pixels[:8] = 65535
    found = radiograph(
        pixels, BitsStored=16, PixelPaddingValue=65535, WindowCenter=32768, WindowWidth=65536
    )
    assert len(found.header.notes) == 1
    assert found.pixels[8:].max() == 65535
    assert not found.pixels[:8].any()


def test_results_are_drawn_without_it_too(tmp_path):
    path = tmp_path / "x.dcm"
    path.write_bytes(make_dicom(DEEP, BitsStored=12, WindowCenter=32768, WindowWidth=65536))
    voi = open_radiograph(path).rules.voi
    assert isinstance(voi, Window)
    assert voi.width < 4100
