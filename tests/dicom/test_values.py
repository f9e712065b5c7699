import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.dicom.radiograph import Window, read_header, read_radiograph
from pleura.dicom.values import age_years, meaning
from pleura.errors import DicomError
from tests.dicom_files import BIG_ENDIAN, EXPLICIT, make_dicom


@pytest.fixture
def header_of(tmp_path):
    def read(**attributes):
        path = tmp_path / "x.dcm"
        path.write_bytes(make_dicom(**attributes))
        return read_header(path)

    return read


def said(header):
    return [(note.kind, note.text) for note in header.notes]


@pytest.mark.parametrize(
    ("found", "number"),
    [
        ("12", 12),
        (" -1.5 ", -1.5),
        ("+.5", 0.5),
        ("5.", 5),
        ("1.2E+03", 1200),
        ("1200,5", 1200.5),
        ("0,143", 0.143),  # no thousands begin with 0
        (",5", 0.5),
        ("1500,", 1500),
        ("-1,2e3", -1200),
        ("2048,000", 2048),  # thousands have at most three digits before the first comma
        ("1,23", 1.23),
        ("1.024,5", 1024.5),
        ("1,024.5", 1024.5),
        ("12.345.678,9", 12345678.9),
    ],
)
def test_a_text_that_means_one_number(found, number):
    assert meaning(found) == number


@pytest.mark.parametrize(
    "found",
    [
        "",
        "1,024",  # 1.024 or 1024
        "-128,000",
        "1,2,3",
        "0.143,0.143",
        "1.2.3",
        "1 200",
        "1_000",  # a number in Python
        "٣",  # likewise
        "0x10",
        "1e400",
        "nan",
        "inf",
        "0.143 mm",
        ",",
        "-",
    ],
)
def test_a_text_that_means_no_number_or_two(found):
    assert meaning(found) is None


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 6))
def test_a_decimal_comma_means_what_a_point_means(number, digits):
    written = f"{number:.{digits}f}"
    with_comma = written.replace(".", ",")
    assert meaning(written) == float(written)
    assert meaning(with_comma) in (float(written), None)
    if digits not in (0, 3):
        assert meaning(with_comma) == float(written)


def test_decimal_commas_are_read_with_a_note(header_of):
    header = header_of(
        WindowCenter="1200,5\\40",
        WindowWidth="1500,0\\400",
        PixelSpacing="0,143\\0,2",
        RescaleSlope="1,5",
        RescaleIntercept="-1024,0",
        NumberOfFrames="1,0",
    )
    assert header.windows == (Window(1200.5, 1500), Window(40, 400))
    assert header.spacing_mm == (0.143, 0.2)
    assert (header.rescale_slope, header.rescale_intercept, header.frames) == (1.5, -1024, 1)
    assert {kind for kind, _ in said(header)} == {"number-form"}
    texts = [text for _, text in said(header)]
    assert len(texts) == 7
    assert (
        "(0028,1050) Window Center '1200,5' is read as 1200.5; DICOM writes a decimal point and"
        " nothing between thousands" in texts
    )


def test_what_is_written_as_it_should_be_has_no_note(header_of):
    header = header_of(
        WindowCenter="2048\\ 40 ",
        WindowWidth="4096\\400.",
        PixelSpacing="0.14300000000000002\\1.43E-1",
        RescaleSlope="1",
        NumberOfFrames=" 1",
    )
    assert header.notes == ()


@pytest.mark.parametrize(
    ("center", "width", "left"),
    [
        ("abc", "400", []),
        ("1,024", "2,048", []),
        ("40", "0", []),
        ("40", "-5", []),
        ("40", "", []),
        ("", "400", []),
        ("nan", "4", []),
        ("abc\\40", "400\\400", [(40, 400)]),
        ("40\\", "400\\9", [(40, 400)]),
        ("40\\50\\60", "400\\500", [(40, 400), (50, 500)]),
        ("40", "400\\500", [(40, 400)]),
    ],
)
def test_a_window_that_cannot_be_read_leaves_a_note_and_the_others(header_of, center, width, left):
    header = header_of(WindowCenter=center, WindowWidth=width)
    assert [(window.center, window.width) for window in header.windows] == left
    ((kind, text),) = said(header)
    assert kind == "unreadable-value"
    assert text.startswith("(0028,1050) Window Center '")
    assert text.endswith(
        "is no window, which takes two numbers, a width of at least 1; it is left out"
    )


def test_empty_windows_say_nothing(header_of):
    header = header_of(WindowCenter="\\", WindowWidth="\\", WindowCenterWidthExplanation="A\\B\\C")
    assert (header.windows, header.notes) == ((), ())


@pytest.mark.parametrize("spacing", ["0.143mm\\0.143mm", "abc\\1", "0.143,0.143", "1,024\\1,024"])
def test_a_spacing_that_cannot_be_read_leaves_a_note(header_of, spacing):
    header = header_of(PixelSpacing=spacing)
    assert header.spacing_mm is None
    ((kind, text),) = said(header)
    assert kind == "unreadable-value"
    assert f"(0028,0030) Pixel Spacing is {spacing!r}; it must be a finite number with a" in text
    assert text.endswith("decimal point: it is left out")


@pytest.mark.parametrize(("keyword", "tag"), [("RescaleSlope", 3), ("RescaleIntercept", 2)])
@pytest.mark.parametrize("value", ["1,024", "1_0", "1 0"])
def test_what_pixels_depend_on_is_refused_where_it_may_mean_two_things(
    header_of, keyword, tag, value
):
    match = rf"\(0028,105{tag}\) Rescale .* is '{value}'; it must be a finite number with a decimal"
    with pytest.raises(DicomError, match=match):
        header_of(**{keyword: value})


def test_the_picture_is_the_same_with_commas(tmp_path):
    path = tmp_path / "x.dcm"
    pictures = []
    for center, width in (("7.5", "10.5"), ("7,5", "10,5")):
        path.write_bytes(make_dicom(WindowCenter=center, WindowWidth=width))
        pictures.append(read_radiograph(path))
    assert (pictures[0].pixels == pictures[1].pixels).all()
    assert math.isclose(pictures[1].header.windows[0].width, 10.5)
    assert len(pictures[1].header.notes) == 2


@pytest.mark.parametrize(
    ("text", "years"),
    [("038Y", 38), ("38", 38), ("018M", 1), ("060D", 0), ("", None), ("old", None), ("Y", None)],
)
def test_ages(text, years):
    assert age_years(text) == years


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("vr", ["US", "SS", "UL", "SL", "FL", "FD"])
def test_numbers_that_are_stored_in_binary_are_read_by_their_vr(header_of, vr, syntax):
    code = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d"}[vr]

    def binary(*values):
        return vr, struct.pack(
            f"{'>' if syntax == BIG_ENDIAN else '<'}{len(values)}{code}", *values
        )

    header = header_of(
        pixels=np.zeros((100, 90), np.uint16),
        transfer_syntax=syntax,
        WindowCenter=binary(2048, 7),
        WindowWidth=binary(4000, 9),
        RescaleSlope=binary(2),
        PixelSpacing=binary(3, 4),
        NumberOfFrames=binary(1),
    )
    assert header.windows == (Window(2048, 4000), Window(7, 9))
    assert header.rescale_slope == 2
    assert header.spacing_mm == (3, 4)
    assert header.frames == 1
    assert {kind for kind, _ in said(header)} == {"number-form"}
    text = f"(0028,1050) Window Center is stored as {vr}, where a text belongs: read as 2048, 7"
    assert ("number-form", text) in said(header)


def test_binary_numbers_that_are_none_are_left_out_or_refused(header_of):
    header = header_of(WindowCenter=("FD", b"abcd"), WindowWidth="4")
    assert header.windows == ()
    assert [kind for kind, _ in said(header)] == ["unreadable-value"]
    with pytest.raises(DicomError, match=r"Rescale Slope is .* it must be a finite number"):
        header_of(RescaleSlope=("FL", struct.pack("<f", math.nan)))


@pytest.mark.parametrize("written", [b"\t2048", b"2048\r\n", b" 2048\n ", b"2048\t\\7\n"])
def test_control_characters_around_a_number_only_space_it_out(header_of, written):
    header = header_of(WindowCenter=("DS", written + b" " * (len(written) % 2)), WindowWidth="9\\9")
    assert header.windows[0] == Window(2048, 9)
    assert {kind for kind, _ in said(header)} >= {"number-form"}


@pytest.mark.parametrize(
    ("keyword", "small", "read"),
    [
        ("PhotometricInterpretation", "monochrome1", "photometric_interpretation"),
        ("PresentationLUTShape", "Inverse", "presentation_lut_shape"),
        ("VOILUTFunction", "sigmoid", "voi_lut_function"),
    ],
)
def test_terms_in_small_letters_mean_what_they_say(header_of, keyword, small, read):
    header = header_of(**{keyword: small})
    assert getattr(header, read) == small.upper()
    ((kind, text),) = said(header)
    assert kind == "number-form"
    assert f"{small!r} is read in capital letters" in text


def test_another_presentation_lut_shape_is_noted(header_of):
    header = header_of(PresentationLUTShape="LIN OD")
    assert header.presentation_lut_shape == ""
    ((kind, text),) = said(header)
    assert kind == "unreadable-value"
    assert "Presentation LUT Shape is 'LIN OD', and not INVERSE or IDENTITY; it is left" in text
