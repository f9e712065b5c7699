import contextlib
import gzip
import os
import time
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pleura.dicom import elements, grayscale
from pleura.dicom import file as dicom_file
from pleura.dicom import radiograph as dicom
from pleura.dicom.radiograph import (
    Window,
    open_radiograph,
    read_header,
    read_radiograph,
    require_radiograph,
)
from pleura.errors import ChangedError, DicomError, OtherObjectError
from pleura.storage.content import stamp_of
from tests import dicom_files
from tests.dicom_files import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    NATIVE,
    UID,
    make_dicom,
    nested,
)

BASELINE = "1.2.840.10008.1.2.4.50"
J2K = "1.2.840.10008.1.2.4.90"
SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(
    not (SHARED / "siim").is_dir(), reason=f"the development data is not at {SHARED}"
)
PYDICOM_FILES = sorted(
    path
    for path in (Path(pydicom.__file__).parent / "data").rglob("*")
    if path.is_file() and path.suffix not in {".py", ".pyc", ".json", ".md", ".txt"}
)
RAMP12 = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def walked(path):
    with contextlib.closing(dicom_file.DicomStream(path)) as stream:
        return stream.walked(1 << 30)


@pytest.fixture
def save(tmp_path):
    def save(content=None, **attributes):
        path = tmp_path / "x.dcm"
        path.write_bytes(make_dicom(**attributes) if content is None else content)
        return path

    return save


@pytest.fixture
def pixels_of(save):
    return lambda pixels, **attributes: read_radiograph(save(pixels=pixels, **attributes)).pixels


def refused(path, match):
    """Both readers refuse, or the header is read and the pixels are refused; no id in the words."""
    with pytest.raises(DicomError, match=match) as caught:
        read_radiograph(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert UID not in str(caught.value)
    return str(caught.value)


# What a file says of itself


@needs_data
def test_the_example_of_the_brief():
    name = "1.2.276.0.7230010.3.1.4.8323329.1000.1517875165.878027"
    header = read_header(next((SHARED / "siim").rglob(f"{name}.dcm")))
    assert header.sop_class_uid == "1.2.840.10008.5.1.4.1.1.7"
    assert header.sop_class_name == "Secondary Capture Image Storage"
    assert header.sop_instance_uid == name
    assert header.patient_name == header.patient_id == "17d405a3-a0d2-4901-b33a-63906aa48d9f"
    assert (header.age, header.sex, header.modality) == ("38", "M", "CR")
    assert (header.body_part, header.view_position) == ("CHEST", "PA")
    assert (header.rows, header.columns, header.frames) == (1024, 1024, 1)
    assert header.pixel_bytes == 130_476
    assert header.spacing_mm == (0.168, 0.168)
    assert header.transfer_syntax_name == "JPEG Baseline (Process 1)"
    assert header.patient_id not in repr(header)


def test_header_of_a_made_file(save):
    path = save(
        PatientName="Doe^Jane",
        PatientID="secret",
        PatientAge="038Y",
        PixelSpacing=(0.14, 0.143),
        ImagerPixelSpacing=(0.2, 0.2),
        WindowCenter=(2048, 100),
        WindowWidth=(4096, 50),
        WindowCenterWidthExplanation="NORMAL\\HARDER",
        RescaleSlope="2.0",
        RescaleIntercept="-1024",
        PatientOrientation="L\\F",
        Manufacturer="Acme",
        StudyInstanceUID="1.2.3",
        SeriesInstanceUID="1.2.3.4",
        VOILUTFunction="SIGMOID",
        PresentationLUTShape="IDENTITY",
    )
    header = read_header(path)
    assert header.windows == (Window(2048, 4096, "NORMAL"), Window(100, 50, "HARDER"))
    assert header.spacing_mm == (0.14, 0.143)
    assert (header.rescale_slope, header.rescale_intercept) == (2, -1024)
    assert (header.bits_allocated, header.bits_stored, header.high_bit) == (8, 8, 7)
    assert (header.signed, header.samples_per_pixel) == (False, 1)
    assert (header.pixel_bytes, header.path) == (20, path)
    assert header.patient_orientation == "L\\F"
    assert "Jane" not in repr(header)
    assert "secret" not in repr(header)


@pytest.mark.parametrize("spacing", ["abc\\1", "0\\0", "-1\\1", "0.1", "", "nan\\nan"])
def test_an_unusable_pixel_spacing_gives_way_to_the_imagers(save, spacing):
    assert read_header(save(PixelSpacing=spacing)).spacing_mm is None
    path = save(PixelSpacing=spacing, ImagerPixelSpacing="0.2\\0.3")
    assert read_header(path).spacing_mm == (0.2, 0.3)


@pytest.mark.parametrize(("center", "width"), [("0", "0"), ("x", "1"), ("1", ""), ("nan", "4")])
def test_an_unusable_window_is_left_out(save, center, width):
    assert read_header(save(WindowCenter=center, WindowWidth=width)).windows == ()


@pytest.mark.parametrize(
    ("charset", "raw", "name"),
    [
        ("ISO_IR 100", "Bj\xf6rk".encode("latin-1"), "Björk"),
        # No set that the name can be in: UTF-8 shows itself.
        ("", "Björk 山田".encode(), "Björk 山田"),
        ("ISO_IR 6", "Björk".encode(), "Björk"),
        ("ISO_IR 999", "Björk".encode(), "Björk"),
        ("ISO_IR 192", "山田".encode(), "山田"),
        ("", b"caf\xe9", "café"),
        ("no such set", b"caf\xe9", "café"),
        ("ISO_IR 192", b"caf\xe9", "caf�"),
        ("\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B", "山田"),
        ("\\nonsense", b"\x1b$B;3ED\x1b(B", None),
        ("ISO_IR 100", b"red \x1b[31m\x07", "red �[31m�"),
    ],
)
def test_text_is_decoded_and_made_safe_for_a_terminal(save, charset, raw, name):
    found = read_header(save(SpecificCharacterSet=charset, PatientName=raw)).patient_name
    assert found.isprintable()
    assert name is None or found == name


def test_a_header_is_read_of_colour_and_of_several_frames(save):
    header = read_header(save(SamplesPerPixel=3, PhotometricInterpretation="RGB"))
    assert header.photometric_interpretation == "RGB"
    with pytest.raises(DicomError, match="'RGB' with 3 sample"):
        require_radiograph(header)
    assert read_header(save(NumberOfFrames="7")).frames == 7
    require_radiograph(
        replace(header, samples_per_pixel=1, photometric_interpretation="MONOCHROME1")
    )


def test_only_the_beginning_of_a_large_native_file_is_read_for_its_header(save, monkeypatch):
    loaded = []
    walk = dicom_file.walk_file
    monkeypatch.setattr(
        dicom_file, "walk_file", lambda b, size: loaded.append(len(b)) or walk(b, size)
    )
    path = save(pixels=np.zeros((2000, 2000), np.uint16))
    assert read_header(path).pixel_bytes == 8_000_000
    assert loaded == [1 << 20]


def test_a_header_beyond_the_first_megabyte_is_found(save):
    long = dicom_files.element(0x00091010, "OB", bytes(3 << 20))
    content = make_dicom()
    middle = content.index(b"\x28\x00\x02\x00US")
    header = read_header(save(content[:middle] + long + content[middle:]))
    assert (header.rows, header.columns) == (4, 5)


def test_an_element_across_the_first_megabyte_is_found(save):
    content = make_dicom()
    at = content.index(b"\x28\x00\x02\x00US")
    for before in range(8, 22, 2):  # so that every part of the next header meets the border
        filler = dicom_files.element(0x00091010, "OB", bytes((1 << 20) - at - 12 - before))
        assert read_header(save(content[:at] + filler + content[at:])).rows == 4


def test_a_large_deflated_file_is_loaded_whole(save):
    pixels = np.random.default_rng(0).integers(0, 255, (1500, 1000)).astype(np.uint8)
    path = save(pixels=pixels, transfer_syntax=DEFLATED)
    assert read_header(path).pixel_bytes == 1_500_000
    np.testing.assert_array_equal(read_radiograph(path).pixels, pixels)


# Pixels: what is stored comes back


images = st.sampled_from([np.uint8, np.uint16, np.int8, np.int16]).flatmap(
    lambda dtype: hnp.arrays(dtype, st.tuples(st.integers(1, 12), st.integers(1, 12)))
)


@pytest.mark.parametrize("uid", NATIVE)
@settings(max_examples=30, deadline=None)
@given(pixels=images)
def test_native_values_come_back(uid, pixels, tmp_path_factory):
    path = tmp_path_factory.mktemp("native") / "x.dcm"
    path.write_bytes(make_dicom(pixels, transfer_syntax=uid))
    file = walked(path)
    stored, *_ = dicom._stored_values(file.data, dicom._header(path, file))
    assert stored.flags.writeable
    np.testing.assert_array_equal(stored.view(pixels.dtype), pixels)


def test_the_test_files_are_what_pydicom_reads(save):
    for uid in NATIVE:
        data = pydicom.dcmread(save(pixels=RAMP12, transfer_syntax=uid, PatientName="A^B"))
        assert data.PatientName == "A^B"
        np.testing.assert_array_equal(data.pixel_array, RAMP12)


def test_big_endian_words_of_bytes_are_swapped_back(pixels_of):
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5)
    swapped = pixels.reshape(-1, 2)[:, ::-1].tobytes()
    read = pixels_of(pixels, transfer_syntax=BIG_ENDIAN, PixelData=("OW", swapped))
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize("fragments", [1, 2, 5])
def test_a_frame_in_fragments_is_joined(save, fragments):
    pixels = np.random.default_rng(0).integers(0, 255, (32, 40)).astype(np.uint8)
    frame = bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True))
    step = 2 * (len(frame) // (2 * fragments))
    parts = [frame[i : i + step] for i in range(0, len(frame), step)]
    path = save(pixels=pixels, transfer_syntax=J2K, frame=parts)
    np.testing.assert_array_equal(read_radiograph(path).pixels, pixels)


def test_eight_bit_monochrome2_is_untouched_and_monochrome1_inverted(pixels_of):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    read = pixels_of(pixels)
    assert read.dtype == np.uint8
    assert read.flags.writeable
    np.testing.assert_array_equal(read, pixels)
    read = pixels_of(pixels, PhotometricInterpretation="MONOCHROME1")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, 255 - pixels)


def test_eight_bits_in_sixteen_are_an_eight_bit_image(pixels_of):
    pixels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    read = pixels_of(pixels, BitsStored=8)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, pixels)


def test_a_codestream_of_fewer_bits_than_stored_keeps_its_values(save):
    pixels = np.arange(-100, 100, dtype=np.int8).reshape(10, 20)
    frame = bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True))
    window = {"WindowCenter": 0.5, "WindowWidth": 201}
    wide = pixels.astype(np.int16)
    expected = read_radiograph(save(pixels=wide, **window)).pixels
    path = save(pixels=wide, transfer_syntax=J2K, frame=frame, **window)
    np.testing.assert_array_equal(read_radiograph(path).pixels, expected)


def test_a_large_file_is_refused_from_its_beginning(save, monkeypatch):
    path = save(pixels=np.zeros((2000, 2000), np.uint8), NumberOfFrames="9")
    walk = dicom_file.walk_file
    monkeypatch.setattr(
        dicom_file,
        "walk_file",
        lambda b, size: walk(b, size) if len(b) <= 1 << 20 else pytest.fail("read whole"),
    )
    refused(path, "Number of Frames is 9")


def test_a_large_native_file_is_read_whole(pixels_of):
    pixels = np.random.default_rng(0).integers(0, 255, (1500, 1500)).astype(np.uint8)
    np.testing.assert_array_equal(pixels_of(pixels), pixels)


def test_radiograph_knows_its_identity_and_spacing(save):
    radiograph = read_radiograph(save(SOPInstanceUID="ID_004d6fbb6", PixelSpacing=(0.1, 0.2)))
    rows, columns = radiograph.pixels.shape
    assert repr(radiograph) == f"Radiograph('ID_004d6fbb6', {rows}x{columns} uint8)"
    assert radiograph.id == "ID_004d6fbb6"
    assert radiograph.spacing_mm == (0.1, 0.2)


# From stored values to grey


def test_fewer_than_eight_bits_are_stretched(pixels_of):
    read = pixels_of(np.array([[0, 31, 63]], np.uint8), BitsStored=6)
    assert read.tolist() == [[0, 125, 255]]


def test_signed_eight_bits_are_shifted(pixels_of):
    assert pixels_of(np.array([[-128, 0, 127]], np.int8)).tolist() == [[0, 128, 255]]


def test_a_linear_window_follows_the_standards_formula(pixels_of):
    read = pixels_of(RAMP12, BitsStored=12, WindowCenter=2048, WindowWidth=1000)
    values = RAMP12.astype(float)
    expected = ((values - 2047.5) / 999 + 0.5).clip(0, 1) * 65535
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, np.rint(expected))


@pytest.mark.parametrize("width", [1, 2, 300, 5000])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_agree_with_pydicom(save, function, width):
    path = save(
        pixels=RAMP12,
        BitsStored=12,
        WindowCenter=2000,
        WindowWidth=width,
        VOILUTFunction=function,
        RescaleSlope=1,
        RescaleIntercept=-10,
    )
    data = pydicom.dcmread(path)
    values = pydicom.pixels.apply_modality_lut(data.pixel_array, data)
    with np.errstate(over="ignore"):
        theirs = pydicom.pixels.apply_windowing(values, data)
    theirs = (theirs + 10) / 4095 * 65535  # pydicom keeps the range of the modality values
    np.testing.assert_allclose(read_radiograph(path).pixels, theirs, atol=1)


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_a_voi_lut_goes_before_the_window(save, vr):
    entries = np.array([0, 100, 900, 1023], "<u2")
    lut = {
        "LUTDescriptor": (vr, np.array([4, 2, 10], "<u2").tobytes()),
        "LUTData": ("OW", entries.tobytes()),
    }
    pixels = np.arange(8, dtype=np.uint16).reshape(2, 4)
    path = save(pixels=pixels, BitsStored=12, WindowCenter=1, WindowWidth=1, VOILUTSequence=[lut])
    expected = np.array([0, 0, 0, 100, 900, 1023, 1023, 1023]) * (65535 / 1023)
    np.testing.assert_array_equal(read_radiograph(path).pixels.ravel(), np.rint(expected))


def test_a_lut_may_begin_below_zero_and_hold_bytes(save):
    lut = {
        "LUTDescriptor": ("SS", np.array([3, -1, 8], "<i2").tobytes()),
        "LUTData": ("OW", bytes([10, 20, 255])),
    }
    path = save(pixels=np.array([[-5, -1, 0, 1, 5]], np.int16), VOILUTSequence=[lut])
    assert (read_radiograph(path).pixels // 257).tolist() == [[10, 10, 20, 255, 255]]


@pytest.mark.parametrize("uid", NATIVE)
def test_a_modality_lut_is_applied(save, uid):
    order = ">" if uid == BIG_ENDIAN else "<"
    lut = {
        "LUTDescriptor": ("US", np.array([4, 0, 16], order + "u2").tobytes()),
        "LUTData": ("OW", np.array([40000, 30000, 20000, 10000], order + "u2").tobytes()),
        "ModalityLUTType": "US",
    }
    pixels = np.array([[0, 1], [2, 3]], np.uint16)
    path = save(pixels=pixels, transfer_syntax=uid, ModalityLUTSequence=[lut])
    assert read_radiograph(path).pixels.tolist() == [[65535, 43690], [21845, 0]]


def test_a_negative_slope_turns_the_picture(pixels_of):
    read = pixels_of(np.array([[0, 100, 255]], np.uint8), RescaleSlope=-1, RescaleIntercept=255)
    assert read.dtype == np.uint16
    assert read.tolist() == [[65535, 65535 - 100 * 257, 0]]


def test_without_a_window_a_deep_image_spans_its_robust_range(pixels_of):
    pixels = RAMP12.copy()
    pixels[0, 0] = 65535  # one hot pixel must not darken the rest
    read = pixels_of(pixels)
    low, high = np.quantile(pixels, [0.001, 0.999], method="inverted_cdf")
    np.testing.assert_array_equal(
        read, np.rint((pixels.astype(float) - low).clip(0, high - low) / (high - low) * 65535)
    )
    assert read[0, 0] == 65535


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("value", [0, 700, 65535])
def test_an_image_of_one_value_is_black(pixels_of, photometric, value):
    pixels = np.full((9, 7), value, np.uint16)
    assert not pixels_of(pixels, PhotometricInterpretation=photometric).any()


def test_nearly_one_value_still_shows_the_rest(pixels_of):
    pixels = np.full((100, 100), 5, np.uint16)
    pixels[50, 50] = 9
    assert pixels_of(pixels)[50, 50] == 65535


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_stretch_the_scale(pixels_of, photometric):
    pixels = np.linspace(1000, 2000, 400).astype(np.uint16).reshape(20, 20)
    padded = np.vstack([pixels, np.full((20, 20), 60000, np.uint16)])
    read = pixels_of(
        padded,
        PixelPaddingValue=59000,
        PixelPaddingRangeLimit=61000,
        PhotometricInterpretation=photometric,
    )
    assert not read[20:].any()
    np.testing.assert_array_equal(
        read[:20], pixels_of(pixels, PhotometricInterpretation=photometric)
    )


def test_signed_padding(pixels_of):
    pixels = np.array([[-2000, 0, 100]], np.int16)
    read = pixels_of(pixels, PixelPaddingValue=-2000, PhotometricInterpretation="MONOCHROME1")
    assert read.tolist() == [[0, 65535, 0]]
    assert not pixels_of(np.full((2, 2), 7, np.int16), PixelPaddingValue=7).any()


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", None, True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME2", "IDENTITY", False),
    ],
)
def test_inversion_happens_once(pixels_of, photometric, shape, inverted):
    pixels = np.array([[10, 200]], np.uint8)
    read = pixels_of(pixels, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    np.testing.assert_array_equal(read, 255 - pixels if inverted else pixels)


@settings(max_examples=40, deadline=None)
@given(pixels=hnp.arrays(np.uint16, (6, 7), elements=st.integers(0, 4095)))
def test_monochrome1_is_the_negative_of_monochrome2(pixels):
    rules = grayscale.Grayscale(bits_stored=12, voi=Window(2048, 4096))
    positive = grayscale.render(pixels, rules)
    negative = grayscale.render(pixels, replace(rules, inverted=True))
    np.testing.assert_array_equal(negative, 65535 - positive)


@settings(max_examples=40, deadline=None)
@given(
    pixels=hnp.arrays(np.int16, (5, 9)),
    slope=st.sampled_from([1.0, 0.5, 3.0]),
    voi=st.sampled_from([None, Window(0, 30000), Window(-500.5, 77.7)]),
)
def test_brighter_stored_values_are_never_shown_darker(pixels, slope, voi):
    rules = grayscale.Grayscale(
        bits_stored=16, signed=True, modality=grayscale.Rescale(slope, -3.0), voi=voi
    )
    shown = grayscale.render(grayscale.codes(pixels, 16, True), rules)
    order = np.argsort(pixels, axis=None, kind="stable")
    assert (np.diff(shown.ravel()[order].astype(int)) >= 0).all()


def test_overlay_bits_above_the_pixel_are_cleared(pixels_of):
    pixels = RAMP12 | np.uint16(0x8000)
    overlay = dicom_files.element(0x60000102, "US", b"\x0f\0")
    window = {"WindowCenter": 2048, "WindowWidth": 4096, "BitsStored": 12}
    read = pixels_of(pixels, extra=overlay, **window)
    np.testing.assert_array_equal(read, pixels_of(RAMP12, **window))


def test_signed_values_may_leave_their_high_bits_clear_or_extended(pixels_of):
    extended = np.array([[-2048, -1, 0, 2047]], np.int16)
    window = {"WindowCenter": 0, "WindowWidth": 4096, "BitsStored": 12}
    read = pixels_of(extended, **window)
    assert read.ravel()[0] == 0
    assert read.ravel()[3] == 65535
    np.testing.assert_array_equal(pixels_of(extended & 0xFFF, **window), read)


# Refusals: whatever is not a file with DICOM in it


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "none.dcm", "cannot be read .No such file")


def test_an_empty_file_is_refused(save):
    refused(save(b""), "is empty .0 bytes.; copy it again")


@pytest.mark.parametrize("content", [b"x", b"\0" * 5000, b"\x89PNG\r\n" + bytes(300), b"DICM" * 9])
def test_another_kind_of_file_is_refused(save, content):
    refused(save(content), 'is not DICOM: no "DICM" at byte 128')


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    fifo = tmp_path / "fifo.dcm"
    os.mkfifo(fifo)
    refused(
        tmp_path,
        "is a folder, and a file is needed: name the files in it; where it was to be looked into",
    )
    for path in (fifo, Path("/dev/zero")):
        refused(path, "is a pipe or a device; a regular file is needed")


def test_a_file_beyond_2_gib_is_refused_unread(tmp_path):
    path = tmp_path / "sparse.dcm"
    with path.open("wb") as file:
        file.truncate((2 << 30) + 1)
    refused(path, "has 2,147,483,649 bytes; at most 2,147,483,648 are read")


def test_a_file_without_preamble_is_read(save):
    assert read_radiograph(save(preamble=b"")).pixels.shape == (4, 5)


def test_a_bare_data_set_is_read_where_its_encoding_is_plain(save):
    elements = make_dicom(preamble=b"")
    body = elements[elements.index(b"\x08\x00\x16\x00") :]
    assert read_header(save(body)).transfer_syntax_uid == EXPLICIT
    elements = make_dicom(preamble=b"", transfer_syntax=IMPLICIT)
    body = elements[elements.index(b"\x08\x00\x16\x00") :]
    assert read_radiograph(save(body)).header.transfer_syntax_uid == IMPLICIT
    elements = make_dicom(preamble=b"", transfer_syntax=BIG_ENDIAN)
    body = elements[elements.index(b"\x00\x08\x00\x16") :]
    assert read_radiograph(save(body)).header.transfer_syntax_uid == BIG_ENDIAN


def test_no_frames_at_all_are_one_as_others_have_it(save):
    header = read_radiograph(save(NumberOfFrames="0")).header
    assert header.frames == 1
    assert [(note.kind, note.text) for note in header.notes] == [
        ("unreadable-value", "(0028,0008) Number of Frames is 0; it is taken for 1, as others do")
    ]


def test_a_missing_transfer_syntax_that_cannot_be_guessed_is_refused(save):
    content = make_dicom(transfer_syntax=None)
    assert read_header(save(content)).transfer_syntax_uid == EXPLICIT
    cut = content[: content.index(b"\x08\x00\x16\x00")]
    refused(
        save(cut + b"\x09\x00\x10\x00??\x02\x00ab"), "is missing and the data set does not show"
    )


def test_an_unknown_transfer_syntax_is_refused(save):
    refused(save(transfer_syntax="1.2.3.4"), "'1.2.3.4' is not a standard one; convert the file")
    newer = "1.2.840.10008.1.2.4.110"  # JPEG XL, which came with the standard of 2024
    refused(save(transfer_syntax=newer), f"'{newer}' is none that is known, and so none that is re")
    refused(save(transfer_syntax="1.2.Doe"), "UID .0002,0010. is not a standard one; convert")


def test_a_known_but_unread_transfer_syntax_is_refused(save):
    path = save(transfer_syntax="1.2.840.10008.1.2.4.100", frame=b"ab")
    assert read_header(path).transfer_syntax_name.startswith("MPEG2")
    refused(path, "transfer syntax MPEG2 .* is not read; convert the file")


# Refusals: truncated files and files that do not mean what they say


@pytest.mark.parametrize("uid", NATIVE)
def test_every_cut_of_a_native_file_is_refused(save, uid):
    content = make_dicom(transfer_syntax=uid)
    for length in [0, 1, 100, *range(128, len(content))]:
        refused(save(content[:length]), "truncated|empty|not DICOM|too early|missing|does not show")


def test_every_cut_of_a_compressed_file_is_refused(save):
    pixels = np.random.default_rng(0).integers(0, 200, (16, 16)).astype(np.uint8)
    frame = imagecodecs.jpeg8_encode(pixels)
    content = make_dicom(pixels, transfer_syntax=BASELINE, frame=frame)
    assert read_radiograph(save(content)).pixels.shape == (16, 16)
    for length in range(132, len(content), 3):
        if length < len(content) - 8:  # the rest is the delimiter alone
            refused(save(content[:length]), "truncated|too early|missing|no fragment")


def test_jpeg_under_a_native_syntax_is_read_where_it_lies_in_fragments(save):
    frame = imagecodecs.jpeg8_encode(np.zeros((4, 5), np.uint8))
    path = save(pixels=np.zeros((4, 5), np.uint8), frame=frame)
    header = read_radiograph(path).header
    assert (header.transfer_syntax_uid, header.notes[0].kind) == (BASELINE, "wrong-syntax")
    refused(save(PixelData=("OB", frame)), "4 x 5 of 8 .* need 20; it looks like JPEG, which the")


def test_native_pixels_under_a_jpeg_syntax_are_read_where_their_size_is_right(save):
    header = read_radiograph(save(transfer_syntax=BASELINE)).header
    assert (header.transfer_syntax_uid, header.notes[0].kind) == (EXPLICIT, "wrong-syntax")
    path = save(transfer_syntax=BASELINE, PixelData=("OB", bytes(24)))
    refused(path, "says JPEG Baseline .*, but .* is not compressed as DICOM does it, and has not")


def test_jpeg_2000_under_a_jpeg_syntax_is_read(save):
    pixels = np.zeros((8, 8), np.uint8)
    frame = bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k"))
    path = save(pixels=pixels, transfer_syntax=BASELINE, frame=frame)
    header = read_radiograph(path).header
    assert header.transfer_syntax_name == "JPEG 2000 Image Compression (Lossless Only)"
    assert [note.kind for note in header.notes] == ["wrong-syntax"]


def test_compressed_data_that_is_no_sequence_of_fragments_is_refused(save):
    path = save(transfer_syntax=BASELINE, frame=b"ab")
    content = path.read_bytes()
    at = content.rindex(b"\xfe\xff\x00\xe0")
    refused(
        save(content[:at] + b"\x01" + content[at + 1 :]),
        ".FF01,E000. stands at byte .* where a fragment should begin or",
    )


def test_a_fragment_without_length_is_refused(save):
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + b"\xfe\xff\x0d\xe0\0\0\0\0"
    value = ("OB", item + b"\xfe\xff\xdd\xe0\0\0\0\0")
    path = save(transfer_syntax=BASELINE, PixelData=value)
    refused(path, "a fragment of the compressed pixel data has no length")


@pytest.mark.parametrize(("rows", "columns"), [(5, 5), (4, 4), (40, 50), (2, 5)])
def test_a_size_that_does_not_match_the_data_is_refused(save, rows, columns):
    match = f"has 20 bytes, but Rows x Columns {rows} x {columns} of 8 .* need {rows * columns:,}"
    refused(save(Rows=rows, Columns=columns), match)


@pytest.mark.parametrize("uid", [EXPLICIT, BIG_ENDIAN, DEFLATED])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("more", [b"\0\0", b"ab", bytes(4), bytes(512), b"\xff" * 5000])
def test_padding_behind_the_pixels_is_left_out_with_a_note(save, uid, dtype, more):
    pixels = np.arange(35, dtype=dtype).reshape(5, 7)
    stored = pixels.astype(np.dtype(dtype).newbyteorder(">" if uid == BIG_ENDIAN else "<"))
    vr = "OB" if dtype is np.uint8 else "OW"
    plain = save(pixels=pixels, transfer_syntax=uid)
    expected = read_radiograph(plain).pixels
    path = save(
        pixels=pixels,
        transfer_syntax=uid,
        PixelData=(vr, stored.tobytes() + bytes(stored.nbytes % 2) + more),
    )
    read = read_radiograph(path)
    np.testing.assert_array_equal(read.pixels, expected)
    assert [note.kind for note in read.header.notes] == ["bytes-ignored"]
    assert read_header(path).notes == ()


@pytest.mark.parametrize("more", [b"abcdef", b"\0" * 30 + b"\1" * 5, bytes(range(70))])
def test_more_rows_or_columns_than_stated_are_no_padding(save, more):
    path = save(
        pixels=np.arange(35, dtype=np.uint8).reshape(5, 7), PixelData=("OB", bytes(35) + more)
    )
    refused(path, "need 35, and what follows them is no padding; one of the three or")


def test_an_impossible_size_is_refused(save):
    refused(save(Rows=60000, Columns=60000), r"\(0028,0010\) Rows is 60000; it must be 1 to 16,384")
    refused(save(Rows=16000, Columns=16000), "16000 x 16000 is more than 100,000,000 pixels")
    refused(save(Columns=0), r"\(0028,0011\) Columns is 0; it must be 1 to")


def test_a_pixel_beyond_bits_stored_is_refused(save):
    pixels = np.arange(0, 40961, 64, dtype=np.uint16).reshape(1, -1)
    message = r"\(0028,0101\) Bits Stored is 12 but a pixel holds 40960; the file may be mislab"
    refused(save(pixels=pixels, BitsStored=12), message)
    refused(save(pixels=pixels, BitsStored=12, PixelRepresentation=1), message)


# Refusals: images that are no plain radiograph


@pytest.mark.parametrize(
    ("attributes", "match"),
    [
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "'RGB' with 3 sample.s."),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "'PALETTE COLOR'.*no plain radiograph"),
        ({"NumberOfFrames": "3"}, "Number of Frames is 3; only single images"),
        ({"NumberOfFrames": "x"}, "Number of Frames is 'x'; it must be a positive integer"),
        ({"NumberOfFrames": "1.5"}, "Number of Frames is '1.5'; it must be a positive integer"),
        ({"NumberOfFrames": "1e99"}, "Number of Frames is '1e99'; it must be a positive integer"),
        ({"NumberOfFrames": "1\\2"}, "Number of Frames has 2 values; it must have one"),
        ({"NumberOfFrames": "-1"}, "Number of Frames is '-1'.* export the file again"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "Bits Allocated is 32; 8 and 16 are read"),
        ({"BitsAllocated": 12}, "Bits Allocated is 12"),
        ({"BitsStored": 0}, "Bits Stored is 0; it must be 1 to the 8 bits allocated"),
        ({"BitsStored": 9}, "Bits Stored is 9"),
        ({"HighBit": 15}, "High Bit is 15; it must be Bits Stored - 1 = 7"),
        ({"PixelRepresentation": 2}, "Pixel Representation is 2; it must be 0 or 1"),
        ({"RescaleSlope": "0"}, "Rescale Slope is 0"),
        ({"RescaleSlope": "steep"}, r"\(0028,1053\) Rescale Slope is 'steep'; it must be a finite"),
        ({"RescaleIntercept": "inf"}, "Rescale Intercept is 'inf'; it must be a finite number"),
        ({"RescaleSlope": "1\\2"}, "Rescale Slope has 2 values; it must have one"),
        (
            {"VOILUTFunction": "CUBIC", "WindowCenter": "9", "WindowWidth": "9"},
            "VOI LUT Function is 'CUBIC'; LINEAR",
        ),
        ({"Rows": ("LO", b"abcd")}, r"\(0028,0010\) Rows is stored as LO of 4 bytes; .*US"),
        ({"Rows": ("US", b"abc")}, r"\(0028,0010\) Rows has 2 values; it must have one"),
        ({"Rows": [4, 4]}, r"\(0028,0010\) Rows has 2 values"),
        ({"PhotometricInterpretation": "MONOCHROME2\\MONOCHROME1"}, "it must have one value"),
        ({"PixelPaddingValue": [1, 2]}, "Pixel Padding Value has 2 values"),
    ],
)
def test_what_cannot_be_shown_faithfully_is_refused(save, attributes, match):
    refused(save(**attributes), match)


@pytest.mark.parametrize(
    "keyword",
    [
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "PixelRepresentation",
        "SamplesPerPixel",
        "PhotometricInterpretation",
    ],
)
def test_a_missing_or_empty_attribute_is_refused_by_name(save, keyword):
    for value in (None, b""):
        path = save(**{keyword: value, "HighBit": 7, "PixelData": ("OB", bytes(20))})
        tag = elements.tag_text(pydicom.datadict.tag_for_keyword(keyword))
        message = refused(path, "is missing or empty; ")
        assert tag in message


def test_a_missing_high_bit_is_no_reason_to_refuse(save):
    assert read_header(save(HighBit=None)).high_bit == 7


@pytest.mark.parametrize("uid", ["../../etc", "a" * 65, "a,b", "a\\b", "..", "a b", "\x01", "é"])
def test_an_id_that_is_unsafe_in_a_file_name_is_refused(save, uid):
    message = refused(
        save(SOPInstanceUID=uid.encode()), "unsafe in a file name; it must be 1 to 64"
    )
    assert uid not in message.replace(str(save()), "")


@pytest.mark.parametrize(
    ("meta", "found", "source"),
    [
        ({"MediaStorageSOPInstanceUID": "1.2.3.4"}, "1.2.3.4", "Media Storage SOP Instance UID"),
        ({"MediaStorageSOPInstanceUID": ""}, "x", "the file's name"),
        ({}, "x", "the file's name"),
    ],
)
@pytest.mark.parametrize("own", [None, b"", b"  "])
def test_an_image_without_an_id_is_named_by_what_else_names_it(save, meta, found, source, own):
    header = read_header(save(SOPInstanceUID=own, meta=meta))
    assert header.sop_instance_uid == found
    assert [note.kind for note in header.notes] == ["id-elsewhere"]
    assert f"is missing or empty; {source}" in header.notes[0].text.replace("(0002,0003) ", "")
    assert read_header(save(meta={"MediaStorageSOPInstanceUID": "1.2.3.4"})).notes == ()


def test_an_image_without_any_usable_id_is_refused(save, tmp_path):
    path = tmp_path / "radiograph of a chest.dcm"
    path.write_bytes(make_dicom(SOPInstanceUID=None))
    refused(path, "is missing or empty; the file's name has 21 characters or some that are unsafe")
    path = save(SOPInstanceUID=None, meta={"MediaStorageSOPInstanceUID": "a/b"})
    refused(path, r"\(0002,0003\) Media Storage SOP Instance UID has 3 characters or some")


@pytest.mark.parametrize(
    ("storage", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.1", "Computed Radiography Image Storage"),
        ("9.9.9", "an object of unknown storage class"),
    ],
)
def test_an_image_without_pixels_is_refused_by_its_name(save, storage, name):
    path = save(SOPClassUID=storage, PixelData=None)
    refused(path, f"it is {name} and has no .7FE0,0010. Pixel Data; only images are read")


OTHER_OBJECTS = {
    "11.1": "Grayscale Softcopy Presentation State Storage .*which says how another picture",
    "11.99": "Presentation State Storage",  # newer than the dictionary
    "30": "Parametric Map Storage .*which holds measurements or estimates",
    "66": "Raw Data Storage .*which holds no picture",
    "66.1": "Spatial Registration Storage .*which says how other pictures lie",
    "66.4": "Segmentation Storage .1.2.840.10008.5.1.4.1.1.66.4., which marks regions",
    "66.5": "Surface Segmentation Storage .*which marks regions",
    "66.7": "Segmentation Storage .*which marks regions",  # label maps, of 2024
    "67": "Real World Value Mapping Storage .*which says what the values",
    "81.1": "Ophthalmic Thickness Map Storage .*which holds measurements",
    "88.11": "Basic Text SR Storage .*which is a report",
    "88.59": "Key Object Selection Document Storage .*which is a list",
    "88.999": "SR Storage .*which is a report",
    "104.1": "Encapsulated PDF Storage .*which is a document",
    "9.1.1": "12-lead ECG Waveform Storage .*which holds curves",
    "481.2": "RT Dose Storage .*which plans or records a treatment",
    "481.3": "RT Structure Set Storage .*which plans or records a treatment",
}


@pytest.mark.parametrize("branch", OTHER_OBJECTS)
def test_an_object_of_another_kind_is_refused_by_name_with_or_without_pixels(save, branch):
    storage = f"1.2.840.10008.5.1.4.1.1.{branch}"
    match = rf"it is {OTHER_OBJECTS[branch]}.*; only radiographs are read: name the radiograph"
    with pytest.raises(OtherObjectError, match=match):
        read_radiograph(save(SOPClassUID=storage, PixelData=None))
    path = save(SOPClassUID=storage)
    with pytest.raises(OtherObjectError, match=match) as caught:
        read_radiograph(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert read_header(path).other_object in str(caught.value)


def test_the_class_of_the_file_meta_information_counts_where_there_is_no_other(save):
    storage = "1.2.840.10008.5.1.4.1.1.66.4"
    meta = dicom_files.encode({"MediaStorageSOPClassUID": storage})
    for own, error in ((None, OtherObjectError), (dicom_files.SECONDARY_CAPTURE, None)):
        content = make_dicom(SOPClassUID=own)
        at = content.index(b"\x02\x00\x10\x00")
        path = save(content[:at] + meta + content[at:])
        if error is None:
            assert read_radiograph(path).pixels.shape == (4, 5)
        else:
            with pytest.raises(error, match="it is Segmentation Storage"):
                read_radiograph(path)


@pytest.mark.parametrize(
    ("attributes", "match"),
    [
        ({"SegmentationType": "FRACTIONAL"}, "its .0062,0001. Segmentation Type FRACTIONAL is"),
        ({"SegmentationType": "BINARY"}, "Segmentation Type BINARY is that of a segmentation"),
        ({"Modality": "SEG"}, "its .0008,0060. Modality 'SEG' stands for a segmentation"),
        ({"Modality": "pr"}, "Modality 'pr' stands for a presentation state"),
        ({"Modality": "DOC"}, "stands for a document; only radiographs are read"),
    ],
)
@pytest.mark.parametrize("storage", ["9.9.9", dicom_files.SECONDARY_CAPTURE, None])
def test_what_a_class_hides_other_elements_tell(save, storage, attributes, match):
    with pytest.raises(OtherObjectError, match=match):
        read_radiograph(save(SOPClassUID=storage, **attributes))


@pytest.mark.parametrize(
    "storage",
    [
        "1.2.840.10008.5.1.4.1.1.1",
        "1.2.840.10008.5.1.4.1.1.1.1",
        "1.2.840.10008.5.1.4.1.1.1.1.1",
        "1.2.840.10008.5.1.4.1.1.12.2",  # radiofluoroscopy
        "1.2.392.200036.9125.1.1.2",  # a vendor's own
        "1.2.840.10008.5.1.4.1.1.1.77",  # unknown, in the branch of radiographs
        "1.2.840.10008.1.2.1",  # no class at all
        "",
    ],
)
def test_an_image_of_any_class_is_read(save, storage):
    header = read_radiograph(save(SOPClassUID=storage)).header
    assert (header.other_object, header.own_result) == ("", False)


def test_floating_point_pixels_are_refused(save):
    path = save(PixelData=None, FloatPixelData=("OF", bytes(80)))
    refused(path, "floating-point numbers; only integer pixels")


def lut(descriptor, data):
    return [
        {"LUTDescriptor": ("US", np.array(descriptor, "<u2").tobytes()), "LUTData": ("OW", data)}
    ]


@pytest.mark.parametrize(
    ("sequence", "match"),
    [
        (lut([4, 0], bytes(8)), r"LUT Descriptor is \(4, 0\); it must be length, start, bits"),
        (lut([4, 0, 12], bytes(6)), "LUT Data has 6 bytes, but its descriptor states 4 entries"),
        (lut([0, 0, 16], bytes(6)), "states 65,536 entries"),
        (("SQ", b"\x01\x02\x03\x04\x05\x06\x07\x08"), "holds something else than items"),
        (("SQ", b"\xfe\xff\x00\xe0\xff\x00\x00\x00"), "longer than it"),
    ],
)
def test_a_broken_table_is_refused(save, sequence, match):
    refused(save(VOILUTSequence=sequence), match)


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [("0", "5"), ("1e308", "1e308"), ("-1e308", "0"), ("1", "1e20"), ("1e-30", "1")],
)
def test_a_rescale_that_leaves_one_value_is_refused(save, slope, intercept):
    refused(
        save(RescaleSlope=slope, RescaleIntercept=intercept),
        "Rescale Slope is .* Rescale Intercept .*; pixels that differ would be the same",
    )


def test_an_empty_table_sequence_is_no_table(save):
    assert read_radiograph(save(VOILUTSequence=[])).pixels.dtype == np.uint8
    assert read_radiograph(save(VOILUTSequence=[{}])).pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("voi", "words"),
    [
        ({"WindowCenter": 60000, "WindowWidth": 10}, "the window (0028,1050) Center 60000, "),
        ({"WindowCenter": 0, "WindowWidth": 10}, "the window (0028,1050) Center 0, "),
        ({"VOILUTSequence": lut([2, 0, 8], b"\x07\x00\x07\x00")}, "the (0028,3010) VOI LUT "),
    ],
)
def test_what_leaves_one_grey_value_is_left_out(save, voi, words):
    bare = read_radiograph(save(pixels=RAMP12))
    found = read_radiograph(save(pixels=RAMP12, **voi))
    np.testing.assert_array_equal(found.pixels, bare.pixels)
    note = found.header.notes[-1]
    assert note.kind == "window-of-other-values"
    assert note.text.startswith(words)


# Refusals: files made to hurt


def test_deep_nesting_is_refused_at_once(save):
    content = make_dicom()
    at = content.index(b"\x08\x00\x60\x00CS")
    began = time.monotonic()
    path = save(content[:at] + nested(1000) + content[at:])
    refused(path, "sequences are nested deeper than 64; refused")
    assert time.monotonic() - began < 1
    assert read_radiograph(save(content[:at] + nested(60) + content[at:])).pixels.shape == (4, 5)


def test_a_sequence_of_unknown_vr_and_undefined_length_is_walked_as_implicit(save):
    item = dicom_files.encode({"Modality": "CR"}, implicit=True)
    value = b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item
    value += b"\xfe\xff\xdd\xe0\0\0\0\0"
    content = make_dicom()
    at = content.index(b"\x28\x00\x02\x00US")
    unknown = dicom_files.element(0x00191010, "UN", value)
    assert read_header(save(content[:at] + unknown + content[at:])).rows == 4


def test_too_many_elements_are_refused(save):
    content = make_dicom()
    at = content.index(b"\x28\x00\x02\x00US")
    many = dicom_files.element(0x00191010, "LO", b"") * (elements.MAX_ELEMENTS + 1)
    refused(save(content[:at] + many + content[at:]), "more than 100,000 data elements")
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * (elements.MAX_ELEMENTS + 1)
    sequence = dicom_files.element(0x00081140, "SQ", items + b"\xfe\xff\xdd\xe0\0\0\0\0")
    refused(save(content[:at] + sequence + content[at:]), "a sequence of more than 100,000 parts")


def test_a_deflated_bomb_is_refused_before_it_goes_off(save):
    head = make_dicom(transfer_syntax=DEFLATED)
    meta = head[: head.index(DEFLATED.encode()) + len(DEFLATED)]
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    bomb = b"".join(deflate.compress(zeros) for _ in range(70)) + deflate.flush()
    path = save(meta + bomb)
    assert len(bomb) < 80_000
    with pytest.raises(
        DicomError, match=r"inflates to more than .* refused as a decompression bomb"
    ):
        read_header(path)


def test_a_blank_deflated_image_is_no_bomb(pixels_of):
    assert not pixels_of(np.zeros((2000, 2000), np.uint16), transfer_syntax=DEFLATED).any()


def test_corrupt_deflated_data_is_refused(save):
    content = make_dicom(transfer_syntax=DEFLATED)
    at = content.index(DEFLATED.encode()) + len(DEFLATED)
    refused(
        save(content[:at] + b"\xff" * 50),
        "that the data set is deflated, but it cannot be inflated: it is corrupt, or",
    )


def test_foreseen_and_unforeseen_failures_become_dicom_errors(save, monkeypatch):
    path = save()
    for error, words in [
        (KeyError("Doe^Jane"), "is malformed .KeyError while reading it.; export it again"),
        (MemoryError(), "does not fit into memory"),
        (PermissionError(13, "Permission denied"), "cannot be read .Permission denied"),
    ]:
        monkeypatch.setattr(
            dicom_file, "walk_file", lambda *_, error=error: (_ for _ in ()).throw(error)
        )
        assert "Jane" not in refused(path, words)
    mistake = NameError("ours")
    monkeypatch.setattr(dicom_file, "walk_file", lambda *_: (_ for _ in ()).throw(mistake))
    with pytest.raises(NameError):
        read_header(path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(data, tmp_path_factory):
    uid = data.draw(st.sampled_from([*NATIVE, BASELINE]))
    frame = imagecodecs.jpeg8_encode(np.zeros((4, 5), np.uint8)) if uid == BASELINE else None
    content = bytearray(make_dicom(transfer_syntax=uid, frame=frame, WindowCenter=1, WindowWidth=9))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "x.dcm"
    path.write_bytes(content)
    try:
        read_radiograph(path)
    except DicomError as error:
        assert str(error).startswith(str(path))  # noqa: PT017


# Packed with gzip, and archives


@pytest.mark.parametrize("syntax", [*NATIVE, BASELINE])
def test_a_file_packed_with_gzip_is_the_file(save, syntax):
    frame = imagecodecs.jpeg8_encode(np.zeros((4, 5), np.uint8)) if syntax == BASELINE else None
    content = make_dicom(transfer_syntax=syntax, frame=frame)
    plain = open_radiograph(save(content))
    packed = open_radiograph(save(gzip.compress(content)))
    assert packed.content == content
    assert packed.fingerprint == plain.fingerprint
    np.testing.assert_array_equal(packed.radiograph.pixels, plain.radiograph.pixels)
    assert packed.radiograph.header == plain.radiograph.header


def test_a_large_packed_file(save):
    pixels = np.random.default_rng(0).integers(256, size=(1100, 1000), dtype=np.uint8)
    path = save(gzip.compress(make_dicom(pixels), 1))
    np.testing.assert_array_equal(read_radiograph(path).pixels, pixels)
    assert read_header(path).rows == 1100


def test_a_packed_file_that_is_damaged_or_something_else(save):
    content = gzip.compress(make_dicom())
    refused(save(content[:-20]), "the gzip file ends too early: the file is truncated")
    refused(save(content[:-8] + bytes(8)), "the gzip file is corrupt; copy it again")
    refused(save(gzip.compress(b"words" * 99)), "is not DICOM: no")
    refused(save(gzip.compress(content)), "is not DICOM: it is packed with gzip; unpack it, and")


def test_an_archive_is_called_one(save):
    refused(save(b"PK\3\4" + bytes(500)), "is not DICOM: it is a ZIP archive; unpack it, and name")


# A path that stands for another file a moment later


def test_what_was_read_before_can_be_asked_for(save):
    path = save(PatientID="A")
    before = open_radiograph(path)
    assert before.content == path.read_bytes()
    assert before.stamp == stamp_of(path.stat())
    assert open_radiograph(path, before.fingerprint).content == before.content
    save(PatientID="B")
    message = rf"{path}: holds another content than a moment ago, when it was answered; predict it"
    with pytest.raises(ChangedError, match=message):
        open_radiograph(path, before.fingerprint)
    path.write_bytes(b"neither")
    with pytest.raises(ChangedError, match=message):
        open_radiograph(path, before.fingerprint)


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_a_file_that_is_written_to_while_it_is_read(save, monkeypatch, large):
    path = save(pixels=np.zeros((1200, 1000), np.uint8)) if large else save()
    whole, load = path.read_bytes(), dicom_file._load

    def growing(descriptor, count):
        content = load(descriptor, count)
        if count == len(whole):
            path.write_bytes(whole + b"more")
        return content

    monkeypatch.setattr(dicom_file, "_load", growing)
    with pytest.raises(ChangedError, match=rf"{path}: was written to while it was read; read it"):
        read_radiograph(path)


def test_a_file_that_is_replaced_while_it_is_read_stays_the_one_that_was_opened(save, monkeypatch):
    path = save(pixels=np.full((1200, 1000), 7, np.uint8), PatientID="A")
    other = path.with_name("other.dcm")
    other.write_bytes(make_dicom(np.full((1200, 1000), 9, np.uint8), PatientID="B"))
    load = dicom_file._load

    def replacing(descriptor, count):
        content = load(descriptor, count)
        if other.exists():
            other.replace(path)
        return content

    monkeypatch.setattr(dicom_file, "_load", replacing)
    found = read_radiograph(path)
    assert (found.header.patient_id, int(found.pixels[0, 0])) == ("A", 7)
    assert read_radiograph(path).header.patient_id == "B"


# Other people's files


@pytest.mark.parametrize("path", PYDICOM_FILES, ids=lambda path: path.name)
def test_pydicoms_own_files_are_read_right_or_refused(path):
    try:
        file = walked(path)
        header = dicom._header(path, file)
        dicom._require_radiograph(header)
        stored, *_ = dicom._stored_values(file.data, header)
        read_radiograph(path)
    except DicomError:
        with pytest.raises(DicomError):
            read_radiograph(path)
        return
    if header.transfer_syntax_uid == "1.2.840.10008.1.2.4.51":
        return  # pydicom has no decoder for 12-bit JPEG here
    codes = grayscale.codes(stored, header.bits_stored, header.signed)
    mask = (1 << header.bits_stored) - 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            expected = pydicom.dcmread(stream).pixel_array
    np.testing.assert_array_equal(codes, expected.astype(np.int64) & mask)


def test_enough_of_pydicoms_files_are_read():
    read = 0
    for path in PYDICOM_FILES:
        try:
            read += read_radiograph(path).pixels.size > 0
        except DicomError:
            continue
    assert read >= 30


@needs_data
def test_all_siim_files_are_read_as_pydicom_reads_them():
    paths = sorted((SHARED / "siim").rglob("*.dcm"))
    with_spacing = sum(read_header(path).spacing_mm is not None for path in paths)
    assert (len(paths), with_spacing) == (81, 23)  # 58 were rewrapped from PNG and lost it
    for number, path in enumerate(paths):
        radiograph = read_radiograph(path)
        assert radiograph.pixels.dtype == np.uint8
        assert radiograph.pixels.shape == (1024, 1024)
        assert radiograph.id == path.stem
        if number % 8 == 0:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                data = pydicom.dcmread(path)
                data.pixel_array_options(decoding_plugin="pillow")
                expected = data.pixel_array
            # Pillow's own libjpeg may round an inverse transform differently by one grey level.
            assert np.abs(radiograph.pixels.astype(int) - expected).max() <= 1


@needs_data
@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("chest-dx-uncompressed", (1024, 1024), np.uint8),
        ("chest-mono1-10bit", (440, 440), np.uint16),
        ("chest-mono1-jpeg2000-lossy", (1955, 1841), np.uint16),
        ("chest-mono1-jpegls-near-lossless", (1955, 1841), np.uint16),
    ],
)
def test_radiographs_in_other_encodings_have_dark_lungs(name, shape, kind):
    pixels = read_radiograph(SHARED / "other-dicom" / f"{name}.dcm").pixels
    assert pixels.shape == shape
    assert pixels.dtype == kind
    rows, columns = shape
    lungs = pixels[int(0.35 * rows) : int(0.5 * rows), int(0.2 * columns) : int(0.32 * columns)]
    spine = pixels[int(0.6 * rows) : int(0.75 * rows), int(0.45 * columns) : int(0.52 * columns)]
    assert np.median(lungs) < 0.8 * np.median(spine)


@needs_data
def test_the_two_encodings_of_one_radiograph_agree():
    folder = SHARED / "other-dicom"
    one = read_radiograph(folder / "chest-mono1-jpeg2000-lossy.dcm").pixels.astype(int)
    other = read_radiograph(folder / "chest-mono1-jpegls-near-lossless.dcm").pixels.astype(int)
    assert np.abs(one - other).mean() < 0.005 * 65535


@needs_data
def test_a_monochrome1_label_is_followed_exactly():
    path = SHARED / "other-dicom" / "siim-mono1.dcm"
    assert read_header(path).photometric_interpretation == "MONOCHROME1"
    file = walked(path)
    stored, *_ = dicom._stored_values(file.data, dicom._header(path, file))
    np.testing.assert_array_equal(read_radiograph(path).pixels, 255 - stored)
