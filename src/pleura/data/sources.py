"""Where a data folder keeps its radiographs and its tables.

Kaggle published the SIIM-ACR set in several layouts, and people re-save it in more. The rules:

* a file below a folder with the word "test" (or tests, testing) in its name, such as
  ``dicom-images-test``, is a test file, every other DICOM file a training file;
* where a folder ``stage_2_images`` stands beside them, that one holds the test files, and all
  others are training files (stage 2 trains on both folders of stage 1);
* the annotation table is the first of ``stage_2_train.csv`` (only beside ``stage_2_images``),
  ``train-rle.csv``, ``stage_2_train.csv``, ``train-rle-sample.csv``, ``train.csv``, each also as
  ``.csv.gz``, in the folder itself or one below;
* the patient map is ``patients.csv`` (``.csv.gz``) in the same places, and ``simulate.csv`` there
  says which radiographs simulated ones were drawn on;
* every CSV with the word "submission" in its name in the same places is a sample submission, which
  is looked at but never used.

Tables and folders can be named instead; a fold table and a table of image labels are only used when
they are named. Plain pictures (PNG, JPEG, TIFF, NIfTI) that masks or a table of labels name are
files like the DICOM ones. Where neither is given and there is no DICOM file, all of them are.
"""

import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal, NamedTuple

from pleura import config
from pleura.choices import Match
from pleura.data.files import DOCUMENTS, Listing, sorted_out
from pleura.data.matching import composed, first_id_alike
from pleura.data.table_use import TableUse
from pleura.dicom.suffixes import is_picture, stem_of, suffix_of
from pleura.errors import DataError
from pleura.formats.annotation_table import columns_of
from pleura.formats.annotations import ID_COLUMN, MASK_COLUMN
from pleura.formats.labels import LabelTable, read_labels
from pleura.formats.masks import MaskReading, files_of_masks, names_in
from pleura.storage.archive import entries, is_file, is_folder, places, why_closed
from pleura.storage.elsewhere import is_address, path_at

Part = Literal["train", "test"]

TEST_TRUTH = "test-truth.csv"
"""What ``pleura phantom`` writes of the test images, so that nothing learns from it."""

SIMULATED = "simulate.csv"
"""What ``pleura simulate`` writes of each radiograph: which one it was drawn on, and more."""

_SUBMISSION = re.compile(r".*submission.*\.csv(\.gz)?")
_TABLES = {".csv", ".csv.gz", ".tsv", ".parquet", ".xlsx"}
_TEST_WORDS = {"test", "tests", "testing"}
_COLUMNS = {
    "train.csv": {ID_COLUMN, MASK_COLUMN},
    "patients.csv": {ID_COLUMN, "patient"},
    SIMULATED: {ID_COLUMN, "source"},
}
"""Names so common that a table under one of them is only taken where it has these columns."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The files that a data folder consists of.

    Attributes:
        root: The folder (or the common parent of what was named).
        train: Training files, sorted.
        test: Test files, sorted.
        annotations: The run-length table, or another source of masks that was named
            (:mod:`pleura.formats.masks`), or None where there is none.
        more_annotations: The tables of run lengths of other folders, which are joined to it.
        patients: The patient map that is named, or those that lie in the folders.
        folds: The fold table that was named, or None.
        labels: The table of image labels that was named, as read, or None.
        patients_named: Whether the patient map was named, and so must be this folder's.
        simulated: What ``pleura simulate`` tells of the radiographs that it wrote.
        submissions: Sample submissions, sorted.
        not_read: How many files were passed over because they are not DICOM (nor pictures that a
            table of labels names), by suffix or in words, and each archive by its name, for it may
            hold radiographs; tables, texts and pages, as they lie beside any data set, are not
            counted.
        not_used: The tables beside the radiographs that are not read, with the reason.
        reading: How the masks are to be read.
        match: What tables call an image by.
        unnamed: Names of the pictures that no table names, and that are no radiographs so.
    """

    root: Path
    train: tuple[Path, ...]
    test: tuple[Path, ...]
    annotations: Path | None
    patients: tuple[Path, ...]
    folds: Path | None = None
    labels: LabelTable | None = None
    patients_named: bool = False
    simulated: tuple[Path, ...] = ()
    submissions: tuple[Path, ...] = ()
    not_read: Mapping[str, int] = field(default_factory=dict)
    not_used: tuple[TableUse, ...] = ()
    reading: MaskReading = field(default_factory=MaskReading)
    match: Match = ""
    unnamed: tuple[str, ...] = ()
    more_annotations: tuple[Path, ...] = ()

    @property
    def mask_tables(self) -> tuple[Path, ...]:
        """Each source of masks."""
        return (*filter(None, [self.annotations]), *self.more_annotations)

    @property
    def tables(self) -> tuple[Path, ...]:
        """Every file that is read beside the radiographs; of a folder of masks each of its own."""
        masks = (file for table in self.mask_tables for file in files_of_masks(table))
        labels = None if self.labels is None else self.labels.path
        others = filter(None, [self.folds, labels])
        return (*masks, *self.patients, *others, *self.simulated, *self.submissions)

    def without_annotations(self) -> "Sources":
        """Return the same files without their tables of masks."""
        return replace(self, annotations=None, more_annotations=())


def find_sources(settings: config.Data) -> Sources:
    """Return the radiographs and tables that `settings` name or that lie below its path.

    Raises:
        DataError: A named place does not exist, no radiograph is found, or the table of labels
            cannot be read as a whole.
        AnnotationError: Masks that were named cannot be read as a whole, and there are pictures.
        UsageError: A column of labels is given a weight that is none.
    """
    own_places = [*filter(None, [settings.path, *settings.also])]
    named_places = own_places or [settings.images or settings.test_images]
    tables = [settings.annotations, settings.patients, settings.fold_table, settings.labels.table]
    for place in filter(None, [*named_places, settings.images, settings.test_images, *tables]):
        _require_there(place)
    named = [place for text in named_places for place in places(text)]
    folders = tuple(dict.fromkeys(one if is_folder(one) else one.parent for one in named))
    root = _root(folders)
    labels = read_labels(settings.labels) if settings.labels.table else None
    reading = mask_reading(settings)

    @functools.cache
    def in_tables() -> frozenset[str]:
        """Return what tables call pictures; read once, and not at all where there is no picture."""
        said = frozenset() if labels is None else frozenset(map(_last, labels.names))
        if settings.annotations:
            said |= frozenset(map(_last, names_in(path_at(settings.annotations), reading)))
        return said

    train, test, listed = _split(settings, named if own_places else [], root, in_tables)
    unnamed = tuple(_bare(picture) for picture in listed.pictures)
    if not train and not test:
        told = "; ".join(filter(None, _why_none(listed, unnamed, in_tables)))
        raise DataError(f"{', '.join(map(str, named))}: {told}")
    stage_2 = any("stage_2_images" in path.parts for path in test)
    return Sources(
        root=root,
        train=tuple(sorted(train)),
        test=tuple(sorted(test)),
        folds=_path(settings.fold_table),
        labels=labels,
        patients_named=bool(settings.patients),
        not_read=_not_read(listed, root),
        reading=reading,
        match=settings.match,
        unnamed=unnamed,
        **_tables(settings, _table_folders(folders), stage_2)._asdict(),
    )


def mask_reading(settings: config.Data) -> MaskReading:
    """Return how the masks that are named are to be read."""
    return MaskReading(
        settings.rle,
        settings.image_column,
        settings.mask_column,
        settings.mask_label,
        settings.reader_column,
        settings.readers,
    )


def _path(place: str) -> Path | None:
    return path_at(place) if place else None


class _TableFiles(NamedTuple):
    """The tables that are used, and what is said of the others; names as in :class:`Sources`."""

    annotations: Path | None
    more_annotations: tuple[Path, ...]
    patients: tuple[Path, ...]
    simulated: tuple[Path, ...]
    submissions: tuple[Path, ...]
    not_used: tuple[TableUse, ...]


def _tables(settings: config.Data, folders: Sequence[Path], stage_2: bool) -> _TableFiles:
    """Return the tables that are named, or lie in some folders."""
    foreign: list[Path] = []
    found = [] if settings.annotations else _find_tables(folders, _table_names(stage_2), foreign)
    annotations = _path(settings.annotations) or next(iter(found), None)
    tables = _first_of_each_folder(found)
    more = tuple(path for path in tables if path != annotations)
    maps = [] if settings.patients else _find_tables(folders, ["patients.csv"], foreign)
    named = _path(settings.patients)
    patients = _first_of_each_folder(maps) if named is None else [named]
    simulated = _first_of_each_folder(_find_tables(folders, [SIMULATED], []))
    later = {path: tables for path in found if path not in tables}
    later |= {path: patients for path in maps if path not in patients}
    submissions = _submissions(folders)
    others = map(_path, (settings.fold_table, settings.labels.table, settings.test_annotations))
    known = (annotations, *patients, *others, *simulated, *submissions, *foreign, *found, *maps)
    used = {table.resolve() for table in known if table}
    not_used = (
        *(_other_columns(path) for path in foreign),
        *(_comes_later(path, first) for path, first in later.items()),
        *(_nobodys(path) for path in _tables_beside(folders) if path.resolve() not in used),
    )
    return _TableFiles(annotations, more, (*patients,), (*simulated,), submissions, not_used)


def _first_of_each_folder(paths: Sequence[Path]) -> list[Path]:
    folders: dict[Path, Path] = {}
    for path in paths:
        folders.setdefault(path.parent, path)
    return list(folders.values())


def _require_there(place: str) -> None:
    if closed := why_closed(Path(place)):
        raise DataError(closed)
    if not any(map(_is_there, places(place))):
        where = "addresses are not read by this command; copy it here" * is_address(place)
        raise DataError(f"{place}: {where or 'there is no such file or folder'}")


def _why_none(
    listed: Listing, unnamed: Sequence[str], in_tables: Callable[[], frozenset[str]]
) -> Iterator[str]:
    """Yield why no file that was listed is taken for a radiograph."""
    yield f"holds no DICOM file ({listed.others})"
    yield (
        "name the folder that holds the radiographs, for example the one above dicom-images-train"
    )
    if unnamed:
        yield (
            "of pictures those are taken that the masks (`annotations`) or the labels (`labels`) "
            "name, and none of these is named"
        )
        yield first_id_alike(in_tables(), unnamed)


def _other_columns(path: Path) -> TableUse:
    return TableUse(f"{path}", unread="its columns are others", finding="foreign-table")


def _comes_later(path: Path, used: Sequence[Path]) -> TableUse:
    """Return what is said of a second table of one kind in a folder."""
    first = next(one for one in used if one.parent == path.parent)
    how = f"{first} comes first; name one of them, or join them in one file"
    return TableUse(f"{path}", unread=how)


def _nobodys(path: Path) -> TableUse:
    how = "nothing says what it is for; name it (`annotations`, `labels`, `patients`) if it counts"
    return TableUse(f"{path}", unread=how, finding="unused-table")


def _is_there(path: Path) -> bool:
    return path.exists() or is_folder(path) or is_file(path)


def _root(folders: Sequence[Path]) -> Path:
    """Return the folder that several lie in, as they are named."""
    try:
        return path_at(os.path.commonpath(folders))
    except ValueError:  # some are named from here, and some from the top
        return Path()


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _split(
    settings: config.Data,
    named: Sequence[Path],
    root: Path,
    in_tables: Callable[[], frozenset[str]],
) -> tuple[list[Path], list[Path], Listing]:
    """Return training files, test files and all that was listed, as named or found below root."""
    masks = places(settings.annotations) if settings.annotations else []

    def below(folders: Sequence[Path]) -> Listing:
        listing = sorted_out(
            *folders,
            also=lambda path: is_picture(path) and _bare(path) in in_tables(),
            pictures=not (settings.annotations or settings.labels.table),
        )
        if masks:  # a mask is no radiograph
            listing.files[:] = [
                path for path in listing.files if not any(map(path.is_relative_to, masks))
            ]
        return listing

    if settings.images and settings.test_images:
        listed, more = below(places(settings.images)), below(places(settings.test_images))
        both = Listing(
            archives=listed.archives + more.archives,
            passed=listed.passed + more.passed,
            pictures=listed.pictures + more.pictures,
        )
        return listed.files, more.files, both
    train: list[Path] = []
    test: list[Path] = []
    listed = Listing()
    if named:
        listed = below(named)
        train, test = _split_by_folder(root, listed.files)
    if settings.images:
        listed = below(places(settings.images))
        train, test = listed.files, sorted(set(test) - set(listed.files))
    elif settings.test_images:
        listed = below(places(settings.test_images))
        train, test = sorted(set(train) - set(listed.files)), listed.files
    return train, test, listed


def _split_by_folder(root: Path, files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return training files and test files, told apart by the folders below `root`."""
    folders = {path: _relative(path, root).parts[:-1] for path in files}
    stage_2 = any("stage_2_images" in parts for parts in folders.values())

    def is_test(path: Path) -> bool:
        if stage_2:
            return "stage_2_images" in folders[path]
        words = (word for part in folders[path] for word in re.split("[^a-z]+", part.lower()))
        return not _TEST_WORDS.isdisjoint(words)

    test = [path for path in files if is_test(path)]
    train = [path for path in files if not is_test(path)]
    return train, test


def _not_read(listed: Listing, root: Path) -> dict[str, int]:
    """Return what was passed over, each archive by its name below `root`."""
    archives = Counter(os.path.relpath(path, root) for path in listed.archives)
    counted = (listed.passed + archives).items()
    return {kind: count for kind, count in sorted(counted) if kind not in DOCUMENTS}


def _last(name: str) -> str:
    """Return the last part of a name or path, as :func:`_bare` does."""
    return _bare(PurePosixPath(name.strip().replace("\\", "/")))


def _bare(path: PurePath) -> str:
    """Return a file's name without its suffix and nnU-Net's channel."""
    return composed(stem_of(path)).removesuffix("_0000")


def _tables_beside(folders: Sequence[Path]) -> list[Path]:
    """Return the tables in folders."""
    found = (path for folder in folders for path in entries(folder))
    return [
        path
        for path in found
        if suffix_of(path) in _TABLES and path.name != TEST_TRUTH and is_file(path)
    ]


def _table_names(stage_2: bool) -> list[str]:
    names = ["train-rle.csv", "stage_2_train.csv", "train-rle-sample.csv", "train.csv"]
    return ["stage_2_train.csv", *names] if stage_2 else names


def _table_folders(folders: Sequence[Path]) -> list[Path]:
    """Return the folders that tables are looked for in: those named, and what lies in them.

    A folder that links lead to again is looked into once, and a closed one not at all: that it is
    closed is said of what lies in it.
    """
    inner = (path for folder in folders for path in entries(folder) if is_folder(path))
    once: dict[str, Path] = {}
    for folder in (*folders, *inner):
        if not folder.is_dir() or os.access(folder, os.R_OK | os.X_OK):
            once.setdefault(os.path.realpath(folder), folder)
    return list(once.values())


def _submissions(folders: Sequence[Path]) -> tuple[Path, ...]:
    found = (path for folder in folders for path in entries(folder))
    return tuple(path for path in found if _SUBMISSION.fullmatch(path.name.lower()))


def _find_tables(folders: Sequence[Path], names: Iterable[str], foreign: list[Path]) -> list[Path]:
    """Return the tables of `names`, in their order; add those that are others to `foreign`."""
    found = []
    for name in dict.fromkeys(names):
        for folder in folders:
            for candidate in (folder / name, folder / f"{name}.gz"):
                if not is_file(candidate):
                    continue
                wanted = _COLUMNS.get(name)
                columns = columns_of(candidate, wanted) if wanted else None
                # A damaged one is no foreign one.
                if not wanted or columns is None or columns >= wanted:
                    found.append(candidate)
                else:
                    foreign.append(candidate)
    return found
