"""The 128 bytes before "DICM", which may be anything, also the beginning of a program.

A file can be DICOM and something else at once: a TIFF picture, as the standard intends, or a
program that a careless system would run. pleura never runs anything, and reads the picture; it says
what it saw, because others may be less careful.

Source: DICOM PS3.10 7.1 (file preamble); CVE-2019-11687 (programs hidden in it).
"""

from pleura.dicom.signature import MAGIC, PREAMBLE_BYTES

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_KINDS = (
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\xca\xfe\xba\xbe", "a macOS program or Java class"),
    (b"#!", "a script"),
    (b"PK", "a ZIP archive"),
    (b"%PDF", "a PDF document"),
    (b"<", "HTML or XML"),
)


def preamble_note(content: bytes) -> str:
    """Return what is odd about the preamble of a file that holds `content`, or begins with it.

    "" where it is empty, TIFF, or absent.
    """
    preamble = content[:PREAMBLE_BYTES]
    if (
        not content.startswith(MAGIC, PREAMBLE_BYTES)
        or not any(preamble)
        or preamble.startswith(_TIFF)
    ):
        return ""
    kind = next((words for magic, words in _KINDS if preamble.startswith(magic)), "")
    return f"the preamble holds {kind or 'bytes'} where zeros or TIFF belong"
