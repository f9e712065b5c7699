"""Frames in several fragments, as odd as writers make them."""

import struct
from itertools import pairwise

import imagecodecs
import numpy as np
import pytest

from pleura.dicom import joining
from pleura.dicom.joining import decode_fragments
from pleura.dicom.radiograph import read_radiograph
from pleura.errors import DamagedError
from tests.dicom_files import make_dicom

_DOWN, _ACROSS = np.mgrid[0:120, 0:101]
PIXELS = (
    (120 + 60 * np.sin(_ACROSS / 9) + 40 * np.cos(_DOWN / 13))
    + np.random.default_rng(1).normal(0, 4, _DOWN.shape)
).clip(0, 255)
PIXELS = PIXELS.astype(np.uint8)


def rle(pixels):
    segment = bytes(imagecodecs.packbits_encode(pixels.tobytes()))
    return struct.pack("<16L", 1, 64, *[0] * 14) + segment + b"\0" * (len(segment) % 2)


FRAMES = {
    "JPEG": ("1.2.840.10008.1.2.4.50", imagecodecs.jpeg8_encode(PIXELS, level=90)),
    "lossless": (
        "1.2.840.10008.1.2.4.70",
        imagecodecs.jpeg8_encode(PIXELS, lossless=True, predictor=1),
    ),
    "JPEG-LS": ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode(PIXELS)),
    "JPEG 2000": (
        "1.2.840.10008.1.2.4.90",
        imagecodecs.jpeg2k_encode(PIXELS, codecformat="j2k", reversible=True),
    ),
    "HTJ2K": ("1.2.840.10008.1.2.4.201", imagecodecs.htj2k_encode(PIXELS, reversible=True)),
    "RLE": ("1.2.840.10008.1.2.5", rle(PIXELS)),
}


def parts_of(frame, *cuts):
    places = [0, *cuts, len(frame)]
    return [bytes(frame[a:b]) for a, b in pairwise(places)]


def even(part, pad=b"\0"):
    return part + pad * (len(part) % 2)


def decoded(kind, parts):
    uid, _ = FRAMES[kind]
    return decode_fragments(parts, uid, *PIXELS.shape, 8)


@pytest.mark.parametrize("pad", [b"\0", b"\xff"])
@pytest.mark.parametrize("kind", FRAMES)
def test_pad_bytes_between_fragments_are_left_out(kind, pad):
    frame = FRAMES[kind][1]
    third = len(frame) // 3
    whole = decoded(kind, [even(bytes(frame))])
    assert not whole.notes
    for cuts, pads in (((third | 1, third * 2 | 1), 1), ((third | 1, third * 2 // 2 * 2), 2)):
        found = decoded(kind, [even(part, pad) for part in parts_of(frame, *cuts)])
        np.testing.assert_array_equal(found.pixels, whole.pixels)
        assert found.notes[-1].text.startswith(f"{pads} pad bytes between the fragments of the")


@pytest.mark.parametrize("kind", FRAMES)
def test_what_only_looks_like_a_pad_byte_stays(kind):
    frame = bytes(FRAMES[kind][1])
    cuts = [n for n in range(len(frame) // 4, len(frame) - 9) if frame[n - 1] == 0 and n % 2 == 0]
    whole = decoded(kind, [even(frame)])
    found = decoded(kind, [even(part) for part in parts_of(frame, *cuts[:3])])
    np.testing.assert_array_equal(found.pixels, whole.pixels)
    assert found.notes == whole.notes


def test_one_pad_byte_among_fragments_that_end_alike_is_found():
    frame = bytes(FRAMES["lossless"][1])
    zero = next(n for n in range(2000, len(frame)) if frame[n - 1] == 0 and n % 2 == 0)
    odd = zero + 2001
    parts = [even(part) for part in parts_of(frame, zero, odd)]
    found = decoded("lossless", parts)
    np.testing.assert_array_equal(found.pixels, PIXELS)
    assert found.notes[0].text.startswith("1 pad bytes")


def test_a_reading_that_cannot_be_told_from_the_other_is_refused():
    noise = np.random.default_rng(3).integers(0, 255, (64, 64), np.uint8)
    with pytest.raises(DamagedError, match="may be padding or data, and nothing tells which"):
        joining._is_calmer(noise, noise.T.copy())


def test_a_broken_frame_in_fragments_is_refused_for_what_is_broken():
    frame = bytes(FRAMES["JPEG 2000"][1])
    parts = [frame[:1001] + b"\0", frame[1001:-200]]
    with pytest.raises(Exception, match=r"JPEG 2000 frame (ends before|holds something else)"):
        decoded("JPEG 2000", parts)


def item(content):
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content


END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


@pytest.mark.parametrize(
    ("table", "note"),
    [
        (b"", ""),
        (struct.pack("<2L", 0, 8), ""),
        (b"\0\0", ""),
        (struct.pack("<L", 0x12345678), "an offset table that is none; it is left out"),
        (b"\1\2\3\4\5\6", "an offset table that is none; it is left out"),
        (bytes(range(1, 201)), "an offset table that is none; it is left out"),
        (None, "no offset table before its first fragment"),
    ],
)
@pytest.mark.parametrize("kind", FRAMES)
def test_offset_tables_decide_nothing(tmp_path, kind, table, note):
    uid, frame = FRAMES[kind]
    parts = [even(part) for part in parts_of(frame, len(frame) // 4 * 2)]
    if kind == "RLE":
        parts = [bytes(frame)]
    value = b"" if table is None else item(table)
    value += b"".join(map(item, parts)) + END
    path = tmp_path / "x.dcm"
    path.write_bytes(make_dicom(PIXELS, transfer_syntax=uid, PixelData=("OB", value)))
    whole = decoded(kind, [even(bytes(frame))])
    found = read_radiograph(path)
    np.testing.assert_array_equal(found.pixels, whole.pixels)
    assert "".join(one.text for one in found.header.notes) == (note and f"(7FE0,0010) has {note}")


def test_fragments_of_an_odd_length_are_read_with_a_note(tmp_path):
    uid, frame = FRAMES["JPEG-LS"]
    value = item(b"") + b"".join(map(item, parts_of(even(bytes(frame)), 1001, 2002))) + END
    path = tmp_path / "x.dcm"
    path.write_bytes(make_dicom(PIXELS, transfer_syntax=uid, PixelData=("OB", value)))
    found = read_radiograph(path)
    np.testing.assert_array_equal(found.pixels, PIXELS)
    assert "has a fragment of an odd number of bytes" in "".join(
        note.text for note in found.header.notes
    )
