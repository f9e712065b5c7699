"""`pleura train`: from prepared arrays to model.h5."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pleura.cli import console, options

if TYPE_CHECKING:
    from pleura.config import Network, Train
    from pleura.data.arrays import Prepared
    from pleura.training.loop import OnStep, Step


def train(
    prepared: Annotated[
        Path, typer.Argument(help="A folder that pleura prepare wrote.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.", show_default=False)],
    run_file: options.RunFile = None,
    settings: options.Setting = None,
    folds: Annotated[
        str | None,
        typer.Option(
            help="A number: train so many folds, one after another, and judge each image by the "
            "network that never saw it. Or a fold table, as pleura folds writes it, to split by."
        ),
    ] = None,
    all_folds: Annotated[
        bool, typer.Option("--all-folds", help="Train all folds of the settings or the table.")
    ] = False,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit",
            help="With folds: train a model on all images as well, with the calibration, the "
            "thresholds and the figures of the folds. Needs train.keep=last.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training that was cut off.")
    ] = False,
) -> None:
    """Train a network; write model.h5, history.csv, history.jsonl, curves.png and run.json.

    Settings come from the sections network and train of a run file and of --set, such as
    --set train.epochs=3 or --set network.name=cnn. Several processes or machines train one model
    when it is started with torchrun or accelerate launch.
    """
    from accelerate import PartialState

    from pleura import config
    from pleura.data.arrays import open_prepared, with_folds
    from pleura.errors import SettingError
    from pleura.stages.train import train_model
    from pleura.training.loop import Trainer

    texts = list(settings or ())
    count = folds is not None and folds.isdecimal()
    if count:
        texts += [f"train.folds={folds}", "train.fold=0"]
    run = config.load_run(run_file, texts) if run_file else config.make_run(texts)
    arrays = open_prepared(prepared)
    if folds is not None and not count:
        arrays = with_folds(arrays, Path(folds))
    if count or all_folds:
        _train_all(arrays, out, run.network, run.train, refit=refit, resume=resume)
        return
    if refit:
        raise SettingError("--refit goes with --folds or --all-folds: a single training has none")
    trainer = Trainer(arrays, out, run.network, run.train)
    with watch_training() as told:
        bundle = train_model(trainer, resume=resume, on_step=told)
    if PartialState().is_main_process:
        values, kept = bundle.history["val_dice_coeff"], run.train.keep
        value = values[-1] if kept == "last" else max(values)
        console.say(f"{kept} validation dice_coeff {value:.3f}; wrote {out / 'model.h5'}")
        console.out.print(str(out / "model.h5"), markup=False)


def _train_all(
    arrays: "Prepared",
    out: Path,
    network: "Network",
    settings: "Train",
    *,
    refit: bool,
    resume: bool,
) -> None:
    from contextlib import ExitStack

    from pleura.cli.evaluate import print_figures
    from pleura.stages.folds import train_folds

    with ExitStack() as watching:

        def on_fold(fold: int) -> "OnStep":
            watching.close()
            whole = fold == settings.folds
            console.say("all images" if whole else f"fold {fold + 1} of {settings.folds}")
            return watching.enter_context(watch_training())

        found = train_folds(
            arrays, out, network, settings, refit=refit, resume=resume, on_fold=on_fold
        )
    if found is not None:
        print_figures("Out of fold", found.evaluation.as_json())
        models = found.models if found.whole is None else (*found.models, found.whole)
        console.say(f"wrote {len(models)} models, {out / 'out_of_fold.csv'}")
        for path in models:
            console.out.print(str(path), markup=False)


@contextmanager
def watch_training() -> Iterator["OnStep"]:
    """Yield what draws a training: a bar with loss and Dice, and a plain line per epoch."""
    if not console.err.is_terminal:
        yield lambda step: _say_epoch(step)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  dice {task.fields[dice]:.3f}"),
        TextColumn("{task.fields[rate]:.1f} images/s  left"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console.err) as bar:
        task = bar.add_task("", total=None, epoch="1", loss=0.0, dice=0.0, rate=0.0)

        def update(step: "Step") -> None:
            bar.update(
                task,
                completed=(step.epoch - 1) * step.steps + step.step,
                total=step.epochs * step.steps,
                epoch=f"{step.epoch}/{step.epochs}",
                loss=step.loss,
                dice=step.dice_coeff,
                rate=step.images_per_second,
            )
            _say_epoch(step)

        yield update


def _say_epoch(step: "Step") -> None:
    row = step.finished
    if row is not None:
        validated = (
            f"validation loss {row['val_loss']:.4f}, dice {row['val_dice_coeff']:.3f}; "
            if math.isfinite(row["val_loss"])
            else ""
        )
        console.say(
            f"epoch {step.epoch:>3} of {step.epochs}: loss {row['loss']:.4f}, dice "
            f"{row['dice_coeff']:.3f}; {validated}{step.images_per_second:.1f} images/s, "
            f"{row['seconds']:.1f} s"
        )
