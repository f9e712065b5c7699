"""Values of data elements: bytes to numbers and text, strictly where a picture depends on them.

Source: DICOM PS3.5 section 6.2 (value representations), PS3.3 C.12.1.1.2 (character sets).
"""

import math
import struct
import warnings

from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.datadict import dictionary_description

from pleura.errors import DicomError
from pleura.formats.elements import DataSet, tag_text

CHARACTER_SET = 0x00080005

_ESCAPE = b"\x1b"
_SHOWN = 40


def name(tag: int) -> str:
    """Return tag and name as messages show them: "(0028,0010) Rows"."""
    return f"{tag_text(tag)} {dictionary_description(tag)}"


def text(data: DataSet, tag: int) -> str:
    """Return a value as text without padding; "" where absent; several stay joined by backslashes.

    Control characters become U+FFFD: a terminal must not obey a file.
    """
    raw = data.raw(tag).strip(b" \0")
    if not raw:
        return ""
    if raw.isascii() and _ESCAPE not in raw:
        decoded = raw.decode("ascii")
    else:
        decoded = _decode(raw, data.raw(CHARACTER_SET).decode("ascii", "replace"))
    return printable(decoded)


def printable(text: str, allowed: str = "") -> str:
    """Return a text with U+FFFD for every letter that is not printable and not `allowed`."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in allowed else "�" for one in text)


def integer(data: DataSet, tag: int, *, signed: bool = False) -> int | None:
    """Return a 16-bit integer; None where absent or empty.

    Raises:
        DicomError: The value is no 16-bit integer, or there are several.
    """
    found = integers(data, tag, signed=signed)
    if len(found) > 1:
        raise DicomError(f"{name(tag)} has {len(found)} values; it must have one")
    return found[0] if found else None


def integers(data: DataSet, tag: int, *, signed: bool = False) -> tuple[int, ...]:
    """Return 16-bit integers; () where absent or empty.

    Raises:
        DicomError: The value is stored as something else.
    """
    element = data.elements.get(tag)
    raw = data.raw(tag)
    if element is None or not raw:
        return ()
    if element.vr not in ("", "US", "SS", "UN", "OW") or len(raw) % 2:
        raise DicomError(
            f"{name(tag)} is stored as {element.vr or 'bytes'} of {len(raw)} bytes; it must be a"
            " 16-bit integer (US)"
        )
    order = ">" if data.encoding.big_endian else "<"
    return struct.unpack(f"{order}{len(raw) // 2}{'h' if signed else 'H'}", raw)


def decimals(data: DataSet, tag: int) -> tuple[float, ...]:
    """Return the numbers of a decimal string, however long; () where absent or empty.

    Raises:
        DicomError: One of them is no finite number.
    """
    found = text(data, tag)
    try:
        numbers = tuple(float(part) for part in found.split("\\")) if found else ()
    except ValueError:
        numbers = (math.nan,)
    if not all(math.isfinite(number) for number in numbers):
        raise DicomError(f"{name(tag)} is {found[:_SHOWN]!r}; it must be a finite number")
    return numbers


def decimal(data: DataSet, tag: int, default: float) -> float:
    """Return the one number of a decimal string; `default` where absent or empty.

    Raises:
        DicomError: It is no finite number, or there are several.
    """
    found = decimals(data, tag)
    if len(found) > 1:
        raise DicomError(f"{name(tag)} has {len(found)} values; it must have one")
    return found[0] if found else default


def _decode(raw: bytes, character_sets: str) -> str:
    """Return non-ASCII text by the file's character sets; what cannot be decoded becomes U+FFFD."""
    terms = [term.strip(" \0") for term in character_sets.split("\\")]
    if len(terms) == 1 and _ESCAPE not in raw:
        return raw.decode(python_encoding.get(terms[0], "latin-1"), "replace")
    with warnings.catch_warnings():  # pydicom warns of every unknown term or escape
        warnings.simplefilter("ignore")
        return decode_bytes(raw, convert_encodings(list(terms)), {0x5C, 0x5E, 0x3D})
