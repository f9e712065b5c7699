"""An audit from an index or a table, and ``findings.json`` out and in."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import xxhash
from pydantic import TypeAdapter, ValidationError

from pleura.audit.annotations import absolute_form, annotation_findings, table_findings
from pleura.audit.balance import balance_findings, balance_of
from pleura.audit.files import below, file_findings
from pleura.audit.findings import (
    SCHEMA,
    Audit,
    AuditCounts,
    Finding,
    ImageSummary,
    Item,
    Label,
    found,
    in_order,
)
from pleura.audit.leaks import fold_findings, leak_findings, patient_findings
from pleura.audit.lung_fit import fit_findings
from pleura.audit.orientation import ORIENTATIONS
from pleura.audit.pictures import picture_findings
from pleura.cluster.shards import Cluster
from pleura.config import Data
from pleura.data.fold_table import read_folds
from pleura.data.folds import fold_records
from pleura.data.image_masks import read_lone_table, records_of_table
from pleura.data.index import Index, make_index, read_tables
from pleura.data.records import ImageRecord
from pleura.data.scan import scan_files
from pleura.data.sources import Sources, mask_reading
from pleura.data.table_use import UnreadFinding
from pleura.errors import DataError, OtherFormError
from pleura.formats.annotations import Annotations
from pleura.formats.masks import MaskReading, read_masks
from pleura.formats.rle import other_form
from pleura.formats.text_file import read_text
from pleura.printable import json_text, rounded
from pleura.processes.progress import OnProgress, untold
from pleura.storage.atomic import write_text
from pleura.storage.elsewhere import path_at


def audit_folder(
    sources: Sources,
    *,
    pixels: bool = True,
    workers: int = 0,
    journal: Path | None = None,
    cluster: Cluster | None = None,
    on_progress: OnProgress = untold,
) -> tuple[Audit, Index]:
    """Return the audit of a data folder, and the index that it is of.

    A table in the other run-length form is a finding here, and none of its rows is used.

    Args:
        sources: What :func:`pleura.data.sources.find_sources` found.
        pixels: As for :func:`pleura.data.scan.scan_files`, and so the others.
        workers: Processes.
        journal: A file that keeps what is finished.
        cluster: Where the files are read; None: by this machine.
        on_progress: Told (files done, files in all).

    Raises:
        AnnotationError, DataError: As :func:`pleura.data.index.build_index` says.
        OutputError: The journal cannot be written.
    """
    wrong_form = None
    try:
        tables = read_tables(sources)
    except OtherFormError as error:
        wrong_form = _wrong_form(sources.mask_tables, sources.reading, error)
        tables = read_tables(sources.without_annotations())
    paths = [*sources.train, *sources.test]
    scans = scan_files(
        paths,
        pixels=pixels,
        workers=workers,
        journal=journal,
        cluster=cluster,
        on_progress=on_progress,
    )
    try:
        index = make_index(sources, tables, scans)
    except OtherFormError as error:
        wrong_form = _wrong_form(sources.mask_tables, sources.reading, error)
        index = make_index(sources, replace(tables, annotations=()), scans)
    return audit_index(index, sources, wrong_form), index


def audit_index(index: Index, sources: Sources, wrong_form: Finding | None = None) -> Audit:
    """Return the audit of an index.

    Args:
        index: The index.
        sources: The files that it was made from.
        wrong_form: A finding that stands for all that could be said of the table.
    """
    balance = balance_of(index.train)
    annotations = [wrong_form] if wrong_form is not None else [*annotation_findings(index)]
    if {item.code for item in annotations if item.count}.isdisjoint(
        {*ORIENTATIONS, "absolute-form"}
    ):
        annotations += fit_findings(index)
    return Audit(
        source=str(sources.root),
        counts=_counts(index),
        balance=balance,
        findings=in_order(
            [
                *file_findings(index, sources.root),
                *(_unread_tables(index, code, sources.root) for code in get_args(UnreadFinding)),
                *picture_findings(index),
                *annotations,
                *leak_findings(index, sources.submissions),
                *balance_findings(balance),
            ]
        ),
        images=tuple(_summary(record, index, sources.root) for record in index.records),
        patients_from=index.patients_from,
    )


def _unread_tables(index: Index, code: UnreadFinding, root: Path) -> Finding:
    items = (Item(below(root, use.table)) for use in index.tables if use.finding == code)
    return found(code, items)


def audit_table(settings: Data) -> Audit:
    """Return the audit of an annotation table alone, for images of 1024 x 1024.

    Args:
        settings: The table, how it is read, and the patient map (without one, that of the SIIM-ACR
            set is asked) and the fold table that are named.

    Raises:
        AnnotationError: The table cannot be read.
        DataError: The patient map or the fold table cannot be used.
    """
    path, wrong_form = path_at(settings.annotations), None
    try:
        table = read_lone_table(settings)
    except OtherFormError as error:
        wrong_form = _wrong_form([path], mask_reading(settings), error)
        table = Annotations(path, settings.rle, rows=wrong_form.count, masks={}, lines={})
    records = records_of_table(table, settings.patients)
    if settings.fold_table:
        folds = read_folds(path_at(settings.fold_table))
        records = tuple(fold_records(records, folds, settings.fold_table))
    known = {record.patient for record in records} - {None}
    patients_from = ("map" if settings.patients else "siim") if known else ""
    balance = balance_of(records)
    findings = [wrong_form] if wrong_form is not None else table_findings(table, records)
    return Audit(
        source=str(path),
        counts=AuditCounts(
            **{**_no_files(), **_table_counts(table), "patients": len(known) or None}
        ),
        balance=balance,
        findings=in_order(
            [
                *findings,
                *fold_findings(records),
                *patient_findings(records, patients_from),
                *balance_findings(balance),
            ]
        ),
        images=tuple(_summary(record, None, path.parent) for record in records),
        patients_from=patients_from,
    )


def write_findings(audit: Audit, path: Path) -> None:
    """Write ``findings.json``, whole or not at all.

    Raises:
        OutputError: The file could not be written.
    """
    write_text(path, json_text(rounded(audit.as_json())) + "\n")


_MOST_BYTES = 2**28


def read_findings(path: str | os.PathLike[str]) -> Audit:
    """Return the audit that :func:`write_findings` wrote.

    Raises:
        DataError: The file cannot be read, is something else, or of another schema.
    """
    try:
        values = json.loads(read_text(path, DataError, _MOST_BYTES))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as a findings.json ({error})") from error
    schema = values.get("schema") if isinstance(values, dict) else None
    if schema != SCHEMA:
        shown = repr(schema)[:60]
        raise DataError(f"{path}: its schema is {shown}, this pleura reads {SCHEMA!r}")
    try:
        return TypeAdapter(Audit).validate_python(values)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise DataError(f"{path}: is damaged at {where}: {wrong['msg']}") from error


def findings_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``findings.json``."""
    schema = TypeAdapter(Audit).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA, **schema}


def _wrong_form(paths: Sequence[Path], reading: MaskReading, error: OtherFormError) -> Finding:
    path = next((one for one in paths if str(error).startswith(f"{one}: ")), None)
    if path is None:
        raise error
    table = read_masks(path, replace(reading, form=other_form(reading.form)))
    rows = sum(len(texts) for texts in table.masks.values())
    return absolute_form(rows, str(error).removeprefix(f"{path}: "))


def _counts(index: Index) -> AuditCounts:
    train = index.train
    patients = {record.patient for record in train if record.patient is not None}
    return AuditCounts(
        files_train=index.files_train,
        files_test=index.files_test,
        **_table_counts(index.table),
        labelled=len(train),
        labelled_positive=sum(bool(record.positive) for record in train),
        unlabelled=len(index.unlabelled),
        rows_without_file=len(index.rows_without_file),
        duplicates=len(index.duplicates),
        unreadable=len(index.unreadable),
        patients=len(patients) or None,
    )


def _no_files() -> dict[str, Any]:
    names = ["files_train", "files_test", "labelled", "labelled_positive", "unlabelled"]
    return dict.fromkeys([*names, "rows_without_file", "duplicates", "unreadable"])


def _table_counts(table: Annotations | None) -> dict[str, int]:
    if table is None:
        names = ["rows", "images", "positive", "empty", "several_rows", "overlapping"]
        return dict.fromkeys(names, 0)
    return {
        "rows": table.rows,
        "images": table.images,
        "positive": table.positives,
        "empty": table.empty,
        "several_rows": table.with_several_rows,
        "overlapping": len(table.overlapping()),
    }


def _summary(record: ImageRecord, index: Index | None, root: Path) -> ImageSummary:
    scan = index.scans[record.path] if index is not None else None
    encoding = [scan.transfer_syntax, f"{scan.bits_stored} bits"] if scan is not None else []
    if scan is not None and scan.photometric_interpretation != "MONOCHROME2":
        encoding.append(scan.photometric_interpretation)
    return ImageSummary(
        id=record.image_id,
        path=below(root, record.path) if record.path else "",
        part=record.part,
        label=_label(record),
        area_px=record.area_px if record.positive else None,
        rows=record.rows if record.path else 0,
        columns=record.columns if record.path else 0,
        sex=record.sex,
        age_years=record.age_years,
        view=record.view,
        encoding=", ".join(encoding),
        pixel_hash=record.pixel_hash,
        cluster=record.cluster,
        mask_hash=_mask_hash(record.encoded_pixels) if record.positive else "",
        group=record.group,
    )


def _mask_hash(encoded_pixels: str | None) -> str:
    return xxhash.xxh3_64_hexdigest((encoded_pixels or "").encode())


def _label(record: ImageRecord) -> Label:
    if record.part == "test":
        return "test"
    if not record.labelled:
        return "unlabelled"
    return "positive" if record.positive else "negative"
