"""How a file's data set begins, which is all that it takes to know what kind of object it is.

This module imports nothing of weight: a program looks for files before it loads what reads them.
"""

import os
import zlib
from typing import NamedTuple

from pleura.dicom.elements import DataSet, walk
from pleura.dicom.encoding import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ShortBufferError,
    evident_encoding,
)
from pleura.dicom.signature import beginning_bytes, data_start, is_gzip
from pleura.errors import DicomError
from pleura.storage.content import stamp_at

_TRANSFER_SYNTAX = 0x00020010
_ENCODINGS = {b"1.2.840.10008.1.2": IMPLICIT_LITTLE, b"1.2.840.10008.1.2.2": EXPLICIT_BIG}
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_HEAD_BYTES = 1 << 16
_UNKNOWN_END = 1 << 40  # of what was inflated


class Beginning(NamedTuple):
    """The first 64 KiB of a file.

    Attributes:
        meta: Its file meta information.
        buffer: The bytes; those that it holds where it is a gzip.
        body: Where the data set begins.
        size: Where it ends, which may lie beyond.
    """

    meta: DataSet
    buffer: bytes
    body: int
    size: int

    def data_set(self, last_group: int | None = None) -> DataSet | None:
        """Return the data set; None where it cannot be walked, or goes on behind these bytes.

        Args:
            last_group: Stop behind it.
        """
        buffer, body, size = self.buffer, self.body, self.size
        syntax = value(self.meta, _TRANSFER_SYNTAX)
        try:
            if syntax == _DEFLATED:
                (buffer, size), body = _inflated(buffer[body:], -zlib.MAX_WBITS), 0
            stated = _ENCODINGS.get(syntax, EXPLICIT_LITTLE)
            shown = evident_encoding(buffer, body, size, stated)
            groups = None if last_group is None else (0, last_group)
            return walk(buffer, body, shown or stated, size, groups)
        except (DicomError, ShortBufferError, zlib.error):
            return None


def beginning_of(path: str | os.PathLike[str]) -> Beginning | None:
    """Return the beginning of a file; None where it is no DICOM file, or cannot be read."""
    try:
        head = beginning_bytes(path, _HEAD_BYTES)
        stamp = stamp_at(path)
        size = len(head) if stamp is None else stamp.size
        if is_gzip(head):
            head, size = _inflated(head, zlib.MAX_WBITS | 16)
        start = data_start(head)
        if start is None:
            return None
        meta = walk(head, start, EXPLICIT_LITTLE, size, groups=(2, 2))
    except (OSError, ValueError, DicomError, ShortBufferError, zlib.error):
        return None
    body = max((element.end for element in meta.elements.values()), default=start)
    return Beginning(meta, head, body, size)


def value(data: DataSet, tag: int) -> bytes:
    """Return an element's value without its padding; b"" where it stands twice and differs."""
    return b"" if tag in data.ambiguous else data.raw(tag).strip(b" \0")


def _inflated(packed: bytes, bits: int) -> tuple[bytes, int]:
    """Return at most 64 KiB of what was packed, and where that ends."""
    inflater = zlib.decompressobj(bits)
    found = inflater.decompress(packed, _HEAD_BYTES)
    return found, len(found) if inflater.eof else _UNKNOWN_END
