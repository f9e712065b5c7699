"""JPEG and PNG files that hold a radiograph: grey, 8 or 16 bit, read as hostile until parsed.

Public sets are published in them (NIH ChestX-ray14 as PNG), some re-saved with three equal channels
or a channel of opacity. What the file says of its size is read and bounded before anything is
decoded.

Source: ISO/IEC 15948 (PNG) 11.2.2; ITU-T T.81 (JPEG) B.2.2.
"""

import os
import stat
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from pleura.errors import PictureError
from pleura.formats.limits import MAX_PIXELS

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
"""What names of such files end in, in small letters."""

MAX_FILE_BYTES = 256 << 20
MAX_SPREAD = 16
"""Grey levels of 255 by which channels of a grey picture may differ: JPEG rounds them apart."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
_JPEG = b"\xff\xd8"
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
_JPEG_BARE = (0x01, *range(0xD0, 0xD8))
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_plain_picture(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return the radiograph in a JPEG or PNG file.

    Returns:
        (rows, columns) uint8, or uint16 of a 16-bit PNG; as stored, for such files are
            published so that 0 is black. A channel of opacity is left out.

    Raises:
        PictureError: It cannot be read, is neither, is in colour, too large, or corrupt; the
            message names the path, the value found and what to do.
    """
    path = Path(path)
    try:
        content = _load(path)
        channels = _channels(content)
        pixels = _decoded(content)
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from error
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise PictureError(f"{path}: cannot be read ({why})") from error
    except (struct.error, IndexError, ValueError, RuntimeError, MemoryError) as error:
        raise PictureError(
            f"{path}: is corrupt or breaks off ({type(error).__name__} while reading it); copy it "
            "again from its source"
        ) from error
    return _grey(path, pixels, channels)


def _load(path: Path) -> bytes:
    descriptor = os.open(path, _OPEN)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PictureError("is a folder, a pipe or a device; a regular file is needed")
        if status.st_size > MAX_FILE_BYTES:
            raise PictureError(f"has {status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        return file.read(MAX_FILE_BYTES)


def _channels(content: bytes) -> int:
    """Return the number of channels; the size that the file states is checked here."""
    if content.startswith(_PNG):
        columns, rows, bits, colour = struct.unpack_from(">LLBB", content, 16)
        if content[12:16] != b"IHDR" or colour not in _PNG_CHANNELS or bits not in (8, 16):
            raise PictureError(
                f"is a PNG of colour type {colour} with {bits} bits; grey ones of 8 or 16 bits are "
                "read: convert it"
            )
        channels = _PNG_CHANNELS[colour]
    elif content.startswith(_JPEG):
        rows, columns, channels = _jpeg_frame(content)
    else:
        raise PictureError("is neither JPEG nor PNG; convert it")
    if not 0 < rows * columns <= MAX_PIXELS:
        raise PictureError(
            f"states {rows:,} x {columns:,} pixels; from 1 to {MAX_PIXELS:,} are read"
        )
    return channels


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


def _decoded(content: bytes) -> NDArray[Any]:
    if content.startswith(_PNG):
        return np.asarray(imagecodecs.png_decode(content))
    return np.asarray(imagecodecs.jpeg8_decode(content))


def _grey(path: Path, pixels: NDArray[Any], channels: int) -> NDArray[Any]:
    """Return the one plane of a grey picture."""
    if pixels.ndim == 2:
        return np.ascontiguousarray(pixels)
    colours = pixels[..., :3] if channels >= 3 else pixels[..., :1]
    spread = int((colours.max(axis=2) - colours.min(axis=2)).max())
    allowed = MAX_SPREAD * (257 if pixels.dtype == np.uint16 else 1)
    if spread > allowed:
        raise PictureError(
            f"{path}: is in colour (channels differ by up to {spread}); a radiograph is grey"
        )
    return np.ascontiguousarray(colours[..., colours.shape[2] // 2])
