"""How a data set is written: as the Transfer Syntax UID says, or as its first elements show.

Source: DICOM PS3.5 annex A (transfer syntaxes); RFC 1951 (deflate).
"""

import zlib

from pleura.dicom.elements import DataSet, walk
from pleura.dicom.encoding import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ShortBufferError,
    evident_encoding,
    first_elements,
    shows_itself,
)
from pleura.dicom.inflating import inflate_data_set
from pleura.dicom.sop_classes import uid_name
from pleura.errors import MislabelledError

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"

_ENCODINGS = {EXPLICIT: EXPLICIT_LITTLE, IMPLICIT: IMPLICIT_LITTLE, BIG_ENDIAN: EXPLICIT_BIG}

NATIVE = frozenset({*_ENCODINGS, DEFLATED})
"""The transfer syntaxes whose pixels are not compressed; all others are written as `EXPLICIT`."""

_SHOWING_BYTES = 1 << 12  # of a deflated data set, to see that it is one


def read_data_set(buffer: bytes, start: int, size: int, stated: str) -> tuple[DataSet, str]:
    """Return the elements of a data set, and the UID of how it is written.

    Args:
        buffer: The file, or its beginning.
        start: Where the data set begins.
        size: Size of the file.
        stated: Its Transfer Syntax UID; "" where it is missing. It is believed wherever the first
            elements can be read so; else a note says what they are.

    Raises:
        MislabelledError: Nothing is stated, and nothing to be seen.
        DicomError: As :func:`pleura.dicom.elements.walk`, or deflated data that is no data set.
        ShortBufferError: It lies beyond `buffer` but within `size`.
    """
    wanted = _ENCODINGS.get(stated, EXPLICIT_LITTLE) if stated else None
    if wanted is not None and stated != DEFLATED:
        plain = first_elements(buffer, start, wanted, size)
        if shows_itself(plain):  # as in nearly all files
            return walk(buffer, start, wanted, size, plain=plain), stated
    shown = None if stated == DEFLATED else evident_encoding(buffer, start, size, wanted)
    if shown is None and stated in ("", *NATIVE):
        if _is_deflated(buffer, start, size):
            inflated = inflate_data_set(memoryview(buffer)[start:])
            data = walk(inflated, 0, EXPLICIT_LITTLE, len(inflated))
            return _noted(data, stated, DEFLATED), DEFLATED
        shown = evident_encoding(buffer, start, size, None)
    if shown is None and stated == DEFLATED:
        inflate_data_set(memoryview(buffer)[start:])  # says why it cannot be
    if shown is None and not stated:
        raise MislabelledError(
            "the Transfer Syntax UID (0002,0010) is missing and the data set does not show how it"
            " is written; export the file again"
        )
    encoding = shown or wanted or EXPLICIT_LITTLE
    data = walk(buffer, start, encoding, size)
    if encoding == wanted and stated != DEFLATED:
        return data, stated
    found = next(uid for uid, one in _ENCODINGS.items() if one == encoding)
    # Compressed pixels say themselves how they are.
    return _noted(data, stated, found), found if stated in ("", *NATIVE) else stated


def _noted(data: DataSet, stated: str, found: str) -> DataSet:
    """Return `data` with a note where it is written otherwise than stated."""
    if stated != found:
        says = f"says {uid_name(stated)}" if stated else "is missing"
        data.note(
            "wrong-syntax",
            f"the Transfer Syntax UID (0002,0010) {says}; the data set is read as what it is,"
            f" {uid_name(found)}",
        )
    return data


def _is_deflated(buffer: bytes, start: int, size: int) -> bool:
    """Return whether a deflated data set begins at `start`."""
    if len(buffer) < size:
        raise ShortBufferError
    try:
        head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(buffer[start:], _SHOWING_BYTES)
    except zlib.error:
        return False
    return evident_encoding(head, 0, len(head), EXPLICIT_LITTLE) is not None
