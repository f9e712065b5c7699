"""How many threads torch works with, so that a busy machine costs its share and no more.

A network's step is hundreds of pieces of work, each shared by all threads, and each piece waits for
the slowest of them. A thread whose core another process has is that slowest one: with as many
threads as cores, one other busy process made a step several times slower than a single thread was.
"""

import functools
import os
import time

import psutil

from pleura.errors import UsageError

_LOOK_S = 0.3
_WAITING = 0.5
"""What is left of the speed where threads share cores with others, as measured with two."""

_WORTH = 1.25
_FIXED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def share_cores(wanted: int = 0) -> int:
    """Let torch use so many threads, and return how many that are.

    Sums over threads are rounded in another order, so numbers depend on how many there are.

    Args:
        wanted: How many; 0: what OMP_NUM_THREADS or MKL_NUM_THREADS says, else as many as cores are
            free. It looks once in a process, for a third of a second.
    """
    import torch

    torch.set_num_threads(wanted or _chosen())
    return torch.get_num_threads()


@functools.cache
def _chosen() -> int:
    return fixed_threads() or best_threads(*busy_cores())


def fixed_threads() -> int:
    """Return how many threads whoever began this process wants; 0 where nobody said.

    It is what OMP_NUM_THREADS or MKL_NUM_THREADS says, of which torch knows by itself. Ray sets it
    to the cores that an actor was given.
    """
    said = next(filter(None, map(os.environ.get, _FIXED)), "").partition(",")[0].strip()
    return min(int(said), len(_allowed())) if said.isascii() and said.isdecimal() else 0


def busy_cores(seconds: float = _LOOK_S) -> tuple[int, float]:
    """Return how many cores this process may use, and how many of them others keep busy.

    Args:
        seconds: How long to look; this process does nothing meanwhile.
    """
    cores = sorted(_allowed())
    before = psutil.cpu_times(percpu=True)
    time.sleep(seconds)
    after = psutil.cpu_times(percpu=True)
    busy = 0.0
    for core in cores:
        if core < len(before) and core < len(after):
            taken = [b - a for a, b in zip(before[core], after[core], strict=True)]
            idle = after[core].idle - before[core].idle
            waiting = getattr(after[core], "iowait", 0.0) - getattr(before[core], "iowait", 0.0)
            if sum(taken) > 0:
                busy += min(1.0, max(0.0, 1 - (idle + waiting) / sum(taken)))
    return len(cores), busy


def best_threads(cores: int, busy: float) -> int:
    """Return with how many threads a step is fastest beside others.

    As many as cores are free, unless nearly none is and sharing them all with the others is worth
    the waiting, as on a machine with many cores.

    Args:
        cores: Of the machine, 1 or more.
        busy: How many of them others keep busy.
    """
    free = max(1, min(cores, round(cores - busy)))
    alone = free * min(1.0, cores / (busy + free))
    shared = _WAITING * cores * cores / (busy + cores)
    return cores if free < cores and shared > _WORTH * alone else free


def _allowed() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


class OwnThreads:
    """The threads of an engine, which a copy of its process (a fork) does not have.

    An engine that is asked there would wait for them for ever.
    """

    def __init__(self) -> None:
        self._process = 0

    def begin(self) -> None:
        """Note that threads are here from now on, or check that they still are.

        Raises:
            UsageError: They are those of another process.
        """
        if self._process == 0:
            self._process = os.getpid()
        if self._process != os.getpid():
            raise UsageError(
                "the model was loaded in another process, of which this one is a copy (a fork) that"
                " lacks its threads; call pleura.load in each process, or begin processes with"
                " multiprocessing.get_context('spawn')"
            )
