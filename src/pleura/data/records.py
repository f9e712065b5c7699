"""Records: one per image of the index, and the two cleaned tables they are kept in."""

import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from pleura.data.prepare import Frame
from pleura.data.sources import Part
from pleura.dicom.limits import GREATEST_ASPECT
from pleura.errors import DataError
from pleura.formats.text_file import read_bytes
from pleura.printable import printable
from pleura.storage.atomic import write_bytes
from pleura.storage.seal import digest

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_BYTES = 2**31
"""A larger file is no index (that of SIIM-ACR's 12,047 images has 6 MB)."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of the index.

    Attributes:
        image_id: Its SOP Instance UID.
        path: The file it is read from.
        part: ``train`` or ``test``.
        rows: Height of the file's pixels.
        columns: Width of the file's pixels.
        sex: As in the file (``M``, ``F``, ...), empty where absent.
        age_years: Whole years, or None where the file gives no readable age.
        view: View position, such as ``PA`` or ``AP``; empty where absent.
        modality: Such as ``CR``.
        photometric_interpretation: ``MONOCHROME1`` or ``MONOCHROME2``.
        transfer_syntax: Its name.
        patient: A number for the patient (``p00001`` ...), equal for images of one patient; None
            where unknown. Never an id of the file or of a map.
        pixel_hash: 128-bit hash (hex) of size and pixel values, equal for identical pictures.
        labelled: Whether a table says anything about the image: its mask, or a label.
        positive: Whether it has a pneumothorax (`label` above one half); None: not labelled.
        mask_rows: How many non-empty rows of the table describe it.
        overlap_px: Pixels that more than one of its rows covers.
        area_px: Pixels of its united mask, at the file's own size; None where that is not known.
        encoded_pixels: Its united mask as run-length text, ``-1`` for none; None: not known.
        cluster: Number of its cluster of near-duplicates, from 1; None where it has none.
        group: Number of what it belongs together with, over patients, copies and near-duplicates,
            those set aside and unlabelled included; None where only a table was given.
        fold: Its fold in the fold table, from 0; None where there is no table.
        label: How likely it shows a pneumothorax, 0..1: 0 or 1 by its mask, else what the label
            table says; None where it is not labelled.
        label_weight: How far that is believed, 0..1; 1 by a mask.
        boxes: Where a pneumothorax lies, as the label table says: ``x y width height`` in the
            file's pixels, ``;`` between boxes; empty where it says nothing. Of an image whose mask
            is known they say nothing more.
        aspect: Height of one of the file's pixels divided by its width.
        pixel_mm: Height of one of the file's pixels in mm, to measure with; None where the file
            does not say, or what it says cannot be so.
        nih_patient: Patient of NIH ChestX-ray14, where the picture is known to be of that set (or
            to be drawn on one of it): a public pseudonym, the same in every folder.
    """

    image_id: str
    path: str
    part: Part
    rows: int
    columns: int
    sex: str = ""
    age_years: int | None = None
    view: str = ""
    modality: str = ""
    photometric_interpretation: str = ""
    transfer_syntax: str = ""
    patient: str | None = None
    pixel_hash: str = ""
    labelled: bool = False
    positive: bool | None = None
    mask_rows: int = 0
    overlap_px: int = 0
    area_px: int | None = None
    encoded_pixels: str | None = None
    cluster: int | None = None
    group: int | None = None
    fold: int | None = None
    label: float | None = None
    label_weight: float = 0.0
    boxes: str = ""
    aspect: float = 1.0
    nih_patient: int | None = None
    pixel_mm: float | None = None

    def frame(self, size: int) -> Frame:
        """Return where the file's pixels lie in the prepared square of `size` pixels."""
        return Frame(self.rows, self.columns, size, self.aspect)

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Distance between (rows, columns) in mm; None where it is not known."""
        return None if self.pixel_mm is None else (self.pixel_mm, self.pixel_mm / self.aspect)

    @property
    def mask_known(self) -> bool:
        """Whether a mask is annotated, be it an empty one."""
        return self.encoded_pixels is not None


def write_index(records: Sequence[ImageRecord], path: Path) -> None:
    """Write `records` to a Parquet file, one row per image, columns as in :class:`ImageRecord`.

    Raises:
        OutputError: The file could not be written.
    """
    _write(records, [field.name for field in fields(ImageRecord)], path)


def write_masks(records: Sequence[ImageRecord], path: Path) -> None:
    """Write the united masks of `records`, where they are known, to a Parquet file.

    One row per image.

    Columns: ``image_id``, ``rows``, ``columns`` (the mask's size), ``area_px`` and
    ``encoded_pixels`` (run-length text of the SIIM form, ``-1`` for none).

    Raises:
        OutputError: The file could not be written.
    """
    names = ["image_id", "rows", "columns", "area_px", "encoded_pixels"]
    _write([record for record in records if record.mask_known], names, path)


def _write(records: Sequence[ImageRecord], names: Sequence[str], path: Path) -> None:
    """Write columns of records as Parquet, made in memory: a full disk is then told from a fault.

    Raises:
        OutputError: The file could not be written.
    """
    import pyarrow as pa  # so that who reads no table need not wait for it
    from pyarrow import parquet

    schema = _schema()
    columns = [[getattr(record, name) for record in records] for name in names]
    whole = io.BytesIO()
    parquet.write_table(
        pa.table(columns, schema=pa.schema([schema.field(name) for name in names])), whole
    )
    write_bytes(path, whole.getvalue())


def read_index(
    path: str | os.PathLike[str], *, expected: str | None = None
) -> tuple[ImageRecord, ...]:
    """Return the records that :func:`write_index` wrote.

    Args:
        path: The Parquet file.
        expected: The digest that it had when it was written, where that is known.

    Raises:
        DataError: The file is missing, was changed, is not Parquet, or holds other columns.
    """
    import pyarrow as pa
    from pyarrow import parquet

    content = read_bytes(path, DataError, _MOST_BYTES)
    if expected is not None and digest(content) != expected:
        raise DataError(
            f"{path}: was changed since it was written; the disk or a copy may be damaged: "
            "prepare the folder again"
        )
    try:
        table = parquet.ParquetFile(pa.BufferReader(content)).read()
        values = [column.to_pylist() for column in table.columns]
    except (pa.ArrowException, OSError, ValueError) as error:
        why = printable(" ".join(str(error).split())[:200])
        raise DataError(f"{path}: cannot be read as an index ({why})") from error
    if not table.schema.equals(_schema()):
        raise DataError(f"{path}: its columns are not those of an index of this version of pleura")
    fault = _fault(dict(zip(table.column_names, values, strict=True)))
    if fault:
        raise DataError(f"{path}: {fault}; make the index again")
    return tuple(map(ImageRecord, *values))


def _schema() -> "pa.Schema":
    """Return the types of the columns, which are those of the fields."""
    import pyarrow as pa

    kinds: dict[Any, pa.DataType] = {
        str: pa.string(),
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
    }
    kinds |= {kind | None: own for kind, own in kinds.items()}
    types = get_type_hints(ImageRecord)
    return pa.schema({name: kinds.get(kind, pa.string()) for name, kind in types.items()})


_RULES: dict[str, Callable[[Any], object]] = {
    "part": lambda value: value in get_args(Part),
    "rows": lambda value: 1 <= value <= 65_535,
    "columns": lambda value: 1 <= value <= 65_535,
    "pixel_hash": re.compile("(?:[0-9a-f]{32})?").fullmatch,
    "aspect": lambda value: 1 / GREATEST_ASPECT <= value <= GREATEST_ASPECT,
    "pixel_mm": lambda value: value is None or 1e-3 <= value <= 1e3,
    "label": lambda value: value is None or 0 <= value <= 1,
    "label_weight": lambda value: 0 <= value <= 1,
}
"""What holds of every value of a column; NaN is within no bounds."""


def _fault(columns: Mapping[str, Sequence[Any]]) -> str:
    """Return what no index that pleura writes has, or ""."""
    types = get_type_hints(ImageRecord)
    for name, values in columns.items():
        missing = values.count(None)
        if missing and type(None) not in get_args(types[name]):
            return f"{missing} rows have no {name}"
    for name, rule in _RULES.items():
        wrong = [value for value in columns[name] if not rule(value)]
        if wrong:
            return f"{name} is {str(wrong[0])[:60]!r} in {len(wrong)} of its rows"
    return ""


def image_keys(records: Sequence[ImageRecord]) -> NDArray[np.uint64]:
    """Return ``(records,)``: the first 64 bits of each pixel hash, as a bundle keeps them."""
    return np.array([int(record.pixel_hash[:16], 16) for record in records], np.uint64)
