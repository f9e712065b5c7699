"""Data that was deflated, inflated with a bound: a small file may stand for any number of bytes.

Source: RFC 1951 (deflate), RFC 1952 (gzip).
"""

import zlib
from typing import NamedTuple

from pleura.errors import DamagedError, DicomError, TruncatedError

MAX_BYTES = 512 << 20
MAX_RATIO = 100
MAX_MEMBERS = 1000
_FREE_BYTES = 16 << 20  # below this no ratio is held against a file


class _Packed(NamedTuple):
    """What is inflated, in words; how it is packed; what to say where it cannot be inflated."""

    name: str
    bits: int
    corrupt: str


_DATA_SET = _Packed(
    "deflated data set",
    -zlib.MAX_WBITS,
    "the Transfer Syntax UID (0002,0010) says that the data set is deflated, but it cannot be"
    " inflated: it is corrupt, or the UID is wrong; copy it again from its source",
)
_GZIP = _Packed(
    "gzip file", zlib.MAX_WBITS | 16, "the gzip file is corrupt; copy it again from its source"
)


def inflate_data_set(packed: bytes | memoryview) -> bytes:
    """Return a deflated data set as it was.

    Raises:
        TruncatedError: It ends too early.
        DamagedError: It is corrupt.
        DicomError: It stands for too many bytes.

    Source: DICOM PS3.5 A.5.
    """
    return _inflated(memoryview(packed), _DATA_SET)[0]


def gunzip(packed: bytes) -> bytes:
    """Return what a gzip file holds; its checksums are compared.

    Raises:
        TruncatedError: It ends too early.
        DamagedError: It is corrupt.
        DicomError: It stands for too many bytes.
    """
    rest, most = memoryview(packed), _most(len(packed))
    parts: list[bytes] = []
    while rest and any(rest[:64]):  # members follow one another; zeros may fill a block of a tape
        if len(parts) == MAX_MEMBERS:
            raise DicomError(f"the gzip file has more than {MAX_MEMBERS:,} members; refused")
        part, rest = _inflated(rest, _GZIP, most)
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def _inflated(
    packed: memoryview, kind: _Packed, most: int | None = None
) -> tuple[bytes, memoryview]:
    """Return what was packed, and the bytes behind it."""
    most = _most(len(packed)) if most is None else most
    inflater = zlib.decompressobj(kind.bits)
    try:
        data = inflater.decompress(packed, most + 1)
    except zlib.error as error:
        raise DamagedError(kind.corrupt) from error
    if len(data) > most:
        raise DicomError(
            f"the {kind.name} of {len(packed):,} bytes inflates to more than {most:,}; refused"
            " as a decompression bomb"
        )
    if not inflater.eof:
        raise TruncatedError(f"the {kind.name} ends too early: the file is truncated")
    return data, packed[len(packed) - len(inflater.unused_data) :]


def _most(packed_bytes: int) -> int:
    return min(MAX_BYTES, max(_FREE_BYTES, MAX_RATIO * packed_bytes))
