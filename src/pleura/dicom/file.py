"""A DICOM file that is opened once, read as far as it must be, and walked into its elements.

Whatever a stranger's bytes provoke becomes a reason that names the file.
"""

import functools
import os
import stat
import struct
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from pydicom.config import IGNORE
from pydicom.uid import UID

from pleura.dicom.elements import DataSet, walk
from pleura.dicom.encoding import EXPLICIT_LITTLE, ShortBufferError
from pleura.dicom.functional_groups import lift_groups
from pleura.dicom.inflating import gunzip
from pleura.dicom.signature import archive_kind, data_start, head_of, is_gzip
from pleura.dicom.transfer_syntax import read_data_set
from pleura.dicom.values import text
from pleura.errors import ChangedError, DicomError, NotDicomError
from pleura.storage import elsewhere
from pleura.storage.archive import is_archive, read_member, require_archive
from pleura.storage.content import Stamp, stamp_at, stamp_of

MAX_FILE_BYTES = 2 << 30
_TRANSFER_SYNTAX_UID = 0x00020010
_STANDARD = "1.2.840.10008."
"""What every UID of the standard begins with, newer ones than the dictionary too."""

# Opening a pipe must not wait for its writer; O_BINARY is for Windows.
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

# What a parser below may raise over a stranger's bytes although nobody foresaw it. Names and
# assertions are missing on purpose: those are our own mistakes, and must look like it.
_HOSTILE = (
    ArithmeticError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


class Walked(NamedTuple):
    """The elements of a file.

    Attributes:
        data: Its data set.
        meta: Its file meta information.
        transfer_syntax_uid: How the data set is written, as it shows.
    """

    data: DataSet
    meta: DataSet
    transfer_syntax_uid: str


def reasons(path: str | os.PathLike[str]) -> AbstractContextManager[None, None]:
    """Turn whatever a hostile file provokes into a DicomError that begins with its path."""
    return _Reasons(path)


class _Reasons:
    """What :func:`reasons` returns; a generator would take as long as many a check."""

    __slots__ = ("_path",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            return
        if isinstance(error, DicomError):
            raise type(error)(f"{self._path}: {error}") from error
        if isinstance(error, OSError):
            why = error.strerror or type(error).__name__
            raise DicomError(f"{self._path}: cannot be read ({why})") from error
        if isinstance(error, MemoryError):
            raise DicomError(
                f"{self._path}: does not fit into memory; read it on a larger machine"
            ) from error
        if isinstance(error, _HOSTILE):
            # Its own text is left out, for it may quote the file.
            raise DicomError(
                f"{self._path}: is malformed ({type(error).__name__} while reading it); export it"
                " again"
            ) from error


class DicomStream:
    """A regular file that is opened once, until a `with` block ends."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, _OPEN)
        self._content = b""  # as far as it is loaded, unpacked
        try:
            status = os.fstat(self._descriptor)
            self.stamp = stamp_of(status)
            self._size = size = status.st_size  # once it is known, that of what was unpacked
            if stat.S_ISDIR(status.st_mode):
                raise DicomError(
                    "is a folder, and a file is needed: name the files in it; where it was to be"
                    " looked into, see who may enter it"
                )
            if not stat.S_ISREG(status.st_mode):
                raise DicomError("is a pipe or a device; a regular file is needed")
            if size == 0:
                raise DicomError("is empty (0 bytes); copy it again from its source")
            if size > MAX_FILE_BYTES:
                raise DicomError(f"has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def whole(self) -> bytes:
        """Return all bytes of the file, of a gzip those that it holds; they are loaded once.

        Raises:
            ChangedError: It was written to meanwhile.
            DicomError: It is a gzip that is damaged, or holds too much.
        """
        return self._beginning(self._size)

    def walked(self, head_bytes: int) -> Walked:
        """Return the file walked; only its first `head_bytes` are loaded where they suffice."""
        head = self._beginning(min(head_bytes, self._size))
        try:
            return walk_file(head, self._size)
        except ShortBufferError:
            whole = self.whole()
        return walk_file(whole, len(whole))

    def _beginning(self, count: int) -> bytes:
        """Return `count` bytes or more from the beginning, fewer where the system has no more."""
        if len(self._content) < count:
            self._content = self._load(count)
            if is_gzip(self._content):
                packed = self._load(self._size)
                self._content = gunzip(packed)
                self._size = len(self._content)
        return self._content

    def _load(self, count: int) -> bytes:
        if self._content:  # from the first byte on again, so that none is of an earlier content
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        loaded = _load(self._descriptor, count)
        if stamp_of(os.fstat(self._descriptor)).content != self.stamp.content:
            raise ChangedError("was written to while it was read; read it once it is complete")
        return loaded


class LoadedStream(DicomStream):
    """What stands in place of a file that is loaded already."""

    def __init__(self, content: bytes, stamp: Stamp | None = None) -> None:
        self._content = gunzip(content) if is_gzip(content) else content
        self._size = len(self._content)
        self.stamp = stamp or Stamp(len(content), 0, 0, 0)
        if not self._size:
            raise NotDicomError("is empty; there is nothing in it to read")

    def close(self) -> None:
        """Do nothing: no file is open."""


def open_stream(path: Path) -> DicomStream:
    """Return a file, opened once; one in an archive or at an address is loaded. Close it.

    Raises:
        DicomError: It is no regular file, empty, or too large.
        OSError: It cannot be opened.
    """
    content = elsewhere.content_of(path)
    if content is not None:
        return LoadedStream(content, stamp_at(path))
    if is_archive(path) and data_start(head_of(path)) is None:
        require_archive(path)
    try:
        return DicomStream(path)
    except NotADirectoryError:
        return LoadedStream(read_member(path), stamp_at(path))


def _load(descriptor: int, count: int) -> bytes:
    """Return the next `count` bytes, fewer only where the file ends."""
    chunks = []
    while count > 0 and (chunk := os.read(descriptor, count)):
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


@functools.lru_cache(maxsize=64)
def _is_transfer_syntax(uid: str) -> bool:
    return bool(UID(uid, IGNORE).type == "Transfer Syntax")


def walk_file(buffer: bytes, size: int) -> Walked:
    """Return the elements of a file.

    Args:
        buffer: The file, or its beginning.
        size: Size of the file in bytes.

    Raises:
        NotDicomError: It is none.
        DicomError: It is malformed, or written in a way that no standard knows.
        ShortBufferError: More of it is needed.
    """
    start = data_start(buffer)
    if start is None:
        kind = archive_kind(buffer)
        if kind:
            raise NotDicomError(f"is not DICOM: it is {kind}; unpack it, and name what was in it")
        raise NotDicomError(
            'is not DICOM: no "DICM" at byte 128 and no data set at its beginning; convert it'
            " to DICOM first"
        )
    meta = walk(buffer, start, EXPLICIT_LITTLE, size, groups=(2, 2))
    body = max([element.end for element in meta.elements.values()], default=start)
    stated = text(meta, _TRANSFER_SYNTAX_UID)
    if stated and not _is_transfer_syntax(stated):
        shown = f" {stated[:64]!r}" if stated.replace(".", "").isdecimal() else ""  # no name, say
        newer = stated.startswith(_STANDARD) and shown
        why = (
            "is none that is known, and so none that is read" if newer else "is not a standard one"
        )
        raise DicomError(
            f"the Transfer Syntax UID (0002,0010){shown} {why}; convert the file to Explicit VR"
            " Little Endian"
        )
    data, uid = read_data_set(buffer, body, size, stated)
    for note in meta.notes:
        data.note(note.kind, note.text)
    lift_groups(data)
    return Walked(data, meta, uid)
