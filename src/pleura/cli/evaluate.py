"""`pleura evaluate`: how good a model is on images that did not train it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pleura.cli import console, options


def evaluate(
    model: Annotated[Path, typer.Argument(help="A model.h5.", show_default=False)],
    prepared: Annotated[
        Path, typer.Argument(help="A folder that pleura prepare wrote.", show_default=False)
    ],
    report: Annotated[Path | None, typer.Option(help="Write an HTML page here.")] = None,
    device: options.Device = "cpu",
    as_json: options.AsJson = False,
) -> None:
    """Score a model on the validation part of a prepared folder.

    These are the labelled images that did not train the model: on the folder it was trained on,
    the patients of its validation fold. Masks are compared at the files' own size; every figure
    has a 95 % interval over patients.
    """
    from pleura.data.arrays import open_prepared
    from pleura.inference.engine import TorchEngine
    from pleura.models.bundle import read_bundle
    from pleura.stages.evaluate import evaluate_model, write_validation_report

    bundle = read_bundle(model)
    arrays = open_prepared(prepared)
    engine = TorchEngine(bundle, device)
    with console.progress("evaluating", "images") as told:
        validation = evaluate_model(bundle, arrays, engine=engine, on_progress=told)
    if report is not None:
        write_validation_report(bundle, arrays, validation, report)
        console.say(f"wrote {report}")
    figures = {**validation.evaluation.as_json(), "notes": list(validation.notes)}
    if as_json:
        console.print_json(figures)
    else:
        print_figures("Validation", figures)


def print_figures(title: str, figures: Mapping[str, Any]) -> None:
    """Print the figures of an evaluation, as in its JSON form, to stdout."""
    rows = {
        "images": f"{figures['images']} ({figures['positives']} with a pneumothorax, "
        f"{figures['patients']} patients)",
        "mean Dice": f"{_figure(figures, 'mean_dice')}; answering none to all: "
        f"{figures['all_empty_dice']:.3f}",
        "positive Dice": _figure(figures, "positive_dice"),
        "mean IoU": _figure(figures, "mean_iou"),
        "AUROC": _figure(figures, "auroc"),
        "sensitivity": _figure(figures, "sensitivity"),
        "specificity": _figure(figures, "specificity"),
    }
    console.print_table(title, rows)
    for note in figures.get("notes", []):
        console.say(f"note: {note}")


def _figure(figures: Mapping[str, Any], name: str) -> str:
    value = figures[name]
    if value is None:
        return "undefined"
    low, high = figures[f"{name}_interval"]
    if low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
