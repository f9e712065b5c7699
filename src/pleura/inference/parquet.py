"""Rows as a typed Parquet table, written piece by piece."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pleura.errors import OutputError
from pleura.storage.atomic import atomic_path

Cell = str | int | float | None

_ROWS = 8192
"""So many rows are in memory at a time."""


def write_parquet(
    rows: Iterable[Sequence[Cell]],
    columns: Mapping[str, str],
    same: Mapping[str, str | float],
    path: Path,
) -> None:
    """Write rows as a Parquet table.

    Args:
        rows: The cells of each, in the order of `columns`. A text that is not Unicode keeps the
            bytes in question behind a backslash.
        columns: Name of each column, and whether it holds ``text``, ``number`` or ``count``; an
            empty text is no number, and None no text.
        same: More columns of one value each.
        path: Where the table is to be.

    Raises:
        OutputError: It could not be written.
    """
    import pyarrow as pa  # so that who writes none need not wait for it
    from pyarrow import parquet

    kinds = {"text": pa.string(), "number": pa.float64(), "count": pa.int64()}
    alike = {
        name: pa.string() if isinstance(one, str) else pa.float64() for name, one in same.items()
    }
    schema = pa.schema({name: kinds[kind] for name, kind in columns.items()} | alike)
    pieces = iter(rows)
    try:
        with (
            atomic_path(path) as partial,
            partial.open("wb") as file,
            parquet.ParquetWriter(file, schema) as table,
        ):
            while piece := list(itertools.islice(pieces, _ROWS)):
                cells = zip(*piece, strict=True)
                found = [
                    [_READ[kind](cell) for cell in column]
                    for kind, column in zip(columns.values(), cells, strict=True)
                ]
                found += [[one] * len(piece) for one in same.values()]
                table.write_batch(pa.record_batch(found, schema))
    except (pa.ArrowException, MemoryError) as error:
        why = " ".join(str(error).split()) or "out of memory"
        raise OutputError(
            f"{path}: could not be written ({why}); free some space or memory"
        ) from error


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).encode(errors="backslashreplace").decode()


_READ: dict[str, Callable[[Any], Cell]] = {
    "text": _text,
    "number": lambda cell: None if cell in ("", None) else float(cell),
    "count": lambda cell: None if cell is None else int(cell),
}
