"""A job's answers on disk as they come, so that a job that was cut off goes on where it was."""

import contextlib
import fcntl
import os
import time
from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Self

from pleura.errors import OutputError
from pleura.formats.atomic import way_out
from pleura.inference.answer import Answer
from pleura.inference.answers import Answers, parse_record, read_record, record

NAME = ".predictions.journal"

_SYNC_S = 1.0
_sync = getattr(os, "fdatasync", os.fsync)  # which not every system has


class Journal:
    """One line per finished file; the memory holds only where each line begins.

    A line is handed to the system at once, so that it outlives the process however that ends, and
    brought to the disk at least once a second, so that at most a second of work is lost with the
    machine. The file is locked while it is in use. Use it in a ``with`` block.

    Args:
        out: The job's folder.
        job: All that an answer depends on but the file; a journal of another job begins anew.

    Raises:
        OutputError: The journal cannot be read or written, or another process has it.
    """

    def __init__(self, out: Path, job: str) -> None:
        self._path = out / NAME
        self._offsets: dict[str, int] = {}
        self._end = 0
        self._synced = time.monotonic()
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(
                self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666
            )
        except OSError as error:
            raise self._trouble(error) from error
        try:
            self._lock()
            self._load(job.encode() + b"\n")
        except OSError as error:
            os.close(self._descriptor)
            raise self._trouble(error) from error
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # a line that could not be written has been told of
            _sync(self._descriptor)
        os.close(self._descriptor)

    def __contains__(self, key: str) -> bool:
        return key in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def get(self, key: str) -> Answer:
        """Return the answer for a file that has one."""
        return read_record(self._descriptor, self._offsets[key])

    def items(self) -> Iterator[tuple[str, Answer]]:
        """Yield key and answer of each file, in the order in which they were answered."""
        for key, offset in self._offsets.items():
            yield key, read_record(self._descriptor, offset)

    def answers(self, keys: Iterable[str]) -> Answers:
        """Return the answers for files that have one; they outlive the journal."""
        offsets = array("q", (self._offsets[key] for key in keys))
        return Answers(os.dup(self._descriptor), offsets)

    def add(self, key: str, answer: Answer, *, repeats: bool = False) -> None:
        """Keep an answer, in place of an earlier one with this key.

        Raises:
            OutputError: It could not be written.
        """
        begin = self._end
        self._append(record(key, answer, repeats=repeats))
        self._offsets[key] = begin

    def finish(self) -> None:
        """Remove the file: the job is done."""
        self._path.unlink(missing_ok=True)

    def _append(self, line: bytes) -> None:
        try:
            self._write(line)
            if time.monotonic() - self._synced >= _SYNC_S:
                _sync(self._descriptor)
                self._synced = time.monotonic()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._end)
            raise self._trouble(error) from error

    def _write(self, line: bytes) -> None:
        begun = 0
        while begun < len(line):
            begun += os.write(self._descriptor, line[begun:])
        self._end += len(line)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"{self._path.parent}: another pleura predicts into this folder; wait for it, or "
                "name another with --out"
            ) from error
        except OSError:  # a file system without locks
            pass

    def _load(self, head: bytes) -> None:
        """Find the whole lines; cut off what is torn, damaged or of another job."""
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            stream.seek(0)
            if stream.readline() == head:
                self._end = len(head)
                for line in stream:
                    try:
                        key, _, repeats = parse_record(line if line.endswith(b"\n") else b"")
                    except ValueError:
                        break  # it and what follows is done again
                    if not repeats:  # another time other files may come before it
                        self._offsets[key] = self._end
                    self._end += len(line)
        os.ftruncate(self._descriptor, self._end)
        if not self._end:
            self._write(head)

    def _trouble(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self._path.parent}: results could not be written ({error.strerror or error}); what "
            f"is finished is kept: {way_out(error)} and run it again"
        )


def key_of(path: Path) -> str:
    """Return what tells a file, and its content, from others: path, size and time of change."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        told = f"{path}|missing"
    else:
        told = f"{path}|{status.st_size}|{status.st_mtime_ns}"
    return blake2b(os.fsencode(told), digest_size=16).hexdigest()
