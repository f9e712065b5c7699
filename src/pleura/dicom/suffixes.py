"""Where the name of a file ends and its suffix begins.

Files of PACS are often named by their UID, whose last number is no suffix; and what was packed with
gzip has two.
"""

import re
from pathlib import PurePath

DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
"""What names of DICOM files end in, in small letters, where they end in anything."""

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".nii", ".nii.gz"})
"""What names of plain pictures end in, in small letters."""

_PACKED = ".gz"

RADIOGRAPHS = PICTURES | DICOM_SUFFIXES | {suffix + _PACKED for suffix in DICOM_SUFFIXES}
"""What names of radiographs end in, in small letters, where they end in anything."""
_SUFFIX = re.compile(r"\.(?![0-9]+$)[a-z0-9_~-]{1,10}")


def suffix_of(path: PurePath) -> str:
    """Return a file's suffix in small letters, as ``.dcm`` or ``.csv.gz``; "" where it has none.

    Numbers behind a dot end a UID, and words behind one a sentence: they are no suffix.
    """
    name = path.name.lower()
    packed = _PACKED if name.endswith(_PACKED) else ""
    suffix = PurePath(name.removesuffix(packed)).suffix
    return (suffix if _SUFFIX.fullmatch(suffix) else "") + packed


def is_picture(path: PurePath) -> bool:
    """Return whether a file is read as a plain picture, by its name."""
    return suffix_of(path) in PICTURES


def is_radiograph(path: PurePath) -> bool:
    """Return whether a file's name ends as that of a radiograph does, DICOM or picture."""
    return suffix_of(path) in RADIOGRAPHS


def stem_of(path: PurePath) -> str:
    """Return a file's name without its suffix."""
    return path.name[: len(path.name) - len(suffix_of(path))]
