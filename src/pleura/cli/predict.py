"""`pleura predict`: from radiographs to submission.csv."""

import contextlib
import glob
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pleura.cli import console, options
from pleura.cli.predict_options import ASKED, Asked
from pleura.dicom.suffixes import is_picture, is_radiograph
from pleura.models.shipped import DEFAULT, IN_FOLDER, holds_model, is_name, names
from pleura.processes.progress import OnProgress
from pleura.remote.address import Address, scheme_of, url_of, without_secrets
from pleura.storage.elsewhere import path_at

if TYPE_CHECKING:
    from pleura.config import Predict
    from pleura.data.inputs import Inputs
    from pleura.inference.job import Job
    from pleura.inference.job_store import Rows
    from pleura.inference.prediction import Called
    from pleura.inference.predictor import Predictor
    from pleura.inference.row import Row
    from pleura.inference.watch import Watched
    from pleura.models.bundle import Bundle
    from pleura.remote.results_at import ResultsAt


def predict(
    out: Annotated[
        str, typer.Option(help="Folder for the results, or its address (s3://, gs://, az://).")
    ],
    items: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] INPUT...",
            help="A model: .h5, .onnx, .xml, the address of one, or one that comes with pleura, "
            "such as pleura:fast, the default. Then DICOM files, pictures, folders, quoted globs, "
            "addresses (s3://, gs://, az://, https://), lists of addresses (.csv, .parquet). A ZIP "
            "or tar file is a folder.",
        ),
    ] = None,
    asked: Asked = ASKED,
    on: options.On = "local",
    cpus: options.Cpus = 0,
    gpus: options.Gpus = 0.0,
    work: Annotated[
        Path | None,
        typer.Option(
            help="Folder of this machine where results are made that go to an address.",
            show_default="~/.cache/pleura/results",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object per file, then a summary.")
    ] = False,
) -> int:
    """Find pneumothorax in radiographs and write submission.csv and predictions.csv.

    Not a medical device: for research and education, not for diagnosis.

    A file that cannot be read has its reason in predictions.csv, and no row in submission.csv.
    One that is no frontal chest radiograph by its picture or header (inverted, lateral, a hand, CT)
    is not assessed. predictions.csv then says why, and submission.csv says -1, because it has no
    third word. In both cases the exit status is 3.

    A run that was cut off goes on where it was. Files are opened by processes of their own, which
    may take so much time and memory and no more.
    """
    from pleura.data.inputs import Inputs
    from pleura.inference.readers import open_readers
    from pleura.remote.objects import Objects

    model, inputs = _model_and_inputs(items or [])
    _require_possible(inputs, asked.batch, asked.watch, on)
    cluster = options.cluster_of(on, cpus, gpus)
    settings = asked.settings()
    place, work = _place(out, work, asked.watch)
    with contextlib.ExitStack() as held:
        objects = held.enter_context(Objects(asked.max_seconds))
        listed = Inputs(inputs, objects)
        sent = None
        if work is not None:
            from pleura.inference.tables import FILES
            from pleura.remote.results_at import ResultsAt

            command = _command(model, inputs, asked.ensemble or [], settings)
            sent = held.enter_context(ResultsAt(place, command, FILES, work, objects))
        folder = Path(place) if sent is None else sent.folder
        files = None if asked.watch else listed.count
        readers = held.enter_context(open_readers(settings, files)) if cluster is None else None
        # They start while this is imported and the model is loaded.
        from pleura.inference.job import Job
        from pleura.stages.predict import job_settings

        bundles, predictor = _opened(model, asked.ensemble or [], settings)
        told = _Told(as_json, listed.passed)
        with console.progress("predicting") as progress:
            together = _batch(asked.batch, predictor, _MANY if files is None else files)
            how = job_settings(predictor, settings, folder, together)
            if cluster is not None:
                from pleura.stages import predict_on_ray

                job = held.enter_context(
                    predict_on_ray.open_job(cluster, predictor, bundles, settings, how)
                )
                _all_of(job, listed, told, progress, sent, predict_on_ray.TURN)
            elif asked.watch is not None:
                watched = _watched(asked.watch, folder)
                job = held.enter_context(Job(predictor, how, readers, objects))
                _arriving(job, watched, told, progress)
            else:
                job = held.enter_context(Job(predictor, how, readers, objects))
                _all_of(job, listed, told, progress, sent)
        rows = job.write_results() if asked.watch is not None else _finished(job, told, sent)
        _say_left_over(folder, job.left_over())
    if asked.deidentify and asked.watch is None:
        from pleura.results.writer import forget_key

        forget_key(folder)
    shown = folder if sent is None else path_at(sent.url)
    return told.end(predictor, shown, sum(not row.assessed for row in rows))


def _place(out: str, work: Path | None, watch: Path | None) -> tuple[str, Path | None]:
    """Return where results go; and, where that is an address, in which folder they are made.

    Raises:
        UsageError: Nothing is written there; or an option does not go with it.
    """
    from pleura.errors import UsageError
    from pleura.storage.own_file import cache_folder

    place = options.written_at(out, "out")
    if not scheme_of(place):
        if work is not None:
            raise UsageError("--work: is for results at an address; leave it out")
        return place, None
    if watch is not None:
        raise UsageError(
            f"--out {without_secrets(place)}: --watch has no end, so its results cannot be put at "
            "an address; name a folder, and copy it to the store"
        )
    return place, work or cache_folder("results")


def _require_possible(inputs: Sequence[str], batch: str, watch: Path | None, on: str) -> None:
    """Check the options that depend on one another."""
    from pleura.errors import UsageError

    if batch != "auto" and not (batch.isdecimal() and int(batch) >= 1):
        raise UsageError(f"--batch {batch}: take a number from 1 on, or auto")
    if on != "local" and watch is not None:
        raise UsageError(f"--on {on}: a folder is watched by one machine; leave out one of the two")
    if bool(inputs) == (watch is not None):
        raise UsageError("name what to predict: files, folders or globs, or --watch FOLDER")


_DEFAULT_USED = (
    f"no model is named, so {DEFAULT} answers, which comes with pleura, for research and "
    f"education; how good it is: pleura info {DEFAULT}"
)

_MODELS = (".h5", ".onnx", ".xml")
_ANYBODYS_MODELS = (".h5", ".onnx", ".keras", ".pt", ".pth", ".tflite", ".safetensors")

# A UID, or what scanners and DICOM media call a file, such as IM1, CR0002 or IMG-0001-00001.
_CALLED_AS_RADIOGRAPH = re.compile(r"(?:[A-Z]{1,2}|IMG|IMAGE)?[_-]?[0-9][0-9._-]*", re.ASCII)


def _model_and_inputs(items: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the model, None where none is named, and the rest: a model comes first if at all.

    Raises:
        UsageError: The first is neither a model nor a radiograph, or may be either; or a model
            comes later. Another model than the one that was meant would answer.
    """
    from pleura.errors import UsageError

    first, *rest = items or [""]
    for item in rest:
        a_model = is_name(item) or _suffix(item) in _ANYBODYS_MODELS
        if a_model or (holds_model(item) and not _holds_radiographs(item)):
            raise UsageError(
                f"{without_secrets(item)}: is a model, and comes after {without_secrets(first)}; "
                "name the model first"
            )
    if is_name(first) or _suffix(first) in _MODELS:
        return first, rest
    if holds_model(first):
        if _holds_radiographs(first):
            raise UsageError(
                f"{first}: holds radiographs and a {IN_FOLDER}; name the model that is meant first,"
                f" {Path(first) / IN_FOLDER} or {DEFAULT}, and then {first}"
            )
        return first, rest
    what = _no_radiograph(first)
    if what:
        raise UsageError(
            f"{first}: {what}; name radiographs, or before them a model: a .h5, .onnx or .xml of "
            f"pleura, or one that comes with it ({', '.join(names())})"
        )
    return None, list(items)


def _suffix(item: str) -> str:
    """Return what the name of a path or an address ends in, in small letters."""
    return Path(Address(item).name).suffix.lower()


def _holds_radiographs(folder: str) -> bool:
    from pleura.data.files import expand
    from pleura.errors import DataError
    from pleura.models.foreign import DICOM, what_is

    try:
        found = expand([folder]).files
    except DataError:
        return False
    # Curves beside a model are pictures, too.
    found = [file for file in found if not is_picture(file)]
    return any(is_radiograph(file) or what_is(file) == DICOM for file in found)


def _no_radiograph(item: str) -> str:
    """Return why an item cannot be a radiograph or a folder of them, or nothing."""
    from pleura.data.inputs import holds_inputs
    from pleura.models.foreign import EMPTY, FOLDER, RADIOGRAPHS, UNKNOWN, what_is

    if (
        not item
        or scheme_of(item)
        or holds_inputs(item)
        or is_radiograph(Path(item))
        or glob.has_magic(item)
    ):
        return ""  # it is read, and if it is none gets a row that says so
    if not os.path.lexists(item):
        return "there is no such file"
    what = what_is(item)
    if what in (UNKNOWN, EMPTY) and _CALLED_AS_RADIOGRAPH.fullmatch(Path(item).name):
        return ""
    if not os.path.exists(item):  # noqa: PTH110
        return "is a broken link"
    return "" if what in (FOLDER, *RADIOGRAPHS) else f"is {what}"


_MANY = 1 << 20
"""So many files there may be where nobody knows, as far as the choice of a batch goes."""


def _opened(
    model: str | None, others: Sequence[Path], settings: "Predict"
) -> tuple[list["Bundle"], "Predictor"]:
    """Return the models and what predicts with them; say what is to be known of both."""
    from pleura.engines.choice import converting
    from pleura.models.model_file import read_model
    from pleura.stages.predict import open_predictor

    bundles = [read_model(model or DEFAULT), *map(read_model, others)]
    if said := converting(bundles, settings.engine, settings.device):
        console.say(said)  # no bar moves meanwhile
    predictor = open_predictor(bundles, settings)
    if model is None:
        console.say(_DEFAULT_USED)
    for note in predictor.engine.notes:
        console.say(note)
    return bundles, predictor


def _batch(batch: str, predictor: "Predictor", files: int) -> int:
    if batch != "auto":
        return int(batch)
    from pleura.engines.batch_size import fastest_batch

    found = fastest_batch(predictor.engine, predictor.bundle.preprocessing.size, files)
    console.say(f"batch: {found}, the fastest here")
    return found


def _command(
    model: str | None, inputs: Sequence[str], others: Sequence[Path], settings: "Predict"
) -> str:
    """Return what tells this job from others to the same address; no secret is in it."""
    lasting = replace(settings, workers=0, max_seconds=60.0, max_memory=2048)
    models = [without_secrets(url_of(str(one))) for one in (model or "", *others)]
    return repr((models, [*map(without_secrets, inputs)], lasting))


PART_S = 20.0
"""So often what is answered is put at an address: as much is done twice if a machine is lost."""


def _all_of(
    job: "Job",
    listed: "Inputs",
    told: "_Told",
    progress: OnProgress,
    sent: "ResultsAt | None",
    turn_size: int = 4096,
) -> None:
    """Have all files answered, tell of each, and put them where they go to an address."""
    if sent is not None:
        for kept in sent.parts(job.identity):
            job.take_rows(kept)
        job.new_rows()
    put = time.monotonic()
    with (
        _going_on(job, told),
        contextlib.closing(job.answer_turns(listed.turns(turn_size))) as rows,
    ):
        for row in rows:
            told.hear(row)
            progress(job.done, len(job))
            if sent is not None and time.monotonic() - put >= PART_S and (new := job.new_rows()):
                _put_part(sent, job.identity, new)
                put = time.monotonic()


def _put_part(sent: "ResultsAt", job: str, rows: Mapping[str, str]) -> None:
    """Put rows at an address; where that fails, the work goes on, and the next time tries again."""
    from pleura.errors import OutputError

    try:
        sent.put_part(job, rows)
    except OutputError as error:
        console.say(f"note: {error}; it is tried again with what is answered next")


def _finished(job: "Job", told: "_Told", sent: "ResultsAt | None") -> "Rows":
    """Write the results, and put them at their address where they go to one."""
    with _going_on(job, told):
        if sent is None:
            return job.finish()
        with console.progress(f"putting results at {sent.url}") as progress:
            return job.finish(lambda: sent.put(progress))


def _say_left_over(out: Path, found: Mapping[str, int]) -> None:
    """Say which files an earlier job left that say something else than this one."""
    if found:
        files = ", ".join(f"{count} in {name}" for name, count in found.items())
        console.say(
            f"note: {out}: files of an earlier job with another model or other thresholds are "
            f"still there, and contradict the new tables: {files}; remove them, or predict into "
            "an empty folder"
        )


@contextlib.contextmanager
def _going_on(job: "Job", told: "_Told") -> Iterator[None]:
    """Say what is done where Ctrl-C ends it."""
    try:
        yield
    except KeyboardInterrupt:
        console.say(
            f"{told.files} of {len(job)} files are done; the same command continues with the others"
        )
        raise


def _watched(folder: Path, out: Path) -> "Watched":
    from pleura.inference.watch import Watched

    watched = Watched(folder, out)
    # What ends a service ends it as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console.say(f"watching {folder}; Ctrl-C ends it")
    return watched


def _arriving(job: "Job", watched: "Watched", told: "_Told", progress: OnProgress) -> None:
    """Have files answered as they arrive, and tell of each, until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(watched.answer(job)) as rows:
        for row in rows:
            told.hear(row)
            progress(job.done, len(job))
    told.passed = watched.passed


class _Told:
    """Hears of each answer: counts it, lists what has none, and prints it where JSON is wanted."""

    def __init__(self, as_json: bool, passed: Mapping[str, int]) -> None:
        self.passed = passed
        self.files = self._incomplete = self._flagged = 0
        self._called: Counter[Called | None] = Counter()
        self._as_json = as_json

    def hear(self, answer: "Row") -> None:
        """Count and print one row."""
        self.files += 1
        self._called[answer.called] += 1
        if answer.error:
            self._incomplete += answer.called is not None
            console.print_failures([(answer.path, answer.error)])
        if answer.flags:
            self._flagged += 1
            console.print_flagged(answer.path, answer.flags.split(";"), assessed=answer.assessed)
        if self._as_json:
            console.print_json_line(answer.as_json())

    def end(self, predictor: "Predictor", out: Path, submitted: int) -> int:
        """Print what came out, and return the exit status.

        Args:
            predictor: What answered.
            out: The job's folder.
            submitted: Rows of submission.csv whose images were not assessed.
        """
        from pleura.inference.tables import ANSWERS, SUBMISSION, TYPED

        called, failed = self._called, self._called[None]
        lacking = f", {self._incomplete} of them incomplete" if self._incomplete else ""
        answered = self._flagged - called["not assessed"]
        flagged = f", {answered} answered although flagged" if answered else ""
        console.say(
            f"{self.files} file{'s' * (self.files != 1)}: {called['positive']} called positive, "
            f"{called['negative']} negative, {called['not assessed']} not assessed, "
            f"{failed} failed{lacking}{flagged}. Not for diagnosis."
        )
        console.say_passed_over(self.passed)
        if submitted:
            console.say(
                f"{SUBMISSION} says -1 for {submitted} that {'was' if submitted == 1 else 'were'} "
                "not assessed, because its format has nothing else to say."
            )
        if self._as_json:
            console.print_json_line(
                {
                    "summary": {
                        "files": self.files,
                        "positive": called["positive"],
                        "negative": called["negative"],
                        "not_assessed": called["not assessed"],
                        "failed": failed,
                        "incomplete": self._incomplete,
                        "flagged": self._flagged,
                        "passed_over": dict(self.passed),
                        "submitted_not_assessed": submitted,
                        **predictor.provenance.as_json(),
                        "submission": str(out / SUBMISSION),
                        "predictions": str(out / ANSWERS),
                        "parquet": str(out / TYPED),
                    }
                }
            )
        else:
            console.show(str(out / SUBMISSION))
        whole = not (failed or called["not assessed"] or self._incomplete)
        return console.DONE if whole else console.SOME_INPUTS_FAILED
