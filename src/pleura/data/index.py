"""The index: one row per image, made from a data folder, with everything that was set aside.

One image is one SOP Instance UID, whatever the number of its files or of its rows in the annotation
table. What cannot be used is kept apart with its reason: nothing is dropped without a trace, and a
file without an annotation is unlabelled, never a negative.
"""

import csv
import gzip
import io
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pleura import config
from pleura.data.sources import Part, Sources
from pleura.data.workers import chunked_map
from pleura.errors import DataError, DicomError, RleError
from pleura.formats import annotations as tables
from pleura.formats import dicom, rle
from pleura.formats.atomic import atomic_path

OnProgress = Callable[[int, int], None]
Reason = Literal["same-uid", "same-pixels"]


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
        patient: The patient of the patient map; None where unknown. Never the file's own id.
        pixel_hash: 128-bit hash (hex) of size and pixel values, equal for identical pictures.
        labelled: Whether the annotation table says anything about the image.
        positive: Whether it has a pneumothorax; None where it is not labelled.
        mask_rows: How many non-empty rows of the table describe it.
        overlap_px: Pixels that more than one of its rows covers.
        area_px: Pixels of its united mask, at the file's own size; None where not labelled.
        encoded_pixels: Its united mask as run-length text, ``-1`` for none; None: not labelled.
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


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that could not be read, and why."""

    path: str
    part: Part
    reason: str


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A file set aside because `kept` shows the same image.

    Attributes:
        path: The file set aside.
        image_id: Its SOP Instance UID.
        kept: The file that stays in the index.
        reason: ``same-uid`` or ``same-pixels``.
        agrees: False where the two differ: in their pixels (same UID) or in their masks (same
            pixels). That is a contradiction somebody should look at.
    """

    path: str
    image_id: str
    kept: str
    reason: Reason
    agrees: bool


@dataclass(frozen=True, slots=True)
class Index:
    """A data folder as one row per image, and everything that was set aside.

    Attributes:
        records: Training images first, then test images, each in the order of their paths.
        unreadable: Files that are not in the index because they cannot be read.
        duplicates: Files that are not in the index because another shows the same image.
        bad_annotations: Rows of the table that were refused; their images stay unlabelled.
        rows_without_file: Annotated ids for which there is no file.
        test_in_train: Ids of test images whose pixels are also among the training images.
        annotated_test: Ids of test images that the table describes; the table is not used there.
        files_train: Number of training files, readable or not.
        files_test: Number of test files.
        table: The annotation table as read, or None where there is none.
    """

    records: tuple[ImageRecord, ...]
    unreadable: tuple[Unreadable, ...]
    duplicates: tuple[Duplicate, ...]
    bad_annotations: tuple[tables.RowProblem, ...]
    rows_without_file: tuple[str, ...]
    test_in_train: tuple[str, ...]
    annotated_test: tuple[str, ...]
    files_train: int
    files_test: int
    table: tables.Annotations | None

    @property
    def train(self) -> tuple[ImageRecord, ...]:
        """The labelled training images."""
        return tuple(r for r in self.records if r.part == "train" and r.labelled)

    @property
    def unlabelled(self) -> tuple[ImageRecord, ...]:
        """The training images that the table says nothing (or nothing usable) about."""
        return tuple(r for r in self.records if r.part == "train" and not r.labelled)

    @property
    def test(self) -> tuple[ImageRecord, ...]:
        """The test images."""
        return tuple(r for r in self.records if r.part == "test")


def build_index(
    sources: Sources,
    *,
    form: config.RleForm = "relative",
    workers: int = 0,
    on_progress: OnProgress | None = None,
) -> Index:
    """Return the index of the files and tables in `sources`; every file is read and decoded.

    Args:
        sources: What :func:`pleura.data.sources.find_sources` found.
        form: How the table's run lengths are written.
        workers: Processes to read with; 0 means one per core.
        on_progress: Told (files read, files in all).

    Raises:
        AnnotationError: The annotation table cannot be read as a whole, or is written in the
            other run-length form.
        DataError: The table matches none of the files.
    """
    table = None
    if sources.annotations is not None:
        table = tables.read_annotations(sources.annotations, form=form)
    patients = read_patients(sources.patients) if sources.patients is not None else {}

    files = [(path, "train") for path in sources.train] + [(path, "test") for path in sources.test]
    scans = list(chunked_map(_scan, [str(path) for path, _ in files], workers, on_progress))
    unreadable, records = [], []
    for (path, part), scan in zip(files, scans, strict=True):
        if isinstance(scan, str):
            unreadable.append(Unreadable(str(path), _part(part), scan))
        else:
            patient = patients.get(scan.image_id)
            records.append(replace(scan, part=_part(part), patient=patient))

    records, same_uid = _drop_same_uid(records)
    if table is not None:
        shapes = {record.image_id: (record.rows, record.columns) for record in records}
        table = tables.check_masks(table, shapes)
    table_masks: Mapping[str, tuple[str, ...]] = table.masks if table is not None else {}
    known = {record.image_id for record in records}
    train = [record for record in records if record.part == "train"]
    test = [record for record in records if record.part == "test"]
    if table is not None and known.isdisjoint(table.masks) and table.masks and train:
        _refuse_foreign_table(table, train[0])

    annotated, bad = _annotate(train, table_masks, form)
    train, same_pixels = _drop_same_pixels(annotated)
    train_hashes = {record.pixel_hash for record in train}
    problems = table.problems if table is not None else ()
    return Index(
        records=(*train, *test),
        unreadable=tuple(unreadable),
        duplicates=(*same_uid, *same_pixels),
        bad_annotations=(*problems, *bad),
        rows_without_file=tuple(i for i in table_masks if i not in known),
        test_in_train=tuple(r.image_id for r in test if r.pixel_hash in train_hashes),
        annotated_test=tuple(r.image_id for r in test if r.image_id in table_masks),
        files_train=len(sources.train),
        files_test=len(sources.test),
        table=table,
    )


def read_patients(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return image id -> patient from a CSV with columns ``ImageId`` and ``patient``.

    Args:
        path: A ``.csv`` or ``.csv.gz``; other columns are ignored.

    Raises:
        DataError: The file cannot be read or lacks a column.
    """
    try:
        raw = Path(path).read_bytes()
        text = (gzip.decompress(raw) if str(path).endswith(".gz") else raw).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
        columns = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        if not {"ImageId", "patient"} <= set(columns):
            raise DataError(
                f"{path}: a patient map needs the columns ImageId and patient; found "
                f"{', '.join(columns) or 'none'}"
            )
        return {
            row["ImageId"].strip(): row["patient"].strip()
            for row in reader
            if row["ImageId"] and row["patient"]
        }
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a CSV ({error})") from error


def write_index(records: Sequence[ImageRecord], path: Path) -> None:
    """Write `records` to a Parquet file, one row per image, columns as in :class:`ImageRecord`.

    Raises:
        OutputError: The file could not be written.
    """
    columns = {
        field.name: [getattr(record, field.name) for record in records]
        for field in fields(ImageRecord)
    }
    with atomic_path(path) as partial_path:
        pl.DataFrame(columns, schema=_SCHEMA, strict=True).write_parquet(partial_path)


def write_masks(records: Sequence[ImageRecord], path: Path) -> None:
    """Write the united masks of the labelled `records` to a Parquet file, one row per image.

    Columns: ``image_id``, ``rows``, ``columns`` (the mask's size), ``area_px`` and
    ``encoded_pixels`` (run-length text of the SIIM form, ``-1`` for none).

    Raises:
        OutputError: The file could not be written.
    """
    names = ["image_id", "rows", "columns", "area_px", "encoded_pixels"]
    labelled = [record for record in records if record.labelled]
    columns = {name: [getattr(record, name) for record in labelled] for name in names}
    schema = {name: _SCHEMA[name] for name in names}
    with atomic_path(path) as partial_path:
        pl.DataFrame(columns, schema=schema, strict=True).write_parquet(partial_path)


def read_index(path: str | os.PathLike[str]) -> tuple[ImageRecord, ...]:
    """Return the records that :func:`write_index` wrote.

    Raises:
        DataError: The file is missing, is not Parquet, or holds other columns.
    """
    try:
        frame = pl.read_parquet(Path(path))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path}: cannot be read as an index ({error})") from error
    if frame.schema != pl.Schema(_SCHEMA):
        raise DataError(f"{path}: its columns are not those of an index of this version of pleura")
    return tuple(ImageRecord(**row) for row in frame.iter_rows(named=True))


_SCHEMA: dict[str, pl.DataType] = {
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
}


def _scan(paths: Sequence[str]) -> list[ImageRecord | str]:
    """Return a record, or the reason why there is none, for each path."""
    return [_scan_one(path) for path in paths]


def _scan_one(path: str) -> ImageRecord | str:
    try:
        radiograph = dicom.read_radiograph(path)
    except DicomError as error:
        return str(error)
    header, pixels = radiograph.header, radiograph.pixels
    return ImageRecord(
        image_id=header.sop_instance_uid,
        path=path,
        part="train",
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        sex=header.sex,
        age_years=age_years(header.age),
        view=header.view_position,
        modality=header.modality,
        photometric_interpretation=header.photometric_interpretation,
        transfer_syntax=header.transfer_syntax_name,
        patient=None,
        pixel_hash=pixel_hash(pixels),
    )


def pixel_hash(pixels: NDArray[np.generic]) -> str:
    """Return a 128-bit hash (hex) of the size, type and values of C-contiguous pixels."""
    digest = blake2b(repr((pixels.shape, pixels.dtype.str)).encode(), digest_size=16)
    digest.update(pixels.data)
    return digest.hexdigest()


def age_years(text: str) -> int | None:
    """Return whole years from a DICOM age (``038Y``, ``18M``) or a bare number, else None.

    Source: DICOM PS3.5 6.2, value representation AS; the SIIM-ACR files write ``38``.
    """
    text = text.strip()
    number, unit = (text, "Y") if text.isdecimal() else (text[:-1], text[-1:].upper())
    per_year = {"Y": 1, "M": 12, "W": 52, "D": 365}.get(unit)
    if per_year is None or not (number.isascii() and number.isdecimal()):
        return None
    return int(number) // per_year


def _part(name: str) -> Part:
    return "test" if name == "test" else "train"


def _drop_same_uid(
    records: Iterable[ImageRecord],
) -> tuple[list[ImageRecord], list[Duplicate]]:
    """Keep the first file of each UID in each part."""
    first: dict[tuple[str, str], ImageRecord] = {}
    dropped = []
    for record in records:
        kept = first.setdefault((record.part, record.image_id), record)
        if kept is not record:
            agrees = kept.pixel_hash == record.pixel_hash
            dropped.append(Duplicate(record.path, record.image_id, kept.path, "same-uid", agrees))
    return list(first.values()), dropped


def _drop_same_pixels(
    records: Sequence[ImageRecord],
) -> tuple[list[ImageRecord], list[Duplicate]]:
    """Keep one file of each picture: the first that is labelled, else the first."""
    kept: dict[str, ImageRecord] = {}
    for record in records:
        other = kept.setdefault(record.pixel_hash, record)
        if record.labelled and not other.labelled:
            kept[record.pixel_hash] = record
    dropped = []
    for record in records:
        keeper = kept[record.pixel_hash]
        if keeper is not record:
            agrees = not record.labelled or record.encoded_pixels == keeper.encoded_pixels
            dropped.append(
                Duplicate(record.path, record.image_id, keeper.path, "same-pixels", agrees)
            )
    return [record for record in records if kept[record.pixel_hash] is record], dropped


def _annotate(
    records: Iterable[ImageRecord],
    masks: Mapping[str, tuple[str, ...]],
    form: config.RleForm,
) -> tuple[list[ImageRecord], list[tables.RowProblem]]:
    annotated, problems = [], []
    label = partial(_labelled, form=form)
    for record in records:
        texts = masks.get(record.image_id)
        try:
            annotated.append(record if texts is None else label(record, texts))
        except RleError as error:
            annotated.append(record)
            problems.append(tables.RowProblem(0, record.image_id, f"{error}"))
    return annotated, problems


def _labelled(record: ImageRecord, texts: tuple[str, ...], form: config.RleForm) -> ImageRecord:
    """Return `record` with the union of its rows; raises RleError where a row does not fit."""
    shape = (record.rows, record.columns)
    if not texts:
        return replace(record, labelled=True, positive=False, area_px=0, encoded_pixels="-1")
    mask = rle.union(texts, shape, form=form)
    return replace(
        record,
        labelled=True,
        positive=True,
        mask_rows=len(texts),
        overlap_px=rle.overlap_px(texts, shape, form=form) if len(texts) > 1 else 0,
        area_px=int(mask.sum()),
        encoded_pixels=rle.mask2rle(mask),
    )


def _refuse_foreign_table(table: tables.Annotations, example: ImageRecord) -> None:
    raise DataError(
        f"{table.path}: none of its {len(table.masks)} ids belongs to a file found; the first id "
        f"is {next(iter(table.masks))}, the first file's is {example.image_id}; name the table of "
        "these files with --annotations"
    )


def prevalence(records: Sequence[ImageRecord]) -> float:
    """Return the share of positives among the labelled `records`; NaN where none is labelled."""
    labels = Counter(record.positive for record in records if record.labelled)
    total = labels[True] + labels[False]
    return labels[True] / total if total else float("nan")


def image_keys(records: Sequence[ImageRecord]) -> NDArray[np.uint64]:
    """Return the first 64 bits of each record's pixel hash, as a bundle keeps them."""
    return np.array([int(record.pixel_hash[:16], 16) for record in records], np.uint64)
