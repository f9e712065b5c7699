"""Small DICOM files for tests, byte by byte, so that they can also be wrong on purpose.

`make_dicom(pixels)` returns the bytes of a whole file. It shares no code with the reader.
"""

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
NATIVE = (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
UID = "1.2.826.0.1.3680043.8.498.1"

Raw = tuple[str, bytes]
_SHORT = "AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US"


def make_dicom(
    pixels: np.ndarray | None = None,
    *,
    transfer_syntax: str | None = EXPLICIT,
    frame: bytes | list[bytes] | None = None,
    preamble: bytes = bytes(128) + b"DICM",
    extra: bytes = b"",
    meta: Mapping[str, Any] | None = None,
    **attributes: Any,
) -> bytes:
    """Return a DICOM file with one monochrome image.

    Args:
        pixels: (rows, columns), uint8, int8, uint16 or int16; default a small ramp. Written as
            they are in a native transfer syntax.
        transfer_syntax: UID; None writes no such element.
        frame: The compressed frame, or its fragments; for encapsulated transfer syntaxes.
        preamble: What precedes the file meta information.
        extra: Elements already written, put before Pixel Data.
        meta: More elements of the file meta information.
        attributes: DICOM keywords; None leaves an element out, a pair (VR, bytes) is written as
            it is, else the value is encoded by the dictionary's VR. A list of dicts is a
            sequence.
    """
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5) if pixels is None else pixels
    big = transfer_syntax == BIG_ENDIAN
    bits = 8 * pixels.dtype.itemsize
    defaults: dict[str, Any] = {
        "SOPClassUID": SECONDARY_CAPTURE,
        "SOPInstanceUID": UID,
        "Modality": "CR",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }
    values = defaults | attributes
    values.setdefault("HighBit", (values["BitsStored"] or 0) - 1 if "BitsStored" in values else 7)
    if isinstance(values["HighBit"], int) and values["HighBit"] < 0:
        values["HighBit"] = 0
    stored = values.pop("PixelData", _pixel_data(pixels, frame, big))
    implicit = transfer_syntax == IMPLICIT
    body = encode(values, implicit=implicit, big=big) + extra
    body += encode({"PixelData": stored}, implicit=implicit, big=big)
    if transfer_syntax == DEFLATED:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = deflate.compress(body) + deflate.flush()
    head = {"FileMetaInformationVersion": b"\0\1"} | dict(meta or {})
    if transfer_syntax is not None:
        head["TransferSyntaxUID"] = transfer_syntax
    return preamble + encode(head) + body


def encode(values: Mapping[str, Any], *, implicit: bool = False, big: bool = False) -> bytes:
    """Return the elements of a data set, in the order of their tags."""
    written = {
        tag_for_keyword(key): _value(key, value, implicit, big)
        for key, value in values.items()
        if value is not None
    }
    return b"".join(element(tag, *written[tag], implicit, big) for tag in sorted(written))


def element(tag: int, vr: str, value: bytes, implicit: bool = False, big: bool = False) -> bytes:
    """Return one element; a value that ends with a sequence delimiter has undefined length."""
    order = ">" if big else "<"
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    value += b"\0" * (len(value) % 2)
    undefined = value.endswith(struct.pack(order + "HHL", 0xFFFE, 0xE0DD, 0))
    length = 0xFFFFFFFF if undefined else len(value)
    if implicit:
        return head + struct.pack(order + "L", length) + value
    if vr in _SHORT:
        return head + vr.encode() + struct.pack(order + "H", length) + value
    return head + vr.encode() + b"\0\0" + struct.pack(order + "L", length) + value


def encapsulate(fragments: list[bytes]) -> bytes:
    """Return fragments as the value of an encapsulated Pixel Data element."""
    items = [b"", *(fragment + b"\0" * (len(fragment) % 2) for fragment in fragments)]
    parts = [struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item for item in items]
    return b"".join(parts) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def nested(depth: int) -> bytes:
    """Return a sequence of undefined length, nested `depth` times (explicit little endian)."""
    begin = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    begin += struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return begin * depth + end * depth


def _pixel_data(pixels: np.ndarray, frame: bytes | list[bytes] | None, big: bool) -> Raw:
    if frame is not None:
        return "OB", encapsulate([frame] if isinstance(frame, bytes) else frame)
    order = ">" if big else "<"
    dtype = pixels.dtype.newbyteorder(order)
    return ("OB" if pixels.dtype.itemsize == 1 else "OW"), pixels.astype(dtype).tobytes()


def _value(key: str, value: Any, implicit: bool, big: bool) -> Raw:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], bytes):
        return value
    vr = dictionary_VR(tag_for_keyword(key))
    if isinstance(value, bytes):
        return vr, value
    if vr == "SQ":
        order = ">" if big else "<"
        items = [encode(item, implicit=implicit, big=big) for item in value]
        heads = [struct.pack(order + "HHL", 0xFFFE, 0xE000, len(item)) for item in items]
        return vr, b"".join(head + item for head, item in zip(heads, items, strict=True))
    numbers = value if isinstance(value, list | tuple) else [value]
    if vr in ("US", "SS", "US or SS"):
        vr = "SS" if vr != "US" and min(numbers) < 0 else "US"
        code = "h" if vr == "SS" else "H"
        return vr, struct.pack(f"{'>' if big else '<'}{len(numbers)}{code}", *numbers)
    text = "\\".join(str(number) for number in numbers).encode()
    return vr, text + (b" " * (len(text) % 2) if vr != "UI" else b"")
