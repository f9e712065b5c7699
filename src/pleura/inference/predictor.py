"""A loaded model that predicts files and streams of files."""

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pleura.config import Precision
from pleura.data.prepare import PREPARATION, Frame, prepare_pixels
from pleura.errors import BundleError, DicomError, UsageError
from pleura.formats.dicom import read_radiograph
from pleura.inference.engine import Engine, EngineName, open_engine, read_model
from pleura.inference.prediction import Prediction, finish
from pleura.models.bundle import Bundle

Result = TypeVar("Result")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Ready:
    """A radiograph on its way to the network: its prepared pixels, ``(size, size)`` uint8."""

    path: Path
    image_id: str
    pixels: NDArray[np.uint8]
    frame: Frame


@dataclass(frozen=True, slots=True)
class Failed:
    """A file without an answer, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A file with its answer."""

    path: Path
    prediction: Prediction


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

    Raises:
        BundleError: The bundle prepares images in a way that this pleura does not know.
    """

    def __init__(self, bundle: Bundle, engine: Engine | None = None) -> None:
        if bundle.preprocessing.preparation != PREPARATION:
            raise BundleError(
                f"{bundle.path or 'model'}: prepares images by "
                f"{bundle.preprocessing.preparation!r}, this pleura by {PREPARATION!r}; use the "
                f"pleura that wrote it ({bundle.versions.get('pleura', 'unknown version')})"
            )
        self.bundle = bundle
        self.engine = engine or open_engine(bundle)

    def predict(self, path: str | os.PathLike[str]) -> Prediction:
        """Return the prediction for one DICOM file.

        Raises:
            DicomError: The file is not a radiograph that pleura can read.
        """
        ready = self._read(Path(path))
        return self._finish(ready, self._run([ready])[0])

    def stream(
        self,
        paths: Iterable[Path],
        *,
        batch: int = 4,
        then: Callable[[Answered], Result],
    ) -> Iterator[Result | Failed]:
        """Yield ``then(answer)``, or a :class:`Failed`, for each path, in order.

        Reading and finishing run in threads beside the network, and only a few files are in memory
        at a time, however many there are.

        Args:
            paths: DICOM files.
            batch: Images that go through the network together.
            then: What to make of each answer (run-length text, a picture); it runs in the threads,
                and what it drops is freed.

        Raises:
            UsageError: The batch is less than 1.
        """
        if batch < 1:
            raise UsageError(f"batch is {batch}; it must be 1 or more")
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="pleura") as pool:
            read = _ahead(pool, self._read_or_fail, paths, depth=2 * batch)
            finished: deque[Callable[[], Result | Failed]] = deque()
            try:
                for group in _groups(read, batch):
                    ready = [item for item in group if isinstance(item, Ready)]
                    maps = iter(self._run(ready))
                    for item in group:
                        if isinstance(item, Failed):
                            finished.append(partial(_same, item))
                        else:
                            job = pool.submit(self._finish_then, item, next(maps), then)
                            finished.append(job.result)
                    while len(finished) > 2 * batch:
                        yield finished.popleft()()
                while finished:
                    yield finished.popleft()()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, path: Path) -> Ready:
        radiograph = read_radiograph(path)
        rows, columns = radiograph.pixels.shape
        size = self.bundle.preprocessing.size
        return Ready(
            path,
            radiograph.header.sop_instance_uid,
            prepare_pixels(radiograph.pixels, size),
            Frame(rows, columns, size),
        )

    def _read_or_fail(self, path: Path) -> Ready | Failed:
        try:
            return self._read(path)
        except DicomError as error:
            return Failed(path, str(error))

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

    def _finish_then(
        self,
        ready: Ready,
        ran: _Ran,
        then: Callable[[Answered], Result],
    ) -> Result:
        return then(Answered(ready.path, self._finish(ready, ran)))


def load(
    path: str | os.PathLike[str],
    *,
    engine: EngineName = "auto",
    device: str = "cpu",
    precision: Precision = "auto",
    at: str = "default",
) -> Predictor:
    """Return the model in the file at `path`, ready to predict.

    Args:
        path: A ``model.h5``, or an ``.onnx`` or ``.xml`` that ``pleura export`` wrote.
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


def _same(item: Failed) -> Failed:
    return item
