"""Evaluation as a stage: a model against images that did not train it, and pages that show it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura import config
from pleura.data.arrays import Prepared
from pleura.data.prepare import Frame, prepare_mask, prepare_pixels
from pleura.data.records import ImageRecord, image_keys
from pleura.errors import DataError
from pleura.evaluation.comparison import Comparison, compare
from pleura.evaluation.predictions import Judged
from pleura.evaluation.report import (
    Case,
    Report,
    choose_cases,
    choose_failures,
    write_report,
)
from pleura.evaluation.scores import Evaluation, Outcome, Traits, outcome, summarise
from pleura.formats.annotations import read_annotations
from pleura.formats.dicom import read_radiograph
from pleura.formats.overlay import overlay
from pleura.formats.rle import rle2mask
from pleura.inference.answer import Answer
from pleura.inference.engine import Engine
from pleura.inference.prediction import Prediction, finish
from pleura.inference.torch_engine import TorchEngine
from pleura.models.bundle import Bundle, Calibration
from pleura.models.zoo import count_parameters
from pleura.training.curves import curves_svg

OnProgress = Callable[[int, int], None]

BATCH = 8
"""Images that go through the network together."""

CHOSEN_HERE: dict[config.Kept, str] = {
    "best": "The best epoch, the operating points and the calibration were chosen on these images, "
    "so the figures are a little too good; figures on images that chose nothing are the honest "
    "ones.",
    "last": "The operating points and the calibration were chosen on these images, so the figures "
    "that depend on them are a little too good; AUROC does not.",
}
"""What a model's figures on its own validation part must say, by the epoch that was kept."""

TILE = 384
"""Side of a picture in a report, in pixels."""

CASES = 12
"""Pictures of answers in a report, from the best to the worst."""

FAILURES = 16
"""Pictures of misses and false alarms in a report."""


def judged(engine: Engine, prepared: Prepared, rows: NDArray[np.int64]) -> Iterator[Judged]:
    """Yield what `engine` says of `rows` of ``X_train``, beside the truth, in order."""
    for start in range(0, len(rows), BATCH):
        piece = rows[start : start + BATCH]
        found = engine.probabilities(np.asarray(prepared.x_train[piece]))
        for row, one, score in zip(piece, found.maps, found.scores, strict=True):
            yield beside_truth(prepared, row, one, float(score))


def beside_truth(
    prepared: Prepared, row: int, probability: NDArray[np.float32], score: float
) -> Judged:
    """Return what a network says of a row of ``X_train``, beside the truth."""
    record = prepared.train[row]
    inside = min(record.rows, record.columns) / max(record.rows, record.columns)
    return Judged(probability, score, prepared.y_train[row], inside)


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
    leave_out: NDArray[np.uint64] | None = None,
    on_progress: OnProgress | None = None,
) -> Validation:
    """Score a model on the labelled images of a prepared folder that did not train it.

    On the folder that the model was trained on this is its validation part. Masks are compared at
    the files' own size.

    Args:
        bundle: The model.
        prepared: The folder.
        engine: What runs the network; torch on the CPU by default.
        leave_out: Pictures that do not count either, as in :attr:`Bundle.trained_on`: those that
            trained another model, which is held against this one.
        on_progress: Told (images done, images in all).

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
    rows = unseen_rows(bundle, prepared)
    if leave_out is not None:
        rows = rows[~np.isin(image_keys(prepared.train)[rows], leave_out)]
    if not rows.size:
        who = "the model" if leave_out is None else "the model or the other one"
        raise DataError(
            f"{prepared.path}: all of its {len(prepared.train)} labelled images trained {who}; "
            "evaluate on others"
        )
    engine = engine or TorchEngine(bundle)
    outcomes = []
    for row, said in zip(rows, judged(engine, prepared, rows), strict=True):
        outcomes.append(outcome_of(prepared.train[row], said, bundle))
        if on_progress is not None:
            on_progress(len(outcomes), len(rows))
    notes = []
    if trained.any():  # then the others are, or hold, the model's own validation part
        last = bundle.training.get("train.keep") == "last"
        notes.append(CHOSEN_HERE["last" if last else "best"])
    if trained.any() and any(prepared.train[row].patient is None for row in rows):
        notes.append(
            "Some patients are unknown: images of one patient may be on both sides of the split."
        )
    return Validation(
        summarise(outcomes, bundle.points),
        tuple(outcomes),
        tuple(int(row) for row in rows),
        tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class Versus:
    """Two models on the images that trained neither of them.

    Attributes:
        ours: What the one gives.
        theirs: What the other gives.
        comparison: The first less the second.
    """

    ours: Validation
    theirs: Validation
    comparison: Comparison


def compare_models(
    bundle: Bundle,
    other: Bundle,
    prepared: Prepared,
    *,
    device: str = "cpu",
    on_progress: OnProgress | None = None,
) -> Versus:
    """Score two models on the labelled images of a prepared folder that trained neither.

    Raises:
        DataError: The folder has another size than a model, or every image trained one of them.
        UsageError: The device is not there.
    """

    def told(done: int, total: int, before: int) -> None:
        if on_progress is not None:
            on_progress(done + before * total, 2 * total)

    both = ((bundle, other), (other, bundle))
    ours, theirs = (
        evaluate_model(
            one,
            prepared,
            engine=TorchEngine(one, device),
            leave_out=against.trained_on,
            on_progress=partial(told, before=before),
        )
        for before, (one, against) in enumerate(both)
    )
    return Versus(ours, theirs, compare(ours.outcomes, theirs.outcomes))


def unseen_rows(bundle: Bundle, prepared: Prepared) -> NDArray[np.int64]:
    """Return the rows of ``X_train`` whose images did not train the model."""
    return np.flatnonzero(~np.isin(image_keys(prepared.train), bundle.trained_on))


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
    bundle: Bundle,
    prepared: Prepared,
    validation: Validation,
    path: Path,
    comparison: Comparison | None = None,
) -> None:
    """Write the HTML page for an evaluation on a prepared folder, with a comparison if given.

    Raises:
        OutputError: The page could not be written.
    """
    by_id = {prepared.train[row].image_id: row for row in validation.rows}
    outcomes = {item.image_id: item for item in validation.outcomes}
    engine = TorchEngine(bundle)

    def drawn(chosen: Sequence[str]) -> list[Case]:
        rows = np.array([by_id[image_id] for image_id in chosen], np.int64)
        cases = []
        for row, said in zip(rows, judged(engine, prepared, rows), strict=True):
            record = prepared.train[row]
            mask = _predicted(record, said, bundle).mask
            picture = _tile(Path(record.path), mask, _truth(record))
            cases.append(Case(outcomes[record.image_id], picture))
        return cases

    facts = {**_facts(bundle), "Scored on": f"validation part of {prepared.path}"}
    report = Report(
        title="pleura: validation",
        evaluation=validation.evaluation,
        outcomes=validation.outcomes,
        cases=drawn(choose_cases(validation.outcomes, CASES)),
        failures=drawn(choose_failures(validation.outcomes, FAILURES)),
        curves_svg=curves_svg(bundle.history),
        facts=facts,
        notes=validation.notes,
        comparison=comparison,
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
    evaluation = summarise(outcomes, bundle.points)
    table = read_annotations(truth_path, form=form)
    by_id = {item.image_id: item for item in outcomes}
    by_answer = {answer.image_id: answer for answer in answers}

    def drawn(image_id: str) -> Case:
        answer = by_answer[image_id]
        shape = (answer.rows or 0, answer.columns or 0)
        mask = rle2mask(answer.rle or "-1", shape)
        truth = table.mask(image_id, shape)
        return Case(by_id[image_id], _tile(Path(answer.path), mask, truth))

    report = Report(
        title="pleura: test images",
        evaluation=evaluation,
        outcomes=outcomes,
        cases=[drawn(image_id) for image_id in choose_cases(outcomes, CASES)],
        failures=[drawn(image_id) for image_id in choose_failures(outcomes, FAILURES)],
        curves_svg=curves_svg(bundle.history),
        facts={**_facts(bundle), "Scored on": f"the test images described by {truth_path}"},
        notes=("Neither the network nor its operating point saw these images before.",),
    )
    write_report(report, path)
    return evaluation


def outcome_of(record: ImageRecord, said: Judged, bundle: Bundle) -> Outcome:
    """Return how an answer fares against the truth, at the file's own size.

    Args:
        record: The image.
        said: What the network says of it, over the prepared square.
        bundle: Its calibration, thresholds and size count.
    """
    answer = _predicted(record, said, bundle)
    traits = Traits(record.sex, record.age_years, record.view)
    truth = _truth(record)
    return outcome(record.image_id, answer.score, answer.mask, truth, record.patient, traits)


def _predicted(record: ImageRecord, said: Judged, bundle: Bundle) -> Prediction:
    frame = Frame(record.rows, record.columns, bundle.preprocessing.size)
    return finish(
        record.image_id,
        said.probability,
        said.score,
        frame,
        bundle.operating_point,
        calibration=bundle.calibration,
    )


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
        f"{point.mask:.2f}, smallest area {100 * point.min_area:.3g} % of the image",
        "Calibration": _calibration(bundle.calibration),
        "Model digest": bundle.digest[:16],
        "Versions": ", ".join(f"{name} {number}" for name, number in bundle.versions.items()),
    }


def _calibration(calibration: Calibration) -> str:
    if calibration.method == "platt":
        return (
            f"Platt, slope {calibration.slope:.3f} and intercept {calibration.intercept:.3f} "
            "on the logit of the score"
        )
    if calibration.method == "isotonic":
        return f"isotonic, {len(calibration.scores)} knots"
    return "none: the score is the network's own"
