"""A made-up job for the tests of its page: films with maps of probabilities, and their answers."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from pleura.data.prepare import Frame
from pleura.inference.answer import Answer
from pleura.inference.prediction import Prediction, finish
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
    answers: list[Answer]
    predictions: dict[str, Prediction]
    writer: Worklist


def film(number: int) -> np.ndarray:
    """Return a smooth film of one of several shapes."""
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


def predicted(number: int, image_id: str) -> Prediction:
    """Return what a network might have said of film `number`."""
    rows, columns = film(number).shape
    score = float(np.random.default_rng(200 + number).uniform())
    return finish(image_id, prepared_map(number), score, Frame(rows, columns, SIZE), POINT, 0.01)


def answer_of(path: Path, prediction: Prediction) -> Answer:
    """Return what a job keeps of a prediction."""
    rows, columns = prediction.mask.shape
    return Answer(
        str(path),
        prediction.image_id,
        prediction.score,
        prediction.area_px,
        rows,
        columns,
        0.01,
        prediction.rle,
    )


def job(folder: Path, images: int = 12, hostile: str = "") -> Job:
    """Write a job of so many films, one flagged and one more that failed; `hostile` is in texts."""
    out = folder / "out"
    writer = Worklist(f"model.h5{hostile}", "a1b2c3d4" * 8, POINT)
    answers, predictions = [], {}
    for number in range(images):
        image_id = f"1.2.826.0.1.{number:04d}{hostile}"
        path = folder / f"DOE-{number}" / "film.dcm"
        path.parent.mkdir()
        path.write_bytes(make_dicom(film(number), PatientName="Doe^Jane", PatientID="4711"))
        predictions[image_id] = predicted(number, image_id)
        writer.write(path, image_id, predictions[image_id], out)
        answers.append(answer_of(path, predictions[image_id]))
    if images > 2:
        flags = {"flags": f"inverted;lateral{hostile}", "notes": f"odd preamble{hostile}"}
        answers[2] = replace(answers[2], **flags)
    torn = folder / "DOE-x" / "torn.dcm"
    answers.append(Answer(str(torn), error=f"{torn}: is not DICOM; export it again{hostile}"))
    writer.finish(answers, out)
    return Job(out, answers, predictions, writer)
