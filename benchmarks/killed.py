"""Whether a cluster that is killed in parts, with a bad store, writes what one machine writes.

``python -m benchmarks.killed predict PLACE --real FOLDER`` makes 20,000 radiographs in PLACE, 3 GB:
a quarter are those of FOLDER, the others phantoms, each several times under ids of its own. It puts
every fourth into a store of the S3 kind on this machine, and predicts them ``--on local`` and on a
Ray cluster of two nodes. ``audit`` in place of ``predict`` audits all of them. Meanwhile a worker,
a node and the command are killed, and the store answers some requests with 500, breaks off, or
stops for a while. What was written is compared byte by byte.
"""

import argparse
import contextlib
import csv
import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import psutil
from pyarrow import parquet
from tests.remote.servers import Server, serving
from tests.remote.store import RIGHTS

from benchmarks.cohorts import write_large_cohort, write_reidentified
from benchmarks.predict_memory import write_tiny_model
from benchmarks.prepare_memory import resident_bytes
from benchmarks.rehearsal import cost_of
from pleura.data.files import dicom_files

FAULTS = {"": 0.97, "500": 0.01, "cut": 0.01, "slow": 0.01}
"""What happens to a request that brings a file."""

_MIB = 2**20


def main() -> None:
    """Make what is needed, run the command twice, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("predict", "audit"))
    parser.add_argument("place", type=Path)
    parser.add_argument("--real", type=Path, nargs="+", required=True)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--predict", type=int, default=5_000)
    asked = parser.parse_args()
    place: Path = asked.place
    place.mkdir(parents=True, exist_ok=True)
    data = _radiographs(place, asked.real, asked.files)
    model = place / "model.h5"
    if not model.exists():
        write_tiny_model(model)
    files = dicom_files(data)
    some = files[:: len(files) // asked.predict]
    with a_store(place / f"store-{asked.command}.log") as store:
        words: list[object] = ["audit", "s3://films/set"]
        addresses = _put(store.upstream, data, files if asked.command == "audit" else some)
        if asked.command == "predict":
            listed = place / "list.csv"
            listed.write_text("\n".join(["address", *addresses]) + "\n")
            words = ["predict", model, listed]
        compare(asked.command, words, place, store)


def compare(name: str, words: list[object], place: Path, store: Server) -> None:
    """Run a command on one machine and on a cluster that is killed in parts; print what differs."""
    from ray.cluster_utils import Cluster  # an extra

    here, there = place / f"{name}-here", place / f"{name}-there"
    store.faults.clear()
    begun = store.sent
    local = cost_of([*words, "--out", here], here)
    fetched = [store.sent - begun]
    _say(f"{name}: {local.seconds:.0f} s on one machine, {local.peak_bytes / _MIB:.0f} MiB")

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    on_ray = [*words, "--out", there, "--on", cluster.address, "--cpus", 1]
    kills = Kills(cluster, local.seconds)
    store.faults.extend(random.Random(0).choices(list(FAULTS), list(FAULTS.values()), k=200_000))
    begun, before = store.sent, len(store.faults)
    costs = [cost_of(on_ray, there, kills)]
    while costs[-1].status == -9:
        costs.append(cost_of(on_ray, there, kills))
    fetched.append(store.sent - begun)
    cluster.shutdown()
    unlike = unlike_files(here, there)
    _say(
        f"{name}: {' and '.join(f'{cost.seconds:.0f}' for cost in costs)} s on a cluster; killed: "
        f"{', '.join(kills.done)}; driver {costs[-1].peak_bytes / _MIB:.0f} MiB, "
        f"an actor {kills.peak_bytes / _MIB:.0f} MiB; {before - len(store.faults)} requests; "
        f"fetched {fetched[0] / _MIB:.0f} and {fetched[1] / _MIB:.0f} MiB; "
        f"files that differ: {', '.join(unlike) or 'none'}"
    )


class Kills:
    """Kills a worker, a node and at last the command, each when another quarter is over.

    Attributes:
        done: What was killed.
        peak_bytes: The most memory that a worker held with its own processes.
    """

    def __init__(self, cluster: Any, seconds: float) -> None:
        """Take the cluster, and the seconds that the command takes on one machine."""
        self.cluster, self.done, self.peak_bytes = cluster, list[str](), 0
        self._due = [time.perf_counter() + seconds * part for part in (0.25, 0.5, 0.75)]
        self._looked = 0.0

    def __call__(self, command: subprocess.Popen[bytes]) -> None:
        """Kill what is due; look no more than once a second."""
        if time.perf_counter() < self._looked + 1:
            return
        actors = _actors()
        self.peak_bytes = max([self.peak_bytes, *(resident_bytes(one.pid) for one in actors)])
        self._looked = time.perf_counter()
        if not self._due or not actors or self._looked < self._due[0]:
            return
        del self._due[0]
        if not self.done:
            self.done.append("worker")
            actors[0].kill()
        elif len(self.done) == 1:
            self.done.append("node")
            self.cluster.remove_node(self.cluster.worker_nodes.copy().pop(), allow_graceful=False)
            with contextlib.suppress(Exception):  # a busy machine takes longer than Ray waits
                self.cluster.add_node(num_cpus=1)
        else:
            self.done.append("command")
            command.kill()


def _actors() -> list[psutil.Process]:
    """Return the workers of our own cluster, whose nodes are processes of this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ray::_Actor" in " ".join(process.cmdline()):
                found.append(process)
    return found


def unlike_files(here: Path, there: Path) -> list[str]:
    """Return the names of the files below two folders that differ, but for a column of seconds."""
    names = {path.relative_to(out) for out in (here, there) for path in out.rglob("*")}
    return sorted(str(name) for name in names if _told(here / name) != _told(there / name))


def _told(path: Path) -> object:
    if path.name == "predictions.csv":
        with path.open(encoding="utf-8", newline="") as file:
            return [{**row, "seconds": ""} for row in csv.DictReader(file)]
    if path.name == "predictions.parquet":
        return parquet.read_table(path).drop_columns("seconds")
    return path.read_bytes() if path.is_file() else path.is_dir()


def _radiographs(place: Path, real: list[Path], count: int) -> Path:
    """Return a folder of so many radiographs with their table, made where it is not there."""
    data, drawn = place / "set", place / "drawn"
    if not (data / "train-rle.csv").exists():
        if not drawn.exists():
            write_large_cohort(drawn, count // 4)
        files = [file for folder in real for file in dicom_files(folder)]
        kinds = itertools.cycle(files), itertools.cycle(dicom_files(drawn))
        mixed = [next(kinds[number % 4 > 0]) for number in range(count)]
        write_reidentified(data, mixed, count)
    return data


@contextlib.contextmanager
def a_store(log: Path) -> Iterator[Server]:
    """Yield a way to a store of the S3 kind with the bucket ``films``; commands ask it by it."""
    with log.open("wb") as said, serving() as way:
        words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        child = subprocess.Popen(words, stdout=said, stderr=said)
        try:
            way.upstream = _listening(child)
            os.environ.update(RIGHTS, AWS_ENDPOINT_URL=way.url)
            yield way
        finally:
            child.kill()
            child.wait()


def _listening(child: subprocess.Popen[bytes]) -> str:
    for _ in range(600):
        for found in psutil.Process(child.pid).net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN:
                return f"127.0.0.1:{found.laddr.port}"
        time.sleep(0.1)
    raise RuntimeError("the store does not listen")


def _put(upstream: str, data: Path, files: list[Path]) -> list[str]:
    """Put radiographs and their table into the store; return the addresses of the former."""
    client = boto3.client("s3", endpoint_url=f"http://{upstream}")
    client.create_bucket(Bucket="films")

    def put(path: Path) -> str:
        key = f"set/{path.relative_to(data).as_posix()}"
        client.put_object(Bucket="films", Key=key, Body=path.read_bytes())
        return f"s3://films/{key}"

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(put, [data / "train-rle.csv", *files]))[1:]


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
