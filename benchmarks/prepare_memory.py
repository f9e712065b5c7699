"""Peak memory of `pleura prepare` on 2,000 phantoms against that on 200.

Counted is the resident memory of the command and its workers together, sampled while it runs.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from pleura.synthesis.phantom import write_cohort

FEW, MANY, SIDE_PX, GOAL = 200, 2000, 128, 1.10


def measure() -> list[dict[str, Any]]:
    """Return one row: name, ratio, goal, met."""
    with tempfile.TemporaryDirectory() as folder:
        peaks = []
        for count in (FEW, MANY):
            data = Path(folder, f"cohort-{count}")
            write_cohort(data, train=count, test=0, seed=count, size=SIDE_PX)
            out = Path(folder, f"prepared-{count}")
            peaks.append(peak_bytes("prepare", data, "--out", out, "--size", 256))
    ratio = peaks[1] / peaks[0]
    name = f"peak memory of prepare, {MANY} phantoms / {FEW}"
    return [{"name": name, "ratio": ratio, "goal": GOAL, "met": ratio <= GOAL}]


def peak_bytes(*arguments: object) -> int:
    """Return the most memory that a command of pleura and its processes held together."""
    return peak_of([sys.executable, "-c", "from pleura.cli.app import main; main()", *arguments])


def peak_of(command: list[object]) -> int:
    """Return the most memory, in bytes, that a command and its processes held together."""
    quiet = subprocess.DEVNULL
    child = subprocess.Popen([str(word) for word in command], stdout=quiet, stderr=quiet)
    peak = peak_while(child)
    if child.returncode not in (0, 3):  # 3: some files are broken, and listed
        raise RuntimeError(f"{command} ended with {child.returncode}")
    return peak


def peak_while(
    child: subprocess.Popen[bytes],
    meanwhile: Callable[[subprocess.Popen[bytes]], None] = lambda _: None,
) -> int:
    """Wait for a command to end, and return the most memory that it and its processes held.

    Args:
        child: The command.
        meanwhile: Called with it each time that its memory is looked at.
    """
    peak = 0
    while child.poll() is None:
        peak = max(peak, resident_bytes(child.pid))
        meanwhile(child)
        time.sleep(0.02)
    return peak


def resident_bytes(pid: int) -> int:
    """Return the memory, in bytes, that a process and those that it began hold now."""
    total = 0
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
