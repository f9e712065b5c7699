"""What a command is to read, turn by turn: paths, addresses, lists of addresses.

A listing of millions is never in memory as a whole: a turn holds a few thousand.
"""

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path, PurePosixPath

from pleura.data.address_list import ADDRESS_COLUMNS, is_list, sources_in
from pleura.data.files import ARCHIVES, HIDDEN, expand, in_words, passed_over_by_name
from pleura.errors import ArchiveError, DataError, UsageError
from pleura.processes.workers import ahead
from pleura.remote.address import (
    SCHEMES,
    STORES,
    WEB,
    Address,
    Source,
    path_of,
    scheme_of,
    without_secrets,
)
from pleura.remote.dicomweb import is_dicomweb, is_instance
from pleura.remote.objects import (
    AHEAD_BYTES,
    FETCHED_AHEAD,
    Brought,
    NotBrought,
    Objects,
    pattern_of,
    stamp_of,
)
from pleura.storage.archive import (
    SUFFIXES,
    TWICE,
    Member,
    is_archive,
    is_folder,
    is_inside,
    members_of,
)
from pleura.storage.content import Stamp, stamp_at

Turn = dict[Source, Stamp | None]
"""What is to be read, and what was said of each when it was listed."""

Listed = tuple[Source, Stamp | None]
"""A file, and what was said of it when it was listed."""

_MAGIC = frozenset("*?[")
REST = "all-the-rest"
"""What is called so of an archive that breaks off."""

_UNTOLD_BYTES = 16 << 20  # what is brought from a server that does not say it: a large radiograph


class Inputs:
    """What the arguments of a command name.

    Attributes:
        passed: How many files were passed over so far, by what they are.
        count: How many files there are; None where that is known at the end only.

    Args:
        texts: Paths, folders, globs, addresses, lists (:mod:`pleura.data.address_list`).
        objects: What asks stores.
        everything: Whether what is passed over is yielded too; no path may be named then.
        lists: Whether a table is a list of what is meant.

    Raises:
        DataError: A folder holds no DICOM file.
        UsageError: An address is of a kind that is not read.
    """

    def __init__(
        self,
        texts: Sequence[str],
        objects: Objects,
        *,
        everything: bool = False,
        lists: bool = True,
    ) -> None:
        self._objects = objects
        self._everything, self._lists = everything, lists
        self._texts = [path_of(text) for text in texts]
        self.passed: Counter[str] = Counter()
        self.count: int | None = None
        for text in self._texts:
            require_known(text)
        if not any(map(is_more_than_paths, self._texts)):
            listed = expand(self._texts)
            self.passed, self.count = listed.passed, len(listed.files)
            self._paths: list[Path] | None = listed.files
        else:
            self._paths = None

    def turns(self, size: int = 4096) -> Iterator[Turn]:
        """Yield what is to be read, in the order of the arguments.

        Args:
            size: Radiographs in a turn, at most.

        Raises:
            AddressError: A store cannot be listed.
            DataError: Nothing that is read lies there; or a list cannot be read.
        """
        if self._paths is not None:
            yield {path: stamp_at(path) for path in self._paths}
            return
        named = itertools.chain.from_iterable(map(self._named, self._groups()))
        while group := list(itertools.islice(named, size)):
            unseen: list[Address] = [
                one for one, stamp in group if stamp is None and isinstance(one, Address)
            ]
            turn: Turn = dict(group)
            turn.update(zip(unseen, self._objects.stamps(unseen), strict=True))
            yield turn

    def _groups(self) -> Iterator[list[str]]:
        """Yield arguments that are listed together: paths that follow one another."""
        for more, group in itertools.groupby(self._texts, is_more_than_paths):
            texts = list(group)
            yield from ([text] for text in texts) if more else [texts]

    def _named(self, texts: list[str]) -> Iterator[Listed]:
        text = texts[0]
        if not is_more_than_paths(text):
            listed = expand(texts)
            self.passed += listed.passed
            yield from ((path, stamp_at(path)) for path in listed.files)
        elif is_archive(PurePosixPath(_plain_name(text))):
            yield from self._members(text)
        elif self._lists and is_list(_plain_name(text)):
            yield from self._listed(text)
        elif is_dicomweb(text) and not is_instance(text):
            yield from self._below(text, None)
        elif scheme_of(text) in WEB:
            yield Address(text), None
        else:
            yield from self._stored(text)

    def _stored(self, url: str) -> Iterator[Listed]:
        """Yield the object at an address, or those below it, or those that a pattern matches.

        A name that is there is no pattern, as it is none on a disk.
        """
        pattern, about = not _MAGIC.isdisjoint(url), None
        if "/" in url.split("://", 1)[1].rstrip("/") and not url.endswith("/"):
            about = self._objects.about(url)
            if about is None and not pattern:
                yield Address(url), None
                return
            if about is not None and about["type"] == "file":
                yield Address(url), stamp_of(about)
                return
        if not pattern:
            yield from self._below(f"{url.rstrip('/')}/", None)
            return
        head = url[: min(url.index(one) for one in _MAGIC & set(url))]
        yield from self._below(head.rpartition("/")[0] + "/", pattern_of(url))

    def _below(self, url: str, pattern: re.Pattern[str] | None) -> Iterator[Listed]:
        found, before = 0, self.passed.copy()
        for name, stamp in self._objects.below(url):
            if pattern is not None and not pattern.match(name):
                continue
            below = PurePosixPath(name.removeprefix(url))
            kind = passed_over_by_name(below)
            if any(part.startswith(".") for part in below.parts):
                kind = HIDDEN
            if kind in SUFFIXES:
                found += 1
                yield from self._members(name)
            elif kind and kind not in ARCHIVES and not self._everything:
                self.passed[kind] += 1
            else:
                found += 1
                yield Address(name), stamp
        if not found:
            others = self.passed - before
            what = f" ({in_words(others)})" if others else ""
            kind = "radiograph (CR, DX)" if is_dicomweb(url) else "DICOM file"
            raise DataError(
                f"{without_secrets(url)}: holds no {kind}{what}; see how its address is written"
            )

    def _members(self, url: str) -> Iterator[Listed]:
        """Yield what an archive in a store holds, of which only the parts that name it are read.

        One that cannot be looked into is yielded itself: reading it says why. Of one that breaks
        off later what was found is yielded, and a file that cannot be read in place of the rest.
        """
        about, shown = self._objects.about(url), without_secrets(url)
        whole = None if about is None else stamp_of(about)
        found = listed = 0
        names: set[str] = set()
        with self._objects.open(url) as file:
            try:
                for member in members_of(file, PurePosixPath(_plain_name(url)).suffix.lower()):
                    listed += 1
                    if member.name in names:  # the first was given out already
                        member = member._replace(fault=TWICE)
                    names.add(member.name)
                    kind = passed_over_by_name(PurePosixPath(member.name))
                    if kind and not self._everything:
                        self.passed[kind] += 1
                        continue
                    found += 1
                    stamp = Stamp(member.size, *(whole or (0, 0, 0, 0))[1:])
                    yield Address(url, member=member), stamp
            except ArchiveError as error:
                if not listed:
                    yield Address(url), whole
                    return
                fault = f"{error}, or copy it again from its source: the first {listed} were read"
                yield Address(url, member=Member(REST, 0, 0, 0, 0, fault=fault)), whole
                return
        if not found:
            raise DataError(f"{shown}: holds no DICOM file; see what was packed")

    def _listed(self, text: str) -> Iterator[Listed]:
        """Yield what a list names; a path of a table that is none stays what it is: a bad input.

        Raises:
            DataError: It names nothing.
        """
        shown = without_secrets(text)
        place = shown if not _is_path(text) else str(Path(text).absolute())
        with self._objects.open(text) as file:
            sources = sources_in(file, shown, place.rpartition("/")[0] or "/")
            if sources is None and _is_path(text):
                yield Path(text), stamp_at(text)
            elif sources is None:
                raise DataError(
                    f"{shown}: has no column {', '.join(ADDRESS_COLUMNS[:-1])} or "
                    f"{ADDRESS_COLUMNS[-1]}; name the one of the addresses so"
                )
            else:
                first = next(sources, None)
                if first is None:
                    raise DataError(f"{shown}: has no row; name a file in each")
                for source in itertools.chain([first], sources):
                    yield from self._of_list(source)

    def _of_list(self, source: Source) -> Iterable[Listed]:
        text = source.url if isinstance(source, Address) else str(source)
        if is_archive(PurePosixPath(_plain_name(text))):
            return self._members(text) if not _is_path(text) else self._named([text])
        if is_dicomweb(text) and not is_instance(text):
            return self._below(text, None)
        return [(source, stamp_at(source) if isinstance(source, Path) else None)]


def brought(
    listed: Iterable[Listed], objects: Objects | None
) -> Iterator[Path | Brought | NotBrought]:
    """Yield each file: a path as it is; of addresses what lies there, some fetched ahead.

    Args:
        listed: Each file, and what was said of it when it was listed.
        objects: What fetches; None where there are paths only.

    Raises:
        UsageError: There is an address nevertheless.
    """

    def begin(one: Listed) -> "Future[Brought | NotBrought]":
        source, stamp = one
        if isinstance(source, Path) or objects is None:
            raise UsageError(f"{source}: is an address, and only paths are read here")
        return objects.begin(source, stamp)

    for local, group in itertools.groupby(listed, lambda one: isinstance(one[0], Path)):
        if local:
            yield from (source for source, _ in group if isinstance(source, Path))
        else:
            yield from ahead(begin, group, FETCHED_AHEAD, _bytes_of, AHEAD_BYTES)


def _bytes_of(one: Listed) -> int:
    """Return how much memory what is brought takes: none for a path, and for what nobody asked."""
    source, stamp = one
    return 0 if stamp is None or isinstance(source, Path) else stamp.size or _UNTOLD_BYTES


def _is_path(text: str) -> bool:
    return scheme_of(text) not in SCHEMES


def _plain_name(text: str) -> str:
    """Return the last part of an address or path, without a query."""
    return Address(text).name


def is_more_than_paths(text: str) -> bool:
    """Return whether an argument is an address or a list: more than files and folders."""
    if not _is_path(text):
        return True
    return is_list(_plain_name(text)) and os.path.isfile(text)  # noqa: PTH113


def holds_inputs(text: str) -> bool:
    """Return whether a path is that of an archive, or leads into one, or of a list of addresses."""
    if (is_folder(Path(text)) and not os.path.isdir(text)) or is_inside(Path(text)):  # noqa: PTH112
        return True
    if not is_more_than_paths(text):
        return False
    try:
        with Path(text).open("rb") as file:
            return sources_in(file, text, "") is not None
    except (OSError, DataError):
        return False


def require_known(text: str) -> None:
    """See that a text is a path, or an address of a kind that is read.

    Raises:
        UsageError: It is neither.
    """
    scheme = scheme_of(text)
    if scheme in ("", *SCHEMES) or os.path.lexists(text):
        if scheme in SCHEMES and not text.split("://", 1)[1].partition("/")[0].rpartition("@")[2]:
            what = "bucket" if scheme in STORES else "host"
            raise UsageError(
                f"{without_secrets(text)}: names no {what}; write {scheme}://{what.upper()}/NAME"
            )
        return
    known = ", ".join(f"{one}://" for one in SCHEMES)
    raise UsageError(f"{without_secrets(text)}: addresses of {known} and file:// are read")
