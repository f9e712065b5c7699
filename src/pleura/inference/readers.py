"""Processes that open a stranger's files: they read and prepare radiographs, and write products.

What runs in them is :mod:`pleura.inference.reading`. This module imports nothing that decodes a
file, and little else: the processes start first, and import while the one that asks does.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pleura.data.prepare import Frame
from pleura.dicom.limits import GREATEST_ASPECT, MAX_PIXELS, MAX_SIDE_PX
from pleura.errors import ChangedError, DicomError, LimitError, OutputError
from pleura.inference.row import Wrote
from pleura.processes.isolation import Isolated, Limits, Reply
from pleura.remote.address import Source, public
from pleura.remote.objects import Brought, NotBrought
from pleura.storage.content import Stamp

if TYPE_CHECKING:
    from pleura.config import Predict
    from pleura.inference.prediction import Prediction
    from pleura.inference.writers import Writer

_MOST_WORKERS = 8

_KEPT_SHARE = 4
"""What a process holds open for writers takes at most this part of the memory a file may take."""


class Version(NamedTuple):
    """Which content of a file was read.

    Attributes:
        fingerprint: Of its bytes.
        stamp: What the system said of the file.
    """

    fingerprint: str = ""
    stamp: Stamp = Stamp(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Ready:
    """A radiograph on its way to the network.

    Attributes:
        path: The file, or its address.
        image_id: Its SOP Instance UID, or the id that it is answered as.
        pixels: ``(size, size)`` uint8, prepared.
        frame: Where the file's pixels lie in them.
        guard: How far the picture is from a frontal chest radiograph; None where nobody looked.
        flags: What speaks against an answer, as :func:`pleura.pictures.flags.judge` names it.
        notes: What is odd about the file that was read nonetheless, in words.
        version: Which content of the file all of this is of.
        reader: Which of the processes read it, and may hold it open for writers still.
        content: The bytes that were fetched from an address, as long as something is to be written.
        uid: Its SOP Instance UID, once `image_id` is another.
    """

    path: Source
    image_id: str
    pixels: NDArray[np.uint8]
    frame: Frame
    guard: float | None = None
    flags: tuple[str, ...] = ()
    notes: str = ""
    version: Version = Version()  # noqa: RUF009 - a tuple
    reader: int | None = None
    content: bytes | None = None
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """A file without an answer, and why.

    Attributes:
        path: The file, or its address.
        reason: Why, beginning with its path.
        image_id: The id of an answer that was discarded; "" where there never was one.
        uid: Its SOP Instance UID, where that is another.
    """

    path: Source
    reason: str
    image_id: str = ""
    uid: str = ""


class Readers:
    """The processes. Make them before a model is loaded: they start while it is.

    Use it in a ``with`` block, from any number of threads.

    Args:
        workers: How many; 0 means half the cores, at least 2 and at most 8.
        limits: What one file may take.
        files: How many files there are, where that is known: no more processes are started.

    Raises:
        PleuraError: A process could not be started.
    """

    def __init__(
        self,
        workers: int = 0,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        files: int | None = None,
    ) -> None:
        count = workers or min(max(2, (os.cpu_count() or 1) // 2), _MOST_WORKERS)
        count = count if files is None else max(1, min(count, files))
        self._isolated = Isolated(
            "pleura.inference.reading:handle", count, limits, option="`max_seconds`"
        )

    @property
    def workers(self) -> int:
        """How many processes there are."""
        return self._isolated.workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        self._isolated.close()

    def interrupt(self) -> None:
        """Kill the processes that work on something; later calls start others."""
        self._isolated.interrupt()

    def read(
        self, source: Path | Brought | NotBrought, size: int, *, keep: bool = False
    ) -> Ready | Failed:
        """Return the radiograph of a file, prepared for `size` pixels, or why there is none.

        Args:
            source: The file, or what was fetched from an address, or why nothing was.
            size: Side of the prepared square.
            keep: Whether something will be written for it: the process then holds it open, as far
                as a share of its memory allows, so that it need not be opened again.

        Raises:
            PleuraError: As for :meth:`pleura.processes.isolation.Isolated.call`, its LimitError
                aside.
        """
        if isinstance(source, NotBrought):
            return Failed(source.address, source.reason)
        path = source if isinstance(source, Path) else source.address
        content = None if isinstance(source, Path) else source.content
        try:
            keep_bytes = (self._isolated.limits.memory_mib << 20) // _KEPT_SHARE if keep else 0
            reply = self._isolated.call(ReadRequest(public(path), size, keep_bytes, content), path)
            ready = _ready(path, size, reply)
        except DicomError as error:
            return Failed(path, str(error))
        if isinstance(source, Path):
            return ready
        # The store's stamp is the one that a later listing shows.
        version = ready.version._replace(stamp=source.stamp)
        return replace(ready, version=version, content=content if keep else None)

    def write(
        self, writers: Sequence["Writer"], ready: Ready, prediction: "Prediction", out: Path
    ) -> Wrote:
        """Have every one of `writers` write for one file, which was read as `ready`.

        Raises:
            ChangedError: The file holds another content by now; nothing is written.
            OutputError: The place where it was to be written cannot take it.
            PleuraError: As for :meth:`read`.
        """
        path = ready.path
        request = WriteRequest(
            tuple(writers), public(path), ready.version, prediction, out, ready.content
        )
        try:
            reply = self._isolated.call(request, path, ready.reader)
            return _wrote(path, reply)
        except ChangedError:
            raise
        except DicomError as error:
            return Wrote(trouble=str(error))


def open_readers(settings: "Predict", files: int | None) -> Readers:
    """Return the processes that open files, held to the limits of the settings.

    Args:
        settings: How to predict.
        files: How many files there will be; None where nobody knows.
    """
    limits = Limits(settings.max_seconds, settings.max_memory)
    return Readers(settings.workers, limits, files=files)


class ReadRequest(NamedTuple):
    """Read this file, and prepare it for a network of so many pixels.

    What was opened is kept for a :class:`WriteRequest` while all that is kept has no more bytes.
    What was fetched from an address comes along; its secrets stay behind.
    """

    path: Source
    size: int
    keep_bytes: int = 0
    content: bytes | None = None


class WriteRequest(NamedTuple):
    """Have these writers write for this file, if it is still of this version."""

    writers: tuple["Writer", ...]
    path: Source
    expected: Version
    prediction: "Prediction"
    out: Path
    content: bytes | None = None


def _ready(path: Source, size: int, reply: Reply) -> Ready:
    """Return what a process says that it read; nothing of it is believed unseen."""
    _require_done(path, reply)
    try:
        rows, columns = int(reply.fields["rows"]), int(reply.fields["columns"])
        aspect = float(reply.fields["aspect"])
        guard = reply.fields["guard"]
        guard = None if guard is None else float(guard)
        words = [str(reply.fields[name]) for name in ("image_id", "notes")]
        flags = tuple(map(str, reply.fields["flags"]))
        stamp = Stamp(*map(int, reply.fields["stamp"]))
        version = Version(str(reply.fields["fingerprint"]), stamp)
        pixels = np.frombuffer(reply.blob, np.uint8).reshape(size, size)
        sides = 1 <= rows <= MAX_SIDE_PX and 1 <= columns <= MAX_SIDE_PX
        sides = sides and 1 / GREATEST_ASPECT <= aspect <= GREATEST_ASPECT
        if not sides or rows * columns > MAX_PIXELS or not math.isfinite(guard or 0.0):
            raise ValueError("beyond what is read")
    except (LookupError, TypeError, ValueError) as error:
        raise LimitError(f"{path}: the process that read it answered nonsense") from error
    frame = Frame(rows, columns, size, aspect)
    return Ready(path, words[0], pixels, frame, guard, flags, words[1], version, reply.by)


def _wrote(path: Source, reply: Reply) -> Wrote:
    """Return what a process says of writing; nothing of it is believed unseen."""
    _require_done(path, reply)
    try:
        areas = reply.fields["areas"]
        areas = None if areas is None else tuple(map(int, areas))
        return Wrote(str(reply.fields["trouble"]), str(reply.fields["notes"]), areas)
    except (LookupError, TypeError, ValueError) as error:
        raise LimitError(f"{path}: the process that read it answered nonsense") from error


def _require_done(path: Source, reply: Reply) -> None:
    """Raise what a process says went wrong, if anything did."""
    found = reply.fields
    if "changed" in found:
        raise ChangedError(str(found["changed"]))
    if "refused" in found:
        raise DicomError(str(found["refused"]))
    if "unwritten" in found:
        raise OutputError(str(found["unwritten"]))
    if "memory" in found:
        raise LimitError(
            f"{path}: needs more memory than a file may take; if it is sound, allow more with "
            "`max_memory`"
        )
    if "internal" in found:
        raise LimitError(
            f"{path}: internal error ({found['internal']}); PLEURA_DEBUG=1 shows where it happened"
        )
