"""Files other than DICOM that hold a radiograph: JPEG, PNG, TIFF, NIfTI; hostile until parsed.

Public sets are published in them (NIH ChestX-ray14 as PNG), some re-saved with three equal channels
or a channel of opacity. What the file says of its size is read and bounded before anything is
decoded.

Pictures that pleura draws are PNG too. They name their maker, and are refused by that.

Source: ISO/IEC 15948 (PNG) 5.3, 11.2.2, 11.3.4.3; ITU-T T.81 (JPEG) B.2.2.
"""

import io
import os
import stat
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pleura.dicom.codecs import decode_jpeg
from pleura.dicom.inflating import gunzip
from pleura.dicom.limits import MAX_PIXELS
from pleura.dicom.own_result import MAKER
from pleura.dicom.signature import is_gzip
from pleura.errors import DicomError, PictureError
from pleura.formats.turned import RULE, orientation_in, orientation_of
from pleura.storage import elsewhere
from pleura.storage.archive import read_member
from pleura.storage.content import Stamp, stamp_at, stamp_of

MAX_FILE_BYTES = 256 << 20
MAX_SPREAD = 16
"""Grey levels of 255 by which channels of a grey picture may differ: JPEG rounds them apart."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_BEGINS = len(_PNG) + 12 + 13
"""Bytes before the second chunk: the first one's 13 with their length, name and check."""

_MADE_BY = b"Software\0" + MAKER.encode()
_PNG_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
_JPEG = b"\xff\xd8"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF_MODES = ("L", "LA", "RGB", "RGBA", "I;16", "I;16B", "I;16L")
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_NIFTI_MAGIC, _NIFTI_AT = (b"n+1\0", b"ni1\0"), 344
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
_JPEG_BARE = (0x01, *range(0xD0, 0xD8))
# What decoders raise over a stranger's bytes. Names and assertions are missing on purpose.
_HOSTILE = (
    ArithmeticError,
    Image.DecompressionBombError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class PlainPicture(NamedTuple):
    """A radiograph in a file without a header.

    Attributes:
        pixels: ``(rows, columns)`` uint8, or uint16 of a file of more bits. 0 is black, as such
            files are published; only a TIFF may say otherwise, and is inverted then. Values of 9 to
            15 bits in 16 are stretched to 0..65535 by the bits that the largest takes. A channel of
            opacity is left out, which must be even, or black where it is less.
        kind: ``PNG``, ``JPEG``, ``TIFF`` or ``NIfTI``.
        content: The whole file.
        stamp: What the system said of it when it was opened.
    """

    pixels: NDArray[Any]
    kind: str
    content: bytes
    stamp: Stamp


def open_plain_picture(path: str | os.PathLike[str]) -> PlainPicture:
    """Return the radiograph in a JPEG, PNG, TIFF or NIfTI file.

    Raises:
        PictureError: It cannot be read, is of no such kind, is in colour, too large, or corrupt;
            the message names the path, the value found and what to do.
    """
    try:
        content, stamp = _load(Path(path))
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from error
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise PictureError(f"{path}: cannot be read ({why})") from error
    return parse_plain_picture(content, str(path), stamp)


def parse_plain_picture(content: bytes, name: str, stamp: Stamp | None = None) -> PlainPicture:
    """Return the radiograph in the bytes of such a file.

    Args:
        content: The whole file.
        name: What messages call it.
        stamp: What the system said of the file; left out, there is none.

    Raises:
        PictureError: As for :func:`open_plain_picture`.
    """
    try:
        kind, pixels, channels, white_is_zero = _decoded(content)
        pixels = stretched(grey(pixels, channels))
        if white_is_zero:
            pixels = np.iinfo(pixels.dtype).max - pixels
    except (PictureError, DicomError) as error:
        raise PictureError(f"{name}: {error}") from error
    except _HOSTILE as error:
        raise PictureError(
            f"{name}: is corrupt or breaks off ({type(error).__name__} while reading it); copy it "
            "again from its source"
        ) from error
    return PlainPicture(pixels, kind, content, stamp or Stamp(len(content), 0, 0, 0))


def is_plain_picture(head: bytes) -> bool:
    """Return whether bytes begin as such a file does; of a NIfTI file 348 of them are needed."""
    return head.startswith((_PNG, _JPEG, *_TIFF)) or _is_nifti(head)


def signed_png(content: bytes) -> bytes:
    """Return a PNG file that names pleura as its maker.

    Args:
        content: A PNG file.
    """
    chunk = b"tEXt" + _MADE_BY
    check = struct.pack(">L", zlib.crc32(chunk))
    signature = struct.pack(">L", len(_MADE_BY)) + chunk + check
    return content[:_PNG_BEGINS] + signature + content[_PNG_BEGINS:]


def _load(path: Path) -> tuple[bytes, Stamp]:
    content = elsewhere.content_of(path)
    if content is not None:
        return content, stamp_at(path) or Stamp(len(content), 0, 0, 0)
    try:
        descriptor = os.open(path, _OPEN)
    except NotADirectoryError:
        return read_member(path), stamp_at(path) or Stamp(0, 0, 0, 0)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PictureError("is a folder, a pipe or a device; a regular file is needed")
        if status.st_size > MAX_FILE_BYTES:
            raise PictureError(f"has {status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        return file.read(MAX_FILE_BYTES), stamp_of(status)


def _decoded(content: bytes) -> tuple[str, NDArray[Any], int, bool]:
    """Return a file's kind, values, number of channels as it says, and whether its 0 is white.

    The size that it states is checked before they are decoded.
    """
    if content.startswith(_PNG):
        channels = _png_channels(content)
        if b"eXIf" in content:
            _require_upright(content, "PNG")
        return "PNG", np.asarray(imagecodecs.png_decode(content)), channels, False
    if content.startswith(_JPEG):
        rows, columns, channels = _jpeg_frame(content)
        _require_size(rows, columns)
        _require_upright(content, "JPEG")
        return "JPEG", decode_jpeg(content), channels, False
    if content.startswith(_TIFF):
        pixels, white_is_zero = _tiff(content)
        return "TIFF", pixels, 1 if pixels.ndim == 2 else pixels.shape[2], white_is_zero
    unpacked = gunzip(content) if is_gzip(content) else content
    if _is_nifti(unpacked):
        return "NIfTI", _nifti(unpacked), 1, False
    raise PictureError("is neither JPEG, PNG, TIFF nor NIfTI; convert it")


def _png_channels(content: bytes) -> int:
    columns, rows, bits, colour = struct.unpack_from(">LLBB", content, 16)
    if content[12:16] != b"IHDR" or colour not in _PNG_CHANNELS or bits not in (8, 16):
        raise PictureError(
            f"is a PNG of colour type {colour} with {bits} bits; grey ones of 8 or 16 bits are "
            "read: convert it"
        )
    if content[_PNG_BEGINS + 4 :].startswith(b"tEXt" + _MADE_BY):
        raise PictureError(
            "is a picture that pleura drew, and results are never inputs; name the radiograph"
            " itself"
        )
    _require_size(rows, columns)
    animated = content.find(b"acTL", 0, content.find(b"IDAT"))
    pages = struct.unpack_from(">L", content, animated + 4)[0] if animated > 0 else 1
    if pages != 1:
        raise PictureError(f"holds {pages} pictures in turn; save the one that is meant")
    return _PNG_CHANNELS[colour]


def _require_size(rows: int, columns: int) -> None:
    if not 0 < rows * columns <= MAX_PIXELS:
        raise PictureError(
            f"states {rows:,} x {columns:,} pixels; from 1 to {MAX_PIXELS:,} are read"
        )


def _require_upright(content: bytes, kind: str) -> None:
    if turned := orientation_in(content, kind):
        raise PictureError(RULE.format(turned))


def _tiff(content: bytes) -> tuple[NDArray[Any], bool]:
    """Return the values of a TIFF, and whether 0 of them is white."""
    quiet = warnings.catch_warnings(action="ignore")  # of metadata, which nobody asks for
    with quiet, Image.open(io.BytesIO(content), formats=("TIFF",)) as picture:
        _require_size(*reversed(picture.size))
        pages = getattr(picture, "n_frames", 1)
        if pages != 1:
            raise PictureError(f"holds {pages} pages; save the one that is meant")
        if turned := orientation_of(picture):
            raise PictureError(RULE.format(turned))
        if picture.mode not in _TIFF_MODES:
            raise PictureError(
                f"is a TIFF of mode {picture.mode}; grey ones of 8 or 16 bits are read: convert it"
            )
        values = np.asarray(picture)
        # Pillow turns 8 bits round by itself, and leaves 16 as they are.
        inverse = values.itemsize == 2 and picture.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO  # type: ignore[attr-defined]
    return values.astype(np.uint16) if values.itemsize == 2 else values, inverse


def _is_nifti(content: bytes) -> bool:
    return content.startswith(_NIFTI_MAGIC, _NIFTI_AT)


def _nifti(content: bytes) -> NDArray[Any]:
    """Return the slice in a NIfTI file, its first axis along the columns as ITK writes it.

    Numbers that are no counts from 0 to 65535, such as shares or negative ones, are stretched from
    their smallest to their largest.
    """
    from pleura.formats.nifti import slice_of  # nibabel takes its time

    values = slice_of(content)
    if not np.isfinite(values).all():
        raise PictureError("holds values that are no numbers; save it without them")
    lowest, highest = float(values.min()), float(values.max())
    if lowest >= 0 and highest <= 65535 and (values == np.rint(values)).all() and highest > 1:
        return values.astype(np.uint8 if values.dtype == np.uint8 else np.uint16)
    span = max(highest - lowest, np.finfo(np.float64).tiny)
    return np.rint((values.astype(np.float64) - lowest) / span * 65535).astype(np.uint16)


def stretched(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return values of 9 to 15 bits stretched over the 16 that they are stored in.

    Args:
        pixels: ``(rows, columns)`` uint16; of uint8, or of 16 bits, they come back as they are.
    """
    if pixels.dtype != np.uint16:
        return pixels
    bits = max(8, int(pixels.max()).bit_length())
    if bits == 16:
        return pixels
    most = (1 << bits) - 1
    return ((pixels.astype(np.uint32) * 65535 + most // 2) // most).astype(np.uint16)


def _jpeg_frame(content: bytes) -> tuple[int, int, int]:
    """Return rows, columns and components of a JPEG, baseline or progressive, of 8 bits."""
    position = 2
    while True:
        if content[position] != 0xFF:
            raise PictureError("is a corrupt JPEG: no marker where one should be; copy it again")
        marker = content[position + 1]
        if marker in _JPEG_FRAMES:
            bits, rows, columns, components = struct.unpack_from(">BHHB", content, position + 4)
            if bits != 8 or components not in (1, 3):
                raise PictureError(
                    f"is a JPEG of {bits} bits and {components} components; grey ones of 8 bits "
                    "are read: convert it"
                )
            return rows, columns, components
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            raise PictureError(
                f"is a JPEG of process SOF{marker - 0xC0}; baseline and progressive ones are read: "
                "convert it"
            )
        if marker in (0xD9, 0xDA):
            raise PictureError(
                "is a corrupt JPEG: its image data has no frame header; copy it again"
            )
        if marker == 0xFF or marker in _JPEG_BARE:
            position += 1 if marker == 0xFF else 2
            continue
        position += 2 + struct.unpack_from(">H", content, position + 2)[0]


def grey(pixels: NDArray[Any], channels: int) -> NDArray[Any]:
    """Return the one plane of a grey picture.

    Args:
        pixels: ``(rows, columns)`` or ``(rows, columns, channels)``, uint8 or uint16.
        channels: How many the file says that it has; of 2 and 4 the last is opacity.

    Raises:
        PictureError: It is in colour, or transparent in part; the message lacks its name.
    """
    if pixels.ndim == 2:
        return np.ascontiguousarray(pixels)
    colours = pixels[..., :3] if channels >= 3 else pixels[..., :1]
    spread = int((colours.max(axis=2) - colours.min(axis=2)).max())
    allowed = MAX_SPREAD * (257 if pixels.dtype == np.uint16 else 1)
    if spread > allowed:
        raise PictureError(
            f"is in colour (channels differ by up to {spread}); a radiograph is grey"
        )
    plane = np.ascontiguousarray(colours[..., colours.shape[2] // 2])
    if pixels.shape[2] in (2, 4):
        _require_opaque(plane, pixels[..., -1])
    return plane


def _require_opaque(plane: NDArray[Any], opacity: NDArray[Any]) -> None:
    """Check that the grey values are what is seen: opacity is even, or what is seen through black.

    Raises:
        PictureError: They are not; the message lacks its name.
    """
    through = opacity != opacity.max()
    if plane[through].any():
        raise PictureError(
            f"is transparent in {int(np.count_nonzero(through)):,} of its pixels, so what is seen "
            "of it depends on what lies behind; save it without opacity"
        )
