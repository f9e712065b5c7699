"""Keyed texts in one SQLite file: what is put there survives a kill and a full disk.

One process works on a file at a time, and holds it (SQLite's exclusive mode, so that nothing is
shared through memory that a network drive cannot share). A text is handed to the system before
:meth:`Store.put` returns, so that it outlives the process however that ends, and is brought to the
disk at least once a second, so that at most a second of work is lost with the machine.

Beside the file lies ``NAME-wal`` while it is open, and after a kill: what was put since it was last
brought to the disk. SQLite joins the two when the file is opened again.

Where a drive knows no locks, as some network drives do, the file is opened without one: whoever
opens a store holds its folder by :mod:`pleura.storage.lock`, which works there too.
"""

import contextlib
import errno
import os
import sqlite3
import string
import threading
import time
import weakref
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from pleura.errors import OutputError, SealError
from pleura.storage.atomic import FREE_SPACE, way_out
from pleura.storage.own_file import require_own_file
from pleura.storage.seal import sealed_line, unsealed_line

_APPLICATION = 0x706C6575
"""What SQLite calls an application id: ``pleu``."""

_SYNC_S = 1.0
_WAIT_S = 5.0
_TABLES = (
    "CREATE TABLE job (identity TEXT NOT NULL)",
    # `passing` stands in place of `text` until the file is opened again.
    "CREATE TABLE kept (number INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, text TEXT, "
    "passing TEXT)",
)
_NO_LOCKS = {
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_RDLOCK,
    sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
    sqlite3.SQLITE_IOERR_UNLOCK,
}
_OTHER_LAYOUT = "another layout"
_RAISED = (sqlite3.Error, UnicodeError)
"""The second where SQLite's own message quotes damage that is no text."""

_LOST = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Store:
    """Texts by key, in the order in which their keys came; use it in a ``with`` block.

    Args:
        path: The file; made where it is not there, with its folder.
        identity: Of the job. A file of another job begins anew.
        private: Whether its owner alone may read it.

    Raises:
        OutputError: It is damaged, no file of pleura, held by another process, or cannot be
            written; or it is a pipe or a device, or what SQLite keeps beside it is one.
    """

    def __init__(self, path: Path, identity: str, *, private: bool = False) -> None:
        self._path = path
        self._synced = time.monotonic()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            require_own_file(path, *(_beside(path, end) for end in ("wal", "shm", "journal")))
            if private:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            why = error.strerror or str(error)
            raise OutputError(_unwritten(path, why, way_out(error))) from error
        with self._troubles():
            self._open = _open(path)
            try:
                self._begin(identity)
            except BaseException:
                self._open.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __contains__(self, key: str) -> bool:
        return self._number(key) is not None

    def __len__(self) -> int:
        return int(self._rows("SELECT count(*) FROM kept")[0][0])

    def get(self, key: str) -> str | None:
        """Return the text of a key, None where it has none.

        Raises:
            OutputError: It cannot be read, or is damaged.
        """
        number = self._number(key)
        return None if number is None else self._open.text(number)

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield keys and texts, in the order in which the keys came first."""
        for number, key in self._rows("SELECT number, key FROM kept ORDER BY number"):
            yield key, self._open.text(number)

    def put(self, key: str, text: str, *, passing: bool = False) -> None:
        """Keep a text, in place of an earlier one of this key.

        Args:
            key: What it is asked for by.
            text: Without a line break, in Unicode that UTF-8 can write.
            passing: Whether it counts until the file is opened again only; then an earlier text
                that was none such comes back.

        Raises:
            OutputError: It could not be written; what was put before is kept.
        """
        column, other = ("passing", "text") if passing else ("text", "passing")
        keeps = f"{column}=excluded.{column}" + ("" if passing else f", {other}=NULL")
        with self._troubles():
            self._open.run(
                f"INSERT INTO kept (key, {column}) VALUES (?, ?) "
                f"ON CONFLICT (key) DO UPDATE SET {keeps}",
                (key, sealed_line(f"{key} {text}")),
            )
            if time.monotonic() - self._synced >= _SYNC_S:
                self._open.run("PRAGMA wal_checkpoint(PASSIVE)")
                self._synced = time.monotonic()

    def view(self, keys: Iterable[str]) -> "View":
        """Return the texts of keys that have one, in this order; they outlive the store."""
        numbers = array("q", (self._known(key) for key in keys))
        return View(self._open, numbers)

    def close(self) -> None:
        """Bring everything to the disk and let go of the file; views can still be read."""
        try:
            self._open.settle()
        except sqlite3.Error:  # a full disk: what is beside the file stays there until it is opened
            self._open.close()

    def remove(self) -> None:
        """Remove the file: the job is done; views can still be read."""
        self.close()
        for path in (self._path, _beside(self._path, "wal")):
            path.unlink(missing_ok=True)

    def _begin(self, identity: str) -> None:
        found = self._rows("PRAGMA application_id")[0][0]
        tables = {name for (name,) in self._rows("SELECT name FROM sqlite_master ORDER BY name")}
        if tables and found != _APPLICATION:
            raise sqlite3.DatabaseError("file is not a database")
        made = [sql for (sql,) in self._rows("SELECT sql FROM sqlite_master WHERE sql NOTNULL")]
        if tables and sorted(made) != sorted(_TABLES):
            raise sqlite3.DatabaseError(_OTHER_LAYOUT)
        with self._open.transaction():
            if not tables:
                for statement in (*_TABLES, f"PRAGMA application_id={_APPLICATION}"):
                    self._open.run(statement)
            elif self._rows("PRAGMA integrity_check(1)") != [("ok",)]:
                raise sqlite3.DatabaseError("malformed")
            if self._rows("SELECT identity FROM job") != [(identity,)]:
                self._open.run("DELETE FROM job")
                self._open.run("DELETE FROM kept")
                self._open.run("INSERT INTO job VALUES (?)", (identity,))
            if self._rows("SELECT 1 FROM kept WHERE text IS NULL AND passing IS NULL LIMIT 1"):
                raise sqlite3.DatabaseError("malformed")
            self._open.run("DELETE FROM kept WHERE text IS NULL")
            self._open.run("UPDATE kept SET passing=NULL WHERE passing IS NOT NULL")
        for key, text in self._open.each("SELECT key, text FROM kept"):
            _unsealed(key, text)

    def _number(self, key: str) -> int | None:
        found = self._rows("SELECT number FROM kept WHERE key=?", (key,))
        return int(found[0][0]) if found else None

    def _known(self, key: str) -> int:
        number = self._number(key)
        if number is None:
            raise KeyError(key)
        return number

    def _rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._troubles():
            return list(self._open.each(statement, values))

    @contextlib.contextmanager
    def _troubles(self) -> Iterator[None]:
        """Turn what SQLite raises into one sentence."""
        try:
            yield
        except _RAISED as error:
            raise OutputError(_said_of(self._path, error)) from error


class View:
    """Texts of a store by their places, each read from disk when it is asked for."""

    def __init__(self, opened: "_Open", numbers: "array[int]") -> None:
        self._open = opened
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def text(self, place: int) -> str:
        """Return the text at a place; raise IndexError where there is none."""
        return self._open.text(self._numbers[place])


class _Open:
    """A connection that several share, one at a time; it is closed with the last of them."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._lock = threading.RLock()
        self.close = weakref.finalize(self, connection.close)

    def run(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def each(self, statement: str, values: tuple[Any, ...] = ()) -> Iterator[Any]:
        yield from self._connection.execute(statement, values)

    def text(self, number: int) -> str:
        try:
            found = self.run(
                "SELECT key, coalesce(passing, text) FROM kept WHERE number=?", (number,)
            )
            return _unsealed(*found[0]) if found else _unsealed("", None)
        except _RAISED as error:
            raise OutputError(_said_of(self._path, error)) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self.run("ROLLBACK")
            raise

    def settle(self) -> None:
        """Join the file with what lies beside it, and let others lock it.

        Whoever opens a file of this name next has a ``-wal`` of their own there: this connection
        must not remove it when it is closed.
        """
        self.run("PRAGMA journal_mode=DELETE")
        self.run("PRAGMA locking_mode=NORMAL")
        self.run("SELECT count(*) FROM job")  # which is when the lock is let go


def _open(path: Path) -> _Open:
    try:
        return _connected(path)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode not in _NO_LOCKS:
            raise
        return _connected(path, "?vfs=unix-none")


def _connected(path: Path, how: str = "") -> _Open:
    connection = sqlite3.connect(
        f"file:{_quoted(path.absolute())}{how}",
        timeout=_WAIT_S,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )
    opened = _Open(path, connection)
    try:
        for setting in ("trusted_schema=OFF", "locking_mode=EXCLUSIVE", "journal_mode=WAL"):
            opened.run(f"PRAGMA {setting}")
        opened.run("PRAGMA synchronous=NORMAL")
    except BaseException:
        opened.close()
        raise
    return opened


def _beside(path: Path, end: str) -> Path:
    return path.with_name(f"{path.name}-{end}")


def _quoted(path: Path) -> str:
    """Return a path as it stands in the address by which SQLite opens a file."""
    plain = b"/-._~" + string.ascii_letters.encode() + string.digits.encode()
    return "".join(chr(one) if one in plain else f"%{one:02X}" for one in os.fsencode(path))


def _unsealed(key: Any, text: Any) -> str:
    """Return the text of a key; the seal is over both, so that no text answers for another key."""
    try:
        sealed = unsealed_line(str(text))
    except SealError as error:
        raise sqlite3.DatabaseError("malformed") from error
    if not sealed.startswith(f"{key} "):
        raise sqlite3.DatabaseError("malformed")
    return sealed[len(f"{key} ") :]


def _said_of(path: Path, error: Exception) -> str:
    """Return in one sentence what is wrong with a store, and the way out."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    if code & 0xFF in _LOST:
        what = "is no store of pleura" if "not a database" in str(error) else "is damaged"
        if str(error) == _OTHER_LAYOUT:
            what = "was begun by another version of pleura, or is damaged"
        return (
            f"{path}: {what}; remove it, or choose another place: what it may have held is done "
            "again"
        )
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return (
            f"{path}: is held by another process; wait until that is done, or choose another place"
        )
    full = code & 0xFF == sqlite3.SQLITE_FULL
    if full:
        return _unwritten(path, os.strerror(errno.ENOSPC), FREE_SPACE)
    return _unwritten(path, str(error), "choose another place")


def _unwritten(path: Path, why: str, out: str) -> str:
    return (
        f"{path.parent}: results could not be written ({why}); what is finished is kept: {out} and "
        "run it again"
    )
