"""Files that pleura keeps for itself under names of its own, such as the journal of a job.

Something else may lie at such a name. A pipe would be waited for, and a device read without an end.
"""

import os
import stat
from pathlib import Path

from pleura.errors import OutputError
from pleura.storage.atomic import why_not_written

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def cache_folder(part: str) -> Path:
    """Return a folder in the user's cache folder, ``pleura/PART``.

    Source: XDG Base Directory Specification; a relative ``XDG_CACHE_HOME`` does not count.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "pleura" / part


def kind_of(mode: int) -> str:
    """Return what has this mode and is no regular file, in words with their article."""
    return _KINDS.get(stat.S_IFMT(mode), "no file")


def require_own_file(*paths: Path) -> None:
    """See that at each path there is a regular file, a link to one, or nothing.

    Raises:
        OutputError: Something else is there, or it cannot be looked at.
    """
    for path in paths:
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OutputError(why_not_written(path, error)) from error
        if not stat.S_ISREG(mode):
            raise OutputError(
                f"{path}: is {kind_of(mode)}, where pleura keeps a file of its own; remove it, or "
                "choose another place"
            )
