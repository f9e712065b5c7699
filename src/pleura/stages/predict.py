"""Prediction as a run file or the command line asks for it: the predictor, and what is written."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pleura.choices import RESULT_KINDS
from pleura.config import Predict
from pleura.engines.choice import open_engine
from pleura.inference.job import JobSettings
from pleura.inference.predictor import Predictor, averaged
from pleura.models.bundle import Bundle

if TYPE_CHECKING:
    from pleura.inference.writers import Writer


def open_predictor(bundles: Sequence[Bundle], settings: Predict) -> Predictor:
    """Return one predictor of the models: their mean, where there are several.

    Args:
        bundles: One or more.
        settings: Operating point, engine, device and precision, and whether to mirror and to
            answer what is flagged.

    Raises:
        BundleError: A model cannot be run, or several do not go together.
        UsageError: The engine, the device or the operating point is not there.
    """
    how = settings.engine, settings.device, settings.precision
    at = [bundle.at(settings.operating_point) for bundle in bundles]
    members = [
        Predictor(one, open_engine(one, *how), answer_flagged=settings.answer_flagged) for one in at
    ]
    return averaged(members, tta=settings.tta)


def job_settings(predictor: Predictor, settings: Predict, out: Path, batch: int = 4) -> JobSettings:
    """Return the settings of a job, what is written beside the tables among them.

    Args:
        predictor: What answers.
        settings: What is wanted.
        out: The job's folder; the secret of de-identified results lies there until the job's end
            (:func:`pleura.results.writer.forget_key`).
        batch: Images that go through the network together.
    """
    return JobSettings(out, settings.id, tuple(_writers(predictor, settings, out)), batch)


def _writers(predictor: Predictor, settings: Predict, out: Path) -> "list[Writer]":
    writers: list[Writer] = []
    if settings.worklist:
        from pleura.inference.worklist import Worklist

        writers.append(Worklist.of(predictor, settings.operating_point))
    if settings.overlays or settings.heatmaps:
        from pleura.inference.writers import Heatmaps, Overlays

        writers += [Overlays()] * settings.overlays + [Heatmaps()] * settings.heatmaps
    if settings.dicom:
        from pleura.results.writer import DicomResults, job_key

        kinds = tuple(kind for kind in RESULT_KINDS if kind in settings.dicom)
        key = job_key(out) if settings.deidentify else None
        writers.append(DicomResults(kinds, predictor.provenance, datetime.now(), key))
    return writers
