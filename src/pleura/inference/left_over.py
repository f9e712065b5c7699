"""What an earlier job left in a folder where a new one writes, and nobody wrote anew."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pleura.inference.job_store import NAME
from pleura.inference.tables import TYPED, WORKLIST, Provenance, read_made_with
from pleura.storage.content import stamp_at

PRODUCTS = ("overlays", "heatmaps", "worklist", "dicom", "dicom-deidentified")
"""Folders in a job's folder that writers write to."""

_WRITTEN = (*PRODUCTS, WORKLIST)


def begun_ns(out: Path, made_with: Provenance, *, goes_on: bool) -> int:
    """Return since when files in a job's folder are the job's, by the clock of its file system.

    Args:
        out: The folder; the job's store lies there.
        made_with: What the job's answers are made with.
        goes_on: Whether rows of the job are in its store already.

    Returns:
        In ns; 0 where nothing lies there, or all that does was made with the same, so that it says
        what this job would. Of a job that goes on it is the time of the tables that it will
        replace.
    """
    if not any((out / name).exists() for name in _WRITTEN):
        return 0
    tables = stamp_at(out / TYPED)
    if tables is not None and read_made_with(out) == made_with:
        return 0
    if goes_on:
        return 0 if tables is None else tables.modified_ns + 1
    store = (stamp_at(out / name) for name in (NAME, f"{NAME}-wal"))
    return max((stamp.modified_ns for stamp in store if stamp), default=0)


def left_over(out: Path, since_ns: int) -> Counter[str]:
    """Return how many files were written before a job, by the folder they lie in.

    Args:
        out: The job's folder, once the job is done.
        since_ns: From :func:`begun_ns`.
    """
    found: Counter[str] = Counter()
    if not since_ns:  # no file is older, however many there are
        return found
    for name in _WRITTEN:
        times = map(_written_ns, _files(out / name))
        found[name] = sum(0 < written_ns < since_ns for written_ns in times)
    return +found


def _files(place: Path) -> Iterator[str]:
    yield str(place)
    for folder, _, names in os.walk(place):
        yield from (str(Path(folder, name)) for name in names)


def _written_ns(path: str) -> int:
    """Return when a file was written; 0 where there is none, or something else."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    return status.st_mtime_ns if stat.S_ISREG(status.st_mode) else 0
