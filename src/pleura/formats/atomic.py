"""Writes that either happen whole or not at all."""

import contextlib
import os
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
        raise OutputError(_reason(target, error)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


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


def _reason(path: Path, error: OSError) -> str:
    why = error.strerror or str(error) or type(error).__name__
    return f"{path}: could not be written ({why}); free some space or choose another place"
