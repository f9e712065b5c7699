"""Predictions for many files: answers that survive a kill, tables and products.

The tables are those of :mod:`pleura.inference.tables`; what else is written is up to the writers.
This module imports no engine, so that the processes that read can start before one is loaded.
"""

import contextlib
import json
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pleura.config import IdSource
from pleura.formats.annotations import id_fault
from pleura.inference.answer import Answer
from pleura.inference.answers import Answers
from pleura.inference.journal import Journal, key_of
from pleura.inference.readers import Failed, Readers, Ready, Wrote
from pleura.inference.tables import ParquetWriter, write_tables

if TYPE_CHECKING:
    from pleura.inference.predictor import Answered, Predictor
    from pleura.inference.writers import Writer

__all__ = ["Answer", "Answers", "Job", "predict_files"]

OnProgress = Callable[[int, int], None]
OnAnswer = Callable[[Answer], None]

_FEW = 32
"""So many files take little enough time for half a second at their end to matter."""


def predict_files(
    predictor: "Predictor",
    paths: Sequence[Path],
    out: Path,
    *,
    id_source: IdSource = "uid",
    writers: Sequence["Writer"] = (),
    batch: int = 4,
    readers: Readers | None = None,
    on_progress: OnProgress | None = None,
    on_answer: OnAnswer | None = None,
) -> Answers:
    """Predict `paths`, write the tables into `out`, and return one answer per path, in order.

    A path that comes twice is answered once. Of files with one id the first is answered, in the
    order of `paths`; the others get an error, before the network or a writer sees them.

    Finished answers are appended to a journal as they come. A call that was cut off goes on where
    it was when it is made again with the same model, options and files.

    Args:
        predictor: The model.
        paths: DICOM files.
        out: Folder for the results.
        id_source: ``uid`` names an image by its SOP Instance UID, ``stem`` by its file's name.
        writers: What else to write for each answered file.
        batch: Images that go through the network together.
        readers: The processes that open the files; by default they are started here, and ended.
        on_progress: Told (files done, files in all).
        on_answer: Told each answer, in order, those of an earlier call included.

    Raises:
        OutputError: A result could not be written; what is finished is kept.
    """
    paths = list(dict.fromkeys(paths))
    with contextlib.ExitStack() as stack:
        readers = readers or stack.enter_context(Readers(files=len(paths)))
        job = stack.enter_context(Job(predictor, out, readers, id_source, writers, batch))
        soon = stack.enter_context(ParquetWriter()) if len(paths) <= _FEW else None
        done = len(paths) - len(job.unanswered(paths))
        with contextlib.closing(job.answer(paths)) as answering:
            for answer, new in answering:
                if on_answer is not None:
                    on_answer(answer)
                done += new
                if on_progress is not None and new:
                    on_progress(done, len(paths))
        answers = job.write_results(soon)
        job.forget()
    return answers


class Answering(NamedTuple):
    """An answer, and whether it was not known before."""

    answer: Answer
    new: bool


class _Place(NamedTuple):
    """Where a file stands among the inputs, and its key as it was when its turn was set."""

    number: int
    key: str


class Job:
    """Files that are answered into one folder, in one or several turns; use it in a ``with`` block.

    Args:
        predictor: The model.
        out: Folder for the results.
        readers: The processes that open the files.
        id_source: As for :func:`predict_files`.
        writers: As there.
        batch: As there.

    Raises:
        OutputError: The folder cannot be written, or another process predicts into it.
    """

    def __init__(
        self,
        predictor: "Predictor",
        out: Path,
        readers: Readers,
        id_source: IdSource,
        writers: Sequence["Writer"],
        batch: int,
    ) -> None:
        self._predictor = predictor
        self._out = out
        self._readers = readers
        self._id_source = id_source
        self._writers = tuple(writers)
        self._batch = batch
        self._places: dict[Path, _Place] = {}
        self._claims: dict[str, Path] = {}  # id -> the file that it belongs to
        self._repeats: set[Path] = set()
        self._journal = Journal(out, self._identity())

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.__exit__()

    def __len__(self) -> int:
        return len(self._places)

    def unanswered(self, paths: Iterable[Path]) -> list[Path]:
        """Return those of `paths` that have no answer as they are now."""
        return [path for path in paths if key_of(path) not in self._journal]

    def answer(self, paths: Sequence[Path]) -> Generator[Answering]:
        """Yield the answer for each path, in order; those that are known are taken as they are."""
        for path in paths:
            self._take_place(path, key_of(path))
        todo = [path for path in paths if self._places[path].key not in self._journal]
        stream = self._predictor.stream(
            todo, batch=self._batch, then=self._finish, admit=self._admit, readers=self._readers
        )
        waiting = iter(todo)
        with contextlib.closing(stream):
            upcoming = next(waiting, None)
            for path in paths:
                if path == upcoming:
                    yield Answering(self._keep(path, next(stream)), new=True)
                    upcoming = next(waiting, None)
                else:
                    yield Answering(self._known(path), new=False)

    def continue_earlier(self) -> None:
        """Give the files that are answered already their places, in the order of their answers."""
        for key, answer in self._journal.items():
            self._take_place(Path(answer.path), key)

    def write_results(self, parquet: ParquetWriter | None = None) -> Answers:
        """Write the tables, let the writers finish, and return all answers so far, in order.

        Args:
            parquet: One that was started earlier, if any.
        """
        keys = (place.key for place in self._places.values())
        answers = self._journal.answers(key for key in keys if key in self._journal)
        with parquet or ParquetWriter() as parquet:
            write_tables(answers, self._out, self._predictor.provenance, parquet)
        for writer in self._writers:
            writer.finish(answers, self._out)
        return answers

    def forget(self) -> None:
        """Remove the journal: the job is done."""
        self._journal.finish()

    def _take_place(self, path: Path, key: str) -> None:
        """Number a file; where it is answered, its id belongs to the first file that has it."""
        earlier = self._places.get(path)
        if earlier is None:
            self._places[path] = _Place(len(self._places), key)
        elif earlier.key != key:  # it has changed since: it keeps its row, but not its id
            self._places[path] = _Place(earlier.number, key)
            image_id = self._journal.get(earlier.key).image_id
            if self._claims.get(image_id) == path:
                del self._claims[image_id]
        image_id = self._journal.get(key).image_id if key in self._journal else ""
        if image_id and self._is_first(path, image_id):
            self._claims[image_id] = path

    def _is_first(self, path: Path, image_id: str) -> bool:
        """Return whether no file before `path` has the id, as far as is known."""
        kept = self._claims.get(image_id, path)
        return self._places[path].number <= self._places[kept].number

    def _admit(self, ready: Ready) -> str:
        """Return why a file that was read is not to be answered, or ""; claim its id for it."""
        image_id = self._id_of(ready)
        fault = id_fault(image_id)
        if fault:
            return f"{ready.path}: {fault}; rename the file, or leave out --id stem"
        if self._is_first(ready.path, image_id):
            self._claims[image_id] = ready.path
            return ""
        self._repeats.add(ready.path)
        return self._repeated(ready.path, image_id)

    def _finish(self, answered: "Answered") -> Answer:
        """Return what is kept of an answer, its products written; runs beside the network."""
        ready, prediction = answered.ready, answered.prediction
        image_id = self._id_of(ready)
        wrote = Wrote()
        if self._writers:
            wrote = self._readers.write(self._writers, ready.path, image_id, prediction, self._out)
        return Answer(
            path=str(ready.path),
            image_id=image_id,
            score=prediction.score,
            area_px=prediction.area_px,
            rows=ready.frame.rows,
            columns=ready.frame.columns,
            seconds=prediction.seconds,
            rle=prediction.rle,
            error=wrote.trouble,
            guard=ready.guard,
            flags=ready.flags,
            notes="; ".join(filter(None, (ready.notes, wrote.notes))),
        )

    def _keep(self, path: Path, result: Answer | Failed) -> Answer:
        if isinstance(result, Failed):
            result = Answer(str(path), error=result.reason)
        repeats = path in self._repeats
        self._repeats.discard(path)
        self._journal.add(self._places[path].key, result, repeats=repeats)
        return result

    def _known(self, path: Path) -> Answer:
        """Return an earlier job's answer, unless a file before it turned out to have its id."""
        key = self._places[path].key
        answer = self._journal.get(key)
        if self._is_first(path, answer.image_id):
            return answer
        answer = Answer(answer.path, error=self._repeated(path, answer.image_id))
        self._journal.add(key, answer, repeats=True)
        return answer

    def _repeated(self, path: Path, image_id: str) -> str:
        return (
            f"{path}: has the id {image_id} of {self._claims[image_id]}, which was answered; leave "
            "one of them out, or name images by their files with --id stem"
        )

    def _id_of(self, ready: Ready) -> str:
        return ready.path.stem if self._id_source == "stem" else ready.image_id

    def _identity(self) -> str:
        """Return all that an answer depends on but its file, as one line."""
        made_with = self._predictor.provenance
        names = [writer.name for writer in self._writers]
        return json.dumps(["pleura.predict/2", made_with.as_json(), self._id_source, names])
