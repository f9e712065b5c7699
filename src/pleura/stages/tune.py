"""The search for settings: trials of a space, in a study that survives a kill.

::

    study.db           Optuna's study, SQLite
    trial-0007/        a training each, as pleura train leaves it
    trials.csv         one row per trial: its state, its value, its settings
    best.toml          the run file with the best settings
"""

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pleura.config import Range, Run, Scalar, as_table, as_toml, parse
from pleura.data.arrays import Prepared
from pleura.errors import ConfigError, UsageError
from pleura.formats.atomic import write_text
from pleura.stages.train import train_model
from pleura.training.loop import OnStep, Step, Trainer

METRIC = "val_dice_coeff"
"""What is maximised: the best epoch's."""

_NAME = "pleura"


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial of a study.

    Attributes:
        number: From 0.
        state: ``complete``, ``pruned``, ``fail`` or ``running``.
        value: The best value of `METRIC`; None where no epoch was finished.
        settings: What was tried, by ``section.key``.
    """

    number: int
    state: str
    value: float | None
    settings: Mapping[str, Scalar]


OnTrial = Callable[[int, Mapping[str, Scalar]], OnStep | None]


def tune(
    prepared: Prepared, out: Path, run: Run, *, on_trial: OnTrial | None = None
) -> tuple[Trial, ...]:
    """Search the run's space until there are as many finished trials as it wants; return all.

    A trial that is worse than the median of those before it, at the same epoch, is pruned. A study
    that was cut off goes on: a trial that was running is continued from its last epoch.

    Args:
        prepared: The data.
        out: The study's folder.
        run: Its sections network and train are the settings that the space varies.
        on_trial: Told the number and settings of each trial; returns what listens to its steps.

    Raises:
        ConfigError: The run has no space, or names a setting in it that there is not.
        UsageError: Optuna is not installed, or the folder holds a study of another space.
        OutputError: A file could not be written.
    """
    optuna = _optuna()
    if run.tune is None or not run.tune.space:
        raise ConfigError("the run has no [tune.space]; name there what to try, section.key = ...")
    _check(run, {name: _first(values) for name, values in run.tune.space.items()})
    out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{out / 'study.db'}",
        study_name=_NAME,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=run.tune.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=run.tune.warmup),
    )
    _require_same_space(study, out, run)
    while sum(trial.state.is_finished() for trial in study.trials) < run.tune.trials:
        trial = _unfinished(optuna, study) or _asked(study, run)
        _try(optuna, study, trial, prepared, out, run, on_trial)
        _write_trials(study, out, run)
    return tuple(_described(trial) for trial in study.trials)


def _try(
    optuna: Any,
    study: Any,
    trial: Any,
    prepared: Prepared,
    out: Path,
    run: Run,
    on_trial: OnTrial | None,
) -> None:
    """Train with a trial's settings, and tell the study of each epoch."""
    tried = _with(run, trial.params)
    trainer = Trainer(prepared, out / f"trial-{trial.number:04d}", tried.network, tried.train)
    listener = on_trial(trial.number, trial.params) if on_trial is not None else None
    best: list[float] = []

    def told(step: Step) -> None:
        if listener is not None:
            listener(step)
        if step.finished is None:
            return
        best.append(max([*best, step.finished[METRIC]]))
        trial.report(best[-1], step.epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        bundle = train_model(trainer, resume=True, on_step=told)
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return
    study.tell(trial, max(bundle.history[METRIC]))


def _asked(study: Any, run: Run) -> Any:
    """Return a new trial with values for everything in the space."""
    trial = study.ask()
    for name, values in (run.tune.space if run.tune else {}).items():
        if isinstance(values, list):
            trial.suggest_categorical(name, values)
        elif isinstance(values.low, int) and isinstance(values.high, int):
            trial.suggest_int(name, values.low, values.high, step=int(values.step), log=values.log)
        else:
            step = None if values.log or values.step == 1 else float(values.step)
            trial.suggest_float(name, values.low, values.high, step=step, log=values.log)
    return trial


def _unfinished(optuna: Any, study: Any) -> Any:
    """Return the trial that was running when the study was cut off, or None."""
    running = [t for t in study.trials if t.state == optuna.trial.TrialState.RUNNING]
    return optuna.trial.Trial(study, running[0]._trial_id) if running else None


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


def _require_same_space(study: Any, out: Path, run: Run) -> None:
    """Raise UsageError where the folder's study was made for another space, else note this one."""
    wanted = {name: repr(values) for name, values in (run.tune.space if run.tune else {}).items()}
    known = study.user_attrs.get("space")
    if known not in (None, wanted):
        raise UsageError(f"{out}: holds a study of another [tune.space]; choose another --out")
    study.set_user_attr("space", wanted)


def _described(trial: Any) -> Trial:
    values = [*trial.intermediate_values.values()]
    value = trial.value if trial.value is not None else max(values, default=None)
    return Trial(trial.number, trial.state.name.lower(), value, dict(trial.params))


def _write_trials(study: Any, out: Path, run: Run) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(run.tune.space if run.tune else {})
    writer.writerow(["trial", "state", METRIC, *names])
    for trial in map(_described, study.trials):
        value = "" if trial.value is None else f"{trial.value:.6f}"
        writer.writerow([trial.number, trial.state, value, *(trial.settings[n] for n in names)])
    write_text(out / "trials.csv", text.getvalue())
    if any(trial.state.name == "COMPLETE" for trial in study.trials):
        write_text(out / "best.toml", as_toml(_with(run, study.best_trial.params)))


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UsageError(
            f"tuning needs the package optuna ({error}); install it with pip install 'pleura[tune]'"
        ) from error
    return optuna
