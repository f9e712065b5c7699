"""How a file wants its stored values shown: data elements to a :class:`Grayscale`."""

import numpy as np

from pleura.errors import DicomError
from pleura.formats.elements import DataSet
from pleura.formats.grayscale import Grayscale, LookupTable, Rescale
from pleura.formats.header import Header
from pleura.formats.values import integer, integers, name

_PADDING, _PADDING_LIMIT = 0x00280120, 0x00280121
_MODALITY_LUT_SEQUENCE, _VOI_LUT_SEQUENCE = 0x00283000, 0x00283010
_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006
_OVERLAY_BIT_POSITION, _OVERLAY_DATA, _OVERLAY_GROUPS = 0x60000102, 0x60003000, 0xFF00FFFF


def has_overlay_bits(data: DataSet) -> bool:
    """Return whether an overlay lies in the high bits of the pixels, as was once allowed.

    Source: DICOM PS3.3-2004 C.9.2: an overlay without Overlay Data is embedded in the pixels.
    """
    return any(
        tag & _OVERLAY_GROUPS == _OVERLAY_BIT_POSITION
        and tag - _OVERLAY_BIT_POSITION + _OVERLAY_DATA not in data
        and integer(data, tag) not in (None, 0)
        for tag in data.elements
        if tag >> 24 == 0x60
    )


def presentation_of(data: DataSet, header: Header) -> Grayscale:
    """Return how the file wants its stored values shown.

    Raises:
        DicomError: A rescale, a table or a padding value makes no sense.
    """
    if header.rescale_slope == 0:
        raise DicomError("(0028,1053) Rescale Slope is 0; every pixel would be the same")
    if header.voi_lut_function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise DicomError(
            f"(0028,1056) VOI LUT Function is {header.voi_lut_function[:16]!r}; LINEAR,"
            " LINEAR_EXACT and SIGMOID are read"
        )
    modality = _lookup_table(data, _MODALITY_LUT_SEQUENCE, header.signed)
    negative = header.signed or header.rescale_intercept < 0
    voi = _lookup_table(data, _VOI_LUT_SEQUENCE, negative and modality is None)
    inverse = header.presentation_lut_shape == "INVERSE"
    return Grayscale(
        bits_stored=header.bits_stored,
        signed=header.signed,
        padding=_padding(data, header.signed),
        modality=modality or Rescale(header.rescale_slope, header.rescale_intercept),
        voi=voi or (header.windows[0] if header.windows else None),
        voi_function=header.voi_lut_function,
        # A DX image must say both (PS3.3 C.8.11.3), so together they still invert once.
        inverted=inverse or header.photometric_interpretation == "MONOCHROME1",
    )


def _padding(data: DataSet, signed: bool) -> tuple[int, int] | None:
    value = integer(data, _PADDING, signed=signed)
    limit = integer(data, _PADDING_LIMIT, signed=signed)
    if value is None:
        return None
    return value, value if limit is None else limit


def _lookup_table(data: DataSet, sequence: int, signed: bool) -> LookupTable | None:
    """Return the table in the first item of `sequence`, None where there is none.

    Args:
        data: The data set.
        sequence: Tag of the Modality or the VOI LUT Sequence.
        signed: Whether the table's first input is signed where its VR does not say.

    Source: DICOM PS3.3 C.11.1.1.1 and C.11.2.1.1.
    """
    item = data.first_item(sequence)
    if item is None or _LUT_DESCRIPTOR not in item:
        return None
    vr = item.elements[_LUT_DESCRIPTOR].vr
    first_signed = vr == "SS" or (vr != "US" and signed)
    descriptor = integers(item, _LUT_DESCRIPTOR)
    if len(descriptor) != 3 or not 8 <= descriptor[2] <= 16:
        raise DicomError(f"{name(_LUT_DESCRIPTOR)} is {descriptor}; it must be length, start, bits")
    length, bits = descriptor[0] or 65536, descriptor[2]
    first = integers(item, _LUT_DESCRIPTOR, signed=True)[1] if first_signed else descriptor[1]
    raw = item.raw(_LUT_DATA)
    if len(raw) == 2 * length:
        order = ">" if data.encoding.big_endian else "<"
        entries = np.frombuffer(raw, order + "u2").astype(np.uint16)
    elif bits == 8 and len(raw) == length + length % 2:
        entries = np.frombuffer(raw, np.uint8, length).astype(np.uint16)
    else:
        raise DicomError(
            f"{name(_LUT_DATA)} has {len(raw):,} bytes, but its descriptor states {length:,}"
            f" entries of {bits} bits; the file is corrupt"
        )
    if int(entries.max()) >> bits:
        raise DicomError(f"{name(_LUT_DATA)} holds {entries.max()}, more than {bits} bits can")
    return LookupTable(first, entries, bits)
