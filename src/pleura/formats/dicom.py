"""DICOM files: a header, a radiograph, or a refusal that says why.

What is read: one monochrome frame of 1 to 16 bits, in every native or compressed transfer syntax
that radiographs come in. What is not read is refused with one clear message, before anything
large is allocated. A header can be read of any file with pixel data, also of one in colour or of
several frames, whose pixels :func:`read_radiograph` refuses.

pydicom gives the dictionary, the character sets and the decoder registry; the walk over the
bytes is our own (see :mod:`pleura.formats.elements`), so no pydicom setting is changed and no
warning raised.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.config import IGNORE
from pydicom.uid import UID

from pleura.errors import DicomError, NotDicomError, TruncatedError
from pleura.formats import codecs, grayscale
from pleura.formats.elements import (
    PIXEL_DATA,
    DataSet,
    Encoding,
    ShortBufferError,
    fragments,
    walk,
)
from pleura.formats.grayscale import Window
from pleura.formats.header import MEDIA_STORAGE_SOP_CLASS_UID, Header, build_header
from pleura.formats.presentation import has_overlay_bits, presentation_of
from pleura.formats.signature import data_start
from pleura.formats.values import text

__all__ = [
    "Header",
    "Opened",
    "Radiograph",
    "Window",
    "open_radiograph",
    "read_header",
    "read_radiograph",
    "reasons",
    "require_radiograph",
]

MAX_FILE_BYTES = 2 << 30
MAX_INFLATED_BYTES = 512 << 20
MAX_INFLATED_RATIO = 100
_FREE_INFLATED_BYTES = 16 << 20  # below this no ratio is held against a file

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
_NATIVE = frozenset({IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN})

_TRANSFER_SYNTAX_UID = 0x00020010

# What a parser below may raise over a stranger's bytes although nobody foresaw it. Names and
# assertions are missing on purpose: those are our own mistakes, and must look like it.
_HOSTILE = (
    ArithmeticError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)

_HEAD_BYTES = 1 << 20
# Opening a pipe must not wait for its writer; O_BINARY is for Windows.
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True, eq=False)
class Radiograph:
    """One picture, ready to look at or to feed to a network.

    Attributes:
        header: What the file says of itself.
        pixels: (rows, columns), uint8 or uint16, C-contiguous and writable. 0 is black, most
            transparent, air; the largest value of the dtype is white, whatever the file's own
            photometric interpretation. See :func:`pleura.formats.grayscale.render`.
    """

    header: Header
    pixels: NDArray[Any]

    @property
    def id(self) -> str:
        """The SOP Instance UID."""
        return self.header.sop_instance_uid

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Distance between (rows, columns) in mm; None where the file does not say."""
        return self.header.spacing_mm


class Opened(NamedTuple):
    """A picture together with what it was made from, for writers of results.

    Attributes:
        radiograph: As :func:`read_radiograph` gives it.
        data: The elements of the file.
        rules: How the file wants its stored values shown; where it names no window and a picture
            of more than 8 bits needs one, the window that was taken.
    """

    radiograph: Radiograph
    data: DataSet
    rules: grayscale.Grayscale


class _File(NamedTuple):
    data: DataSet
    transfer_syntax_uid: str
    media_class_uid: str


def read_header(path: str | os.PathLike[str]) -> Header:
    """Return what a file says of itself, without decoding its pixels.

    Args:
        path: A DICOM file with pixel data; colour and several frames are taken.

    Raises:
        DicomError: It is not such a file; the message names the path and the reason.
    """
    path = path if isinstance(path, Path) else Path(path)
    with reasons(path):
        return _header(path, _read(path, _HEAD_BYTES))


def read_radiograph(path: str | os.PathLike[str]) -> Radiograph:
    """Return the picture in a file: one monochrome frame, air black and bone white.

    Raises:
        DicomError: It cannot be read faithfully; the message names the path, the value found,
            the rule and what to do.
    """
    return _open(path)[0].radiograph


def open_radiograph(path: str | os.PathLike[str]) -> Opened:
    """Return the picture in a file with the elements and the rules that it was made from.

    Raises:
        DicomError: As for :func:`read_radiograph`.
    """
    opened, codes = _open(path)
    return opened._replace(rules=grayscale.completed(codes, opened.rules))


def _open(path: str | os.PathLike[str]) -> tuple[Opened, NDArray[Any]]:
    """Return what is in a file, and its stored values as codes."""
    path = path if isinstance(path, Path) else Path(path)
    with reasons(path):
        file = _read(path, _HEAD_BYTES)
        header = _header(path, file)
        _require_radiograph(header)  # before a large file is loaded for nothing
        if file.data.elements[PIXEL_DATA].end > len(file.data.buffer):
            file = _read(path, MAX_FILE_BYTES)
            header = _header(path, file)
        stored = _stored_values(file.data, header)
        codes = grayscale.codes(
            stored, header.bits_stored, header.signed, has_overlay_bits(file.data)
        )
        rules = presentation_of(file.data, header)
        return Opened(Radiograph(header, grayscale.render(codes, rules)), file.data, rules), codes


def require_radiograph(header: Header) -> None:
    """Check from the header alone that :func:`read_radiograph` has a picture to read.

    Raises:
        DicomError: Colour, several frames, an unread transfer syntax, or impossible bits.
    """
    with reasons(header.path):
        _require_radiograph(header)


@contextmanager
def reasons(path: Path) -> Iterator[None]:
    """Turn whatever a hostile file provokes into a DicomError that begins with its path."""
    try:
        yield
    except DicomError as error:
        raise type(error)(f"{path}: {error}") from error
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise DicomError(f"{path}: cannot be read ({why})") from error
    except MemoryError as error:
        raise DicomError(
            f"{path}: does not fit into memory; read it on a larger machine"
        ) from error
    except _HOSTILE as error:
        # Its own text is left out, for it may quote the file.
        raise DicomError(
            f"{path}: is malformed ({type(error).__name__} while reading it); export it again"
        ) from error


def _read(path: Path, head_bytes: int) -> _File:
    """Return the file walked; only its first `head_bytes` are loaded where they suffice."""
    descriptor = os.open(path, _OPEN)
    try:
        status = os.fstat(descriptor)
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            raise DicomError("is a folder, a pipe or a device; a regular file is needed")
        if size == 0:
            raise DicomError("is empty (0 bytes); copy it again from its source")
        if size > MAX_FILE_BYTES:
            raise DicomError(f"has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        head = _load(descriptor, min(head_bytes, size))
        try:
            return _walk_file(head, size)
        except ShortBufferError:
            whole = head + _load(descriptor, size - len(head))
    finally:
        os.close(descriptor)
    # A file that shrank meanwhile is as long as what was read of it.
    return _walk_file(whole, len(whole))


def _load(descriptor: int, count: int) -> bytes:
    """Return the next `count` bytes, fewer only where the file ends."""
    chunks = []
    while count > 0 and (chunk := os.read(descriptor, count)):
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def _walk_file(buffer: bytes, size: int) -> _File:
    start = data_start(buffer)
    if start is None:
        raise NotDicomError(
            'is not DICOM: no "DICM" at byte 128 and no data set at its beginning; convert it'
            " to DICOM first"
        )
    meta = walk(buffer, start, Encoding(), size, group=0x0002)
    body = max((element.end for element in meta.elements.values()), default=start)
    uid = text(meta, _TRANSFER_SYNTAX_UID) or _guess_transfer_syntax(buffer, body)
    if UID(uid, IGNORE).type != "Transfer Syntax":
        raise DicomError(
            f"the Transfer Syntax UID (0002,0010) {uid[:64]!r} is not a standard one; convert the"
            " file to Explicit VR Little Endian"
        )
    if uid == DEFLATED:
        if len(buffer) < size:
            raise ShortBufferError
        buffer, body = _inflate(buffer, body), 0
        size = len(buffer)
    encoding = Encoding(explicit=uid != IMPLICIT, big_endian=uid == BIG_ENDIAN)
    data = walk(buffer, body, encoding, size)
    return _File(data, uid, text(meta, MEDIA_STORAGE_SOP_CLASS_UID))


def _guess_transfer_syntax(buffer: bytes, body: int) -> str:
    """Return the native syntax that a data set without a stated one is evidently written in."""
    group, vr = buffer[body : body + 2], buffer[body + 4 : body + 6]
    if group == b"\x08\x00" and vr.isalpha() and vr.isupper():
        return EXPLICIT
    if group == b"\x08\x00" and int.from_bytes(buffer[body + 4 : body + 8], "little") <= 1024:
        return IMPLICIT
    raise DicomError(
        "the Transfer Syntax UID (0002,0010) is missing and the data set does not show how it is"
        " written; export the file again"
    )


def _inflate(buffer: bytes, start: int) -> bytes:
    """Return the deflated data set after the file meta information, with a bound on its size.

    Source: DICOM PS3.5 A.5; RFC 1951.
    """
    packed = len(buffer) - start
    limit = min(MAX_INFLATED_BYTES, max(_FREE_INFLATED_BYTES, MAX_INFLATED_RATIO * packed))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(memoryview(buffer)[start:], limit)
    except zlib.error as error:
        raise DicomError("the deflated data set is corrupt; copy it again") from error
    if not inflater.eof and (inflater.unconsumed_tail or len(data) >= limit):
        raise DicomError(
            f"the deflated data set of {packed:,} bytes inflates to more than {limit:,}; refused"
            " as a decompression bomb"
        )
    if not inflater.eof:
        raise TruncatedError("the deflated data set ends too early: the file is truncated")
    return data


def _header(path: Path, file: _File) -> Header:
    return build_header(path, file.data, file.transfer_syntax_uid, file.media_class_uid)


def _require_radiograph(header: Header) -> None:
    photometric = header.photometric_interpretation
    if header.samples_per_pixel != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise DicomError(
            f"(0028,0004) Photometric Interpretation is {photometric[:16]!r} with"
            f" {header.samples_per_pixel} sample(s) per pixel; only MONOCHROME1 and MONOCHROME2"
            " are read: this is no plain radiograph"
        )
    if header.frames != 1:
        raise DicomError(
            f"(0028,0008) Number of Frames is {header.frames}; only single images are read:"
            " export the frame you want"
        )
    if (
        header.transfer_syntax_uid not in _NATIVE
        and header.transfer_syntax_uid not in codecs.CODECS
    ):
        raise DicomError(
            f"the transfer syntax {header.transfer_syntax_name} is not read; convert the file to"
            " Explicit VR Little Endian"
        )
    _require_bits(header)


def _require_bits(header: Header) -> None:
    allocated, stored = header.bits_allocated, header.bits_stored
    if allocated not in (8, 16):
        raise DicomError(f"(0028,0100) Bits Allocated is {allocated}; 8 and 16 are read")
    if not 1 <= stored <= allocated:
        raise DicomError(
            f"(0028,0101) Bits Stored is {stored}; it must be 1 to the {allocated} bits allocated"
        )
    if header.high_bit != stored - 1:
        raise DicomError(
            f"(0028,0102) High Bit is {header.high_bit}; it must be Bits Stored - 1 = {stored - 1}"
        )
    if header.pixel_representation not in (0, 1):
        raise DicomError(
            f"(0028,0103) Pixel Representation is {header.pixel_representation}; it must be 0 or 1"
        )


def _stored_values(data: DataSet, header: Header) -> NDArray[Any]:
    """Return the pixels as stored (rows, columns), 8 or 16 bit, writable."""
    uid = header.transfer_syntax_uid
    compressed = uid in codecs.CODECS
    if data.elements[PIXEL_DATA].undefined != compressed:
        found = "compressed" if not compressed else "not compressed"
        raise DicomError(
            f"the Transfer Syntax UID (0002,0010) says {header.transfer_syntax_name}, but the"
            f" pixel data is {found}; correct the UID or export the file again"
        )
    if compressed:
        frame = b"".join(fragments(data))
        return codecs.decode_frame(frame, uid, header.rows, header.columns, header.bits_allocated)
    return _native(data, header)


def _native(data: DataSet, header: Header) -> NDArray[Any]:
    bytes_each = header.bits_allocated // 8
    expected = header.rows * header.columns * bytes_each
    if header.pixel_bytes not in (expected, expected + expected % 2):
        hint = "; it looks like JPEG" if data.raw(PIXEL_DATA)[:2] == b"\xff\xd8" else ""
        short = TruncatedError if header.pixel_bytes < expected else DicomError
        raise short(
            f"(7FE0,0010) Pixel Data has {header.pixel_bytes:,} bytes{hint}, but"
            f" {header.rows} x {header.columns} pixels of {header.bits_allocated} bits need"
            f" {expected:,}; the file is truncated or mislabelled"
        )
    element = data.elements[PIXEL_DATA]
    if data.encoding.big_endian and bytes_each == 1 and element.vr == "OW":
        # Bytes travel as 16-bit words here (PS3.5 8.1.2), so each pair is swapped.
        words = np.frombuffer(data.raw(PIXEL_DATA), ">u2").astype("<u2")
        return words.view(np.uint8)[:expected].reshape(header.rows, header.columns).copy()
    order = ">" if data.encoding.big_endian else "<"
    stored = np.frombuffer(
        data.buffer, f"{order}u{bytes_each}", header.rows * header.columns, element.start
    )
    return stored.reshape(header.rows, header.columns).astype(f"=u{bytes_each}")
