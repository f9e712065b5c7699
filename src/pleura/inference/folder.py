"""Predictions for many files: expanded inputs, a journal that survives a kill, and the tables.

::

    submission.csv      ImageId,EncodedPixels: one row per answered image, in the inputs' order
    predictions.csv     one row per input, with its error where there is one
    overlays/<id>.png   the radiograph with the mask laid over, when asked for
"""

import contextlib
import csv
import glob
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pleura.config import IdSource
from pleura.data.gallery import overlay, write_png
from pleura.data.sources import dicom_files
from pleura.errors import DataError, OutputError
from pleura.formats.annotations import id_fault, write_submission
from pleura.formats.atomic import way_out, write_text
from pleura.formats.dicom import read_radiograph
from pleura.formats.rle import rle2mask
from pleura.inference.predictor import Answered, Failed, Predictor

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is kept of one input.

    Attributes:
        path: The file.
        image_id: SOP Instance UID, or the file's stem where that was asked for; empty on error.
        score: Image score, 0..1; None on error.
        area_px: Area of the mask in the file's own pixels; None on error.
        rows: Height of the file's pixels; None on error.
        columns: Width of the file's pixels; None on error.
        seconds: Time the network spent on it; None on error.
        rle: The mask as run-length text, ``-1`` for none; None on error.
        error: Why there is no answer; empty where there is one.
    """

    path: str
    image_id: str = ""
    score: float | None = None
    area_px: int | None = None
    rows: int | None = None
    columns: int | None = None
    seconds: float | None = None
    rle: str | None = None
    error: str = ""


def expand(inputs: Iterable[str]) -> list[Path]:
    """Return the files that `inputs` name: files, folders (all DICOM below), or globs.

    A file is taken as it is, whatever its suffix; a name without a file is kept, so that it gets
    its row and its error like any other bad input. The order is that of the inputs, sorted within
    a folder or glob, without repeats.

    Raises:
        DataError: A folder holds no DICOM file.
    """
    found: dict[Path, None] = {}
    for text in inputs:
        matches = sorted(glob.glob(text, recursive=True)) if not Path(text).exists() else [text]  # noqa: PTH207
        for match in matches or [text]:
            found.update(dict.fromkeys(_files_of(Path(match))))
    return list(found)


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = dicom_files(path)
    if not files:
        raise DataError(f"{path}: holds no DICOM file; name a file, or the folder above them")
    return files


def predict_files(
    predictor: Predictor,
    paths: Sequence[Path],
    out: Path,
    *,
    id_source: IdSource = "uid",
    overlays: bool = False,
    batch: int = 4,
    on_progress: OnProgress | None = None,
) -> list[Answer]:
    """Predict `paths`, write the tables into `out`, and return one answer per path, in order.

    A path that comes twice is answered once.

    Finished answers are appended to a journal as they come. A call that was cut off goes on where
    it was when it is made again with the same model, options and files.

    Args:
        predictor: The model.
        paths: DICOM files.
        out: Folder for the results.
        id_source: ``uid`` names an image by its SOP Instance UID, ``stem`` by its file's name.
        overlays: Whether to write a picture per image.
        batch: Images that go through the network together.
        on_progress: Told (files done, files in all).

    Raises:
        OutputError: A result could not be written.
    """
    paths = list(dict.fromkeys(paths))
    with _Journal(out, _job(predictor, id_source, overlays)) as journal:
        todo = [path for path in paths if journal.find(path) is None]
        done = len(paths) - len(todo)

        def keep(answered: Answered) -> Answer:
            answer = _answer(answered, id_source)
            if overlays and not answer.error:
                _write_overlay(answer, out / "overlays")
            return answer

        for path, result in zip(todo, predictor.stream(todo, batch=batch, then=keep), strict=True):
            if isinstance(result, Failed):
                result = Answer(str(path), error=result.reason)
            journal.add(path, result)
            done += 1
            if on_progress is not None:
                on_progress(done, len(paths))
        found = [journal.get(path) for path in paths]
        answers = _without_repeats(found)
        if overlays:  # of several files with one id, any may have been the last to draw
            repeated = {
                one.image_id for one, kept in zip(found, answers, strict=True) if one != kept
            }
            for answer in answers:
                if answer.image_id in repeated:
                    _write_overlay(answer, out / "overlays")
        _write_tables(answers, out)
        journal.finish()
    return answers


def _answer(answered: Answered, id_source: IdSource) -> Answer:
    prediction = answered.prediction
    rows, columns = prediction.mask.shape
    image_id = answered.path.stem if id_source == "stem" else prediction.image_id
    fault = id_fault(image_id)
    if fault:
        reason = f"{answered.path}: {fault}; rename the file, or leave out --id stem"
        return Answer(str(answered.path), error=reason)
    return Answer(
        path=str(answered.path),
        image_id=image_id,
        score=prediction.score,
        area_px=prediction.area_px,
        rows=rows,
        columns=columns,
        seconds=prediction.seconds,
        rle=prediction.rle,
    )


def _write_overlay(answer: Answer, folder: Path) -> None:
    pixels = read_radiograph(answer.path).pixels
    picture = overlay(pixels, rle2mask(answer.rle or "-1", pixels.shape))
    write_png(folder / f"{answer.image_id}.png", picture)


def _without_repeats(answers: Sequence[Answer]) -> list[Answer]:
    """Return `answers` with an error in place of each that repeats an earlier one's id."""
    first: dict[str, str] = {}
    unique = []
    for answer in answers:
        kept = first.setdefault(answer.image_id, answer.path) if answer.image_id else answer.path
        if kept != answer.path:
            reason = (
                f"{answer.path}: has the id {answer.image_id} of {kept}, which was answered; leave "
                "one of them out, or name images by their files with --id stem"
            )
            answer = Answer(answer.path, error=reason)
        unique.append(answer)
    return unique


def _write_tables(answers: Sequence[Answer], out: Path) -> None:
    rows = [(answer.image_id, answer.rle) for answer in answers if answer.rle is not None]
    write_submission(out / "submission.csv", rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", "path", "score", "area_px", "seconds", "error"])
    for answer in answers:
        score = "" if answer.score is None else f"{answer.score:.6f}"
        seconds = "" if answer.seconds is None else f"{answer.seconds:.4f}"
        area = "" if answer.area_px is None else answer.area_px
        writer.writerow([answer.image_id, answer.path, score, area, seconds, answer.error])
    write_text(out / "predictions.csv", text.getvalue())


def _job(predictor: Predictor, id_source: IdSource, overlays: bool) -> str:
    return json.dumps([predictor.bundle.digest, predictor.engine.name, id_source, overlays])


class _Journal:
    """Answers appended to a file as they come; the file is gone when the job is finished."""

    def __init__(self, out: Path, job: str) -> None:
        self._path = out / ".predictions.journal"
        self._job = job
        self._answers: dict[str, Answer] = {}
        self._stream: IO[str] | None = None

    def __enter__(self) -> "_Journal":
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._load()
            self._stream = self._path.open("a" if self._answers else "w", encoding="utf-8")
            if not self._answers:
                self._write(self._job)
        except OSError as error:
            self.__exit__()
            raise self._trouble(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            # Every line was flushed; one that could not be must not fail here a second time.
            with contextlib.suppress(OSError):
                self._stream.close()

    def find(self, path: Path) -> Answer | None:
        """Return the answer for the file as it is now, or None."""
        return self._answers.get(_key(path))

    def get(self, path: Path) -> Answer:
        """Return the answer for a file that has one."""
        return self._answers[_key(path)]

    def add(self, path: Path, answer: Answer) -> None:
        """Keep an answer, in memory and on disk."""
        key = _key(path)
        self._answers[key] = answer
        try:
            self._write(json.dumps([key, asdict(answer)]))
        except OSError as error:
            raise self._trouble(error) from error

    def finish(self) -> None:
        """Remove the file: the job is done."""
        self._path.unlink(missing_ok=True)

    def _write(self, line: str) -> None:
        if self._stream is None:
            raise AssertionError("the journal is open inside its with block only")
        self._stream.write(line + "\n")
        self._stream.flush()

    def _load(self) -> None:
        if not self._path.exists():
            return
        text = self._path.read_text(encoding="utf-8", errors="replace")
        lines = text[: text.rfind("\n") + 1].splitlines()  # a torn last line does not count
        if not lines or lines[0] != self._job:
            return
        whole = [lines[0]]
        for line in lines[1:]:
            try:
                key, values = json.loads(line)
                self._answers[key] = Answer(**values)
            except (ValueError, TypeError):
                break  # damaged: it and what follows is done again
            whole.append(line)
        mended = "\n".join(whole) + "\n"
        if mended != text:
            self._path.write_text(mended, encoding="utf-8")

    def _trouble(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self._path.parent}: results could not be written ({error.strerror or error}); what "
            f"is finished is kept: {way_out(error)} and run it again"
        )


def _key(path: Path) -> str:
    """Return what tells a file, and its content, from others: path, size and time of change."""
    try:
        status = path.stat()
    except OSError:
        return f"{path}|missing"
    return f"{path}|{status.st_size}|{status.st_mtime_ns}"
