"""A folder that is predicted as it fills: what arrives is answered, until somebody stops it.

The folder is looked at again and again instead of asking the system to tell of changes, for the
systems' ways to tell say nothing of what another machine writes into a shared folder.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pleura.config import IdSource
from pleura.data.files import may_be_dicom, walk_files
from pleura.errors import DataError
from pleura.inference.answers import Answers
from pleura.inference.folder import Job, OnAnswer, OnProgress
from pleura.inference.predictor import Predictor
from pleura.inference.readers import Readers

if TYPE_CHECKING:
    from pleura.inference.writers import Writer

PAUSE_S = 1.0
"""Time between two looks at a folder; a file that stays the same for so long has arrived."""

_Stamp = tuple[int, int]
_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart")


def watch_folder(
    predictor: Predictor,
    folder: Path,
    out: Path,
    *,
    id_source: IdSource = "uid",
    writers: Sequence["Writer"] = (),
    batch: int = 4,
    readers: Readers | None = None,
    on_progress: OnProgress | None = None,
    on_answer: OnAnswer | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Answers:
    """Predict each file below `folder` as it arrives, until Ctrl-C; return all answers.

    The tables are written anew whenever no more files wait, and at the end. The journal stays, so
    that a later call with the same model and options answers only what it has not yet answered; a
    file that was changed is answered again. The rows are in the order in which files arrived.

    Args:
        predictor: The model.
        folder: What to watch.
        out: Folder for the results, outside of `folder`.
        id_source: As for :func:`pleura.inference.folder.predict_files`.
        writers: As there; they finish each time that the tables are written.
        batch: As there.
        readers: As there.
        on_progress: Told (files done, files known), from the first on.
        on_answer: Told each new answer.
        pause: What to do for so many seconds between two looks; KeyboardInterrupt ends the watch.

    Raises:
        DataError: There is no such folder.
        OutputError: A result could not be written; what is finished is kept.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder; name one to watch")
    if out.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{out}: lies in the watched folder {folder}; name another with --out")
    with contextlib.ExitStack() as stack:
        readers = readers or stack.enter_context(Readers())
        job = stack.enter_context(Job(predictor, out, readers, id_source, writers, batch))
        job.continue_earlier()
        try:
            for arrived in _arrivals(folder, job.unanswered, pause):
                known = len(job) + len(arrived)
                with contextlib.closing(job.answer(arrived)) as answering:
                    for number, (answer, _) in enumerate(answering, known - len(arrived) + 1):
                        if on_answer is not None:
                            on_answer(answer)
                        if on_progress is not None:
                            on_progress(number, known)
                job.write_results()
        except KeyboardInterrupt:
            pass  # the way to end it
        return job.write_results()


def _arrivals(
    folder: Path, unanswered: Callable[[list[Path]], list[Path]], pause: Callable[[float], None]
) -> Iterator[list[Path]]:
    """Yield, again and again, the files that no answer is known for and that stopped growing."""
    seen: dict[Path, tuple[_Stamp, float]] = {}  # as it was, and since when
    other: dict[Path, _Stamp] = {}  # what was looked into, and is no DICOM
    while True:
        begun = time.monotonic()
        now = dict(_stamped(unanswered(list(walk_files(folder)))))
        known = {path: seen.get(path, (None, begun)) for path in now}
        seen = {
            path: (stamp, known[path][1] if known[path][0] == stamp else begun)
            for path, stamp in now.items()
        }
        arrived = []
        for path, (stamp, since) in seen.items():
            if begun - since < PAUSE_S or other.get(path) == stamp:
                continue
            if may_be_dicom(path):
                arrived.append(path)
            else:
                other[path] = stamp
        if arrived:
            yield arrived
        # A folder that takes long to look at is looked at less often.
        pause(max(PAUSE_S, 9 * (time.monotonic() - begun)) if not arrived else PAUSE_S)


def _stamped(paths: list[Path]) -> Iterator[tuple[Path, _Stamp]]:
    """Yield size and time of change of each file that is there and has something in it."""
    for path in paths:
        if path.suffix.lower() in _UNFINISHED:
            continue
        with contextlib.suppress(OSError):
            status = os.stat(path)  # noqa: PTH116
            if status.st_size:
                yield path, (status.st_size, status.st_mtime_ns)
