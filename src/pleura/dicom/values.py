"""Values of data elements: bytes to numbers and text, strictly where a picture depends on them.

Source: DICOM PS3.5 section 6.2 (value representations), PS3.3 C.12.1.1.2 (character sets).
"""

import functools
import math
import re
import struct
import warnings

from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.datadict import dictionary_description

from pleura.dicom.elements import DataSet
from pleura.dicom.encoding import ORDERS, tag_text
from pleura.errors import DicomError
from pleura.printable import printable

CHARACTER_SET = 0x00080005

_ESCAPE = b"\x1b"
_ASCII_ALONE = ("", "ISO_IR 6", "ISO 2022 IR 6")
SHOWN = 40
"""Characters of a value that messages show."""

WAY_OUT = ": correct it or export the file again"
"""What ends the message of a value that cannot be used."""

_MOST_INTEGER = 2**31 - 1
_BINARY = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d"}
"""How numbers lie in the bytes of a VR that holds them as such."""

OLDEST_YEARS = 120
_AGE = re.compile("([0-9]{1,3})([DWMY]?)")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?(?:[0-9]+,[0-9]*|,[0-9]+)(?:[eE][+-]?[0-9]+)?")
_GROUP = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_POINTS_AND_COMMA = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+,[0-9]*")
_COMMAS_AND_POINT = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+\.[0-9]*")
_PLAIN = re.compile(rb" *[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)? *")
_MOST_KEPT_BYTES = 64


@functools.lru_cache(maxsize=1024)
def name(tag: int) -> str:
    """Return tag and name as messages show them: "(0028,0010) Rows"."""
    return f"{tag_text(tag)} {dictionary_description(tag)}"


def text(data: DataSet, tag: int) -> str:
    """Return a value as text without padding; "" where absent; several stay joined by backslashes.

    Control characters become U+FFFD: a terminal must not obey a file.
    """
    if tag not in data.elements:  # most are asked for in vain
        return ""
    raw = data.raw(tag).strip(b" \0")
    if raw.isascii() and _ESCAPE not in raw:
        decoded = raw.decode("ascii")
    else:
        decoded = _decode(raw, data.raw(CHARACTER_SET).decode("ascii", "replace"))
    return printable(decoded)


def integer(data: DataSet, tag: int, *, signed: bool = False) -> int | None:
    """Return a 16-bit integer; None where absent or empty.

    Raises:
        DicomError: The value is no 16-bit integer, or there are several.
    """
    element = data.elements.get(tag)
    if element is None:
        return None
    vr, start, end, _ = element
    if vr == "US" and end - start == 2 and not data.ambiguous:  # as nearly all are
        order = ORDERS[data.encoding.big_endian]
        return int.from_bytes(data.buffer[start:end], order, signed=signed)
    found = integers(data, tag, signed=signed)
    if len(found) > 1:
        raise DicomError(f"{name(tag)} has {len(found)} values; it must have one{WAY_OUT}")
    return found[0] if found else None


def integers(data: DataSet, tag: int, *, signed: bool = False) -> tuple[int, ...]:
    """Return 16-bit integers; () where absent or empty.

    Raises:
        DicomError: The value is stored as something else.
    """
    element = data.elements.get(tag)
    if element is None or not (raw := data.raw(tag)):
        return ()
    if element.vr not in ("", "US", "SS", "UN", "OW") or len(raw) % 2:
        raise DicomError(
            f"{name(tag)} is stored as {element.vr or 'bytes'} of {len(raw)} bytes; it must be a"
            f" 16-bit integer (US){WAY_OUT}"
        )
    if len(raw) == 2:
        return (int.from_bytes(raw, ORDERS[data.encoding.big_endian], signed=signed),)
    order = ">" if data.encoding.big_endian else "<"
    return struct.unpack(f"{order}{len(raw) // 2}{'h' if signed else 'H'}", raw)


def meaning(found: str) -> float | None:
    """Return the one finite number that a text can mean; None where it means none, or two.

    A number as DICOM writes it, or with a decimal comma, which it does not allow. Commas or points
    between thousands are passed over where the other sign is the decimal one. ``1,024`` alone may
    be either, and so means nothing.

    >>> meaning("1200,5"), meaning("-0,143"), meaning("1.024,5"), meaning("1,024")
    (1200.5, -0.143, 1024.5, None)

    Source: DICOM PS3.5 6.2 (DS, IS).
    """
    found = found.strip(" ")
    if not _DECIMAL.fullmatch(found):
        if _GROUP.fullmatch(found):
            return None
        if _DECIMAL_COMMA.fullmatch(found) or _POINTS_AND_COMMA.fullmatch(found):
            found = found.replace(".", "").replace(",", ".")
        elif _COMMAS_AND_POINT.fullmatch(found):
            found = found.replace(",", "")
        else:
            return None
    number = float(found)
    return number if math.isfinite(number) else None


def numbers(data: DataSet, tag: int) -> tuple[float | None, ...]:
    """Return the numbers of a decimal string, None for each that has no one meaning.

    () where absent or empty. A number that is read although DICOM writes it otherwise is noted;
    what becomes of one that is not read is for the caller to say. Where the VR says that the
    numbers are binary, they are read as that.
    """
    if tag not in data.elements:
        return ()
    element = data.elements[tag]
    if element.vr in _BINARY:
        return _binary_numbers(data, tag, element.vr)
    value = data.raw(tag).strip(b" \0")
    if len(value) <= _MOST_KEPT_BYTES and (plain := _plain_numbers(value)) is not None:
        return plain
    parts = text(data, tag).split("\\")
    if parts == [""]:
        return ()
    # A control character is shown as U+FFFD, and those that only space out are as good as blanks.
    raw = value.split(b"\\")
    words = [word.strip().decode("latin-1") for word in raw] if len(raw) == len(parts) else parts
    found = tuple(meaning(word) for word in words)
    for part, number in zip(parts, found, strict=True):
        if number is not None and not _DECIMAL.fullmatch(part.strip(" ")):
            rule = (
                "writes a decimal point and nothing between thousands"
                if "\ufffd" not in part
                else "puts nothing but blanks around a number"
            )
            data.note(
                "number-form",
                f"{name(tag)} {part.strip()[:SHOWN]!r} is read as {number:g}; DICOM {rule}",
            )
    return found


@functools.lru_cache(maxsize=1024)
def _plain_numbers(value: bytes) -> tuple[float, ...] | None:
    """Return the numbers of a value that holds only such as DICOM writes; None of any other."""
    words = value.split(b"\\") if value else ()
    if not all(map(_PLAIN.fullmatch, words)):
        return None
    found = tuple(map(float, words))
    return found if all(map(math.isfinite, found)) else None


def _binary_numbers(data: DataSet, tag: int, vr: str) -> tuple[float | None, ...]:
    """Return the numbers of an element that should be a decimal string and is binary."""
    raw, code = data.raw(tag), _BINARY[vr]
    order = ">" if data.encoding.big_endian else "<"
    size = struct.calcsize(order + code)
    if len(raw) % size:
        return (None,)
    found = struct.unpack(f"{order}{len(raw) // size}{code}", raw)
    if found:
        shown = ", ".join(f"{number:g}" for number in found[:4])
        data.note(
            "number-form", f"{name(tag)} is stored as {vr}, where a text belongs: read as {shown}"
        )
    return tuple(number if math.isfinite(number) else None for number in found)


def decimals(data: DataSet, tag: int) -> tuple[float, ...]:
    """Return the numbers of a decimal string, however long; () where absent or empty.

    Raises:
        DicomError: One of them is no finite number, or may be two.
    """
    found: list[float] = []
    for number in numbers(data, tag):
        if number is None:
            raise DicomError(
                f"{name(tag)} is {text(data, tag)[:SHOWN]!r}; it must be a finite number with a"
                f" decimal point{WAY_OUT}"
            )
        found.append(number)
    return tuple(found)


def decimals_if_readable(data: DataSet, tag: int) -> tuple[float, ...]:
    """Return the numbers of a decimal string that the picture can do without.

    () where absent or empty, and where one of them cannot be read, which is noted.
    """
    try:
        return decimals(data, tag)
    except DicomError as error:
        data.note("unreadable-value", f"{str(error).removesuffix(WAY_OUT)}: it is left out")
        return ()


def decimal(data: DataSet, tag: int, default: float) -> float:
    """Return the one number of a decimal string; `default` where absent or empty.

    Raises:
        DicomError: It is no finite number, or there are several.
    """
    found = decimals(data, tag)
    if len(found) > 1:
        raise DicomError(f"{name(tag)} has {len(found)} values; it must have one{WAY_OUT}")
    return found[0] if found else default


def counts(data: DataSet, tag: int) -> tuple[int, ...]:
    """Return the positive whole numbers of an integer string; () where absent or empty.

    Raises:
        DicomError: One of them is not positive, not whole, or no number.
    """
    found = numbers(data, tag)
    whole = tuple(int(one) for one in found if one is not None and one == int(one) and one >= 1)
    if len(whole) < len(found) or max(whole, default=0) > _MOST_INTEGER:
        raise DicomError(
            f"{name(tag)} is {text(data, tag)[:SHOWN]!r}; it must be a positive integer{WAY_OUT}"
        )
    return whole


def age_years(text: str) -> int | None:
    """Return whole years from a DICOM age (``038Y``, ``18M``) or a bare number, else None.

    None too above `OLDEST_YEARS`.

    Source: DICOM PS3.5 6.2, value representation AS; the SIIM-ACR files write ``38``.
    """
    found = _AGE.fullmatch(text.strip().upper())
    if found is None:
        return None
    years = int(found[1]) // {"Y": 1, "M": 12, "W": 52, "D": 365}[found[2] or "Y"]
    return years if years <= OLDEST_YEARS else None


def _decode(raw: bytes, character_sets: str) -> str:
    """Return non-ASCII text by the file's character sets; what cannot be decoded becomes U+FFFD.

    Where no set is named that such text can be in, it is UTF-8 if that is what its bytes are, as
    hardly any text in another set is, and else Latin-1.
    """
    terms = [term.strip(" \0") for term in character_sets.split("\\")]
    if len(terms) == 1 and _ESCAPE not in raw:
        if terms[0] in _ASCII_ALONE or terms[0] not in python_encoding:
            try:
                return raw.decode("utf-8")
            except UnicodeDecodeError:
                return raw.decode("latin-1")
        return raw.decode(python_encoding[terms[0]], "replace")
    with warnings.catch_warnings():  # pydicom warns of every unknown term or escape
        warnings.simplefilter("ignore")
        return decode_bytes(raw, convert_encodings(list(terms)), {0x5C, 0x5E, 0x3D})
