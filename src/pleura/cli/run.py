"""`pleura run` and `pleura demo`: all stages in order, with a summary at the end."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pleura.cli import console, options
from pleura.cli.evaluate import print_figures
from pleura.cli.stores import READ_ANYWHERE, load_run, open_run
from pleura.cli.train import watch_training
from pleura.processes.progress import OnProgress

if TYPE_CHECKING:
    from pleura.stages.run import RunResult
    from pleura.training.history import OnStep


def run(
    file: Annotated[options.Anywhere, typer.Argument(help="A run as a TOML file, or its address.")],
    settings: options.Setting = None,
    as_json: options.AsJson = False,
) -> int:
    """Do a whole run: audit, prepare, train, evaluate, predict.

    Stages whose inputs and settings did not change are reused. Data, further training folders, the
    model to begin with and the inputs to predict may lie at addresses; results go to a folder of
    this machine. The exit status is 3 where an input failed or was not assessed.
    """
    from pleura.stages.run import run as run_stages

    wanted = options.require_paths(load_run(file, settings or ()), but=READ_ANYWHERE)
    result = run_stages(open_run(wanted), Console())
    _print(result, as_json)
    console.print_failures(result.failures)
    for path, flags in result.not_assessed:
        console.print_flagged(path, flags.split(";"), assessed=False)
    whole = not (result.failures or result.not_assessed)
    return console.DONE if whole else console.SOME_INPUTS_FAILED


def demo(
    out: Annotated[options.Out, typer.Option(help="Folder for everything.")] = Path("demo"),
    settings: options.Setting = None,
    as_json: options.AsJson = False,
) -> None:
    """Make up a cohort of phantoms, and do the whole job on it.

    The figures are measured on test phantoms that neither the network nor its thresholds saw.
    Some of the phantoms' files are faulty on purpose; the audit finds them and goes on.
    """
    from pleura.stages.run import demo_settings
    from pleura.stages.run import run as run_stages

    result = run_stages(options.require_paths(demo_settings(str(out), settings or ())), Console())
    _print(result, as_json)


class Console:
    """A listener that draws on stderr."""

    def stage(self, name: str, state: str) -> None:
        """Print the stage's line."""
        console.say_stage(name, state)

    def progress(self, description: str, unit: str) -> AbstractContextManager[OnProgress]:
        """Return a bar."""
        return console.progress(description, unit)

    def training(self) -> "AbstractContextManager[OnStep]":
        """Return the bar of a training."""
        return watch_training()


def _print(result: "RunResult", as_json: bool) -> None:
    from pleura.stages.train import learned_nothing

    if nothing := learned_nothing(result.validation):
        console.say(f"note: {nothing}")
    if as_json:
        console.print_json(_summary(result))
        return
    print_figures("Validation part", result.validation)
    if result.test is not None:
        console.show()
        print_figures("Test images, never seen in training", result.test)
    console.show()
    console.print_table("Files", result.files)
    names = ("unreadable", "duplicates", "unlabelled", "rows_without_file")
    aside = ", ".join(f"{result.counts[name]} {name.replace('_', ' ')}" for name in names)
    console.say(f"set aside by the audit: {aside}")
    console.say_table_uses((use["said"] for use in result.tables), result.files["audit"])
    console.say(f"{result.seconds:.0f} seconds. Not a medical device: not for diagnosis.")


def _summary(result: "RunResult") -> dict[str, Any]:
    figures = result.test or result.validation
    return {
        "mean_dice": figures["mean_dice"],
        "positive_dice": figures["positive_dice"],
        "auroc": figures["auroc"],
        "measured_on": "test images" if result.test else "validation part",
        "seconds": round(result.seconds, 1),
        "files": result.files,
        "counts": result.counts,
        "tables": list(result.tables),
        "validation": result.validation,
        "test": result.test,
        "failures": result.failures,
        "not_assessed": [list(one) for one in result.not_assessed],
    }
