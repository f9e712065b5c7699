"""Tables of run-length masks out: ``submission.csv``, and annotations."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pleura.errors import RleError, UsageError
from pleura.formats.annotations import FILE_NAME, ID_COLUMN, MASK_COLUMN, id_fault, row_fault
from pleura.formats.csv_cells import cell, csv_line
from pleura.formats.rle import EMPTY
from pleura.storage.atomic import atomic_path


def write_submission(path: str | os.PathLike[str], rows: Iterable[tuple[str, str]]) -> None:
    """Write a submission, ``ImageId,EncodedPixels`` and one row per image, whole or not at all.

    Args:
        path: Where the file shall stand.
        rows: Image id and run-length text (relative form, ``-1`` for none), in the order wanted.

    Raises:
        UsageError: An id comes twice, or is not an id.
        RleError: A text is malformed.
        OutputError: The file could not be written.
    """
    seen: set[str] = set()
    with atomic_path(path) as partial, partial.open("w", encoding="ascii", newline="\n") as file:
        file.write(f"{ID_COLUMN},{MASK_COLUMN}\n")
        for image_id, text in rows:
            _check_submitted(Path(path), image_id, text, seen)
            seen.add(image_id)
            file.write(f"{image_id},{text.strip()}\n")


def write_mask_table(
    path: str | os.PathLike[str], images: Iterable[tuple[str, Sequence[str]]]
) -> None:
    """Write an annotation table: a row for each run-length text, ``-1`` for an image without one.

    Args:
        path: Where the file shall stand.
        images: A name, for which :func:`name_fault` has nothing to say, and texts in one form.

    Raises:
        OutputError: The file could not be written.
    """
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{ID_COLUMN},{MASK_COLUMN}\n")
        for name, texts in images:
            file.writelines(csv_line([name, text]) for text in texts or [EMPTY])


def name_fault(name: str) -> str:
    """Return why a table cannot hold a name of an image as it is; an empty str where it can."""
    if FILE_NAME.fullmatch(name) and cell(name) == name == name.strip():
        return ""
    return "a table cannot hold this name; rename the image, or give ids with `images`"


def _check_submitted(path: Path, image_id: str, text: str, seen: set[str]) -> None:
    fault = id_fault(image_id)
    if fault:
        raise UsageError(f"{path}: {fault}")
    if image_id in seen:
        raise UsageError(
            f"{path}: image {image_id} comes twice, but a submission has one row per image; unite "
            "its masks first"
        )
    wrong = row_fault(text, "relative", None)
    if wrong:
        raise RleError(f"{path}: image {image_id}: {wrong.reason}")
