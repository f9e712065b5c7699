"""The fold table: a CSV that says of each image in which fold it is.

Columns ``image_id`` and ``fold`` (numbered from 0); others are passed over, so a person may add
what helps. :mod:`pleura.data.folds` makes one.
"""

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pleura.errors import DataError
from pleura.formats.atomic import write_text

MAX_FOLDS = 1000


def read_folds(path: str | os.PathLike[str]) -> dict[str, int]:
    """Return image id -> fold.

    Raises:
        DataError: The file cannot be read, lacks a column, names an image twice with two folds, or
            holds a fold that is no number from 0 on or leaves one out.
    """
    folds: dict[str, int] = {}
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            if not {"image_id", "fold"} <= set(columns):
                raise DataError(
                    f"{path}: a fold table needs the columns image_id and fold; found "
                    f"{', '.join(columns) or 'none'}"
                )
            for row in reader:
                image_id, fold = (row["image_id"] or "").strip(), _fold(path, reader.line_num, row)
                if folds.setdefault(image_id, fold) != fold:
                    raise DataError(
                        f"{path}: line {reader.line_num} puts image {image_id} into fold {fold}, "
                        f"an earlier one into fold {folds[image_id]}; keep one of them"
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a CSV ({error})") from error
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
    lines = [",".join(names)]
    lines += [",".join(str(row[name]) for name in names) for row in rows]
    write_text(Path(path), "\n".join(lines) + "\n")


def _fold(path: str | os.PathLike[str], line: int, row: Mapping[str, str | None]) -> int:
    text = (row["fold"] or "").strip()
    if not (text.isascii() and text.isdecimal() and int(text) < MAX_FOLDS):
        raise DataError(
            f"{path}: line {line}: the fold is {text[:40]!r}; it must be a number from 0 to "
            f"{MAX_FOLDS - 1}"
        )
    return int(text)
