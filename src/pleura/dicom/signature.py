"""How a DICOM file begins, which is all that it takes to know one.

This module imports nothing of weight: a program looks for files before it loads what reads them.
"""

import os
import zlib

from pleura.storage import elsewhere
from pleura.storage.archive import read_member

PREAMBLE_BYTES = 128
MAGIC = b"DICM"
"""What follows the preamble."""


GZIP = b"\x1f\x8b\x08"
"""How a file that was packed with gzip begins."""

HEAD_BYTES = PREAMBLE_BYTES + 16
_ARCHIVES = {
    b"PK\3\4": "a ZIP archive",
    b"PK\5\6": "an empty ZIP archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with Zstandard",
    GZIP: "packed with gzip",
}
_TAR, _TAR_AT = b"ustar", 257


def head_of(path: str | os.PathLike[str]) -> bytes:
    """Return the first 144 bytes of a file, fewer where it has no more; of a gzip what it holds.

    Raises:
        OSError: It cannot be read, or is a folder.
    """
    head = beginning_bytes(path, HEAD_BYTES)
    if not is_gzip(head):
        return head
    head = beginning_bytes(path, HEAD_BYTES + (1 << 12))
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, HEAD_BYTES)
    except zlib.error:
        return head[:HEAD_BYTES]


def beginning_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """Return the first `most` bytes of a file, fewer where it has no more.

    Raises:
        OSError: It cannot be read, or is a folder.
    """
    head = elsewhere.beginning_of(path, most)
    if head is not None:
        return head
    try:
        with open(path, "rb", opener=open_without_waiting) as file:
            return file.read(most)
    except NotADirectoryError:
        return read_member(path, most)


def is_gzip(head: bytes) -> bool:
    """Return whether a file that begins so was packed with gzip."""
    return head.startswith(GZIP) and not head.startswith(MAGIC, PREAMBLE_BYTES)


def archive_kind(content: bytes) -> str:
    """Return what kind of archive a file that is no DICOM is, in words; "" where it is none."""
    if content.startswith(_TAR, _TAR_AT):
        return "a tar archive"
    return next((kind for magic, kind in _ARCHIVES.items() if content.startswith(magic)), "")


def open_without_waiting(path: str, flags: int) -> int:
    """Open a file without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def data_start(head: bytes) -> int | None:
    """Return where the first data element begins; None where `head` is not DICOM.

    A file without the preamble is taken where it begins like a data set: with an element
    of group 2 or 8 whose VR or length is plausible, in either byte order.
    """
    if head.startswith(MAGIC, PREAMBLE_BYTES):
        return PREAMBLE_BYTES + len(MAGIC)
    known_vr = head[4:6] in (b"UL", b"CS", b"UI", b"OB", b"SH", b"LO", b"DA")
    if len(head) < 8 or head.startswith(b"\0\x08\0"):  # explicit, where it is big endian
        return 0 if known_vr else None
    if head[:2] not in (b"\x02\x00", b"\x08\x00") or head[3] != 0:
        return None
    return 0 if known_vr or int.from_bytes(head[4:8], "little") <= 1024 else None
