"""Frames in DICOM's own run lengths.

Source: DICOM PS3.5 annex G.
"""

import struct
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from pleura.dicom.codestream import Buffer
from pleura.dicom.notes import Note
from pleura.errors import DamagedError, MislabelledError, TruncatedError

_RLE_HEADER_BYTES = 64


def segments_of(frame: Buffer, bits_allocated: int) -> tuple[int, ...] | None:
    """Return where the segments of an RLE frame begin and end; None where its header is none.

    Source: DICOM PS3.5 G.5.
    """
    if len(frame) < _RLE_HEADER_BYTES:
        return None
    count, *offsets = struct.unpack_from("<16L", frame)
    used = offsets[: bits_allocated // 8]
    if count != len(used) or used[0] != _RLE_HEADER_BYTES or any(offsets[count:]):
        return None
    ends = (*used, len(frame))
    return ends if list(ends) == sorted(set(ends)) else None


def decode_rle(
    frame: bytes, rows: int, columns: int, bits_allocated: int
) -> tuple[NDArray[Any], tuple[Note, ...]]:
    """Return the pixels of an RLE frame, and notes on what was put up with.

    It has one segment for each byte of a sample, the high byte first. The pixels are ``(rows,
    columns)``, uint8 or uint16.

    Source: DICOM PS3.5 G.2 and G.3.2: a segment is decoded until its output is full.
    """
    offsets = segments_of(frame, bits_allocated)
    count = bits_allocated // 8
    if offsets is None:
        raise MislabelledError(
            f"the Transfer Syntax UID (0002,0010) says RLE, but the frame does not begin with the"
            f" header of {count} segment(s) that {bits_allocated} Bits Allocated need; the UID or"
            " Bits Allocated is wrong, or the frame is damaged: export the file again"
        )
    size, line = rows * columns, min(rows, columns)
    planes = np.empty((size, count), np.uint8)
    surplus = 0
    for number in range(count):
        segment = frame[offsets[number] : offsets[number + 1]]
        plane, used, ends = _unpacked(segment, size)
        what = f"segment {number + 1} of {count} holds"
        if len(plane) < size:
            lost = rows - len(plane) // columns
            raise TruncatedError(
                f"the RLE frame is truncated: {what} {len(plane):,} of {size:,} pixels, so"
                f" {lost:,} of {rows:,} rows are missing or incomplete, or Rows and Columns are"
                " wrong; copy the file again from its source"
            )
        behind = plane[size:]
        if used < len(segment) - 1 or (len(behind) >= line and behind.strip(behind[:1])):
            raise MislabelledError(
                f"the RLE frame is larger than Rows x Columns {rows} x {columns}: {what}"
                f" {len(plane):,} pixels or more; correct them or export the file again"
            )
        if behind and 0 < np.count_nonzero(np.isin(range(columns, size, columns), ends)) < rows - 1:
            raise DamagedError(
                f"the RLE frame is corrupt: {what} {len(behind):,} pixels too many, and some rows"
                " end within a run: a run has a wrong length; copy the file again from its source"
            )
        surplus += len(behind)
        planes[:, count - 1 - number] = np.frombuffer(plane, np.uint8, size)
    pixels = planes.view(f"<u{count}").reshape(rows, columns)
    text = f"{surplus:,} bytes that the RLE frame holds behind its pixels are left out"
    notes = (Note("bytes-ignored", text),) if surplus else ()
    return pixels, notes


def _unpacked(segment: bytes, size: int) -> tuple[bytes, int, list[int]]:
    """Return what an RLE segment holds, twice `size` bytes at most.

    Behind it, how much of the segment that took, and where runs end, unless it holds just `size`.

    Source: DICOM PS3.5 G.3.1 (each row has runs of its own), G.3.2.
    """
    try:  # a bound on the output, for two bytes can stand for 128 of them
        plane = bytes(imagecodecs.packbits_decode(segment, out=size))
        if len(plane) == size:
            return plane, len(segment), []
    except (RuntimeError, ValueError):  # it holds more, or less
        pass
    parts, ends, length, position = [], [], 0, 0
    while length < 2 * size and position < len(segment) - 1:
        code = segment[position]
        if code < 128:
            part = segment[position + 1 : position + 2 + code]
            position += 2 + code
        else:  # 128 stands for nothing
            part = segment[position + 1 : position + 2] * ((257 - code) % 129)
            position += 1 if code == 128 else 2
        parts.append(bytes(part))
        length += len(part)
        ends.append(length)
    return b"".join(parts), position, ends
