"""Evaluation as a stage: a model against images that did not train it, and pages that show it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pleura import config
from pleura.data.arrays import Prepared
from pleura.data.gallery import overlay
from pleura.data.prepare import Frame, prepare_mask, prepare_pixels
from pleura.data.records import ImageRecord, image_keys
from pleura.errors import DataError
from pleura.evaluation.report import Case, Report, choose_cases, write_report
from pleura.evaluation.scores import Evaluation, Outcome, outcome, summarise
from pleura.formats.annotations import read_annotations
from pleura.formats.dicom import read_radiograph
from pleura.formats.rle import rle2mask
from pleura.inference.engine import Engine, TorchEngine
from pleura.inference.folder import Answer
from pleura.inference.prediction import Prediction, finish
from pleura.models.bundle import Bundle, OperatingPoint
from pleura.models.zoo import count_parameters
from pleura.training.curves import curves_svg

OnProgress = Callable[[int, int], None]

BATCH = 8
"""Images that go through the network together."""

TILE = 384
"""Side of a picture in a report, in pixels."""

CASES = 24
"""Pictures in a report."""


class Judged(NamedTuple):
    """What a network says of a prepared image, and the truth, both over the prepared square."""

    probability: NDArray[np.float32]
    score: float
    truth: NDArray[np.bool_]


def judged(engine: Engine, prepared: Prepared, rows: NDArray[np.int64]) -> Iterator[Judged]:
    """Yield what `engine` says of `rows` of ``X_train``, beside the truth, in order."""
    for start in range(0, len(rows), BATCH):
        piece = rows[start : start + BATCH]
        found = engine.probabilities(np.asarray(prepared.x_train[piece]))
        for one, score, truth in zip(
            found.maps, found.scores, prepared.y_train[piece], strict=True
        ):
            yield Judged(one, float(score), truth)


@dataclass(frozen=True, slots=True)
class Validation:
    """What an evaluation on a prepared folder gives.

    Attributes:
        evaluation: The figures.
        outcomes: One per image.
        rows: The rows of ``X_train`` that were scored.
        notes: What a reader must know to believe the figures.
    """

    evaluation: Evaluation
    outcomes: tuple[Outcome, ...]
    rows: tuple[int, ...]
    notes: tuple[str, ...]


def evaluate_model(
    bundle: Bundle,
    prepared: Prepared,
    *,
    engine: Engine | None = None,
    on_progress: OnProgress | None = None,
) -> Validation:
    """Score a model on the labelled images of a prepared folder that did not train it.

    On the folder that the model was trained on this is its validation part. Masks are compared at
    the files' own size.

    Raises:
        DataError: The folder has another size than the model, or every image trained the model.
    """
    size = bundle.preprocessing.size
    if size != prepared.size:
        raise DataError(
            f"{prepared.path}: is prepared at {prepared.size} pixels, the model wants {size}; "
            f"prepare it again with --size {size}"
        )
    trained = np.isin(image_keys(prepared.train), bundle.trained_on)
    rows = np.flatnonzero(~trained)
    if not rows.size:
        raise DataError(
            f"{prepared.path}: all of its {len(prepared.train)} labelled images trained the model; "
            "evaluate on others"
        )
    engine = engine or TorchEngine(bundle)
    outcomes = []
    for row, said in zip(rows, judged(engine, prepared, rows), strict=True):
        point = bundle.operating_point
        outcomes.append(outcome_of(prepared.train[row], said, size, point))
        if on_progress is not None:
            on_progress(len(outcomes), len(rows))
    notes = []
    if trained.any():  # then the others are, or hold, the model's own validation part
        notes.append(
            "The best epoch and the operating point were chosen on these images, so the figures "
            "are a little too good; figures on images that chose nothing are the honest ones."
        )
    if trained.any() and any(prepared.train[row].patient is None for row in rows):
        notes.append(
            "Some patients are unknown: images of one patient may be on both sides of the split."
        )
    return Validation(
        summarise(outcomes), tuple(outcomes), tuple(int(row) for row in rows), tuple(notes)
    )


def score_answers(
    answers: Sequence[Answer],
    truth_path: Path,
    form: config.RleForm = "relative",
    leave_out: Collection[str] = (),
) -> list[Outcome]:
    """Return an outcome for each answer whose image the table at `truth_path` describes.

    Args:
        answers: What prediction gave.
        truth_path: The annotation table of these images.
        form: How it writes run lengths.
        leave_out: Ids that do not count, because they trained the model.

    Raises:
        AnnotationError: The table cannot be read as a whole.
        RleError: One of its masks leaves its image.
        DataError: It describes none of the images that count.
    """
    table = read_annotations(truth_path, form=form)
    outcomes = []
    for answer in answers:
        if answer.rle is None or answer.rows is None or answer.columns is None:
            continue
        if answer.image_id not in table.masks or answer.image_id in leave_out:
            continue
        shape = (answer.rows, answer.columns)
        truth = table.mask(answer.image_id, shape)
        mask = rle2mask(answer.rle, shape)
        outcomes.append(outcome(answer.image_id, answer.score or 0.0, mask, truth))
    if not outcomes:
        raise DataError(
            f"{truth_path}: describes none of the {len(answers)} answered images, those that are "
            "also training images left out"
        )
    return outcomes


def write_validation_report(
    bundle: Bundle, prepared: Prepared, validation: Validation, path: Path
) -> None:
    """Write the HTML page for an evaluation on a prepared folder.

    Raises:
        OutputError: The page could not be written.
    """
    by_id = {prepared.train[row].image_id: row for row in validation.rows}
    outcomes = {item.image_id: item for item in validation.outcomes}
    chosen = choose_cases(validation.outcomes, CASES)
    rows = np.array([by_id[image_id] for image_id in chosen], np.int64)
    cases = []
    engine = TorchEngine(bundle)
    for row, said in zip(rows, judged(engine, prepared, rows), strict=True):
        record = prepared.train[row]
        mask = _predicted(record, said, prepared.size, bundle.operating_point).mask
        picture = _tile(Path(record.path), mask, _truth(record))
        cases.append(Case(outcomes[record.image_id], picture))
    facts = {**_facts(bundle), "Scored on": f"validation part of {prepared.path}"}
    report = Report(
        title="pleura: validation",
        evaluation=validation.evaluation,
        outcomes=validation.outcomes,
        cases=cases,
        curves_svg=curves_svg(bundle.history),
        facts=facts,
        notes=validation.notes,
    )
    write_report(report, path)


def write_test_report(
    bundle: Bundle,
    answers: Sequence[Answer],
    outcomes: Sequence[Outcome],
    truth_path: Path,
    path: Path,
    form: config.RleForm = "relative",
) -> Evaluation:
    """Write the HTML page for scored answers; return the figures.

    Raises:
        OutputError: The page could not be written.
    """
    evaluation = summarise(outcomes)
    table = read_annotations(truth_path, form=form)
    by_id = {item.image_id: item for item in outcomes}
    by_answer = {answer.image_id: answer for answer in answers}
    cases = []
    for image_id in choose_cases(outcomes, CASES):
        answer = by_answer[image_id]
        shape = (answer.rows or 0, answer.columns or 0)
        mask = rle2mask(answer.rle or "-1", shape)
        truth = table.mask(image_id, shape)
        cases.append(Case(by_id[image_id], _tile(Path(answer.path), mask, truth)))
    report = Report(
        title="pleura: test images",
        evaluation=evaluation,
        outcomes=outcomes,
        cases=cases,
        curves_svg=curves_svg(bundle.history),
        facts={**_facts(bundle), "Scored on": f"the test images described by {truth_path}"},
        notes=("Neither the network nor its operating point saw these images before.",),
    )
    write_report(report, path)
    return evaluation


def outcome_of(record: ImageRecord, said: Judged, size: int, point: OperatingPoint) -> Outcome:
    """Return how an answer at an operating point fares against the truth, at the file's own size.

    Args:
        record: The image.
        said: What the network says of it, over the prepared square.
        size: Side of that square in pixels.
        point: The thresholds.
    """
    answer = _predicted(record, said, size, point)
    return outcome(record.image_id, answer.score, answer.mask, _truth(record), record.patient)


def _predicted(record: ImageRecord, said: Judged, size: int, point: OperatingPoint) -> Prediction:
    frame = Frame(record.rows, record.columns, size)
    return finish(record.image_id, said.probability, said.score, frame, point)


def _truth(record: ImageRecord) -> NDArray[np.bool_]:
    return rle2mask(record.encoded_pixels or "-1", (record.rows, record.columns))


def _tile(path: Path, mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a small picture of the file with the answer and the truth laid over."""
    pixels = prepare_pixels(read_radiograph(path).pixels, TILE)
    return overlay(pixels, prepare_mask(mask, TILE), truth=prepare_mask(truth, TILE))


def _facts(bundle: Bundle) -> dict[str, str]:
    network, point, training = bundle.network, bundle.operating_point, bundle.training
    return {
        "Network": f"{network.name}, width {network.width}, depth {network.depth}",
        "Parameters": f"{count_parameters(network):,}",
        "Input": f"{bundle.preprocessing.size} x {bundle.preprocessing.size} pixels",
        "Trained on": f"{training.get('images')} radiographs, "
        f"{len(bundle.history.get('epoch', []))} epochs, loss {training.get('train.loss')}",
        "Operating point": f"score at least {point.score:.3f}, mask where the probability exceeds "
        f"{point.mask:.2f}",
        "Model digest": bundle.digest[:16],
        "Versions": ", ".join(f"{name} {number}" for name, number in bundle.versions.items()),
    }
