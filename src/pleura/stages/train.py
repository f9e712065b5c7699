"""Training as a stage: the network, its operating point, and the files that tell of both."""

import json
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pleura.data.arrays import Prepared
from pleura.engines.torch_engine import TorchEngine
from pleura.errors import DataError, PleuraError
from pleura.evaluation.decision import fit_decision
from pleura.evaluation.predictions import Predictions
from pleura.formats.csv_cells import csv_text
from pleura.formats.text_file import read_text
from pleura.models.bundle import Bundle, read_bundle, write_bundle
from pleura.models.card import write_card
from pleura.models.weights import digest
from pleura.models.zoo import count_parameters
from pleura.printable import rounded
from pleura.stages.evaluate import counted_on, evaluate_model
from pleura.storage.atomic import write_text
from pleura.storage.lock import locked_folder
from pleura.training.curves import draw_curves
from pleura.training.history import COLUMNS, OnStep
from pleura.training.loop import Trainer
from pleura.training.setup import is_main_process

_MOST_BYTES = 2**20


def train_model(trainer: Trainer, *, resume: bool = False, on_step: OnStep | None = None) -> Bundle:
    """Train, calibrate, choose the operating points on the validation part, and write all of it.

    The figures over the validation part are measured with these and kept in the model.

    Writes ``model.h5``, ``history.csv``, ``curves.png`` and, last, ``run.json`` into the trainer's
    folder. With `resume`, a training that is finished already is returned as it is.

    Raises:
        UsageError, BundleError, OutputError: As :meth:`pleura.training.loop.Trainer.run` says.
    """
    with hold_to_train(trainer.out):
        return _trained(trainer, resume=resume, on_step=on_step)


def hold_to_train(out: Path) -> AbstractContextManager[None]:
    """Hold a training's folder, in the main process of several: the one that writes there.

    Raises:
        OutputError: Another training holds it.
    """
    return locked_folder(out, "train") if is_main_process() else nullcontext()


def _trained(trainer: Trainer, *, resume: bool, on_step: OnStep | None) -> Bundle:
    begun, out = time.perf_counter(), trainer.out
    if resume and is_trained(trainer):
        return read_bundle(out / "model.h5")
    bundle = trainer.run(resume=resume, on_step=on_step)
    if not trainer.accelerator.is_main_process:
        return bundle
    bundle, counted = decided(bundle, trainer)
    bundle = replace(bundle, evaluation=measured(bundle, trainer.prepared, counted))
    return write_results(bundle, trainer, time.perf_counter() - begun)


def write_results(bundle: Bundle, trainer: Trainer, seconds: float) -> Bundle:
    """Write what a training leaves, for a model that is decided and measured; return it."""
    out = trainer.out
    bundle = replace(bundle, card=write_card(bundle))
    write_bundle(bundle, out / "model.h5")
    write_text(out / "history.csv", _history_csv(bundle))
    draw_curves(bundle.history, out / "curves.png")
    record = {
        "images": bundle.training["images"],
        "validation_images": bundle.training["validation_images"],
        "parameters": count_parameters(bundle.network),
        "operating_point": asdict(bundle.operating_point),
        "presets": {name: asdict(point) for name, point in bundle.presets.items()},
        "calibration": asdict(bundle.calibration),
        "precision": bundle.training["precision"],
        "device": trainer.device,
        "threads": trainer.threads,
        "seconds": round(seconds, 1),
        "versions": bundle.versions,
        "digest": bundle.digest,
        "weights": digest(bundle.weights),
    }
    told = {"identity": trainer.identity, **rounded(record)}  # the identity is compared
    write_text(out / "run.json", json.dumps(told, indent=2) + "\n")
    trainer.finish()
    return bundle


def decided(bundle: Bundle, trainer: Trainer) -> tuple[Bundle, Predictions]:
    """Return the bundle with what is chosen on the validation part, and what it says of that."""
    rows = trainer.split.validation
    kind = trainer.settings.calibration
    counted = counted_on(TorchEngine(bundle), trainer.prepared, rows)
    return described(fit_decision(counted, kind).applied(bundle), trainer), counted


def described(bundle: Bundle, trainer: Trainer) -> Bundle:
    """Return the bundle with what its card tells of the patients that trained it."""
    return replace(bundle, training={**bundle.training, **_patients(trainer)})


def measured(
    bundle: Bundle, prepared: Prepared, counted: Predictions | None = None
) -> dict[str, Any]:
    """Return the figures over the images that did not train the model, as its card shows them."""
    validation = evaluate_model(bundle, prepared, counted=counted)
    return {
        "measured_on": f"the validation part: {len(validation.rows)} images of the data it was "
        "trained on that did not train it",
        **validation.evaluation.as_json(),
        "notes": list(validation.notes),
    }


def learned_nothing(figures: Mapping[str, Any]) -> str:
    """Return that a model called nothing right yet, in words; "" where it did, or nobody knows.

    Args:
        figures: Of images that did not train it, as :meth:`Evaluation.as_json` gives them.
    """
    dice, none = figures.get("mean_dice"), figures.get("all_empty_dice")
    if dice is None or none is None or dice > none:
        return ""
    auroc = figures.get("auroc")
    scores = "" if auroc is None else f" (AUROC {auroc:.3f})"
    return (
        "this model has learned nothing that helps: on the images that validate its mean Dice is "
        f"{dice:.3f}, and answering none to all has {none:.3f}{scores}. Train longer, on more "
        "images or with other settings"
    )


def _patients(trainer: Trainer) -> dict[str, int]:
    """Return how many patients and positives trained, and of how many images nobody knows whose."""
    records = [trainer.prepared.train[row] for row in trainer.split.train]
    return {
        "positives": sum(bool(record.positive) for record in records),
        "patients": len({record.patient for record in records} - {None}),
        "images_without_patient": sum(record.patient is None for record in records),
    }


def is_trained(trainer: Trainer) -> bool:
    """Return whether the trainer's folder holds a finished training of its data and settings.

    The weights in ``model.h5`` must be those that ``run.json`` tells of: the thresholds beside them
    may have been chosen anew since, on all folds together.
    """
    try:
        record = json.loads(read_text(trainer.out / "run.json", DataError, _MOST_BYTES))
        if record["identity"] != trainer.identity:
            return False
        weights = read_bundle(trainer.out / "model.h5").weights
        return bool(record["weights"] == digest(weights))
    except (PleuraError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _history_csv(bundle: Bundle) -> str:
    rows = zip(*(bundle.history[name] for name in COLUMNS), strict=True)
    shown = [[int(epoch), *(f"{value:.6g}" for value in rest)] for epoch, *rest in rows]
    return csv_text(COLUMNS, shown)
