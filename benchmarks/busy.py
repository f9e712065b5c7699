"""A training step beside one other busy process: as pleura goes about it, and as torch does.

Each in a process of its own, in turn. pleura lets threads that wait sleep (OMP_WAIT_POLICY) and
takes as many as cores are free; torch takes one per core, which spin while they wait.
"""

import os
import statistics
import subprocess
import sys
import time
from typing import Any

SECONDS, TURNS, GOAL = 5.0, 3, 1.0
SIZE = 256


def measure() -> list[dict[str, Any]]:
    """Return a row: time of torch's step / time of pleura's, one busy process beside."""
    beside = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
    try:
        pairs = [(_timed("torch"), _timed("pleura")) for _ in range(TURNS)]
    finally:
        beside.kill()
        beside.wait()
    ratio = statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)
    name = f"torch's own threads / pleura's, training step beside a busy process, {SIZE} px"
    return [{"name": name, "ratio": ratio, "goal": GOAL, "met": ratio >= GOAL}]


def _timed(whose: str) -> float:
    """Return the median seconds of a step in a new process."""
    fixed = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY")
    clean = {name: value for name, value in os.environ.items() if name not in fixed}
    if whose == "pleura":
        clean["OMP_WAIT_POLICY"] = "PASSIVE"
    command = [sys.executable, "-m", "benchmarks.busy", whose]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=clean)
    return float(done.stdout)


def main(whose: str) -> None:
    """Print the median seconds of a step."""
    import torch

    from benchmarks.train_step import _bare
    from pleura.engines.threads import share_cores
    from pleura.models.loading import uses_bf16

    if whose == "pleura":
        share_cores()
    steps = _bare(uses_bf16("auto", torch.device("cpu")), SIZE)
    next(steps)
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while not times or time.perf_counter() < end:
        begun = time.perf_counter()
        next(steps)
        times.append(time.perf_counter() - begun)
    print(statistics.median(times))


if __name__ == "__main__":
    main(sys.argv[1])
