"""A folder that is predicted as it fills: what arrives is answered, until somebody stops it.

The folder is looked at again and again instead of asking the system to tell of changes, for the
systems' ways to tell say nothing of what another machine writes into a shared folder.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from pleura.data.files import why_not_input
from pleura.errors import DataError
from pleura.inference.job import Job
from pleura.inference.row import Row
from pleura.remote.address import Source
from pleura.storage.archive import walk_files
from pleura.storage.content import Stamp, stamp_at

PAUSE_S = 1.0
"""Time between two looks at a folder; a file that stays the same for so long has arrived."""

EMPTY_PAUSE_S = 30.0
"""The same for an empty file, which somebody may be about to fill."""

UNFINISHED = "unfinished"
_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart")


class Watched:
    """A folder that is looked at again and again.

    Args:
        folder: Which.
        out: Folder for the results, outside of `folder`.

    Raises:
        DataError: There is no such folder, or the results would lie in it.
    """

    def __init__(self, folder: Path, out: Path) -> None:
        if not folder.is_dir():
            raise DataError(f"{folder}: is no folder; name one to watch")
        if out.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{out}: lies in the watched folder {folder}; name another with `out`")
        self._folder = folder
        self._seen: dict[Path, tuple[Stamp | None, float]] = {}  # as it was, and since when
        self._others: dict[Path, tuple[Stamp | None, str]] = {}  # what was passed over, and as what

    @property
    def passed(self) -> Counter[str]:
        """How many files that are there are passed over, by what they are."""
        return Counter(kind for _, kind in self._others.values())

    def answer(self, job: Job, pause: Callable[[float], None] = time.sleep) -> Generator[Row]:
        """Yield the row of each file below the folder as it arrives; it never ends by itself.

        The tables are written anew whenever no more files wait. The job's store stays, so that a
        later job with the same model and settings answers only what has no row yet; a file that was
        changed is answered again. The rows are in the order in which files arrived.

        Args:
            job: What answers them.
            pause: What to do for so many seconds between two looks; KeyboardInterrupt ends the
                watch.

        Raises:
            OutputError: A result could not be written; what is finished is kept.
        """
        job.continue_earlier()
        for arrived in self._arrivals(job, pause):
            with contextlib.closing(job.answer_stamped(arrived)) as rows:
                yield from rows
            job.write_results()

    def _arrivals(
        self, job: Job, pause: Callable[[float], None]
    ) -> Iterator[dict[Source, Stamp | None]]:
        """Yield, again and again, the files that have no row and stopped growing."""
        while True:
            begun = time.monotonic()
            arrived = self._look(job, begun)
            if arrived:
                yield arrived
            # A folder that takes long to look at is looked at less often.
            pause(max(PAUSE_S, 9 * (time.monotonic() - begun)) if not arrived else PAUSE_S)

    def _look(self, job: Job, begun: float) -> dict[Source, Stamp | None]:
        now = job.unanswered({path: stamp_at(path) for path in walk_files(self._folder)})
        known = {path: self._seen.get(path, (None, begun)) for path in now}
        self._seen = {
            path: (stamp, known[path][1] if known[path][0] == stamp else begun)
            for path, stamp in now.items()
        }
        self._others = {path: other for path, other in self._others.items() if path in now}
        arrived: dict[Source, Stamp | None] = {}
        for path, (stamp, since) in self._seen.items():
            # One that cannot be looked at is answered too: reading it says why.
            patience = EMPTY_PAUSE_S if stamp is not None and not stamp.size else PAUSE_S
            if begun - since >= patience and not self._passed_over(path, stamp):
                arrived[path] = stamp
        return arrived

    def _passed_over(self, path: Path, stamp: Stamp | None) -> bool:
        if path in self._others and self._others[path][0] == stamp:
            return True
        self._others.pop(path, None)
        kind = UNFINISHED if path.suffix.lower() in _UNFINISHED else why_not_input(path)
        if kind:
            self._others[path] = stamp, kind
        return bool(kind)
