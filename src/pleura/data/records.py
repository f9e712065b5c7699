"""Records: one per image of the index, and the two cleaned tables they are kept in."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pleura.data.prepare import Frame
from pleura.data.sources import Part
from pleura.dicom.limits import GREATEST_ASPECT
from pleura.errors import DataError
from pleura.formats.text_file import read_bytes
from pleura.storage.atomic import write_bytes
from pleura.storage.seal import digest

if TYPE_CHECKING:
    import polars as pl

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
    sex: str
    age_years: int | None
    view: str
    modality: str
    photometric_interpretation: str
    transfer_syntax: str
    patient: str | None
    pixel_hash: str
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
    import polars as pl

    columns = {
        field.name: [getattr(record, field.name) for record in records]
        for field in fields(ImageRecord)
    }
    _write(pl.DataFrame(columns, schema=_schema(), strict=True), path)


def write_masks(records: Sequence[ImageRecord], path: Path) -> None:
    """Write the united masks of `records`, where they are known, to a Parquet file.

    One row per image.

    Columns: ``image_id``, ``rows``, ``columns`` (the mask's size), ``area_px`` and
    ``encoded_pixels`` (run-length text of the SIIM form, ``-1`` for none).

    Raises:
        OutputError: The file could not be written.
    """
    import polars as pl

    names = ["image_id", "rows", "columns", "area_px", "encoded_pixels"]
    known = [record for record in records if record.mask_known]
    columns = {name: [getattr(record, name) for record in known] for name in names}
    schema = {name: kind for name, kind in _schema().items() if name in names}
    _write(pl.DataFrame(columns, schema=schema, strict=True), path)


def _write(frame: "pl.DataFrame", path: Path) -> None:
    """Write a table as Parquet; made in memory, as polars does not tell a full disk from a fault.

    Raises:
        OutputError: The file could not be written.
    """
    whole = io.BytesIO()
    frame.write_parquet(whole)
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
    import polars as pl

    try:
        content = read_bytes(path, DataError, _MOST_BYTES)
        if expected is not None and digest(content) != expected:
            raise DataError(
                f"{path}: was changed since it was written; the disk or a copy may be damaged: "
                "prepare the folder again"
            )
        frame = pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        why = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read as an index ({why})") from error
    if frame.schema != pl.Schema(_schema()):
        raise DataError(f"{path}: its columns are not those of an index of this version of pleura")
    fault = _fault(frame)
    if fault:
        raise DataError(f"{path}: {fault}; make the index again")
    return tuple(ImageRecord(**row) for row in frame.iter_rows(named=True))


def _schema() -> dict[str, "pl.DataType"]:
    import polars as pl

    return {
        "image_id": pl.String(),
        "path": pl.String(),
        "part": pl.String(),
        "rows": pl.Int64(),
        "columns": pl.Int64(),
        "sex": pl.String(),
        "age_years": pl.Int64(),
        "view": pl.String(),
        "modality": pl.String(),
        "photometric_interpretation": pl.String(),
        "transfer_syntax": pl.String(),
        "patient": pl.String(),
        "pixel_hash": pl.String(),
        "labelled": pl.Boolean(),
        "positive": pl.Boolean(),
        "mask_rows": pl.Int64(),
        "overlap_px": pl.Int64(),
        "area_px": pl.Int64(),
        "encoded_pixels": pl.String(),
        "cluster": pl.Int64(),
        "group": pl.Int64(),
        "fold": pl.Int64(),
        "label": pl.Float64(),
        "label_weight": pl.Float64(),
        "boxes": pl.String(),
        "aspect": pl.Float64(),
        "nih_patient": pl.Int64(),
        "pixel_mm": pl.Float64(),
    }


_MAY_BE_NULL = {
    *("age_years", "patient", "positive", "area_px", "encoded_pixels", "cluster", "group", "fold"),
    *("label", "nih_patient", "pixel_mm"),
}


def _fault(frame: "pl.DataFrame") -> str:
    """Return what no index that pleura writes has, or ""."""
    import polars as pl

    for name in frame.columns:
        if name not in _MAY_BE_NULL and frame[name].null_count():
            return f"{frame[name].null_count()} rows have no {name}"
    within = {
        "part": pl.col("part").is_in(["train", "test"]),
        "rows": pl.col("rows").is_between(1, 65_535),
        "columns": pl.col("columns").is_between(1, 65_535),
        "pixel_hash": pl.col("pixel_hash").str.contains("^(?:[0-9a-f]{32})?$"),
        "aspect": pl.col("aspect").is_between(1 / GREATEST_ASPECT, GREATEST_ASPECT),
        "pixel_mm": pl.col("pixel_mm").is_null() | pl.col("pixel_mm").is_between(1e-3, 1e3),
        "label": pl.col("label").is_null() | pl.col("label").is_between(0, 1),
        "label_weight": pl.col("label_weight").is_between(0, 1),
    }
    for name, rule in within.items():
        wrong = frame.filter(~rule)[name]
        if len(wrong):
            return f"{name} is {str(wrong[0])[:60]!r} in {len(wrong)} of its rows"
    return ""


def image_keys(records: Sequence[ImageRecord]) -> NDArray[np.uint64]:
    """Return the first 64 bits of each record's pixel hash, as a bundle keeps them."""
    return np.array([int(record.pixel_hash[:16], 16) for record in records], np.uint64)
