"""All folds as a stage: a model for each, and what each says of the images it never saw.

::

    fold-0/model.h5, history.csv ...    a training each
    fold-0/out_of_fold.h5    maps and scores of the fold's images, by the network of the others
    out_of_fold.csv          one row per image: image_id, fold, raw_score (the network's), score
                             (calibrated as the other folds choose), called, dice ...
    evaluation.json          figures over all of them, with intervals by patient
    whole/model.h5           where it is asked for: a training on all images together

Calibration and thresholds of every model are chosen on all out-of-fold predictions together, so
none rests on images that trained the network it belongs to. The figures judge each fold by what the
other folds choose, so no threshold is judged by images that chose it. The model of all images has
the same thresholds and figures: they are of networks made as it was made, each without a part of
the images.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.config import Network, Train
from pleura.data.arrays import Prepared
from pleura.engines.engine import Probabilities
from pleura.engines.torch_engine import TorchEngine
from pleura.errors import BundleError
from pleura.evaluation.decision import fit_decision, fit_nested
from pleura.evaluation.figures import Evaluation
from pleura.evaluation.mix import Mix
from pleura.evaluation.outcomes import Outcome
from pleura.evaluation.predictions import joined
from pleura.evaluation.scores import summarise
from pleura.formats.csv_cells import csv_text
from pleura.models.bundle import Bundle, read_bundle, version_of, write_bundle
from pleura.models.card import write_card
from pleura.models.sealed_file import read_sealed, write_sealed
from pleura.stages.evaluate import EPOCH_CHOSEN, count_predictions, outcome_of, said_of
from pleura.stages.train import described, hold_to_train, is_trained, train_model, write_results
from pleura.storage.atomic import write_text
from pleura.training.history import OnStep
from pleura.training.loop import Trainer
from pleura.training.split import everything

NAME = "out_of_fold.h5"
NESTED_FOLDS = (
    "Each fold is judged by the calibration and operating points that the other folds choose; "
    "those of "
    "the model are chosen on all folds together."
)
_FORMAT = 1
_MAX_BYTES = 64 * 2**30


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
    mixes: Sequence[Mix] = (),
    on_fold: Callable[[int, Trainer], OnStep | None] | None = None,
) -> Folds | None:
    """Train a network for each fold, keep what it says of the others, choose the thresholds there.

    What is finished is not done twice, where `resume` is set.

    Args:
        prepared: The data.
        out: Folder for all of it.
        network: Name and settings.
        settings: How to train; ``folds`` says how many there are, ``fold`` is passed over.
        refit: Train a network on all images too; `settings.keep` must be ``last``.
        resume: Continue an interrupted training.
        mixes: Other sets to re-weigh the figures to.
        on_fold: Told the number of each fold as it begins, and the number of folds as the training
            on all images does, and what trains it; returns what listens to its steps.

    Returns:
        What was found; None in a process that is not the main one of several.

    Raises:
        UsageError, BundleError, OutputError: As :func:`pleura.stages.train.train_model` says.
    """
    if refit:
        everything(prepared, settings)  # raises before hours of work, not after
    with hold_to_train(out):
        return _all_folds(prepared, out, network, settings, refit, resume, mixes, on_fold)


def _all_folds(
    prepared: Prepared,
    out: Path,
    network: Network,
    settings: Train,
    refit: bool,
    resume: bool,
    mixes: Sequence[Mix],
    on_fold: Callable[[int, Trainer], OnStep | None] | None,
) -> Folds | None:
    held: list[Path] = []
    for fold in range(settings.folds):
        trainer = Trainer(prepared, _folder(out, fold), network, replace(settings, fold=fold))
        told = on_fold(fold, trainer) if on_fold is not None else None
        bundle = train_model(trainer, resume=resume, on_step=told)
        if trainer.accelerator.is_main_process:
            held.append(keep_said(bundle, trainer))
        trainer.accelerator.wait_for_everyone()
    whole = None
    if refit:
        whole = Trainer(prepared, out / "whole", network, settings, whole=True)
        if not (resume and is_trained(whole)):
            told = on_fold(settings.folds, whole) if on_fold is not None else None
            with hold_to_train(whole.out):
                whole.run(resume=resume, on_step=told)
    return _concluded(prepared, out, held, settings, whole, mixes) if held else None


def _folder(out: Path, fold: int) -> Path:
    return out / f"fold-{fold}"


def keep_said(bundle: Bundle, trainer: Trainer) -> Path:
    """Return the file that keeps what the fold's network says of the fold, made where it is not.

    Raises:
        BundleError: The one that is there is damaged.
    """
    path, rows = trainer.out / NAME, trainer.split.validation
    if path.exists():
        read_said(path)
        return path
    said = list(said_of(TorchEngine(bundle), trainer.prepared, rows))
    arrays = {
        "rows": rows,
        "maps": np.concatenate([np.rint(255 * one.maps).astype(np.uint8) for one in said]),
        "scores": np.concatenate([one.scores for one in said]),
    }
    write_sealed(path, "fold", (_FORMAT, version_of("pleura")), {}, {"held": arrays})
    return path


def read_said(path: Path) -> tuple[NDArray[np.int64], Iterator[Probabilities]]:
    """Return the rows ``(n,)`` of ``X_train`` that are a fold's, and what is said of each.

    Maps are kept in steps of 1/255.

    Raises:
        BundleError: The file is damaged, or none of this kind.
    """
    try:
        arrays = read_sealed(path, "fold", _FORMAT, _MAX_BYTES).group("held")
        rows, maps, scores = arrays["rows"], arrays["maps"], arrays["scores"]
    except (BundleError, KeyError) as error:
        raise BundleError(f"{path}: {error}; remove it to make it again") from error
    said = (
        Probabilities(one[None].astype(np.float32) / 255, np.array([score], np.float32))
        for one, score in zip(maps, scores, strict=True)
    )
    return rows.astype(np.int64), said


def _concluded(
    prepared: Prepared,
    out: Path,
    held: Sequence[Path],
    settings: Train,
    whole: Trainer | None,
    mixes: Sequence[Mix],
) -> Folds:
    """Choose calibration and thresholds on all folds together; judge each fold by the others'.

    The judgement is stored in every model too: none of its images trained the network judged, or
    chose the thresholds it was judged with.
    """
    rows, counts = [], []
    for path in held:
        own, said = read_said(path)
        rows.append(own)
        counts.append(count_predictions(prepared, zip(own, said, strict=True)))
    counted = joined(counts)
    parts = np.repeat(np.arange(len(held)), [len(own) for own in rows])
    decision = fit_decision(counted, settings.calibration)
    nested = fit_nested(counted, parts, settings.calibration)
    paths = tuple(_folder(out, fold) / "model.h5" for fold in range(len(held)))
    bundles = [decision.applied(read_bundle(path)) for path in paths]
    judges = [chosen.applied(bundles[0]) for chosen in nested]
    outcomes, naive = [], []
    for path, judge in zip(held, judges, strict=True):
        for row, one in zip(*read_said(path), strict=True):
            record = prepared.train[row]
            outcomes.append(outcome_of(record, one, judge, chosen_elsewhere=True))
            naive.append(outcome_of(record, one, bundles[0]))
    evaluation = summarise(outcomes, bundles[0].points, mixes=mixes, naive=naive)
    values = {
        "measured_on": f"all {len(outcomes)} labelled images of {len(held)} folds, each by the "
        "network of the folds that it is not in",
        **evaluation.as_json(),
        "notes": [NESTED_FOLDS, *([] if settings.keep == "last" else [EPOCH_CHOSEN])],
    }
    for path, bundle in zip(paths, bundles, strict=True):
        told = replace(bundle, evaluation=values)
        write_bundle(replace(told, card=write_card(told)), path)
    if whole is not None:
        bundle = described(decision.applied(read_bundle(whole.out / "model.h5")), whole)
        about = f"{values['measured_on']}; the network itself was trained on all of them"
        told = replace(bundle, evaluation={**values, "measured_on": about})
        write_results(told, whole, sum(bundle.history["seconds"]))
    write_text(out / "out_of_fold.csv", _table(parts.tolist(), outcomes))
    points = {name: asdict(point) for name, point in bundles[0].points.items()}
    text = json.dumps({**values, "operating_points": points}, indent=2)
    write_text(out / "evaluation.json", text + "\n")
    return Folds(paths, evaluation, None if whole is None else whole.out / "model.h5")


def _table(folds: Sequence[int], outcomes: Sequence[Outcome]) -> str:
    rows = [
        {
            "image_id": item.image_id,
            "fold": fold,
            "positive": int(item.positive),
            "raw_score": f"{item.raw_score:.6f}",
            "score": f"{item.score:.6f}",
            "called": int(item.called),
            "dice": f"{item.dice:.6f}" if item.annotated else "",
            "truth_px": item.truth_px if item.annotated else "",
            "predicted_px": item.predicted_px,
        }
        for fold, item in zip(folds, outcomes, strict=True)
    ]
    return csv_text([*rows[0]], (row.values() for row in rows))
