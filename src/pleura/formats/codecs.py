"""Compressed pixel data: what a frame's own header says, and its decoder.

One frame of every compressed transfer syntax that radiographs come in is decoded by imagecodecs:
JPEG (8 and 12 bit), lossless JPEG, JPEG-LS, JPEG 2000, High-Throughput JPEG 2000, RLE. Importing
this module also registers the decoder with pydicom under the name `PLUGIN`, once; pydicom tries
it after its own.

Source: DICOM PS3.5 annex A.4 and annex G (RLE); ITU-T T.81 (JPEG), T.87 (JPEG-LS), T.800
(JPEG 2000), T.814 (HTJ2K).
"""

import struct
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

from pleura.errors import DicomError, TruncatedError

PLUGIN = "pleura"

_DCT = "JPEG"
_LOSSLESS = "JPEG Lossless"
_LS = "JPEG-LS"
_J2K = "JPEG 2000"
_HTJ2K = "High-Throughput JPEG 2000"
_RLE = "RLE"

CODECS = {
    "1.2.840.10008.1.2.4.50": _DCT,
    "1.2.840.10008.1.2.4.51": _DCT,
    "1.2.840.10008.1.2.4.57": _LOSSLESS,
    "1.2.840.10008.1.2.4.70": _LOSSLESS,
    "1.2.840.10008.1.2.4.80": _LS,
    "1.2.840.10008.1.2.4.81": _LS,
    "1.2.840.10008.1.2.4.90": _J2K,
    "1.2.840.10008.1.2.4.91": _J2K,
    "1.2.840.10008.1.2.4.201": _HTJ2K,
    "1.2.840.10008.1.2.4.202": _HTJ2K,
    "1.2.840.10008.1.2.4.203": _HTJ2K,
    "1.2.840.10008.1.2.5": _RLE,
}
"""Transfer syntax UID -> the kind of codestream its frames must be."""

# What pydicom asks of a decoder plugin; imagecodecs is always there.
DECODER_DEPENDENCIES = dict.fromkeys(CODECS, ("imagecodecs",))

_END_OF_IMAGE = b"\xff\xd9"
_SOF_KINDS = {0xC0: _DCT, 0xC1: _DCT, 0xC3: _LOSSLESS, 0xF7: _LS}
_SOF_OTHERS = {0xC2, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}


@dataclass(frozen=True, slots=True)
class Codestream:
    """What a compressed frame says of itself before it is decoded.

    Attributes:
        kind: "JPEG", "JPEG Lossless", "JPEG-LS", "JPEG 2000" or "High-Throughput JPEG 2000".
        rows: Height in pixels.
        columns: Width in pixels.
        components: Samples per pixel.
        bits: Bits per sample.
        signed: Whether the samples are signed (JPEG 2000 alone can say so).
    """

    kind: str
    rows: int
    columns: int
    components: int
    bits: int
    signed: bool = False


def parse_codestream(frame: bytes) -> Codestream:
    """Return the header of a JPEG, JPEG-LS or JPEG 2000 frame, without decoding it.

    Raises:
        DicomError: `frame` is none of these, or its header is damaged.
    """
    try:
        if frame.startswith(b"\xff\xd8"):
            return _parse_jpeg(frame)
        start = _codestream_start(frame)
        if start is not None:
            return _parse_jpeg2000(frame, start)
    except (struct.error, IndexError):
        raise TruncatedError(
            "the compressed frame ends within its header; it is truncated"
        ) from None
    raise DicomError(
        "the compressed frame does not begin like any JPEG; the Transfer Syntax UID (0002,0010)"
        " may be wrong"
    )


def decode_frame(
    frame: bytes, transfer_syntax_uid: str, rows: int, columns: int, bits_allocated: int
) -> NDArray[Any]:
    """Return one monochrome frame, decoded.

    Args:
        frame: The compressed frame, its fragments joined.
        transfer_syntax_uid: A key of `CODECS`.
        rows: The height that the data set states.
        columns: The width that the data set states.
        bits_allocated: 8 or 16; RLE frames do not say it themselves.

    Returns:
        Stored values (rows, columns), uint8 or uint16 (int8 or int16 where a JPEG 2000 frame is
        signed), C-contiguous, writable.

    Raises:
        DicomError: The frame is of another kind than the transfer syntax says, of another size
            than the data set says, in colour, truncated or corrupt. Size and kind are checked
            before anything is decoded.
    """
    kind = CODECS[transfer_syntax_uid]
    if kind == _RLE:
        return _decode_rle(frame, rows, columns, bits_allocated)
    stream = parse_codestream(frame)
    _check_stream(stream, kind, transfer_syntax_uid, rows, columns)
    try:
        pixels = _decode_stream(frame, stream)
    except (RuntimeError, ValueError) as error:
        raise DicomError(f"the {kind} frame is corrupt or truncated ({_brief(error)})") from error
    if pixels.shape != (rows, columns):
        raise DicomError(f"the {kind} frame decoded to shape {pixels.shape}; it is corrupt")
    return pixels


def is_available(uid: str) -> bool:
    """Return whether this plugin decodes the transfer syntax `uid` (asked by pydicom)."""
    return uid in CODECS


def decode_for_pydicom(src: bytes, runner: DecodeRunner) -> bytes:
    """Return one frame as bytes, little endian (called by pydicom)."""
    if runner.samples_per_pixel != 1:
        raise NotImplementedError("pleura decodes monochrome frames only")
    pixels = decode_frame(
        src, str(runner.transfer_syntax), runner.rows, runner.columns, runner.bits_allocated
    )
    kind = "i" if pixels.dtype.kind == "i" else "u"
    return pixels.astype(f"<{kind}{runner.bits_allocated // 8}", copy=False).tobytes()


def register() -> None:
    """Add the decoder to pydicom's, for every compressed transfer syntax; twice is once."""
    for uid in CODECS:
        decoder = get_decoder(uid)
        if PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(PLUGIN, (__name__, "decode_for_pydicom"))


def _parse_jpeg(frame: bytes) -> Codestream:
    position = 2
    while True:
        if frame[position] != 0xFF:
            raise DicomError("the JPEG frame is corrupt: no marker where one should be")
        marker = frame[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in _SOF_KINDS:
            bits, rows, columns, components = struct.unpack_from(">BHHB", frame, position + 4)
            return Codestream(_SOF_KINDS[marker], rows, columns, components, bits)
        if marker in _SOF_OTHERS:
            raise DicomError(
                f"the JPEG frame uses process SOF{marker - 0xC0} (progressive, arithmetic or"
                " hierarchical), which no current transfer syntax allows; decompress the file"
            )
        if marker in (0xD9, 0xDA):
            raise DicomError("the JPEG frame is corrupt: its image data has no frame header")
        position += 2 + struct.unpack_from(">H", frame, position + 2)[0]


def _codestream_start(frame: bytes) -> int | None:
    """Return where a JPEG 2000 codestream begins, bare or within JP2 boxes."""
    if frame.startswith(b"\xff\x4f\xff\x51"):
        return 0
    if not frame.startswith(b"\x00\x00\x00\x0cjP  \r\n\x87\n"):
        return None
    position = 0
    while True:
        length, kind = struct.unpack_from(">L4s", frame, position)
        if kind == b"jp2c":
            return position + (16 if length == 1 else 8)
        if length < 8:
            raise DicomError("the JPEG 2000 frame is corrupt: a JP2 box has no length")
        position += length


def _parse_jpeg2000(frame: bytes, start: int) -> Codestream:
    width, height, left, top = struct.unpack_from(">LLLL", frame, start + 8)
    components, depth, step_x, step_y = struct.unpack_from(">HBBB", frame, start + 40)
    kind = _HTJ2K if _main_header(frame, start)[1] else _J2K
    if step_x != 1 or step_y != 1 or width < left or height < top:
        raise DicomError("the JPEG 2000 frame is corrupt: its sample grid is impossible")
    return Codestream(
        kind, height - top, width - left, components, (depth & 0x7F) + 1, bool(depth & 0x80)
    )


def _main_header(frame: bytes, start: int) -> tuple[int, bool]:
    """Return where the first tile part begins, and whether a CAP segment announces HTJ2K."""
    position, high_throughput = start + 2, False
    while frame[position : position + 2] != b"\xff\x90":
        high_throughput |= frame[position : position + 2] == b"\xff\x50"
        position += 2 + struct.unpack_from(">H", frame, position + 2)[0]
    return position, high_throughput


def _check_stream(
    stream: Codestream, kind: str, transfer_syntax_uid: str, rows: int, columns: int
) -> None:
    if stream.kind != kind:
        raise DicomError(
            f"the Transfer Syntax UID (0002,0010) {transfer_syntax_uid} promises {kind}, but the"
            f" frame is {stream.kind}; correct the UID or export the file again"
        )
    if (stream.rows, stream.columns) != (rows, columns):
        raise DicomError(
            f"(0028,0010) Rows x (0028,0011) Columns is {rows} x {columns}, but the {kind} frame"
            f" is {stream.rows} x {stream.columns}; the file is mislabelled"
        )
    if stream.components != 1:
        raise DicomError(
            f"the {kind} frame has {stream.components} components, but (0028,0002) Samples per"
            " Pixel is 1; only monochrome radiographs are read"
        )
    if stream.bits > 16:
        raise DicomError(f"the {kind} frame has {stream.bits} bits per sample; at most 16 are read")


def _decode_stream(frame: bytes, stream: Codestream) -> NDArray[Any]:
    if stream.kind in (_J2K, _HTJ2K):
        _require_whole_jpeg2000(frame)
        # OpenJPEG reads both kinds, and unlike OpenJPH it fails on damage instead of guessing.
        return np.ascontiguousarray(imagecodecs.jpeg2k_decode(frame, numthreads=1))
    end = _end_of_image(frame)
    if stream.kind == _LS:
        return np.ascontiguousarray(imagecodecs.jpegls_decode(frame))
    pixels: NDArray[Any] = imagecodecs.jpeg8_decode(frame)
    _require_whole_scan(frame, end, pixels, stream)
    return pixels


def _end_of_image(frame: bytes) -> int:
    """Return where the end-of-image marker lies; only padding (zero or fill bytes) may follow."""
    end = frame.rfind(_END_OF_IMAGE)
    if end < 0 or frame[end + 2 :].strip(b"\0\xff"):
        raise TruncatedError(
            "the compressed frame has no end-of-image marker: it is truncated; copy the file"
            " again from its source"
        )
    return end


def _require_whole_scan(frame: bytes, end: int, pixels: NDArray[Any], stream: Codestream) -> None:
    """Refuse a JPEG whose image data stops early although an end marker follows.

    libjpeg paints what is missing: mid-grey, or for a lossless frame the last value on and on. A
    frame that ends like that is decoded again with more bytes before its end marker: they change
    nothing in a whole frame, and fill the gap of a cut one. (Not seen: a gap that a restart marker
    follows, or bytes damaged in the middle; JPEG has no checksum.)
    """
    last = int(pixels[-1, -1])
    if stream.kind == _DCT and last != 1 << (stream.bits - 1):
        return
    if (pixels[-8:, -16:] != last).any():
        return
    probe = frame[:end] + b"\x5a\xc3\x96\x3c\x69\xa5" * 40 + _END_OF_IMAGE
    if not np.array_equal(imagecodecs.jpeg8_decode(probe), pixels):
        raise TruncatedError(
            "the JPEG frame's image data stops before its last row: it is truncated; copy the"
            " file again from its source"
        )


def _require_whole_jpeg2000(frame: bytes) -> None:
    """Refuse a codestream whose tile parts do not end at its end-of-codestream marker.

    Source: ITU-T T.800 A.4.2 (start of tile-part, Psot).
    """
    position, _ = _main_header(frame, _codestream_start(frame) or 0)
    try:
        while frame[position : position + 2] == b"\xff\x90":
            length = struct.unpack_from(">L", frame, position + 6)[0]
            if length == 0:  # the last tile part: it reaches to the end marker
                position = _end_of_image(frame)
                break
            position += max(length, 12)
    except struct.error:
        position = len(frame)
    if frame[position : position + 2] != _END_OF_IMAGE:
        raise TruncatedError(
            "the JPEG 2000 frame ends before its last tile part: it is truncated; copy the file"
            " again from its source"
        )


def _decode_rle(frame: bytes, rows: int, columns: int, bits_allocated: int) -> NDArray[Any]:
    """Return an RLE frame; one segment per byte of a sample, the high byte first."""
    segments = struct.unpack_from("<L", frame)[0] if len(frame) >= 64 else 0
    if segments != bits_allocated // 8:
        raise DicomError(
            f"the Transfer Syntax UID (0002,0010) promises RLE with {bits_allocated // 8}"
            f" segment(s), but the frame states {segments}; the file is mislabelled or corrupt"
        )
    dtype = np.dtype(f"<u{bits_allocated // 8}")
    expected = rows * columns * dtype.itemsize
    try:  # a bound on the output, for two bytes can stand for 128 of them
        decoded = imagecodecs.dicomrle_decode(frame, dtype, out=expected)
    except (RuntimeError, ValueError) as error:
        raise DicomError(
            f"the RLE frame is corrupt, truncated or larger than Rows x Columns {rows} x {columns}"
            f" ({_brief(error)})"
        ) from error
    if len(decoded) != expected:
        raise DicomError(
            f"the RLE frame holds {len(decoded) // dtype.itemsize:,} pixels, but Rows x Columns"
            f" is {rows} x {columns}; the file is truncated or mislabelled"
        )
    return np.frombuffer(decoded, dtype).reshape(rows, columns).copy()


def _brief(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:100]


register()
