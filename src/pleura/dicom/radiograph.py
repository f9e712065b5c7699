"""DICOM files: a header, a radiograph, or a refusal that says why.

What is read: one monochrome frame of 1 to 16 bits, in every native or compressed transfer syntax
that radiographs come in. What is not read is refused with one clear message, before anything
large is allocated. A header can be read of any file with pixel data, also of one in colour or of
several frames, whose pixels :func:`read_radiograph` refuses.

pydicom gives the dictionary and the character sets; the walk over the bytes is our own (see
:mod:`pleura.dicom.elements`), so no pydicom setting is changed and no warning raised.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pleura.dicom import codecs, grayscale
from pleura.dicom.elements import PIXEL_DATA, DataSet, fragments
from pleura.dicom.file import DicomStream, LoadedStream, Walked, open_stream, reasons
from pleura.dicom.grayscale import Window
from pleura.dicom.header import Header, build_header, require_picture
from pleura.dicom.joining import decode_fragments
from pleura.dicom.notes import Note
from pleura.dicom.presentation import has_overlay_bits, padding_of, presentation_of
from pleura.dicom.sides import true_columns
from pleura.dicom.sop_classes import uid_name
from pleura.dicom.stored import (
    order_contradicts,
    recode_padding,
    samples_contradict,
    sign_contradicts,
    within_bits,
)
from pleura.dicom.transfer_syntax import EXPLICIT, NATIVE
from pleura.dicom.values import WAY_OUT
from pleura.errors import ChangedError, DicomError, MislabelledError
from pleura.storage.content import Stamp, fingerprint

__all__ = [
    "Header",
    "Note",
    "Opened",
    "Radiograph",
    "Window",
    "open_radiograph",
    "read_header",
    "read_radiograph",
    "require_radiograph",
]

CHANGED = "holds another content than a moment ago, when it was answered; predict it again"

_HEAD_BYTES = 1 << 20
_ITEM = b"\xfe\xff\x00\xe0"


@dataclass(frozen=True, slots=True, eq=False)
class Radiograph:
    """One picture, ready to look at or to feed to a network.

    Attributes:
        header: What the file says of itself.
        pixels: ``(rows, columns)``, uint8 or uint16, C-contiguous and writable. 0 is black (air),
            the largest value of the dtype is white (bone), also where the file itself is
            MONOCHROME1. See :func:`pleura.dicom.grayscale.render`.
    """

    header: Header
    pixels: NDArray[Any]

    def __repr__(self) -> str:
        rows, columns = self.pixels.shape
        return f"Radiograph({self.id!r}, {rows}x{columns} {self.pixels.dtype})"

    @property
    def id(self) -> str:
        """The SOP Instance UID."""
        return self.header.sop_instance_uid

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Distance between (rows, columns) in mm; None where the file does not say.

        It is what the file says, which may be wrong: measure by `header.geometry`.
        """
        return self.header.spacing_mm


class Opened(NamedTuple):
    """A picture together with what it was made from, for writers of results.

    Attributes:
        radiograph: As :func:`read_radiograph` gives it.
        data: The elements of the file.
        rules: How the file wants its stored values shown; where it names no window and a picture
            of more than 8 bits needs one, the window that was taken.
        content: The whole file, from which all of this comes.
        stamp: What the system said of the file when it was opened.
    """

    radiograph: Radiograph
    data: DataSet
    rules: grayscale.Grayscale
    content: bytes
    stamp: Stamp

    @property
    def fingerprint(self) -> str:
        """What tells the file's bytes from others."""
        return fingerprint(self.content)


def read_header(path: str | os.PathLike[str]) -> Header:
    """Return what a file says of itself, without decoding its pixels.

    Args:
        path: A DICOM file with pixel data; colour and several frames are taken.

    Raises:
        DicomError: It is not such a file; the message names the path and the reason.
    """
    path = path if isinstance(path, Path) else Path(path)
    with reasons(path), open_stream(path) as stream:
        return _header(path, stream.walked(_HEAD_BYTES))


def parse_header(content: bytes, name: str = "the bytes") -> Header:
    """Return what the bytes of a DICOM file say of it, as :func:`read_header` does.

    Args:
        content: The whole file, or a gzip of it.
        name: What messages call it.

    Raises:
        DicomError: As for :func:`read_header`.
    """
    with reasons(name), LoadedStream(content) as stream:
        return _header(Path(name), stream.walked(_HEAD_BYTES))


def read_radiograph(path: str | os.PathLike[str]) -> Radiograph:
    """Return the picture in a DICOM file: one monochrome frame, air black and bone white.

    Args:
        path: The file, plain or gzipped.

    Raises:
        DicomError: It cannot be read faithfully; the message names the path, the value found,
            the rule and what to do.
    """
    return _open(path)[0].radiograph


def parse_radiograph(content: bytes, name: str = "the bytes") -> Opened:
    """Return the picture in the bytes of a DICOM file, as :func:`open_radiograph` does.

    Args:
        content: The whole file, or a gzip of it.
        name: What messages call it.

    Raises:
        DicomError: As for :func:`read_radiograph`.
    """
    opened, codes = _open(name, content=content)
    return opened._replace(rules=grayscale.completed(codes, opened.rules))


def open_radiograph(path: str | os.PathLike[str], expected: str = "") -> Opened:
    """Return the picture in a file with the elements and the rules that it was made from.

    The file is opened once, and all of it comes from the same bytes.

    Args:
        path: A DICOM file.
        expected: The fingerprint that its bytes must have; left out, any.

    Raises:
        ChangedError: It holds other bytes than expected.
        DicomError: As for :func:`read_radiograph`.
    """
    opened, codes = _open(path, expected)
    return opened._replace(rules=grayscale.completed(codes, opened.rules))


def _open(
    path: str | os.PathLike[str], expected: str = "", content: bytes | None = None
) -> tuple[Opened, NDArray[Any]]:
    """Return what is in a file, or in bytes in its place, and its stored values as codes."""
    named, path = path, path if isinstance(path, Path) else Path(path)
    with reasons(named), _stream(path, content) as stream:
        if expected and fingerprint(stream.whole()) != expected:
            raise ChangedError(CHANGED)
        file = stream.walked(_HEAD_BYTES)
        header = _header(path, file)
        _require_radiograph(header)  # before a large file is loaded for nothing
        content = stream.whole()
        if len(file.data.buffer) < len(content):
            file = stream.walked(len(content))
            header = _header(path, file)
        overlay = has_overlay_bits(file.data)
        stored, uid, padding = _stored_values(file.data, header, overlay)
        codes = grayscale.codes(stored, header.bits_stored, header.signed, overlay)
        rules = presentation_of(file.data, header)
        if padding is not None:
            rules = replace(rules, padding=(padding, padding))
        others = header.windows[1:] if isinstance(rules.voi, grayscale.Window) else ()
        rules, misfit = grayscale.fitted(codes, rules, others)
        if misfit:
            file.data.note("window-of-other-values", misfit)
        pixels = grayscale.render(codes, rules)
        notes = tuple(file.data.notes)
        if (uid, notes) != (header.transfer_syntax_uid, header.notes):
            header = replace(
                header, transfer_syntax_uid=uid, transfer_syntax_name=uid_name(uid), notes=notes
            )
        radiograph = Radiograph(header, pixels)
        return Opened(radiograph, file.data, rules, content, stream.stamp), codes


def require_radiograph(header: Header) -> None:
    """Check from the header alone that :func:`read_radiograph` has a picture to read.

    Raises:
        OwnResultError: It is a result of pleura.
        OtherObjectError: Its kind says that it is no radiograph, such as a segmentation.
        DicomError: Colour, several frames, an unread transfer syntax, or impossible bits.
    """
    with reasons(header.path):
        _require_radiograph(header)


def _stream(path: Path, content: bytes | None) -> DicomStream:
    return open_stream(path) if content is None else LoadedStream(content)


def _header(path: Path, file: Walked) -> Header:
    return build_header(path, file.data, file.meta, file.transfer_syntax_uid)


def _require_radiograph(header: Header) -> None:
    require_picture(header.other_object, header.own_result)
    photometric = header.photometric_interpretation
    if header.samples_per_pixel != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise DicomError(
            f"(0028,0004) Photometric Interpretation is {photometric[:16]!r} with"
            f" {header.samples_per_pixel} sample(s) per pixel; only MONOCHROME1 and MONOCHROME2"
            " are read: this is no plain radiograph, or export it as one"
        )
    if header.frames != 1:
        raise DicomError(
            f"(0028,0008) Number of Frames is {header.frames}; only single images are read:"
            " export the frame you want"
        )
    if header.transfer_syntax_uid not in NATIVE and header.transfer_syntax_uid not in codecs.CODECS:
        raise DicomError(
            f"the transfer syntax {header.transfer_syntax_name} is not read; convert the file to"
            " Explicit VR Little Endian"
        )
    _require_bits(header)


def _require_bits(header: Header) -> None:
    allocated, stored = header.bits_allocated, header.bits_stored
    if allocated not in (8, 16):
        raise DicomError(
            f"(0028,0100) Bits Allocated is {allocated}; 8 and 16 are read: export the file with"
            " one of these"
        )
    if not 1 <= stored <= allocated:
        raise DicomError(
            f"(0028,0101) Bits Stored is {stored}; it must be 1 to the {allocated} bits"
            f" allocated{WAY_OUT}"
        )
    if header.high_bit != stored - 1:
        raise DicomError(
            f"(0028,0102) High Bit is {header.high_bit}; it must be Bits Stored - 1 = {stored - 1}"
            f"{WAY_OUT}"
        )
    if header.pixel_representation not in (0, 1):
        raise DicomError(
            f"(0028,0103) Pixel Representation is {header.pixel_representation}; it must be 0 or 1"
            f"{WAY_OUT}"
        )


def _stored_values(
    data: DataSet, header: Header, overlay_bits: bool = False
) -> tuple[NDArray[Any], str, int | None]:
    """Return the pixels as stored, and the UID of the transfer syntax that they are in.

    They are ``(rows, columns)``, 8 or 16 bit, writable, within their bits. Pixel data
    shows itself whether it is compressed, whatever the transfer syntax says. Last comes the value
    that padding was changed to, None where it was left as it is.
    """
    uid = header.transfer_syntax_uid
    element = data.elements[PIXEL_DATA]
    itemised = data.buffer.startswith(_ITEM, element.start)
    sized = element.undefined or header.pixel_bytes in _native_bytes(header)
    if element.undefined or (itemised and (uid in codecs.CODECS or not sized)):
        stored, lossy, uid = _decoded(data, header)
    elif uid in codecs.CODECS and not sized:
        raise MislabelledError(
            f"the Transfer Syntax UID (0002,0010) says {header.transfer_syntax_name}, but"
            " (7FE0,0010) Pixel Data is not compressed as DICOM does it, and has not the size of"
            " pixels that are not: correct the UID or export the file again"
        )
    else:
        if uid in codecs.CODECS:
            text = f"says {header.transfer_syntax_name}; the pixels are not compressed, and read so"
            data.note("wrong-syntax", f"the Transfer Syntax UID (0002,0010) {text}")
            uid = EXPLICIT
        stored, lossy = _native(data, header), False
        _require_order(stored, header)
        _require_samples(stored, header)
    _require_sides(stored, header, uid)
    if overlay_bits:
        return stored, uid, None
    bits, signed = header.bits_stored, header.signed
    value: int | None = None
    if (padding := padding_of(data, signed=False)) is not None:
        stored, value, recoded = recode_padding(stored, padding, bits, signed)
        if recoded is not None:
            data.note(recoded.kind, recoded.text)
    fitting, found = within_bits(stored, bits, signed, lossy)
    if found is not None:
        data.note(found.kind, found.text)
    _require_sign(fitting, header)
    return fitting, uid, value


def _decoded(data: DataSet, header: Header) -> tuple[NDArray[Any], bool, str]:
    """Return pixels that are compressed, whether something was lost, and their transfer syntax."""
    if not data.elements[PIXEL_DATA].undefined:
        data.note("loose-structure", "(7FE0,0010) states a length where compressed data has none")
    stored, lossy, uid, notes = decode_fragments(
        fragments(data),
        header.transfer_syntax_uid,
        header.rows,
        header.columns,
        header.bits_allocated,
    )
    for note in notes:
        data.note(note.kind, note.text)
    return stored, lossy, uid


def _require_order(stored: NDArray[Any], header: Header) -> None:
    if stored.itemsize == 2 and order_contradicts(
        stored.view(np.int16) if header.signed else stored
    ):
        raise MislabelledError(
            "the two bytes of each pixel stand the other way round than the Transfer Syntax UID"
            f" (0002,0010) {header.transfer_syntax_name} says, for only so neighbouring pixels are"
            " alike: export the file again"
        )


def _require_samples(stored: NDArray[Any], header: Header) -> None:
    if samples_contradict(stored):
        raise MislabelledError(
            f"(0028,0100) Bits Allocated is {header.bits_allocated} and (0028,0002) Samples per"
            f" Pixel {header.samples_per_pixel}, but the pixels make a picture only with other"
            " values: correct them and (0028,0011) Columns, or export the file again"
        )


def _require_sides(stored: NDArray[Any], header: Header, uid: str) -> None:
    """Refuse pixels of wrong sides, which all compressed frames but those of RLE state."""
    packed = uid in codecs.CODECS
    if packed and codecs.CODECS[uid] != codecs.RLE:
        return
    values = stored.view(np.int16) if header.signed and stored.itemsize == 2 else stored
    in_file = stored.size if packed else header.pixel_bytes // stored.itemsize
    if columns := true_columns(values, in_file):
        raise MislabelledError(
            f"(0028,0010) Rows x (0028,0011) Columns is {header.rows} x {header.columns}, but only"
            f" as {in_file // columns} x {columns} the pixels make a picture: correct the two, or"
            " export the file again"
        )


def _require_sign(stored: NDArray[Any], header: Header) -> None:
    what = f"(0028,0103) Pixel Representation is {header.pixel_representation}"
    if stored.dtype.kind == "i" and not header.signed and stored.min() < 0:
        raise MislabelledError(
            f"{what} (unsigned), but the compressed frame is signed and goes down to"
            f" {int(stored.min()):,}: correct it or export the file again"
        )
    if sign_contradicts(stored, header.bits_stored, header.signed):
        said, other = ("signed", "unsigned") if header.signed else ("unsigned", "signed")
        raise MislabelledError(
            f"{what} ({said}), but so neighbouring pixels jump from one end of the grey scale to"
            f" the other, and {other} they do not: correct it or export the file again"
        )


def _native_bytes(header: Header) -> tuple[int, int]:
    """Return how many bytes native pixels need, without and with a pad byte."""
    needed = header.rows * header.columns * header.bits_allocated // 8
    return needed, needed + needed % 2


def _native(data: DataSet, header: Header) -> NDArray[Any]:
    bytes_each = header.bits_allocated // 8
    expected, padded = _native_bytes(header)
    if header.pixel_bytes not in (expected, padded):
        _require_padding(data, header, expected)
    element = data.elements[PIXEL_DATA]
    if data.encoding.big_endian and bytes_each == 1 and element.vr == "OW":
        # Bytes travel as 16-bit words here (PS3.5 8.1.2), so each pair is swapped.
        words = np.frombuffer(data.raw(PIXEL_DATA)[:padded], ">u2").astype("<u2")
        return words.view(np.uint8)[:expected].reshape(header.rows, header.columns).copy()
    order = ">" if data.encoding.big_endian else "<"
    stored = np.frombuffer(
        data.buffer, f"{order}u{bytes_each}", header.rows * header.columns, element.start
    )
    return stored.reshape(header.rows, header.columns).astype(f"=u{bytes_each}")


def _require_padding(data: DataSet, header: Header, expected: int) -> None:
    """Note what lies behind the `expected` bytes of the pixels, where it cannot be more of them.

    That is so for one value throughout, and for less than a row or a column would take: else Rows
    or Columns could be too small, and a part of the picture left out.

    Source: DICOM PS3.5 8.1.1, where a receiver is to accept excess padding.
    """
    stored, more = data.raw(PIXEL_DATA), header.pixel_bytes - expected
    behind = stored[expected + expected % 2 :]
    line = min(header.rows, header.columns) * header.bits_allocated // 8
    if more > 0 and (more < line or not behind.strip(behind[:1])):
        data.note("bytes-ignored", f"{more:,} bytes behind the pixels are left out as padding")
        return
    found = (
        "; it looks like JPEG, which the transfer syntax does not say: correct that UID"
        if stored.startswith(b"\xff\xd8\xff")
        else ", and what follows them is no padding; one of the three or Number of Frames is wrong"
        if more > 0
        else "; one of the three is wrong, or a part of the pixels was never written"
    )
    raise MislabelledError(
        f"(7FE0,0010) Pixel Data has {header.pixel_bytes:,} bytes, but Rows x Columns"
        f" {header.rows} x {header.columns} of {header.bits_allocated} Bits Allocated need"
        f" {expected:,}{found}: correct it or export the file again"
    )
