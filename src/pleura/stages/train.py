"""Training as a stage: the network, its operating point, and the files that tell of both."""

import csv
import io
import json
import time
from dataclasses import asdict, replace

from pleura.evaluation.operating_point import choose_operating_point
from pleura.formats.atomic import write_text
from pleura.inference.engine import TorchEngine
from pleura.models.bundle import Bundle, read_bundle, write_bundle
from pleura.models.card import write_card
from pleura.models.zoo import count_parameters
from pleura.stages.evaluate import judged
from pleura.training.curves import draw_curves
from pleura.training.loop import COLUMNS, OnStep, Trainer


def train_model(trainer: Trainer, *, resume: bool = False, on_step: OnStep | None = None) -> Bundle:
    """Train, choose the operating point on the validation part, and write all of it.

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
    validation = judged(TorchEngine(bundle), trainer.prepared, trainer.split.validation)
    point = choose_operating_point(validation)
    bundle = replace(bundle, operating_point=point)
    bundle = replace(bundle, card=write_card(bundle))
    write_bundle(bundle, out / "model.h5")
    write_text(out / "history.csv", _history_csv(bundle))
    draw_curves(bundle.history, out / "curves.png")
    record = {
        "identity": trainer.identity,
        "images": bundle.training["images"],
        "validation_images": bundle.training["validation_images"],
        "parameters": count_parameters(bundle.network),
        "operating_point": asdict(point),
        "precision": bundle.training["precision"],
        "device": trainer.device,
        "seconds": round(time.perf_counter() - begun, 1),
        "versions": bundle.versions,
        "digest": bundle.digest,
    }
    write_text(out / "run.json", json.dumps(record, indent=2) + "\n")
    trainer.finish()
    return bundle


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
