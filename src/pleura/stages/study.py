"""The study of a search: Optuna's, in SQLite, which is hostile until opened.

Optuna makes tables in any database that it is given, and of a damaged one its errors are of every
kind. So what the file is gets looked at first, and all that is asked of it is asked here.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pleura.config import Scalar, Tune
from pleura.errors import DataError, OutputError, PleuraError, UsageError
from pleura.formats.text_file import open_regular
from pleura.printable import printable
from pleura.storage.atomic import FREE_SPACE

NAME = "study.db"

_STUDY = "pleura"
_SQLITE = b"SQLite format 3\0"
_MARK = "version_info"
"""A table that Optuna makes."""

_ANEW = "choose another `out`, or remove it to search anew"
_WAYS_OUT = {
    sqlite3.SQLITE_FULL: FREE_SPACE,
    sqlite3.SQLITE_IOERR: FREE_SPACE,
    sqlite3.SQLITE_READONLY: "choose another place",
    sqlite3.SQLITE_CANTOPEN: "choose another place",
    sqlite3.SQLITE_BUSY: "end the program that holds it",
    sqlite3.SQLITE_LOCKED: "end the program that holds it",
}
"""What to do about an error of SQLite's that is none of the file's."""


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
    """The trials in a folder's ``study.db``, which is made where it is not there.

    Args:
        out: The folder.
        wanted: The space, the seed, and when a trial may be pruned.

    Raises:
        DataError: The file is of another program, or is damaged. Whatever asks for a trial or tells
            of one raises it too.
        OutputError: It could not be written, or another program holds it; likewise.
        UsageError: Optuna is not installed, or the study is of another space.
    """

    def __init__(self, out: Path, wanted: Tune) -> None:
        optuna = self._optuna = _import_optuna()
        self._wanted, self._path = wanted, out / NAME
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._asking():
            _require_a_study_of_ours(self._path)
            from sqlalchemy.engine import URL  # it comes with Optuna

            self._study = optuna.create_study(
                storage=URL.create("sqlite", database=str(self._path)).render_as_string(),
                study_name=_STUDY,
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(
                    n_startup_trials=4, n_warmup_steps=wanted.warmup
                ),
            )
            self._require_same_space()

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

    def begin(self) -> "Attempt":
        """Return the trial that was running when the study was cut off, or a new one."""
        with self._asking():
            running = self._optuna.trial.TrialState.RUNNING
            left = [trial for trial in self._study.trials if trial.state == running]
            trial = self._study.ask() if not left else self._continued(left[0])
            self._suggest(trial)
            return Attempt(self, trial)

    def _continued(self, left: Any) -> Any:
        return self._optuna.trial.Trial(self._study, left._trial_id)

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
                f"{self._path.parent}: holds a study of another [tune.space]; choose another `out`"
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
            cause = _of_sqlite(error)
            number = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # without what it adds in detail
            why = _first_line(cause or error)
            if number in _WAYS_OUT:
                raise OutputError(
                    f"{self._path}: could not be written ({why}); what is finished is kept: "
                    f"{_WAYS_OUT[number]} and run it again"
                ) from error
            raise DataError(
                f"{self._path}: cannot be used ({why}): it is damaged, or another version of "
                f"Optuna made it; {_ANEW}"
            ) from error


class Attempt:
    """A trial that runs.

    Attributes:
        number: From 0.
        settings: What is tried, by ``section.key``.
    """

    def __init__(self, study: Study, trial: Any) -> None:
        self._of, self._trial = study, trial
        self.number: int = trial.number
        self.settings: Mapping[str, Scalar] = dict(trial.params)

    def is_hopeless(self, value: float, epoch: int) -> bool:
        """Tell the study of the best value up to an epoch; return whether to go on is no use."""
        with self._of._asking():
            self._trial.report(value, epoch)
            return bool(self._trial.should_prune())

    def finish(self, value: float) -> None:
        """Tell the study that the training is finished, and its best value."""
        with self._of._asking():
            self._of._study.tell(self._trial, value)

    def give_up(self, *, failed: bool) -> None:
        """Tell the study that the trial was pruned, or that it failed."""
        states = self._of._optuna.trial.TrialState
        with self._of._asking():
            self._of._study.tell(self._trial, state=states.FAIL if failed else states.PRUNED)


def _require_a_study_of_ours(path: Path) -> None:
    """Check, without a change to it, that a file is a study of ours, if there is one at all.

    Raises:
        DataError: It is something else.
        sqlite3.Error: It is damaged, or cannot be opened.
    """
    if not path.exists():
        return
    with open_regular(path, DataError) as file:
        begin = file.read(len(_SQLITE))
    if not begin:  # it was cut off before the first trial
        return
    if begin != _SQLITE:
        raise DataError(f"{path}: is no SQLite database, as a study is; {_ANEW}")
    with contextlib.closing(sqlite3.connect(path, timeout=1.0)) as opened:
        (said,) = opened.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise sqlite3.DatabaseError(str(said))
        tables = {str(row[0]) for row in opened.execute("SELECT name FROM sqlite_master")}
        if not tables:
            return
        studies = (
            {str(row[0]) for row in opened.execute("SELECT study_name FROM studies")}
            if {_MARK, "studies"} <= tables
            else {"none"}
        )
    if studies and _STUDY not in studies:
        raise DataError(f"{path}: is a database of another program than pleura tune; {_ANEW}")


def _of_sqlite(error: BaseException | None) -> sqlite3.Error | None:
    """Return the error of SQLite's that another one comes from, if it does."""
    while error is not None and not isinstance(error, sqlite3.Error):
        error = error.__cause__ or error.__context__
    return error


def _first_line(error: BaseException) -> str:
    lines = " ".join(str(error).split()).partition(". ")[0]
    return printable(lines[:200]) or type(error).__name__


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
