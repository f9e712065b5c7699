"""The challenge's whole set, rehearsed: seconds, peak memory and disk of each command.

``python -m benchmarks.rehearsal PLACE`` makes 12,047 radiographs in PLACE (1.7 GB), all different
and as large as the challenge's. It runs audit, prepare, one epoch of training, evaluate and
predict on them, in an hour or two. ``--files 500`` makes fewer. What was made or done in PLACE
before is not done again.

``python -m benchmarks.rehearsal PLACE --cluster`` asks instead whether a Ray cluster of two nodes
writes what one machine writes while a worker, a node and the command itself are killed. It
predicts the first ``--files`` radiographs, and audits them all. Tables are compared byte by byte.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from pyarrow import parquet

from benchmarks.cohorts import write_large_cohort
from benchmarks.predict_memory import linked
from benchmarks.prepare_memory import peak_while
from pleura.data.files import dicom_files
from pleura.storage.atomic import write_text

FILES = 12_047
_GIB = 2**30


@dataclass(frozen=True)
class Cost:
    """What a command took: ended with `status`; seconds, most memory of all its processes, disk."""

    status: int
    seconds: float
    peak_bytes: int
    disk_bytes: int


def main() -> None:
    """Run what is asked for, and print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("place", type=Path)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--cluster", action="store_true")
    asked = parser.parse_args()
    asked.place.mkdir(parents=True, exist_ok=True)
    data = asked.place / "siim"
    if not (data / "train-rle.csv").exists():
        write_large_cohort(data, asked.files)
    if asked.cluster:
        on_a_cluster(asked.place, data, asked.files)
    else:
        rehearse(asked.place, data)


def rehearse(place: Path, data: Path) -> None:
    """Run the commands on `data`, one after another, and keep what each took in `place`."""
    prepared, trained, figures = place / "prepared", place / "trained", place / "figures"
    model = trained / "model.h5"
    one_epoch = ["--run", "runs/real.toml"]
    one_epoch += ["--set", "train.epochs=1", "--set", "train.progressive_sizes=[]"]
    commands: dict[str, tuple[Path, list[object]]] = {
        "audit": (place / "audit", ["audit", data, "--out", place / "audit"]),
        "prepare at 256 px": (prepared, ["prepare", data, "--out", prepared, "--size", 256]),
        "train one epoch": (trained, ["train", prepared, "--out", trained, *one_epoch]),
        "evaluate": (figures, ["evaluate", model, prepared, "--figures", figures]),
        "predict": (place / "answer", ["predict", data, "--out", place / "answer"]),
    }
    for name, (out, words) in commands.items():
        kept = place / f"{out.name}.json"
        if not kept.exists():
            write_text(kept, json.dumps(asdict(cost_of(words, out))) + "\n")
        cost = Cost(**json.loads(kept.read_text()))
        print(
            f"| {name} | {cost.seconds:,.0f} | {cost.peak_bytes / _GIB:.2f} "
            f"| {cost.disk_bytes / _GIB:.2f} | {cost.status} |",
            flush=True,
        )


def on_a_cluster(place: Path, data: Path, files: int) -> None:
    """Predict and audit on one machine and on a cluster whose parts are killed; compare."""
    from ray.cluster_utils import Cluster  # an extra

    some = place / f"radiographs-{files}"
    if not some.exists():
        linked(dicom_files(data)[:files], files, some)
    for name, words in {"predict": ["predict", some], "audit": ["audit", data]}.items():
        here, there = place / f"{name}-here", place / f"{name}-there"
        local = cost_of([*words, "--out", here], here)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        cluster.add_node(num_cpus=1)
        on_ray = [*words, "--out", there, "--on", cluster.address, "--cpus", 1]
        kills = Kills(cluster, local.seconds)
        seconds = cost_of(on_ray, there, kills).seconds
        seconds += cost_of(on_ray, there).seconds
        cluster.shutdown()
        unlike = unlike_files(here, there)
        print(
            f"| {name} | {local.seconds:,.0f} | {seconds:,.0f} "
            f"| {', '.join(kills.done)} | {', '.join(unlike) or 'none'} |",
            flush=True,
        )


class Kills:
    """Kills a worker, a node and at last the command, each when another quarter is over."""

    def __init__(self, cluster: Any, seconds: float) -> None:
        """Take the cluster, and the seconds that the command takes on one machine."""
        self.cluster, self.done = cluster, list[str]()
        self._due = [time.perf_counter() + seconds * part for part in (0.25, 0.5, 0.75)]

    def __call__(self, command: subprocess.Popen[bytes]) -> None:
        """Kill what is due."""
        actors = _actors()
        if not self._due or not actors or time.perf_counter() < self._due[0]:
            return
        del self._due[0]
        if not self.done:
            self.done.append("worker")
            actors[0].kill()
        elif len(self.done) == 1:
            self.done.append("node")
            self.cluster.remove_node(self.cluster.worker_nodes.copy().pop(), allow_graceful=False)
            self.cluster.add_node(num_cpus=1)
        else:
            self.done.append("command")
            command.kill()


def _actors() -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cmdline"]) if "ray::_Actor" in _words(one)]


def _words(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or ())


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


def cost_of(
    words: list[object],
    out: Path,
    meanwhile: Callable[[subprocess.Popen[bytes]], None] = lambda _: None,
) -> Cost:
    """Run a command of pleura that writes into `out`, and return what it took.

    Args:
        words: The command and its arguments.
        out: Its folder of results.
        meanwhile: As for :func:`~benchmarks.prepare_memory.peak_while`.

    Raises:
        RuntimeError: it ended otherwise than with 0 or 3 (some files have a reason), and was not
            killed.
    """
    command = [sys.executable, "-m", "pleura", *map(str, words)]
    begun = time.perf_counter()
    with out.with_suffix(".log").open("ab") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
        peak = peak_while(child, meanwhile)
    if child.returncode not in (0, 3, -9):
        raise RuntimeError(f"{words} ended with {child.returncode}: see {log.name}")
    seconds = time.perf_counter() - begun
    disk = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return Cost(child.returncode, seconds, peak, disk)


if __name__ == "__main__":
    main()
