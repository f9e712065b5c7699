"""Archives that are read as folders: a path may lead into a ZIP or tar file.

``set.zip/study/1.dcm`` is the file ``study/1.dcm`` in the archive ``set.zip``. Nothing is ever
unpacked to a disk, so that no name in an archive can lead anywhere, and what is unpacked in memory
is bounded. The table of contents is read once by each process, as long as the archive stays the
same; the bytes of a file are then one piece of the archive, which may also lie at an address.

A file in it that cannot be read (encrypted, packed in another way, a link) is listed all the same:
whoever reads it hears why.

Source: PKWARE APPNOTE 6.3.10, 4.3.7 (local file header), 4.4.4 (flags), 4.4.5 (methods).
"""

import functools
import glob
import itertools
import os
import stat
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any, Final, NamedTuple

from pleura.errors import ArchiveError
from pleura.storage import elsewhere

SUFFIXES: Final = frozenset({".zip", ".tar"})
"""What names of archives end in that are read as folders, in small letters."""

_ENDS: Final = tuple(SUFFIXES)

_UNPACKED_BY: Final = {
    **dict.fromkeys((".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"), "tar xf"),
    ".tar.zst": "tar xf",
    ".7z": "7z x",
    ".rar": "unrar x",
}
"""What unpacks archives that are not looked into: each file of them takes all that lies before."""

MAX_FILE_BYTES: Final = 512 << 20
"""A file in an archive that has more is refused."""

MAX_RATIO: Final = 100
MAX_CONTENTS_BYTES: Final = 48 << 20
"""A larger table of contents of a ZIP file is refused; it names some 200,000 files."""

TWICE: Final = "its name comes more than once in the archive; pack it again"
"""Why a file cannot be read that two stand for."""

_FREE_BYTES: Final = 16 << 20  # below this no ratio is held against a file
_MOST_KNOWN: Final = 4  # tables of contents that a process keeps
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

_NO_ZIP = (NotImplementedError, ValueError, OverflowError, EOFError, struct.error)
_RAW, _STORED, _DEFLATED = -1, 0, 8
_ENCRYPTED: Final = 0x41
_LOCAL: Final = struct.Struct("<4s22xHH")
HEADER_BYTES: Final = _LOCAL.size + 2 * 65_535
"""A ZIP file's local header has no more bytes: name and extra field are of 16 bits each."""


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        name: Its path in the archive, with ``/``.
        start: Where its piece of the archive begins.
        piece: Bytes of this piece, a ZIP file's local header included.
        packed: Bytes that its content takes in it.
        size: Bytes of its content.
        method: How it is packed: -1 not at all, 0 and 8 as in a ZIP file.
        check: CRC-32 of its content; None where the archive has none.
        fault: Why it cannot be read; empty where it can.
    """

    name: str
    start: int
    piece: int
    packed: int
    size: int
    method: int = _RAW
    check: int | None = None
    fault: str = ""


class Place(NamedTuple):
    """What a path into an archive names: the archive, what the system says of it, the file."""

    archive: Path
    status: os.stat_result
    member: Member


def is_archive(path: PurePath) -> bool:
    """Return whether a file is read as a folder, by its name."""
    if not os.fspath(path).lower().endswith(_ENDS):  # a suffix takes ten times as long
        return False
    return path.suffix.lower() in SUFFIXES


def is_inside(path: Path) -> bool:
    """Return whether a path leads into an archive, whether there is such a file or not."""
    return _archive_above(path) is not None


def members_of(file: IO[bytes], suffix: str) -> Iterator[Member]:
    """Yield the files in an archive, in their order.

    Args:
        file: The archive, of which only the parts are read that name its files.
        suffix: ``.zip`` or ``.tar``.

    Raises:
        ArchiveError: It is none, or damaged.
    """
    return _zipped(file) if suffix == ".zip" else _tarred(file)


def unpack(piece: bytes, member: Member, most: int | None = None) -> bytes:
    """Return the content of a file in an archive.

    Args:
        piece: Its piece of the archive; where `most` is given, the beginning of it.
        member: The file.
        most: So many bytes from its beginning are enough; left out, all of it, which is then
            compared with its checksum.

    Raises:
        ArchiveError: It cannot be read, is damaged, or stands for too many bytes.
    """
    if member.fault:
        raise ArchiveError(member.fault)
    if member.method == _RAW:
        content, damaged = piece[: member.size], len(piece) < member.size
    else:
        content, damaged = _unpacked(piece, member, most)
    if most is not None:
        return content[:most]
    if damaged or len(content) != member.size or member.check not in (None, zlib.crc32(content)):
        raise ArchiveError("its archive is damaged there; copy the archive again from its source")
    return content


def find_member(path: str | os.PathLike[str]) -> Place | None:
    """Return what a path into an archive names; None where it leads into none.

    Raises:
        ArchiveError: The archive cannot be read, or holds no such file.
        OSError: Likewise, of the system.
    """
    archive = _archive_above(Path(path))
    if archive is None:
        return None
    status, members = _contents_of(archive)
    name = _inside(Path(path), archive)
    if name not in members:
        raise ArchiveError("there is no such file in the archive")
    return Place(archive, status, members[name])


def read_member(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """Return the content of a file in an archive, or the first `most` bytes of it.

    Raises:
        NotADirectoryError: The path leads into no archive.
        ArchiveError: As for :func:`find_member` and :func:`unpack`.
        OSError: As for :func:`find_member`.
    """
    place = find_member(path)
    if place is None:
        raise NotADirectoryError(20, "a part of the path is a file, and no archive", str(path))
    member = place.member
    if member.fault:
        raise ArchiveError(member.fault)
    needed = member.piece
    if most is not None:
        needed = min(needed, HEADER_BYTES + 2 * most + 1024)
    descriptor = os.open(place.archive, _OPEN)
    try:
        piece = b""
        while len(piece) < needed:
            found = os.pread(descriptor, needed - len(piece), member.start + len(piece))
            if not found:
                break
            piece += found
    finally:
        os.close(descriptor)
    return unpack(piece, member, most)


def require_archive(path: Path) -> None:
    """Check that an archive can be looked into.

    Raises:
        ArchiveError: It cannot.
        OSError: Likewise, of the system.
    """
    if path.is_file():
        _contents_of(path)


def why_closed(path: Path) -> str:
    """Return why a path names, or leads into, an archive that is not looked into, and the way out.

    Empty where it does not.
    """
    for part in (path, *path.parents):
        name = part.name.lower()
        command = next((one for end, one in _UNPACKED_BY.items() if name.endswith(end)), "")
        if (command or is_archive(part)) and is_inside(part) and is_file(part):
            return f"{part}: is an archive in an archive; unpack the outer one, and name the folder"
        if command and part.is_file():
            return (
                f"{part}: is an archive of a kind that is not looked into; unpack it ({command} "
                f"{part.name}) and name the folder, or pack it as .zip or .tar"
            )
    return ""


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder: on the disk, an archive, in one, or at an address."""
    if path.is_dir():
        return True
    return _below(path) is not None


def is_file(path: Path) -> bool:
    """Return whether a path is a regular file, on the disk, in an archive or at an address."""
    try:
        return path.is_file() or elsewhere.holds(path) or find_member(path) is not None
    except OSError:
        return False


def places(text: str) -> list[Path]:
    """Return the files and folders that a text names: itself, or what it matches as a glob.

    A name without a file is kept; a glob that matches nothing gives none.
    """
    path = Path(text)
    found = elsewhere.places_of(text)
    if found is not None:
        return found
    if os.path.lexists(text) or is_inside(path) or not glob.has_magic(text):
        return [path]
    return [Path(match) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207


def entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, or in an archive, itself, sorted.

    Raises:
        OSError: It is no folder that can be looked into.
    """
    inside = None if folder.is_dir() else _below(folder)
    if inside is None:
        return sorted(folder.iterdir())
    return sorted({folder / name.partition("/")[0] for name in inside})


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, sorted within each, and the folders that are closed.

    Closed are those that cannot be entered, and hidden ones. An archive is a folder; one that
    cannot be looked into is yielded itself, so that whoever reads it hears why.
    """
    if not folder.is_dir():
        yield from _of_file(folder)
        if elsewhere.holds(folder) or elsewhere.names_below(folder):
            return
    closed: list[OSError] = []
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, onerror=closed.append, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link that leads back, or to where we were
            folders.clear()
            continue
        seen.add(real)
        hidden = [name for name in folders if name.startswith(".")]
        folders[:] = sorted(set(folders).difference(hidden))
        for name in sorted([*names, *hidden]):
            path = Path(parent, name)
            if is_archive(path) and not name.startswith("."):
                yield from _of_file(path)
            else:
                yield path
    for error in closed:
        if not isinstance(error, NotADirectoryError) and error.filename is not None:
            yield Path(os.fsdecode(error.filename))


def _of_file(path: Path) -> Iterator[Path]:
    """Yield what an archive holds, or a folder in one; else the file itself, if it is there.

    So is an empty archive, for nothing that is there is passed over in silence.
    """
    inside = _below(path)
    if inside:
        yield from (path / name for name in dict.fromkeys(map(_as_walked, inside)))
    elif (os.path.lexists(path) and not path.is_dir()) or elsewhere.holds(path):
        yield path


def _as_walked(name: str) -> str:
    """Return a file's name, or in its place the hidden folder that it lies in."""
    parts = name.split("/")
    hidden = (at for at, part in enumerate(parts) if part.startswith(".") and part != "..")
    return "/".join(parts[: next(hidden, len(parts)) + 1])


def _below(path: Path) -> list[str] | None:
    """Return the names of the files below an archive, or below a folder in one; None: it is none.

    An archive that cannot be looked into is none.
    """
    names = elsewhere.names_below(path)
    if names is not None:
        return names
    archive = path if is_archive(path) and path.is_file() else _archive_above(path)
    if archive is None:
        return None
    try:
        names = sorted(_contents_of(archive)[1])
    except OSError:
        return None
    if archive == path:
        return names
    begins = f"{_inside(path, archive)}/"
    return [name.removeprefix(begins) for name in names if name.startswith(begins)] or None


def _archive_above(path: Path) -> Path | None:
    """Return the archive that a path leads into, if it leads into one."""
    found = (above for above in path.parents if is_archive(above) and above.is_file())
    return next(found, None)


def _inside(path: Path, archive: Path) -> str:
    return path.relative_to(archive).as_posix()


def _contents_of(archive: Path) -> tuple[os.stat_result, Mapping[str, Member]]:
    status = archive.stat()
    return status, _contents(str(archive), status.st_size, status.st_mtime_ns, status.st_ino)


@functools.lru_cache(_MOST_KNOWN)
def _contents(archive: str, size: int, modified_ns: int, inode: int) -> Mapping[str, Member]:
    """Return the files in an archive by their names; what tells its content is part of the key."""
    with os.fdopen(os.open(archive, _OPEN), "rb") as file:
        found = list(members_of(file, Path(archive).suffix.lower()))
    times = Counter(member.name for member in found)
    return {
        member.name: member if times[member.name] == 1 else member._replace(fault=TWICE)
        for member in found
    }


def _tarred(file: IO[bytes]) -> Iterator[Member]:
    import tarfile

    try:
        with tarfile.open(fileobj=file, mode="r:") as shard:
            last = -1
            for entry in shard:
                shard.members = []  # type: ignore[attr-defined]  # it would keep all of them
                if entry.size < 0 or entry.offset_data <= last:  # it leads back, and so on for ever
                    raise tarfile.ReadError
                last = entry.offset_data
                if entry.isdir():
                    continue
                plain = entry.isfile() and not entry.issparse()
                fault = "" if plain else "is a link, a device or a sparse file; pack it again"
                yield _checked(
                    Member(entry.name, entry.offset_data, entry.size, entry.size, entry.size), fault
                )
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise ArchiveError("is no whole tar file that is not compressed; pack it again") from error


def _zipped(file: IO[bytes]) -> Iterator[Member]:
    import zipfile

    try:
        with zipfile.ZipFile(_Bounded(file)) as archive:
            found, end = archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, *_NO_ZIP) as error:
        raise ArchiveError("is no whole ZIP file; copy it again from its source") from error
    starts = sorted({entry.header_offset for entry in found} | {end})
    ends = dict(itertools.pairwise(starts))
    for entry in found:
        if entry.is_dir():
            continue
        name = entry.filename.replace("\\", "/")  # as some Windows programs write it
        member = Member(
            name,
            entry.header_offset,
            ends.get(entry.header_offset, end) - entry.header_offset,
            entry.compress_size,
            entry.file_size,
            entry.compress_type,
            entry.CRC,
        )
        yield _checked(member, _zip_fault(entry, member))


def _zip_fault(entry: Any, member: Member) -> str:
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted; unpack the archive with its password, and name what was in it"
    if member.method not in (_STORED, _DEFLATED):
        return f"is packed by method {member.method} of ZIP; stored and deflated files are read"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link, which in an archive leads nowhere"
    if member.piece < _LOCAL.size + member.packed:
        return "lies over another file in the archive, as in a decompression bomb; pack it again"
    return ""


def _checked(member: Member, fault: str) -> Member:
    """Return a file under the name that a path has, with what is wrong with it."""
    parts = PurePosixPath(member.name).parts
    if ".." in parts or member.name.startswith("/"):
        fault = fault or "its name leads out of the archive; pack it again"
    most = min(MAX_FILE_BYTES, max(_FREE_BYTES, MAX_RATIO * member.packed))
    if member.size > most:
        fault = fault or (
            f"{member.packed:,} bytes in the archive stand for {member.size:,}, and at most "
            f"{most:,} are unpacked; refused as a decompression bomb"
        )
    return member._replace(name="/".join(part for part in parts if part != "/"), fault=fault)


def _unpacked(piece: bytes, member: Member, most: int | None) -> tuple[bytes, bool]:
    """Return the content in a ZIP file's piece, and whether it is damaged."""
    if len(piece) < _LOCAL.size or not piece.startswith(b"PK\3\4"):
        return b"", True
    _, name, extra = _LOCAL.unpack_from(piece)
    begin = _LOCAL.size + name + extra
    packed = piece[begin : begin + member.packed]
    if member.method == _STORED:
        return packed, False
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(packed, member.size + 1 if most is None else most)
    except zlib.error:
        return b"", True
    return content, not inflater.eof


class _Bounded:
    """An open file of which no piece is read that is larger than a table of contents may be."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, count: int = -1) -> bytes:
        if count < 0:  # of what ends a ZIP file, which is short
            return self._file.read(1 << 17)
        if count > MAX_CONTENTS_BYTES:
            raise ArchiveError(
                f"its table of contents has {count:,} bytes; at most {MAX_CONTENTS_BYTES:,} are "
                "read: pack it as several"
            )
        return self._file.read(count)
