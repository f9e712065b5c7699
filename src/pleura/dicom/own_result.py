"""How a DICOM file tells that pleura wrote it as a result, so that it is never taken for an input.

The file meta information names pleura as what wrote the file. An archive that stores the file
writes that part anew, perhaps in another transfer syntax, so maker and series tell it too; maker
and model are left in de-identified files. Where people edited these, the equipment that contributed
is still listed, a segmentation names the algorithm of its segment, a report the one that it tells
of, and a presentation state whose outline it holds. Radiographs that pleura makes up (phantoms,
simulations) carry none of these.

This module imports nothing of weight: a program looks for files before it loads what reads them.
"""

import os
import re
from typing import Final

from pleura.dicom.beginning import beginning_of, value
from pleura.dicom.elements import DataSet
from pleura.dicom.encoding import ShortBufferError
from pleura.dicom.signature import head_of
from pleura.dicom.uids import derive_uid
from pleura.errors import DicomError

IMPLEMENTATION_UID = derive_uid("implementation", "pleura")
IMPLEMENTATION_NAME = "PLEURA"
MAKER = "pleura"
_MAKER = MAKER.encode()
_DRAWN = b"tEXtSoftware\0" + MAKER.encode()
SERIES = "pleura: pneumothorax"
"""How the description of every result's series begins."""

PICTURES = (
    "Radiograph with the outline of a predicted pneumothorax",
    "Radiograph that was not assessed",
)
"""How the derivation of a picture of an answer, and of one without, is described."""

_SIGNED_UID, _SIGNED_NAME = IMPLEMENTATION_UID.encode(), IMPLEMENTATION_NAME.encode()
_SERIES, _DERIVATIONS = SERIES.encode(), tuple(one.encode() for one in PICTURES)

_IMPLEMENTATION_UID, _IMPLEMENTATION_NAME = 0x00020012, 0x00020013
_MANUFACTURER, _SERIES_DESCRIPTION, _MODEL = 0x00080070, 0x0008103E, 0x00081090
_SOP_CLASS, _DERIVATION = 0x00080016, 0x00082111
_EQUIPMENT = 0x0018A001
_SEGMENTS, _ALGORITHM = 0x00620002, 0x00620009
_LAYERS, _LAYER = 0x00700060, 0x00700068
_CONTENT = 0x0040A730
_TELLING = frozenset({_SEGMENTS, _LAYERS, _CONTENT})

_CLASSES: Final = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(?:11|66|88)\..+")
"""What a result other than a picture may be; an archive may have made another report of one."""

_ALGORITHM_NAME: Final = b"111001"
_OWN_TEXT: Final = re.compile(
    rb"(?:\x60\xa1UT\0\0\x06\0\0\0|\x60\xa1\x06\0\0\0|\xa1\x60UT\0\0\0\0\0\x06)pleura"
)
"""A value (0040,A160) Text Value, explicit, implicit and in big endian."""


def written_by_pleura(meta: DataSet, data: DataSet) -> bool:
    """Return whether a file is a result of pleura.

    Args:
        meta: Its file meta information.
        data: Its data set, or the beginning of it.
    """
    return _signed(meta) or _made(data) or _tells(data)


def is_own_result(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a result of pleura, from its beginning alone.

    Cheap: at most 64 KiB are read, and as many inflated. False where it is no DICOM file that can
    be read so far.
    """
    begins = beginning_of(path)
    if begins is None or _signed(begins.meta):
        return begins is not None
    first = begins.data_set(last_group=_EQUIPMENT >> 16) or begins.data_set(last_group=0x0008)
    if first is None:
        return False
    if _made(first):
        return True
    if _CLASSES.fullmatch(value(first, _SOP_CLASS)) is None:
        return False
    data = begins.data_set()
    return data is not None and _tells(data)


def is_own_drawing(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a PNG that pleura drew."""
    try:
        return _DRAWN in head_of(path)
    except (OSError, ValueError):
        return False


def _signed(meta: DataSet) -> bool:
    return (
        value(meta, _IMPLEMENTATION_UID) == _SIGNED_UID
        or value(meta, _IMPLEMENTATION_NAME) == _SIGNED_NAME
    )


def _made(data: DataSet) -> bool:
    return (
        _name(data, _MANUFACTURER) == _name(data, _MODEL) == _MAKER
        or _SERIES in _name(data, _SERIES_DESCRIPTION)
        or value(data, _DERIVATION) in _DERIVATIONS
        or _contributed(data)
    )


def _contributed(data: DataSet) -> bool:
    if _EQUIPMENT not in data.elements:
        return False
    try:
        return any(_name(item, _MANUFACTURER) == _MAKER for item in data.items(_EQUIPMENT))
    except (DicomError, ShortBufferError):
        return False


def _tells(data: DataSet) -> bool:
    """Return whether the content of a result names pleura as what made it."""
    if _TELLING.isdisjoint(data.elements):
        return False
    try:
        segment, layer = data.first_item(_SEGMENTS), data.first_item(_LAYERS)
        content = data.raw(_CONTENT)
    except (DicomError, ShortBufferError):
        return False
    if segment is not None and _name(segment, _ALGORITHM) == _MAKER:
        return True
    if layer is not None and _name(layer, _LAYER).endswith(f" by {MAKER}".encode()):
        return True
    return _ALGORITHM_NAME in content and _OWN_TEXT.search(content) is not None


def _name(data: DataSet, tag: int) -> bytes:
    return b" ".join(value(data, tag).lower().split()) if tag in data.elements else b""
