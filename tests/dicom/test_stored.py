import struct

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pleura.dicom.radiograph import parse_radiograph, read_radiograph
from pleura.dicom.stored import order_contradicts, samples_contradict, sign_contradicts, within_bits
from pleura.errors import DicomError, MislabelledError
from tests.dicom_files import make_dicom

RLE = "1.2.840.10008.1.2.5"
SMOOTH = (np.hypot(*np.mgrid[-30:30, -40:40]) * 70).astype(np.uint16)  # up to 3,500
NOISE = np.random.default_rng(0)
PLAIN = [
    SMOOTH,
    SMOOTH << 4,
    SMOOTH >> 4,
    SMOOTH >> 4 << 8,  # 8 bits in the upper byte
    (SMOOTH.astype(np.int32) - 2048).astype(np.int16),
    NOISE.integers(0, 1 << 16, SMOOTH.shape).astype(np.uint16),
    NOISE.integers(0, 1 << 12, SMOOTH.shape).astype(np.uint16),
    NOISE.integers(-3, 4, SMOOTH.shape).astype(np.int16),
    np.zeros_like(SMOOTH),
    np.indices(SMOOTH.shape)[1].astype(np.uint16) % 2 * 4095,
    SMOOTH[:2, :2],
]


@given(st.integers(9, 15), st.booleans(), st.booleans(), st.data())
def test_what_fits_its_bits_is_left_alone(bits, signed, lossy, data):
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    values = data.draw(hnp.arrays(np.int32, (3, 4), elements=st.integers(low, high)))
    stored = values.astype(np.int16 if signed else np.uint16)
    fitting, note = within_bits(stored, bits, signed, lossy)
    assert fitting is stored
    assert note is None


@pytest.mark.parametrize(
    "above",
    [
        0xF000,
        0x8000,
        0x1000,
        NOISE.integers(0, 16, SMOOTH.shape).astype(np.uint16) << 12,
        NOISE.integers(0, 2, SMOOTH.shape).astype(np.uint16) << 15,
        (np.indices(SMOOTH.shape)[1] % 2).astype(np.uint16) << 13,
        (np.indices(SMOOTH.shape)[0] // 7).astype(np.uint16) << 12,
        (SMOOTH > 2000).astype(np.uint16) << 12,
        (NOISE.random(SMOOTH.shape) < 0.01).astype(np.uint16) << 14,
        np.eye(*SMOOTH.shape, dtype=np.uint16) << 12,
    ],
)
def test_unused_high_bits_are_left_out_with_a_note(above):
    fitting, note = within_bits(SMOOTH | above, 12, False, False)
    np.testing.assert_array_equal(fitting, SMOOTH)
    assert note.kind == "bytes-ignored"
    assert "more than 12 Bits Stored can; the bits above are left out" in note.text


@pytest.mark.parametrize("factor", [1.2, 2, 3, 5, 10, 18])
@pytest.mark.parametrize("noise", [0, 40])
def test_values_that_go_on_above_are_left_to_be_refused(factor, noise):
    stored = (SMOOTH * factor + NOISE.integers(0, noise + 1, SMOOTH.shape)).astype(np.uint16)
    if stored.max() <= 4095:
        stored += 1000
    fitting, note = within_bits(stored, 12, False, False)
    assert fitting is stored
    assert note is None


@pytest.mark.parametrize("signed", [False, True])
def test_signed_values_that_are_extended_wrongly_are_left_out_too(signed):
    stored = (SMOOTH | (NOISE.integers(0, 8, SMOOTH.shape).astype(np.uint16) << 12)).view(np.int16)
    fitting, note = within_bits(stored, 12, signed, False)
    np.testing.assert_array_equal(fitting, SMOOTH)
    assert note is not None


@pytest.mark.parametrize("over", [1, 5, 100, 255])
def test_what_overshoots_in_a_lossy_frame_is_cut_off(over):
    stored = np.minimum(SMOOTH // 4, 1023)
    stored[3, :20] = 1023 + over
    fitting, note = within_bits(stored, 10, False, True)
    np.testing.assert_array_equal(fitting, np.minimum(stored, 1023))
    assert note.text.startswith(f"20 pixels hold up to {1023 + over:,}, more than 10 Bits Stored")


@pytest.mark.parametrize("spoiled", ["too many", "too high"])
def test_more_than_an_overshoot_is_left_to_be_refused(spoiled):
    stored = np.minimum(SMOOTH // 4, 1023)
    stored[slice(None) if spoiled == "too many" else 3, :20] = (
        1030 if spoiled == "too many" else 1400
    )
    fitting, note = within_bits(stored, 10, False, True)
    assert fitting is stored
    assert note is None


def test_a_file_with_high_bits_is_read_as_without(tmp_path):
    path = tmp_path / "x.dcm"
    window = {"BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
    path.write_bytes(make_dicom(SMOOTH, **window))
    expected = read_radiograph(path).pixels
    path.write_bytes(make_dicom(SMOOTH | np.uint16(0x3000), **window))
    radiograph = read_radiograph(path)
    np.testing.assert_array_equal(radiograph.pixels, expected)
    assert [note.kind for note in radiograph.header.notes] == ["bytes-ignored"]


SIGNED = (SMOOTH.astype(np.int32) - 2048).astype(np.int16)


@pytest.mark.parametrize(
    ("pixels", "attributes", "said"),
    [
        (SMOOTH, {"BitsStored": 12, "PixelRepresentation": 1}, "1 (signed)"),
        (SMOOTH * 16, {"PixelRepresentation": 1}, "1 (signed)"),
        (SIGNED, {"PixelRepresentation": 0}, "0 (unsigned)"),
        (SIGNED.view(np.uint16) & 4095, {"BitsStored": 12}, "0 (unsigned)"),
        ((SMOOTH // 14).astype(np.uint8), {"PixelRepresentation": 1}, "1 (signed)"),
    ],
)
def test_a_wrong_sign_is_told_by_the_picture_it_tears(tmp_path, pixels, attributes, said):
    path = tmp_path / "x.dcm"
    path.write_bytes(make_dicom(pixels, **attributes))
    with pytest.raises(MislabelledError) as refused:
        read_radiograph(path)
    assert f"(0028,0103) Pixel Representation is {said}, but so neighbouring" in str(refused.value)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [12, 16])
def test_right_signs_steep_edges_and_noise_are_no_wrong_sign(bits, signed):
    smooth = SMOOTH << (bits - 12)
    marked = smooth // 4
    marked[5:25, 5:40] = (1 << bits) - 1 - NOISE.integers(0, 64, (20, 35)).astype(np.uint16)
    noise = NOISE.integers(0, 1 << bits, SMOOTH.shape).astype(np.uint16)
    two = np.where(smooth > smooth.mean(), (1 << bits) - 1, 0).astype(np.uint16)
    half = 1 << (bits - 1)
    for codes in (smooth, marked, noise, two):
        stored = (codes ^ half if signed else codes).astype(np.uint16)
        assert not sign_contradicts(stored, bits, signed)


def test_a_signed_jpeg_2000_frame_under_an_unsigned_header_is_told(tmp_path):
    frame = imagecodecs.jpeg2k_encode(SIGNED, codecformat="j2k", reversible=True, level=0)
    path = tmp_path / "x.dcm"
    path.write_bytes(
        make_dicom(SMOOTH, transfer_syntax="1.2.840.10008.1.2.4.90", frame=frame, BitsStored=12)
    )
    with pytest.raises(MislabelledError, match=r"0 \(unsigned\), but the compressed frame is sign"):
        read_radiograph(path)


@pytest.mark.parametrize(
    ("pixels", "word", "limit"),
    [
        (SMOOTH, 0xF830, None),
        (SMOOTH, 0xFFFF, None),
        (SIGNED, 0x8000, None),
        (SMOOTH, 0xFFF0, 0xFFFF),
    ],
)
def test_padding_beyond_the_bits_is_padding(tmp_path, pixels, word, limit):
    padded = pixels.copy().view(np.uint16)
    padded[:9] = word
    path = tmp_path / "x.dcm"

    def read(found, **padding):
        path.write_bytes(
            make_dicom(
                found.view(pixels.dtype),
                BitsStored=12,
                **{key: ("US", struct.pack("<H", value)) for key, value in padding.items()},
            )
        )
        return read_radiograph(path)

    limits = {} if limit is None else {"PixelPaddingRangeLimit": limit}
    radiograph = read(padded, PixelPaddingValue=word, **limits)
    within = pixels.copy().view(np.uint16)
    free = within[:9] = 4000 if pixels is SMOOTH else 2000  # a value that no pixel has
    expected = read(within, PixelPaddingValue=free)
    np.testing.assert_array_equal(radiograph.pixels, expected.pixels)
    assert not radiograph.pixels[:9].any()
    (note,) = radiograph.header.notes
    assert f"720 pixels hold (0028,0120) Pixel Padding Value {word:,}, more than 12" in note.text


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [12, 16])
def test_bytes_that_stand_the_other_way_round_are_told(tmp_path, bits, signed):
    noisy = SMOOTH * (1 << (bits - 12)) + NOISE.integers(0, 40, SMOOTH.shape).astype(np.uint16)
    pixels = noisy.astype(np.int32) - (1 << (bits - 1)) * signed
    pixels = pixels.astype(np.int16 if signed else np.uint16)
    path = tmp_path / "x.dcm"
    path.write_bytes(make_dicom(pixels, BitsStored=bits))
    assert read_radiograph(path).pixels.shape == SMOOTH.shape
    path.write_bytes(make_dicom(pixels.byteswap(), BitsStored=bits))
    with pytest.raises(MislabelledError, match=r"two bytes of each pixel stand the other way"):
        read_radiograph(path)


@pytest.mark.parametrize("stored", PLAIN)
def test_pictures_and_noise_have_their_bytes_in_order(stored):
    assert not order_contradicts(stored)


EIGHT = (SMOOTH >> 4).astype(np.uint8)
NOISY = SMOOTH + NOISE.integers(0, 40, SMOOTH.shape).astype(np.uint16)


@pytest.mark.parametrize(
    "pixels",
    [
        NOISY.view(np.uint8),  # two bytes read as two pixels
        EIGHT.view(np.uint16),  # and the other way round
        EIGHT.reshape(30, 160).view(np.uint16),
        np.repeat(EIGHT, 3, axis=1),  # grey colours
        np.dstack([EIGHT, np.full_like(EIGHT, 255)]).reshape(60, -1),  # grey and opacity
        np.dstack([EIGHT, EIGHT // 2, EIGHT // 3, EIGHT * 0 + 255]).reshape(60, -1),
    ],
)
def test_several_samples_read_as_pixels_are_told(tmp_path, pixels):
    path = tmp_path / "x.dcm"
    path.write_bytes(make_dicom(pixels))
    with pytest.raises(MislabelledError, match="the pixels make a picture only with other values"):
        read_radiograph(path)


SMALL = (EIGHT.astype(np.int16) - 128).clip(-30, 30)  # low bytes resemble those of the sign


@pytest.mark.parametrize(
    "stored", [*PLAIN, EIGHT, EIGHT * np.uint16(257), EIGHT // 32, EIGHT * 0, SMALL, -SMALL]
)
def test_pictures_and_noise_have_one_sample_a_pixel(stored):
    assert not samples_contradict(stored)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_a_picture_that_is_said_to_have_a_few_bits_is_refused(bits):
    pixels = np.add.outer(np.arange(96), np.arange(96)).astype(np.uint8)
    with pytest.raises(DicomError, match=f"Bits Stored is {bits} but a pixel holds 190"):
        parse_radiograph(make_dicom(pixels, BitsStored=bits))
