"""One writer at a time for a folder or a file: whoever comes second is told who holds it.

A lock is a file, ``.pleura.lock`` in the folder or ``.NAME.lock`` beside the file, that the system
itself keeps locked for as long as its process lives (``flock``): one that a killed process left is
taken over at once. A network file system passes that on to other machines where it was mounted so,
as NFS 4 is by default. Where a file system knows no locks, the file's being there is the lock; then
a holder on this machine is asked whether it lives, and one on another machine is believed.

Where nothing can be written (a read-only file system, no permission) nothing is locked: whoever
only reads what is finished may go on, and a write fails with its own reason.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pleura.errors import OutputError
from pleura.storage.alive import place, runs_since
from pleura.storage.atomic import remove_abandoned, why_not_written

NAME = ".pleura.lock"
"""The lock of a folder, in it."""

_MAX_BYTES = 4096
_UNFINISHED_S = 60.0  # so long a holder may take to write down who it is
_ASKED_AGAIN_S = 0.1
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
_VERB = re.compile("[a-z ]{1,30}")
_MACHINE = re.compile("[A-Za-z0-9._-]{1,64}")

_held = threading.local()


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock.

    Attributes:
        verb: What it does, such as ``train``.
        process: Its number.
        machine: The machine's name.
        place: What its number counts in, see :func:`pleura.storage.alive.place`.
        since: When it took the lock, in seconds since 1970.
    """

    verb: str
    process: int
    machine: str
    place: str
    since: float

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        there = "" if self.place == place() else f" on {self.machine}"
        return f"pleura {self.verb} (process {self.process}{there}, since {when})"


@contextlib.contextmanager
def locked_folder(
    folder: str | os.PathLike[str],
    verb: str,
    *,
    products: Sequence[str] = (),
    patience_s: float = 0.0,
) -> Iterator[None]:
    """Hold `folder` for this process; it is made where it is not there.

    What a killed process had begun to write there is removed. A thread that holds the folder
    already may hold it once more.

    Args:
        folder: Where results go.
        verb: What is done there, for whoever comes second.
        products: Folders in it that files go to as well.
        patience_s: So long another process is waited for.

    Raises:
        OutputError: Another process, or thread, holds it, and went on to; or it cannot be made.
    """
    path = Path(folder)
    written = [path, *(path / name for name in products)]
    with _locked(path / NAME, path, verb, written, patience_s):
        yield


@contextlib.contextmanager
def locked_file(path: str | os.PathLike[str], verb: str) -> Iterator[None]:
    """Hold a single file that is to be written, as :func:`locked_folder` does a folder.

    Raises:
        OutputError: As there.
    """
    target = Path(path)
    with _locked(target.with_name(f".{target.name}.lock"), target, verb, [target.parent]):
        yield


def this_process(verb: str) -> Holder:
    """Return this process as one that holds what it writes, from now on."""
    return Holder(verb, os.getpid(), os.uname().nodename, place(), time.time())


def holder_of(values: object) -> Holder | None:
    """Return the holder of whom fields are known; None where pleura does not write such."""
    try:
        holder = Holder(**values)  # type: ignore[arg-type]
        known = (
            _VERB.fullmatch(holder.verb)
            and _MACHINE.fullmatch(holder.machine)
            and isinstance(holder.place, str)
            and isinstance(holder.process, int)
            and 0 < holder.process < 2**31
            and isinstance(holder.since, int | float)
            and 0 < holder.since < 2**33
        )
    except TypeError:
        return None
    return holder if known else None


def contents(folder: Path) -> list[Path]:
    """Return what lies in a folder besides its lock; nothing where there is no folder."""
    return [path for path in folder.iterdir() if path.name != NAME] if folder.is_dir() else []


@contextlib.contextmanager
def _locked(
    path: Path, target: Path, verb: str, written: Sequence[Path], patience_s: float = 0.0
) -> Iterator[None]:
    key = os.path.abspath(path)  # noqa: PTH100
    mine: set[str] = _held.__dict__.setdefault("keys", set())
    if key in mine:
        yield
        return
    descriptor = _take(path, target, verb, patience_s)
    if descriptor is None:
        yield
        return
    mine.add(key)
    try:
        ahead_s = os.fstat(descriptor).st_mtime - time.time()
        for folder in written:
            remove_abandoned(folder, ahead_s)
        yield
    finally:
        mine.discard(key)
        if _is_at(descriptor, path):
            with contextlib.suppress(OSError):
                path.unlink()
        os.close(descriptor)


def _take(path: Path, target: Path, verb: str, patience_s: float) -> int | None:
    """Return the open, locked file at `path`; None where nothing can be written there."""
    me = this_process(verb)
    touched = path.parent
    try:
        touched.mkdir(parents=True, exist_ok=True)
        touched, descriptor = path, None
        until = time.monotonic() + patience_s
        while descriptor is None:
            try:
                descriptor = _tried(path, target, me)
            except OutputError:
                if time.monotonic() >= until:
                    raise
                time.sleep(_ASKED_AGAIN_S)
        return descriptor
    except OSError as error:
        if error.errno in _NOT_WRITABLE and not os.access(_above(path), os.W_OK):
            return None
        raise OutputError(why_not_written(touched, error)) from error


def _tried(path: Path, target: Path, me: Holder) -> int | None:
    """Return the open file at `path`, now locked; None where it has to be tried again."""
    descriptor, made = _open(path)
    keep = False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OutputError(f"{path}: is no file; pleura keeps its lock there, so remove it")
        known = _system_locks(descriptor, target)
        if not known and not made:
            _require_ended(descriptor, path, target)
        if not _is_at(descriptor, path):
            return None  # its holder was just done with it, and removed it
        if not made:  # left behind; it may be another user's, and not ours to write to
            path.unlink()
            return None
        try:
            os.write(descriptor, json.dumps(asdict(me)).encode())
        except OSError:  # the disk is full: only where the system locks is the name not needed
            if not known:
                raise
        keep = True
        return descriptor
    finally:
        if not keep:
            os.close(descriptor)


def _open(path: Path) -> tuple[int, bool]:
    """Return the file at `path`, opened, and whether it was made just now."""
    careful = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        with contextlib.suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | careful, 0o666), True
        with contextlib.suppress(FileNotFoundError):
            try:
                return os.open(path, os.O_RDWR | careful), False
            except PermissionError:  # another user's
                return os.open(path, os.O_RDONLY | careful), False


def _system_locks(descriptor: int, target: Path) -> bool:
    """Lock an open file; return False where its file system knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _read(descriptor)
        raise OutputError(in_use(target, holder)) from error
    except OSError:
        return False
    return True


def _require_ended(descriptor: int, path: Path, target: Path) -> None:
    """Raise OutputError unless whoever left the file, on a file system without locks, has ended."""
    holder, now = _read(descriptor), time.time()
    if holder is None:
        if abs(now - os.fstat(descriptor).st_mtime) < _UNFINISHED_S:
            raise OutputError(in_use(target, None))
    elif holder.place != place():
        raise OutputError(
            f"{in_use(target, holder)}. Whether it still runs cannot be seen from here, as this "
            f"file system keeps no locks: if it has ended, remove {path}"
        )
    elif runs_since(holder.process, now - holder.since):
        raise OutputError(in_use(target, holder))


def in_use(where: object, holder: Holder | None) -> str:
    """Return that somebody else writes to a place, and what to do."""
    who = "another pleura" if holder is None else str(holder)
    return f"{where}: is in use by {who}; wait until that has ended, or choose another place"


def _read(descriptor: int) -> Holder | None:
    """Return who wrote the file; None where it does not say so in a form that pleura writes."""
    try:
        return holder_of(json.loads(os.pread(descriptor, _MAX_BYTES, 0)))
    except (OSError, ValueError, RecursionError):
        return None


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether the open file is the one that lies at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False


def _above(path: Path) -> Path:
    """Return the nearest folder above `path` that is there."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())
