"""Files that lie in no file system, under paths of their own, as long as a command reads them.

``s3://bucket/study/1.dcm`` names such a file, and ``s3://bucket/study`` is then a folder. Which
there are, and how their bytes are brought, is said by whoever knows the store. A process that opens
strangers' files is given the bytes of those that it is to read, and nothing to ask for others.

What is at hand is the process's own, as its working folder is.
"""

import contextlib
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PosixPath, PurePosixPath
from typing import Any

from pleura.errors import AddressError

About = tuple[int, int, int, int]
"""What is known of a file: the fields of a :class:`pleura.storage.content.Stamp`."""

Bring = Callable[[Sequence[str]], Mapping[str, bytes | str]]
"""Returns what is in each of some files, or a text that says why it could not be had."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")


class AddressPath(PosixPath):
    """A path that begins with a scheme, and is written as an address."""

    _shown = ""

    def __str__(self) -> str:
        if not self._shown:
            self._shown = _ADDRESS.sub(r"\1://", super().__str__(), count=1)
        return self._shown


def path_at(text: str | os.PathLike[str]) -> Path:
    """Return a path; one that begins with a scheme is written as an address.

    Example:
        >>> str(path_at("s3://bucket/a.dcm")), str(path_at("folder/a.dcm"))
        ('s3://bucket/a.dcm', 'folder/a.dcm')
    """
    return AddressPath(text) if is_address(text) else Path(text)


def is_address(path: str | os.PathLike[str]) -> bool:
    """Return whether a path begins with a scheme."""
    return _ADDRESS.match(os.fspath(path)) is not None


class Elsewhere:
    """Files that lie in no file system.

    Args:
        abouts: What is known of each, by its path.
        bring: Returns the content of some of them.
        heads: How those of them begin that are not known by their names; None: they can be read.
        places: What a text stands for that is not the path of one file or folder.
        sources: By what another process can have each brought itself.
    """

    def __init__(
        self,
        abouts: Mapping[str, About | None],
        bring: Bring,
        heads: Mapping[str, bytes] | None = None,
        places: Mapping[str, list[Path]] | None = None,
        sources: Mapping[str, Any] | None = None,
    ) -> None:
        self.abouts = abouts
        self.bring = bring
        self.heads = heads
        self.places = places or {}
        self.sources = sources or {}

    @cached_property
    def names(self) -> list[str]:
        """The paths of all, sorted."""
        return sorted(self.abouts)


_NOTHING = Elsewhere({}, lambda _: {})
_at_hand = _NOTHING


@contextlib.contextmanager
def at_hand(files: Elsewhere) -> Iterator[None]:
    """Have files at hand until the block ends, and no others."""
    global _at_hand
    before, _at_hand = _at_hand, files
    try:
        yield
    finally:
        _at_hand = before


def given(contents: Mapping[str, bytes | str]) -> Elsewhere:
    """Return files whose bytes are here already."""
    return Elsewhere(
        dict.fromkeys(contents), lambda names: {name: contents[name] for name in names}
    )


def holds(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is at hand."""
    return bool(_at_hand.abouts) and _key(path) in _at_hand.abouts


def about(path: str | os.PathLike[str]) -> About | None:
    """Return what is known of a file; None where nothing is, or it is not at hand."""
    return _at_hand.abouts.get(_key(path)) if _at_hand.abouts else None


def source_of(path: str | os.PathLike[str]) -> Any:
    """Return by what another process can have a file brought; None where it is not at hand."""
    return _at_hand.sources.get(_key(path)) if _at_hand.sources else None


def brought(paths: Sequence[str]) -> Mapping[str, bytes | str]:
    """Return what is in those of some files that are at hand, by path, or why it is not known."""
    return _at_hand.bring([_key(path) for path in paths if holds(path)])


def size_of(paths: Sequence[str]) -> int:
    """Return how many bytes those of some files have that are at hand, as far as that is known."""
    return sum((about(path) or (0,))[0] for path in paths)


def content_of(path: str | os.PathLike[str]) -> bytes | None:
    """Return what is in a file; None where it is not at hand.

    Raises:
        AddressError: It could not be had.
    """
    if not holds(path):
        return None
    key = _key(path)
    found = _at_hand.bring([key])[key]
    if isinstance(found, str):
        raise AddressError(found)
    return found


def beginning_of(path: str | os.PathLike[str], most: int) -> bytes | None:
    """Return how a file begins; None where it is not at hand.

    Raises:
        OSError: Nobody looked.
        AddressError: It could not be had.
    """
    if not holds(path):
        return None
    if _at_hand.heads is None:
        return (content_of(path) or b"")[:most]
    head = _at_hand.heads.get(_key(path))
    if head is None:
        raise OSError("nobody looked how it begins")
    return head[:most]


def names_below(folder: str | os.PathLike[str]) -> list[str] | None:
    """Return the paths of the files below a folder, from there on, sorted; None: it is none."""
    names = _at_hand.names
    if not names:
        return None
    begins = _key(folder).rstrip("/") + "/"
    first, end = bisect_left(names, begins), bisect_left(names, f"{begins[:-1]}0")
    return [name.removeprefix(begins) for name in names[first:end]] or None


def places_of(text: str) -> list[Path] | None:
    """Return the files and folders that a text stands for; None where that is not known here."""
    found = _at_hand.places.get(_key(text))
    if found is None and (holds(text) or names_below(text)):
        return [path_at(text)]
    return found


def _key(path: str | os.PathLike[str]) -> str:
    """Return how a path is written that may have been a path of the system meanwhile."""
    text = os.fspath(path)
    return str(path_at(str(PurePosixPath(text)))) if is_address(text) else text
