"""Records: one per image of the index, and the two cleaned tables they are kept in."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pleura.data.sources import Part
from pleura.errors import DataError
from pleura.formats.atomic import atomic_path

if TYPE_CHECKING:
    import polars as pl


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
        labelled: Whether the annotation table says anything about the image.
        positive: Whether it has a pneumothorax; None where it is not labelled.
        mask_rows: How many non-empty rows of the table describe it.
        overlap_px: Pixels that more than one of its rows covers.
        area_px: Pixels of its united mask, at the file's own size; None where not labelled.
        encoded_pixels: Its united mask as run-length text, ``-1`` for none; None: not labelled.
        cluster: Number of its cluster of near-duplicates, from 1; None where it has none.
        group: Number of what it belongs together with, over patients, copies and near-duplicates,
            those set aside and unlabelled included; None where only a table was given.
        fold: Its fold in the fold table, from 0; None where there is no table.
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
    with atomic_path(path) as partial_path:
        pl.DataFrame(columns, schema=_schema(), strict=True).write_parquet(partial_path)


def write_masks(records: Sequence[ImageRecord], path: Path) -> None:
    """Write the united masks of the labelled `records` to a Parquet file, one row per image.

    Columns: ``image_id``, ``rows``, ``columns`` (the mask's size), ``area_px`` and
    ``encoded_pixels`` (run-length text of the SIIM form, ``-1`` for none).

    Raises:
        OutputError: The file could not be written.
    """
    import polars as pl

    names = ["image_id", "rows", "columns", "area_px", "encoded_pixels"]
    labelled = [record for record in records if record.labelled]
    columns = {name: [getattr(record, name) for record in labelled] for name in names}
    schema = {name: kind for name, kind in _schema().items() if name in names}
    with atomic_path(path) as partial_path:
        pl.DataFrame(columns, schema=schema, strict=True).write_parquet(partial_path)


def read_index(path: str | os.PathLike[str]) -> tuple[ImageRecord, ...]:
    """Return the records that :func:`write_index` wrote.

    Raises:
        DataError: The file is missing, is not Parquet, or holds other columns.
    """
    import polars as pl

    try:
        frame = pl.read_parquet(Path(path))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path}: cannot be read as an index ({error})") from error
    if frame.schema != pl.Schema(_schema()):
        raise DataError(f"{path}: its columns are not those of an index of this version of pleura")
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
    }


def image_keys(records: Sequence[ImageRecord]) -> NDArray[np.uint64]:
    """Return the first 64 bits of each record's pixel hash, as a bundle keeps them."""
    return np.array([int(record.pixel_hash[:16], 16) for record in records], np.uint64)
