"""A folder that made-up radiographs go to: theirs alone, and whole, or known as unfinished."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from pleura.errors import UsageError
from pleura.storage.atomic import remove, remove_abandoned, write_text
from pleura.storage.lock import contents, locked_folder
from pleura.storage.own_file import require_own_file

UNFINISHED = ".pleura.unfinished"
"""What lies in such a folder until all of it is written; it says what is being made."""


@contextlib.contextmanager
def new_folder(out: Path, verb: str, *made_of: object) -> Iterator[None]:
    """Hold `out`, which made-up files are to go to.

    One that was interrupted over just this is taken as well: the same files are written again.

    Args:
        out: The folder; made where it is not there.
        verb: As for :func:`pleura.storage.lock.locked_folder`.
        made_of: All that the files depend on.

    Raises:
        UsageError: It is a file, or a folder that holds other files.
        OutputError: Another process writes there.
    """
    told = f"{verb} {hashlib.sha256(repr(made_of).encode(errors='replace')).hexdigest()}\n"
    _require_empty(out, told)
    with locked_folder(out, verb):
        _require_empty(out, told)
        for folder in [path for path in out.rglob("*") if path.is_dir()]:
            remove_abandoned(folder)
        write_text(out / UNFINISHED, told)
        yield
        remove(out / UNFINISHED)


def _require_empty(out: Path, told: str) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; name a new or empty folder for the phantoms")
    marker = out / UNFINISHED
    require_own_file(marker)
    unfinished = marker.is_file()
    if unfinished and marker.read_bytes() == told.encode():
        return
    if contents(out):
        what = "what was interrupted while it was made of something else" if unfinished else "files"
        raise UsageError(
            f"{out} already holds {what}; made-up radiographs are never mixed with others, so name "
            "a new or empty folder"
        )
