"""What a compressed frame says of itself, and whether it is whole; nothing is decoded.

A frame is walked from its first marker to its last. So what lies before and behind is known, and
what is missing in between: a decoder paints it grey or black, and says nothing.

Source: ITU-T T.81 (JPEG), T.87 (JPEG-LS), T.800 (JPEG 2000), T.814 (HTJ2K).
"""

import re
import struct
from typing import NamedTuple

from pleura.errors import DamagedError, DicomError, MislabelledError, TruncatedError

Buffer = bytes | memoryview
"""Bytes, or some of them that were not copied."""

DCT = "JPEG"
LOSSLESS = "JPEG Lossless"
LS = "JPEG-LS"
J2K = "JPEG 2000"
HTJ2K = "High-Throughput JPEG 2000"

MAX_SCANS = 64
"""A progressive frame in grey has ten or so; each is a pass over all of its pixels."""

MAX_CODE_BLOCKS = 1_000_000
"""A JPEG 2000 frame of the most pixels that are read has a tenth of it."""

_LEADING_BYTES = 64
_BEGINNINGS = re.compile(rb"\xff\xd8\xff|\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n")
# One to 15 segments, the first of which lies behind the header.
_RLE_HEADER = re.compile(rb"[\1-\x0f]\0\0\0\x40\0\0\0")
_SOF_KINDS = {0xC0: DCT, 0xC1: DCT, 0xC2: DCT, 0xC3: LOSSLESS, 0xF7: LS}
_SOF_OTHERS = {*range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}
_HUFFMAN, _RESTART, _START, _END, _SCAN = 0xC4, 0xDD, 0xD8, 0xD9, 0xDA
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_PROGRESSIVE = 0xC2
_SEQUENTIAL = (0xC0, 0xC1)
_PASSED_OVER = {0xDB, *range(0xE0, 0xF0), 0xFE}  # tables of a decoder, applications' own, comments
_SEGMENT = struct.Struct(">BBH").unpack_from
_FRAME = struct.Struct(">BHHB").unpack_from
# Within coded data 0xFF stands before 0 only (JPEG-LS: before less than 0x80), or in a marker.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_LS_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_RESTART_MARKER = re.compile(rb"\xff[\xd0-\xd7]")
_BLOCK_BYTES = 1 << 18

_SOT, _EOC, _CAP, _COD = b"\xff\x90", b"\xff\xd9", b"\xff\x50", b"\xff\x52"


class JpegScan(NamedTuple):
    """One run of coded data in a JPEG or JPEG-LS frame.

    Attributes:
        start: Where it begins in the frame.
        end: Where the marker that ends it begins, fill bytes before it included.
        first: First coefficient that it codes; in a lossless frame the predictor, 1 to 7.
        last: Last coefficient.
        low: Bits that it leaves for later scans; in a lossless frame the point transform.
        table: Number of its first Huffman table.
        interval: Blocks, or samples of a lossless frame, between restart markers; 0: no such.
        restarts: Where its restart markers lie.
    """

    start: int
    end: int
    first: int
    last: int
    low: int
    table: int
    interval: int
    restarts: tuple[int, ...]


class TilePart(NamedTuple):
    """One part of a tile in a JPEG 2000 codestream, `frame[start:end]`."""

    tile: int
    start: int
    end: int


class Codestream(NamedTuple):
    """What a compressed frame says of itself before it is decoded.

    Attributes:
        kind: "JPEG", "JPEG Lossless", "JPEG-LS", "JPEG 2000" or "High-Throughput JPEG 2000".
        rows: Height in pixels.
        columns: Width in pixels.
        components: Samples per pixel.
        bits: Bits per sample.
        signed: Whether the samples are signed (JPEG 2000 alone can say so).
        lossy: Whether its values may differ from those that were encoded.
        start: Where it begins in the frame.
        end: Where it ends, its end marker included.
        closed: Whether it has an end marker.
        progressive: Whether its scans refine one another.
        rows_at: Where a JPEG or JPEG-LS frame states its height, in two bytes.
        scans: Of a JPEG or JPEG-LS frame.
        zero_code: By number of the Huffman table, the symbol whose code is zeros alone.
        parts: Of a JPEG 2000 frame, in order.
    """

    kind: str
    rows: int
    columns: int
    components: int
    bits: int
    signed: bool = False
    lossy: bool = True
    start: int = 0
    end: int = 0
    closed: bool = True
    progressive: bool = False
    rows_at: int = 0
    scans: tuple[JpegScan, ...] = ()
    zero_code: tuple[tuple[int, int], ...] = ()
    parts: tuple[TilePart, ...] = ()


def parse_codestream(frame: Buffer) -> Codestream:
    """Return what a JPEG, JPEG-LS or JPEG 2000 frame says of itself.

    A few bytes before it are passed over; what follows its end marker is not looked at.

    Raises:
        MislabelledError: `frame` is none of these.
        TruncatedError: It breaks off.
        DamagedError: It is broken inside, or a part of it is missing.
        DicomError: It is of a kind that is not read, or made to hurt.
    """
    plain = _plain_jpeg(frame)
    if plain is not None:  # as nearly all are: of these nothing is copied
        return plain
    frame = bytes(frame)
    found = begins(frame)
    if found is None:
        raise MislabelledError(
            "the compressed frame does not begin like any JPEG; the Transfer Syntax UID"
            " (0002,0010) is wrong, or the frame is damaged: export the file again"
        )
    try:
        if frame.startswith(b"\xff\xd8", found):
            return _Jpeg(frame, found).parsed()
        return _parse_jpeg2000(frame, found)
    except (struct.error, IndexError):
        raise TruncatedError(
            "the compressed frame ends within its header; it is truncated: copy the file again"
            " from its source"
        ) from None


def begins(frame: Buffer) -> int | None:
    """Return where a codestream begins in the first bytes of a frame; None where none does."""
    found = _BEGINNINGS.search(frame, 0, _LEADING_BYTES)
    return None if found is None else found.start()


def begins_frame(fragment: Buffer) -> bool:
    """Return whether a fragment begins like a compressed frame: with a codestream, or as RLE."""
    return begins(fragment) is not None or _RLE_HEADER.match(fragment) is not None


def _plain_jpeg(frame: Buffer) -> Codestream | None:
    """Return the words of a frame of blocks in one scan without restart markers; None of any other.

    Nearly all are such. Of them it says what :class:`_Jpeg` does, which takes twice as long.
    """
    if frame[:3] != b"\xff\xd8\xff":
        return None
    position, rows_at = 2, 0
    zero_code: dict[int, int] = {}
    try:
        while True:
            first, marker, length = _SEGMENT(frame, position)
            body, position = position + 4, position + 2 + length
            if first != 0xFF or length < 2:
                return None
            if marker == _HUFFMAN:
                _add_tables(frame, body, position, zero_code)
            elif marker in _SEQUENTIAL:
                rows_at = body + 1
            elif marker == _SCAN:
                break
            elif marker not in _PASSED_OVER:
                return None
        end = _first_marked(frame, position)
        if not rows_at or frame[end + 1] != _END:
            return None
        bits, rows, columns, components = _FRAME(frame, rows_at - 1)
        place = body + 1 + 2 * frame[body]
        low, table = frame[place + 2] & 15, frame[body + 2] >> 4
        scan = JpegScan(position, end, frame[place], frame[place + 1], low, table, 0, ())
    except (struct.error, IndexError):
        return None
    return Codestream(
        DCT,
        rows,
        columns,
        components,
        bits,
        end=end + 2,
        rows_at=rows_at,
        scans=(scan,),
        zero_code=tuple(zero_code.items()),
    )


def _add_tables(frame: Buffer, body: int, end: int, zero_code: dict[int, int]) -> None:
    """Add to `zero_code` what the codes of zeros alone stand for in a segment of Huffman tables."""
    limit = min(end, len(frame)) - 17
    while body < limit:
        if frame[body] < 4:  # a table of DC or lossless codes
            zero_code[frame[body]] = frame[body + 17]
        body += 17 + sum(frame[body + 1 : body + 17])


class _Jpeg:
    """The segments of a JPEG or JPEG-LS frame, one after the other."""

    def __init__(self, frame: bytes, start: int) -> None:
        self._frame = frame
        self._start = start
        self._sof = self._rows_at = 0
        self._size: tuple[int, int, int, int] = (0, 0, 0, 0)
        self._near = 0
        self._interval = 0
        self._zero_code: dict[int, int] = {}
        self._scans: list[JpegScan] = []

    def parsed(self) -> Codestream:
        """Return the frame's own words, walked up to its end marker."""
        frame, position = self._frame, self._start + 2
        while True:
            if position >= len(frame) and self._scans:
                raise _no_end()
            if frame[position] != 0xFF:
                raise DamagedError(
                    "the JPEG frame is corrupt: no marker where one should be; export the file"
                    " again"
                )
            marker = frame[position + 1]
            if marker == 0xFF:  # a fill byte
                position += 1
            elif marker == _END and self._scans:
                return self._codestream(position + 2)
            elif marker in _WITHOUT_LENGTH:
                position += 2
            elif marker in (_START, _END) or (marker == _SCAN and not self._sof):
                raise DamagedError(
                    "the JPEG frame is corrupt: its image data has no frame header; export the"
                    " file again"
                )
            else:
                (length,) = struct.unpack_from(">H", frame, position + 2)
                self._segment(marker, position + 4, position + 2 + max(length, 2))
                position = position + 2 + max(length, 2)
                if marker == _SCAN:
                    position = self._scans[-1].end

    def _segment(self, marker: int, body: int, end: int) -> None:
        frame = self._frame
        if marker in _SOF_KINDS:
            self._sof = marker
            self._size, self._rows_at = struct.unpack_from(">BHHB", frame, body), body + 1
        elif marker in _SOF_OTHERS:
            raise DicomError(
                f"the JPEG frame uses process SOF{marker - 0xC0} (arithmetic or hierarchical),"
                " which is not read; decompress the file with another program"
            )
        elif marker == _RESTART:
            (self._interval,) = struct.unpack_from(">H", frame, body)
        elif marker == _HUFFMAN:
            _add_tables(frame, body, end, self._zero_code)
        elif marker == _SCAN:
            self._scan(body, end)

    def _scan(self, body: int, start: int) -> None:
        frame = self._frame
        if len(self._scans) >= MAX_SCANS:
            raise DicomError(
                f"the JPEG frame has more than {MAX_SCANS} scans; refused, as no radiograph has"
            )
        first, last, approximation = struct.unpack_from(">BBB", frame, body + 1 + 2 * frame[body])
        self._near = first
        pattern = _LS_MARKER if _SOF_KINDS[self._sof] == LS else _MARKER
        marked = _first_marked(frame, start)
        found = pattern.search(frame, marked)
        if found is None:
            raise _no_end()
        end = found.start()
        while end > start and frame[end - 1] == 0xFF:  # fill bytes
            end -= 1
        self._scans.append(
            JpegScan(
                start,
                end,
                first,
                last,
                approximation & 15,
                frame[body + 2] >> 4,
                self._interval,
                tuple(one.start() for one in _RESTART_MARKER.finditer(frame, marked, end)),
            )
        )

    def _codestream(self, end: int) -> Codestream:
        bits, rows, columns, components = self._size
        kind = _SOF_KINDS[self._sof]
        return Codestream(
            kind,
            rows,
            columns,
            components,
            bits,
            lossy=kind == DCT or (kind == LS and self._near > 0),
            start=self._start,
            end=end,
            progressive=self._sof == _PROGRESSIVE,
            rows_at=self._rows_at,
            scans=tuple(self._scans),
            zero_code=tuple(self._zero_code.items()),
        )


def _first_marked(frame: Buffer, start: int) -> int:
    """Return where 0xFF first stands before anything but 0, from `start` on, else the frame's end.

    What lies before is coded data and nothing else. A pattern takes three times as long to pass it.
    """
    # Only here, for whoever looks for files imports this module.
    import numpy as np

    for begin in range(start, len(frame) - 1, _BLOCK_BYTES):
        block = np.frombuffer(frame, np.uint8, min(_BLOCK_BYTES + 1, len(frame) - begin), begin)
        marked = block[:-1] == 0xFF
        marked &= block[1:] != 0
        first = int(marked.argmax())
        if marked[first]:
            return begin + first
    return len(frame)


def _no_end() -> TruncatedError:
    return TruncatedError(
        "the compressed frame has no end-of-image marker: it is truncated; copy the file again from"
        " its source"
    )


def _parse_jpeg2000(frame: bytes, begin: int) -> Codestream:
    start = _codestream_start(frame, begin)
    width, height, left, top = struct.unpack_from(">LLLL", frame, start + 8)
    tile_width, tile_height, tiles_left, tiles_top = struct.unpack_from(">LLLL", frame, start + 24)
    components, depth, step_x, step_y = struct.unpack_from(">HBBB", frame, start + 40)
    if (
        (step_x, step_y) != (1, 1)
        or width <= left
        or height <= top
        or not tile_width
        or not tile_height
        or tiles_left > left
        or tiles_top > top
    ):
        raise DamagedError(
            "the JPEG 2000 frame is corrupt: its sample grid is impossible; export the file again"
        )
    across = -(-(width - tiles_left) // tile_width)
    tiles = across * -(-(height - tiles_top) // tile_height)
    position, high_throughput, coding = _main_header(frame, start)
    _require_sane_blocks(coding, (width - left) * (height - top), tiles)
    parts, end, closed = _tile_parts(frame, position, tiles)
    return Codestream(
        HTJ2K if high_throughput else J2K,
        height - top,
        width - left,
        components,
        (depth & 0x7F) + 1,
        bool(depth & 0x80),
        lossy=coding[9] == 0,  # the irreversible wavelet
        start=start,
        end=end,
        closed=closed,
        parts=parts,
    )


def _codestream_start(frame: bytes, begin: int) -> int:
    """Return where a JPEG 2000 codestream begins, bare or within JP2 boxes."""
    if frame.startswith(b"\xff\x4f", begin):
        return begin
    position = begin
    while True:
        length, kind = struct.unpack_from(">L4s", frame, position)
        if kind == b"jp2c":
            return position + (16 if length == 1 else 8)
        if length < 8:
            raise DamagedError(
                "the JPEG 2000 frame is corrupt: a JP2 box has no length; export the file again"
            )
        position += length


def _main_header(frame: bytes, start: int) -> tuple[int, bool, bytes]:
    """Return where the first tile part begins, whether it is HTJ2K, and the coding style.

    HTJ2K is announced by a segment CAP; the coding style is the content of segment COD.
    """
    position, high_throughput, coding = start + 2, False, b""
    while not frame.startswith(_SOT, position):
        (length,) = struct.unpack_from(">H", frame, position + 2)
        high_throughput |= frame.startswith(_CAP, position)
        if frame.startswith(_COD, position):
            coding = frame[position + 4 : position + 2 + length]
        position += 2 + length
    if len(coding) < 10:
        raise DamagedError(
            "the JPEG 2000 frame is corrupt: it has no coding style; export the file again"
        )
    return position, high_throughput, coding


def _require_sane_blocks(coding: bytes, pixels: int, tiles: int) -> None:
    """Refuse code-blocks or precincts so small that their lists would fill the memory.

    Source: ITU-T T.800 A.6.1 (COD).
    """
    levels, width, height = coding[5], (coding[6] & 15) + 2, (coding[7] & 15) + 2
    if levels > 32 or max(width, height) > 10 or width + height > 12:
        raise DamagedError(
            "the JPEG 2000 frame is corrupt: its coding style is impossible; export the file again"
        )
    sizes = [width + height]
    if coding[0] & 1:
        sizes += [(size & 15) + (size >> 4) for size in coding[10 : 11 + levels]]
    blocks = (pixels * 4 // 3 >> min(sizes)) + tiles * (3 * levels + 1)
    if blocks > MAX_CODE_BLOCKS:
        raise DicomError(
            f"the JPEG 2000 frame is cut into {blocks:,} blocks; refused, as no radiograph has more"
            f" than {MAX_CODE_BLOCKS:,}"
        )


def _tile_parts(frame: bytes, position: int, tiles: int) -> tuple[tuple[TilePart, ...], int, bool]:
    """Return the parts of all tiles, where the codestream ends, and whether a marker says so.

    Source: ITU-T T.800 A.4.2 (SOT).
    """
    parts: list[TilePart] = []
    wanted: dict[int, int] = {}
    found: dict[int, int] = {}
    while frame.startswith(_SOT, position):
        tile, length, _, count = struct.unpack_from(">HLBB", frame, position + 4)
        end = position + max(length, 14)
        if length == 0:  # the last part reaches to the end marker
            end = frame.find(_EOC, position)
            if end < 0:
                raise _no_end()
        if end > len(frame):
            raise TruncatedError(
                f"the JPEG 2000 frame ends before its last tile part does, {end - len(frame):,}"
                " bytes are missing: it is truncated; copy the file again from its source"
            )
        parts.append(TilePart(tile, position, end))
        found[tile] = found.get(tile, 0) + 1
        wanted[tile] = max(wanted.get(tile, 0), count)
        position = end
    closed = frame.startswith(_EOC, position)
    missing = tiles - len(found)
    short = sum(found[tile] < count for tile, count in wanted.items())
    if missing > 0 or short > 0 or max(found) >= tiles:
        what = f"{missing:,} of {tiles:,} tiles are missing" if missing > 0 else ""
        if not what:
            what = f"{short:,} of {tiles:,} tiles are not whole" if short else "a tile is too many"
        raise (DamagedError if closed else TruncatedError)(
            f"the JPEG 2000 frame is not whole: {what}; export the file again"
        )
    if not closed and frame[position:].strip(b"\0"):
        raise TruncatedError(
            "the JPEG 2000 frame holds something else where its next tile part or its end should"
            " be: it is truncated or corrupt; copy the file again from its source"
        )
    return tuple(parts), position + 2 * closed, closed
