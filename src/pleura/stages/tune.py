"""The search for settings: trials of a space, in a study that survives a kill.

::

    study.db           Optuna's study, SQLite; or
    study.id           which study it is in a database that several processes share
    trial-0007/        a training each, as pleura train leaves it
    trials.csv         one row per trial: its state, its value, its settings
    best.toml          the run file with the best settings
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

from pleura.config import Range, Run, Scalar, as_table, as_toml, parse
from pleura.data.arrays import Prepared
from pleura.errors import ConfigError, DivergedError
from pleura.formats.csv_cells import csv_text
from pleura.stages.study import Attempt, Study, Trial
from pleura.stages.train import train_model
from pleura.storage.atomic import require_writable, write_text
from pleura.storage.lock import locked_folder
from pleura.training.history import OnStep, Step
from pleura.training.loop import Trainer

METRIC = "val_dice_coeff"
"""What is maximised: the best epoch's."""

OnTrial = Callable[[int, Mapping[str, Scalar]], OnStep | None]


def tune(
    prepared: Prepared, out: Path, run: Run, *, study: str = "", on_trial: OnTrial | None = None
) -> tuple[Trial, ...]:
    """Search the run's space until as many trials as it wants are begun; return all.

    A trial that is worse than the median of those before it, at the same epoch, is pruned. A study
    that was cut off goes on: a trial that was running is continued from its last epoch.

    With a `study`, any number of processes may do this at once, on one folder. Together they try as
    many settings as one would. Whoever finds nothing more to begin returns, while others may still
    train; who ends last leaves the whole table.

    Args:
        prepared: The data.
        out: The study's folder.
        run: Its sections network and train are the settings that the space varies.
        study: The address of a database that several processes share, as SQLAlchemy takes it, such
            as ``postgresql://user@host/base``; "" keeps the study in the folder, for one process.
        on_trial: Told the number and settings of each trial; returns what listens to its steps.

    Raises:
        ConfigError: The run has no space, or names a setting in it that there is not.
        UsageError: Optuna is not installed, the address is none, or the folder holds a study of
            another space.
        DataError: The folder's study is damaged, or of another program.
        OutputError: A file could not be written, another process writes there, or the database
            does not answer.
    """
    if run.tune is None or not run.tune.space:
        raise ConfigError("the run has no [tune.space]; name there what to try, section.key = ...")
    _check(run, {name: _first(values) for name, values in run.tune.space.items()})
    require_writable(out)
    with nullcontext() if study else locked_folder(out, "tune"):
        return _searched(Study(out, run.tune, study), prepared, run, on_trial)


def _searched(
    study: Study, prepared: Prepared, run: Run, on_trial: OnTrial | None
) -> tuple[Trial, ...]:
    while (attempt := study.begin()) is not None:
        with attempt:
            _try(attempt, prepared, run, on_trial)
        with study.turn():
            _write_trials(study, run)
    return study.trials


class _HopelessError(Exception):
    """A trial that is worse than those before it."""


def _try(attempt: Attempt, prepared: Prepared, run: Run, on_trial: OnTrial | None) -> None:
    """Train with a trial's settings, and tell the study of each epoch."""
    tried = _with(run, attempt.settings)
    trainer = Trainer(prepared, attempt.folder, tried.network, tried.train)
    listener = on_trial(attempt.number, attempt.settings) if on_trial is not None else None
    best: list[float] = []

    def told(step: Step) -> None:
        if listener is not None:
            listener(step)
        if step.finished is None:
            return
        best.append(max([*best, step.finished[METRIC]]))
        if attempt.is_hopeless(best[-1], step.epoch):
            raise _HopelessError

    try:
        bundle = train_model(trainer, resume=True, on_step=told)
    except (_HopelessError, DivergedError) as error:
        attempt.give_up(failed=isinstance(error, DivergedError))
        return
    attempt.finish(max(bundle.history[METRIC]))


def _with(run: Run, settings: Mapping[str, Scalar]) -> Run:
    """Return the run with some settings laid over it."""
    table = as_table(run)
    for name, value in settings.items():
        section, _, key = name.partition(".")
        table[section] = {**table[section], key: value}
    return parse(Run, table, "tune.space")


def _check(run: Run, settings: Mapping[str, Scalar]) -> None:
    for name in settings:
        if name.partition(".")[0] not in ("network", "train") or "." not in name:
            raise ConfigError(
                f"tune.space has {name!r}; what can be tried are the settings of network and train"
            )
    _with(run, settings)


def _first(values: list[Scalar] | Range) -> Scalar:
    return values[0] if isinstance(values, list) else values.low


def _write_trials(study: Study, run: Run) -> None:
    names = list(run.tune.space if run.tune else {})
    rows = []
    for trial in study.trials:
        value = "" if trial.value is None else f"{trial.value:.6f}"
        tried = (trial.settings.get(name, "") for name in names)
        rows.append([trial.number, trial.state, value, *tried])
    write_text(study.out / "trials.csv", csv_text(["trial", "state", METRIC, *names], rows))
    best = study.best
    if best is not None:
        write_text(study.out / "best.toml", as_toml(_with(run, best)))
