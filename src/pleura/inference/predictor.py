"""A loaded model that predicts files and streams of files."""

import contextlib
import functools
import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pleura.config import EngineName, Precision
from pleura.data.prepare import PREPARATION, Frame, prepare_pixels
from pleura.errors import BundleError, UsageError
from pleura.inference.engine import Engine, open_engine, read_model
from pleura.inference.prediction import Prediction, finish
from pleura.inference.readers import Failed, Readers, Ready
from pleura.inference.tables import Provenance
from pleura.models.bundle import Bundle, current_versions
from pleura.models.shipped import DEFAULT

Result = TypeVar("Result")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Answered:
    """A file as it was read, and its answer."""

    ready: Ready
    prediction: Prediction

    @property
    def path(self) -> Path:
        """The file."""
        return self.ready.path


class _Ran(NamedTuple):
    """What the network says of one image: map over the prepared square, score; seconds spent."""

    map: NDArray[np.float32]
    score: float
    seconds: float


class Predictor:
    """A model ready to predict. Make one with :func:`load`.

    Args:
        bundle: The model.
        engine: What runs its network; by default what :func:`open_engine` takes for the CPU.
        others: Further models whose networks the engine runs too, alike in all but their weights.

    Raises:
        BundleError: The bundle prepares images in a way that this pleura does not know.
    """

    def __init__(
        self, bundle: Bundle, engine: Engine | None = None, others: Sequence[Bundle] = ()
    ) -> None:
        if bundle.preprocessing.preparation != PREPARATION:
            raise BundleError(
                f"{bundle.path or 'model'}: prepares images by "
                f"{bundle.preprocessing.preparation!r}, this pleura by {PREPARATION!r}; use the "
                f"pleura that wrote it ({bundle.versions.get('pleura', 'unknown version')})"
            )
        self.bundle = bundle
        self.engine = engine or open_engine(bundle)
        self._others = tuple(others)

    @property
    def title(self) -> str:
        """What the models are called, for people: their files and their network."""
        files = [bundle.path.name for bundle in (self.bundle, *self._others) if bundle.path]
        network = f"{self.bundle.network.name} at {self.bundle.preprocessing.size} px"
        return f"{' + '.join(files)} ({network})" if files else network

    @functools.cached_property
    def digest(self) -> str:
        """The model's digest; of several models, one over all of theirs in their order."""
        digests = [bundle.digest for bundle in (self.bundle, *self._others)]
        return sha256(" ".join(digests).encode()).hexdigest() if self._others else digests[0]

    @functools.cached_property
    def provenance(self) -> Provenance:
        """What its answers are made with."""
        return Provenance(
            model=self.digest,
            engine=self.engine.name,
            point=self.bundle.operating_point,
            pleura=current_versions()["pleura"],
        )

    def predict(self, path: str | os.PathLike[str]) -> Prediction:
        """Return the prediction for one DICOM file.

        Raises:
            DicomError: The file is not a radiograph that pleura can read.
        """
        from pleura.inference.reading import read  # elsewhere other processes do it

        ready = read(Path(path), self.bundle.preprocessing.size)
        return self._finish(ready, self._run([ready])[0])

    def predict_pixels(self, pixels: NDArray[Any], image_id: str = "") -> Prediction:
        """Return the prediction for pixels that are ready to look at, whatever they came from.

        Args:
            pixels: ``(rows, columns)`` uint8 or uint16, 0 black, the dtype's largest value white,
                as in :class:`pleura.formats.dicom.Radiograph`. Windowed and not inverted: the
                network learned from pictures as a viewer shows them.
            image_id: What the prediction is to be called.

        Raises:
            UsageError: The pixels are of another shape or dtype.
        """
        if pixels.ndim != 2 or not pixels.size or pixels.dtype not in (np.uint8, np.uint16):
            raise UsageError(
                f"pixels are {pixels.dtype} of shape {pixels.shape}; a radiograph is one plane of "
                "uint8 or uint16, (rows, columns)"
            )
        rows, columns = pixels.shape
        size = self.bundle.preprocessing.size
        ready = Ready(Path(), image_id, prepare_pixels(pixels, size), Frame(rows, columns, size))
        return self._finish(ready, self._run([ready])[0])

    def stream(
        self,
        paths: Iterable[Path],
        *,
        batch: int = 4,
        then: Callable[[Answered], Result],
        admit: Callable[[Ready], str] | None = None,
        readers: Readers | None = None,
    ) -> Generator[Result | Failed]:
        """Yield ``then(answer)``, or a :class:`Failed`, for each path, in order.

        Files are read and prepared in other processes, finished in threads beside the network, and
        only a few are in memory at a time, however many there are.

        Args:
            paths: DICOM files.
            batch: Images that go through the network together.
            then: What to make of each answer (run-length text, a picture); it runs in the threads,
                and what it drops is freed.
            admit: Asked of each file that was read, in order, before the network sees it: why it is
                not to be answered, or "".
            readers: The processes that read; by default they are started here, and ended.

        Raises:
            UsageError: The batch is less than 1.
            PleuraError: A reading process could not be started.
        """
        if batch < 1:
            raise UsageError(f"batch is {batch}; it must be 1 or more")
        with contextlib.ExitStack() as stack:
            readers = readers or stack.enter_context(Readers())
            ahead = max(2 * batch, 2 * readers.workers)
            reading, finishing = (
                ThreadPoolExecutor(readers.workers, thread_name_prefix=f"pleura-{name}")
                for name in ("read", "finish")
            )
            try:
                read = functools.partial(readers.read, size=self.bundle.preprocessing.size)

                def submit(file: Ready, ran: _Ran) -> Future[Result]:
                    return finishing.submit(self._answer, then, file, ran)

                files = (_admitted(one, admit) for one in _ahead(reading, read, paths, ahead))
                yield from self._through(files, batch, submit)
            except BaseException:  # also where the caller stops early: nobody waits for a slow file
                for pool in (reading, finishing):
                    pool.shutdown(wait=False, cancel_futures=True)
                readers.interrupt()
                raise
            finally:
                for pool in (reading, finishing):
                    pool.shutdown(wait=True, cancel_futures=True)

    def _through(
        self,
        files: Iterator[Ready | Failed],
        batch: int,
        end: Callable[[Ready, _Ran], Future[Result]],
    ) -> Iterator[Result | Failed]:
        """Yield what `end` makes of each file once the network has seen it, a group at a time."""
        waiting: deque[Callable[[], Result | Failed]] = deque()
        for group in _groups(files, batch):
            ran = iter(self._run([file for file in group if isinstance(file, Ready)]))
            for file in group:
                if isinstance(file, Failed):
                    waiting.append(functools.partial(_same, file))
                else:
                    waiting.append(end(file, next(ran)).result)
            while len(waiting) > 2 * batch:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()

    def _run(self, ready: Sequence[Ready]) -> list[_Ran]:
        """Return what the network says of each image, and its share of the time."""
        if not ready:
            return []
        begun = time.perf_counter()
        found = self.engine.probabilities(np.stack([item.pixels for item in ready]))
        seconds = (time.perf_counter() - begun) / len(ready)
        return [
            _Ran(one, float(score), seconds)
            for one, score in zip(found.maps, found.scores, strict=True)
        ]

    def _finish(self, ready: Ready, ran: _Ran) -> Prediction:
        return finish(
            ready.image_id,
            ran.map,
            ran.score,
            ready.frame,
            self.bundle.operating_point,
            ran.seconds,
            self.bundle.calibration,
        )

    def _answer(self, then: Callable[[Answered], Result], ready: Ready, ran: _Ran) -> Result:
        return then(Answered(ready, self._finish(ready, ran)))


def load(
    path: str | os.PathLike[str] = DEFAULT,
    *,
    engine: EngineName = "auto",
    device: str = "cpu",
    precision: Precision = "auto",
    at: str = "default",
) -> Predictor:
    """Return the model in the file at `path`, ready to predict.

    Not a medical device: for research and education, not for diagnosis.

    Args:
        path: A ``model.h5``, an ``.onnx`` or ``.xml`` that ``pleura export`` wrote, or the name of
            a model that comes with pleura; left out, the default one.
        engine: What runs it, as for :func:`pleura.inference.engine.open_engine`.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` takes bf16 where the device has it; ``fp32`` is the reference.
        at: Name of the operating point: ``default``, ``sensitive``, ``specific`` or ``rule``.

    Raises:
        BundleError: The file is missing, truncated, corrupt, foreign, or needs a later pleura.
        UsageError: The engine, the device or the operating point is not there.
    """
    bundle = read_model(path).at(at)
    return Predictor(bundle, open_engine(bundle, engine, device, precision))


def _ahead(
    pool: ThreadPoolExecutor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    depth: int,
) -> Iterator[Result]:
    """Yield ``function(item)`` in order, with at most `depth` results computed ahead."""
    upcoming = iter(items)
    waiting = deque(pool.submit(function, item) for item in itertools.islice(upcoming, depth))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in itertools.islice(upcoming, 1))
        yield result


def _groups(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while group := list(itertools.islice(items, size)):
        yield group


def _admitted(file: Ready | Failed, admit: Callable[[Ready], str] | None) -> Ready | Failed:
    reason = "" if admit is None or isinstance(file, Failed) else admit(file)
    return Failed(file.path, reason) if reason else file


def _same(file: Failed) -> Failed:
    return file
