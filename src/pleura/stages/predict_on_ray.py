"""Prediction on a cluster: each worker is a whole line, and hands back the rows of its shard.

Nothing but addresses and rows goes from process to process: a worker reads (in processes of its
own, which may be killed), runs the network and writes. What it writes for a file lies in a folder
of that file, below ``.staged`` in the job's folder, until the file's turn has come: only then is it
known whose an id is. So the results are those of one machine, in whatever order shards are done.
"""

import contextlib
import functools
import itertools
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pleura.cluster.ray_cluster import joined
from pleura.cluster.shards import Cluster, Shards
from pleura.config import Predict
from pleura.data.inputs import Listed
from pleura.errors import OutputError, UsageError
from pleura.inference.job import Job, JobSettings, answered, named, named_by
from pleura.inference.job_store import Rows, key_of, row_of, text_of
from pleura.inference.line import open_line
from pleura.inference.predictor import Predictor
from pleura.inference.readers import Failed, Ready, open_readers
from pleura.inference.row import Row
from pleura.models.bundle import Bundle
from pleura.processes.workers import made_ahead
from pleura.remote.address import Source
from pleura.remote.objects import Objects
from pleura.stages.predict import open_predictor
from pleura.storage.atomic import why_not_written
from pleura.storage.content import Stamp

SHARD_S = 20.0
"""What a shard is to take a worker. Between two its line runs empty and is filled again, and over
one that dies as much is done twice: docs/explanation/scale.md says why so long."""

FIRST_SHARD = 64
"""Files in a shard, at most, while nobody knows how long one takes."""

TURN = 16_384
"""Files that are listed at a time: enough to begin many workers."""

STAGED = ".staged"


class Told(NamedTuple):
    """A row on its way from a worker.

    Attributes:
        source: The file.
        key: Of the content that it read; "" where it read none.
        row: Its row, as text.
    """

    source: Source
    key: str
    row: str


class Done(NamedTuple):
    """What a worker says of a shard.

    Attributes:
        told: Of each file.
        seconds: How long it took.
    """

    told: list[Told]
    seconds: float


Workers = Shards[Listed, Done]
Begin = Callable[[int], Workers]


@contextlib.contextmanager
def open_job(
    cluster: Cluster,
    predictor: Predictor,
    bundles: Sequence[Bundle],
    settings: Predict,
    how: JobSettings,
) -> Iterator[Job]:
    """Yield a job whose files are answered by a cluster, joined until the block ends.

    Args:
        cluster: Which, and what each worker takes of it.
        predictor: The models, as they answer here.
        bundles: The models, for the workers.
        settings: How to predict.
        how: What to write, and where to.

    Raises:
        UsageError: No cluster is there, or has no room.
    """
    with joined(cluster.where) as ray:

        def begin(files: int) -> Workers:
            there = replace(how, out=how.out.absolute())
            given = (bundles, settings, there, files > 1)
            return Shards(ray, worker, given, cluster.share, most=-(-files // how.batch))

        with ClusterJob(predictor, how, begin) as job:
            yield job


class ClusterJob(Job):
    """A job whose files are answered by the workers of a cluster.

    Args:
        predictor: What the workers answer with, for its name.
        settings: How, and where to.
        begin: Begins the workers, made by :func:`worker`, for so many files; asked once there are
            any.
    """

    def __init__(self, predictor: Predictor, settings: JobSettings, begin: Begin) -> None:
        super().__init__(predictor, settings, readers=None, elsewhere=True)
        self._begin = begin
        self._shards: Workers | None = None
        self._staged = settings.out / STAGED
        self._told, self._spent_s = 0, 0.0

    def __exit__(self, *error: object) -> None:
        if self._shards is not None:
            self._shards.close()
        super().__exit__(*error)

    def finish(self, then: Callable[[], None] = lambda: None) -> Rows:
        """Write the results, and remove what is not needed any longer."""
        rows = super().finish(then)
        shutil.rmtree(self._staged, ignore_errors=True)
        return rows

    def answer_stamped(self, stamped: Mapping[Source, Stamp | None]) -> Generator[Row]:
        """Yield the row of each file, in order."""
        return self.answer_turns([stamped])

    def answer_turns(self, turns: Iterable[Mapping[Source, Stamp | None]]) -> Generator[Row]:
        """Yield the row of each file of all turns, in order.

        The next turn is listed beside the work, and given out when workers have time: none waits
        for the last shard of another turn.
        """
        waiting = deque[Source]()
        shards = self._cut(made_ahead(turns), waiting)
        for first in shards:
            if first:
                break
            yield from self._ready(waiting)
        else:
            return
        upcoming = filter(None, itertools.chain([first], shards))
        for done in self._workers().map(upcoming, _given_up):
            self._keep(done)
            yield from self._ready(waiting)
        yield from self._ready(waiting)

    def _workers(self) -> Workers:
        if self._shards is None:
            self._shards = self._begin(len(self))
        return self._shards

    def _cut(
        self, turns: Iterable[Mapping[Source, Stamp | None]], waiting: deque[Source]
    ) -> Iterator[list[Listed]]:
        """Yield shards of the files that have no row; an empty one for a turn without such.

        Args:
            turns: Asked for when its shards are.
            waiting: Given all files of a turn.
        """
        for turn in turns:
            new = self._new(turn)
            todo = self._placed(new)
            waiting.extend(new)
            self.done += len(new) - len(todo)
            if not todo:
                yield []
            upcoming, left = iter(todo.items()), len(todo)
            while left:
                size = self._size(left, last=len(turn) < TURN)
                yield list(itertools.islice(upcoming, size))
                left -= min(size, left)

    def _size(self, left: int, *, last: bool) -> int:
        """Return how many files the next shard is to hold.

        Args:
            left: Files of its turn that are left.
            last: Whether nothing comes behind: the nearer the end, the smaller are shards then, so
                that all workers end together.
        """
        size = round(SHARD_S * self._told / self._spent_s) if self._spent_s else FIRST_SHARD
        if last:
            size = min(size, -(-left // (2 * len(self._workers()))))
        return max(self._settings.batch, size)

    def _keep(self, done: Done) -> None:
        """Keep the rows of a shard, whatever shards before it are still on the way."""
        self._told += len(done.told)
        self._spent_s += done.seconds
        self.done += len(done.told)
        for source, key, text in done.told:
            if key:
                self._places[source] = self._places[source]._replace(key=key)
            row = row_of(text)
            self._store.add(self._places[source].key, row)
            self._claim(source, named_by(row))

    def _ready(self, waiting: deque[Source]) -> Iterator[Row]:
        """Yield rows of the files before which none is left without one."""
        while waiting and self._places[waiting[0]].key in self._store:
            yield self._settled(waiting.popleft())

    def _settled(self, source: Source) -> Row:
        """Return the row of a file whose turn has come, and put what was written for it in place.

        All files before it are answered: now it is known whether one of them has its id.
        """
        key = self._places[source].key
        row, staged = self._known(source), self._staged / key
        if self._settings.writers and staged.is_dir():
            if row.called is not None:
                _put_in_place(staged, self._settings.out)
            shutil.rmtree(staged, ignore_errors=True)
        if not self._why_taken(source, named_by(row)):
            self._tell(key, row)
        return row


def worker(
    bundles: Sequence[Bundle], settings: Predict, how: JobSettings, many: bool
) -> Callable[[Sequence[Listed]], Done]:
    """Return what answers shards in a process of the cluster.

    Args:
        bundles: The models.
        settings: How to predict.
        how: What to write, and where to.
        many: Whether the job has several files: one machine would then run the network for many.

    Raises:
        UsageError: The engine or device is not there; or the job's folder is not seen there.
    """
    if how.writers and not how.out.is_dir():
        raise UsageError(
            f"{how.out}: is not seen by the machine {os.uname().nodename} of the cluster; name a "
            "folder that all share (as `work`, where results go to an address), or leave out "
            "overlays, heat maps, worklist and DICOM results"
        )
    predictor = open_predictor(bundles, settings)
    if many and how.batch > 1:
        import numpy as np

        side = predictor.bundle.preprocessing.size
        predictor.engine.probabilities(np.zeros((2, side, side), np.uint8))
    held = contextlib.ExitStack()
    readers = held.enter_context(open_readers(settings, None))
    objects = held.enter_context(Objects(settings.max_seconds))

    def answer(shard: Sequence[Listed]) -> Done:
        begun = time.monotonic()
        with open_line(readers, how.batch, objects) as line:
            read = line.read(shard, predictor.bundle.preprocessing.size, keep=bool(how.writers))
            ran = line.run((named(file, how.id_source) for file in read), predictor.engine)
            told = line.beside(functools.partial(_told, predictor, readers, how), ran)
            found = list(told)
        return Done(found, time.monotonic() - begun)

    answer.held = held  # type: ignore[attr-defined]
    return answer


def _told(predictor: Predictor, readers: Any, how: JobSettings, ran: Any) -> Told:
    if isinstance(ran, Failed):
        return Told(ran.path, "", text_of(Row(str(ran.path), error=ran.reason)))
    ready: Ready = ran[0]
    key = key_of(ready.path, ready.version.stamp)
    found = answered(predictor, readers, replace(how, out=how.out / STAGED / key), ran)
    if isinstance(found, Failed):
        found = Row(str(found.path), error=found.reason)
    return Told(ready.path, key, text_of(found))


def _given_up(listed: Listed) -> Done:
    source = listed[0]
    error = (
        f"{source}: two processes that answered it died over it, most likely for memory; export it "
        "again, or leave it out"
    )
    return Done([Told(source, "", text_of(Row(str(source), error=error)))], 0.0)


def _put_in_place(staged: Path, out: Path) -> None:
    """Move what was written for a file into the job's folder, each file whole."""
    for path in _files(staged):
        target = out / path.relative_to(staged)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        except OSError as error:
            raise OutputError(why_not_written(target, error)) from error


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
