"""The tables of a job, written row by row: memory does not grow with them.

::

    submission.csv        ImageId,EncodedPixels: one row per image, in the inputs' order
    predictions.csv       one row per input, with its error where there is one, and the thresholds
    predictions.parquet   the same, typed, with each mask and what it was made with
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pleura.errors import DataError, InputError
from pleura.formats.annotations import Annotations
from pleura.formats.csv_cells import csv_line
from pleura.formats.submission import write_submission
from pleura.formats.text_file import open_regular
from pleura.inference.parquet import write_parquet
from pleura.inference.row import Row
from pleura.models.bundle import OperatingPoint
from pleura.storage.archive import is_file, is_folder
from pleura.storage.atomic import atomic_path

SUBMISSION: Final = "submission.csv"
ANSWERS: Final = "predictions.csv"
TYPED: Final = "predictions.parquet"
WORKLIST: Final = "worklist.html"
FILES: Final = (ANSWERS, TYPED, WORKLIST, SUBMISSION)
"""What a job leaves beside folders; the last is put last where results go to an address."""

COLUMNS = {
    "image_id": "text",
    "path": "text",
    "called": "text",
    "score": "number",
    "area_px": "count",
    "seconds": "number",
    "error": "text",
    "guard": "number",
    "flags": "text",
    "notes": "text",
}
"""What is told of each input, and what :mod:`pleura.inference.parquet` makes of it."""

MASK_COLUMNS = {"rle": "text", "rows": "count", "columns": "count"}
"""What predictions.parquet tells more: the mask as run lengths, and the size that they are for. So
the tables of several jobs are one data set, to which nothing else has to be joined."""

THRESHOLDS = ("score_threshold", "mask_threshold", "min_area")
"""The last columns of predictions.csv: what made a call of a score, so that a row can be judged
where nothing else of the job is at hand."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the answers of a job were made with.

    Attributes:
        model: Digest of the model, or of all that were averaged.
        engine: What ran the network.
        point: The thresholds.
        pleura: Version of pleura.
    """

    model: str
    engine: str
    point: OperatingPoint
    pleura: str

    def as_json(self) -> dict[str, str | float]:
        """Return the fields as the columns of ``predictions.parquet`` that they fill."""
        return {
            "model": self.model,
            "engine": self.engine,
            "pleura": self.pleura,
            **dict(zip(THRESHOLDS, self.thresholds, strict=True)),
        }

    @property
    def thresholds(self) -> tuple[float, float, float]:
        """The values of :data:`THRESHOLDS`."""
        return self.point.score, self.point.mask, self.point.min_area


def write_tables(rows: Iterable[Row], out: Path, made_with: Provenance) -> None:
    """Write the three tables into `out`.

    Args:
        rows: In the order of the inputs; iterated over more than once.
        out: The job's folder.
        made_with: What the rows were made with; the Parquet table has all of it.

    Raises:
        OutputError: One could not be written.
    """
    write_submission(
        out / SUBMISSION,
        ((one.image_id, one.submitted) for one in rows if one.submitted is not None),
    )
    _write_csv(rows, out / ANSWERS, made_with)
    write_parquet(
        ([*_cells(row), row.rle, row.rows, row.columns] for row in rows),
        COLUMNS | MASK_COLUMNS,
        made_with.as_json(),
        out / TYPED,
    )


def read_made_with(folder: Path) -> Provenance | None:
    """Return what the answers in the folder of a job were made with, by its Parquet table.

    None where there is no such table, or none that says it.
    """
    import pyarrow as pa  # so that who does not ask need not wait for it
    from pyarrow import parquet

    columns = ("model", "engine", "pleura", *THRESHOLDS)
    try:
        with open_regular(folder / TYPED, DataError) as file:
            table = next(parquet.ParquetFile(file).iter_batches(1, columns=columns))
        model, engine, pleura, *thresholds = (table[name][0].as_py() for name in columns)
        return Provenance(str(model), str(engine), OperatingPoint(*thresholds), str(pleura))
    except (InputError, OSError, StopIteration, KeyError, pa.ArrowException):
        return None


def answers_in(source: Path) -> Path | None:
    """Return the ``predictions.csv`` of a job of pleura, by its folder or itself; None if none."""
    answers = source / ANSWERS if is_folder(source) else source
    own = answers.name == ANSWERS and is_file(answers.with_name(SUBMISSION))
    return answers if own else None


def read_answered_masks(answers: Path) -> Annotations:
    """Return the masks of a job of pleura, with their sizes where its Parquet table is there.

    Args:
        answers: Its ``predictions.csv``.

    Raises:
        AnnotationError: Its ``submission.csv`` cannot be read as a whole.
    """
    from pleura.formats.masks import read_masks  # which decodes: whoever predicts does not

    masks = read_masks(answers.with_name(SUBMISSION))
    return replace(masks, sizes=_read_sizes(answers.parent, masks))


def _read_sizes(folder: Path, masks: Annotations) -> dict[str, tuple[int, int]]:
    import pyarrow as pa  # as above
    from pyarrow import parquet

    columns = ("image_id", "rows", "columns")
    try:
        with open_regular(folder / TYPED, DataError) as file:
            table = parquet.read_table(file, columns=list(columns))
        cells = zip(*(table[name].to_pylist() for name in columns), strict=True)
    except (InputError, OSError, KeyError, pa.ArrowException):
        return {}
    return {name: (rows, wide) for name, rows, wide in cells if rows and name in masks.masks}


def _write_csv(rows: Iterable[Row], path: Path, made_with: Provenance) -> None:
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        file.write(csv_line([*COLUMNS, *THRESHOLDS]))
        file.writelines(csv_line([*_cells(row), *made_with.thresholds]) for row in rows)


def _cells(row: Row) -> list[str | int | None]:
    """Return the cells of a row, in the order of :data:`COLUMNS`."""
    return [
        row.image_id,
        row.path,
        row.called or "",
        _shown(row.score, 6),
        row.area_px,
        _shown(row.seconds, 4),
        row.error,
        _shown(row.guard, 6),
        row.flags,
        row.notes,
    ]


def _shown(number: float | None, digits: int) -> str:
    return "" if number is None else f"{number:.{digits}f}"
