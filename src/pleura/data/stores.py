"""Addresses in place of folders: what lies there is at hand as files, while a command needs it.

Names below an address are listed once. What a radiograph holds is fetched each time that it is
read, bounded and tried again as everywhere (:mod:`pleura.remote.objects`), and kept nowhere. The
paths of such files are their addresses without secrets.
"""

import contextlib
import glob
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import xxhash

from pleura import config
from pleura.data.address_list import is_list
from pleura.data.files import is_known_by_name
from pleura.data.inputs import Inputs, Listed, is_more_than_paths, require_known
from pleura.errors import DataError
from pleura.remote.address import (
    SCHEMES,
    WEB,
    Address,
    Source,
    path_of,
    scheme_of,
    url_of,
    without_secrets,
)
from pleura.remote.objects import Brought, Objects
from pleura.storage import elsewhere
from pleura.storage.archive import TWICE, is_archive
from pleura.storage.content import Stamp, stamp_at
from pleura.storage.elsewhere import Elsewhere, path_at

_HEAD_BYTES = 1 << 13
"""So much is looked at of a file whose name does not say what it is; it may be packed."""


@contextlib.contextmanager
def stores(radiographs: Iterable[str], tables: Iterable[str] = ()) -> Iterator[None]:
    """Have what lies at addresses at hand as files until the block ends; see :func:`shown`.

    Args:
        radiographs: Addresses, patterns of such, lists of addresses; paths are passed over.
        tables: Addresses of tables and of folders of masks, likewise.

    Raises:
        AddressError: A store cannot be listed.
        DataError: Nothing lies there; or a list cannot be read.
        UsageError: An address is of a kind that is not read.
    """
    radiographs, tables = (
        [path_of(url_of(text)) for text in texts] for texts in (radiographs, tables)
    )
    for text in (*radiographs, *tables):
        require_known(text)
    more = [text for text in radiographs if is_more_than_paths(text)]
    beside = [text for text in tables if is_stored(text)]
    if not more and not beside:
        yield
        return
    with Objects() as objects:
        found = _Found(objects)
        for text in more:
            found.add(text, _listed(text, objects))
        for text in beside:
            found.add(text, _listed(text, objects, lists=False))
        with elsewhere.at_hand(found.files()):
            yield


@contextlib.contextmanager
def stores_of_paths(paths: Iterable[str]) -> Iterator[None]:
    """Have files at hand that an index names; nothing is asked before one is read.

    Raises:
        AddressError: An archive in a store cannot be looked into.
    """
    names = [text for text in paths if is_stored(text)]
    packed = {_archive_above(name) for name in names} - {""}
    with Objects() as objects:
        listed: list[Listed] = [(Address(name), None) for name in names if not _archive_above(name)]
        listed += itertools.chain.from_iterable(_listed(url, objects) for url in sorted(packed))
    with stores_of_listed(listed):
        yield


@contextlib.contextmanager
def stores_of_listed(listed: Sequence[Listed]) -> Iterator[None]:
    """Have files at hand that another process listed, see :func:`listed_at`."""
    if not listed:
        yield
        return
    with Objects() as objects:
        found = _Found(objects)
        found.take(listed)
        with elsewhere.at_hand(found.files(look=False)):
            yield


def listed_at(path: str) -> Listed | None:
    """Return what another process needs to have a file at hand; None where that is no address."""
    found: Listed | None = elsewhere.source_of(path)
    return found


def listed_sources(paths: Iterable[Path]) -> dict[Source, Stamp | None]:
    """Return files with their stamps, each by where its bytes are fetched from."""
    known = ((path, listed_at(str(path))) for path in paths)
    return dict(found or (path, stamp_at(path)) for path, found in known)


def shown(text: str) -> str:
    """Return the path under which an address is at hand: itself, without secrets; a path as it is.

    Example:
        >>> shown("https://me:pw@host.org/a.dcm?X-Signature=1f"), shown("file:///data/a.dcm")
        ('https://host.org/a.dcm', '/data/a.dcm')
    """
    return without_secrets(url_of(text)) if is_stored(text) else path_of(text)


def shown_in(settings: config.Data) -> config.Data:
    """Return settings in which each address is written as its path."""
    return replace(
        settings,
        path=shown(settings.path),
        also=list(map(shown, settings.also)),
        images=shown(settings.images),
        test_images=shown(settings.test_images),
        annotations=shown(settings.annotations),
        patients=shown(settings.patients),
        fold_table=shown(settings.fold_table),
        test_annotations=shown(settings.test_annotations),
        labels=replace(settings.labels, table=shown(settings.labels.table)),
    )


def stores_of(settings: config.Data) -> contextlib.AbstractContextManager[None]:
    """Return :func:`stores` of all that settings name."""
    tables = (
        *(settings.annotations, settings.patients, settings.fold_table, settings.labels.table),
        settings.test_annotations,
    )
    return stores([settings.path, *settings.also, settings.images, settings.test_images], tables)


def is_stored(text: str) -> bool:
    """Return whether a text is an address, perhaps as a path writes it."""
    return scheme_of(url_of(text)) in SCHEMES


class _Found:
    """What lies at addresses, by path."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._addresses: dict[str, Address] = {}
        self._stamps: dict[str, Stamp | None] = {}
        self._places: dict[str, list[Path]] = {}

    def add(self, text: str, listed: Iterable[Listed]) -> None:
        """Add what a text names."""
        paths = self.take(listed)
        pattern = glob.has_magic(text) and scheme_of(text) not in WEB
        if pattern or is_list(Address(text).name):
            self._places[shown(text)] = paths

    def take(self, listed: Iterable[Listed]) -> list[Path]:
        """Add files, and return their paths.

        Raises:
            DataError: Two addresses are the same but for their secrets.
        """
        paths = []
        for source, stamp in listed:
            path = path_at(str(source))
            paths.append(path)
            if isinstance(source, Path):
                continue
            before = self._addresses.get(str(path), source)
            if before.identity != replace(source, member=before.member).identity:
                raise DataError(
                    f"{path}: two files have this address, without what follows a question mark; "
                    "give each a name of its own"
                )
            if source.member is not None and source.member != before.member:
                source = replace(source, member=source.member._replace(fault=TWICE))
            self._addresses[str(path)] = source
            self._stamps[str(path)] = _stamp_of(source, stamp)
        return paths

    def files(self, *, look: bool = True) -> Elsewhere:
        """Return all of them, as they are read.

        Args:
            look: Whether to see how those begin whose names do not say what they are.
        """
        unsure = [name for name in self._addresses if not is_known_by_name(PurePosixPath(name))]
        asked = [self._addresses[name] for name in unsure] if look else []
        heads = zip(unsure, self._objects.beginnings(asked, _HEAD_BYTES), strict=False)
        known = {name: head for name, head in heads if head is not None}
        sources = {name: (one, self._known(name)) for name, one in self._addresses.items()}
        return Elsewhere(self._stamps, self._brought, known, self._places, sources)

    def _brought(self, names: Sequence[str]) -> Mapping[str, bytes | str]:
        begun = {
            name: self._objects.begin(self._addresses[name], self._known(name)) for name in names
        }
        found = {name: coming.result() for name, coming in begun.items()}
        return {
            name: one.content if isinstance(one, Brought) else one.reason
            for name, one in found.items()
        }

    def _known(self, name: str) -> Stamp | None:
        """Return what a store said of a file; of one with a digest it was not asked."""
        return None if self._addresses[name].digest else self._stamps[name]


def _listed(text: str, objects: Objects, *, lists: bool = True) -> Iterator[Listed]:
    found = Inputs([text], objects, everything=True, lists=lists)
    for turn in found.turns():
        yield from turn.items()


def _stamp_of(address: Address, stamp: Stamp | None) -> Stamp | None:
    """Return what tells the content of a file from another's: its digest, where it has one."""
    if not address.digest:
        return stamp
    return Stamp(0, 0, 0, xxhash.xxh3_64_intdigest(address.digest.encode()))


def _archive_above(name: str) -> str:
    """Return the archive that a path leads into, by its name; "" where it leads into none."""
    parents = path_at(name).parents
    return next((str(above) for above in parents if is_archive(above)), "")
