"""Where a data folder keeps its radiographs and its tables.

Kaggle published the SIIM-ACR set in several layouts, and people re-save it in more. The rules:

* a file below a folder with the word "test" in its name, such as ``dicom-images-test``, is a test
  file, every other DICOM file a training file;
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

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pleura import config
from pleura.errors import DataError
from pleura.formats import dicom

Part = Literal["train", "test"]

_DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}
_TABLES = (
    ".csv",
    ".gz",
    ".zip",
    ".json",
    ".toml",
    ".txt",
    ".md",
    ".log",
    ".py",
    ".parquet",
    ".npy",
)
_OTHER_SUFFIXES = {*_TABLES, ".html", ".png", ".jpg", ".jpeg", ".h5"}


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
        submissions: Sample submissions, sorted.
        other_files: How many files were passed over because they are not DICOM.
    """

    root: Path
    train: tuple[Path, ...]
    test: tuple[Path, ...]
    annotations: Path | None
    patients: Path | None
    folds: Path | None = None
    submissions: tuple[Path, ...] = ()
    other_files: int = 0

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
            f"{root}: holds no DICOM file ({others} other files); name the folder that holds the "
            "radiographs, for example the one above dicom-images-train"
        )
    stage_2 = any("stage_2_images" in path.parts for path in test)
    return Sources(
        root=root,
        train=tuple(sorted(train)),
        test=tuple(sorted(test)),
        annotations=_named_or(settings.annotations, _find_table(root, _table_names(stage_2))),
        patients=_named_or(settings.patients, _find_table(root, ["patients.csv"])),
        folds=_named_or(settings.folds, None),
        submissions=_submissions(root),
        other_files=others,
    )


def _split(settings: config.Data, root: Path) -> tuple[list[Path], list[Path], int]:
    """Return training files, test files and the number of others, as named or found below root."""
    if settings.images and settings.test_images:
        (train, others), (test, more) = map(
            _dicom_files, (Path(settings.images), Path(settings.test_images))
        )
        return train, test, others + more
    train, test, others = _split_by_folder(root) if settings.path else ([], [], 0)
    if settings.images:
        train, others = _dicom_files(Path(settings.images))
        test = sorted(set(test) - set(train))
    elif settings.test_images:
        test, others = _dicom_files(Path(settings.test_images))
        train = sorted(set(train) - set(test))
    return train, test, others


def dicom_files(folder: Path) -> list[Path]:
    """Return the DICOM files below `folder`, sorted.

    A file counts by its suffix (``.dcm``, ``.dicom``, ``.ima``, also when its content turns out to
    be something else, so that it is reported and not skipped) or by its content.
    """
    return sorted(_dicom_files(folder)[0])


def _dicom_files(folder: Path) -> tuple[list[Path], int]:
    found, others = [], 0
    for path in _walk(folder):
        if _may_be_dicom(path):
            found.append(path)
        else:
            others += 1
    return found, others


def _walk(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(parent, name)


def _may_be_dicom(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in _DICOM_SUFFIXES or (suffix not in _OTHER_SUFFIXES and dicom.is_dicom(path))


def _split_by_folder(root: Path) -> tuple[list[Path], list[Path], int]:
    files, others = _dicom_files(root)
    folders = {path: path.relative_to(root).parts[:-1] for path in files}
    stage_2 = any("stage_2_images" in parts for parts in folders.values())

    def is_test(path: Path) -> bool:
        if stage_2:
            return "stage_2_images" in folders[path]
        return any("test" in re.split("[^a-z]+", part.lower()) for part in folders[path])

    test = [path for path in files if is_test(path)]
    train = [path for path in files if not is_test(path)]
    return train, test, others


def _table_names(stage_2: bool) -> list[str]:
    names = ["train-rle.csv", "stage_2_train.csv", "train-rle-sample.csv", "train.csv"]
    return ["stage_2_train.csv", *names] if stage_2 else names


def _table_folders(root: Path) -> list[Path]:
    return [root, *sorted(path for path in root.iterdir() if path.is_dir())]


def _submissions(root: Path) -> tuple[Path, ...]:
    found = (path for folder in _table_folders(root) for path in sorted(folder.glob("*.csv")))
    return tuple(path for path in found if "submission" in path.stem.lower())


def _find_table(root: Path, names: Iterable[str]) -> Path | None:
    for name in names:
        for folder in _table_folders(root):
            for candidate in (folder / name, folder / f"{name}.gz"):
                if candidate.is_file():
                    return candidate
    return None


def _named_or(named: str, found: Path | None) -> Path | None:
    return Path(named) if named else found
