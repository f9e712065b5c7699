import re
import struct

import cv2
import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydicom.pixels import get_encoder
from pydicom.uid import RLELossless

from pleura.dicom import codecs, codestream, rle_frame
from pleura.dicom.codestream import parse_codestream
from pleura.errors import DamagedError, DicomError, TruncatedError

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
    J2K_LOSSY: lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True),
    **dict.fromkeys(HTJ2K, lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True)),
    RLE: rle,
}


def decode(frame, uid, shape=(64, 48), bits=8):
    """The pixels of a frame that is as it should be."""
    decoded = codecs.decode_frame(frame, uid, *shape, bits)
    assert (decoded.notes, decoded.transfer_syntax_uid) == ((), uid)
    return decoded.pixels


images = st.sampled_from([np.uint8, np.uint16]).flatmap(
    lambda dtype: hnp.arrays(dtype, st.tuples(st.integers(1, 40), st.integers(1, 40)))
)


@pytest.mark.parametrize("uid", EXACT)
@settings(max_examples=25, deadline=None)
@given(pixels=images)
def test_what_was_encoded_without_loss_comes_back(uid, pixels):
    decoded = decode(bytes(EXACT[uid](pixels)), uid, pixels.shape, 8 * pixels.dtype.itemsize)
    assert decoded.dtype == pixels.dtype
    assert decoded.flags.c_contiguous
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_lossless_jpeg_of_any_precision(bits):
    pixels = np.random.default_rng(1).integers(0, 1 << bits, (33, 21)).astype(np.uint16)
    frame = imagecodecs.ljpeg_encode(pixels, bitspersample=bits)
    assert parse_codestream(frame).bits == bits
    np.testing.assert_array_equal(decode(frame, LOSSLESS, (33, 21), 16), pixels)


def test_twelve_bit_extended_jpeg():
    pixels = np.add.outer(np.arange(64), np.arange(48) * 30).astype(np.uint16)
    frame = imagecodecs.jpeg8_encode(pixels, level=98, bitspersample=12)
    decoded = decode(frame, EXTENDED, (64, 48), 16)
    assert decoded.dtype == np.uint16
    assert np.abs(decoded.astype(int) - pixels).max() < 12


def test_signed_jpeg_2000_keeps_its_sign():
    pixels = np.arange(-100, 100, dtype=np.int16).reshape(10, 20)
    frame = bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True))
    assert parse_codestream(frame).signed
    np.testing.assert_array_equal(decode(frame, J2K, (10, 20), 16), pixels)


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
    assert decode(frame, BASELINE)[40:].tolist() == [[128] * 48] * 24


@pytest.mark.parametrize("uid", [u for u in (BASELINE, *EXACT) if u != RLE])
@pytest.mark.parametrize("behind", [b"\0", b" ", b"\xff", b"\xd9", b"\x5a"])
def test_a_pad_byte_may_hold_anything(uid, behind):
    frame = JPEG if uid == BASELINE else bytes(EXACT[uid](PIXELS))
    decoded = decode(frame + behind, uid)
    np.testing.assert_array_equal(decoded, decode(frame, uid))


@pytest.mark.parametrize("uid", [u for u in (BASELINE, *EXACT) if u != RLE])
@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (b"", b"  "),
        (b"", b"\0" * 9),
        (b"", b"\xff\xff\xff"),
        (b"", b"\xff\xd9"),
        (b"", b"a comment"),
        (b"\0", b""),
        (b"\xff", b""),
        (b"\xff\xff\xff", b""),
        (b"\0\0\0\0", b"\0"),
        (b"odd", b"odd"),
    ],
)
def test_what_lies_around_a_frame_is_left_out_with_a_note(uid, before, behind):
    frame = JPEG if uid == BASELINE else bytes(EXACT[uid](PIXELS))
    decoded = codecs.decode_frame(before + frame + behind, uid, 64, 48, 8)
    np.testing.assert_array_equal(decoded.pixels, decode(frame, uid))
    assert [note.kind for note in decoded.notes] == ["bytes-ignored"] * (
        bool(before) + (len(behind) > 1)
    )


@pytest.mark.parametrize("uid", [BASELINE, LOSSLESS, LS])
@pytest.mark.parametrize("fill", [b"\xff", b"\xff" * 5])
def test_fill_bytes_before_the_end_marker_are_taken(uid, fill):
    frame = JPEG if uid == BASELINE else bytes(EXACT[uid](PIXELS))
    for pixels in (PIXELS, np.full((64, 48), 128, np.uint8)):  # the second may lack data
        frame = bytes((EXACT | {BASELINE: imagecodecs.jpeg8_encode})[uid](pixels))
        np.testing.assert_array_equal(
            decode(frame[:-2] + fill + frame[-2:], uid), decode(frame, uid)
        )


def test_a_jp2_file_in_place_of_a_codestream_is_read():
    frame = imagecodecs.jpeg2k_encode(PIXELS, codecformat="jp2", reversible=True)
    decoded = codecs.decode_frame(bytes(frame), J2K, 64, 48, 8)
    np.testing.assert_array_equal(decoded.pixels, PIXELS)
    assert "bytes before the compressed frame" in decoded.notes[0].text


@pytest.mark.parametrize("uid", [BASELINE, EXTENDED, *EXACT, "1.2.840.10008.1.2.1"])
@pytest.mark.parametrize("encoded_as", EXACT)
def test_a_frame_of_another_kind_is_read_as_what_it_is(uid, encoded_as):
    decoded = codecs.decode_frame(bytes(EXACT[encoded_as](PIXELS)), uid, 64, 48, 8)
    np.testing.assert_array_equal(decoded.pixels, PIXELS)
    promised, found = codecs.CODECS.get(uid), codecs.CODECS[encoded_as]
    assert codecs.CODECS[decoded.transfer_syntax_uid] == found
    assert [note.kind for note in decoded.notes] == ["wrong-syntax"] * (promised != found)


@pytest.mark.parametrize("uid", [LOSSLESS, LS, J2K, HTJ2K[0]])
def test_a_frame_with_loss_is_not_called_lossless(uid):
    frame = {
        LOSSLESS: JPEG,
        LS: imagecodecs.jpegls_encode(PIXELS, level=3),
        J2K: imagecodecs.jpeg2k_encode(PIXELS, level=40, codecformat="j2k", reversible=False),
        HTJ2K[0]: imagecodecs.htj2k_encode(PIXELS, 0.01, reversible=False),
    }[uid]
    decoded = codecs.decode_frame(bytes(frame), uid, 64, 48, 8)
    assert decoded.lossy
    assert decoded.transfer_syntax_uid in (BASELINE, LS_NEAR, J2K_LOSSY, HTJ2K[2])
    assert "the frame is read as what it is" in decoded.notes[0].text


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


def test_arithmetic_jpeg_is_refused():
    refused(JPEG.replace(b"\xff\xc0", b"\xff\xc9"), BASELINE, "SOF9 .arithmetic.*decompress")


def test_a_jpeg_without_a_frame_header_is_refused():
    refused(b"\xff\xd8\xff\xd9", BASELINE, "has no frame header")


def test_a_jpeg_with_garbage_between_segments_is_refused():
    refused(b"\xff\xd8\xff\xfe\0\4ab\x12\x34\x56", BASELINE, "no marker where one should be")


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
    refused(bytes(frame), J2K, "JPEG 2000 frame is corrupt: its coding style is impossible")


def test_rle_with_the_wrong_number_of_segments_is_refused():
    refused(rle(PIXELS), RLE, r"does not begin with the header of 2 segment\(s\)", bits=16)
    refused(b"ab" * 50, RLE, r"does not begin with the header of 1 segment\(s\)")


def test_rle_of_another_size_is_refused():
    refused(rle(PIXELS), RLE, "3,072 of 3,840 pixels, so 13 of 64 rows", shape=(64, 60))


def test_damaged_rle_is_refused():
    frame = struct.pack("<16L", 1, 5000, *[0] * 14) + bytes(30)
    refused(frame, RLE, "says RLE, but the frame does not begin with the header")
    frame = struct.pack("<16L", 2, 64, 60, *[0] * 13) + bytes(30)
    refused(frame, RLE, "says RLE, but the frame does not begin with the header", bits=16)


def test_an_rle_bomb_is_refused_at_the_size_of_the_image():
    bomb = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\x00" * 100_000
    refused(bomb, RLE, "RLE frame is larger than Rows x Columns 64 x 48: segment 1 of 1 holds 6,1")


def test_a_frame_that_ends_within_its_header_is_refused():
    refused(JPEG[:22], BASELINE, "ends within its header; it is truncated")


def test_fill_bytes_before_a_marker_are_skipped():
    at = JPEG.index(b"\xff\xc0")
    frame = JPEG[:at] + b"\xff\xff" + JPEG[at:]
    assert parse_codestream(frame).rows == 64


def test_a_last_tile_part_of_open_length_is_read():
    frame = bytearray(EXACT[J2K](PIXELS))
    at = frame.index(b"\xff\x90")
    frame[at + 6 : at + 10] = bytes(4)
    np.testing.assert_array_equal(decode(bytes(frame), J2K), PIXELS)


def test_a_jpeg_2000_cut_within_a_tile_part_header_is_refused():
    frame = bytes(EXACT[J2K](PIXELS))
    cut = frame[: frame.index(b"\xff\x90") + 5]
    refused(cut, J2K, "ends within its header; it is truncated")


def test_a_decoder_that_returns_another_shape_is_not_believed(monkeypatch):
    monkeypatch.setattr(imagecodecs, "jpeg8_decode", lambda frame: PIXELS[:, :40])
    refused(JPEG, BASELINE, r"decoded to shape \(64, 40\) in place of \(64, 48\); it is corrupt")


# Frames that look whole


def progressive(pixels):
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()


def restarting(pixels, interval=5):
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_RST_INTERVAL, interval])[1].tobytes()


RADIOGRAPH = cv2.GaussianBlur(
    np.random.default_rng(3).integers(0, 255, (90, 70)).astype(np.uint8), (5, 5), 0
)
"""Smooth, with a part of it at the end of the grey scale, and no multiple of a block."""
RADIOGRAPH[60:, :30] = 0
RADIOGRAPH[70:, 40:] = 255


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55", EXTENDED])
def test_progressive_jpeg_is_read(uid):
    frame = progressive(RADIOGRAPH)
    np.testing.assert_array_equal(
        decode(frame, uid, RADIOGRAPH.shape), imagecodecs.jpeg8_decode(frame)
    )


@pytest.mark.parametrize("scans", [1, 2, 3, 5])
def test_progressive_jpeg_without_its_last_scans_is_refused(scans):
    frame = progressive(RADIOGRAPH)
    cut = [at for at in range(len(frame)) if frame.startswith(b"\xff\xda", at)][-scans]
    tables = frame.rindex(b"\xff\xc4", 0, cut)  # of the scan that is cut off
    match = r"progressive JPEG frame is truncated: its scans leave \d+ of 64 coefficients"
    refused(frame[:tables] + b"\xff\xd9", BASELINE, match, RADIOGRAPH.shape)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9, 0.98])
def test_a_progressive_scan_that_ends_early_is_refused(share):
    cut = int(share * len(frame := progressive(RADIOGRAPH)))
    refused(
        frame[:cut].rstrip(b"\xff") + b"\xff\xd9", BASELINE, "truncated|corrupt", RADIOGRAPH.shape
    )


def test_scans_without_end_are_refused():
    frame = progressive(RADIOGRAPH)
    first = frame.index(b"\xff\xda")
    second = frame.index(b"\xff\xc4", first)
    scan = frame[first:second]
    refused(
        frame[:second] + scan * 100 + frame[second:],
        BASELINE,
        "more than 64 scans",
        RADIOGRAPH.shape,
    )


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 12])
def test_lossless_jpeg_without_its_last_pixels_is_refused(predictor, bits):
    pixels = RADIOGRAPH if bits == 8 else RADIOGRAPH.astype(np.uint16) * 16 + 3
    frame = imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=bits, predictor=predictor)
    np.testing.assert_array_equal(decode(frame, LOSSLESS, RADIOGRAPH.shape, 2 * bits), pixels)
    for missing in (3, 10, 40, 100, 300, 1000):
        cut = frame[: -2 - missing].rstrip(b"\xff") + b"\xff\xd9"
        message = r"JPEG Lossless frame's image data is truncated: \d+ of 90 rows are missing"
        refused(cut, LOSSLESS, message, RADIOGRAPH.shape, bits)


DEEP = RADIOGRAPH.astype(np.uint16) * 16 + 3
FLAT = np.where(np.indices(RADIOGRAPH.shape)[0] < 3, RADIOGRAPH, 0).astype(np.uint8)
CODED = {
    "baseline": lambda pixels: imagecodecs.jpeg8_encode(pixels, level=85),
    "tables of its own": lambda pixels: imagecodecs.jpeg8_encode(pixels, level=99, optimize=True),
    "12 bits": lambda pixels: imagecodecs.jpeg8_encode(
        pixels.astype(np.uint16) * 16, level=85, bitspersample=12
    ),
    "progressive": progressive,
    "lossless": lambda pixels: imagecodecs.jpeg8_encode(pixels, lossless=True),
    "lossless 12 bits": lambda pixels: imagecodecs.jpeg8_encode(
        pixels.astype(np.uint16) * 16, lossless=True, bitspersample=12, predictor=4
    ),
}
"""By name, how a frame is coded without restart markers."""


def uid_of(name):
    if name == "progressive":
        return "1.2.840.10008.1.2.4.55"
    return LOSSLESS if "lossless" in name else EXTENDED if "12" in name else BASELINE


def scans_of(frame):
    return parse_codestream(frame).scans


FRAMES = {name: encode(RADIOGRAPH) for name, encode in CODED.items()}


@settings(max_examples=100)
@given(
    name=st.sampled_from(sorted(FRAMES)),
    damage=st.dictionaries(st.integers(0, 700), st.binary(min_size=1, max_size=1), max_size=2),
)
def test_the_short_way_through_a_frame_says_what_the_long_one_does(name, damage):
    frame = bytearray(FRAMES[name])
    for place, byte in damage.items():
        frame[place : place + 1] = byte
    short = codestream._plain_jpeg(bytes(frame))
    assert short is None or short == codestream._Jpeg(bytes(frame), 0).parsed()
    assert damage or (short is None) == (name == "progressive" or "lossless" in name)


@pytest.mark.parametrize("name", CODED)
def test_coded_data_that_is_left_over_is_damage(name):
    """Where a decoder lost its place, and found one again, it comes out elsewhere at the end."""
    frame = CODED[name](RADIOGRAPH)
    scan = scans_of(frame)[0]
    for share in (0.5, 0.8):
        begin = scan.start + int(share * (scan.end - scan.start))
        more = frame[: scan.end].rstrip(b"\xff") + frame[begin : scan.end] + frame[scan.end :]
        bits = 16 if "12" in name else 8
        refused(more, uid_of(name), "left over behind its last pixel", RADIOGRAPH.shape, bits)


@pytest.mark.parametrize("name", CODED)
@pytest.mark.parametrize("pixels", [RADIOGRAPH, FLAT, FLAT * 0 + 128, FLAT[:1, :1]])
def test_a_whole_frame_is_read_whatever_fills_its_last_byte(name, pixels):
    frame = CODED[name](pixels)
    bits = 16 if "12" in name else 8
    whole = imagecodecs.jpeg8_decode(frame)
    end = scans_of(frame)[-1].end
    for bit in range(7):  # ones belong there
        filled = bytearray(frame)
        filled[end - 1] &= 255 << (bit + 1) & 255
        if filled[end - 1 : end] != frame[end - 1 : end]:
            if not np.array_equal(imagecodecs.jpeg8_decode(bytes(filled)), whole):
                break  # a bit of a code
            np.testing.assert_array_equal(
                decode(bytes(filled), uid_of(name), pixels.shape, bits), whole
            )
    for filled in (frame, frame[:end] + b"\0" + frame[end:]):
        np.testing.assert_array_equal(decode(filled, uid_of(name), pixels.shape, bits), whole)


@pytest.mark.parametrize("name", ["baseline", "tables of its own", "12 bits"])
@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_gap_within_the_last_block_is_seen(name, missing):
    pixels = RADIOGRAPH[:88, :64].copy()
    pixels[80:, 56:] = np.random.default_rng(1).integers(0, 256, (8, 8))
    frame = CODED[name](pixels)
    cut = frame[: -2 - missing].rstrip(b"\xff") + b"\xff\xd9"
    whole, other = imagecodecs.jpeg8_decode(frame), imagecodecs.jpeg8_decode(cut)
    assert np.array_equal(whole[:80], other[:80])
    bits = 16 if "12" in name else 8
    refused(cut, uid_of(name), r"truncated: \d+ of 88 rows are missing", pixels.shape, bits)


def test_how_many_rows_are_missing_is_said():
    frame = imagecodecs.jpeg8_encode(PIXELS.repeat(8, 0).repeat(8, 1), level=90)
    start = frame.index(b"\xff\xda")
    cut = frame[: start + 5 * (len(frame) - start) // 8] + b"\xff\xd9"
    with pytest.raises(TruncatedError) as caught:
        decode(cut, BASELINE, (512, 384))
    missing = int(re.search(r"(\d+) of 512 rows are missing", str(caught.value))[1])
    assert abs(missing - 3 / 8 * 512) < 40
    assert imagecodecs.jpeg8_decode(cut)[512 - missing + 8 :].std() == 0


def parts_of(frame):
    """The pieces of a JPEG between its restart markers, each with the marker that ends it."""
    ends = [found.end() for found in re.finditer(rb"\xff[\xd0-\xd7]", frame)]
    return [frame[a:b] for a, b in zip([0, *ends], [*ends, len(frame)], strict=True)]


def test_a_frame_with_restart_markers_is_read():
    for pixels in (RADIOGRAPH, np.full_like(RADIOGRAPH, 128)):
        frame = restarting(pixels)
        assert len(parts_of(frame)) == 22  # 12 x 9 blocks by fives
        np.testing.assert_array_equal(
            decode(frame, BASELINE, RADIOGRAPH.shape), imagecodecs.jpeg8_decode(frame)
        )


@pytest.mark.parametrize("part", [1, 4, 10, 20])
def test_a_part_between_restart_markers_must_be_there(part):
    pieces = parts_of(restarting(RADIOGRAPH))
    without = b"".join(pieces[:part] + pieces[part + 1 :])
    refused(
        without, BASELINE, "1 of 22 parts between restart markers are missing", RADIOGRAPH.shape
    )
    pieces[part] = pieces[part][-2:]  # its marker alone
    message = r"image data is truncated: \d+ of 90 rows or more are missing or incomplete"
    refused(b"".join(pieces), BASELINE, message, RADIOGRAPH.shape)


@pytest.mark.parametrize("interval", [0, 5])
def test_a_restart_marker_where_none_belongs_is_damage(interval):
    """libjpeg takes the next part for the one that the marker names, and shifts the picture."""
    frame = restarting(RADIOGRAPH, interval) if interval else imagecodecs.jpeg8_encode(RADIOGRAPH)
    scan = frame.index(b"\xff\xda") + 40
    message = "its image data holds a restart marker where none belongs"
    refused(frame[:scan] + b"\xff\xd3" + frame[scan:], BASELINE, message, RADIOGRAPH.shape)
    if interval:
        pieces = parts_of(frame)
        pieces[3], pieces[4] = pieces[4], pieces[3]
        refused(b"".join(pieces), BASELINE, message, RADIOGRAPH.shape)


@pytest.mark.parametrize("count", [7, 8, 13])
def test_a_restart_marker_just_before_the_end_divides_nothing(count):
    pixels = RADIOGRAPH[: 8 * count, :40]
    frame = restarting(pixels, 5)
    shape = pixels.shape
    closed = frame[:-2] + bytes([0xFF, 0xD0 + (len(parts_of(frame)) - 1) % 8]) + frame[-2:]
    np.testing.assert_array_equal(decode(closed, BASELINE, shape), imagecodecs.jpeg8_decode(frame))


@pytest.mark.parametrize("pad", [b"", b"\0"])
def test_a_second_frame_behind_the_first_is_not_left_out(pad):
    frame = imagecodecs.jpeg8_encode(RADIOGRAPH)
    message = r"another compressed frame lies behind the JPEG frame, but \(0028,0008\) Number of"
    refused(frame + pad + frame, BASELINE, message, RADIOGRAPH.shape)


def test_frames_of_12_bits_are_whole_too():
    pixels = RADIOGRAPH.astype(np.uint16) * 16
    frame = imagecodecs.jpeg8_encode(pixels, level=95, bitspersample=12)
    assert np.abs(decode(frame, EXTENDED, RADIOGRAPH.shape, 16).astype(int) - pixels).max() < 60
    for share in (0.5, 0.8, 0.95):
        cut = frame[: int(share * len(frame))].rstrip(b"\xff") + b"\xff\xd9"
        refused(cut, EXTENDED, r"image data is truncated: \d+ of 90 rows", RADIOGRAPH.shape, 16)


def tiled(pixels):
    return bytes(imagecodecs.htj2k_encode(pixels, reversible=True, tile=(32, 32)))


def tile_parts(frame):
    """Header, tile parts and end of a JPEG 2000 codestream."""
    pieces, at = [frame[: frame.index(b"\xff\x90")]], frame.index(b"\xff\x90")
    while frame.startswith(b"\xff\x90", at):
        length = struct.unpack_from(">L", frame, at + 6)[0]
        pieces.append(frame[at : at + length])
        at += length
    return [*pieces, frame[at:]]


@pytest.mark.parametrize("missing", [[1], [2], [3], [4], [1, 2], [2, 4], [1, 2, 3], [2, 3, 4]])
def test_a_jpeg_2000_that_lacks_tiles_is_refused(missing):
    frame = tiled(PIXELS)
    np.testing.assert_array_equal(decode(frame, HTJ2K[0]), PIXELS)
    pieces = tile_parts(frame)
    assert len(pieces) == 6  # header, 2 x 2 tiles, end
    lacking = b"".join(piece for number, piece in enumerate(pieces) if number not in missing)
    message = f"not whole: {len(missing)} of 4 tiles are missing"
    refused(lacking, HTJ2K[0], message)
    with pytest.raises(DamagedError):
        decode(lacking, HTJ2K[0])


def test_a_tile_that_says_it_has_more_parts_is_refused():
    pieces = tile_parts(tiled(PIXELS))
    pieces[2] = pieces[2][:11] + b"\x02" + pieces[2][12:]
    refused(b"".join(pieces), HTJ2K[0], "1 of 4 tiles are not whole")
    pieces = tile_parts(tiled(PIXELS))
    pieces.insert(1, pieces[1][:4] + b"\0\x09" + pieces[1][6:])
    refused(b"".join(pieces), HTJ2K[0], "a tile is too many")


@pytest.mark.parametrize("uid", [J2K, HTJ2K[0]])
def test_a_tile_without_its_last_packets_is_refused(uid):
    """OpenJPEG takes a tile that ends between two packets for whole."""
    frame = bytes(EXACT[uid](RADIOGRAPH))
    pieces, taken = tile_parts(frame), 0
    for cut in range(len(pieces[1]) - 14):
        tile = pieces[1][: len(pieces[1]) - cut]
        tile = tile[:6] + struct.pack(">L", len(tile)) + tile[10:]
        shorter = pieces[0] + tile + pieces[2]
        try:
            seen = imagecodecs.jpeg2k_decode(shorter, numthreads=1)
        except RuntimeError:
            if cut % 100 == 99:
                refused(shorter, uid, "frame is corrupt or truncated .opj_decode", RADIOGRAPH.shape)
            continue
        taken += cut > 4
        if cut:
            refused(
                shorter, uid, "a tile ends before its last packet, so details", RADIOGRAPH.shape
            )
        else:
            np.testing.assert_array_equal(seen, RADIOGRAPH)
    assert taken > 2


def test_a_jpeg_2000_without_its_end_marker_alone_is_read():
    frame = bytes(EXACT[J2K](PIXELS))
    decoded = codecs.decode_frame(frame[:-2], J2K, 64, 48, 8)
    np.testing.assert_array_equal(decoded.pixels, PIXELS)
    assert decoded.notes[0].text.startswith("the compressed frame has no end marker, but")


def test_blocks_too_many_to_list_are_refused():
    frame = bytearray(EXACT[J2K](PIXELS))
    at = frame.index(b"\xff\x51") + 6
    struct.pack_into(">LL", frame, at, 16000, 6000)
    struct.pack_into(">LL", frame, at + 16, 16, 16)
    refused(bytes(frame), J2K, "is cut into .* blocks; refused, as no radiograph has more than")


@pytest.mark.parametrize(
    "behind", [b"\0\0", b"\x80\x80", b"\x80\0", bytes(6), b"\x05abcdef", b"\xf0\x07", b"\0a\0b"]
)
def test_what_lies_behind_the_pixels_of_an_rle_frame_is_left_out(behind):
    decoded = codecs.decode_frame(rle(PIXELS) + behind, RLE, 64, 48, 8)
    np.testing.assert_array_equal(decoded.pixels, PIXELS)
    deep = PIXELS.astype(np.uint16) * 200
    decoded = codecs.decode_frame(rle(deep) + behind, RLE, 64, 48, 16)
    np.testing.assert_array_equal(decoded.pixels, deep)


@pytest.mark.parametrize("row", [2, 40, 80])
def test_an_rle_run_of_a_wrong_length_shifts_what_follows(row):
    """One more pixel in the middle looks like one too many at the end."""
    frame = rle(RADIOGRAPH)
    segment, ends = frame[64:], rle_frame._unpacked(frame[64:] + b"\xff\0", RADIOGRAPH.size)[2]
    assert set(range(70, RADIOGRAPH.size + 1, 70)) < set(ends)
    at = position = 0
    while at < 70 * row or segment[position] > 100:  # the head of a run of few bytes as they are
        head = segment[position]
        at += head + 1 if head < 128 else 257 - head
        position += head + 2 if head < 128 else 2
    more = segment[:position] + bytes([segment[position] + 1]) + segment[position + 1 :]
    longer = more[: position + 1] + b"\7" + more[position + 1 :]
    refused(frame[:64] + longer, RLE, "some rows end within a run", RADIOGRAPH.shape)


def test_more_rows_or_columns_in_an_rle_frame_are_no_padding():
    refused(rle(PIXELS), RLE, "larger than Rows x Columns 64 x 40", shape=(64, 40))
    refused(rle(PIXELS), RLE, "larger than Rows x Columns 50 x 48", shape=(50, 48))


@pytest.mark.parametrize("cut", [2, 7, 50, 200])
@pytest.mark.parametrize("segment", [1, 2])
def test_an_rle_segment_without_its_last_rows_is_refused(cut, segment):
    deep = np.random.default_rng(0).integers(0, 4096, (64, 48)).astype(np.uint16)
    frame = rle(deep)
    second = struct.unpack_from("<L", frame, 8)[0]
    segments = [frame[64:second], frame[second:]]
    segments[segment - 1] = segments[segment - 1][:-cut]
    head = struct.pack("<16L", 2, 64, 64 + len(segments[0]), *[0] * 13)
    message = rf"RLE frame is truncated: segment {segment} of 2 holds .* \d+ of 64 rows are missing"
    refused(head + b"".join(segments), RLE, message, bits=16)
