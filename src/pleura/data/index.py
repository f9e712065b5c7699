"""The index: one record per image, made from a data folder, with everything that was set aside.

One image is one SOP Instance UID, whatever the number of its files or of its rows in the annotation
table. What cannot be used is kept apart with its reason: nothing is dropped without a trace, and a
file without an annotation is unlabelled, never a negative. What a table of image labels says counts
where there is no mask.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pleura.cluster.shards import Cluster
from pleura.data.copies import (
    Duplicate,
    drop_same_pixels,
    drop_same_uid,
    ids_in_both,
    with_clusters,
)
from pleura.data.files import in_words
from pleura.data.fold_table import FOLD_COLUMNS, read_folds
from pleura.data.folds import fold_records
from pleura.data.groups import IdUse
from pleura.data.image_labels import ImageLabels, find_labels, labelled
from pleura.data.image_masks import agreeing, check_tables, joined, with_mask
from pleura.data.image_patients import KnownPatients, find_patients
from pleura.data.matching import names_of
from pleura.data.patients import joined_maps, patient_doubts, read_drawn_on, read_patients
from pleura.data.records import ImageRecord
from pleura.data.scan import Failure, FailureCode, Scan, named_by_path, scan_files
from pleura.data.seen import Seen
from pleura.data.sources import Part, Sources
from pleura.data.table_use import TableUse, table_use, unused_columns
from pleura.dicom.suffixes import stem_of
from pleura.dicom.values import age_years
from pleura.errors import OtherFormError
from pleura.formats.annotations import Annotations, RowProblem
from pleura.formats.labels import LabelTable
from pleura.formats.masks import read_masks
from pleura.processes.progress import OnProgress, untold

_PASSED_OVER = ("not-a-mask", "other-structures")
"""Notes of a source of masks that count what was not used of it."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that could not be read, why, and of what kind the trouble is."""

    path: str
    part: Part
    reason: str
    code: FailureCode = "unreadable"


@dataclass(frozen=True, slots=True)
class Index:
    """A data folder as one row per image, and everything that was set aside.

    Attributes:
        records: Training images first, then test images, each in the order of their paths.
        unreadable: Files that are not in the index because they cannot be read.
        duplicates: Files that are not in the index because another shows the same image.
        bad_annotations: Rows of the table that were refused; their images stay unlabelled.
        bad_labels: The same for the table of image labels.
        rows_without_file: Annotated ids for which there is no file, not even one of this name that
            cannot be read.
        test_in_train: Ids of test images that are also among the training images, by UID or pixels.
        annotated_test: Ids of other test images that the table describes; it is not used there.
        files_train: Number of training files, readable or not.
        files_test: Number of test files.
        table: The annotation tables as read, joined, or None where there is none.
        labels: What the table of image labels says, of images with a mask too.
        patients_from: How patients are known: ``map`` (a table), or what is known of some images
            each, joined by ``+``: ``siim`` (the shipped map of the SIIM-ACR set, and names of
            NIH's), ``labels`` (the table of image labels), ``header`` (the files' own ids). Empty
            where none is known.
        scans: What each readable file says of itself, by path, duplicates included.
        own_ids: What the patient id of each of these files is good for, by path.
        not_read: How many files were passed over as no radiographs, by suffix.
        names: What tables may call the images.
        tables: What of each table was not used, of those of which not all was.
    """

    records: tuple[ImageRecord, ...]
    unreadable: tuple[Unreadable, ...]
    duplicates: tuple[Duplicate, ...]
    bad_annotations: tuple[RowProblem, ...]
    rows_without_file: tuple[str, ...]
    test_in_train: tuple[str, ...]
    annotated_test: tuple[str, ...]
    files_train: int
    files_test: int
    table: Annotations | None
    bad_labels: tuple[RowProblem, ...] = ()
    labels: ImageLabels = field(default_factory=ImageLabels)
    patients_from: str = ""
    scans: Mapping[str, Scan] = field(default_factory=dict)
    own_ids: Mapping[str, IdUse] = field(default_factory=dict)
    not_read: Mapping[str, int] = field(default_factory=dict)
    names: Sequence[str] = ()
    tables: tuple[TableUse, ...] = ()

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

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Each input that could not be taken, a file or an image, with its reason.

        Results of pleura are none: they are never inputs.
        """
        files = [(u.path, u.reason) for u in self.unreadable if u.code != "own-result"]
        rows = [(item.image_id, item.reason) for item in self.bad_annotations]
        return files + rows + [(item.image_id, item.reason) for item in self.bad_labels]

    @property
    def set_aside(self) -> str:
        """What is not used to train, in words."""
        return (
            f"left out: {len(self.unlabelled)} unlabelled, {len(self.duplicates)} duplicates, "
            f"{len(self.unreadable)} unreadable, {len(self.bad_annotations)} refused annotations"
            + (f", {len(self.bad_labels)} refused labels" if self.labels.table is not None else "")
            + (f", {in_words(self.not_read)}" if self.not_read else "")
            + self._one_class
        )

    @property
    def _one_class(self) -> str:
        """That all training images have the same label, in words; empty where they have not."""
        found = {record.positive for record in self.train}
        if len(found) != 1:
            return ""
        return (
            "; each one is positive, so no network learns to tell them from others: a negative has "
            "an empty mask, -1 in a table of masks, or 0 in one of labels"
            if found.pop()
            else "; each one is negative, so no network learns to tell a positive"
        )


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of a data folder, each None or empty where there is none.

    Attributes:
        annotations: The tables of masks.
        patients: Image id -> patient, of each map by its path.
        folds: Image id -> fold.
        drawn_on: Image id of a simulated radiograph -> NIH patient of the radiograph it was drawn
            on.
    """

    annotations: tuple[Annotations, ...]
    patients: Mapping[Path, Mapping[str, str]]
    folds: Mapping[str, int] | None
    drawn_on: Mapping[str, int] = field(default_factory=dict)


def build_index(
    sources: Sources,
    *,
    workers: int = 0,
    journal: Path | None = None,
    cluster: Cluster | None = None,
    seen: Seen | None = None,
    on_progress: OnProgress = untold,
) -> Index:
    """Return the index of the files and tables in `sources`; every file is read and decoded.

    Args:
        sources: What :func:`pleura.data.sources.find_sources` found.
        workers: Processes to read with; 0 means one per core.
        journal: A file that keeps what is finished; None: nothing does.
        cluster: Where the files are read; None: by this machine.
        seen: Keeps what is shown by files at addresses, for the arrays.
        on_progress: Told (files read, files in all).

    Raises:
        AnnotationError: The annotation table cannot be read as a whole, or is written in the
            other run-length form.
        DataError: The table matches none of the files, or the patient map or the fold table cannot
            be used.
    """
    tables = read_tables(sources)
    scans = scan_files(
        [*sources.train, *sources.test],
        workers=workers,
        journal=journal,
        cluster=cluster,
        seen=seen,
        on_progress=on_progress,
    )
    return make_index(sources, tables, scans)


def read_tables(sources: Sources) -> Tables:
    """Return the tables of `sources`: what is wrong with them shows before any file is read.

    Raises:
        AnnotationError, DataError: As for :func:`build_index`.
    """
    folds = sources.folds
    return Tables(
        annotations=_mask_tables(sources),
        patients={path: read_patients(path) for path in sources.patients},
        folds=None if folds is None else read_folds(folds),
        drawn_on={k: v for path in sources.simulated for k, v in read_drawn_on(path).items()},
    )


def _mask_tables(sources: Sources) -> tuple[Annotations, ...]:
    """Return the tables of masks as read; all of them in one run-length form."""
    try:
        return tuple(read_masks(path, sources.reading) for path in sources.mask_tables)
    except OtherFormError as error:
        if not sources.more_annotations:
            raise
        raise OtherFormError(
            f"{error}; there are {len(sources.mask_tables)} tables of masks, all read in one form: "
            "name the one that counts with `annotations`, or write them alike with pleura convert"
        ) from error


def make_index(sources: Sources, tables: Tables, scans: Sequence[Scan | Failure]) -> Index:
    """Return the index of files that are scanned already.

    Args:
        sources: As for :func:`build_index`.
        tables: What :func:`read_tables` returned for it.
        scans: One for each training file, then one for each test file, in order.

    Raises:
        AnnotationError, DataError: As for :func:`build_index`.
    """
    if sources.match == "path":
        scans = [
            named_by_path(scan, sources.root) if isinstance(scan, Scan) else scan for scan in scans
        ]
    files = _tell_apart(sources, scans)
    records, same_uid = drop_same_uid(_record(scan, part) for scan, part in files.read)
    train = [record for record in records if record.part == "train"]
    test = [record for record in records if record.part == "test"]
    own = check_tables(tables.annotations, train, test, files.known, sources.match)
    mask_tables = agreeing(own)
    table = joined(mask_tables)
    masks: Mapping[str, tuple[str, ...]] = table.masks if table is not None else {}
    form = table.form if table is not None else "relative"
    annotated = [with_mask(record, masks.get(record.image_id), form) for record in train]
    labels = find_labels(sources.labels, [*annotated, *test], sources.match)
    train, bad_labels = _add_labels(annotated, labels, sources.labels)
    in_both = ids_in_both(train, test)
    train, same_pixels = drop_same_pixels(train)
    records = with_clusters([*train, *test], files.scans)
    maps = _maps_of(sources, tables, files.known)
    named = f"{sources.patients[0]}" if sources.patients_named else ""
    known = KnownPatients(joined_maps(maps), named, (*maps,))
    patients = find_patients(records, files.read, known, tables.drawn_on, labels)
    records = patients.records
    if tables.folds is not None:
        records = fold_records(records, tables.folds, f"{sources.folds}")
    described = [record.image_id for record in test if record.image_id in masks]
    here = files.known | files.names_unread
    names = [*sources.unnamed, *names_of(files.scans.values())]
    return Index(
        records=tuple(records),
        unreadable=files.unreadable,
        duplicates=(*same_uid, *same_pixels),
        bad_annotations=table.problems if table is not None else (),
        rows_without_file=tuple(image_id for image_id in masks if image_id not in here),
        test_in_train=in_both,
        annotated_test=tuple(image_id for image_id in described if image_id not in in_both),
        files_train=len(sources.train),
        files_test=len(sources.test),
        table=table,
        bad_labels=bad_labels,
        labels=labels,
        patients_from=patients.source,
        scans=files.scans,
        own_ids=patients.own_ids,
        not_read=sources.not_read,
        names=names,
        tables=(
            *sources.not_used,
            *_foreign_tables(tables.annotations, mask_tables),
            *_label_uses(mask_tables, labels, bad_labels, here, names),
            *_map_uses(sources, tables, maps, here),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of a data folder: those that were read, each with its part, and the others."""

    read: list[tuple[Scan, Part]]
    unreadable: tuple[Unreadable, ...]

    @property
    def scans(self) -> dict[str, Scan]:
        return {scan.path: scan for scan, _ in self.read}

    @property
    def known(self) -> set[str]:
        return {scan.image_id for scan, _ in self.read}

    @property
    def names_unread(self) -> set[str]:
        """What tables may call the files that were not read."""
        paths = [Path(file.path) for file in self.unreadable]
        return {name for path in paths for name in (stem_of(path), path.name)}


def _tell_apart(sources: Sources, scans: Sequence[Scan | Failure]) -> _Files:
    train: list[Part] = ["train"] * len(sources.train)
    test: list[Part] = ["test"] * len(sources.test)
    found = list(zip(scans, train + test, strict=True))
    return _Files(
        [(scan, part) for scan, part in found if isinstance(scan, Scan)],
        tuple(
            Unreadable(scan.path, part, scan.reason, scan.code)
            for scan, part in found
            if isinstance(scan, Failure)
        ),
    )


def _add_labels(
    records: Sequence[ImageRecord], labels: ImageLabels, table: LabelTable | None
) -> tuple[list[ImageRecord], tuple[RowProblem, ...]]:
    """Return the records with their image labels, and what was refused of the table of labels."""
    said = [labelled(record, labels) for record in records]
    refused = list(table.problems) if table is not None else []
    refused += [problem for _, problem in said if problem is not None]
    return [record for record, _ in said], tuple(refused)


def _foreign_tables(
    tables: Sequence[Annotations], used: Sequence[Annotations]
) -> Iterator[TableUse]:
    """Yield the tables of masks that are not used, for they are of other images."""
    paths = {table.path for table in used}
    for table in tables:
        if table.path not in paths:
            yield _foreign(table.path)


def _foreign(path: Path) -> TableUse:
    return TableUse(f"{path}", unread="it names none of the images", finding="foreign-table")


def _label_uses(
    tables: Sequence[Annotations],
    labels: ImageLabels,
    bad_labels: Sequence[RowProblem],
    here: set[str],
    names: Sequence[str],
) -> Iterator[TableUse]:
    """Yield what was not used of the tables of masks and labels; `here` are all images' ids."""
    for annotations in tables:
        codes: list[str] = [problem.code for problem in annotations.problems]
        for note in annotations.notes:
            codes += [note.code] * note.count * (note.code in _PASSED_OVER)
        yield from table_use(
            annotations.path,
            codes=codes,
            ids=annotations.masks,
            known=here,
            columns=annotations.unused,
            names=names,
            notes=annotations.doubts,
        )
    if labels.table is not None:
        yield from table_use(
            labels.table.path,
            codes=[problem.code for problem in bad_labels],
            ids=[name for name in labels.without_file if name not in here],
            columns=labels.table.unused,
            names=names,
            notes=patient_doubts(
                {path: one.patient for path, one in labels.of.items() if one.patient}
            ),
        )


def _map_uses(
    sources: Sources, tables: Tables, maps: Mapping[Path, Mapping[str, str]], here: set[str]
) -> Iterator[TableUse]:
    """Yield what was not used of the patient maps, of which `maps` count, and of the fold table."""
    for path in sources.patients:
        if path not in maps:
            yield _foreign(path)
    whole = joined_maps(maps)
    notes = patient_doubts({name: whole[name] for name in whole if name in here})
    for path, table in maps.items():
        unused = unused_columns(path, {"ImageId", "patient"})
        yield from table_use(path, ids=table, known=here, columns=unused, names=here, notes=notes)
        notes = []  # of all maps together, and said once
    if sources.folds is not None and tables.folds is not None:
        unused = unused_columns(sources.folds, FOLD_COLUMNS)
        yield from table_use(
            sources.folds, ids=tables.folds, known=here, columns=unused, names=here
        )


def _record(scan: Scan, part: Part) -> ImageRecord:
    return ImageRecord(
        image_id=scan.image_id,
        path=scan.path,
        part=part,
        rows=scan.rows,
        columns=scan.columns,
        sex=scan.sex,
        age_years=age_years(scan.age),
        view=scan.view,
        modality=scan.modality,
        photometric_interpretation=scan.photometric_interpretation,
        transfer_syntax=scan.transfer_syntax,
        patient=None,
        pixel_hash=scan.pixel_hash,
        aspect=scan.aspect,
        pixel_mm=scan.pixel_mm,
    )


def _maps_of(sources: Sources, tables: Tables, known: set[str]) -> dict[Path, Mapping[str, str]]:
    """Return the patient maps that count: one that is named, and those found that know an image."""
    return {
        path: table
        for path, table in tables.patients.items()
        if sources.patients_named or not known.isdisjoint(table)
    }
