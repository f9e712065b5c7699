"""`pleura plan`: how many patients an evaluation takes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pleura.cli import console, options

if TYPE_CHECKING:
    from pleura.evaluation.planning import Circumstances, Need


def _number(low: float, high: float, about: str) -> Any:
    """Return an option that is a number or left out."""
    return typer.Option(min=low, max=high, help=about)


def plan(
    auroc: Annotated[
        float | None, _number(0.01, 1, "The AUROC that is expected, or of the other system.")
    ] = None,
    sensitivity: Annotated[float | None, _number(0.01, 1, "The same of sensitivity.")] = None,
    specificity: Annotated[float | None, _number(0.01, 1, "The same of specificity.")] = None,
    width: Annotated[
        float | None,
        _number(0.001, 0.999, "How wide the 95 % interval may be, from end to end, such as 0.1."),
    ] = None,
    margin: Annotated[
        float | None,
        _number(
            0.001,
            0.999,
            "Show that a system is no worse than another by more than this, such as 0.05.",
        ),
    ] = None,
    difference: Annotated[
        float | None,
        _number(
            -0.999,
            0.999,
            "By how much the one is truly better; without --margin, the difference to show.",
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        _number(
            0.0001,
            0.9999,
            "Share of positives where patients are taken as they come, such as 0.05. Without "
            "it they are chosen by their label.",
        ),
    ] = None,
    images: Annotated[
        float, typer.Option(min=1, help="Images that a patient has, on average.")
    ] = 1.0,
    resemblance: Annotated[
        float | None,
        _number(
            0,
            1,
            "How alike the images of a patient are, 0 to 1: their intraclass correlation. "
            "Wanted with --images.",
        ),
    ] = None,
    correlation: Annotated[
        float,
        typer.Option(
            min=-0.99,
            max=0.99,
            help="Between two systems on the same images: of their areas, or of their calls.",
        ),
    ] = 0.5,
    power: Annotated[
        float,
        typer.Option(min=0.5, max=0.999, help="The power: how likely a true effect is shown."),
    ] = 0.8,
    as_json: options.AsJson = False,
) -> int:
    """Say how many patients an evaluation takes, before anything is collected.

    With --width: so that the 95 % interval of AUROC, sensitivity or specificity is no wider. With
    --difference: so that a system that is better by so much is shown to be. With --margin: so that
    one that is as good (or differs by --difference) is shown to be no worse by more than that. What
    `pleura evaluate` has --against and --margin for.
    """
    from pleura.errors import UsageError
    from pleura.evaluation.planning import Circumstances, for_difference, for_width

    wanted = {"auroc": auroc, "sensitivity": sensitivity, "specificity": specificity}
    named: list[tuple[Any, float]] = [(n, v) for n, v in wanted.items() if v is not None]
    if not named:
        raise UsageError("name what is expected: --auroc, --sensitivity or --specificity")
    if (width is None) == (margin is None and difference is None):
        raise UsageError("name --width, or what is to be shown: --margin, --difference or both")
    if images > 1 and resemblance is None:
        raise UsageError(
            f"--images {images:g}: say with --resemblance how alike the images of a patient are, "
            "0 to 1; with 1, another image of a patient says nothing new"
        )
    study = Circumstances(
        prevalence, images, 1.0 if resemblance is None else resemblance, correlation, power
    )
    if width is not None:
        needs = [for_width(name, value, width, study) for name, value in named]
    else:
        needs = [
            for_difference(name, value, study, difference=difference or 0.0, margin=margin or 0.0)
            for name, value in named
        ]
    if as_json:
        console.print_json(_json(needs, study, width, margin, difference))
        return console.DONE
    _print(needs, study, _aim(width, margin, difference))
    if width is None:
        console.say(f"note: the two are taken to correlate by {correlation:g}; less takes more.")
    if prevalence is None and auroc is not None:
        console.say("note: without --prevalence, equally many of both labels.")
    return console.DONE


def _aim(width: float | None, margin: float | None, difference: float | None) -> str:
    if width is not None:
        return f"a 95 % interval no wider than {width:g}"
    apart = f" of a system that differs by {difference:g}" if difference else ""
    if margin is not None:
        return f"showing that it is no worse by more than {margin:g}{apart}"
    return f"showing a difference of {difference:g}"


def _print(needs: "Sequence[Need]", study: "Circumstances", aim: str) -> None:
    from pleura.evaluation.figures import FIGURES

    several = study.images > 1
    console.print_grid(
        ("figure", "expected", "patients with", "without", "in all", *["images"] * several),
        [
            (
                FIGURES[need.figure],
                f"{need.value:g}",
                f"{need.positives:,}",
                f"{need.negatives:,}",
                f"{need.positives + need.negatives:,}",
                *[f"{round((need.positives + need.negatives) * study.images):,}"] * several,
            )
            for need in needs
        ],
        title=f"Patients for {aim}",
        left=("figure",),
    )


def _json(
    needs: "Sequence[Need]",
    study: "Circumstances",
    width: float | None,
    margin: float | None,
    difference: float | None,
) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "needs": [asdict(need) for need in needs],
        "width": width,
        "margin": margin,
        "difference": difference,
        **asdict(study),
    }
