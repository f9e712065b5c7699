"""`pleura tune`: search a space of settings."""

from typing import TYPE_CHECKING, Annotated

import typer

from pleura.cli import console, options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pleura.config import Scalar
    from pleura.training.history import OnStep


def tune(
    prepared: Annotated[
        options.Arrays,
        typer.Argument(help="A folder that pleura prepare wrote, or its address in a store."),
    ],
    out: Annotated[options.Out, typer.Option(help="Folder for the study.")],
    run_file: Annotated[
        options.Anywhere,
        typer.Option("--run", help="A run as a TOML file, or its address, with a [tune.space]."),
    ],
    study: Annotated[
        str,
        typer.Option(
            help="Address of a database, such as postgresql://user@host/base, that several of "
            "these commands share, all with one --out; its password is better in PGPASSWORD or "
            "~/.pgpass.",
            metavar="ADDRESS",
        ),
    ] = "",
    settings: options.Setting = None,
    as_json: options.AsJson = False,
) -> None:
    """Try settings, prune what is worse than the median, and write the best as a run file.

    The study is kept in the folder: what was cut off goes on with the same command, and a larger
    tune.trials adds to it. The best settings were chosen on the validation part, so its figures are
    too good; judge them on other images. With --study any number of these commands, on machines
    that share the folder, try the settings together, and what one that died had begun is gone on
    with. Optuna is an extra: `pip install 'pleura[tune]'`.
    """
    from contextlib import ExitStack
    from dataclasses import asdict, replace

    from pleura.cli.stores import TRAIN_ANYWHERE, load_run, open_arrays, open_training
    from pleura.cli.train import watch_training
    from pleura.data.arrays import open_prepared
    from pleura.stages.tune import METRIC
    from pleura.stages.tune import tune as search

    run = options.require_paths(load_run(run_file, settings or ()), but=TRAIN_ANYWHERE)
    arrays = open_prepared(open_arrays(prepared))
    run = replace(run, train=open_training(run.train))
    with ExitStack() as watching:

        def on_trial(number: int, tried: "Mapping[str, Scalar]") -> "OnStep":
            watching.close()
            words = ", ".join(f"{name} {value}" for name, value in tried.items())
            console.say(f"trial {number}: {words}")
            return watching.enter_context(watch_training())

        trials = search(arrays, out, run, study=study, on_trial=on_trial)
    if as_json:
        console.print_json([asdict(trial) for trial in trials])
        return
    ranked = sorted(trials, key=lambda trial: -(trial.value or 0.0))
    for trial in ranked[:10]:
        words = ", ".join(f"{name} {value}" for name, value in trial.settings.items())
        value = "none" if trial.value is None else f"{trial.value:.4f}"
        console.show(f"trial {trial.number} ({trial.state}): {METRIC} {value}; {words}")
    running = sum(trial.state == "running" for trial in trials)
    if running:
        console.say(
            f"note: other processes still run {running} of the trials, and write the tables anew"
        )
    finished = any(trial.state == "complete" for trial in trials)
    best = (
        f"{out / 'best.toml'} and " if finished else "no best.toml, as no trial came to its end: "
    )
    console.say(f"wrote {best}{out / 'trials.csv'}")
