"""Prediction on a cluster: each worker is a whole line, and hands back the rows of its shard.

Nothing but addresses and rows goes from process to process: a worker reads (in processes of its
own, which may be killed), runs the network and writes. What it writes for a file lies in a folder
of that file, below ``.staged`` in the job's folder, until the file's turn has come: only then is it
known whose an id is. So the results are those of one machine, in whatever order shards are done.
"""

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pleura.cluster.ray_cluster import joined
from pleura.cluster.shards import Shards, Share, cut
from pleura.config import Predict
from pleura.errors import OutputError, UsageError
from pleura.inference.job import Job, JobSettings, answered, named
from pleura.inference.job_store import key_of, row_of, text_of
from pleura.inference.line import open_line
from pleura.inference.predictor import Predictor
from pleura.inference.readers import Failed, Ready, open_readers
from pleura.inference.row import Row
from pleura.models.bundle import Bundle
from pleura.remote.address import Source
from pleura.remote.objects import Objects
from pleura.stages.predict import open_predictor
from pleura.storage.atomic import why_not_written
from pleura.storage.content import Stamp

SHARD = 64
"""Files that a worker answers at a time, where there are many."""

TURN = 65_536
"""Files that are listed before the first is answered: enough for many workers."""

STAGED = ".staged"

Listed = tuple[Source, Stamp | None]


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


Workers = Shards[Listed, list[Told]]
Begin = Callable[[int], Workers]


@contextlib.contextmanager
def open_job(
    where: str,
    share: Share,
    predictor: Predictor,
    bundles: Sequence[Bundle],
    settings: Predict,
    how: JobSettings,
) -> Iterator[Job]:
    """Yield a job whose files are answered by a cluster, joined until the block ends.

    Args:
        where: As for :func:`pleura.cluster.ray_cluster.joined`.
        share: What each worker takes of it.
        predictor: The models, as they answer here.
        bundles: The models, for the workers.
        settings: How to predict.
        how: What to write, and where to.

    Raises:
        UsageError: No cluster is there, or has no room.
    """
    with joined(where) as ray:

        def begin(files: int) -> Workers:
            there = replace(how, out=how.out.absolute())
            given = (bundles, settings, there, files > 1)
            return Shards(ray, worker, given, share, most=-(-files // how.batch))

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

    def __exit__(self, *error: object) -> None:
        if self._shards is not None:
            self._shards.close()
        super().__exit__(*error)

    def finish(self) -> Any:
        """Write the results, and remove what is not needed any longer."""
        rows = super().finish()
        shutil.rmtree(self._staged, ignore_errors=True)
        return rows

    def _line(self, paths: list[Source], todo: Mapping[Source, Stamp | None]) -> Generator[Row]:
        results: Iterator[list[Told]] = iter(())
        if todo:
            if self._shards is None:
                self._shards = self._begin(len(self))
            some = -(-len(todo) // (4 * len(self._shards)))
            size = min(SHARD, max(self._settings.batch, some))
            results = self._shards.map(cut(todo.items(), size), _given_up)
        for path in paths:
            while self._places[path].key not in self._store:
                self._keep(next(results))
            row = self._settled(path)
            self.done += path in todo
            yield row

    def _keep(self, shard: list[Told]) -> None:
        """Keep the rows of a shard, whatever shards before it are still on the way."""
        for source, key, text in shard:
            if key:
                self._places[source] = self._places[source]._replace(key=key)
            row = row_of(text)
            self._store.add(self._places[source].key, row)
            if row.image_id and self._is_first(source, row.image_id):
                self._claims[row.image_id] = source

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
        return row


def worker(
    bundles: Sequence[Bundle], settings: Predict, how: JobSettings, many: bool
) -> Callable[[Sequence[Listed]], list[Told]]:
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
            "folder that all share, or leave out overlays, heat maps, worklist and DICOM results"
        )
    predictor = open_predictor(bundles, settings)
    if many and how.batch > 1:
        import numpy as np

        side = predictor.bundle.preprocessing.size
        predictor.engine.probabilities(np.zeros((2, side, side), np.uint8))
    held = contextlib.ExitStack()
    readers = held.enter_context(open_readers(settings, None))
    objects = held.enter_context(Objects(settings.max_seconds))

    def answer(shard: Sequence[Listed]) -> list[Told]:
        with open_line(readers, how.batch, objects) as line:
            read = line.read(shard, predictor.bundle.preprocessing.size, keep=bool(how.writers))
            ran = line.run((named(file, how.id_source) for file in read), predictor.engine)
            told = line.beside(functools.partial(_told, predictor, readers, how), ran)
            return list(told)

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


def _given_up(listed: Listed) -> list[Told]:
    source = listed[0]
    error = (
        f"{source}: two processes that answered it died over it, most likely for memory; export it "
        "again, or leave it out"
    )
    return [Told(source, "", text_of(Row(str(source), error=error)))]


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
