"""A table that says one thing of each image: a CSV with the column ImageId and another one."""

import os

from pleura.errors import DataError
from pleura.formats.csv_table import rows_with, shown

_LONGEST = 80


def read_image_table(path: str | os.PathLike[str], column: str) -> dict[str, str]:
    """Return image id -> what the column says of it.

    Blanks around it are left out, and empty cells passed over.

    Args:
        path: A CSV with the columns ``ImageId`` and `column`; others are ignored.
        column: The column's name.

    Raises:
        DataError: The file cannot be read, lacks a column, holds a row that cannot be trusted or a
            cell of more than 80 characters, or says two things of one image.
    """
    found: dict[str, str] = {}
    for line, row, _ in rows_with(path, ("ImageId", column), f"a table of {column}"):
        image_id, value = row["ImageId"], row[column]
        if len(value) > _LONGEST:
            raise DataError(
                f"{path}: line {line}: {column} has {len(value)} characters; write at most "
                f"{_LONGEST}"
            )
        if image_id and value and found.setdefault(image_id, value) != value:
            raise DataError(
                f"{path}: line {line} says another {column} of image {shown(image_id)} than an "
                "earlier line; keep one of them"
            )
    return found
