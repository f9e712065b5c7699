"""`pleura train`: from prepared arrays to model.h5."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pleura.cli import console, options
from pleura.cli.evaluate import print_figures
from pleura.cli.stores import TRAIN_ANYWHERE, load_run, open_arrays, open_paths, open_training
from pleura.remote.address import scheme_in

if TYPE_CHECKING:
    from pleura.config import Network, Run, Train
    from pleura.data.arrays import Prepared
    from pleura.evaluation.mix import Mix
    from pleura.training.history import OnStep, Step
    from pleura.training.loop import Trainer

_LINE_EVERY_S = 60.0


def train(
    prepared: Annotated[
        str, typer.Argument(help="A folder that pleura prepare wrote, or its address in a store.")
    ],
    out: Annotated[options.Out, typer.Option(help="Folder for the results.")],
    run_file: options.RunFile = None,
    settings: options.Setting = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Train so many folds, one after another, and judge each image by the network that "
            "never saw it.",
            min=2,
            max=100,
        ),
    ] = None,
    fold_table: options.FoldTable = None,
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
    mix: options.MixNames = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted training.")
    ] = False,
    work: Annotated[
        Path | None,
        typer.Option(
            help="Where arrays from an address are kept.", show_default="~/.cache/pleura/arrays"
        ),
    ] = None,
    work_gib: Annotated[
        float,
        typer.Option(help="Most of them to keep, in GiB; 0 means half of the free space.", min=0),
    ] = 0.0,
    as_json: options.AsJson = False,
) -> None:
    """Train a network; write model.h5, history.csv, history.jsonl, curves.png and run.json.

    Settings come from the sections network and train of a run file and of --set, such as
    --set train.epochs=3 or --set network.name=cnn. Several processes or machines train one model
    when it is started with torchrun or accelerate launch.
    """
    from pleura import config
    from pleura.data.arrays import with_folds
    from pleura.errors import SettingError
    from pleura.evaluation.mix import find_mixes
    from pleura.stages.train import hold_to_train, is_trained, learned_nothing, train_model
    from pleura.training.loop import Trainer
    from pleura.training.setup import is_main_process

    texts = list(settings or ())
    if folds is not None:
        texts += [f"train.folds={folds}", "train.fold=0"]
    run = load_run(run_file, texts) if run_file else config.make_run(texts)
    options.require_paths(run, but=TRAIN_ANYWHERE)
    for text in texts:
        if text.partition(".")[0].strip() not in ("network", "train"):
            raise SettingError(
                f"--set {text}: a training takes settings of network and train, and this changes "
                "nothing in it; pleura run takes all"
            )
    console.hold(hold_to_train(out))
    arrays, settings_of_train = _opened(prepared, run, work, work_gib)
    (fold_table,) = open_paths(fold_table)
    if fold_table is not None:
        arrays = with_folds(arrays, fold_table)
    if folds is not None or all_folds:
        mixes = find_mixes(mix or ())
        found = _train_all(
            arrays, out, run.network, settings_of_train, refit=refit, resume=resume, mixes=mixes
        )
        _print(found, as_json)
        return
    for option in (*(["--refit"] if refit else []), *(["--mix"] if mix else [])):
        raise SettingError(f"{option} goes with --folds or --all-folds: a single training has none")
    trainer = Trainer(arrays, out, run.network, settings_of_train)
    if is_main_process():
        done = resume and is_trained(trainer)
        console.say(f"{out} holds this training, finished" if done else trainer.about)
        if trainer.note:
            console.say(f"note: {trainer.note}")
    with watch_training() as told:
        bundle = train_model(trainer, resume=resume, on_step=told)
    if is_main_process():
        values, kept = bundle.history["val_dice_coeff"], run.train.keep
        value = values[-1] if kept == "last" else max(values)
        console.say(f"{kept} validation dice_coeff {value:.3f}; wrote {out / 'model.h5'}")
        for doubt in filter(None, (learned_nothing(bundle.evaluation), trainer.caution)):
            console.say(f"note: {doubt}")
        _print(
            {
                "models": [str(out / "model.h5")],
                "kept": kept,
                "val_dice_coeff": value if math.isfinite(value) else None,
            },
            as_json,
        )


def _opened(
    prepared: str, run: "Run", work: Path | None, work_gib: float
) -> tuple["Prepared", "Train"]:
    """Return a prepared folder until the command ends, and settings with paths of further ones.

    Raises:
        UsageError: One is at an address of a kind that is not read; or an option is for such alone.
    """
    from pleura.data.arrays import open_prepared
    from pleura.errors import UsageError

    if (work is not None or work_gib) and not any(map(scheme_in, (prepared, *run.train.extra))):
        raise UsageError("--work, --work-gib: are for arrays at an address; leave them out")
    keep = work, int(work_gib * 2**30)
    return open_prepared(open_arrays(prepared, *keep)), open_training(run.train, *keep)


def _print(told: Mapping[str, Any] | None, as_json: bool) -> None:
    """Print what the main process has to tell: JSON, or the models' paths."""
    if told is None:
        return
    if as_json:
        console.print_json(told)
        return
    if "out_of_fold" in told:
        print_figures("Out of fold", told["out_of_fold"])
    for path in told["models"]:
        console.show(path)


def _train_all(
    arrays: "Prepared",
    out: Path,
    network: "Network",
    settings: "Train",
    *,
    refit: bool,
    resume: bool,
    mixes: "Sequence[Mix]",
) -> dict[str, Any] | None:
    """Train all folds; return what the main process has to tell."""
    from contextlib import ExitStack

    from pleura.stages.folds import train_folds
    from pleura.stages.train import learned_nothing

    with ExitStack() as watching:

        def on_fold(fold: int, trainer: "Trainer") -> "OnStep":
            watching.close()
            whole = fold == settings.folds
            name = "all images" if whole else f"fold {fold + 1} of {settings.folds}"
            console.say(f"{name}: {trainer.about}")
            if trainer.note:
                console.say(f"note: {trainer.note}")
            return watching.enter_context(watch_training())

        found = train_folds(
            arrays, out, network, settings, refit=refit, resume=resume, mixes=mixes, on_fold=on_fold
        )
    if found is None:
        return None
    models = found.models if found.whole is None else (*found.models, found.whole)
    console.say(f"wrote {len(models)} models, {out / 'out_of_fold.csv'}")
    figures = found.evaluation.as_json()
    if nothing := learned_nothing(figures):
        console.say(f"note: {nothing}")
    return {"models": [str(path) for path in models], "out_of_fold": figures}


@contextmanager
def watch_training() -> Iterator["OnStep"]:
    """Yield what draws a training: a bar, or plain lines in a pipe, and a line per epoch."""
    if not console.err.is_terminal:
        yield _lines()
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.fields[state]}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console.err) as bar:
        task = bar.add_task("", total=None, state="before the first batch")

        def update(step: "Step") -> None:
            bar.update(
                task,
                completed=(step.epoch - 1) * step.steps + step.step,
                total=step.epochs * step.steps,
                state=f"epoch {step.epoch}/{step.epochs}  loss {step.loss:.4f}  dice_coeff "
                f"{step.dice_coeff:.3f}",  # and no more, for the times must fit into 80 columns
            )
            _say_epoch(step)

        yield update


def _lines() -> "OnStep":
    """Return what says each minute how far an epoch is, and how an epoch ended."""
    said = time.monotonic()

    def update(step: "Step") -> None:
        nonlocal said
        now = time.monotonic()
        if step.finished is not None:
            said = now
            _say_epoch(step)
        elif now - said >= _LINE_EVERY_S:
            said = now
            console.say(
                f"epoch {step.epoch:>3} of {step.epochs}, step {step.step} of {step.steps}: loss "
                f"{step.loss:.4f}, dice_coeff {step.dice_coeff:.3f}; "
                f"{step.images_per_second:.1f} images/s"
            )

    return update


def _say_epoch(step: "Step") -> None:
    row = step.finished
    if row is not None:
        validated = (
            f"validation loss {row['val_loss']:.4f}, dice_coeff {row['val_dice_coeff']:.3f}; "
            if math.isfinite(row["val_loss"])
            else ""
        )
        console.say(
            f"epoch {step.epoch:>3} of {step.epochs}: loss {row['loss']:.4f}, dice_coeff "
            f"{row['dice_coeff']:.3f}; {validated}{step.images_per_second:.1f} images/s, "
            f"{row['seconds']:.1f} s"
        )
