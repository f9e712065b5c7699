"""What tells the content of a file from another's: that of its bytes, or what the system says.

A path is a name that may stand for another file a moment later. So whoever comes back to a file
compares what it holds with what it held.
"""

import os
from typing import NamedTuple

import xxhash

from pleura.storage import elsewhere
from pleura.storage.archive import find_member


class Stamp(NamedTuple):
    """What the system says of a file that becomes another when its content does.

    The time of change is the system's own: who copies times along with a file cannot set it. What
    changes twice within one tick of the system's clock (a few ms) may keep its stamp.

    Attributes:
        size: Bytes.
        modified_ns: Time of the last modification, in ns; anybody may set it.
        changed_ns: Time of the last change of content, name or rights, in ns.
        inode: Number of the file within its file system.
    """

    size: int
    modified_ns: int
    changed_ns: int
    inode: int

    @property
    def content(self) -> tuple[int, int]:
        """What changes with the content alone, and not with a name or with rights."""
        return self.size, self.modified_ns


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the stamp of a file whose status that is."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def stamp_at(path: str | os.PathLike[str]) -> Stamp | None:
    """Return the stamp of the file at `path`, which may lie in an archive; None: it is not there.

    A file in an archive becomes another when the archive does.
    """
    known = elsewhere.about(path)
    if known is not None:
        return Stamp(*known)
    try:
        return stamp_of(os.stat(path))  # noqa: PTH116
    except NotADirectoryError:
        return _stamp_inside(path)
    except (OSError, ValueError):
        return None


def _stamp_inside(path: str | os.PathLike[str]) -> Stamp | None:
    try:
        place = find_member(path)
    except OSError:
        return None
    return None if place is None else stamp_of(place.status)._replace(size=place.member.size)


def fingerprint(content: bytes) -> str:
    """Return 128 bits of the XXH3 hash of a file's bytes, in hexadecimal.

    It tells files apart that differ by accident, not ones that were made to collide.
    """
    return xxhash.xxh3_128_hexdigest(content)
