"""Writes that either happen whole or not at all."""

import contextlib
import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from pleura.errors import OutputError


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
    partial = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.partial")
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
