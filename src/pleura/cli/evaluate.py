"""`pleura evaluate`: how good a model is on images that did not train it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pleura.cli import console, options

if TYPE_CHECKING:
    from pleura.evaluation.comparison import Comparison


def evaluate(
    model: Annotated[Path, typer.Argument(help="A model.h5.", show_default=False)],
    prepared: Annotated[
        Path, typer.Argument(help="A folder that pleura prepare wrote.", show_default=False)
    ],
    against: Annotated[
        Path | None, typer.Option(help="Another model.h5, to be held against this one.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML page here, such as evaluation.html.")
    ] = None,
    device: options.Device = "cpu",
    as_json: options.AsJson = False,
) -> None:
    """Score a model on the validation part of a prepared folder.

    These are the labelled images that did not train the model: on the folder it was trained on,
    the patients of its validation fold. Masks are compared at the files' own size; every figure
    has a 95 % interval over patients.

    With --against both models are scored on the images that trained neither, and their difference
    has an interval of its own, over the same draws of patients.
    """
    from pleura.data.arrays import open_prepared
    from pleura.inference.torch_engine import TorchEngine
    from pleura.models.bundle import read_bundle
    from pleura.stages.evaluate import compare_models, evaluate_model, write_validation_report

    bundle = read_bundle(model)
    other = None if against is None else read_bundle(against)
    arrays = open_prepared(prepared)
    comparison = None
    with console.progress("evaluating", "images") as told:
        if other is None:
            engine = TorchEngine(bundle, device)
            validation = evaluate_model(bundle, arrays, engine=engine, on_progress=told)
        else:
            both = compare_models(bundle, other, arrays, device=device, on_progress=told)
            validation, comparison = both.ours, both.comparison
    if report is not None:
        write_validation_report(bundle, arrays, validation, report, comparison)
        console.say(f"wrote {report}")
    figures = {**validation.evaluation.as_json(), "notes": list(validation.notes)}
    if comparison is not None:
        figures["against"] = {"model": str(against), **comparison.as_json()}
    if as_json:
        console.print_json(figures)
        return
    print_figures("Validation", figures)
    console.out.print()
    _print_parts(figures)
    if comparison is not None:
        console.out.print()
        _print_comparison(comparison)


def print_figures(title: str, figures: Mapping[str, Any]) -> None:
    """Print the figures of an evaluation, as in its JSON form, to stdout."""
    rows = {
        "images": f"{figures['images']} ({figures['positives']} with a pneumothorax, "
        f"{figures['patients']} patients)",
        "mean Dice": f"{figure(figures, 'mean_dice')}; answering none to all: "
        f"{figures['all_empty_dice']:.3f}",
        "positive Dice": figure(figures, "positive_dice"),
        "mean IoU": figure(figures, "mean_iou"),
        "AUROC": figure(figures, "auroc"),
        "average precision": figure(figures, "average_precision"),
        "sensitivity": figure(figures, "sensitivity"),
        "specificity": figure(figures, "specificity"),
        "lesions found": f"{figure(figures, 'lesion_sensitivity')} of {figures['lesions']}; false "
        f"ones per image: {figure(figures, 'false_lesions')}",
        "calibration error": f"{figure(figures, 'calibration_error')}; Brier score: "
        f"{figure(figures, 'brier')}",
    }
    for item in figures["points"][1:]:
        rows[f"at {item['name']}"] = (
            f"score from {item['point']['score']:.3f}: sensitivity {figure(item, 'sensitivity')}, "
            f"specificity {figure(item, 'specificity')}"
        )
    console.print_table(title, rows)
    for note in figures.get("notes", []):
        console.say(f"note: {note}")


def _print_parts(figures: Mapping[str, Any]) -> None:
    rows = {}
    for item in figures["predictive_values"]:
        rows[f"at {100 * item['prevalence']:.3g} % prevalence"] = (
            f"positive predictive value {figure(item, 'positive')}, negative "
            f"{figure(item, 'negative')}"
        )
    for item in figures["strata"]:
        rows[f"{item['by']} {item['name']}"] = (
            f"{item['images']} images, {item['positives']} positive: positive Dice "
            f"{figure(item, 'positive_dice')}, AUROC {figure(item, 'auroc')}, sensitivity "
            f"{figure(item, 'sensitivity')}"
        )
    console.print_table("By prevalence, and by part of the images", rows)


def _print_comparison(comparison: "Comparison") -> None:
    from pleura.evaluation.scores import FIGURES

    rows = {}
    for item in comparison.differences:
        if item.difference.value != item.difference.value:  # undefined
            rows[FIGURES[item.name]] = "undefined"
            continue
        rows[FIGURES[item.name]] = (
            f"{item.ours:.3f} against {item.theirs:.3f}, difference {item.difference}; above 0 in "
            f"{100 * item.above:.1f} % of the resamples"
        )
    console.print_table("Against the other model", rows)


def figure(figures: Mapping[str, Any], name: str, digits: int = 3) -> str:
    """Return a figure of an evaluation's JSON form with its interval, as a person reads it."""
    value = figures[name]
    if value is None:
        return "undefined"
    low, high = figures[f"{name}_interval"]
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
