"""Predictions for many files: one straight line from their paths to the tables.

::

    paths -> read -> claim the id -> run -> decide and write -> record -> rows
                                                                  rows -> tables

Each stage is a generator that asks the one before. What a job has finished is in its store
(:mod:`pleura.inference.job_store`), which survives a kill. The tables are those of
:mod:`pleura.inference.tables`, and what else is written is up to the writers. This module imports
no engine, so that the processes that read can start before one is loaded.
"""

import contextlib
import functools
import json
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple, Self

from pleura.choices import IdSource
from pleura.dicom.suffixes import is_picture, stem_of
from pleura.errors import ChangedError
from pleura.formats.annotations import id_fault
from pleura.inference.job_store import NAME as STORE
from pleura.inference.job_store import JobStore, Rows, key_of, row_of, text_of
from pleura.inference.left_over import PRODUCTS, begun_ns, left_over
from pleura.inference.readers import Failed, Readers, Ready
from pleura.inference.row import Row, Wrote
from pleura.inference.tables import write_tables
from pleura.processes.progress import OnProgress, untold
from pleura.remote.address import Source
from pleura.remote.objects import Objects
from pleura.storage.content import Stamp, stamp_at
from pleura.storage.lock import locked_folder

if TYPE_CHECKING:
    from pleura.inference.line import Ran
    from pleura.inference.predictor import Predictor
    from pleura.inference.writers import Writer


@dataclass(frozen=True, slots=True)
class JobSettings:
    """How the files of a job are answered, and where to.

    Attributes:
        out: Folder for the results.
        id_source: ``uid`` names an image by its SOP Instance UID, ``stem`` by its file's name.
        writers: What else to write for each answered file.
        batch: Images that go through the network together.
    """

    out: Path
    id_source: IdSource = "uid"
    writers: "tuple[Writer, ...]" = ()
    batch: int = 4


def predict_files(
    predictor: "Predictor",
    paths: Sequence[Path] | Mapping[Source, Stamp | None],
    settings: JobSettings,
    readers: Readers | None = None,
    on_progress: OnProgress = untold,
    objects: Objects | None = None,
) -> Rows:
    """Predict `paths`, write the tables, and return one row per path, in order.

    A path that comes twice is answered once. Of files with one id the first is answered, in the
    order of `paths`; the others get an error, before the network or a writer sees them.

    Finished rows are kept in the job's store as they come. A call that was cut off goes on where
    it was when it is made again with the same model, settings and files.

    Args:
        predictor: The model.
        paths: DICOM files or plain pictures; or such and addresses, with their stamps.
        settings: How, and where to.
        readers: The processes that open the files; by default they are started here, and ended.
        on_progress: Told (files done, files in all).
        objects: What fetches from addresses, where there are any.

    Raises:
        OutputError: A result could not be written; what is finished is kept.
    """
    with contextlib.ExitStack() as stack:
        readers = readers or stack.enter_context(Readers(files=len(paths)))
        job = stack.enter_context(Job(predictor, settings, readers, objects))
        files: Mapping[Source, Stamp | None] = (
            paths if isinstance(paths, Mapping) else {path: stamp_at(path) for path in paths}
        )
        for _ in job.answer_stamped(files):
            on_progress(job.done, len(paths))
        return job.finish()


class _Place(NamedTuple):
    """Where a file stands among the inputs, and the key of the content that is answered."""

    number: int
    key: str


class Name(NamedTuple):
    """What a file is known by, of which no two files of a job may have the same.

    Attributes:
        image_id: Its id; "" where it has none.
        uid: Its SOP Instance UID, where the id is another.
        fingerprint: Of its bytes: equal files may share a UID.
    """

    image_id: str
    uid: str = ""
    fingerprint: str = ""


def _folds_case(folder: Path) -> bool:
    """Return whether a folder with a job's store takes capital and small letters for the same."""
    return (folder / STORE.upper()).exists()


def named_by(row: Row) -> Name:
    """Return what the file of a row is known by."""
    return Name(row.image_id, row.uid, row.fingerprint)


class Job:
    """Files that are answered into one folder, in one or several turns; use it in a ``with`` block.

    Attributes:
        done: How many of the files have a row.

    Args:
        predictor: The model.
        settings: How, and where to.
        readers: The processes that open the files; by default they are started here, and ended.
        objects: What fetches from addresses; None where there are paths only.
        elsewhere: Whether files are opened elsewhere, so that no process is started here.

    Raises:
        OutputError: The folder cannot be written, or another process writes there.
    """

    def __init__(
        self,
        predictor: "Predictor",
        settings: JobSettings,
        readers: Readers | None = None,
        objects: Objects | None = None,
        *,
        elsewhere: bool = False,
    ) -> None:
        self._predictor, self._settings, self._objects = predictor, settings, objects
        self._places: dict[Source, _Place] = {}
        self._claims: dict[str, Source] = {}  # id -> the file that it belongs to
        self._contents: dict[str, tuple[Source, str]] = {}  # UID -> that file, and its fingerprint
        self._folded: dict[str, Source] = {}  # the same where files are called by folded ids
        self._refers = any(getattr(writer, "refers", False) for writer in settings.writers)
        self._repeats: set[Source] = set()
        self.done = 0
        self._new_rows: dict[str, str] | None = None
        with contextlib.ExitStack() as held:
            held.enter_context(locked_folder(settings.out, "predict", products=PRODUCTS))
            self._store = held.enter_context(JobStore(settings.out, self.identity))
            self._folds = bool(settings.writers) and _folds_case(settings.out)
            self._begun_ns = begun_ns(
                settings.out, predictor.provenance, goes_on=bool(len(self._store))
            )
            if not elsewhere:
                self._readers = readers or held.enter_context(Readers())
            self._held = held.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def __len__(self) -> int:
        """Return how many files the job has been given."""
        return len(self._places)

    def __contains__(self, source: Source) -> bool:
        return source in self._places

    def unanswered(self, stamped: Mapping[Path, Stamp | None]) -> dict[Path, Stamp | None]:
        """Return those of some files, with their stamps, that have no row as they are now."""
        return {
            path: stamp for path, stamp in stamped.items() if key_of(path, stamp) not in self._store
        }

    def answer(self, paths: Iterable[Path]) -> Generator[Row]:
        """Yield the row for each path, in order; those that are known are taken as they are."""
        return self.answer_stamped({path: stamp_at(path) for path in paths})

    def answer_stamped(self, stamped: Mapping[Source, Stamp | None]) -> Generator[Row]:
        """Do the same for files that have been looked at already.

        Args:
            stamped: Each file, and its stamp as it was looked at.
        """
        todo = self._placed(stamped)
        self.done = len(self._places) - len(todo)
        return self._line(list(stamped), todo)

    def answer_turns(self, turns: Iterable[Mapping[Source, Stamp | None]]) -> Generator[Row]:
        """Yield the row of each file of all turns, in order; one that comes again has one row."""
        for turn in turns:
            yield from self.answer_stamped(self._new(turn))

    def _new(self, turn: Mapping[Source, Stamp | None]) -> dict[Source, Stamp | None]:
        """Return the files of a turn that the job has not been given yet."""
        return {source: stamp for source, stamp in turn.items() if source not in self}

    def _placed(self, stamped: Mapping[Source, Stamp | None]) -> dict[Source, Stamp | None]:
        """Give files their places; return those that have no row."""
        for path, stamp in stamped.items():
            self._take_place(path, key_of(path, stamp))
        return {
            path: stamp
            for path, stamp in stamped.items()
            if self._places[path].key not in self._store
        }

    def _line(self, paths: list[Source], todo: Mapping[Source, Stamp | None]) -> Generator[Row]:
        """Yield the row of each path; `todo` are those that have none."""
        from pleura.inference.line import open_line

        settings, predictor = self._settings, self._predictor
        with open_line(self._readers, settings.batch, self._objects) as line:
            size, keep = predictor.bundle.preprocessing.size, bool(settings.writers)
            read = line.read(todo.items(), size, keep=keep)
            claimed = map(self._claimed, read)
            ran = line.run(claimed, predictor.engine)
            finished = line.beside(
                functools.partial(answered, predictor, self._readers, settings), ran
            )
            yield from self._recorded(paths, todo, finished)

    @property
    def identity(self) -> str:
        """All that a row depends on but its file, as one line."""
        made_with = self._predictor.provenance
        names = [writer.name for writer in self._settings.writers]
        how = [self._settings.id_source, self._predictor.answer_flagged]
        return json.dumps(["pleura.predict/4", made_with.as_json(), *how, names])

    def take_rows(self, rows: Mapping[str, str]) -> None:
        """Take rows of the same job that were kept elsewhere: by key, as texts."""
        for key, text in rows.items():
            if key not in self._store:
                self._store.add(key, row_of(text))

    def new_rows(self) -> dict[str, str]:
        """Return the rows that were yielded since this was asked first or last, by key, as texts.

        What says no more than that another file has an id is left out.
        """
        rows, self._new_rows = self._new_rows, {}
        return rows or {}

    def _tell(self, key: str, row: Row) -> None:
        if self._new_rows is not None:
            self._new_rows[key] = text_of(row)

    def continue_earlier(self) -> None:
        """Give the files that are answered already their places, in the order of their answers."""
        for key, row in self._store.items():
            self._take_place(Path(row.path), key)
        self.done = len(self._places)

    def write_results(self) -> Rows:
        """Write the tables, let the writers finish, and return all rows so far, in order."""
        keys = (place.key for place in self._places.values())
        rows = self._store.rows([key for key in keys if key in self._store])
        write_tables(rows, self._settings.out, self._predictor.provenance)
        for writer in self._settings.writers:
            writer.finish(rows, self._settings.out)
        return rows

    def left_over(self) -> Counter[str]:
        """Return how many files that another model or other thresholds made still lie there.

        By their folder, once the job is done: nothing of this job was written in their place.
        """
        return left_over(self._settings.out, self._begun_ns)

    def finish(self, then: Callable[[], None] = lambda: None) -> Rows:
        """Write the results, and remove the store: the job is done.

        Args:
            then: What is to be done with the results before; where that fails, the job goes on
                from here.
        """
        rows = self.write_results()
        then()
        self._store.finish()
        return rows

    def _take_place(self, path: Source, key: str) -> None:
        """Number a file; where it is answered, its id belongs to the first file that has it."""
        earlier = self._places.get(path)
        if earlier is None:
            self._places[path] = _Place(len(self._places), key)
        elif earlier.key != key:  # it has changed since: it keeps its row, but not its id
            self._places[path] = _Place(earlier.number, key)
            self._release(path, named_by(self._store.get(earlier.key)))
        if key in self._store:
            self._claim(path, named_by(self._store.get(key)))

    def _claim(self, path: Source, name: Name) -> str:
        """Give a file its id, if it has one; return why it cannot have it, or ""."""
        if not name.image_id:
            return ""
        taken = self._why_taken(path, name)
        if not taken:
            self._claims[name.image_id] = path
            if self._folds:
                self._folded[name.image_id.casefold()] = path
            if name.uid:
                self._contents[name.uid] = path, name.fingerprint
        return taken

    def _release(self, path: Source, name: Name) -> None:
        """Take its id from a file that is not answered under it after all."""
        if self._claims.get(name.image_id) == path:
            del self._claims[name.image_id]
            self._folded.pop(name.image_id.casefold(), None)
        if self._contents.get(name.uid, (None,))[0] == path:
            del self._contents[name.uid]

    def _why_taken(self, path: Source, name: Name) -> str:
        """Return why a file before `path`, as far as is known, keeps it from its id; or ""."""
        holder = self._claims.get(name.image_id, path)
        if self._is_before(holder, path):
            return (
                f"{path}: has the same id {name.image_id} as {holder}, which was answered; "
                "leave one of them out, or name images by their files with `id` stem"
            )
        holder = self._folded.get(name.image_id.casefold(), path)
        if self._is_before(holder, path):
            return (
                f"{path}: has the id {name.image_id}, and {holder}, which was answered, one that "
                f"differs by capital letters alone; files in {self._settings.out} are not told "
                "apart by these, so results of one would replace the other's: rename one of them, "
                "or name another folder"
            )
        holder, fingerprint = self._contents.get(name.uid, (path, ""))
        if self._refers and self._is_before(holder, path) and fingerprint != name.fingerprint:
            return (
                f"{path}: has the same SOP Instance UID {name.uid} as {holder}, which was "
                "answered, and other content; DICOM results refer to a radiograph by it, so those "
                "of one would be taken for the other's: leave one of them out, or write no DICOM "
                "results"
            )
        return ""

    def _is_before(self, path: Source, other: Source) -> bool:
        return self._places[path].number < self._places[other].number

    def _claimed(self, file: Ready | Failed) -> Ready | Failed:
        """Return a file under the id that it is answered as, or why it is not to be answered."""
        if isinstance(file, Failed):
            return file
        # What was read may be another content than the one that was there when its turn was set.
        key = key_of(file.path, file.version.stamp)
        self._places[file.path] = self._places[file.path]._replace(key=key)
        file = named(file, self._settings.id_source)
        if isinstance(file, Failed):
            return file
        taken = self._claim(file.path, Name(file.image_id, file.uid, file.version.fingerprint))
        if not taken:
            return file
        self._repeats.add(file.path)
        return Failed(file.path, taken)

    def _recorded(
        self, paths: list[Source], todo: Iterable[Source], finished: Iterator[Row | Failed]
    ) -> Iterator[Row]:
        """Yield the row of each path, kept in the store: a new one, or the one that is known."""
        waiting = iter(todo)
        upcoming = next(waiting, None)
        for path in paths:
            if path != upcoming:
                yield self._known(path)
                continue
            row = self._kept(path, next(finished))
            self.done += 1
            yield row
            upcoming = next(waiting, None)

    def _kept(self, path: Source, result: Row | Failed) -> Row:
        if isinstance(result, Failed):
            self._release(path, Name(result.image_id, result.uid))
            result = Row(str(path), error=result.reason)
        repeats = path in self._repeats
        self._repeats.discard(path)
        self._store.add(self._places[path].key, result, repeats=repeats)
        if not repeats:
            self._tell(self._places[path].key, result)
        return result

    def _known(self, path: Source) -> Row:
        """Return an earlier job's row, unless a file before it turned out to have its id."""
        key = self._places[path].key
        row = self._store.get(key)
        taken = self._why_taken(path, named_by(row)) if row.image_id else ""
        if not taken:
            return row
        row = Row(row.path, error=taken)
        self._store.add(key, row, repeats=True)
        return row


def named(file: Ready | Failed, id_source: IdSource) -> Ready | Failed:
    """Return a file under the id that it is answered as, or why it can have none."""
    if isinstance(file, Failed):
        return file
    name = PurePath(file.path.name)
    image_id = stem_of(name) if id_source == "stem" else file.image_id
    fault = id_fault(image_id)
    if fault:
        instead = "" if is_picture(name) else ", or leave out `id` stem"
        return Failed(file.path, f"{file.path}: {fault}; rename the file{instead}")
    return replace(file, image_id=image_id, uid=file.image_id if id_source == "stem" else "")


def answered(
    predictor: "Predictor", readers: Readers, settings: JobSettings, ran: "Ran | Failed"
) -> Row | Failed:
    """Return what is kept of a file, decided and its products written; runs beside the network."""
    if isinstance(ran, Failed):
        return ran
    prediction, ready = predictor.decided(ran), ran[0]
    if isinstance(prediction, Failed):
        return prediction
    wrote = Wrote()
    if settings.writers:
        try:
            wrote = readers.write(settings.writers, ready, prediction, settings.out)
        except ChangedError as error:
            return Failed(ready.path, str(error), ready.image_id, ready.uid)
    notes = "; ".join(filter(None, (ready.notes, wrote.notes)))
    return Row.of(
        str(ready.path),
        prediction,
        error=wrote.trouble,
        notes=notes,
        areas=wrote.areas,
        fingerprint=ready.version.fingerprint,
        uid=ready.uid,
    )
