"""The study of a search: all that is asked of Optuna is asked here.

Several processes may work on one study, if they share its folder. A trial is held by the lock of
its folder: who finds one that runs, in a folder that nobody holds, goes on with it.
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pleura.config import Scalar, Tune
from pleura.errors import OutputError, PleuraError, UsageError
from pleura.stages.study_storage import Storage, StudyDatabase, StudyFile
from pleura.storage.lock import locked_folder

_TURN_S = 600.0
"""So long others may be at the study before somebody who waits for his turn gives up."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial of a study.

    Attributes:
        number: From 0.
        state: ``complete``, ``pruned``, ``fail`` or ``running``.
        value: The best value of what is maximised; None where no epoch was finished.
        settings: What was tried, by ``section.key``.
    """

    number: int
    state: str
    value: float | None
    settings: Mapping[str, Scalar]


class Study:
    """The trials of a search.

    Args:
        out: Its folder, with ``study.db``, which is made where it is not there.
        wanted: The space, the seed, how many trials, and when one may be pruned.
        database: The address of a database that several processes share, instead of the file.

    Raises:
        DataError: The file is of another program, or is damaged. Whatever asks for a trial or tells
            of one raises it too.
        OutputError: It could not be written, or another program holds it; likewise.
        UsageError: Optuna is not installed, the address is none, or the study is of another space.
    """

    def __init__(self, out: Path, wanted: Tune, database: str = "") -> None:
        optuna = self._optuna = _import_optuna()
        self._wanted, self.out = wanted, out
        self._storage: Storage = StudyDatabase(database, out) if database else StudyFile(out)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._asking(), self.turn():
            self._study = optuna.create_study(
                storage=self._storage.opened(optuna),
                study_name=self._storage.study,
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(
                    n_startup_trials=4, n_warmup_steps=wanted.warmup
                ),
            )
            self._require_same_space()

    def turn(self) -> AbstractContextManager[None]:
        """Let nobody else begin a trial meanwhile, or write the tables of the study."""
        return locked_folder(self.out, "tune", patience_s=_TURN_S)

    def folder(self, number: int) -> Path:
        """Return where a trial trains."""
        return self.out / f"trial-{number:04d}"

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, in their order."""
        with self._asking():
            return tuple(_described(trial) for trial in self._study.trials)

    @property
    def best(self) -> Mapping[str, Scalar] | None:
        """The settings of the best trial that was finished; None where there is none yet."""
        finished = [trial for trial in self.trials if trial.state == "complete"]
        if not finished:
            return None
        return max(finished, key=lambda trial: trial.value or 0.0).settings

    def begin(self) -> "Attempt | None":
        """Return a trial that was cut off, or a new one; None where as many as wanted are begun."""
        with self._asking(), self.turn():
            attempt = self._cut_off()
            if attempt is None and len(self._study.trials) < self._wanted.trials:
                trial = self._study.ask()
                attempt = Attempt(self, trial, self._held(trial.number))
            if attempt is not None:
                self._suggest(attempt.trial)
            return attempt

    def _cut_off(self) -> "Attempt | None":
        """Return a trial that runs, and that no process holds."""
        running = self._optuna.trial.TrialState.RUNNING
        for left in self._study.trials:
            if left.state != running:
                continue
            with contextlib.suppress(OutputError):
                held = self._held(left.number)
                if self._study.trials[left.number].state == running:  # and not finished since
                    trial = self._optuna.trial.Trial(self._study, left._trial_id)
                    return Attempt(self, trial, held, left.intermediate_values)
                held.close()
        return None

    def _held(self, number: int) -> ExitStack:
        held = ExitStack()
        held.enter_context(locked_folder(self.folder(number), "train"))
        return held

    def _suggest(self, trial: Any) -> None:
        """Give a trial values for everything in the space that it has none for.

        Each draw has a seed of its own. So a study that was cut off goes on with what it would have
        tried anyway.
        """
        for name, values in self._wanted.space.items():
            drawn = f"{self._wanted.seed} {trial.number} {name}".encode()
            seed = int.from_bytes(sha256(drawn).digest()[:4], "big")
            self._study.sampler = self._optuna.samplers.TPESampler(seed=seed)
            if isinstance(values, list):
                trial.suggest_categorical(name, values)
            elif isinstance(values.low, int) and isinstance(values.high, int):
                trial.suggest_int(
                    name, values.low, values.high, step=int(values.step), log=values.log
                )
            else:
                step = None if values.log or values.step == 1 else float(values.step)
                trial.suggest_float(name, values.low, values.high, step=step, log=values.log)

    def _require_same_space(self) -> None:
        """Raise UsageError where the study was made for another space, else note this one."""
        wanted = {name: repr(values) for name, values in self._wanted.space.items()}
        known = self._study.user_attrs.get("space")
        if known not in (None, wanted):
            raise UsageError(
                f"{self.out}: holds a study of another [tune.space]; choose another `out`"
            )
        self._study.set_user_attr("space", wanted)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Make one sentence of whatever becomes of asking Optuna."""
        try:
            yield
        except PleuraError:
            raise
        except Exception as error:  # of a damaged file Optuna raises whatever Python does
            raise self._storage.explained(error) from error


class Attempt:
    """A trial that runs, and that no other process takes up until the ``with`` block ends.

    Attributes:
        trial: Optuna's.
        number: From 0.
    """

    def __init__(
        self, study: Study, trial: Any, held: ExitStack, told: Mapping[int, float] | None = None
    ) -> None:
        self._of, self._held, self._told = study, held, told or {}
        self.trial = trial
        self.number: int = trial.number

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @property
    def settings(self) -> Mapping[str, Scalar]:
        """What is tried, by ``section.key``."""
        return dict(self.trial.params)

    @property
    def folder(self) -> Path:
        """Where it trains."""
        return self._of.folder(self.number)

    def is_hopeless(self, value: float, epoch: int) -> bool:
        """Tell the study of the best value up to an epoch; return whether to go on is no use."""
        with self._of._asking():
            if epoch not in self._told:  # by who was cut off before the epoch was kept
                self.trial.report(value, epoch)
            return bool(self.trial.should_prune())

    def finish(self, value: float) -> None:
        """Tell the study that the training is finished, and its best value."""
        with self._of._asking():
            self._of._study.tell(self.trial, value)

    def give_up(self, *, failed: bool) -> None:
        """Tell the study that the trial was pruned, or that it failed."""
        states = self._of._optuna.trial.TrialState
        with self._of._asking():
            self._of._study.tell(self.trial, state=states.FAIL if failed else states.PRUNED)


def _described(trial: Any) -> Trial:
    values = [*trial.intermediate_values.values()]
    value = trial.value if trial.value is not None else max(values, default=None)
    return Trial(trial.number, trial.state.name.lower(), value, dict(trial.params))


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UsageError(
            f"tuning needs the package optuna ({error}); install it with pip install 'pleura[tune]'"
        ) from error
    return optuna
