"""Compressed pixel data: one frame decoded, or a reason why it cannot be whole.

One frame of every compressed transfer syntax that radiographs come in is decoded by imagecodecs:
JPEG (8 and 12 bit), lossless JPEG, JPEG-LS, JPEG 2000, High-Throughput JPEG 2000, RLE.

Source: DICOM PS3.5 annex A.4 and annex G (RLE); for the rest see :mod:`pleura.dicom.codestream`.
"""

import struct
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from pleura.dicom.codestream import (
    DCT,
    HTJ2K,
    J2K,
    LOSSLESS,
    LS,
    Buffer,
    Codestream,
    JpegScan,
    begins,
    parse_codestream,
)
from pleura.dicom.notes import Note
from pleura.dicom.rle_frame import decode_rle, segments_of
from pleura.dicom.sop_classes import uid_name
from pleura.errors import DamagedError, DicomError, MislabelledError, TruncatedError

RLE = "RLE"

CODECS = {
    "1.2.840.10008.1.2.4.50": DCT,
    "1.2.840.10008.1.2.4.51": DCT,
    "1.2.840.10008.1.2.4.53": DCT,
    "1.2.840.10008.1.2.4.55": DCT,
    "1.2.840.10008.1.2.4.57": LOSSLESS,
    "1.2.840.10008.1.2.4.70": LOSSLESS,
    "1.2.840.10008.1.2.4.80": LS,
    "1.2.840.10008.1.2.4.81": LS,
    "1.2.840.10008.1.2.4.90": J2K,
    "1.2.840.10008.1.2.4.91": J2K,
    "1.2.840.10008.1.2.4.201": HTJ2K,
    "1.2.840.10008.1.2.4.202": HTJ2K,
    "1.2.840.10008.1.2.4.203": HTJ2K,
    "1.2.840.10008.1.2.5": RLE,
}
"""Transfer syntax UID -> the kind of codestream that its frames should be."""

_LOSSLESS = frozenset({f"1.2.840.10008.1.2.4.{end}" for end in (57, 70, 80, 90, 201, 202)})
# By kind: the transfer syntax of a frame without and with loss.
_SYNTAXES = {
    DCT: ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.50"),
    LOSSLESS: ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.57"),
    LS: ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"),
    J2K: ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),
    HTJ2K: ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.203"),
}
_EXTENDED = "1.2.840.10008.1.2.4.51"
_RLE_UID = "1.2.840.10008.1.2.5"

_END_OF_CODESTREAM = b"\xff\xd9"
# No Huffman code is ones alone: a decoder takes them for no change and the end of a block.
_NO_CODE = b"\xff\0"
_FILLING_BYTES, _LONGEST_CODE = 17, 17
_MID_GREY = b"\x80"
_GREY_LINE = 8 * _MID_GREY
_MOST_ROWS = 2**16 - 200  # of a frame that is told to be higher
_LAST_BYTES, _FEWEST_BYTES = 4, 64
_OTHER_BITS = (0x5A, 0xA5, 0x33)  # a code that does not exist may say what was there
_PROBE = b"\x5a\xc3\x96\x3c\x69\xa5" * 40
# No packet header begins so: it would announce more bits for a length than any decoder takes.
_NO_PACKET = b"\xff\x7f" * 128


class Decoded(NamedTuple):
    """One frame.

    Attributes:
        pixels: Stored values ``(rows, columns)``, uint8 or uint16 (int8 or int16 where a JPEG 2000
            frame is signed), C-contiguous, writable.
        lossy: Whether they may differ from those that were encoded.
        transfer_syntax_uid: How they are compressed.
        notes: What was put up with.
    """

    pixels: NDArray[Any]
    lossy: bool
    transfer_syntax_uid: str
    notes: tuple[Note, ...] = ()


def decode_frame(
    frame: Buffer, transfer_syntax_uid: str, rows: int, columns: int, bits_allocated: int
) -> Decoded:
    """Return one monochrome frame, decoded.

    A frame says itself what it is, so it is decoded as that, whatever the transfer syntax says.

    Args:
        frame: The compressed frame, its fragments joined.
        transfer_syntax_uid: What it should be.
        rows: The height that the data set states.
        columns: The width that the data set states.
        bits_allocated: 8 or 16; RLE frames do not say it themselves.

    Raises:
        MislabelledError: The frame is of no known kind, of another size than the data set says, or
            in colour. Size and kind are checked before anything is decoded.
        TruncatedError: It breaks off.
        DamagedError: It is corrupt, or a part of it is missing.
    """
    if begins(frame) is None and (
        CODECS.get(transfer_syntax_uid) == RLE or segments_of(frame, bits_allocated) is not None
    ):
        kind, decoded = RLE, _of_rle(bytes(frame), rows, columns, bits_allocated)
    else:
        stream = parse_codestream(frame)
        _check_stream(stream, rows, columns)
        kind, decoded = stream.kind, _decode_stream(frame, stream)
    if decoded.pixels.shape != (rows, columns):
        raise DamagedError(
            f"the {kind} frame decoded to shape {decoded.pixels.shape} in place of"
            f" {(rows, columns)}; it is corrupt: export the file again"
        )
    if CODECS.get(transfer_syntax_uid) == kind and not (
        decoded.lossy and transfer_syntax_uid in _LOSSLESS
    ):
        if decoded.transfer_syntax_uid == transfer_syntax_uid:
            return decoded
        return decoded._replace(transfer_syntax_uid=transfer_syntax_uid)
    note = Note(
        "wrong-syntax",
        f"the Transfer Syntax UID (0002,0010) says {uid_name(transfer_syntax_uid)}; the frame is"
        f" read as what it is, {uid_name(decoded.transfer_syntax_uid)}",
    )
    return decoded._replace(notes=(note, *decoded.notes))


def decode_jpeg(content: bytes) -> NDArray[Any]:
    """Return the pixels of a JPEG file of 8 bits, grey or in colour, whose coded data is whole.

    Args:
        content: The file, baseline or progressive. It may lack its end marker.

    Returns:
        ``(rows, columns)`` or ``(rows, columns, 3)`` uint8.

    Raises:
        TruncatedError: It breaks off.
        DamagedError: It is corrupt.
        DicomError: It is of a kind that is not read, or made to hurt.
    """
    closed = True
    try:
        stream = parse_codestream(content)
    except TruncatedError:  # all of its image data may be there nonetheless
        closed, content = False, content + _END_OF_CODESTREAM
        stream = parse_codestream(content)
    return _decode_jpeg(content[stream.start : stream.end], stream, certain=closed)


def _check_stream(stream: Codestream, rows: int, columns: int) -> None:
    kind = stream.kind
    if (stream.rows, stream.columns) != (rows, columns):
        raise MislabelledError(
            f"(0028,0010) Rows x (0028,0011) Columns is {rows} x {columns}, but the {kind} frame"
            f" is {stream.rows} x {stream.columns}; correct them or export the file again"
        )
    if stream.components != 1:
        raise MislabelledError(
            f"the {kind} frame has {stream.components} components, but (0028,0002) Samples per"
            " Pixel is 1; only monochrome radiographs are read: export it as one"
        )
    if not 1 <= stream.bits <= 16:
        raise DicomError(
            f"the {kind} frame has {stream.bits} bits per sample; at most 16 are read: export the"
            " file again"
        )


def _decode_stream(frame: Buffer, stream: Codestream) -> Decoded:
    own = frame[stream.start : stream.end]
    if not stream.closed:
        own = bytes(own) + _END_OF_CODESTREAM
    try:
        if stream.kind in (J2K, HTJ2K):
            pixels = _decode_jpeg2000(bytes(own), stream)
        elif stream.kind == LS:
            pixels = imagecodecs.jpegls_decode(bytes(own))
        else:
            pixels = _decode_jpeg(own, stream)
    except (RuntimeError, ValueError) as error:
        raise DamagedError(
            f"the {stream.kind} frame is corrupt or truncated ({_brief(error)}); export the file"
            " again"
        ) from error
    uid = _SYNTAXES[stream.kind][stream.lossy]
    if stream.kind == DCT and stream.bits > 8:
        uid = _EXTENDED
    notes = tuple(_leavings(frame, stream))
    return Decoded(np.ascontiguousarray(pixels), stream.lossy, uid, notes)


def _leavings(frame: Buffer, stream: Codestream) -> list[Note]:
    """Return notes of what lies around the codestream; one byte behind it only makes it even."""
    behind = frame[stream.end :]
    if begins(behind) is not None:
        raise MislabelledError(
            f"another compressed frame lies behind the {stream.kind} frame, but (0028,0008) Number"
            " of Frames is 1; only single images are read: export the frame you want"
        )
    notes = []
    if stream.start:
        text = f"{stream.start:,} bytes before the compressed frame are left out"
        notes.append(Note("bytes-ignored", text))
    if len(behind) > 1:
        text = f"{len(behind):,} bytes behind the compressed frame are left out"
        notes.append(Note("bytes-ignored", text))
    if not stream.closed:
        text = "the compressed frame has no end marker, but all of its tiles are whole"
        notes.append(Note("loose-structure", text))
    return notes


# ------------------------------------------------------------------------------ JPEG 2000


def _decode_jpeg2000(frame: bytes, stream: Codestream) -> NDArray[Any]:
    """Return the pixels of a codestream whose tiles are all whole.

    OpenJPEG reads both kinds, and unlike OpenJPH it fails on most damage instead of guessing; but a
    tile that ends between two packets it takes for whole, and leaves out the details that are
    missing. So it decodes the frame again with more bytes at the end of each tile: where all
    packets are there they are not looked at, else they are an error.
    """
    pixels: NDArray[Any] = imagecodecs.jpeg2k_decode(frame, numthreads=1)
    try:
        imagecodecs.jpeg2k_decode(_with_longer_tiles(frame, stream), numthreads=1)
    except (RuntimeError, ValueError):
        raise TruncatedError(
            f"the {stream.kind} frame is truncated: a tile ends before its last packet, so details"
            " are missing; copy the file again from its source"
        ) from None
    return pixels


def _with_longer_tiles(frame: bytes, stream: Codestream) -> bytes:
    last = {part.tile: part for part in stream.parts}
    pieces = [frame[: stream.parts[0].start - stream.start]]
    for part in stream.parts:
        piece = frame[part.start - stream.start : part.end - stream.start]
        if last[part.tile] is part:
            length = struct.pack(">L", len(piece) + len(_NO_PACKET))
            piece = piece[:6] + length + piece[10:] + _NO_PACKET
        pieces.append(piece)
    return b"".join(pieces) + _END_OF_CODESTREAM


# ------------------------------------------------------------------------------ JPEG


def _decode_jpeg(frame: Buffer, stream: Codestream, *, certain: bool = True) -> NDArray[Any]:
    """Return the pixels of a frame whose coded data is whole.

    libjpeg paints what is missing: mid-grey, within a row of a lossless frame a ramp. So a frame is
    decoded with more bytes before each marker: they change nothing in a whole frame, and fill the
    gaps of another. A frame of blocks in one scan is told to be higher besides, which shows in the
    same decoding whether those bytes, and nothing else, are left for the rows below. A lossless
    frame, or one with restart markers, is decoded again only where it shows such a thing, is in
    colour, or does not certainly end where it seems to; then a gap within the last block or the
    last sample is not seen. What is left over shows too, but not in frames with restart markers.
    (Never seen: bytes that are wrong in the middle and change no length. JPEG has no checksum.)
    """
    grey = stream.components == 1
    if grey:
        _require_restarts(frame, stream)
    if stream.progressive:
        _require_all_coefficients(stream)
    exact = grey and certain and not any(scan.interval for scan in stream.scans)
    exact = exact and 0 < stream.rows <= _MOST_ROWS
    if exact and stream.kind == DCT:
        return _decode_blocks(frame, stream)
    frame = bytes(frame)
    pixels: NDArray[Any] = imagecodecs.jpeg8_decode(frame)
    if pixels.shape[:2] != (stream.rows, stream.columns):
        return pixels
    if exact:
        _require_nothing_left(frame, stream, pixels)
    if stream.progressive or not (grey and certain) or _may_lack_data(pixels, stream):
        probe = imagecodecs.jpeg8_decode(_with_longer_scans(frame, stream))
        _require_alike(probe, pixels, stream)
    return pixels


def _decode_blocks(frame: Buffer, stream: Codestream) -> NDArray[Any]:
    """Return the pixels of a grey frame of blocks, whose coded data is for these and no others."""
    higher, expected = _told_higher(frame, stream), _expected_blocks(stream)
    behind = _blocks_behind(higher, stream, expected)
    if behind == expected and not stream.progressive:
        return higher[: stream.rows]  # nearly all frames are decoded only once
    frame = bytes(frame)
    pixels: NDArray[Any] = imagecodecs.jpeg8_decode(frame)
    if pixels.shape[:2] != (stream.rows, stream.columns):
        return pixels
    _require_alike(higher[: stream.rows], pixels, stream)
    if behind > expected:
        _require_nothing_left(frame, stream, pixels)
    return pixels


def _require_alike(probe: NDArray[Any], pixels: NDArray[Any], stream: Codestream) -> None:
    """Refuse a frame that gives other pixels once there are more bytes behind its coded data."""
    differ = np.flatnonzero((probe != pixels).reshape(stream.rows, -1).any(axis=1))
    if not differ.size:
        return
    # Without restart markers all is missing from there on.
    whole = any(scan.interval for scan in stream.scans)
    missing = differ.size if whole else stream.rows - int(differ[0])
    raise TruncatedError(
        f"the {stream.kind} frame's image data is truncated: {missing:,} of {stream.rows:,}"
        f" rows{' or more' if whole else ''} are missing or incomplete; copy the file again from"
        " its source"
    )


def _told_higher(frame: Buffer, stream: Codestream) -> NDArray[Any]:
    """Return the pixels of a frame that is told to be higher, with some bytes behind its scans.

    Where it holds no more, it shows how the last block goes on, as far as these bytes go, and
    mid-grey from there on. There is room for a block more than they fill.
    """
    more = -(-(_expected_blocks(stream) + 1) // -(-stream.columns // 8))
    height = struct.pack(">H", _whole_rows(stream) + 8 * more)
    higher = _with_longer_scans(frame, stream, _NO_CODE * _FILLING_BYTES, height)
    pixels: NDArray[Any] = imagecodecs.jpeg8_decode(higher)
    return pixels


def _whole_rows(stream: Codestream) -> int:
    return -(-stream.rows // 8) * 8


def _blocks_behind(higher: NDArray[Any], stream: Codestream, expected: int) -> int:
    """Return how many blocks behind its last row a frame that was told to be higher shows."""
    behind = higher[_whole_rows(stream) :]
    if behind.dtype == np.uint8 and _are_first(behind.tobytes(), stream.columns, expected):
        return expected  # as of nearly all frames; to count takes five times as long
    rows, columns = behind.shape
    across = -(-columns // 8)
    shown = np.zeros((rows, 8 * across), bool)
    np.not_equal(behind, 1 << (stream.bits - 1), out=shown[:, :columns])
    # Eight pixels of a row are one number.
    blocks = shown.view(np.uint64).reshape(-1, 8, across).any(axis=1)
    return int(np.count_nonzero(blocks))


def _are_first(behind: bytes, columns: int, expected: int) -> bool:
    """Return whether `expected` blocks are shown, those in which the first row begins."""
    filled = 8 * expected
    if columns < filled:
        return False
    for at in range(0, filled, 8):
        if behind.startswith(_GREY_LINE, at):
            return False
    grey = _MID_GREY * (columns - filled)
    shown = [behind[at : at + filled] + grey for at in range(0, 8 * columns, columns)]
    shown.append(_MID_GREY * (len(behind) - 8 * columns))
    return behind == b"".join(shown)


def _expected_blocks(stream: Codestream) -> int:
    """Return how many blocks the bytes behind a whole frame fill; the last of them in part."""
    codes = 1 if stream.progressive else 2  # in each block, one for the mean and one for the rest
    return (8 * _FILLING_BYTES + 7) // (_LONGEST_CODE * codes) + 1


def _require_nothing_left(frame: bytes, stream: Codestream, pixels: NDArray[Any]) -> None:
    """Refuse a frame in which the last bytes of a scan may be any others and change nothing.

    They are left over where an error before them made a decoder lose its place.
    """
    if np.ptp(pixels) == 0:  # of one value: each code says the same
        return
    for scan in stream.scans:
        if scan.end - scan.start < _FEWEST_BYTES:  # nearly all of it is
            continue
        others = (_with_another_end(frame, stream, scan, bits) for bits in _OTHER_BITS)
        if all(np.array_equal(pixels, imagecodecs.jpeg8_decode(other)) for other in others):
            raise DamagedError(
                f"the {stream.kind} frame is corrupt: image data is left over behind its last"
                " pixel; copy the file again from its source"
            )


def _with_another_end(frame: bytes, stream: Codestream, scan: JpegScan, bits: int) -> bytes:
    """Return a frame in which the last bytes of a scan are others."""
    end = scan.end - stream.start
    at = end - _LAST_BYTES * (2 if stream.progressive else 1)
    at -= frame[at - 1] == 0xFF  # which changes what a byte behind it means
    other = bytes(min(byte ^ bits, 254) for byte in frame[at:end])
    return frame[:at] + other + frame[end:]


def _units(stream: Codestream) -> tuple[int, int]:
    """Return how many units are coded down and across: blocks of 8 x 8, or samples."""
    side = 1 if stream.kind == LOSSLESS else 8
    return -(-stream.rows // side), -(-stream.columns // side)


def _require_restarts(frame: Buffer, stream: Codestream) -> None:
    """Refuse a scan without all of its restart markers, or with one where none belongs.

    Source: ITU-T T.81 B.2.1, F.1.1.5.2: they count from 0 to 7 and begin again.
    """
    down, across = _units(stream)
    for scan in stream.scans:
        expected = -(-down * across // scan.interval) if scan.interval else 1
        missing = expected - 1 - len(scan.restarts)
        if missing > 0:
            raise TruncatedError(
                f"the {stream.kind} frame's image data is truncated: {missing:,} of {expected:,}"
                " parts between restart markers are missing; copy the file again from its source"
            )
        found = [frame[place - stream.start + 1] & 7 for place in scan.restarts]
        # One more just before the end divides nothing.
        more = missing < -1 or (missing == -1 and scan.restarts[-1] + 2 != scan.end)
        if more or found != [count % 8 for count in range(len(found))]:
            raise DamagedError(
                f"the {stream.kind} frame is corrupt: its image data holds a restart marker where"
                " none belongs; export the file again"
            )


def _require_all_coefficients(stream: Codestream) -> None:
    """Refuse a progressive frame of which scans are missing."""
    left: list[int | None] = [None] * 64
    for scan in stream.scans:
        left[scan.first : scan.last + 1] = [scan.low] * (min(scan.last, 63) + 1 - scan.first)
    missing = sum(bits != 0 for bits in left)
    if missing:
        raise TruncatedError(
            f"the progressive JPEG frame is truncated: its scans leave {missing} of 64 coefficients"
            " incomplete; copy the file again from its source"
        )


def _may_lack_data(pixels: NDArray[Any], stream: Codestream) -> bool:
    """Return whether a part of the coded data ends with what libjpeg paints in place of nothing."""
    scan = stream.scans[0]
    down, across = _units(stream)
    ends = np.arange(scan.interval or down * across, down * across, scan.interval or 1) - 1
    rows, columns = np.divmod(np.append(ends, down * across - 1), across)
    grey = 1 << (stream.bits - 1)
    if stream.kind == LOSSLESS:
        painted = _differences(pixels, scan, rows, columns) == _painted_step(stream, scan)
        return bool(painted.any() or (pixels[rows, columns] == grey).any())
    suspects = pixels[8 * rows, 8 * columns] == grey
    return any(
        (pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] == grey).all()
        for row, column in zip(rows[suspects], columns[suspects], strict=True)
    )


def _painted_step(stream: Codestream, scan: JpegScan) -> int:
    """Return the difference, modulo 2**16, that zeros for bits decode to in a lossless frame.

    Source: ITU-T T.81 H.1.2.2 (coding of differences).
    """
    size = dict(stream.zero_code).get(scan.table, 0)
    return (32768 if size >= 16 else -((1 << size) - 1)) % 65536


def _differences(
    pixels: NDArray[Any], scan: JpegScan, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Return what may have been coded for some pixels of a lossless frame, modulo 2**16.

    That is how far they are from the scan's predictor, and from those of first rows and columns.

    Source: ITU-T T.81 H.1.2.1, table H.1.
    """
    values = pixels.astype(np.int64) >> scan.low
    left = values[rows, columns - 1]
    above = values[rows - 1, columns]
    corner = values[rows - 1, columns - 1]
    usual = {
        3: corner,
        4: left + above - corner,
        5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1),
        7: (left + above) >> 1,
    }.get(scan.first, left)
    found: NDArray[np.int64] = (values[rows, columns] - np.stack([left, above, usual])) % 65536
    return found


def _with_longer_scans(
    frame: Buffer, stream: Codestream, more: bytes = _PROBE, height: bytes = b""
) -> bytes:
    """Return a frame with more bytes behind its coded data, and another height if one is given."""
    edits = [(end, end, more) for scan in stream.scans for end in (*scan.restarts, scan.end)]
    if height:
        edits.append((stream.rows_at, stream.rows_at + len(height), height))
    view, position = memoryview(frame), 0  # so that each byte is copied once
    pieces: list[bytes | memoryview] = []
    for begin, end, put in sorted(edits):
        pieces += [view[position : begin - stream.start], put]
        position = end - stream.start
    return b"".join((*pieces, view[position:]))


def _of_rle(frame: bytes, rows: int, columns: int, bits_allocated: int) -> Decoded:
    pixels, notes = decode_rle(frame, rows, columns, bits_allocated)
    return Decoded(pixels, False, _RLE_UID, notes)


def _brief(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:100]
