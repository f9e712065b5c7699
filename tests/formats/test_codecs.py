import struct

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydicom.pixels import get_decoder, get_encoder
from pydicom.uid import RLELossless

from pleura.errors import DicomError
from pleura.formats import codecs
from tests.dicom_files import make_dicom

BASELINE, EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
LOSSLESS, LOSSLESS_SV1 = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
LS, LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
J2K, J2K_LOSSY = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
HTJ2K = [f"1.2.840.10008.1.2.4.20{digit}" for digit in (1, 2, 3)]
RLE = "1.2.840.10008.1.2.5"


def rle(pixels):
    options = {
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "samples_per_pixel": 1,
        "bits_allocated": 8 * pixels.dtype.itemsize,
        "bits_stored": 8 * pixels.dtype.itemsize,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
        "number_of_frames": 1,
    }
    return get_encoder(RLELossless).encode(pixels.tobytes(), **options)


def jpeg_lossless(pixels):
    bits = 8 * pixels.dtype.itemsize
    return imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=bits)


EXACT = {
    LOSSLESS: jpeg_lossless,
    LOSSLESS_SV1: jpeg_lossless,
    LS: imagecodecs.jpegls_encode,
    LS_NEAR: imagecodecs.jpegls_encode,
    J2K: lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True),
    J2K_LOSSY: lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="jp2", reversible=True),
    **dict.fromkeys(HTJ2K, lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True)),
    RLE: rle,
}

images = st.sampled_from([np.uint8, np.uint16]).flatmap(
    lambda dtype: hnp.arrays(dtype, st.tuples(st.integers(1, 40), st.integers(1, 40)))
)


@pytest.mark.parametrize("uid", EXACT)
@settings(max_examples=25, deadline=None)
@given(pixels=images)
def test_what_was_encoded_without_loss_comes_back(uid, pixels):
    decoded = codecs.decode_frame(
        bytes(EXACT[uid](pixels)), uid, *pixels.shape, 8 * pixels.dtype.itemsize
    )
    assert decoded.dtype == pixels.dtype
    assert decoded.flags.c_contiguous
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_lossless_jpeg_of_any_precision(bits):
    pixels = np.random.default_rng(1).integers(0, 1 << bits, (33, 21)).astype(np.uint16)
    frame = imagecodecs.ljpeg_encode(pixels, bitspersample=bits)
    assert codecs.parse_codestream(frame).bits == bits
    np.testing.assert_array_equal(codecs.decode_frame(frame, LOSSLESS, 33, 21, 16), pixels)


def test_twelve_bit_extended_jpeg():
    pixels = np.add.outer(np.arange(64), np.arange(48) * 30).astype(np.uint16)
    frame = imagecodecs.jpeg8_encode(pixels, level=98, bitspersample=12)
    decoded = codecs.decode_frame(frame, EXTENDED, 64, 48, 16)
    assert decoded.dtype == np.uint16
    assert np.abs(decoded.astype(int) - pixels).max() < 12


def test_signed_jpeg_2000_keeps_its_sign():
    pixels = np.arange(-100, 100, dtype=np.int16).reshape(10, 20)
    frame = bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True))
    assert codecs.parse_codestream(frame).signed
    np.testing.assert_array_equal(codecs.decode_frame(frame, J2K, 10, 20, 16), pixels)


def test_every_compressed_syntax_has_the_plugin_once():
    codecs.register()
    codecs.register()
    for uid in codecs.CODECS:
        assert get_decoder(uid).available_plugins.count(codecs.PLUGIN) == 1
        assert codecs.PLUGIN in get_decoder(uid).available_plugins
    assert not codecs.is_available("1.2.840.10008.1.2.1")


@pytest.mark.parametrize("uid", EXACT)
def test_pydicom_can_ask_for_the_plugin_by_name(uid, tmp_path):
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30)
    path = tmp_path / "x.dcm"
    path.write_bytes(make_dicom(pixels, transfer_syntax=uid, frame=bytes(EXACT[uid](pixels))))
    data = pydicom.dcmread(path)
    data.pixel_array_options(decoding_plugin=codecs.PLUGIN)
    np.testing.assert_array_equal(data.pixel_array, pixels)


def test_the_plugin_leaves_colour_to_others():
    class Runner:
        samples_per_pixel = 3

    with pytest.raises(NotImplementedError, match="monochrome frames only"):
        codecs.decode_for_pydicom(b"", Runner())


PIXELS = np.random.default_rng(0).integers(0, 200, (64, 48)).astype(np.uint8)
JPEG = imagecodecs.jpeg8_encode(PIXELS, level=90)


def refused(frame, uid, match, shape=(64, 48), bits=8):
    with pytest.raises(DicomError, match=match):
        codecs.decode_frame(frame, uid, *shape, bits)


@pytest.mark.parametrize("uid", [BASELINE, *EXACT])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_cut_frame_is_refused(uid, share):
    frame = JPEG if uid == BASELINE else bytes(EXACT[uid](PIXELS))
    refused(frame[: int(share * len(frame))], uid, "truncated|corrupt")


@pytest.mark.parametrize("uid", [BASELINE, *EXACT])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_a_cut_frame_with_an_end_marker_is_refused(uid, share):
    frame = JPEG if uid == BASELINE else bytes(EXACT[uid](PIXELS))
    refused(frame[: int(share * len(frame))] + b"\xff\xd9", uid, "truncated|corrupt")


def test_a_whole_frame_that_ends_in_mid_grey_is_read():
    pixels = PIXELS.copy()
    pixels[32:] = 128
    frame = imagecodecs.jpeg8_encode(pixels, level=90)
    assert codecs.decode_frame(frame, BASELINE, 64, 48, 8)[40:].tolist() == [[128] * 48] * 24


@pytest.mark.parametrize("padding", [b"\0", b"\0" * 9, b"\xff"])
def test_padding_after_the_end_marker_is_taken(padding):
    assert codecs.decode_frame(JPEG + padding, BASELINE, 64, 48, 8).shape == (64, 48)


@pytest.mark.parametrize(
    ("uid", "encoded_as", "promised", "found"),
    [
        (BASELINE, J2K, "promises JPEG,", "is JPEG 2000"),
        (BASELINE, LS, "promises JPEG,", "is JPEG-LS"),
        (BASELINE, LOSSLESS, "promises JPEG,", "is JPEG Lossless"),
        (LS, LOSSLESS, "promises JPEG-LS", "is JPEG Lossless"),
        (J2K, HTJ2K[0], "promises JPEG 2000", "is High-Throughput JPEG 2000"),
        (HTJ2K[0], J2K, "promises High-Throughput JPEG 2000", "is JPEG 2000"),
    ],
)
def test_a_frame_of_another_kind_is_refused(uid, encoded_as, promised, found):
    refused(bytes(EXACT[encoded_as](PIXELS)), uid, f"{promised}.*{found}; correct the UID")


def test_a_frame_of_no_kind_is_refused():
    refused(b"MZ" + bytes(500), BASELINE, "does not begin like any JPEG")


def test_a_frame_of_another_size_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(imagecodecs, "jpeg8_decode", lambda frame: pytest.fail("decoded"))
    refused(JPEG, BASELINE, r"is 64 x 50, but the JPEG frame is 64 x 48", shape=(64, 50))


def test_a_header_of_60000_by_60000_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(imagecodecs, "jpeg8_decode", lambda frame: pytest.fail("decoded"))
    start = JPEG.index(b"\xff\xc0") + 5
    huge = JPEG[:start] + struct.pack(">HH", 60000, 60000) + JPEG[start + 4 :]
    refused(huge, BASELINE, "but the JPEG frame is 60000 x 60000")


def test_colour_within_the_frame_is_refused():
    frame = imagecodecs.jpeg8_encode(np.zeros((64, 48, 3), np.uint8))
    refused(frame, BASELINE, "has 3 components, but .* Samples per Pixel is 1")


def test_more_than_16_bits_are_refused():
    frame = bytearray(EXACT[J2K](PIXELS.astype(np.uint16)))
    frame[42] = 23  # Ssiz, the bit depth less one
    refused(bytes(frame), J2K, "24 bits per sample; at most 16", bits=16)


def test_progressive_jpeg_is_refused():
    refused(JPEG.replace(b"\xff\xc0", b"\xff\xc2"), BASELINE, "SOF2 .progressive.*decompress")


def test_a_jpeg_without_a_frame_header_is_refused():
    refused(b"\xff\xd8\xff\xd9", BASELINE, "has no frame header")


def test_a_jpeg_with_garbage_between_segments_is_refused():
    refused(b"\xff\xd8\x12\x34\x56", BASELINE, "no marker where one should be")


def test_a_jpeg_2000_with_an_impossible_grid_is_refused():
    frame = bytearray(EXACT[J2K](PIXELS))
    frame[43] = 2
    refused(bytes(frame), J2K, "sample grid is impossible")


def test_a_jp2_box_without_length_is_refused():
    frame = b"\x00\x00\x00\x0cjP  \r\n\x87\n" + struct.pack(">L4s", 0, b"ftyp") + bytes(20)
    refused(frame, J2K, "JP2 box has no length")


def test_damaged_jpeg_2000_is_refused_with_the_reason():
    frame = bytearray(EXACT[J2K](PIXELS))
    frame[frame.index(b"\xff\x52") + 9] = 0x77  # code-block width
    refused(bytes(frame), J2K, "JPEG 2000 frame is corrupt or truncated")


def test_rle_with_the_wrong_number_of_segments_is_refused():
    refused(rle(PIXELS), RLE, r"RLE with 2 segment\(s\), but the frame states 1", bits=16)
    refused(JPEG[:40], RLE, "but the frame states 0")


def test_rle_of_another_size_is_refused():
    refused(rle(PIXELS), RLE, "64 x 60; the file is truncated or mislabelled", shape=(64, 60))
    refused(rle(PIXELS), RLE, "larger than Rows x Columns 64 x 40", shape=(64, 40))


def test_damaged_rle_is_refused():
    frame = struct.pack("<16L", 1, 5000, *[0] * 14) + bytes(30)
    refused(frame, RLE, "RLE frame")


def test_an_rle_bomb_is_refused_at_the_size_of_the_image():
    bomb = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\x00" * 100_000
    refused(bomb, RLE, "RLE frame .*(corrupt|truncated)")


def test_a_frame_that_ends_within_its_header_is_refused():
    refused(JPEG[:22], BASELINE, "ends within its header; it is truncated")


def test_fill_bytes_before_a_marker_are_skipped():
    at = JPEG.index(b"\xff\xc0")
    frame = JPEG[:at] + b"\xff\xff" + JPEG[at:]
    assert codecs.parse_codestream(frame).rows == 64


def test_a_last_tile_part_of_open_length_is_read():
    frame = bytearray(EXACT[J2K](PIXELS))
    at = frame.index(b"\xff\x90")
    frame[at + 6 : at + 10] = bytes(4)
    np.testing.assert_array_equal(codecs.decode_frame(bytes(frame), J2K, 64, 48, 8), PIXELS)


def test_a_jpeg_2000_cut_within_a_tile_part_header_is_refused():
    frame = bytes(EXACT[J2K](PIXELS))
    cut = frame[: frame.index(b"\xff\x90") + 5]
    refused(cut, J2K, "ends before its last tile part: it is truncated")


def test_a_decoder_that_returns_another_shape_is_not_believed(monkeypatch):
    monkeypatch.setattr(imagecodecs, "jpeg8_decode", lambda frame: PIXELS[:, :40])
    refused(JPEG, BASELINE, r"decoded to shape \(64, 40\); it is corrupt")
