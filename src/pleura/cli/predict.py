"""`pleura predict`: from radiographs to submission.csv."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pleura.cli import console, options


def predict(
    model: Annotated[
        Path, typer.Argument(help="A model.h5, or an exported .onnx or .xml.", show_default=False)
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(help="DICOM files, folders or quoted globs.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.", show_default=False)],
    id_source: Annotated[
        str, typer.Option("--id", help="Name images by uid (SOP Instance UID) or by stem.")
    ] = "uid",
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Also write a picture per image.")
    ] = False,
    batch: Annotated[int, typer.Option(help="Images per network call.", min=1)] = 4,
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
    as_json: options.AsJson = False,
) -> int:
    """Find pneumothorax in radiographs and write submission.csv and predictions.csv.

    Not a medical device: for research and education, not for diagnosis.

    A run that was cut off goes on where it was. A file without an answer gets its reason in
    predictions.csv and no row in submission.csv.
    """
    from pleura.errors import UsageError
    from pleura.inference.folder import expand, predict_files
    from pleura.inference.predictor import load

    if id_source not in ("uid", "stem"):
        raise UsageError(f"--id {id_source}: take uid or stem")
    if precision not in ("auto", "fp32", "bf16"):
        raise UsageError(f"--precision {precision}: take auto, fp32 or bf16")
    if engine not in ("auto", "torch", "openvino", "onnx"):
        raise UsageError(f"--engine {engine}: take auto, torch, openvino or onnx")
    predictor = load(model, engine=engine, device=device, precision=precision, at=at)  # type: ignore[arg-type]
    for note in predictor.engine.notes:
        console.say(note)
    paths = expand(inputs)
    with console.progress("predicting") as told:
        answers = predict_files(
            predictor,
            paths,
            out,
            id_source="stem" if id_source == "stem" else "uid",
            overlays=overlays,
            batch=batch,
            on_progress=told,
        )
    failed = [answer for answer in answers if answer.error]
    console.print_failures([(answer.path, answer.error) for answer in failed])
    positive = sum(answer.rle not in (None, "-1") for answer in answers)
    console.say(
        f"{len(answers)} files: {positive} called positive, "
        f"{len(answers) - positive - len(failed)} negative, {len(failed)} failed. "
        "Not for diagnosis."
    )
    if as_json:
        files = {"submission": out / "submission.csv", "predictions": out / "predictions.csv"}
        console.print_json(
            {
                "answers": [asdict(answer) for answer in answers],
                "files": {name: str(path) for name, path in files.items()},
            }
        )
    else:
        console.out.print(str(out / "submission.csv"), markup=False)
    return console.SOME_INPUTS_FAILED if failed else console.DONE
