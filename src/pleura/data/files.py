"""Which files are meant: of folders, of globs, and by how they begin.

This module imports nothing of weight: a program looks for files before it loads what reads them.
"""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from pleura.errors import DataError
from pleura.formats.signature import is_dicom

_DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}
DOCUMENTS = {
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
    ".html",
    ".pdf",
    ".xml",
    ".yaml",
    ".h5",
}
"""Suffixes of what lies beside any data set: tables, texts, pages, results."""
_OTHER_SUFFIXES = {*DOCUMENTS, ".png", ".jpg", ".jpeg"}


def expand(inputs: Iterable[str]) -> list[Path]:
    """Return the files that `inputs` name: files, folders (all DICOM below), or globs.

    A file is taken as it is, whatever its suffix; a name without a file is kept, so that it gets
    its row and its error like any other bad input. The order is that of the inputs, sorted within
    a folder or glob, without repeats.

    Raises:
        DataError: A folder holds no DICOM file.
    """
    found: dict[Path, None] = {}
    for text in inputs:
        matches = sorted(glob.glob(text, recursive=True)) if not Path(text).exists() else [text]  # noqa: PTH207
        for match in matches or [text]:
            found.update(dict.fromkeys(_files_of(Path(match))))
    return list(found)


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = dicom_files(path)
    if not files:
        raise DataError(f"{path}: holds no DICOM file; name a file, or the folder above them")
    return files


def dicom_files(folder: Path) -> list[Path]:
    """Return the DICOM files below `folder`, sorted.

    A file counts by its suffix (``.dcm``, ``.dicom``, ``.ima``, also when its content turns out to
    be something else, so that it is reported and not skipped) or by its content.
    """
    return sorted(sorted_out(folder)[0])


def sorted_out(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return the DICOM files below `folder`, and how many others there are, by suffix."""
    found: list[Path] = []
    others: Counter[str] = Counter()
    for path in walk_files(folder):
        if may_be_dicom(path):
            found.append(path)
        else:
            others[path.suffix.lower() or "no suffix"] += 1
    return found, others


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield the files below `folder`, sorted within each folder; hidden ones are left out."""
    if folder.is_file():
        yield folder
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link that leads back, or to where we were
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(parent, name)


def may_be_dicom(path: Path) -> bool:
    """Return whether a file counts as DICOM, as :func:`dicom_files` says."""
    suffix = path.suffix.lower()
    if path.name.upper() == "DICOMDIR":  # the table of contents of a medium, no picture
        return False
    return suffix in _DICOM_SUFFIXES or (suffix not in _OTHER_SUFFIXES and is_dicom(path))
