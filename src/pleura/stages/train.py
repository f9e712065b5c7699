"""Training as a stage: the network, its operating point, and the files that tell of both."""

import csv
import io
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from pleura.config import FittedCalibration
from pleura.data.arrays import Prepared
from pleura.evaluation.calibration import fit_calibration
from pleura.evaluation.operating_point import Choice, choose_operating_point
from pleura.evaluation.predictions import Judged, count_predictions
from pleura.formats.atomic import write_text
from pleura.inference.torch_engine import TorchEngine
from pleura.models.bundle import Bundle, Calibration, read_bundle, write_bundle
from pleura.models.card import write_card
from pleura.models.zoo import count_parameters
from pleura.stages.evaluate import evaluate_model, judged
from pleura.training.curves import draw_curves
from pleura.training.loop import COLUMNS, OnStep, Trainer


def train_model(trainer: Trainer, *, resume: bool = False, on_step: OnStep | None = None) -> Bundle:
    """Train, calibrate, choose the operating points on the validation part, and write all of it.

    The figures over the validation part are measured with these and kept in the model.

    Writes ``model.h5``, ``history.csv``, ``curves.png`` and, last, ``run.json`` into the trainer's
    folder. With `resume`, a training that is finished already is returned as it is.

    Raises:
        UsageError, BundleError, OutputError: As :meth:`pleura.training.loop.Trainer.run` says.
    """
    begun, out = time.perf_counter(), trainer.out
    if resume and is_trained(trainer):
        return read_bundle(out / "model.h5")
    bundle = trainer.run(resume=resume, on_step=on_step)
    if not trainer.accelerator.is_main_process:
        return bundle
    bundle = decided(bundle, trainer)
    bundle = replace(bundle, evaluation=measured(bundle, trainer.prepared))
    return write_results(bundle, trainer, time.perf_counter() - begun)


def write_results(bundle: Bundle, trainer: Trainer, seconds: float) -> Bundle:
    """Write what a training leaves, for a model that is decided and measured; return it."""
    out = trainer.out
    bundle = replace(bundle, card=write_card(bundle))
    write_bundle(bundle, out / "model.h5")
    write_text(out / "history.csv", _history_csv(bundle))
    draw_curves(bundle.history, out / "curves.png")
    record = {
        "identity": trainer.identity,
        "images": bundle.training["images"],
        "validation_images": bundle.training["validation_images"],
        "parameters": count_parameters(bundle.network),
        "operating_point": asdict(bundle.operating_point),
        "presets": {name: asdict(point) for name, point in bundle.presets.items()},
        "calibration": asdict(bundle.calibration),
        "precision": bundle.training["precision"],
        "device": trainer.device,
        "seconds": round(seconds, 1),
        "versions": bundle.versions,
        "digest": bundle.digest,
    }
    write_text(out / "run.json", json.dumps(record, indent=2) + "\n")
    trainer.finish()
    return bundle


@dataclass(frozen=True, slots=True)
class Decision:
    """What is chosen on predictions: the score's calibration, and the thresholds.

    Attributes:
        calibration: From the network's score to a probability.
        choice: The operating points.
    """

    calibration: Calibration
    choice: Choice

    def applied(self, bundle: Bundle) -> Bundle:
        """Return `bundle` with it."""
        return replace(
            bundle,
            calibration=self.calibration,
            operating_point=self.choice.default,
            presets=self.choice.presets,
        )


def decide(said: Iterable[Judged], calibration: FittedCalibration = "platt") -> Decision:
    """Return calibration and operating points for what networks say of images they never saw."""
    predictions = count_predictions(said)
    fitted = fit_calibration(predictions.scores, predictions.positive, calibration)
    return Decision(fitted, choose_operating_point(predictions.calibrated(fitted)))


def decided(bundle: Bundle, trainer: Trainer) -> Bundle:
    """Return the bundle with calibration and operating points chosen on the validation part."""
    rows = trainer.split.validation
    said = judged(TorchEngine(bundle), trainer.prepared, rows)
    return described(decide(said, trainer.settings.calibration).applied(bundle), trainer)


def described(bundle: Bundle, trainer: Trainer) -> Bundle:
    """Return the bundle with what its card tells of the patients that trained it."""
    return replace(bundle, training={**bundle.training, **_patients(trainer)})


def measured(bundle: Bundle, prepared: Prepared) -> dict[str, Any]:
    """Return the figures over the images that did not train the model, as its card shows them."""
    validation = evaluate_model(bundle, prepared)
    return {
        "measured_on": f"the validation part: {len(validation.rows)} images of the data it was "
        "trained on that did not train it",
        **validation.evaluation.as_json(),
        "notes": list(validation.notes),
    }


def _patients(trainer: Trainer) -> dict[str, int]:
    """Return how many patients and positives trained, and of how many images nobody knows whose."""
    records = [trainer.prepared.train[row] for row in trainer.split.train]
    return {
        "positives": sum(bool(record.positive) for record in records),
        "patients": len({record.patient for record in records} - {None}),
        "images_without_patient": sum(record.patient is None for record in records),
    }


def is_trained(trainer: Trainer) -> bool:
    """Return whether the trainer's folder holds a finished training of its data and settings."""
    try:
        record = json.loads((trainer.out / "run.json").read_text(encoding="utf-8"))
        same = bool(record["identity"] == trainer.identity)
        return same and (trainer.out / "model.h5").is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _history_csv(bundle: Bundle) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    rows = zip(*(bundle.history[name] for name in COLUMNS), strict=True)
    writer.writerows([int(epoch), *(f"{value:.6g}" for value in rest)] for epoch, *rest in rows)
    return text.getvalue()
