"""The tables of a job, written row by row: memory does not grow with them.

::

    submission.csv        ImageId,EncodedPixels: one row per answered image, in the inputs' order
    predictions.csv       one row per input, with its error where there is one
    predictions.parquet   the same, typed, with what it was made with
"""

import csv
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pleura.data.isolation import python_command
from pleura.errors import OutputError
from pleura.formats.annotations import write_submission
from pleura.formats.atomic import atomic_path
from pleura.inference.answer import Answer
from pleura.models.bundle import OperatingPoint

COLUMNS = {
    "image_id": "text",
    "path": "text",
    "score": "number",
    "area_px": "count",
    "seconds": "number",
    "error": "text",
    "guard": "number",
    "flags": "text",
    "notes": "text",
}
"""The columns of predictions.csv, and what :mod:`pleura.inference.parquet` makes of each."""


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
            "score_threshold": self.point.score,
            "mask_threshold": self.point.mask,
            "min_area": self.point.min_area,
        }


class ParquetWriter:
    """Another process, which makes predictions.parquet of predictions.csv; for one job's end.

    It imports while the job runs, so that a small job need not wait for it. Use it in a ``with``
    block.

    Raises:
        OutputError: The process could not be started.
    """

    def __init__(self) -> None:
        command = python_command(
            "from pleura.inference.parquet import convert_when_told; convert_when_told(sys.stdin)"
        )
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            raise OutputError(
                f"predictions.parquet: the process that writes it could not be started ({error})"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def write(self, table: Path, path: Path, made_with: Provenance) -> None:
        """Write the table at `path`; to be called once.

        Raises:
            OutputError: It could not be written.
        """
        with atomic_path(path) as partial:
            order = {
                "table": str(table),
                "path": str(partial),
                "columns": COLUMNS,
                "made_with": made_with.as_json(),
            }
            _, said = self._process.communicate(json.dumps(order))
            status = self._process.returncode
            if status:
                why = (said.strip().splitlines() or [f"status {status}"])[-1]
                raise OutputError(
                    f"{path}: could not be written ({why}); free some space or memory"
                )


def write_tables(
    answers: Iterable[Answer], out: Path, made_with: Provenance, parquet: ParquetWriter
) -> None:
    """Write the three tables into `out`.

    Args:
        answers: In the order of the inputs; iterated over twice.
        out: The job's folder.
        made_with: For the columns of the Parquet table.
        parquet: What writes that one.

    Raises:
        OutputError: One could not be written.
    """
    write_submission(
        out / "submission.csv",
        ((answer.image_id, answer.rle) for answer in answers if answer.rle is not None),
    )
    _write_csv(answers, out / "predictions.csv")
    parquet.write(out / "predictions.csv", out / "predictions.parquet", made_with)


def _write_csv(answers: Iterable[Answer], path: Path) -> None:
    # Bytes of a file name that are not UTF-8 are written with a backslash.
    with (
        atomic_path(path) as partial,
        partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for answer in answers:
            writer.writerow(
                [
                    answer.image_id,
                    answer.path,
                    _shown(answer.score, 6),
                    "" if answer.area_px is None else answer.area_px,
                    _shown(answer.seconds, 4),
                    answer.error,
                    _shown(answer.guard, 6),
                    answer.flags,
                    answer.notes,
                ]
            )


def _shown(number: float | None, digits: int) -> str:
    return "" if number is None else f"{number:.{digits}f}"
