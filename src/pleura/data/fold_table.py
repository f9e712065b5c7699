"""The fold table: a CSV that says of each image in which fold it is.

Columns ``image_id`` and ``fold`` (numbered from 0); others are passed over, so a person may add
what helps. :mod:`pleura.data.folds` makes one.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pleura.errors import DataError
from pleura.formats.csv_cells import csv_text, text_of
from pleura.formats.csv_table import rows_with, shown, whole_number
from pleura.storage.atomic import write_text

MAX_FOLDS = 1000
FOLD_COLUMNS = frozenset({"image_id", "fold", "group", "positive", "area_px"})
"""Those that pleura writes; the first two are read."""


def read_folds(path: str | os.PathLike[str]) -> dict[str, int]:
    """Return image id -> fold.

    Raises:
        DataError: The file cannot be read, lacks a column, names an image twice with two folds, or
            holds a fold that is no number from 0 on or leaves one out.
    """
    folds: dict[str, int] = {}
    for line, row, _ in rows_with(path, ("image_id", "fold"), "a fold table"):
        image_id, fold = text_of(row["image_id"]), _fold(path, line, row["fold"])
        if folds.setdefault(image_id, fold) != fold:
            raise DataError(
                f"{path}: line {line} puts image {shown(image_id)} into fold {fold}, an earlier "
                f"one into fold {folds[image_id]}; keep one of them"
            )
    missing = set(range(max(folds.values(), default=0) + 1)) - set(folds.values())
    if missing:
        raise DataError(f"{path}: fold {min(missing)} has no image; number the folds from 0 on")
    return folds


def write_folds(
    path: str | os.PathLike[str], columns: Iterable[str], rows: Iterable[Mapping[str, object]]
) -> None:
    """Write a fold table, whole or not at all.

    Args:
        path: The file.
        columns: ``image_id``, ``fold`` and any others.
        rows: One per image.

    Raises:
        OutputError: The file could not be written.
    """
    names = list(columns)
    write_text(Path(path), csv_text(names, ([row[name] for name in names] for row in rows)))


def _fold(path: str | os.PathLike[str], line: int, text: str) -> int:
    fold = whole_number(text, MAX_FOLDS - 1)
    if fold is None:
        raise DataError(
            f"{path}: line {line}: the fold is {text[:40]!r}; it must be a number from 0 to "
            f"{MAX_FOLDS - 1}"
        )
    return fold
