"""`pleura predict`: from radiographs to submission.csv."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from pleura.cli import console, options
from pleura.models.shipped import DEFAULT, is_name

if TYPE_CHECKING:
    from pleura.inference.answer import Answer
    from pleura.inference.predictor import Predictor


def predict(
    out: Annotated[Path, typer.Option(help="Folder for the results.", show_default=False)],
    items: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] INPUT...",
            help="A model (.h5, .onnx, .xml, or the name of one that comes with pleura); left out, "
            "the default one. Then DICOM files, folders or quoted globs.",
            show_default=False,
        ),
    ] = None,
    id_source: Annotated[
        str, typer.Option("--id", help="Name images by uid (SOP Instance UID) or by stem.")
    ] = "uid",
    report: Annotated[
        bool, typer.Option("--report", help="Also write report.html, a worklist to read on.")
    ] = False,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Also write a picture per image, with the mask.")
    ] = False,
    heatmaps: Annotated[
        bool, typer.Option("--heatmaps", help="Also write a picture per image, with the map.")
    ] = False,
    dicom: Annotated[
        str,
        typer.Option(
            help="Also write DICOM results, commas between: seg, map, sr, gsps, sc; or all."
        ),
    ] = "",
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="DICOM results without the patient.")
    ] = False,
    batch: Annotated[
        str, typer.Option(help="Images per network call, or auto: what is fastest here.")
    ] = "4",
    engine: Annotated[
        str,
        typer.Option(
            help="auto, torch, openvino or onnx; auto: openvino on the CPU, torch on CUDA."
        ),
    ] = "auto",
    device: options.Device = "cpu",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    at: Annotated[
        str,
        typer.Option(help="Operating point: default, sensitive, specific or rule."),
    ] = "default",
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over the picture and its mirror image.")
    ] = False,
    ensemble: Annotated[
        list[Path] | None,
        typer.Option(help="Another model.h5 to average with; may be repeated."),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(help="Predict what arrives in this folder, until Ctrl-C."),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes that read; 0 means half the cores, 2 to 8.", min=0)
    ] = 0,
    max_seconds: Annotated[
        float, typer.Option(help="Longest time to read or write for one file.", min=0.1)
    ] = 60.0,
    max_memory: Annotated[
        int, typer.Option(help="Most memory for one file, in MiB.", min=64)
    ] = 2048,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object per file, then a summary.")
    ] = False,
) -> int:
    """Find pneumothorax in radiographs and write submission.csv and predictions.csv.

    Not a medical device: for research and education, not for diagnosis.

    A run that was cut off goes on where it was. A file without an answer gets its reason in
    predictions.csv and no row in submission.csv. Files are opened by processes of their own, which
    are held to time and memory.
    """
    from pleura import config
    from pleura.data.files import expand
    from pleura.errors import UsageError
    from pleura.inference.readers import open_readers

    model, inputs = _model_and_inputs(items or [])
    if batch != "auto" and not (batch.isdecimal() and int(batch) >= 1):
        raise UsageError(f"--batch {batch}: take a number from 1 on, or auto")
    if bool(inputs) == (watch is not None):
        raise UsageError("name what to predict: files, folders or globs, or --watch FOLDER")
    settings = config.Predict(
        id=_one_of("--id", id_source, config.IdSource),
        overlays=overlays,
        heatmaps=heatmaps,
        report=report,
        dicom=_kinds(dicom, deidentify),
        deidentify=deidentify,
        at=at,
        tta=tta,
        engine=_one_of("--engine", engine, config.EngineName),
        device=device,
        precision=_one_of("--precision", precision, config.Precision),
        workers=workers,
        max_seconds=max_seconds,
        max_memory=max_memory,
    )
    paths = expand(inputs)
    with open_readers(settings, None if watch else len(paths)) as readers:
        # They start while this is imported and the model is loaded.
        from pleura.inference.engine import read_model
        from pleura.stages.predict import open_predictor, writers_of

        members = map(read_model, ensemble or [])
        predictor = open_predictor([read_model(model or DEFAULT), *members], settings)
        if model is None:
            console.say(_DEFAULT_USED)
        for note in predictor.engine.notes:
            console.say(note)
        told = _Told(as_json)
        with console.progress("predicting") as progress:
            shared = {
                "id_source": settings.id,
                "writers": writers_of(predictor, settings, out),
                "batch": _batch(batch, predictor, _MANY if watch else len(paths)),
                "readers": readers,
                "on_progress": progress,
                "on_answer": told,
            }
            if watch is None:
                _predict_paths(predictor, paths, out, told, shared)
            else:
                _watch(predictor, watch, out, told, shared)
    if deidentify and watch is None:
        from pleura.inference.dicom_results import forget_key

        forget_key(out)
    return told.end(predictor, out)


_MODELS = (".h5", ".onnx", ".xml")

_DEFAULT_USED = (
    f"no model is named: {DEFAULT}, which comes with pleura, for research and education; "
    f"pleura info {DEFAULT} says how good it was measured to be"
)


def _model_and_inputs(items: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the model, None where none is named, and the rest: a model comes first if at all."""
    first = items[0] if items else ""
    if first and (is_name(first) or Path(first).suffix.lower() in _MODELS):
        return first, list(items[1:])
    return None, list(items)


_MANY = 1 << 20
"""So many files may arrive in a folder that is watched, as far as the choice of a batch goes."""


def _one_of(option: str, value: str, choices: Any) -> Any:
    """Return the value, one of those of a Literal."""
    from pleura.errors import UsageError

    *others, last = get_args(choices)
    if value not in (*others, last):
        raise UsageError(f"{option} {value}: take {', '.join(others)} or {last}")
    return value


def _kinds(wanted: str, deidentify: bool) -> list[Any]:
    """Return the names of DICOM results in a text such as ``seg,sr``, or all."""
    from pleura import config
    from pleura.errors import UsageError

    if not wanted:
        if deidentify:
            raise UsageError("--deidentify: is for DICOM results; name them with --dicom all")
        return []
    known = get_args(config.ResultKind)
    named = list(known) if wanted == "all" else [one.strip() for one in wanted.split(",")]
    if not set(named) <= set(known):
        raise UsageError(f"--dicom {wanted}: take any of {','.join(known)}, or all")
    return named


def _batch(batch: str, predictor: "Predictor", files: int) -> int:
    if batch != "auto":
        return int(batch)
    from pleura.inference.fastest import fastest_batch

    found = fastest_batch(predictor.engine, predictor.bundle.preprocessing.size, files)
    console.say(f"batch: {found}, the fastest here")
    return found


def _predict_paths(
    predictor: "Predictor", paths: list[Path], out: Path, told: "_Told", shared: dict[str, Any]
) -> None:
    from pleura.inference.folder import predict_files

    try:
        predict_files(predictor, paths, out, **shared)
    except KeyboardInterrupt:
        console.say(
            f"{told.files} of {len(paths)} files are done; the same command goes on with the others"
        )
        raise


def _watch(
    predictor: "Predictor", folder: Path, out: Path, told: "_Told", shared: dict[str, Any]
) -> None:
    from pleura.inference.watch import watch_folder

    # What ends a service ends it as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console.say(f"watching {folder}; Ctrl-C ends it")
    watch_folder(predictor, folder, out, **shared)


class _Told:
    """Hears of each answer: counts it, lists what failed, and prints it where JSON is wanted."""

    def __init__(self, as_json: bool) -> None:
        self.files = self._positive = self._negative = self._failed = self._incomplete = 0
        self._flagged = 0
        self._as_json = as_json

    def __call__(self, answer: "Answer") -> None:
        self.files += 1
        if answer.rle is None:
            self._failed += 1
        else:
            self._positive += answer.rle != "-1"
            self._negative += answer.rle == "-1"
            self._incomplete += bool(answer.error)
        if answer.error:
            console.print_failures([(answer.path, answer.error)])
        if answer.flags:
            self._flagged += 1
            console.print_flagged(answer.path, answer.flags)
        if self._as_json:
            console.print_json_line(answer.as_json())

    def end(self, predictor: "Predictor", out: Path) -> int:
        """Print what came out, and return the exit status."""
        lacking = f", {self._incomplete} of the answers incomplete" if self._incomplete else ""
        flagged = f", {self._flagged} flagged" if self._flagged else ""
        console.say(
            f"{self.files} files: {self._positive} called positive, {self._negative} negative, "
            f"{self._failed} failed{lacking}{flagged}. Not for diagnosis."
        )
        if self._as_json:
            console.print_json_line(
                {
                    "summary": {
                        "files": self.files,
                        "positive": self._positive,
                        "negative": self._negative,
                        "failed": self._failed,
                        "incomplete": self._incomplete,
                        "flagged": self._flagged,
                        **predictor.provenance.as_json(),
                        "submission": str(out / "submission.csv"),
                        "predictions": str(out / "predictions.csv"),
                        "parquet": str(out / "predictions.parquet"),
                    }
                }
            )
        else:
            console.out.print(str(out / "submission.csv"), markup=False)
        return console.SOME_INPUTS_FAILED if self._failed or self._incomplete else console.DONE
