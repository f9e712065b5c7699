"""Where the trials of a search are kept: in a file, or in a database that several processes share.

Optuna makes tables in any database that it is given, and of a damaged one its errors are of every
kind. So what a file is gets looked at first, and one sentence is made of whatever becomes of it.
"""

import contextlib
import re
import sqlite3
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from pleura.errors import DataError, OutputError, PleuraError, UsageError
from pleura.formats.text_file import open_regular, read_text
from pleura.printable import printable
from pleura.storage.atomic import FREE_SPACE, write_text

FILE = "study.db"
IDENTITY = "study.id"

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


class Storage(Protocol):
    """Where a study is kept."""

    @property
    def study(self) -> str:
        """The name of the study there."""

    def opened(self, optuna: Any) -> Any:
        """Return what Optuna takes as its storage, once it is seen to be ours.

        Raises:
            Exception: Of any kind; :meth:`explained` makes a sentence of it.
        """

    def explained(self, error: Exception) -> PleuraError:
        """Return the error in one sentence."""


class StudyFile:
    """``study.db`` in the folder of a search: SQLite, which is hostile until opened."""

    study = _STUDY

    def __init__(self, out: Path) -> None:
        self._path = out / FILE
        if (out / IDENTITY).exists():
            raise UsageError(
                f"{out}: its study is kept in a database; name that as `study`, or choose another "
                "`out`"
            )

    def opened(self, optuna: Any) -> Any:
        """Return the address of the file.

        Raises:
            DataError: It is of another program.
            sqlite3.Error: It is damaged, or cannot be opened.
        """
        from sqlalchemy.engine import URL  # it comes with Optuna

        _require_a_study_of_ours(self._path)
        return URL.create("sqlite", database=str(self._path)).render_as_string()

    def explained(self, error: Exception) -> PleuraError:
        """Return the error as one of the disk, or else of the file."""
        cause = _of_sqlite(error)
        number = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # without what it adds in detail
        why = _first_line(cause or error)
        if number in _WAYS_OUT:
            return OutputError(
                f"{self._path}: could not be written ({why}); what is finished is kept: "
                f"{_WAYS_OUT[number]} and run it again"
            )
        return DataError(
            f"{self._path}: cannot be used ({why}): it is damaged, or another version of "
            f"Optuna made it; {_ANEW}"
        )


class StudyDatabase:
    """A database that several processes share. Which of its studies is theirs, their folder says.

    The address may carry a password, so no message shows more of it than where the database is.

    Args:
        address: As SQLAlchemy takes it, such as ``postgresql://user@host/base``.
        out: The folder of the search, which all processes share too.

    Raises:
        UsageError: It is no such address, or the study of the folder lies in its own file.
    """

    def __init__(self, address: str, out: Path) -> None:
        from sqlalchemy.engine import make_url  # it comes with Optuna

        try:
            self._url = make_url(address)
        except Exception as error:  # not chained: its words may have the password
            raise UsageError(f"`study`: {_NO_ADDRESS} ({type(error).__name__})") from None
        if "@" in (self._url.host or ""):
            raise UsageError("`study`: a password holds an @, which an address writes as %40")
        if (out / FILE).exists():
            raise UsageError(
                f"{out}: its study is kept in {FILE} there; leave out `study`, or choose another "
                "`out`"
            )
        self._out = out

    def __str__(self) -> str:
        url = self._url
        return f"{url.get_backend_name()}://{url.host or ''}/{url.database or ''}"

    @property
    def study(self) -> str:
        """The name of the study, which is made up where the folder does not say it yet.

        Raises:
            DataError: The folder says something else.
        """
        path = self._out / IDENTITY
        if not path.exists():
            write_text(path, uuid4().hex)
        name = read_text(path, DataError, 64)
        if not re.fullmatch("[0-9a-f]{32}", name):
            raise DataError(f"{path}: is no name of a study, which has 32 hex digits; {_ANEW}")
        return f"{_STUDY}-{name}"

    def opened(self, optuna: Any) -> Any:
        """Return the database; a connection that broke off while a network trained is made anew."""
        address = self._url.render_as_string(hide_password=False)
        return optuna.storages.RDBStorage(address, engine_kwargs={"pool_pre_ping": True})

    def explained(self, error: Exception) -> PleuraError:
        """Return the error as one of the driver, or else of the database."""
        if isinstance(error, ImportError) or type(error).__name__ == "NoSuchModuleError":
            return UsageError(
                f"`study` {self}: no driver for it is installed ({_first_line(error)}); for "
                "PostgreSQL pip install 'pleura[postgresql]'"
            )
        cause = getattr(error, "orig", None) or error  # the driver's, without what SQLAlchemy adds
        return OutputError(
            f"`study` {self}: cannot be used ({_first_line(cause)}); what is finished is kept: see "
            "the address, and that the database answers, and run it again"
        )


_NO_ADDRESS = "is no address of a database; write postgresql://user@host/base"


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
