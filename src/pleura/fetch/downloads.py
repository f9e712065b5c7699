"""What a download offers, and how it gets to its place in a data folder.

People publish the same files in different folders, packed or not, so files are found by the name of
the folder they lie in, wherever that lies. A download is made by strangers: no name in it may lead
out of the data folder, links are not followed, and no file may be larger than is sensible.
"""

import contextlib
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from pleura.errors import DataError, first_line
from pleura.processes.progress import OnProgress
from pleura.storage.atomic import atomic_path, remove_abandoned

MAX_FILE_BYTES: Final = 1 << 28
"""A larger file is refused (the largest of the SIIM-ACR set, a table, holds 6 MB)."""

_Rank = tuple[bool, int, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Offer:
    """A file of a download, or a member of a ZIP archive in it.

    Attributes:
        path: The file, or the archive.
        size: Bytes, unpacked.
        member: Where it is packed, what the archive says of it.
    """

    path: Path
    size: int
    member: zipfile.ZipInfo | None = None


@dataclass(slots=True)
class Found:
    """What downloads offer of the wanted files, by its place in the data folder.

    Attributes:
        folders: DICOM files below a folder of such a name, in whatever case, belong into a folder
            of this name.
        tables: Files of such a name belong into the data folder itself.
        offers: Place, relative to the data folder -> the file that goes there.
        contradicting: Places for which one download holds files of several sizes.
        refused: Files that belong to it but that nobody should put anywhere.
    """

    folders: tuple[str, ...]
    tables: tuple[str, ...]
    offers: dict[PurePosixPath, Offer] = field(default_factory=dict)
    contradicting: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def add(self, folder: Path) -> bool:
        """Take up what a download offers, and return whether that are radiographs.

        Of several files for one place the one that is not packed and least deep counts; what an
        earlier download offers stays.
        """
        own: dict[PurePosixPath, Offer] = {}
        for _, place, offer in sorted(self._walk(folder), key=lambda item: item[0]):
            if own.setdefault(place, offer).size != offer.size:
                self.contradicting.append(str(place))
        self.offers = own | self.offers
        return any(place.suffix.lower() == ".dcm" for place in own)

    def warnings(self) -> tuple[str, ...]:
        """Return what was odd, a line for each kind."""
        told = []
        if self.contradicting:
            told.append(
                f"{shown(min(self.contradicting))}: the download holds different files of this "
                "name, and the one in the fewest folders was taken (such names in all: "
                f"{len(self.contradicting):,})"
            )
        if self.refused:
            told.append(
                f"{shown(min(self.refused))}: passed over, with {len(self.refused):,} such in all: "
                f"a link, a name that leads elsewhere, or more than {MAX_FILE_BYTES:,} bytes"
            )
        return tuple(told)

    def _walk(self, folder: Path) -> Iterator[tuple[_Rank, PurePosixPath, Offer]]:
        """Yield (rank, place, offer) of what is wanted; a low rank goes first."""
        for parent, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            inside = Path(parent).relative_to(folder).parts
            for name in names:
                path, parts = Path(parent, name), (*inside, name)
                status, place = path.lstat(), self._place(parts)
                if path.suffix.lower() == ".zip" and stat.S_ISREG(status.st_mode):
                    yield from self._walk_archive(path, (*inside, path.stem))
                elif place is None:
                    continue
                elif not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
                    self.refused.append("/".join(parts))
                else:
                    yield (False, len(parts), parts), place, Offer(path, status.st_size)

    def _walk_archive(
        self, path: Path, inside: tuple[str, ...]
    ) -> Iterator[tuple[_Rank, PurePosixPath, Offer]]:
        with _opened(path) as archive:
            members = archive.infolist()
        for member in members:
            name = member.orig_filename
            parts = (*inside, *re.split(r"[/\\]", name))
            place = self._place(parts)
            if member.is_dir() or place is None:
                continue
            is_link = stat.S_ISLNK(member.external_attr >> 16)
            if is_link or member.file_size > MAX_FILE_BYTES or not _is_plain(name):
                self.refused.append(f"{path.name}: {name}")
            else:
                yield (True, len(parts), parts), place, Offer(path, member.file_size, member)

    def _place(self, parts: tuple[str, ...]) -> PurePosixPath | None:
        """Return where in the data folder a file of a download belongs, if anywhere."""
        name = parts[-1].lower()
        if parts[-1].startswith("."):
            return None
        if name in self.tables:
            return PurePosixPath(name)
        for at in range(len(parts) - 2, -1, -1):
            if parts[at].lower() in self.folders and name.endswith(".dcm"):
                return PurePosixPath(parts[at].lower(), *parts[at + 1 :])
        return None


def _is_plain(name: str) -> bool:
    """Return whether the name of an archive's member leads to a place below, on any system."""
    parts = name.split("/")
    return name.isprintable() and not any(
        part in ("", ".", "..") or "\\" in part or ":" in part for part in parts
    )


def place_all(offers: Mapping[PurePosixPath, Offer], out: Path, on_progress: OnProgress) -> int:
    """Put each offer in its place below `out` and return how many were not there.

    A file is made as a hard link where that goes, else as a copy, and appears whole or not at all.
    A file of the same size that is there stays.

    Args:
        offers: As in :class:`Found`.
        out: The data folder.
        on_progress: Told (files in place, files in all).

    Raises:
        DataError: A folder below `out` is a link that leads out of it, or an archive is damaged.
        OutputError: There is no space or no permission to write.
    """
    root = os.path.realpath(out)
    placed = 0
    with contextlib.ExitStack() as stack:
        archives: dict[Path, zipfile.ZipFile] = {}
        for done, (place, offer) in enumerate(offers.items(), 1):
            target = out / place
            if os.path.commonpath([root, os.path.realpath(target.parent)]) != root:
                raise DataError(
                    f"{target}: its folder is a link that leads out of {out}; remove the link or "
                    "name another folder with `out`"
                )
            if not _is_there(target, offer.size):
                if offer.member is not None and offer.path not in archives:
                    archives[offer.path] = stack.enter_context(_opened(offer.path))
                _put(offer, target, archives.get(offer.path))
                placed += 1
            on_progress(done, len(offers))
    return placed


def _is_there(target: Path, size: int) -> bool:
    try:
        status = target.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _put(offer: Offer, target: Path, archive: zipfile.ZipFile | None) -> None:
    if archive is None or offer.member is None:
        if not _link(offer.path, target):
            remove_abandoned(target.parent)
            with atomic_path(target) as partial:
                shutil.copyfile(offer.path, partial)
        return
    remove_abandoned(target.parent)
    with (
        atomic_path(target) as partial,
        _unpacking(offer.path),
        archive.open(offer.member) as packed,
        partial.open("wb") as file,
    ):
        shutil.copyfileobj(packed, file)


def _link(source: Path, target: Path) -> bool:
    """Make a hard link and return whether that went; it does not replace anything."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with contextlib.ExitStack() as stack:
        with _unpacking(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
        yield archive


@contextlib.contextmanager
def _unpacking(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be unpacked ({first_line(error)}); remove the folder that kagglehub "
            "made for it and try again"
        ) from error


def shown(name: str) -> str:
    """Return a name for a message: as it is, or escaped where a character of it does not print."""
    return name if name.isprintable() else ascii(name)
