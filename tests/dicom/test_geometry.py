"""What the elements about the size of pixels say together. The picture is 100 x 80 pixels."""

import numpy as np
import pytest

from pleura.dicom.geometry import IMAGER_PIXEL_SPACING, PIXEL_SPACING
from pleura.dicom.radiograph import read_header
from tests.dicom_files import make_dicom

PIXELS = np.zeros((100, 80), np.uint8)
PS, IPS, NSPS = "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"
ERMF, KIND, PAR = (
    "EstimatedRadiographicMagnificationFactor",
    "PixelSpacingCalibrationType",
    "PixelAspectRatio",
)


@pytest.fixture
def read(tmp_path):
    def read(**attributes):
        path = tmp_path / "x.dcm"
        path.write_bytes(make_dicom(PIXELS, **attributes))
        header = read_header(path)
        return header.geometry, [note.text for note in header.notes]

    return read


@pytest.mark.parametrize(
    ("attributes", "measure", "origin"),
    [
        ({PS: "4\\4"}, (4, 4), "(0028,0030) Pixel Spacing; not corrected for magnification"),
        ({IPS: "4\\4"}, (4, 4), "(0018,1164) Imager Pixel Spacing; not corrected for"),
        ({NSPS: "4\\4"}, (4, 4), "(0018,2010) Nominal Scanned Pixel Spacing; not corrected"),
        ({PS: "4\\4", NSPS: "3\\3"}, (4, 4), "(0028,0030) Pixel Spacing; not corrected"),
        ({PS: "4\\4", IPS: "4\\4"}, (4, 4), "(0028,0030) Pixel Spacing; not corrected"),
        ({PS: "4\\4", IPS: "4.4\\4.4"}, (4, 4), "(0028,0030) Pixel Spacing, calibrated to the pat"),
        ({PS: "4\\4", KIND: "FIDUCIAL"}, (4, 4), "(0028,0030) Pixel Spacing, calibrated to the"),
        ({PS: "4\\4", KIND: "geometry", ERMF: "1.1"}, (4, 4), "(0028,0030) Pixel Spacing, calibr"),
        ({PS: "4\\4", KIND: "GEOMETRY", IPS: "4\\4"}, (4, 4), "(0028,0030) Pixel Spacing, calib"),
        ({IPS: "4.4\\4.4", ERMF: "1.1"}, (4, 4), "(0018,1164) Imager Pixel Spacing divided by"),
        ({PS: "4.4\\4.4", IPS: "4.4\\4.41", ERMF: "1.1"}, (4, 4), "(0028,0030) Pixel Spacing divi"),
        ({PS: "4\\4", ERMF: "1.1"}, (4, 4), "(0028,0030) Pixel Spacing; not corrected for"),
        ({PS: "4\\4", IPS: "4.4\\4.4", ERMF: "1.1"}, (4, 4), "(0028,0030) Pixel Spacing, calib"),
        ({PS: "", IPS: "4\\4"}, (4, 4), "(0018,1164) Imager Pixel Spacing; not corrected"),
        ({PS: "3\\4"}, (3, 4), "(0028,0030) Pixel Spacing; not corrected for magnification"),
    ],
)
def test_which_spacing_measures(read, attributes, measure, origin):
    geometry, notes = read(**attributes)
    assert geometry.measure_mm == pytest.approx(measure)
    assert geometry.origin.startswith(origin)
    assert (geometry.doubt, notes) == ("", [])


@pytest.mark.parametrize(
    ("attributes", "spacing", "note"),
    [
        ({PS: "0.14", IPS: "4\\4"}, (4, 4), "Pixel Spacing is 0.14, not two positive numbers; it"),
        ({PS: "0\\0", IPS: "4\\4"}, (4, 4), "Pixel Spacing is 0\\0, not two positive numbers"),
        (
            {PS: "x\\y", IPS: "4\\4"},
            (4, 4),
            "Pixel Spacing is 'x\\\\y'; it must be a finite number",
        ),
        ({PS: "-4\\4"}, None, "Pixel Spacing is -4\\4, not two positive numbers"),
        ({PS: "4\\4\\4"}, None, "Pixel Spacing is 4\\4\\4, not two positive numbers"),
        (
            {PS: "1.1\\1.1", IPS: "4\\4"},
            (4, 4),
            "the picture is 11 cm long, and a chest radiograph has 20 to",
        ),
        ({PS: "4.4\\4.4", IPS: "4\\4"}, (4.4, 4.4), "contradicts (0018,1164) Imager Pixel Spacing"),
        ({PS: "2.4\\2.4", IPS: "5\\5"}, (2.4, 2.4), "a patient is cast 1 to 2 times as large"),
        ({IPS: "4\\4", ERMF: "0.9"}, (4, 4), "Magnification Factor is 0.9, no number from 1 to 2"),
        ({IPS: "4\\4", ERMF: "150"}, (4, 4), "Magnification Factor is 150, no number from 1 to 2"),
        ({PS: "4\\4", PAR: "2\\1"}, (4, 4), "Aspect Ratio 2:1 contradicts (0028,0030) Pixel Spac"),
        ({PS: "30\\2"}, (30, 2), "makes a pixel 30 high and 2 wide, as none of a radiograph is"),
        ({PAR: "0\\1"}, None, "Pixel Aspect Ratio is 0\\1, not two positive numbers"),
        ({PAR: "100\\1"}, None, "Pixel Aspect Ratio makes a pixel 100 high and 1 wide"),
    ],
)
def test_what_cannot_be_is_noted(read, attributes, spacing, note):
    geometry, notes = read(**attributes)
    assert geometry.spacing_mm == spacing
    assert len(notes) == 1
    assert note in notes[0]


@pytest.mark.parametrize(
    ("attributes", "aspect"),
    [
        ({}, 1),
        ({PAR: "1\\1"}, 1),
        ({PAR: "2\\1"}, 2),
        ({PAR: "3\\4"}, 0.75),
        ({PAR: "5\\4", PS: ""}, 1.25),
        ({PS: "4\\5"}, 0.8),
        ({IPS: "6\\5"}, 1.2),
        ({NSPS: "4\\5"}, 0.8),
        ({PS: "4\\4", IPS: "4.4\\5.5"}, 1),
        ({PS: "4\\5", PAR: "4\\5"}, 0.8),
        ({PS: "1\\2"}, 0.5),  # no length is believed, but the shape is
    ],
)
def test_the_shape_of_a_pixel(read, attributes, aspect):
    geometry, notes = read(**attributes)
    assert geometry.aspect == pytest.approx(aspect)
    assert notes == []
    assert geometry.aspect_ratio[0] / geometry.aspect_ratio[1] == pytest.approx(aspect)


@pytest.mark.parametrize(
    ("spacing", "age", "doubt"),
    [
        (
            "1.7\\1.7",
            "038Y",
            "Pixel Spacing the picture is 17 cm long, and an adult's chest radiograph has",
        ),
        (
            "2.1\\2.1",
            "38",
            "the picture is 21 cm long, and an adult's chest radiograph has 25 to 60",
        ),
        ("2.1\\2.1", "003Y", ""),
        ("2.1\\2.1", "", ""),
        ("1.9\\1.9", "011M", "the picture is 19 cm long, and a chest radiograph has 20 to 60"),
        ("1.9\\2.6", "", ""),  # the longer side counts
        ("6.1\\6.1", "", "is 61 cm long"),
        ("4.3\\4.3", "120Y", ""),
        ("0.00001\\0.00001", "", "is 0.0001 cm long"),
        ("1e308\\1e308", "", "is inf cm long"),
    ],
)
def test_a_spacing_that_makes_no_chest_radiograph_is_not_believed(read, spacing, age, doubt):
    geometry, _ = read(PixelSpacing=spacing, PatientAge=age)
    assert (geometry.measure_mm is None) == bool(doubt)
    assert doubt in geometry.doubt
    assert geometry.tag == PIXEL_SPACING
    if doubt:
        assert geometry.doubt.endswith("it was resized, perhaps, and kept its spacing")


def test_the_spacing_that_is_believed_gives_the_shape_too(read):
    geometry, _ = read(PixelSpacing="1\\1", ImagerPixelSpacing="4\\5")
    assert (geometry.tag, geometry.aspect) == (IMAGER_PIXEL_SPACING, 0.8)


@pytest.mark.parametrize("tag", [PS, IPS, "NominalScannedPixelSpacing"])
@pytest.mark.parametrize("written", ["1\\1", "1.0\\1.000", "1,0\\1,0"])
def test_a_spacing_of_just_one_is_a_default_and_measures_nothing(tmp_path, tag, written):
    path = tmp_path / "x.dcm"
    path.write_bytes(make_dicom(np.zeros((400, 300), np.uint8), **{tag: written}))
    geometry = read_header(path).geometry
    assert geometry.spacing_mm == (1, 1)
    assert geometry.measure_mm is None
    assert "is 1 x 1 mm, which programs write if they know none" in geometry.doubt
