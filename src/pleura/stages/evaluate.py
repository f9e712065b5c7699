"""Evaluation as a stage: a model against images that did not train it, and the page of it."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pleura.data.arrays import Prepared
from pleura.data.prepare import prepare_mask
from pleura.data.records import ImageRecord, image_keys
from pleura.data.unchanged import Shown, read_shown
from pleura.engines.engine import Engine, Probabilities
from pleura.engines.torch_engine import TorchEngine
from pleura.errors import DataError, InputError
from pleura.evaluation.comparison import Comparison, compare
from pleura.evaluation.decision import Decision, deal, fit_nested
from pleura.evaluation.figures import Evaluation
from pleura.evaluation.mix import Mix
from pleura.evaluation.outcomes import Outcome, Traits, outcome
from pleura.evaluation.predictions import Predictions, count_image, joined
from pleura.evaluation.ranking import ranking_doubts
from pleura.evaluation.report import Report, choose_cases, choose_failures, write_report
from pleura.evaluation.scores import summarise
from pleura.formats.rle import rle2mask
from pleura.inference.prediction import Prediction, finish
from pleura.models.bundle import Bundle
from pleura.models.zoo import count_parameters
from pleura.processes.progress import OnProgress, untold
from pleura.rendering.notice import notice, why
from pleura.rendering.overlay import overlay
from pleura.training.curves import curves_svg

BATCH = 8
"""Images that go through the network together."""

EPOCH_CHOSEN = (
    "The best epoch was chosen on these images, so the figures are a little too good; train with "
    "train.keep=last for figures that nothing was chosen on."
)
NESTED = (
    "The model's calibration and operating points were chosen on these images. Here each part of "
    "the patients is judged by what the other parts choose, so no figure rests on its own choice."
)
NOT_NESTED = (
    "The operating points and the calibration were chosen on these images, which are of one "
    "patient, so the figures that depend on them are too good; AUROC does not."
)
"""What a model's figures on its own validation part must say."""

TILE = 384
"""Side of a picture in a report, in pixels."""

CASES = 12
"""Pictures of answers in a report, from the best to the worst."""

FAILURES = 16
"""Pictures of misses and false alarms in a report."""

Made = TypeVar("Made")

Make = Callable[[Bundle, Prepared, int, Probabilities, Any], Made]
"""Makes something small of a model, a row of a folder, what the model says of it, and a hint."""


class Ask(Protocol):
    """Asks a model of rows of ``X_train``, in order, and makes something small of each answer."""

    def __call__(
        self, prepared: Prepared, rows: NDArray[np.int64], make: Make[Made], hints: Sequence[Any]
    ) -> Iterator[Made]:
        """Yield what `make` makes of each of ``(n,)`` `rows`, with its one of n `hints`."""


Opens = Callable[[Bundle], AbstractContextManager[Ask]]
"""Opens a model to be asked, until the block ends."""


def asked_by(bundle: Bundle, engine: Engine) -> Ask:
    """Return what asks a model by an engine of this process."""

    def ask(
        prepared: Prepared, rows: NDArray[np.int64], make: Make[Made], hints: Sequence[Any]
    ) -> Iterator[Made]:
        said = said_of(engine, prepared, rows)
        for row, one, hint in zip(rows.tolist(), said, hints, strict=True):
            yield make(bundle, prepared, row, one, hint)

    return ask


def opened_here(device: str = "cpu") -> Opens:
    """Return what opens models in this process."""

    @contextlib.contextmanager
    def opened(bundle: Bundle) -> Iterator[Ask]:
        yield asked_by(bundle, TorchEngine(bundle, device))

    return opened


def said_of(engine: Engine, prepared: Prepared, rows: NDArray[np.int64]) -> Iterator[Probabilities]:
    """Yield what `engine` says of each of ``(n,)`` `rows` of ``X_train``, in order."""
    for start in range(0, len(rows), BATCH):
        piece = rows[start : start + BATCH]
        yield from engine.probabilities(np.asarray(prepared.x_train[piece])).each()


def counted_on(engine: Engine, prepared: Prepared, rows: NDArray[np.int64]) -> Predictions:
    """Return what `engine` says of ``(n,)`` `rows` of ``X_train``, counted beside the truth."""
    said = said_of(engine, prepared, rows)
    return count_predictions(prepared, zip(rows, said, strict=True))


def count_predictions(prepared: Prepared, said: Iterable[tuple[int, Probabilities]]) -> Predictions:
    """Return what is said of rows of ``X_train``, counted beside the truth, in order."""
    return joined([_counted(prepared, row, one) for row, one in said])


def _counted(prepared: Prepared, row: int, said: Probabilities) -> Predictions:
    record = prepared.train[row]
    shown = record.frame(prepared.size).shown
    truth = prepared.mask(row) if record.mask_known else None
    return count_image(said, truth, min(shown) / max(shown), bool(record.positive))


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
    ask: Ask | None = None,
    leave_out: NDArray[np.uint64] | None = None,
    counted: Predictions | None = None,
    mixes: Sequence[Mix] = (),
    negatives: Mapping[str, str] = MappingProxyType({}),
    on_progress: OnProgress = untold,
) -> Validation:
    """Score a model on the labelled images of a prepared folder that did not train it.

    On the folder that the model was trained on, these images are its validation part, which chose
    its thresholds. There each part of the patients is judged by thresholds that the other parts
    choose. Masks are compared at the files' own size. Images with a label but no mask count in the
    figures that need no mask.

    Args:
        bundle: The model.
        prepared: The folder.
        engine: What runs the network; torch on the CPU by default.
        ask: What asks the model, where that is not `engine`.
        leave_out: ``(n,)`` uint64, as in :attr:`Bundle.trained_on`: pictures that do not count
            either, because they trained the model that this one is compared with.
        counted: What the network says of these very images, where it was counted before.
        mixes: Other sets to re-weigh the figures to.
        negatives: Image id -> what kind of negative it is, for parts of their own.
        on_progress: Told (images done, images in all).

    Raises:
        DataError: The folder has another size than the model, or every image trained the model.
    """
    prepared.require_size(bundle.preprocessing.size)
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
    ask = ask or asked_by(bundle, engine or TorchEngine(bundle))
    records = [prepared.train[row] for row in rows]
    own = trained.any()  # then the others are, or hold, the model's own validation part
    parts = deal([_patient(record) for record in records], _positive(records)) if own else None
    nested = None
    if parts is not None and parts.any():
        if counted is None:
            counted = joined(ask(prepared, rows, _count, [None] * len(rows)))
        kind = bundle.training.get("train.calibration", "platt")
        nested = fit_nested(counted, parts, kind)
    judges: Sequence[Decision | None] = [None] * len(rows)
    if nested is not None and parts is not None:
        judges = [nested[part] for part in parts.tolist()]
    hints = [
        (judge, negatives.get(r.image_id, "")) for judge, r in zip(judges, records, strict=True)
    ]
    outcomes, naive = [], []
    for plain, one in ask(prepared, rows, _judge, hints):
        naive.append(plain)
        outcomes.append(one)
        on_progress(len(outcomes), len(rows))
    evaluation = summarise(outcomes, bundle.points, mixes=mixes, naive=naive)
    ranked = [item.score if item.raw_score is None else item.raw_score for item in outcomes]
    notes = _notes(bundle, records, own=bool(own), nested=nested is not None)
    return Validation(
        evaluation,
        tuple(outcomes),
        tuple(int(row) for row in rows),
        (*notes, *ranking_doubts(evaluation.auroc, ranked)),
    )


def _count(
    bundle: Bundle, prepared: Prepared, row: int, said: Probabilities, hint: object
) -> Predictions:
    return _counted(prepared, row, said)


def _judge(
    bundle: Bundle,
    prepared: Prepared,
    row: int,
    said: Probabilities,
    hint: tuple[Decision | None, str],
) -> tuple[Outcome, Outcome]:
    """Return how an answer fares by the model's own thresholds, and by those of a hint."""
    record, (judge, negatives) = prepared.train[row], hint
    plain = outcome_of(record, said, bundle, negatives)
    if judge is None:
        return plain, plain
    chosen = judge.applied(bundle)
    return plain, outcome_of(record, said, chosen, negatives, chosen_elsewhere=True)


def is_own(notes: Sequence[str]) -> bool:
    """Return whether notes are of figures on the images that chose the model's thresholds."""
    return NESTED in notes or NOT_NESTED in notes


def _patient(record: ImageRecord) -> str:
    return record.patient or record.image_id


def _positive(records: Sequence[ImageRecord]) -> NDArray[np.bool_]:
    return np.array([bool(record.positive) for record in records])


def _notes(
    bundle: Bundle, records: Sequence[ImageRecord], *, own: bool, nested: bool
) -> tuple[str, ...]:
    """Return what a reader must know to believe figures on `records`."""
    if not own:
        return ()
    notes = [NESTED if nested else NOT_NESTED]
    if bundle.training.get("train.keep") != "last":
        notes.append(EPOCH_CHOSEN)
    if any(record.patient is None for record in records):
        notes.append(
            "Some patients are unknown: images of one patient may be on both sides of the split."
        )
    return tuple(notes)


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
    opened: Opens | None = None,
    mixes: Sequence[Mix] = (),
    negatives: Mapping[str, str] = MappingProxyType({}),
    margin: float | None = None,
    on_progress: OnProgress = untold,
) -> Versus:
    """Score two models on the labelled images of a prepared folder that trained neither.

    A `margin` is by how much the first may be worse, as :func:`compare` takes it. Each model is
    asked by what `opened` opens: torch on the CPU by default.

    Raises:
        DataError: The folder has another size than a model, or every image trained one of them.
        UsageError: The device is not there.
    """

    def told(done: int, total: int, before: int) -> None:
        on_progress(done + before * total, 2 * total)

    both, found = ((bundle, other), (other, bundle)), []
    for before, (one, against) in enumerate(both):
        with (opened or opened_here())(one) as ask:
            found.append(
                evaluate_model(
                    one,
                    prepared,
                    ask=ask,
                    leave_out=against.trained_on,
                    mixes=mixes,
                    negatives=negatives,
                    on_progress=partial(told, before=before),
                )
            )
    ours, theirs = found
    return Versus(ours, theirs, compare(ours.outcomes, theirs.outcomes, margin=margin))


def unseen_rows(bundle: Bundle, prepared: Prepared) -> NDArray[np.int64]:
    """Return the rows ``(n,)`` of ``X_train`` whose images did not train the model.

    Raises:
        DataError: The folder holds what a teacher says in place of a truth.
    """
    if prepared.soft:
        raise DataError(
            f"{prepared.path}: its masks are what a model said, so nothing can be judged by them; "
            "evaluate on the folder that they were made of"
        )
    return np.flatnonzero(~np.isin(image_keys(prepared.train), bundle.trained_on))


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
    engine = TorchEngine(bundle)

    def drawn(chosen: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
        rows = np.array([by_id[image_id] for image_id in chosen], np.int64)
        pictures = {}
        for row, said in zip(rows, said_of(engine, prepared, rows), strict=True):
            record = prepared.train[row]
            mask = _predicted(record, said, bundle).mask
            pictures[record.image_id] = _record_tile(record, mask)
        return pictures

    facts = {**facts_of(bundle), "Scored on": f"validation part of {prepared.path}"}
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


def outcome_of(
    record: ImageRecord,
    said: Probabilities,
    bundle: Bundle,
    negatives: str = "",
    *,
    chosen_elsewhere: bool = False,
) -> Outcome:
    """Return how an answer fares against the truth, at the file's own size.

    Args:
        record: The image.
        said: What the network says of it alone, over the prepared square.
        bundle: Its calibration, thresholds and size count.
        negatives: What kind of negative it is, if it is one.
        chosen_elsewhere: Whether other images chose the thresholds of `bundle`, so that they are
            not the reported model's own. Then the outcome keeps which of them it reaches.
    """
    answer = _predicted(record, said, bundle)
    found = outcome(
        record.image_id,
        answer.score,
        answer.mask,
        _truth(record) if record.mask_known else None,
        record.patient,
        Traits(record.sex, record.age_years, record.view, negatives),
        raw_score=float(said.scores[0]),
        labelled_positive=bool(record.positive),
        spacing_mm=record.spacing_mm,
    )
    found = replace(found, threshold=bundle.operating_point.score)
    if not chosen_elsewhere:
        return found
    reached = (name for name, point in bundle.presets.items() if answer.score >= point.score)
    return replace(found, reached=frozenset(reached))


def _predicted(record: ImageRecord, said: Probabilities, bundle: Bundle) -> Prediction:
    frame = record.frame(bundle.preprocessing.size)
    return finish(
        record.image_id,
        said.maps[0],
        float(said.scores[0]),
        frame,
        bundle.operating_point,
        calibration=bundle.calibration,
    )


def _truth(record: ImageRecord) -> NDArray[np.bool_]:
    return rle2mask(record.encoded_pixels or "-1", (record.rows, record.columns))


def _record_tile(record: ImageRecord, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a small picture of an image with an answer; of what it showed when it was indexed."""
    try:
        shown = read_shown(record.path, TILE, pixels=record.pixel_hash)
    except InputError as error:
        return notice(why(error), TILE)
    return tile_of(shown, mask, _truth(record))


def tile_of(shown: Shown, mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a picture of a radiograph with answer and truth, ``(rows, columns)`` each, over it."""
    found, right = (prepare_mask(plane, TILE, shown.aspect) for plane in (mask, truth))
    return overlay(shown.pixels, found, truth=right)


def facts_of(bundle: Bundle) -> dict[str, str]:
    """Return what a page tells of a model, by name."""
    network, training = bundle.network, bundle.training
    return {
        "Network": f"{network.name}, width {network.width}, depth {network.depth}",
        "Parameters": f"{count_parameters(network):,}",
        "Input": f"{bundle.preprocessing.size} x {bundle.preprocessing.size} pixels",
        "Trained on": f"{training.get('images')} radiographs, "
        f"{len(bundle.history.get('epoch', []))} epochs, loss {training.get('train.loss')}",
        "Operating point": bundle.operating_point.in_words,
        "Score": bundle.calibration.in_words,
        "Model digest": bundle.digest[:16],
        "Versions": ", ".join(f"{name} {number}" for name, number in bundle.versions.items()),
    }
