"""Processes that open a stranger's files: they read and prepare radiographs, and write products.

What runs in them is :mod:`pleura.inference.reading`. This module imports nothing that decodes a
file, and little else: the processes start first, and import while the one that asks does.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pleura.data.isolation import Isolated, Limits, Reply
from pleura.data.prepare import Frame
from pleura.errors import DicomError, LimitError, OutputError
from pleura.formats.limits import MAX_PIXELS, MAX_SIDE_PX

if TYPE_CHECKING:
    from pleura.config import Predict
    from pleura.inference.prediction import Prediction
    from pleura.inference.writers import Writer

_MOST_WORKERS = 8


@dataclass(frozen=True, slots=True)
class Ready:
    """A radiograph on its way to the network.

    Attributes:
        path: The file.
        image_id: Its SOP Instance UID.
        pixels: ``(size, size)`` uint8, prepared.
        frame: Where the file's pixels lie in them.
        guard: How far the picture is from a frontal chest radiograph; None where nobody looked.
        flags: What is doubtful about the picture, names joined by semicolons.
        notes: What is odd about the file and does not concern its pixels, in words.
    """

    path: Path
    image_id: str
    pixels: NDArray[np.uint8]
    frame: Frame
    guard: float | None = None
    flags: str = ""
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """A file without an answer, and why."""

    path: Path
    reason: str


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
        self._isolated = Isolated("pleura.inference.reading:handle", count, limits)

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

    def read(self, path: Path, size: int) -> Ready | Failed:
        """Return the radiograph at `path`, prepared for `size` pixels, or why there is none.

        Raises:
            PleuraError: As for :meth:`pleura.data.isolation.Isolated.call`, its LimitError aside.
        """
        try:
            reply = self._isolated.call(ReadRequest(path, size), path)
            return _ready(path, size, reply)
        except DicomError as error:
            return Failed(path, str(error))

    def write(
        self,
        writers: Sequence["Writer"],
        path: Path,
        image_id: str,
        prediction: "Prediction",
        out: Path,
    ) -> "Wrote":
        """Have every one of `writers` write for one file.

        Raises:
            OutputError: The place where it was to be written cannot take it.
            PleuraError: As for :meth:`read`.
        """
        try:
            reply = self._isolated.call(
                WriteRequest(tuple(writers), path, image_id, prediction, out), path
            )
            _require_done(path, reply)
        except DicomError as error:
            return Wrote(trouble=str(error))
        return Wrote(*(str(reply.fields.get(name, "")) for name in Wrote._fields))


def open_readers(settings: "Predict", files: int | None) -> Readers:
    """Return the processes that open files, held to the limits of the settings.

    Args:
        settings: How to predict.
        files: How many files there will be; None where nobody knows.
    """
    limits = Limits(settings.max_seconds, settings.max_memory)
    return Readers(settings.workers, limits, files=files)


class Wrote(NamedTuple):
    """How writing for one file went: why a writer could not, and what is to be known of it."""

    trouble: str = ""
    notes: str = ""


class ReadRequest(NamedTuple):
    """Read this file, and prepare it for a network of so many pixels."""

    path: Path
    size: int


class WriteRequest(NamedTuple):
    """Have these writers write for this file."""

    writers: tuple["Writer", ...]
    path: Path
    image_id: str
    prediction: "Prediction"
    out: Path


def _ready(path: Path, size: int, reply: Reply) -> Ready:
    """Return what a process says that it read; nothing of it is believed unseen."""
    _require_done(path, reply)
    try:
        rows, columns = int(reply.fields["rows"]), int(reply.fields["columns"])
        guard = reply.fields["guard"]
        guard = None if guard is None else float(guard)
        words = [str(reply.fields[name]) for name in ("image_id", "flags", "notes")]
        pixels = np.frombuffer(reply.blob, np.uint8).reshape(size, size)
        sides = 1 <= rows <= MAX_SIDE_PX and 1 <= columns <= MAX_SIDE_PX
        if not sides or rows * columns > MAX_PIXELS or not math.isfinite(guard or 0.0):
            raise ValueError("beyond what is read")
    except (LookupError, TypeError, ValueError) as error:
        raise LimitError(f"{path}: the process that read it answered nonsense") from error
    return Ready(path, words[0], pixels, Frame(rows, columns, size), guard, words[1], words[2])


def _require_done(path: Path, reply: Reply) -> None:
    """Raise what a process says went wrong, if anything did."""
    found = reply.fields
    if "refused" in found:
        raise DicomError(str(found["refused"]))
    if "unwritten" in found:
        raise OutputError(str(found["unwritten"]))
    if "memory" in found:
        raise LimitError(
            f"{path}: needs more memory than a file may take; if it is sound, allow more with "
            "--max-memory"
        )
    if "internal" in found:
        raise LimitError(
            f"{path}: internal error ({found['internal']}); PLEURA_DEBUG=1 shows where it happened"
        )
