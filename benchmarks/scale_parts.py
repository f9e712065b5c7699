"""What a radiograph costs each part of a large job, measured on one core.

``python -m benchmarks.scale_parts`` prints seconds of this process's own processor time, so that
other work on the machine matters little; a minute. The object store is moto's, in a process of its
own. :data:`benchmarks.scale.MEASURED` holds what came out.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

REAL = Path(__file__).parents[2] / "shared/data/siim/dicom-images-test"
ROWS = 5_000
ROUNDS = 2
LARGE = (3000, 2500)
"""Rows and columns of what a detector of today gives, before anybody shrinks it."""


def measure() -> Iterator[tuple[str, float]]:
    """Yield each part's cost, under the name of its field in :class:`benchmarks.scale.Parts`."""
    with tempfile.TemporaryDirectory() as folder:
        paths = _radiographs(Path(folder, "films"))
        large = _enlarged(paths[0], Path(folder, "large.dcm"))
        yield "bytes", float(np.mean([path.stat().st_size for path in paths]))
        yield "large_bytes", float(large.stat().st_size)
        yield "read_s", _seconds(_read, paths)
        yield "read_large_s", _seconds(_read, [large] * 2)
        yield from _store(paths)
        yield "named_s", _seconds(_list, [b"url,sha256\n" + ROWS * _LINE]) / ROWS
        yield from _driver(Path(folder))
        yield "overlay_s", _overlays(paths, Path(folder, "out"))
        yield "fast_s", _network("pleura:fast")
        yield "best_s", _network("pleura:best")


def _radiographs(folder: Path) -> list[Path]:
    """Return ten radiographs as the challenge published them; phantoms where they are not there."""
    from pleura.data.files import dicom_files
    from pleura.synthesis.phantom import write_cohort

    if REAL.is_dir():
        return dicom_files(REAL)[:10]
    write_cohort(folder, train=10, test=0, seed=0)
    return dicom_files(folder)[:10]


def _enlarged(path: Path, out: Path) -> Path:
    """Write a radiograph as large as a detector's, 16 bits a pixel and not compressed."""
    import cv2
    import pydicom

    warnings.filterwarnings("ignore", "Invalid value for VR", UserWarning)  # stage 2's ID_...
    data = pydicom.dcmread(path)
    data.decompress(generate_instance_uid=False)
    pixels = cv2.resize(data.pixel_array, LARGE[::-1], interpolation=cv2.INTER_CUBIC)
    data.Rows, data.Columns = LARGE
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelData = (pixels.astype(np.uint16) << 4).tobytes()
    data["PixelData"].VR = "OW"
    data.save_as(out)
    return out


def _seconds(function: Callable[[Any], object], items: Sequence[Any]) -> float:
    """Return the processor's seconds for an item, of the best round."""
    function(items[0])
    rounds = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        for item in items:
            function(item)
        rounds.append((time.process_time() - begun) / len(items))
    return min(rounds)


def _read(path: Path) -> object:
    from pleura.inference.reading import read

    return read(path, 384)


_LINE = b"s3://films/incoming/%024d.dcm,%064x\n" % (1, 1)


def _list(table: bytes) -> None:
    from pleura.data.address_list import sources_in

    for _ in sources_in(io.BytesIO(table), "list.csv", "/") or ():
        pass


def _network(name: str) -> float:
    from pleura.inference.predictor import load

    predictor = load(name)
    side = predictor.bundle.preprocessing.size
    images = np.random.default_rng(0).integers(0, 256, (4, side, side), np.uint8)
    return _seconds(predictor.engine.probabilities, [images]) / len(images)


def _overlays(paths: list[Path], out: Path) -> float:
    from pleura.data.radiographs import open_any_radiograph
    from pleura.inference.predictor import load
    from pleura.inference.writers import Overlays

    predictor = load()
    answered = [(open_any_radiograph(path), predictor.predict(path)) for path in paths[:4]]
    return _seconds(lambda one: Overlays().write(one[0], one[1], out), answered)


# ----------------------------------------------------------------------------- the store


def _store(paths: list[Path]) -> Iterator[tuple[str, float]]:
    """Return what asking a store costs whoever asks: an object, and a name in a listing."""
    import boto3

    from pleura.remote.address import Address
    from pleura.remote.objects import Objects

    with _moto() as url:
        client = boto3.client("s3")
        client.create_bucket(Bucket="films")
        for number, path in enumerate(paths):
            client.put_object(Bucket="films", Key=f"a/{number}.dcm", Body=path.read_bytes())
        for number in range(2000):
            client.put_object(Bucket="films", Key=f"b/{number:032d}.dcm", Body=b"")
        with Objects() as objects:
            addresses = [Address(f"s3://films/a/{number}.dcm") for number in range(len(paths))]
            fetch_s = _seconds(objects.fetch, addresses)
            list_s = _seconds(lambda _: list(objects.below("s3://films/b/")), [url]) / 2000
    yield "fetch_s", fetch_s
    yield "list_s", list_s


@contextlib.contextmanager
def _moto() -> Iterator[str]:
    """Yield the address of a store in a process of its own, and let clients find it."""
    code = (
        "from moto.server import ThreadedMotoServer as S; s = S('127.0.0.1', 0, False); s.start();"
        "print(s.get_host_and_port()[1], flush=True); input()"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    try:
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
        }
        yield url
    finally:
        server.kill()
        server.wait()


# ---------------------------------------------------------------------------- the driver


class _Workers:
    """Workers that have answered already."""

    def __len__(self) -> int:
        return 100

    def close(self) -> None:
        """Do nothing."""

    def map(self, shards: Iterable[Any], given_up: object) -> Iterator[Any]:
        """Yield what the workers of a cluster would say of each shard."""
        from pleura.inference.job_store import key_of, text_of
        from pleura.stages.predict_on_ray import Done, Told

        for shard in shards:
            told = [
                Told(source, key_of(source, stamp), text_of(_row(number, str(source))))
                for number, (source, stamp) in enumerate(shard)
            ]
            yield Done(told, 1.0)


def _row(number: int, path: str) -> Any:
    from pleura.inference.row import Row

    return Row(
        path,
        path[-20:-4],
        score=0.25,
        area_px=0,
        rows=1024,
        columns=1024,
        seconds=0.05,
        rle="500000 12 1000 14 998 16 " * 30 if number % 5 == 0 else "-1",
        guard=0.1,
        fingerprint="0123456789abcdef",
    )


def _driver(folder: Path) -> Iterator[tuple[str, float]]:
    """Return what a row costs the one who asks a cluster: seconds, memory, and in the tables."""
    from pleura.inference.job import JobSettings
    from pleura.inference.predictor import load
    from pleura.remote.address import Address
    from pleura.stages.predict_on_ray import ClusterJob
    from pleura.storage.content import Stamp

    predictor = load()

    def listed(first: int) -> dict[Any, Any]:
        return {
            Address(f"s3://films/incoming/{number:024d}.dcm"): Stamp(130_000, 17 << 56, 0, number)
            for number in range(first, first + ROWS)
        }

    with ClusterJob(predictor, JobSettings(folder / "job"), lambda _: _Workers()) as job:
        begun = time.process_time()
        for _ in _Workers().map([list(listed(0).items())], None):
            pass
        made_s = time.process_time() - begun
        begun = time.process_time()
        for _ in job.answer_stamped(listed(0)):
            pass
        row_s = (time.process_time() - begun - made_s) / ROWS
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in job.answer_stamped(listed(ROWS)):
            pass
        row_bytes = (tracemalloc.get_traced_memory()[0] - before) / ROWS
        tracemalloc.stop()
        kept = (folder / "job" / ".predictions.sqlite").stat().st_size
        begun = time.process_time()
        job.finish()
        table_s = (time.process_time() - begun) / (2 * ROWS)
    yield "row_s", row_s
    yield "row_bytes", row_bytes
    yield "kept_bytes", kept / (2 * ROWS)
    yield "table_s", table_s


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for name, cost in measure():
        print(f"    {name}={cost:.3g},", flush=True)
