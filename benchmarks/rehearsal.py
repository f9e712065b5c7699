"""The challenge's whole set, rehearsed: seconds, peak memory and disk of each command.

``python -m benchmarks.rehearsal PLACE`` makes 12,047 radiographs in PLACE (1.7 GB), all different
and as large as the challenge's. It runs audit, prepare, one epoch of training, evaluate and
predict on them, in an hour or two. ``--files 500`` makes fewer. What was made or done in PLACE
before is not done again.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.cohorts import write_large_cohort
from benchmarks.prepare_memory import peak_while
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
    asked = parser.parse_args()
    asked.place.mkdir(parents=True, exist_ok=True)
    data = asked.place / "siim"
    if not (data / "train-rle.csv").exists():
        write_large_cohort(data, asked.files)
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
