"""A made-up job for the tests of its page: radiographs with maps, and their answers."""

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np

from pleura.data.prepare import Frame
from pleura.dicom.radiograph import open_radiograph
from pleura.inference.job_store import NAME
from pleura.inference.prediction import Prediction, finish
from pleura.inference.row import Row
from pleura.inference.worklist import Worklist
from pleura.models.bundle import OperatingPoint
from tests.dicom_files import make_dicom

POINT = OperatingPoint(score=0.4137, mask=0.345, min_area=0.004)
SIZE = 48
SHAPES = [(96, 96), (60, 96), (96, 60), (40, 40)]


@dataclass(frozen=True)
class Job:
    """A finished job: its folder, answers and predictions by image id."""

    out: Path
    answers: list[Row]
    predictions: dict[str, Prediction]
    writer: Worklist


def radiograph(number: int) -> np.ndarray:
    """Return a smooth radiograph of one of several shapes."""
    rng = np.random.default_rng(number)
    rows, columns = SHAPES[number % len(SHAPES)]
    rough = rng.integers(0, 256, (6, 6)).astype(np.uint8)
    return np.asarray(cv2.resize(rough, (columns, rows), interpolation=cv2.INTER_CUBIC))


def prepared_map(number: int) -> np.ndarray:
    """Return a map with some hills, the higher the number the higher and wider."""
    rng = np.random.default_rng(100 + number)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    hills = np.zeros((SIZE, SIZE))
    for _ in range(2):
        y, x = rng.uniform(14, SIZE - 14, 2)
        hills += np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (4 + 4 * number))
    noise = rng.uniform(0, 0.02, (SIZE, SIZE))
    return (hills / hills.max() * min(0.99, 0.2 + 0.08 * number) + noise).clip(0, 1).astype("f4")


def predicted(number: int, image_id: str, *flags: str) -> Prediction:
    """Return what a network might have said of radiograph `number`; flagged, it is not assessed."""
    rows, columns = radiograph(number).shape
    score = float(np.random.default_rng(200 + number).uniform())
    frame = Frame(rows, columns, SIZE)
    return finish(image_id, prepared_map(number), score, frame, POINT, 0.01, flags=flags)


PATIENT = {
    "PatientName": "Doe^Jane",
    "PatientID": "4711",
    "PatientAge": "071Y",
    "PatientSex": "F",
    "ViewPosition": "AP",
    "StudyDate": "20190704",
}


def job(
    folder: Path,
    images: int = 12,
    hostile: str = "",
    not_assessed: Mapping[int, tuple[str, ...]] = MappingProxyType({}),
) -> Job:
    """Write a job of so many radiographs.

    One is flagged and answered all the same, and one more failed; `hostile` is in texts, and the
    flags of what is not assessed stand by its number.
    """
    out = folder / "out"
    writer = Worklist(f"model.h5{hostile}", "a1b2c3d4" * 8, POINT)
    answers, predictions = [], {}
    for number in range(images):
        image_id = f"1.2.826.0.1.{number:04d}{hostile}"
        path = folder / f"DOE-{number}" / "radiograph.dcm"
        path.parent.mkdir()
        path.write_bytes(make_dicom(radiograph(number), **PATIENT))
        predictions[image_id] = predicted(number, image_id, *not_assessed.get(number, ()))
        wrote = writer.write(open_radiograph(path), predictions[image_id], out)
        answers.append(Row.of(str(path), predictions[image_id], areas=wrote.areas))
    if images > 2:
        flags = {"flags": f"inverted;lateral{hostile}", "notes": f"odd preamble{hostile}"}
        answers[2] = replace(answers[2], **flags)
    torn = folder / "DOE-x" / "torn.dcm"
    answers.append(Row(str(torn), error=f"{torn}: is not DICOM; export it again{hostile}"))
    writer.finish(answers, out)
    return Job(out, answers, predictions, writer)


def kept_in(out: Path, place: Path, name: str = NAME) -> list[str]:
    """Return the texts that a store holds as it lies on disk, whoever has it open."""
    copy = place / f"copy-{time.monotonic_ns()}"
    copy.mkdir()
    for path in out.glob(f"{name}*"):
        shutil.copy(path, copy / path.name)
    try:
        with contextlib.closing(sqlite3.connect(copy / name)) as store:
            return [text for (text,) in store.execute("SELECT text FROM kept ORDER BY number")]
    except sqlite3.Error:  # it was copied while it was being written
        return []
    finally:
        shutil.rmtree(copy)
