"""How a file wants its stored values shown: data elements to a :class:`Grayscale`."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pleura.dicom.elements import DataSet
from pleura.dicom.grayscale import Grayscale, LookupTable, Rescale, Window, bits_of, stored_range
from pleura.dicom.header import Header
from pleura.dicom.values import WAY_OUT, integer, integers, name, text
from pleura.errors import DicomError

_PADDING, _PADDING_LIMIT = 0x00280120, 0x00280121
_OF_PADDING = frozenset({_PADDING, _PADDING_LIMIT})
_MODALITY_LUT_SEQUENCE, _VOI_LUT_SEQUENCE = 0x00283000, 0x00283010
_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006
_INTERCEPT, _SLOPE = 0x00281052, 0x00281053
_PRESENTATION_LUT, _SHAPE = 0x20500010, 0x20500020
_UNCHANGED = Rescale()
_INTENSITY = 0x00281040
_FLUOROSCOPY = frozenset(f"1.2.840.10008.5.1.4.1.1.12.{n}" for n in (1, 2, 3))
_MOST_LACKING = 0.9
_ROUGH, _SMOOTH = 2.5, 1.5
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
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
    stored = stored_range(header.bits_stored, header.signed)
    there = data.elements
    table = None
    if _MODALITY_LUT_SEQUENCE in there and not _leads_to_intensity(data, header.sop_class_uid):
        table = _lookup_table(data, _MODALITY_LUT_SEQUENCE, stored)
    modality = table or Rescale(header.rescale_slope, header.rescale_intercept)
    if isinstance(modality, Rescale):
        _require_rescale(modality, stored)
    voi: LookupTable | Window | None = None
    if _VOI_LUT_SEQUENCE in there:
        values = table.between(*stored) if table else modality.of(np.array(stored, np.float64))
        voi = _voi_table(data, (float(values.min()), float(values.max())))
    voi = voi or (header.windows[0] if header.windows else None)
    if isinstance(voi, Window) and header.voi_lut_function not in _FUNCTIONS:
        raise DicomError(
            f"(0028,1056) VOI LUT Function is {header.voi_lut_function[:16]!r}; LINEAR,"
            f" LINEAR_EXACT and SIGMOID are read{WAY_OUT}"
        )
    _note_leftovers(data, header, modality)
    inverse = header.presentation_lut_shape == "INVERSE"
    return Grayscale(
        bits_stored=header.bits_stored,
        signed=header.signed,
        padding=padding_of(data, signed=header.signed),
        modality=modality,
        voi=voi,
        voi_function=header.voi_lut_function if isinstance(voi, Window) else "LINEAR",
        # A DX image must say both (PS3.3 C.8.11.3), so together they still invert once.
        inverted=inverse or header.photometric_interpretation == "MONOCHROME1",
    )


def _leads_to_intensity(data: DataSet, sop_class_uid: str) -> bool:
    """Return whether the modality table leads back to the intensity of the beam.

    In angiography and fluoroscopy the pixels are stored as they are to be shown, and the table is
    there to measure with. DCMTK and dcm4che pass over it, too.

    Source: DICOM PS3.3 C.8.7.1 (Pixel Intensity Relationship), PS3.17 FFF.2.3.1.3.4.
    """
    return sop_class_uid in _FLUOROSCOPY and text(data, _INTENSITY) in ("LOG", "DISP")


def _require_rescale(rescale: Rescale, stored: tuple[int, int]) -> None:
    """Refuse a rescale that makes one value of neighbouring ones, or none at all."""
    if rescale == _UNCHANGED:
        return
    lowest, highest = stored
    with np.errstate(over="ignore", invalid="ignore"):
        values = rescale.of(np.array([lowest, lowest + 1, highest - 1, highest], np.float64))
        differ = np.isfinite(values).all() and values[0] != values[1] and values[2] != values[3]
    if not differ:
        raise DicomError(
            f"(0028,1053) Rescale Slope is {rescale.slope:g} and (0028,1052) Rescale Intercept"
            f" {rescale.intercept:g}; pixels that differ would be the same{WAY_OUT}"
        )


def padding_of(data: DataSet, *, signed: bool) -> tuple[int, int] | None:
    """Return the two ends of the values that mark "no image here", in either order, or None.

    Raises:
        DicomError: They are no single 16-bit integers.
    """
    if _OF_PADDING.isdisjoint(data.elements):
        return None
    value = integer(data, _PADDING, signed=signed)
    limit = integer(data, _PADDING_LIMIT, signed=signed)
    if value is None:
        return None
    return value, value if limit is None else limit


def _voi_table(data: DataSet, inputs: tuple[float, float]) -> LookupTable | None:
    """Return the VOI table, its output range by the entries that a pixel can have.

    Some writers state 16 bits for a table that ends at 4095: by the label it would make the
    picture 16 times too dark.

    Source: DICOM PS3.3 C.11.2.1.1, where the output range is that of the stated bits.
    """
    table = _lookup_table(data, _VOI_LUT_SEQUENCE, inputs)
    if table is None:
        return None
    bits = bits_of(table.between(*inputs))
    if bits != table.bits:
        data.note(
            "table-label",
            f"{name(_LUT_DESCRIPTOR)} of the VOI LUT states {table.bits} bits, but the entries that"
            f" pixels can have need {bits}: white is the largest value of {bits} bits",
        )
    return replace(table, bits=bits)


def _lookup_table(data: DataSet, sequence: int, inputs: tuple[float, float]) -> LookupTable | None:
    """Return the first table in the items of `sequence`, None where there is none.

    Args:
        data: The data set.
        sequence: Tag of the Modality or the VOI LUT Sequence.
        inputs: The lowest and the highest value that the table can be asked for.

    Source: DICOM PS3.3 C.11.1.1.1 and C.11.2.1.1.
    """
    item = _first_table(data, sequence)
    if item is None:
        return None
    descriptor = integers(item, _LUT_DESCRIPTOR)
    if len(descriptor) != 3:
        raise DicomError(
            f"{name(_LUT_DESCRIPTOR)} is {descriptor}; it must be length, start, bits{WAY_OUT}"
        )
    length, start, bits = descriptor[0] or 65536, descriptor[1], descriptor[2]
    raw = item.raw(_LUT_DATA)
    if len(raw) == length + length % 2 != 2 * length:
        single = np.frombuffer(raw, np.uint8)
        if data.encoding.big_endian and item.elements[_LUT_DATA].vr != "OB":
            # Bytes travel as 16-bit words here (PS3.5 8.1.2), so each pair is swapped.
            single = single.view(">u2").astype("<u2").view(np.uint8)
        entries = single[:length].astype(np.uint16)
    elif len(raw) == 2 * length or _holds_another_number(raw, length, bits):
        order = ">" if data.encoding.big_endian else "<"
        entries = np.frombuffer(raw, order + "u2").astype(np.uint16)
        if _are_swapped(entries):
            entries = entries.byteswap()
            data.note(
                "table-label",
                f"{name(_LUT_DATA)} in {name(sequence)} has the two bytes of its entries the other"
                " way round than the file says: they are read so that neighbours are alike",
            )
        if len(entries) != length:
            data.note(
                "table-label",
                f"{name(_LUT_DESCRIPTOR)} in {name(sequence)} states {length:,} entries, but there"
                f" are {len(entries):,}: these are taken",
            )
        length = len(entries)
    else:
        raise DicomError(
            f"{name(_LUT_DATA)} has {len(raw):,} bytes, but its descriptor states {length:,}"
            f" entries of {bits} bits; the file is corrupt: export it again"
        )
    return LookupTable(_first_input(item, sequence, start, length, inputs), entries, bits)


def _are_swapped(entries: NDArray[np.uint16]) -> bool:
    """Return whether the entries jump up and down, and with their bytes exchanged do not.

    A table of grey values rises or falls, so its steps together are about its range.
    """
    swapped = entries.byteswap()
    return _roughness(entries) > _ROUGH and _roughness(swapped) < _SMOOTH


def _roughness(entries: NDArray[np.uint16]) -> float:
    """Return the sum of all steps between neighbours, in ranges of the entries."""
    values = entries.astype(np.int64)
    return float(np.abs(np.diff(values)).sum() / max(np.ptp(values), 1))


def _holds_another_number(raw: bytes, length: int, bits: int) -> bool:
    """Return whether a table has more entries of 16 bits than stated, or lacks but a few."""
    found = len(raw) // 2
    return bits > 8 and len(raw) % 2 == 0 and _MOST_LACKING * length <= found <= 1 << 16


def _first_table(data: DataSet, sequence: int) -> DataSet | None:
    """Return the first item that holds a table; that others before it hold none is noted."""
    found, empty = None, False
    for item in data.items(sequence):
        if item.raw(_LUT_DESCRIPTOR) and item.raw(_LUT_DATA):
            found = item
            break
        empty = True
    if empty:
        what = "the first that does is taken" if found else "it is left out"
        data.note("table-label", f"{name(sequence)} has an item that holds no table; {what}")
    return found


def _note_leftovers(data: DataSet, header: Header, modality: LookupTable | Rescale) -> None:
    """Note what else the file says of its grey values, which is not followed."""
    told = [tag for tag in (_SLOPE, _INTERCEPT) if data.raw(tag).strip()]
    neutral = (header.rescale_slope, header.rescale_intercept) == (1.0, 0.0)
    if isinstance(modality, LookupTable) and told and not neutral:
        data.note("table-label", f"{name(told[0])} stands beside a Modality LUT, which counts")
    elif len(told) == 1 and not neutral:
        other = _INTERCEPT if told[0] == _SLOPE else _SLOPE
        value = f"{header.rescale_slope if other == _SLOPE else header.rescale_intercept:g}"
        data.note(
            "table-label",
            f"{name(told[0])} stands without {name(other)}, which is taken for {value}; other"
            " readers leave both out",
        )
    if _PRESENTATION_LUT in data:
        data.note("table-label", f"{name(_PRESENTATION_LUT)} is none of an image; it is left out")
    shape, said = header.presentation_lut_shape, header.photometric_interpretation
    if (shape, said) == ("IDENTITY", "MONOCHROME1"):
        data.note(
            "table-label",
            f"{name(_SHAPE)} is {shape}, which contradicts MONOCHROME1: the latter counts, so the"
            " lowest value is white",
        )
    elif (shape, said) == ("INVERSE", "MONOCHROME2"):
        data.note(
            "table-label",
            f"{name(_SHAPE)} is {shape}, which contradicts MONOCHROME2: the former counts, so the"
            " lowest value is white; programs that do not know it show it as black",
        )


def _first_input(
    item: DataSet, sequence: int, start: int, length: int, inputs: tuple[float, float]
) -> int:
    """Return the input that a table begins with, signed or not.

    It is signed where the inputs may be negative, whatever its own VR says, which is often wrong.
    Only where the table would then begin beyond all inputs, and read the other way it would not,
    is it read the other way.

    Args:
        item: The table's own elements.
        sequence: In which it lies.
        start: The first input as an unsigned number.
        length: Entries of the table.
        inputs: The lowest and the highest value that it can be asked for.
    """
    if start < 0x8000:
        return start
    readings = (start - 0x10000, start) if inputs[0] < 0 else (start, start - 0x10000)
    first = next(
        (one for one in readings if one <= inputs[1] and one + length > inputs[0]), readings[0]
    )
    vr = item.elements[_LUT_DESCRIPTOR].vr
    if vr in ("US", "SS") and (vr == "SS") != (first < 0):
        item.note(
            "table-label",
            f"{name(_LUT_DESCRIPTOR)} in {name(sequence)} is labelled {vr}, but its inputs range"
            f" from {inputs[0]:g} to {inputs[1]:g}: the first is read as {first}",
        )
    return first
