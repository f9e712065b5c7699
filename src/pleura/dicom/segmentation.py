"""Masks as DICOM Segmentations, by pleura and by others: which radiograph each is of, and where.

Source: DICOM PS3.3 A.51, C.8.20; PS3.5 8.1.1 (how pixels of one bit lie).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.dicom.beginning import beginning_of, value
from pleura.dicom.codestream import begins
from pleura.dicom.elements import PIXEL_DATA, DataSet, fragments
from pleura.dicom.file import open_stream, reasons
from pleura.dicom.geometry import PIXEL_SPACING, believed_mm
from pleura.dicom.joining import decode_fragments
from pleura.dicom.limits import MAX_PIXELS
from pleura.dicom.structures import names_another, names_pneumothorax
from pleura.dicom.values import counts, decimals_if_readable, integer, name, text
from pleura.errors import AnnotationError, DicomError

SOP_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage, and Label Map Segmentation Storage."""

_CODE = ("36118008", "SCT")
_MOST_FRAMES = 4096

_MEDIA_SOP_CLASS, _SOP_CLASS, _SOP_REFERENCE = 0x00020002, 0x00080016, 0x00081155
_SERIES, _INSTANCES = 0x00081115, 0x0008114A
_SOURCES, _DERIVATIONS = 0x00082112, 0x00089124
_CODE_VALUE, _CODE_SCHEME, _CODE_MEANING = 0x00080100, 0x00080102, 0x00080104
_ROWS, _COLUMNS, _FRAMES, _BITS = 0x00280010, 0x00280011, 0x00280008, 0x00280100
_TYPE, _FRACTIONAL_TYPE, _FRACTION = 0x00620001, 0x00620010, 0x0062000E
_SEGMENTS, _NUMBER, _LABEL, _PROPERTY = 0x00620002, 0x00620004, 0x00620005, 0x0062000F
_ALGORITHM_TYPE, _ALGORITHM_NAME, _MEASURES = 0x00620008, 0x00620009, 0x00289110
_SEGMENT_OF_FRAME, _NUMBER_OF_FRAME = 0x0062000A, 0x0062000B
_SHARED, _PER_FRAME = 0x52009229, 0x52009230


@dataclass(frozen=True, slots=True)
class SegmentedMask:
    """One mask of a segmentation.

    Attributes:
        image_id: SOP Instance UID of the radiograph it is of.
        mask: ``(rows, columns)`` bool.
        algorithm: How its segment was made (AUTOMATIC, SEMIAUTOMATIC), and what made it; two empty
            texts of one drawn by hand.
        spacing_mm: Distance between (rows, columns) in mm; None where it is not known.
    """

    image_id: str
    mask: NDArray[np.bool_]
    algorithm: tuple[str, str] = ("", "")
    spacing_mm: tuple[float, float] | None = None


def is_segmentation(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a DICOM Segmentation, from its first 64 KiB."""
    begins = beginning_of(path)
    if begins is None:
        return False
    first = begins.data_set(last_group=0x0008)
    classes = {value(begins.meta, _MEDIA_SOP_CLASS), value(first, _SOP_CLASS) if first else b""}
    return not classes.isdisjoint(one.encode() for one in SOP_CLASSES)


def read_segmentation(path: str | os.PathLike[str], label: str = "") -> list[SegmentedMask]:
    """Return the masks in a segmentation, ``(rows, columns)``, one for each radiograph it is of.

    A map of probabilities is no mask, and gives none.

    Args:
        path: The file.
        label: Number or label of the segment that is the pneumothorax, where there are several and
            none is called so.

    Raises:
        AnnotationError: It cannot be read, or does not say which segment or which radiograph.
    """
    path = Path(path)
    try:
        with reasons(path), open_stream(path) as stream:
            whole = stream.whole()
            data, meta, uid = stream.walked(len(whole))
            kinds = {text(data, _SOP_CLASS), text(meta, _MEDIA_SOP_CLASS)}
            if kinds.isdisjoint(SOP_CLASSES):
                raise DicomError("is DICOM, but no segmentation")
            if text(data, _FRACTIONAL_TYPE) == "PROBABILITY":
                return []
            return _masks(data, uid, label)
    except DicomError as error:
        raise AnnotationError(str(error)) from error


def _masks(data: DataSet, uid: str, label: str) -> list[SegmentedMask]:
    rows, columns = _required(data, _ROWS), _required(data, _COLUMNS)
    count = next(iter(counts(data, _FRAMES)), 1)
    if not 0 < rows * columns <= MAX_PIXELS or count > _MOST_FRAMES:
        raise DicomError(
            f"states {count:,} frames of {rows:,} x {columns:,} pixels; at most"
            f" {_MOST_FRAMES:,} of {MAX_PIXELS:,} pixels are read"
        )
    segment = _segment(data, label)
    frame = _frames(data, uid, count, (rows, columns))
    own, shared = list(data.items(_PER_FRAME)), list(data.items(_SHARED))
    found = {image: np.zeros((rows, columns), np.bool_) for image in _listed(data)}
    alone = next(iter(found)) if len(found) == 1 else ""
    for number in range(count):
        groups = [*own[number : number + 1], *shared]  # of it alone, then of all
        if _segment_of(groups) not in (None, segment):
            continue
        image = _source(groups) or alone
        if not image:
            raise DicomError(
                f"does not say which radiograph its frame {number + 1} is of; export it with"
                " references to its source"
            )
        if image not in found:
            found[image] = np.zeros((rows, columns), np.bool_)
        found[image] |= _inside(data, frame(number), segment)
    if not found:
        raise DicomError("does not say which radiograph it is of")
    algorithm = _algorithm(data, segment)
    spacing = _spacing([*shared, *own[:1]], rows, columns)
    return [SegmentedMask(image, mask, algorithm, spacing) for image, mask in found.items()]


def _algorithm(data: DataSet, segment: int) -> tuple[str, str]:
    """Return how a segment was made, and what made it."""
    for item in data.items(_SEGMENTS):
        if integer(item, _NUMBER) == segment:
            kind, called = text(item, _ALGORITHM_TYPE).upper(), text(item, _ALGORITHM_NAME)
            return (kind, called) if kind in ("AUTOMATIC", "SEMIAUTOMATIC") else ("", "")
    return "", ""


def _spacing(groups: list[DataSet], rows: int, columns: int) -> tuple[float, float] | None:
    for group in groups:
        for item in group.items(_MEASURES):
            found = decimals_if_readable(item, PIXEL_SPACING)
            if len(found) == 2:
                return believed_mm((found[0], found[1]), rows, columns)
    return None


def _required(data: DataSet, tag: int) -> int:
    found = integer(data, tag)
    if found is None:
        raise DicomError(f"{name(tag)} is missing or empty; export it again")
    return found


def _frames(
    data: DataSet, uid: str, count: int, shape: tuple[int, int]
) -> Callable[[int], NDArray[Any]]:
    """Return what gives a frame by its number from 0: ``(rows, columns)``, uint8 or uint16."""
    bits = _required(data, _BITS)
    if PIXEL_DATA not in data or bits not in (1, 8, 16):
        raise DicomError(f"{name(_BITS)} is {bits}; frames of 1, 8 and 16 bits are read")
    if data.elements[PIXEL_DATA].undefined:
        packed = _compressed(fragments(data), count)
        return lambda number: _decoded(packed[number], uid, shape, bits)
    pixels, stored = shape[0] * shape[1], data.raw(PIXEL_DATA)
    needed = (count * pixels * bits + 7) // 8
    if len(stored) not in (needed, needed + needed % 2):
        raise DicomError(
            f"(7FE0,0010) Pixel Data has {len(stored):,} bytes, but {count:,} frames of {shape[0]}"
            f" x {shape[1]} pixels of {bits} bits need {needed:,}; export it again"
        )
    big = data.encoding.big_endian
    if big and bits < 16 and data.elements[PIXEL_DATA].vr == "OW":  # travels in 16-bit words
        stored = np.frombuffer(stored, ">u2").astype("<u2").tobytes()

    def native(number: int) -> NDArray[Any]:
        first = number * pixels
        if bits == 1:  # frames follow one another without a gap, the lowest bit first
            piece = np.frombuffer(stored, np.uint8)[first // 8 : (first + pixels + 7) // 8]
            values = np.unpackbits(piece, bitorder="little")[first % 8 : first % 8 + pixels]
        else:
            kind = np.dtype(f"{'>' if big else '<'}u{bits // 8}")
            values = np.frombuffer(stored, kind, pixels, first * kind.itemsize)
        return values.reshape(shape)

    return native


def _compressed(parts: Sequence[memoryview], count: int) -> list[Sequence[memoryview]]:
    """Return the fragments of each frame: one each, or several from where one begins."""
    if len(parts) == count:
        return [[part] for part in parts]
    starts = [number for number, part in enumerate(parts) if begins(part) == 0]
    if starts[:1] != [0] or len(starts) != count:
        raise DicomError(
            f"(7FE0,0010) Pixel Data has {len(parts):,} fragments for {count:,} frames, and where"
            " each begins cannot be told; export it again"
        )
    ends = [*starts[1:], len(parts)]
    return [parts[start:end] for start, end in zip(starts, ends, strict=True)]


def _decoded(
    parts: Sequence[memoryview], uid: str, shape: tuple[int, int], bits: int
) -> NDArray[Any]:
    decoded = decode_fragments(parts, uid, *shape, max(8, bits))
    if decoded.lossy:
        raise DicomError(
            "its frames are compressed with loss, which moves the edges of a mask; export it again"
            " without"
        )
    return decoded.pixels


def _inside(data: DataSet, frame: NDArray[Any], segment: int) -> NDArray[np.bool_]:
    kind = text(data, _TYPE)
    if kind == "LABELMAP":
        return np.asarray(frame == segment, np.bool_)
    if kind == "FRACTIONAL":  # a share of each pixel: inside where it is more than half
        return np.asarray(2 * frame.astype(np.int64) > _required(data, _FRACTION))
    return np.asarray(frame != 0, np.bool_)


def _segment(data: DataSet, label: str) -> int:
    """Return the number of the segment that is the pneumothorax."""
    numbered = [(integer(item, _NUMBER), item) for item in data.items(_SEGMENTS)]
    items = {number: item for number, item in numbered if number}  # 0 is the background
    names = {number: text(item, _LABEL) for number, item in items.items()}
    if label:
        chosen = [n for n, called in names.items() if label in (called, str(n))]
    elif len(names) == 1:
        chosen = [n for n, item in items.items() if not _is_another(item)]
    else:
        chosen = [n for n, item in items.items() if _is_pneumothorax(item)]
    if len(chosen) == 1:
        return chosen[0]
    shown = ", ".join(f"{n} {called[:40]}" for n, called in list(names.items())[:12])
    raise DicomError(
        f"its segments are {shown or 'none'}; name the one that is the pneumothorax with"
        " `mask_label`"
    )


def _is_pneumothorax(item: DataSet) -> bool:
    coded = [(text(code, _CODE_VALUE), text(code, _CODE_SCHEME)) for code in item.items(_PROPERTY)]
    return _CODE in coded or names_pneumothorax(text(item, _LABEL))


def _is_another(item: DataSet) -> bool:
    meanings = [text(code, _CODE_MEANING) for code in item.items(_PROPERTY)]
    said = [text(item, _LABEL), *meanings]
    return not _is_pneumothorax(item) and any(map(names_another, said))


def _segment_of(groups: list[DataSet]) -> int | None:
    for group in groups:
        for item in group.items(_SEGMENT_OF_FRAME):
            return _required(item, _NUMBER_OF_FRAME)
    return None


def _source(groups: list[DataSet]) -> str:
    for group in groups:
        for item in group.items(_DERIVATIONS):
            for source in item.items(_SOURCES):
                return text(source, _SOP_REFERENCE)
    return ""


def _listed(data: DataSet) -> list[str]:
    """Return the UIDs of the images that the whole file refers to."""
    instances = [one for series in data.items(_SERIES) for one in series.items(_INSTANCES)]
    uids = [text(one, _SOP_REFERENCE) for one in (*instances, *data.items(_SOURCES))]
    return list(dict.fromkeys(filter(None, uids)))
