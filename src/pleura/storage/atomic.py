"""Writes that either happen whole or not at all."""

import contextlib
import errno
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pleura.errors import OutputError
from pleura.storage.alive import place, runs_since

_PARTIAL = re.compile(r"\..+\.([0-9a-f]{8})-([0-9]{1,10})-[0-9]{1,10}\.partial", re.DOTALL)

_FORGOTTEN_S = 86_400.0
"""What another machine began, and did not write to for so long, it will not finish."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and renamed onto `path`.

    The parent folders are made. On any exception (Ctrl-C included) the temporary file is removed
    and a file that already stood at `path` is left as it was.

    Args:
        path: Where the finished file shall stand.

    Raises:
        OutputError: The file could not be written: disk full, no permission, a folder in its place.
    """
    target = Path(path)
    writer = f"{place()}-{os.getpid()}-{threading.get_native_id()}"
    partial = target.with_name(f".{target.name}.{writer}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        _fsync(partial)
        partial.replace(target)
        _fsync(target.parent)
    except OSError as error:
        raise OutputError(why_not_written(target, error)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new folder beside `path`, which becomes `path` on success and is gone otherwise.

    Whoever calls it holds `path` (:mod:`pleura.storage.lock`): what a killed process had begun
    there is removed.

    Args:
        path: Where the folder shall stand; an empty one may be there.

    Raises:
        OutputError: It could not be written.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        partial.replace(target)
        _fsync(target.parent)
    except OSError as error:
        raise OutputError(why_not_written(target, error)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_abandoned(folder: Path, ahead_s: float = 0.0) -> None:
    """Remove what :func:`atomic_path` had begun in `folder` when its process was killed.

    A file of a process that runs stays: the name says which process of which machine began it. One
    of another machine or container stays until nobody has written to it for a day.

    Args:
        folder: Where to look, not below it; it need not be there.
        ahead_s: By how many seconds the clock of the file system is ahead of ours.
    """
    now = time.time() + ahead_s
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _PARTIAL.fullmatch(entry.name)
            if found is None:
                continue
            with contextlib.suppress(OSError):
                age_s = now - entry.stat(follow_symlinks=False).st_mtime
                ours = found[1] == place()
                if not runs_since(int(found[2]), age_s) if ours else age_s > _FORGOTTEN_S:
                    Path(entry.path).unlink()


def require_writable(folder: str | os.PathLike[str]) -> None:
    """Make a folder and see that a file can be written there, before the work that is to fill it.

    Raises:
        OutputError: It cannot be.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target, prefix=".pleura-"):
            pass
    except OSError as error:
        raise OutputError(why_not_written(target, error)) from error


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path`, whole or not at all.

    Raises:
        OutputError: As for :func:`atomic_path`.
    """
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write `content` to `path` as UTF-8, whole or not at all.

    Bytes of a file name that are not UTF-8 (``os.fsdecode`` makes surrogates of them) are written
    with a backslash.

    Raises:
        OutputError: As for :func:`atomic_path`.
    """
    write_bytes(path, content.encode(errors="backslashreplace"))


def remove(path: Path) -> None:
    """Remove a file, if there is one.

    Raises:
        OutputError: It could not be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(why_not_written(path, error)) from error


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def why_not_written(path: Path, error: OSError) -> str:
    """Return that, and why, a file or folder could not be written, and what to do."""
    why = error.strerror or str(error) or type(error).__name__
    more = " or choose another place" if way_out(error) == FREE_SPACE else ""
    return f"{path}: could not be written ({why}); {way_out(error)}{more}"


FREE_SPACE = "free some space"


def way_out(error: OSError) -> str:
    """Return what to do about a write that failed."""
    return FREE_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose another place"
