"""`pleura export`: a model.h5 for ONNX Runtime or OpenVINO."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pleura.choices import ExportTarget
from pleura.cli import console, options

if TYPE_CHECKING:
    from pleura.stages.export import ExportCheck


def export(
    model: Annotated[options.Anywhere, typer.Argument(help="A model.h5, or its address.")],
    to: Annotated[ExportTarget, typer.Option(help="The engine that runs it.")],
    out: Annotated[options.Out, typer.Option(help="The file: .onnx, or .xml (with a .bin).")],
    check: Annotated[
        Path | None,
        typer.Option(
            help="Radiographs to hold it against torch on: a prepared folder, or one of DICOM "
            "files. Phantoms are drawn where there are none."
        ),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="8-bit integers; needs --calibration.")] = (
        False
    ),
    calibration: Annotated[
        Path | None,
        typer.Option(help="Radiographs to measure int8's ranges on, a folder as for --check."),
    ] = None,
    max_dice_loss: Annotated[
        float, typer.Option(help="What int8 may lose of mean or positive Dice.", min=0, max=1)
    ] = 0.01,
    as_json: options.AsJson = False,
) -> None:
    """Write a model for another engine, with its preprocessing and thresholds inside.

    `pleura predict FILE ...` then runs it without torch. Nothing is written unless the file answers
    as torch does: no probability further off than rounding, and every image called alike; with
    --int8, no more Dice lost than stated, on images that it was not calibrated on.
    """
    from pleura.cli.stores import open_model
    from pleura.errors import UsageError
    from pleura.models.bundle import read_bundle
    from pleura.stages.export import export_model
    from pleura.storage.lock import locked_file

    if int8 != (calibration is not None):
        raise UsageError("--int8 and --calibration FOLDER go together; give both or neither")
    console.hold(locked_file(out, "export"))
    report = export_model(
        read_bundle(open_model(model)),
        to,
        out,
        check=check,
        calibration=calibration,
        max_dice_loss=max_dice_loss,
    )
    if as_json:
        console.print_json(_plain(report))
        return
    for line in _lines(report):
        console.say(line)
    console.show(str(out))


def _lines(report: "ExportCheck") -> list[str]:
    found, int8 = report.agreement, report.int8
    same = "identical" if not found.calls_changed else f"{found.calls_changed} otherwise"
    lines = [
        f"{report.engine} beside torch fp32, on {found.source}: largest difference of a "
        f"probability {found.largest:.2g}; decisions on {found.images} images: {same}; "
        f"{found.pixels_changed} pixels of their masks differ"
    ]
    if int8 is not None:
        lines += [
            f"calibrated on {int8.calibrated_on}",
            f"Dice lost: {int8.loss:.4f}, against the {int8.against} of {int8.images} images (mean "
            f"{int8.float_dice:.4f} to {int8.int8_dice:.4f})",
        ]
    return lines


def _plain(report: "ExportCheck") -> dict[str, object]:
    from dataclasses import asdict

    plain = asdict(report)
    plain["files"] = [str(path) for path in report.files]
    if report.int8 is not None:
        plain["int8"]["loss"] = report.int8.loss
    return plain
