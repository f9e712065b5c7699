"""Whole runs: the stages in order, each done again only where its inputs or settings changed.

A finished stage leaves a stamp in ``OUT/.stamps``: a digest of what went in, a note of what came
out, and the digest of each file that it wrote. A stage whose stamp or files were changed since is
done again. A model of other data or settings is set aside as ``OUT/model.previous``.

::

    OUT/phantoms/      the made-up cohort, where the run asks for one
    OUT/audit/         audit.html, findings.json, indices.parquet, masks.parquet
    OUT/prepared/      arrays
    OUT/model/         model.h5, history.csv, curves.png, run.json
    OUT/evaluation/    evaluation.json, evaluation.html (validation part)
    OUT/predictions/   submission.csv, predictions.csv, overlays/, and where the truth is known
                       test.json and evaluation.html
"""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Protocol

from pleura import config
from pleura.audit.findings import Audit
from pleura.audit.pages import WrittenAudit, write_audit
from pleura.audit.report import audit_index
from pleura.data.arrays import Prepared, write_prepared
from pleura.data.files import in_words
from pleura.data.index import Index, build_index
from pleura.data.inputs import Inputs, is_more_than_paths
from pleura.data.records import read_index
from pleura.data.sources import Sources, find_sources
from pleura.data.stores import listed_sources
from pleura.data.table_use import TableUse
from pleura.engines.choice import converting
from pleura.errors import DataError, SealError, UsageError
from pleura.formats.annotations import Annotations
from pleura.formats.masks import files_of_masks
from pleura.formats.text_file import open_regular
from pleura.inference.job import predict_files
from pleura.inference.job_store import Rows
from pleura.inference.readers import open_readers
from pleura.inference.tables import ANSWERS, SUBMISSION, WORKLIST
from pleura.models.bundle import Bundle, current_versions, read_bundle
from pleura.processes.progress import OnProgress
from pleura.remote.address import Address, Source
from pleura.remote.objects import Objects
from pleura.results.writer import forget_key
from pleura.stages.evaluate import evaluate_model, write_validation_report
from pleura.stages.predict import job_settings, open_predictor
from pleura.stages.score_answers import Scored, read_truth, score_answers, write_test_report
from pleura.stages.train import is_trained, train_model
from pleura.storage.atomic import write_text
from pleura.storage.content import Stamp, stamp_at
from pleura.storage.elsewhere import path_at
from pleura.storage.lock import contents, locked_folder
from pleura.storage.own_file import require_own_file
from pleura.storage.seal import sealed, unsealed
from pleura.synthesis.phantom import write_cohort
from pleura.training.history import OnStep
from pleura.training.loop import Trainer

Values = dict[str, Any]


class Listener(Protocol):
    """What a run tells while it goes on; a command draws it."""

    def stage(self, name: str, state: str) -> None:
        """Be told that a stage begins, is reused or is left out."""

    def progress(self, description: str, unit: str) -> AbstractContextManager[OnProgress]:
        """Return a context whose value is told (done, total)."""

    def training(self) -> AbstractContextManager[OnStep]:
        """Return a context whose value is told of every training step."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a whole run made.

    Attributes:
        counts: The audit's counts.
        validation: Figures on the validation part, plain values as in evaluation.json.
        test: The same on the test images, where their truth is known.
        failures: (path, reason) of each input that failed.
        not_assessed: (path, flags) of each input that is flagged and was not assessed.
        files: What was written, by name.
        seconds: The whole run's time, phantoms included.
        tables: What of the tables was not used, as :class:`pleura.data.table_use.TableUse` tells
            it in JSON, with the same as a sentence under ``said``.
    """

    counts: Values
    validation: Values
    test: Values | None
    failures: tuple[tuple[str, str], ...]
    not_assessed: tuple[tuple[str, str], ...]
    files: dict[str, str]
    seconds: float
    tables: tuple[Values, ...] = ()


def demo_settings(out: str, settings: Iterable[str] = ()) -> config.Run:
    """Return the run of the demonstration, as it comes with the package, writing to `out`.

    Raises:
        ConfigError: One of `settings` (``section.key=value``) is wrong.
    """
    with as_file(files("pleura") / "demo.toml") as path:
        return replace(config.load_run(path, settings), out=out)


def run(settings: config.Run, listener: Listener) -> RunResult:
    """Do the stages of `settings` in order, reusing those that are finished.

    Raises:
        PleuraError: A stage failed; what was finished before stays and is reused.
    """
    begun = time.perf_counter()
    job = _Job(settings, listener)
    if settings.phantom is None:
        job.find_data()  # what is not there leaves no folder behind
    job.find_inputs()
    with locked_folder(settings.out, "run"):
        return _done(job, settings, begun)


def _done(job: "_Job", settings: config.Run, begun: float) -> RunResult:
    if settings.phantom is not None:
        job.make_phantoms(settings.phantom)
    audit = job.audit()
    prepared = job.prepare()
    bundle = job.train(prepared)
    validation = job.evaluate(bundle, prepared)
    predicted = job.predict(bundle, audit)
    stages = [audit, validation, predicted]
    return RunResult(
        counts=audit["counts"],
        validation=validation["evaluation"],
        test=predicted.get("evaluation"),
        failures=tuple((path, reason) for s in stages for path, reason in s.get("failures", [])),
        not_assessed=tuple((path, flags) for path, flags in predicted.get("not_assessed", [])),
        files={
            "model": str(job.out / "model" / "model.h5"),
            "curves": str(job.out / "model" / "curves.png"),
            **{name: path for s in stages for name, path in s["files"].items()},
        },
        seconds=time.perf_counter() - begun,
        tables=tuple(use for stage in stages for use in stage.get("tables", [])),
    )


class _Job:
    """One run under way: its settings, its folder and its stamps."""

    def __init__(self, settings: config.Run, listener: Listener) -> None:
        self.settings, self.listener = settings, listener
        self.out = Path(settings.out)
        self.data = settings.data
        self._sources: Sources | None = None

    def make_phantoms(self, wanted: config.Phantoms) -> None:
        """Make the cohort and point the data settings at it."""
        folder = self.out / "phantoms"

        def make() -> Values:
            self._clear("phantom", folder)
            with self.listener.progress("drawing", "radiographs") as told:
                write_cohort(folder, **asdict(wanted), on_progress=told)
            return {"files": {"phantoms": str(folder)}}

        about = f"{wanted.train} + {wanted.test} radiographs"
        self._stage("phantom", asdict(wanted), about, make, folder)
        truth = str(folder / "test-truth.csv") if wanted.test else ""
        self.data = replace(self.data, path=str(folder), test_annotations=truth)

    @property
    def sources(self) -> Sources:
        """The files of the data, listed once."""
        return self._sources or self.find_data()

    def find_data(self) -> Sources:
        """List the files of the data.

        Raises:
            UsageError: They are not there.
        """
        self._sources = find_sources(self.data)
        return self._sources

    def find_inputs(self) -> None:
        """See that at each address that is to be predicted something lies, before any work is done.

        Raises:
            AddressError: It cannot be listed.
            DataError: Nothing lies there.
            UsageError: It is of a kind that is not read.
        """
        with Objects(self.settings.predict.max_seconds) as objects:
            for text in filter(is_more_than_paths, self.settings.predict.inputs):
                next(iter(Inputs([text], objects).turns(1)), None)

    @property
    def _reading(self) -> list[Any]:
        """How masks are read, for a stage that is done again where this changes."""
        return [asdict(self.sources.reading), self.data.match]

    def audit(self) -> Values:
        """Write the cleaned tables and the audit; return counts, failures and files."""
        sources, folder = self.sources, self.out / "audit"
        parts = [sources.train, sources.test, sources.tables]
        labels = asdict(replace(self.data.labels, table=""))
        inputs = [self._reading, labels, [_listing(part) for part in parts]]

        def make() -> Values:
            workers, journal = self.settings.prepare.workers, folder / ".audit.journal"
            with self.listener.progress("reading", "files") as told:
                index = build_index(sources, workers=workers, journal=journal, on_progress=told)
            audit = audit_index(index, sources)
            with self.listener.progress("drawing", "pictures") as told:
                written = write_audit(audit, index, folder, workers=workers, on_progress=told)
            journal.unlink()
            return _audit_values(audit, index, written)

        count = len(sources.train) + len(sources.test)
        return self._stage("audit", inputs, f"{count} files", make, folder)

    def prepare(self) -> Prepared:
        """Return the prepared folder, written where it is not there yet."""
        records = read_index(self.out / "audit" / "indices.parquet")
        train = [record for record in records if record.part == "train" and record.labelled]
        test = [record for record in records if record.part == "test"]
        wanted = self.settings.prepare
        self.listener.stage("prepare", f"{len(train)} + {len(test)} images at {wanted.size} pixels")
        with self.listener.progress("preparing", "images") as told:
            return write_prepared(
                train,
                test,
                self.out / "prepared",
                size=wanted.size,
                workers=wanted.workers,
                on_progress=told,
            )

    def train(self, prepared: Prepared) -> Bundle:
        """Return the trained model; an unfinished training of the same settings is continued."""
        folder = self.out / "model"
        settings = self.settings.train
        trainer = Trainer(prepared, folder, self.settings.network, settings)
        if is_trained(trainer):
            self.listener.stage("train", "unchanged, reused")
            return read_bundle(folder / "model.h5")
        digest = _digest(trainer.identity)
        if _read_stamp(self._stamp_path("train")).get("digest") != digest:
            if (folder / "run.json").exists() and self._stamp_path("train").exists():
                previous = folder.with_name("model.previous")
                shutil.rmtree(previous, ignore_errors=True)
                folder.replace(previous)
                self.listener.stage("model", f"settings changed; the last one is now in {previous}")
            with locked_folder(folder, "train"):
                self._clear("train", folder)
            write_text(self._stamp_path("train"), sealed({"digest": digest}) + "\n")
        self.listener.stage("train", "; ".join(filter(None, (trainer.about, trainer.note))))
        with self.listener.training() as told:
            return train_model(trainer, resume=True, on_step=told)

    def evaluate(self, bundle: Bundle, prepared: Prepared) -> Values:
        """Score the validation part; return the figures and files."""
        folder = self.out / "evaluation"

        def make() -> Values:
            with self.listener.progress("evaluating", "images") as told:
                validation = evaluate_model(bundle, prepared, on_progress=told)
            values = {**validation.evaluation.as_json(), "notes": list(validation.notes)}
            write_text(folder / "evaluation.json", json.dumps(values, indent=2) + "\n")
            write_validation_report(bundle, prepared, validation, folder / "evaluation.html")
            return {
                "evaluation": values,
                "files": {
                    "evaluation": str(folder / "evaluation.json"),
                    "validation_report": str(folder / "evaluation.html"),
                },
            }

        inputs = [bundle.digest, prepared.fingerprint]
        return self._stage("evaluate", inputs, "on the validation part", make, folder)

    def predict(self, bundle: Bundle, audit: Values) -> Values:
        """Predict the inputs; score those that are no training images where the truth is known."""
        wanted, folder = self.settings.predict, self.out / "predictions"
        files = self._named() if wanted.inputs else listed_sources(self.sources.test)
        if not files:
            self.listener.stage("predict", "no test images and no inputs, left out")
            return {"files": {}}
        truth = path_at(self.data.test_annotations) if self.data.test_annotations else None
        truth_listing = _listing(files_of_masks(truth) if truth else [])
        how = asdict(replace(wanted, inputs=[]))  # of which the files are listed
        inputs = [bundle.digest, how, self._reading, _sources(files), truth_listing]

        def make() -> Values:
            if said := converting([bundle], wanted.engine, wanted.device):
                self.listener.stage("engine", said)
            with (
                open_readers(wanted, len(files)) as readers,
                Objects(wanted.max_seconds) as objects,
                self.listener.progress("predicting", "files") as told,
            ):
                predictor = open_predictor([bundle], wanted)
                job = job_settings(predictor, wanted, folder)
                answers = predict_files(predictor, files, job, readers, told, objects)
            if wanted.deidentify:
                forget_key(folder)
            result: Values = {
                "failures": [[answer.path, answer.error] for answer in answers if answer.error],
                "not_assessed": [
                    [answer.path, answer.flags] for answer in answers if not answer.assessed
                ],
                "files": {
                    "submission": str(folder / SUBMISSION),
                    "predictions": str(folder / ANSWERS),
                },
            }
            if wanted.worklist:
                result["files"]["worklist"] = str(folder / WORKLIST)
            if truth is not None:
                table = read_truth(answers, truth, self.sources.reading, self.data.match)
                scored = score_answers(answers, table, self._training_ids(audit))
                used = bundle.at(wanted.operating_point)
                result["failures"] += [[p.image_id, str(p)] for p in table.problems]
                result["tables"] = [_spoken(use) for use in scored.uses]
                result["evaluation"] = _written(used, answers, scored, table, folder)
                result["files"]["report"] = str(folder / "evaluation.html")
                result["files"]["test"] = str(folder / "test.json")
            return result

        return self._stage("predict", inputs, f"{len(files)} files", make, folder)

    def _named(self) -> dict[Source, Stamp | None]:
        """Return what is to be predicted besides the data, as `pleura predict` takes it."""
        with Objects(self.settings.predict.max_seconds) as objects:
            named = Inputs(self.settings.predict.inputs, objects)
            turns = list(named.turns())
        if named.passed:
            self.listener.stage("predict", f"passes over {in_words(named.passed)}")
        return {source: stamp for turn in turns for source, stamp in turn.items()}

    def _training_ids(self, audit: Values) -> set[str]:
        """Return the ids of training images, and of test images that show the same picture."""
        records = read_index(self.out / "audit" / "indices.parquet")
        return {r.image_id for r in records if r.part == "train"} | set(audit["test_in_train"])

    def _stage(
        self, name: str, inputs: Any, about: str, make: Callable[[], Values], folder: Path
    ) -> Values:
        """Return what `make` returns, from the stamp where nothing changed since.

        `folder`, where it writes, is held meanwhile: another command could be told to write there.
        """
        digest, stamp = _digest(inputs), self._stamp_path(name)
        done = _read_stamp(stamp)
        if done.get("digest") == digest and done["wrote"] == _digests(done["result"]):
            self.listener.stage(name, "unchanged, reused")
            return dict(done["result"])
        self.listener.stage(name, about)
        with locked_folder(folder, name):
            result = make()
        wrote = _digests(result)
        write_text(stamp, sealed({"digest": digest, "result": result, "wrote": wrote}) + "\n")
        return result

    def _clear(self, name: str, folder: Path) -> None:
        """Empty a stage's folder of what an earlier run left there, and of nothing else."""
        stamp = self._stamp_path(name)
        left = contents(folder)
        if stamp.exists():
            for path in left:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
        elif left:
            raise UsageError(
                f"{folder}: holds files that this run did not make; set out to another folder"
            )
        write_text(stamp, "{}\n")

    def _stamp_path(self, name: str) -> Path:
        return self.out / ".stamps" / f"{name}.json"


def _written(
    bundle: Bundle, answers: Rows, scored: Scored, truth: Annotations, folder: Path
) -> Values:
    """Write what test images say of a model, as a page and as JSON; return the figures."""
    evaluation = write_test_report(bundle, answers, scored, truth, folder / "evaluation.html")
    values = {**evaluation.as_json(), "notes": [*scored.notes, *scored.unused]}
    write_text(folder / "test.json", json.dumps(values, indent=2) + "\n")
    return values


def _spoken(use: TableUse) -> Values:
    """Return what of a table was not used as plain values and as a sentence."""
    return use.as_json() | {"said": str(use)}


def _audit_values(audit: Audit, index: Index, written: WrittenAudit) -> Values:
    return {
        "counts": asdict(audit.counts),
        "failures": [list(failure) for failure in index.failures],
        "tables": [_spoken(use) for use in index.tables],
        "test_in_train": list(index.test_in_train),
        "files": {
            "audit": str(written.page),
            "findings": str(written.findings),
            "indices": str(written.indices),
            "masks": str(written.masks),
        },
    }


def _digest(inputs: Any) -> str:
    """Return a digest of plain values and of the pleura that works on them."""
    version = current_versions()["pleura"]
    return hashlib.sha256(json.dumps([version, inputs], sort_keys=True).encode()).hexdigest()


def _listing(paths: Iterable[Path]) -> list[list[str | int]]:
    """Return path and stamp of each file; one that cannot be looked at by its name alone."""
    listing: list[list[str | int]] = []
    for path in paths:
        listing.append([str(path), *(stamp_at(path) or ())])
    return listing


def _sources(files: Mapping[Source, Stamp | None]) -> list[list[Any]]:
    """Return the name of each file, without secrets, and what tells its content from another's."""
    return [
        [str(one), one.digest if isinstance(one, Address) else "", *(stamp or ())]
        for one, stamp in files.items()
    ]


def _read_stamp(path: Path) -> Values:
    require_own_file(path)
    try:
        return unsealed(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, SealError):
        return {}


def _digests(result: Values) -> dict[str, str | None]:
    """Return the digest of each file of a stage by its name; ``folder`` for one, None for none."""
    found: dict[str, str | None] = {}
    for name, path in result["files"].items():
        with contextlib.suppress(DataError), open_regular(path, DataError) as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
        found.setdefault(name, "folder" if Path(path).is_dir() else None)
    return found
