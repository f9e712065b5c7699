"""The index: one record per image, made from a data folder, with everything that was set aside.

One image is one SOP Instance UID, whatever the number of its files or of its rows in the annotation
table. What cannot be used is kept apart with its reason: nothing is dropped without a trace, and a
file without an annotation is unlabelled, never a negative. What a table of image labels says counts
where there is no mask.
"""

import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pleura.choices import Match
from pleura.cluster.shards import Cluster
from pleura.data.files import in_words
from pleura.data.fold_table import FOLD_COLUMNS, read_folds
from pleura.data.folds import fold_records
from pleura.data.groups import Bearer, IdUse, group_by, judge_ids
from pleura.data.image_labels import ImageLabels, find_labels, labelled
from pleura.data.matching import first_without_zeros, match_names, names_of
from pleura.data.patients import nih_patient, read_drawn_on, read_patients, siim_patient
from pleura.data.records import ImageRecord
from pleura.data.scan import Failure, FailureCode, Scan, scan_files
from pleura.data.sources import Part, Sources
from pleura.data.table_use import TableUse, table_use, unused_columns
from pleura.data.unchanged import read_unchanged
from pleura.dicom.suffixes import is_picture, stem_of
from pleura.dicom.values import age_years
from pleura.errors import DataError
from pleura.formats import rle
from pleura.formats.annotations import Annotations, RowProblem, check_masks
from pleura.formats.labels import LabelProblem, LabelTable, key_of
from pleura.formats.masks import read_masks, renamed
from pleura.formats.rle import Form as RleForm
from pleura.pictures.near_duplicates import find_clusters, small
from pleura.processes.guarded import guarded_picture
from pleura.processes.progress import OnProgress, untold
from pleura.processes.workers import one_thread

Reason = Literal["same-uid", "same-pixels"]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that could not be read, why, and of what kind the trouble is."""

    path: str
    part: Part
    reason: str
    code: FailureCode = "unreadable"


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A file set aside because `kept` shows the same image.

    Attributes:
        path: The file set aside.
        image_id: Its SOP Instance UID.
        kept: The file that stays in the index.
        kept_id: Its SOP Instance UID.
        reason: ``same-uid`` or ``same-pixels``.
        agrees: False where the two differ: in their pixels (same UID) or in their masks (same
            pixels). That is a contradiction somebody should look at.
    """

    path: str
    image_id: str
    kept: str
    kept_id: str
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
        bad_labels: The same for the table of image labels.
        rows_without_file: Annotated ids for which there is no file, not even one of this name that
            cannot be read.
        test_in_train: Ids of test images that are also among the training images, by UID or pixels.
        annotated_test: Ids of other test images that the table describes; it is not used there.
        files_train: Number of training files, readable or not.
        files_test: Number of test files.
        table: The annotation table as read, or None where there is none.
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
    bad_labels: tuple[LabelProblem, ...] = ()
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
    """The tables of a data folder, each None where there is none.

    Attributes:
        annotations: The annotation table.
        patients: Image id -> patient.
        folds: Image id -> fold.
        drawn_on: Image id of a simulated radiograph -> NIH patient of the radiograph it was drawn
            on.
    """

    annotations: Annotations | None
    patients: Mapping[str, str] | None
    folds: Mapping[str, int] | None
    drawn_on: Mapping[str, int] = field(default_factory=dict)


def build_index(
    sources: Sources,
    *,
    workers: int = 0,
    journal: Path | None = None,
    cluster: Cluster | None = None,
    on_progress: OnProgress = untold,
) -> Index:
    """Return the index of the files and tables in `sources`; every file is read and decoded.

    Args:
        sources: What :func:`pleura.data.sources.find_sources` found.
        workers: Processes to read with; 0 means one per core.
        journal: A file that keeps what is finished; None: nothing does.
        cluster: Where the files are read; None: by this machine.
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
        on_progress=on_progress,
    )
    return make_index(sources, tables, scans)


def read_tables(sources: Sources) -> Tables:
    """Return the tables of `sources`: what is wrong with them shows before any file is read.

    Raises:
        AnnotationError, DataError: As for :func:`build_index`.
    """
    annotations, patients, folds = sources.annotations, sources.patients, sources.folds
    return Tables(
        annotations=None if annotations is None else read_masks(annotations, sources.reading),
        patients=None if patients is None else read_patients(patients),
        folds=None if folds is None else read_folds(folds),
        drawn_on={} if sources.simulated is None else read_drawn_on(sources.simulated),
    )


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
        scans = [_named_by_path(scan, sources.root) for scan in scans]
    files = _tell_apart(sources, scans)
    records, same_uid = _drop_same_uid(_record(scan, part) for scan, part in files.read)
    train = [record for record in records if record.part == "train"]
    test = [record for record in records if record.part == "test"]
    table = _check_table(tables.annotations, train, test, files.known, sources.match)
    masks: Mapping[str, tuple[str, ...]] = table.masks if table is not None else {}
    form = table.form if table is not None else "relative"
    annotated = [_labelled(record, masks.get(record.image_id), form) for record in train]
    labels = find_labels(sources.labels, [*annotated, *test], sources.match)
    train, bad_labels = _add_labels(annotated, labels, sources.labels)
    in_both = _in_both(train, test)
    train, same_pixels = _drop_same_pixels(train)
    records = _with_clusters([*train, *test], files.scans)
    own_ids = _own_ids(records, files.read)
    known_patients, foreign_map = _map_of(sources, tables, files.known)
    public = [_public_patient(scan, tables.drawn_on) for scan, _ in files.read]
    named = [labels.patient(scan.path) for scan, _ in files.read]
    patients, patients_from = _patients(
        files.read, own_ids, known_patients, f"{sources.patients}", public, named
    )
    records = _with_groups(records, files.read, patients, public)
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
        patients_from=patients_from,
        scans=files.scans,
        own_ids=own_ids,
        not_read=sources.not_read,
        names=names,
        tables=(
            *sources.not_used,
            *_label_uses(table, labels, bad_labels, here, names),
            *_map_uses(sources, tables, here, foreign=foreign_map),
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


def _check_table(
    table: Annotations | None,
    train: Sequence[ImageRecord],
    test: Sequence[ImageRecord],
    known: set[str],
    match: Match,
) -> Annotations | None:
    """Return the table without the masks that do not fit their images; it must know some image."""
    if table is None:
        return None
    # Where an id is in both parts, the training file's size counts.
    shapes = {record.image_id: (record.rows, record.columns) for record in [*test, *train]}
    table = check_masks(_brought(table, [*train, *test], match), shapes)
    if table.masks and train and known.isdisjoint({*table.masks, *table.refused}):
        _refuse_foreign_table(table, train)
    return table


def _add_labels(
    records: Sequence[ImageRecord], labels: ImageLabels, table: LabelTable | None
) -> tuple[list[ImageRecord], tuple[LabelProblem, ...]]:
    """Return the records with their image labels, and what was refused of the table of labels."""
    said = [labelled(record, labels) for record in records]
    refused = list(table.problems) if table is not None else []
    refused += [problem for _, problem in said if problem is not None]
    return [record for record, _ in said], tuple(refused)


def _label_uses(
    annotations: Annotations | None,
    labels: ImageLabels,
    bad_labels: Sequence[LabelProblem],
    here: set[str],
    names: Sequence[str],
) -> Iterator[TableUse]:
    """Yield what was not used of the tables of masks and labels; `here` are all images' ids."""
    if annotations is not None:
        codes: list[str] = [problem.code for problem in annotations.problems]
        for note in annotations.notes:
            codes += [note.code] * note.count * (note.code == "not-a-mask")
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
        )


def _map_uses(
    sources: Sources, tables: Tables, here: set[str], *, foreign: bool
) -> Iterator[TableUse]:
    """Yield what was not used of the patient map, which may be foreign, and of the fold table."""
    if sources.patients is not None and foreign:
        why = "it names none of the images"
        yield TableUse(f"{sources.patients}", unread=why, finding="foreign-table")
    for path, table, columns in (
        (None if foreign else sources.patients, tables.patients, {"ImageId", "patient"}),
        (sources.folds, tables.folds, FOLD_COLUMNS),
    ):
        if path is not None and table is not None:
            unused = unused_columns(path, columns)
            yield from table_use(path, ids=table, known=here, columns=unused, names=here)


def records_of_table(table: Annotations, patients: Path | None = None) -> tuple[ImageRecord, ...]:
    """Return labelled records for a table without files, for 1024 x 1024 images.

    Raises:
        DataError: The patient map cannot be used.
    """
    ids = list(table.masks)
    if patients is None:
        names = [siim_patient(image_id) for image_id in ids]
    else:
        names = _by_map(ids, read_patients(patients), f"{patients}")
    blank = _record(_NO_FILE, "train")
    return tuple(
        _labelled(
            replace(blank, image_id=image_id, patient=patient), table.masks[image_id], table.form
        )
        for image_id, patient in zip(ids, _numbered(names), strict=True)
    )


_NO_FILE = Scan(rows=1024, columns=1024)


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


def _named_by_path(scan: Scan | Failure, root: Path) -> Scan | Failure:
    """Return a scan; a picture's id is its path below `root`, as names may come again there."""
    if isinstance(scan, Failure) or not is_picture(Path(scan.path)):
        return scan
    path = Path(os.path.relpath(scan.path, root))
    return replace(scan, image_id="_".join((*path.parts[:-1], path.stem)).lstrip("._"))


def _own_ids(records: Sequence[ImageRecord], read: Sequence[tuple[Scan, Part]]) -> dict[str, IdUse]:
    """Return what the patient id of each file is good for, by path; a copy says nothing new."""
    pictures = {r.path: r.cluster or r.pixel_hash or r.path for r in records}
    uses = judge_ids(
        [
            Bearer(scan.patient_key if scan.path in pictures else "", part, pictures.get(scan.path))
            for scan, part in read
        ]
    )
    of_key = {(s.patient_key, part): use for (s, part), use in zip(read, uses, strict=True) if use}
    return {scan.path: of_key.get((scan.patient_key, part), "") for scan, part in read}


def _map_of(
    sources: Sources, tables: Tables, known: set[str]
) -> tuple[Mapping[str, str] | None, bool]:
    """Return the patient map, and whether it was only found and knows none of the images."""
    table = tables.patients
    if table is None or sources.patients is None or sources.patients_named:
        return table, False
    return (None, True) if known.isdisjoint(table) else (table, False)


def _public_patient(scan: Scan, drawn_on: Mapping[str, int]) -> int | None:
    """Return the NIH patient of a picture of that set, by its id or name, or of one drawn on it."""
    name = key_of(Path(scan.path).name)
    return drawn_on.get(scan.image_id) or nih_patient(scan.image_id) or nih_patient(name)


def _patients(
    read: Sequence[tuple[Scan, Part]],
    own_ids: Mapping[str, IdUse],
    table: Mapping[str, str] | None,
    table_name: str,
    public: Sequence[int | None],
    labels: Sequence[str],
) -> tuple[list[str | None], str]:
    """Return the patient of each scan, and where that is known from.

    A map that is named or found is all that counts. Else each image of NIH ChestX-ray14, and so of
    the SIIM-ACR set, is known by its number (`public`). For the others it is what the table of
    labels says (`labels`), or the files' own ids, if they group anything.
    """
    scans = [scan for scan, _ in read]
    if table is not None:
        return _numbered(_by_map([s.image_id for s in scans], table, table_name)), "map"
    named: list[tuple[str, str] | None] = []
    for scan, number, label in zip(scans, public, labels, strict=True):
        own = scan.patient_key if own_ids[scan.path] == "groups" else ""
        found = (("siim", f"{number or ''}"), ("labels", label), ("header", own))
        named.append(next(((source, name) for source, name in found if name), None))
    known = {name[0] for name in named if name is not None}
    sources = [source for source in ("siim", "labels", "header") if source in known]
    return _numbered(named), "+".join(sources)


def _by_map(ids: Sequence[str], table: Mapping[str, str], name: str) -> list[str | None]:
    """Return the patients of images by a map, which must know one of them."""
    patients = [table.get(image_id) for image_id in ids]
    if ids and not any(patients):
        raise DataError(
            f"{name}: none of the {len(table):,} images of this patient map is here; the first "
            f"image here is {ids[0]}; "
            + (
                first_without_zeros(table, ids)
                or "name the map of these files with `patients`, or move it away"
            )
        )
    return patients


def _numbered(names: Sequence[Hashable | None]) -> list[str | None]:
    """Return a number for each patient in place of what a file or a map calls him."""
    numbers = {
        name: n for n, name in enumerate(dict.fromkeys(n for n in names if n is not None), 1)
    }
    return [None if name is None else f"p{numbers[name]:05d}" for name in names]


def _with_groups(
    records: Sequence[ImageRecord],
    read: Sequence[tuple[Scan, Part]],
    patients: Sequence[str | None],
    public: Sequence[int | None],
) -> list[ImageRecord]:
    """Return the records with their patients and groups; files set aside link them too."""
    clusters = {record.path: record.cluster for record in records}
    scans = [scan for scan, _ in read]
    groups = group_by(
        patients,
        public,
        [clusters.get(scan.path) for scan in scans],
        [scan.image_id for scan in scans],
        [scan.pixel_hash for scan in scans],
    )
    places = {scan.path: place for place, scan in enumerate(scans)}
    numbers = groups.tolist()

    def known(record: ImageRecord) -> ImageRecord:
        place = places[record.path]
        return replace(
            record, patient=patients[place], group=numbers[place], nih_patient=public[place]
        )

    return [known(record) for record in records]


def _in_both(train: Sequence[ImageRecord], test: Sequence[ImageRecord]) -> tuple[str, ...]:
    ids = {record.image_id for record in train}
    hashes = {record.pixel_hash for record in train} - {""}
    return tuple(r.image_id for r in test if r.image_id in ids or r.pixel_hash in hashes)


def _with_clusters(records: Sequence[ImageRecord], scans: Mapping[str, Scan]) -> list[ImageRecord]:
    """Return the records with the numbers of their clusters of near-duplicates."""
    pictures = [scans[record.path].picture for record in records]
    numbers: dict[int, int] = {}
    hashed = [place for place, picture in enumerate(pictures) if picture and not picture.blank]
    hashes = {record.path: record.pixel_hash for record in records}
    with one_thread():
        clusters = find_clusters(
            [pictures[place].hash for place in hashed],  # type: ignore[union-attr]
            [records[place].path for place in hashed],
            lambda path: guarded_picture(partial(_small, expected=hashes[path]), path, path),
        )
    for number, members in enumerate(clusters, 1):
        numbers |= {hashed[member]: number for member in members}
    return [replace(record, cluster=numbers.get(place)) for place, record in enumerate(records)]


def _small(path: str, *, expected: str) -> NDArray[np.uint8]:
    return small(read_unchanged(path, expected).pixels)


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
            dropped.append(
                Duplicate(
                    record.path, record.image_id, kept.path, kept.image_id, "same-uid", agrees
                )
            )
    return list(first.values()), dropped


def _drop_same_pixels(
    records: Sequence[ImageRecord],
) -> tuple[list[ImageRecord], list[Duplicate]]:
    """Keep one file of each picture: the first with a mask, else with a label, else the first."""
    kept: dict[str, ImageRecord] = {}
    for record in records:
        other = kept.setdefault(_picture_key(record), record)
        if (record.mask_known, record.labelled) > (other.mask_known, other.labelled):
            kept[_picture_key(record)] = record
    dropped = []
    for record in records:
        keeper = kept[_picture_key(record)]
        if keeper is not record:
            dropped.append(
                Duplicate(
                    record.path,
                    record.image_id,
                    keeper.path,
                    keeper.image_id,
                    "same-pixels",
                    _agree(record, keeper),
                )
            )
    return [record for record in records if kept[_picture_key(record)] is record], dropped


def _agree(record: ImageRecord, keeper: ImageRecord) -> bool:
    """Return whether a copy says what the file says that is kept, as far as it says anything."""
    if record.mask_known:
        return record.encoded_pixels == keeper.encoded_pixels
    return not record.labelled or record.positive == keeper.positive


def _picture_key(record: ImageRecord) -> str:
    """Return what is equal for the same picture; where none was read, each file is its own."""
    return record.pixel_hash or record.path


def _labelled(record: ImageRecord, texts: tuple[str, ...] | None, form: RleForm) -> ImageRecord:
    """Return `record` with the union of its rows, which fit it; None leaves it unlabelled."""
    if texts is None:
        return record
    shape = (record.rows, record.columns)
    if not texts:
        return replace(
            record,
            labelled=True,
            positive=False,
            area_px=0,
            encoded_pixels="-1",
            label=0.0,
            label_weight=1.0,
        )
    text = rle.united(texts, form=form)
    return replace(
        record,
        labelled=True,
        positive=True,
        label=1.0,
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
        scans = [
            scan for scan in (_named_by_path(one, root) for one in scans) if isinstance(scan, Scan)
        ]
    files = {scan.image_id: scan for scan in reversed(scans)}
    return _brought(table, [_record(scan, "train") for scan in scans], match), files


def _brought(table: Annotations, records: Sequence[ImageRecord], match: Match) -> Annotations:
    """Return a table whose images bear the ids of the files that it means."""
    matched = match_names([*table.masks, *table.refused], records, match)
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


def _refuse_foreign_table(table: Annotations, records: Sequence[ImageRecord]) -> None:
    zeros = first_without_zeros(table.masks, names_of(records))
    raise DataError(
        f"{table.path}: none of its {len(table.masks)} ids belongs to a file found; the first id "
        f"is {next(iter(table.masks))}, the first file's is {records[0].image_id}; "
        + (
            zeros
            or "name the table of these files with `annotations`, or its column of ids with "
            "`image_column`"
        )
    )
