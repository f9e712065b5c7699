"""The index: one record per image, made from a data folder, with everything that was set aside.

One image is one SOP Instance UID, whatever the number of its files or of its rows in the annotation
table. What cannot be used is kept apart with its reason: nothing is dropped without a trace, and a
file without an annotation is unlabelled, never a negative.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pleura.data.fold_table import read_folds
from pleura.data.folds import fold_records
from pleura.data.groups import Bearer, IdUse, group_by, judge_ids
from pleura.data.near_duplicates import find_clusters
from pleura.data.patients import read_patients, siim_patient
from pleura.data.records import ImageRecord
from pleura.data.scan import Failure, FailureCode, OnProgress, Scan, age_years, scan_files
from pleura.data.sources import Part, Sources
from pleura.data.workers import one_thread
from pleura.errors import DataError
from pleura.formats import rle
from pleura.formats.annotations import Annotations, RowProblem, check_masks, read_annotations
from pleura.formats.dicom import read_radiograph
from pleura.formats.rle import Form as RleForm

PatientsFrom = Literal["map", "siim", "header", "siim+header", ""]
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
        rows_without_file: Annotated ids for which there is no file that can be read.
        test_in_train: Ids of test images that are also among the training images, by UID or pixels.
        annotated_test: Ids of other test images that the table describes; it is not used there.
        files_train: Number of training files, readable or not.
        files_test: Number of test files.
        table: The annotation table as read, or None where there is none.
        patients_from: How patients are known: ``map`` (a table), ``siim`` (the shipped map of the
            SIIM-ACR set), ``header`` (the files' own ids), ``siim+header`` (of some images the one,
            of some the other) or empty.
        scans: What each readable file says of itself, by path, duplicates included.
        own_ids: What the patient id of each of these files is good for, by path.
        not_read: How many files were passed over as no radiographs, by suffix.
        unused: Names of tables that were found and concern none of the images.
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
    patients_from: PatientsFrom = ""
    scans: Mapping[str, Scan] = field(default_factory=dict)
    own_ids: Mapping[str, IdUse] = field(default_factory=dict)
    not_read: Mapping[str, int] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

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
        """Each input that could not be taken, a file or an image, with its reason."""
        files = [(item.path, item.reason) for item in self.unreadable]
        return files + [(item.image_id, item.reason) for item in self.bad_annotations]

    @property
    def set_aside(self) -> str:
        """What is not used to train, in words."""
        return (
            f"left out: {len(self.unlabelled)} unlabelled, {len(self.duplicates)} duplicates, "
            f"{len(self.unreadable)} unreadable, {len(self.bad_annotations)} refused annotations"
        )


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of a data folder, each None where there is none.

    Attributes:
        annotations: The annotation table.
        patients: Image id -> patient.
        folds: Image id -> fold.
    """

    annotations: Annotations | None
    patients: Mapping[str, str] | None
    folds: Mapping[str, int] | None


def build_index(
    sources: Sources,
    *,
    form: RleForm = "relative",
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
        DataError: The table matches none of the files, or the patient map or the fold table cannot
            be used.
    """
    tables = read_tables(sources, form=form)
    paths = [*sources.train, *sources.test]
    scans = scan_files(paths, workers=workers, on_progress=on_progress)
    return make_index(sources, tables, scans)


def read_tables(sources: Sources, *, form: RleForm = "relative") -> Tables:
    """Return the tables of `sources`: what is wrong with them shows before any file is read.

    Raises:
        AnnotationError, DataError: As for :func:`build_index`.
    """
    annotations, patients, folds = sources.annotations, sources.patients, sources.folds
    return Tables(
        annotations=None if annotations is None else read_annotations(annotations, form=form),
        patients=None if patients is None else read_patients(patients),
        folds=None if folds is None else read_folds(folds),
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
    table = tables.annotations
    found = list(zip(scans, _parts(sources), strict=True))
    unreadable = [
        Unreadable(scan.path, part, scan.reason, scan.code)
        for scan, part in found
        if isinstance(scan, Failure)
    ]
    read = [(scan, part) for scan, part in found if isinstance(scan, Scan)]
    known = {scan.image_id for scan, _ in read}
    records, same_uid = _drop_same_uid(_record(scan, part) for scan, part in read)
    train = [record for record in records if record.part == "train"]
    test = [record for record in records if record.part == "test"]
    if table is not None:  # where an id is in both parts, the training file's size counts
        shapes = {record.image_id: (record.rows, record.columns) for record in [*test, *train]}
        table = check_masks(table, shapes)
        if table.masks and train and known.isdisjoint({*table.masks, *table.refused}):
            _refuse_foreign_table(table, train[0])
    table_masks: Mapping[str, tuple[str, ...]] = table.masks if table is not None else {}
    form = table.form if table is not None else "relative"
    annotated = [_labelled(record, table_masks.get(record.image_id), form) for record in train]
    in_both = _in_both(annotated, test)
    train, same_pixels = _drop_same_pixels(annotated)
    by_path = {scan.path: scan for scan, _ in read}
    records = _with_clusters([*train, *test], by_path)
    own_ids = _own_ids(records, read)
    known_patients, unused = _map_of(sources, tables, known)
    patients, patients_from = _patients(read, own_ids, known_patients, f"{sources.patients}")
    records = _with_groups(records, read, patients)
    if tables.folds is not None:
        records = fold_records(records, tables.folds, f"{sources.folds}")
    return Index(
        records=tuple(records),
        unreadable=tuple(unreadable),
        duplicates=(*same_uid, *same_pixels),
        bad_annotations=table.problems if table is not None else (),
        rows_without_file=tuple(i for i in table_masks if i not in known),
        test_in_train=in_both,
        annotated_test=tuple(
            r.image_id for r in test if r.image_id in table_masks and r.image_id not in in_both
        ),
        files_train=len(sources.train),
        files_test=len(sources.test),
        table=table,
        patients_from=patients_from,
        scans=by_path,
        own_ids=own_ids,
        not_read=sources.not_read,
        unused=unused,
    )


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


_NO_FILE = Scan(
    path="",
    image_id="",
    study_uid="",
    series_uid="",
    patient_key="",
    rows=1024,
    columns=1024,
    sex="",
    age="",
    view="",
    modality="",
    body_part="",
    patient_orientation="",
    photometric_interpretation="",
    transfer_syntax="",
    bits_stored=8,
    spacing_mm=None,
    spacing_text="",
    pixel_hash="",
    picture=None,
)


def _parts(sources: Sources) -> list[Part]:
    train: list[Part] = ["train"] * len(sources.train)
    test: list[Part] = ["test"] * len(sources.test)
    return train + test


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
    )


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
) -> tuple[Mapping[str, str] | None, tuple[str, ...]]:
    """Return the patient map, and its name where it was only found and knows none of the images."""
    table = tables.patients
    if table is None or sources.patients is None or sources.patients_named:
        return table, ()
    return (None, (sources.patients.name,)) if known.isdisjoint(table) else (table, ())


def _patients(
    read: Sequence[tuple[Scan, Part]],
    own_ids: Mapping[str, IdUse],
    table: Mapping[str, str] | None,
    table_name: str,
) -> tuple[list[str | None], PatientsFrom]:
    """Return the patient of each scan, and where that is known from.

    A map that is named or found is all that counts. Else each image of the SIIM-ACR set is looked
    up, and for the others the files' own ids are used, if they group anything.
    """
    scans = [scan for scan, _ in read]
    if table is not None:
        return _numbered(_by_map([s.image_id for s in scans], table, table_name)), "map"
    siim = [siim_patient(scan.image_id) for scan in scans]
    own = [scan.patient_key if own_ids[scan.path] == "groups" else "" for scan in scans]
    own = ["" if known else key for known, key in zip(siim, own, strict=True)]
    named = [(known or key, bool(known)) for known, key in zip(siim, own, strict=True)]
    source: PatientsFrom = (
        "siim+header" if any(siim) and any(own) else "siim" if any(siim) else "header"
    )
    return _numbered([n if n[0] else None for n in named]), source if any(siim) or any(own) else ""


def _by_map(ids: Sequence[str], table: Mapping[str, str], name: str) -> list[str | None]:
    """Return the patients of images by a map, which must know one of them."""
    patients = [table.get(image_id) for image_id in ids]
    if ids and not any(patients):
        raise DataError(
            f"{name}: none of the {len(table):,} images of this patient map is here; the first "
            f"image here is {ids[0]}; name the map of these files with --patients, or move it away"
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
) -> list[ImageRecord]:
    """Return the records with their patients and groups; files set aside link them too."""
    clusters = {record.path: record.cluster for record in records}
    scans = [scan for scan, _ in read]
    groups = group_by(
        patients,
        [clusters.get(scan.path) for scan in scans],
        [scan.image_id for scan in scans],
        [scan.pixel_hash for scan in scans],
    )
    of_path = {s.path: (p, g) for s, p, g in zip(scans, patients, groups.tolist(), strict=True)}
    return [
        replace(record, patient=of_path[record.path][0], group=of_path[record.path][1])
        for record in records
    ]


def _in_both(train: Sequence[ImageRecord], test: Sequence[ImageRecord]) -> tuple[str, ...]:
    ids = {record.image_id for record in train}
    hashes = {record.pixel_hash for record in train} - {""}
    return tuple(r.image_id for r in test if r.image_id in ids or r.pixel_hash in hashes)


def _with_clusters(records: Sequence[ImageRecord], scans: Mapping[str, Scan]) -> list[ImageRecord]:
    """Return the records with the numbers of their clusters of near-duplicates."""
    pictures = [scans[record.path].picture for record in records]
    numbers: dict[int, int] = {}
    hashed = [place for place, picture in enumerate(pictures) if picture and not picture.blank]
    with one_thread():
        clusters = find_clusters(
            [pictures[place].hash for place in hashed],  # type: ignore[union-attr]
            [records[place].path for place in hashed],
            lambda path: read_radiograph(path).pixels,
        )
    for number, members in enumerate(clusters, 1):
        numbers |= {hashed[member]: number for member in members}
    return [replace(record, cluster=numbers.get(place)) for place, record in enumerate(records)]


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
    """Keep one file of each picture: the first that is labelled, else the first."""
    kept: dict[str, ImageRecord] = {}
    for record in records:
        other = kept.setdefault(_picture_key(record), record)
        if record.labelled and not other.labelled:
            kept[_picture_key(record)] = record
    dropped = []
    for record in records:
        keeper = kept[_picture_key(record)]
        if keeper is not record:
            agrees = not record.labelled or record.encoded_pixels == keeper.encoded_pixels
            dropped.append(
                Duplicate(
                    record.path,
                    record.image_id,
                    keeper.path,
                    keeper.image_id,
                    "same-pixels",
                    agrees,
                )
            )
    return [record for record in records if kept[_picture_key(record)] is record], dropped


def _picture_key(record: ImageRecord) -> str:
    """Return what is equal for the same picture; where none was read, each file is its own."""
    return record.pixel_hash or record.path


def _labelled(record: ImageRecord, texts: tuple[str, ...] | None, form: RleForm) -> ImageRecord:
    """Return `record` with the union of its rows, which fit it; None leaves it unlabelled."""
    if texts is None:
        return record
    shape = (record.rows, record.columns)
    if not texts:
        return replace(record, labelled=True, positive=False, area_px=0, encoded_pixels="-1")
    text = rle.united(texts, form=form)
    return replace(
        record,
        labelled=True,
        positive=True,
        mask_rows=len(texts),
        overlap_px=rle.overlap_px(texts, shape, form=form) if len(texts) > 1 else 0,
        area_px=rle.area_px(text),
        encoded_pixels=text,
    )


def _refuse_foreign_table(table: Annotations, example: ImageRecord) -> None:
    raise DataError(
        f"{table.path}: none of its {len(table.masks)} ids belongs to a file found; the first id "
        f"is {next(iter(table.masks))}, the first file's is {example.image_id}; name the table of "
        "these files with --annotations"
    )
