"""Where a data folder keeps its radiographs and its tables.

Kaggle published the SIIM-ACR set in several layouts, and people re-save it in more. The rules:

* a file below a folder with the word "test" (or tests, testing) in its name, such as
  ``dicom-images-test``, is a test file, every other DICOM file a training file;
* where a folder ``stage_2_images`` stands beside them, that one holds the test files, and all
  others are training files (stage 2 trains on both folders of stage 1);
* the annotation table is the first of ``stage_2_train.csv`` (only beside ``stage_2_images``),
  ``train-rle.csv``, ``stage_2_train.csv``, ``train-rle-sample.csv``, ``train.csv``, each also as
  ``.csv.gz``, in the folder itself or one below;
* the patient map is ``patients.csv`` (``.csv.gz``) in the same places;
* every CSV with the word "submission" in its name in the same places is a sample submission, which
  is looked at but never used.

Tables and folders can be named instead; a fold table is only used when it is named.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pleura import config
from pleura.data.files import DOCUMENTS, sorted_out
from pleura.errors import DataError
from pleura.formats.annotations import ID_COLUMN, MASK_COLUMN, columns_of

Part = Literal["train", "test"]

_SUBMISSION = re.compile(r".*submission.*\.csv(\.gz)?")
_TEST_WORDS = {"test", "tests", "testing"}
_COLUMNS = {"train.csv": {ID_COLUMN, MASK_COLUMN}, "patients.csv": {ID_COLUMN, "patient"}}
"""Names so common that a table under one of them is only taken where it has these columns."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The files that a data folder consists of.

    Attributes:
        root: The folder (or the common parent of what was named).
        train: Training files, sorted.
        test: Test files, sorted.
        annotations: The run-length table, or None where there is none.
        patients: The patient map, or None.
        folds: The fold table that was named, or None.
        patients_named: Whether the patient map was named, and so must be this folder's.
        submissions: Sample submissions, sorted.
        not_read: How many files were passed over because they are not DICOM, by suffix; tables,
            texts and pages, as they lie beside any data set, are not counted.
        foreign: Files named like a table of the set that are none, and so were passed over.
    """

    root: Path
    train: tuple[Path, ...]
    test: tuple[Path, ...]
    annotations: Path | None
    patients: Path | None
    folds: Path | None = None
    patients_named: bool = False
    submissions: tuple[Path, ...] = ()
    not_read: Mapping[str, int] = field(default_factory=dict)
    foreign: tuple[Path, ...] = ()

    def without_annotations(self) -> "Sources":
        """Return the same files without their annotation table."""
        return replace(self, annotations=None)


def find_sources(settings: config.Data) -> Sources:
    """Return the radiographs and tables that `settings` name or that lie below its path.

    Raises:
        DataError: A named place does not exist, or no DICOM file is found.
    """
    root = Path(settings.path or settings.images or settings.test_images)
    tables = [settings.annotations, settings.patients, settings.folds]
    for place in [settings.path, settings.images, settings.test_images, *tables]:
        if place and not Path(place).exists():
            raise DataError(f"{place}: there is no such file or folder")
    if not root.is_dir():
        raise DataError(f"{root}: is a file; name the folder that holds the radiographs")
    train, test, others = _split(settings, root)
    if not train and not test:
        raise DataError(
            f"{root}: holds no DICOM file ({others.total():,} other files); name the folder that "
            "holds the radiographs, for example the one above dicom-images-train"
        )
    stage_2 = any("stage_2_images" in path.parts for path in test)
    foreign: list[Path] = []
    annotations = settings.annotations or _find_table(root, _table_names(stage_2), foreign)
    patients = settings.patients or _find_table(root, ["patients.csv"], foreign)
    return Sources(
        root=root,
        train=tuple(sorted(train)),
        test=tuple(sorted(test)),
        annotations=Path(annotations) if annotations else None,
        patients=Path(patients) if patients else None,
        folds=Path(settings.folds) if settings.folds else None,
        patients_named=bool(settings.patients),
        submissions=_submissions(root),
        not_read={key: n for key, n in sorted(others.items()) if key not in DOCUMENTS},
        foreign=tuple(foreign),
    )


def _split(settings: config.Data, root: Path) -> tuple[list[Path], list[Path], Counter[str]]:
    """Return training files, test files and others by suffix, as named or found below root."""
    if settings.images and settings.test_images:
        (train, others), (test, more) = map(
            sorted_out, (Path(settings.images), Path(settings.test_images))
        )
        return train, test, others + more
    train, test, others = _split_by_folder(root) if settings.path else ([], [], Counter())
    if settings.images:
        train, others = sorted_out(Path(settings.images))
        test = sorted(set(test) - set(train))
    elif settings.test_images:
        test, others = sorted_out(Path(settings.test_images))
        train = sorted(set(train) - set(test))
    return train, test, others


def _split_by_folder(root: Path) -> tuple[list[Path], list[Path], Counter[str]]:
    files, others = sorted_out(root)
    folders = {path: path.relative_to(root).parts[:-1] for path in files}
    stage_2 = any("stage_2_images" in parts for parts in folders.values())

    def is_test(path: Path) -> bool:
        if stage_2:
            return "stage_2_images" in folders[path]
        words = (word for part in folders[path] for word in re.split("[^a-z]+", part.lower()))
        return not _TEST_WORDS.isdisjoint(words)

    test = [path for path in files if is_test(path)]
    train = [path for path in files if not is_test(path)]
    return train, test, others


def _table_names(stage_2: bool) -> list[str]:
    names = ["train-rle.csv", "stage_2_train.csv", "train-rle-sample.csv", "train.csv"]
    return ["stage_2_train.csv", *names] if stage_2 else names


def _table_folders(root: Path) -> list[Path]:
    return [root, *sorted(path for path in root.iterdir() if path.is_dir())]


def _submissions(root: Path) -> tuple[Path, ...]:
    found = (path for folder in _table_folders(root) for path in sorted(folder.iterdir()))
    return tuple(path for path in found if _SUBMISSION.fullmatch(path.name.lower()))


def _find_table(root: Path, names: Iterable[str], foreign: list[Path]) -> Path | None:
    """Return the first table of `names`; add those that are something else to `foreign`."""
    for name in names:
        for folder in _table_folders(root):
            for candidate in (folder / name, folder / f"{name}.gz"):
                if not candidate.is_file():
                    continue
                columns = columns_of(candidate) if name in _COLUMNS else None
                if columns is None or columns >= _COLUMNS[name]:  # a damaged one is no foreign one
                    return candidate
                foreign.append(candidate)
    return None
