"""All folds as a stage: a model for each, and what each says of the images it never saw.

::

    fold-0/model.h5, history.csv ...    a training each
    fold-0/out_of_fold.h5    maps and scores of the fold's images, by the network of the others
    out_of_fold.csv          one row per image: image_id, fold, score, called, dice ...
    evaluation.json          figures over all of them, with intervals by patient
    whole/model.h5           where it is asked for: a training on all images together

Calibration and thresholds of every model are chosen on all out-of-fold predictions together, so
none rests on images that trained the network it belongs to. The model of all images has the same,
and the same figures: they are of networks made as it was made, each without a part of the images.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pleura.config import Network, Train
from pleura.data.arrays import Prepared
from pleura.errors import BundleError
from pleura.evaluation.predictions import Judged
from pleura.evaluation.scores import Evaluation, Outcome, summarise
from pleura.formats.atomic import atomic_path, write_text
from pleura.inference.torch_engine import TorchEngine
from pleura.models import weights as stored
from pleura.models.bundle import Bundle, read_bundle, write_bundle
from pleura.models.card import write_card
from pleura.stages.evaluate import (
    CHOSEN_HERE,
    beside_truth,
    judged,
    outcome_of,
)
from pleura.stages.train import decide, described, is_trained, train_model, write_results
from pleura.training.loop import OnStep, Trainer, everything

NAME = "out_of_fold.h5"
_MAX_BYTES = 64 * 2**30


@dataclass(frozen=True, slots=True)
class Held:
    """What a network says of the images of one fold, which it never saw.

    Attributes:
        rows: ``(n,)`` int64: rows of ``X_train``.
        maps: ``(n, S, S)`` uint8: probabilities in steps of 1/255.
        scores: ``(n,)`` float32 in 0..1.
    """

    rows: NDArray[np.int64]
    maps: NDArray[np.uint8]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Folds:
    """What a training of all folds gives.

    Attributes:
        models: A ``model.h5`` per fold, all with the same calibration and thresholds.
        evaluation: The figures over all images, each judged by the network that never saw it.
        whole: The ``model.h5`` of all images, where it was asked for.
    """

    models: tuple[Path, ...]
    evaluation: Evaluation
    whole: Path | None = None


def train_folds(
    prepared: Prepared,
    out: Path,
    network: Network,
    settings: Train,
    *,
    refit: bool = False,
    resume: bool = False,
    on_fold: Callable[[int], OnStep | None] | None = None,
) -> Folds | None:
    """Train a network for each fold, keep what it says of the others, choose the thresholds there.

    What is finished is not done twice, where `resume` is set.

    Args:
        prepared: The data.
        out: Folder for all of it.
        network: Name and settings.
        settings: How to train; ``folds`` says how many there are, ``fold`` is passed over.
        refit: Train a network on all images too; `settings.keep` must be ``last``.
        resume: Go on with a training that was cut off.
        on_fold: Told the number of each fold as it begins, and the number of folds as the training
            on all images does; returns what listens to its steps.

    Returns:
        What was found; None in a process that is not the main one of several.

    Raises:
        UsageError, BundleError, OutputError: As :func:`pleura.stages.train.train_model` says.
    """
    if refit:
        everything(prepared, settings)  # raises before hours of work, not after
    held: list[Held] = []
    for fold in range(settings.folds):
        trainer = Trainer(prepared, _folder(out, fold), network, replace(settings, fold=fold))
        told = on_fold(fold) if on_fold is not None else None
        bundle = train_model(trainer, resume=resume, on_step=told)
        if trainer.accelerator.is_main_process:
            held.append(_held(bundle, trainer))
        trainer.accelerator.wait_for_everyone()
    whole = None
    if refit:
        whole = Trainer(prepared, out / "whole", network, settings, whole=True)
        if not (resume and is_trained(whole)):
            told = on_fold(settings.folds) if on_fold is not None else None
            whole.run(resume=resume, on_step=told)
    return _concluded(prepared, out, held, settings, whole) if held else None


def _folder(out: Path, fold: int) -> Path:
    return out / f"fold-{fold}"


def _held(bundle: Bundle, trainer: Trainer) -> Held:
    """Return what the fold's network says of the fold, from its file where it is there."""
    path, rows = trainer.out / NAME, trainer.split.validation
    if path.exists():
        return _read(path)
    said = list(judged(TorchEngine(bundle), trainer.prepared, rows))
    found = Held(
        rows,
        np.stack([np.rint(255 * one.probability).astype(np.uint8) for one in said]),
        np.array([one.score for one in said], np.float32),
    )
    with atomic_path(path) as partial, h5py.File(partial, "w") as file:
        stored.write_arrays(file, asdict(found))
    return found


def _read(path: Path) -> Held:
    try:
        with h5py.File(path, "r") as file:
            arrays = stored.read_arrays(file, _MAX_BYTES)
            return Held(
                arrays["rows"].astype(np.int64),
                arrays["maps"].astype(np.uint8),
                arrays["scores"].astype(np.float32),
            )
    except (OSError, RuntimeError, KeyError, BundleError) as error:
        raise BundleError(
            f"{path}: cannot be read as out-of-fold predictions ({error}); remove it to make them "
            "again"
        ) from error


def _concluded(
    prepared: Prepared,
    out: Path,
    held: Sequence[Held],
    settings: Train,
    whole: Trainer | None,
) -> Folds:
    """Choose calibration and thresholds on all folds together, and store and judge what they give.

    The judgement is stored in every model too: none of its images trained the network judged.
    """
    decision = decide((said for _, said in _said(prepared, held)), settings.calibration)
    paths = tuple(_folder(out, fold) / "model.h5" for fold in range(len(held)))
    bundles = [decision.applied(read_bundle(path)) for path in paths]
    outcomes = [
        outcome_of(prepared.train[row], said, bundles[0]) for row, said in _said(prepared, held)
    ]
    evaluation = summarise(outcomes, bundles[0].points)
    values = {
        "measured_on": f"all {len(outcomes)} labelled images of {len(held)} folds, each by the "
        "network of the folds that it is not in",
        **evaluation.as_json(),
        "notes": [CHOSEN_HERE[settings.keep]],
    }
    for path, bundle in zip(paths, bundles, strict=True):
        told = replace(bundle, evaluation=values)
        write_bundle(replace(told, card=write_card(told)), path)
    if whole is not None:
        bundle = described(decision.applied(read_bundle(whole.out / "model.h5")), whole)
        about = f"{values['measured_on']}; the network itself was trained on all of them"
        told = replace(bundle, evaluation={**values, "measured_on": about})
        write_results(told, whole, sum(bundle.history["seconds"]))
    folds = {int(row): fold for fold, own in enumerate(held) for row in own.rows}
    rows = [int(row) for own in held for row in own.rows]
    write_text(out / "out_of_fold.csv", _table([folds[row] for row in rows], outcomes))
    points = {name: asdict(point) for name, point in bundles[0].points.items()}
    text = json.dumps({**values, "operating_points": points}, indent=2)
    write_text(out / "evaluation.json", text + "\n")
    return Folds(paths, evaluation, None if whole is None else whole.out / "model.h5")


def _said(prepared: Prepared, held: Sequence[Held]) -> Iterator[tuple[int, Judged]]:
    """Yield each image's row, and what is said of it beside the truth, fold by fold."""
    for own in held:
        for row, one, score in zip(own.rows, own.maps, own.scores, strict=True):
            probability = one.astype(np.float32) / 255
            yield int(row), beside_truth(prepared, int(row), probability, float(score))


def _table(folds: Sequence[int], outcomes: Sequence[Outcome]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["image_id", "fold", "positive", "score", "called", "dice", "truth_px", "predicted_px"]
    )
    for fold, item in zip(folds, outcomes, strict=True):
        numbers = [f"{item.score:.6f}", int(item.called), f"{item.dice:.6f}"]
        writer.writerow(
            [item.image_id, fold, int(item.positive), *numbers, item.truth_px, item.predicted_px]
        )
    return text.getvalue()
