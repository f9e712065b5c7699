"""How a DICOM file begins, which is all that it takes to know one.

This module imports nothing of weight: a program looks for files before it loads what reads them.
"""

import os
import stat

PREAMBLE_BYTES = 128
MAGIC = b"DICM"
"""What follows the preamble."""


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Return whether a file looks like DICOM: its magic word, or a plausible bare data set.

    Cheap: at most 144 bytes are read. False for what is not a readable regular file.
    """
    return data_start(head_of(path)) is not None


def head_of(path: str | os.PathLike[str]) -> bytes:
    """Return the first 144 bytes of a file; none of what is not a readable regular file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            return b""
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(PREAMBLE_BYTES + 16)
    except (OSError, ValueError):
        return b""


def data_start(head: bytes) -> int | None:
    """Return where the first data element begins; None where `head` is not DICOM.

    A file without the preamble is taken where it begins like a data set: with an element
    of group 2 or 8 whose VR or length is plausible.
    """
    if head[PREAMBLE_BYTES:].startswith(MAGIC):
        return PREAMBLE_BYTES + len(MAGIC)
    if len(head) < 8 or head[:2] not in (b"\x02\x00", b"\x08\x00") or head[3] != 0:
        return None
    implicit_length = int.from_bytes(head[4:8], "little")
    if head[4:6] in (b"UL", b"CS", b"UI", b"OB", b"SH", b"LO", b"DA") or implicit_length <= 1024:
        return 0
    return None
