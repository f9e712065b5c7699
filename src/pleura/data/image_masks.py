"""Masks of a table brought to the images that they are of."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pleura.choices import Match
from pleura.config import Data
from pleura.data.files import nearest
from pleura.data.image_patients import number_patients, patients_by_map
from pleura.data.matching import Named, first_id_alike, match_names, names_of
from pleura.data.patients import read_patients, siim_patient
from pleura.data.records import ImageRecord
from pleura.data.scan import Scan, named_by_path
from pleura.errors import DataError
from pleura.formats import rle
from pleura.formats.annotation_table import read_annotations
from pleura.formats.annotations import Annotations, RowProblem
from pleura.formats.mask_fit import check_masks
from pleura.formats.masks import renamed
from pleura.formats.rle import Form as RleForm
from pleura.storage.elsewhere import path_at

LONE_SHAPE = (1024, 1024)
"""Rows and columns of the images of a table without files: those of every SIIM-ACR image."""


def read_lone_table(settings: Data) -> Annotations:
    """Return the table of run lengths that is named, where no radiographs are.

    Raises:
        AnnotationError: It cannot be read.
    """
    return read_annotations(
        path_at(settings.annotations),
        form=settings.rle,
        shape=LONE_SHAPE,
        columns=(settings.image_column, settings.mask_column),
        label=settings.mask_label,
        readers=(settings.reader_column, settings.readers),
    )


def records_of_table(table: Annotations, patients: str = "") -> tuple[ImageRecord, ...]:
    """Return labelled records for a table without files.

    Args:
        table: The table, for images of :data:`LONE_SHAPE`.
        patients: A patient map; empty: that of the SIIM-ACR set is asked.

    Raises:
        DataError: The patient map cannot be used.
    """
    ids = list(table.masks)
    names = (
        patients_by_map(ids, read_patients(path_at(patients)), patients)
        if patients
        else [siim_patient(image_id) for image_id in ids]
    )
    return tuple(
        with_mask(
            ImageRecord(image_id, "", "train", *LONE_SHAPE, patient=patient),
            table.masks[image_id],
            table.form,
        )
        for image_id, patient in zip(ids, number_patients(names), strict=True)
    )


def check_tables(
    tables: Sequence[Annotations],
    train: Sequence[ImageRecord],
    test: Sequence[ImageRecord],
    known: set[str],
    match: Match,
) -> list[Annotations]:
    """Return tables by the ids of their images, without masks that do not fit these.

    A table is of the images below its own folder first. What knows no image is left out.

    Args:
        tables: They.
        train: The training images.
        test: The test images.
        known: The ids of all files.
        match: What tables call an image by; empty: any of its names.

    Raises:
        DataError: None of the tables knows an image.
    """
    # Where an id is in both parts, the training file's size counts.
    shapes = {record.image_id: (record.rows, record.columns) for record in [*test, *train]}
    images = [*train, *test]
    found = []
    for table in tables:
        own = images
        if len(tables) > 1:
            near = nearest(table.path, [image.path for image in images])
            own = [image for image in images if image.path in near]
        named = brought(table, own, match)
        named = named if len(own) == len(images) else brought(named, images, match)
        found.append(check_masks(named, shapes))
    if not train:
        return found
    own_ids = [{*table.masks, *table.refused} for table in found]
    knowing = [
        table
        for table, ids in zip(found, own_ids, strict=True)
        if not (table.masks and known.isdisjoint(ids))
    ]
    if found and not knowing:
        _refuse_foreign_table(found[0], train)
    return knowing


def agreeing(tables: Sequence[Annotations]) -> list[Annotations]:
    """Return tables without the images on which two of them contradict each other.

    Such an image is among the problems of the later one. Equal masks are no contradiction.

    Args:
        tables: They, by the ids of their images.
    """
    first: dict[str, Annotations] = {}
    problems: list[list[RowProblem]] = []
    for table in tables:
        own = []
        for image_id in table.masks:
            other = first.setdefault(image_id, table)
            if other is not table and _united(other, image_id) != _united(table, image_id):
                line, lies = (one.lines.get(image_id, (0,))[0] for one in (table, other))
                reason = (
                    f"its mask is another one than on line {lies} of {other.path}; keep the right "
                    "one of the two"
                )
                own.append(RowProblem(line, image_id, reason, "tables-disagree"))
        problems.append(own)
    bad = {problem.image_id for own in problems for problem in own}
    return [
        replace(
            table,
            masks={key: texts for key, texts in table.masks.items() if key not in bad},
            problems=(*table.problems, *own),
        )
        for table, own in zip(tables, problems, strict=True)
    ]


def _united(table: Annotations, image_id: str) -> str:
    return rle.united(table.masks[image_id], form=table.form)


def joined(tables: Sequence[Annotations]) -> Annotations | None:
    """Return several tables as one, None where there is none.

    An image that one of them refuses is refused; of equal masks the first is kept.

    Args:
        tables: What :func:`agreeing` returned, all in the same run-length form.
    """
    if len(tables) < 2:
        return tables[0] if tables else None
    refused = {image_id for table in tables for image_id in table.refused}
    owner = {key: table for table in reversed(tables) for key in table.masks if key not in refused}
    return replace(
        tables[0],
        rows=sum(table.rows for table in tables),
        masks={key: table.masks[key] for key, table in owner.items()},
        lines={key: table.lines[key] for key, table in owner.items()},
        last={key: table.last[key] for key, table in owner.items()},
        sizes={key: table.sizes[key] for key, table in owner.items() if key in table.sizes},
        readers={key: table.readers[key] for key, table in owner.items() if key in table.readers},
        tables={key: table.path for key, table in owner.items()},
        problems=tuple(
            replace(problem, place=f"{table.path}: {problem.where}")
            for table in tables
            for problem in table.problems
        ),
        notes=tuple(
            replace(note, table=str(table.path)) for table in tables for note in table.notes
        ),
        unused=tuple(dict.fromkeys(name for table in tables for name in table.unused)),
    )


def brought(table: Annotations, images: Sequence[Named], match: Match) -> Annotations:
    """Return a table whose images bear the ids of the files that it means.

    A name that several files have, or that means the same file as another one, is a problem.

    Args:
        table: Masks by any name.
        images: The files.
        match: What the names are; empty: any of them.
    """
    matched = match_names([*table.masks, *table.refused], images, match)
    problems = [
        RowProblem(
            table.lines.get(name, (0,))[0],
            name,
            f"{count} files have this name; say with `match` path which one is meant, or give the "
            "UID",
        )
        for name, count in matched.ambiguous.items()
    ]
    problems += [
        RowProblem(
            table.lines.get(names[-1], (0,))[0],
            names[-1],
            f"it means the same file as {names[0]}; keep one of them",
        )
        for names in matched.twice.values()
    ]
    bad = {*matched.ambiguous, *(name for names in matched.twice.values() for name in names)}
    table = replace(
        table,
        masks={name: texts for name, texts in table.masks.items() if name not in bad},
        problems=(*table.problems, *problems),
    )
    return renamed(table, dict(matched.names))


def with_mask(record: ImageRecord, texts: tuple[str, ...] | None, form: RleForm) -> ImageRecord:
    """Return `record` with the union of its rows, which fit it; None leaves it unlabelled."""
    if texts is None:
        return record
    shape, text = (record.rows, record.columns), rle.united(texts, form=form)
    return replace(
        record,
        labelled=True,
        positive=bool(texts),
        label=float(bool(texts)),
        label_weight=1.0,
        mask_rows=len(texts),
        overlap_px=rle.overlap_px(texts, shape, form=form) if len(texts) > 1 else 0,
        area_px=rle.area_px(text),
        encoded_pixels=text,
    )


def of_files(
    table: Annotations, scans: Sequence[Scan], match: Match, root: Path
) -> tuple[Annotations, dict[str, Scan]]:
    """Return a table whose images bear the ids of the files that it means, and the files by id.

    A name that several files have, or that means the same file as another one, is a problem.

    Args:
        table: Masks by any name.
        scans: The files.
        match: What the names are; empty: any of them.
        root: The folder that all files lie in.
    """
    if match == "path":
        scans = [named_by_path(scan, root) for scan in scans]
    files = {scan.image_id: scan for scan in reversed(scans)}
    return brought(table, scans, match), files


def _refuse_foreign_table(table: Annotations, records: Sequence[ImageRecord]) -> None:
    zeros = first_id_alike(table.masks, names_of(records))
    raise DataError(
        f"{table.path}: none of its {len(table.masks)} ids belongs to a file found; the first id "
        f"is {next(iter(table.masks))}, the first file's is {records[0].image_id}; "
        + (
            zeros
            or "name the table of these files with `annotations`, or its column of ids with "
            "`image_column`"
        )
    )
