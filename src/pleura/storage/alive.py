"""Whether the process that began a file still runs, asked by another one."""

import contextlib
import functools
import os
import time
from hashlib import blake2b

_SLACK_S = 2.0
"""Clocks of processes and of files are compared no closer than this."""


@functools.cache
def place() -> str:
    """Return 8 hex digits for what this process's number counts in: the machine, or a container."""
    counted_in = 0
    with contextlib.suppress(OSError):  # not on Linux
        counted_in = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116
    name = f"{os.uname().nodename}|{counted_in}"
    return blake2b(os.fsencode(name), digest_size=4).hexdigest()


def runs_since(process: int, age_s: float) -> bool:
    """Return whether a process of this number runs, and did so already `age_s` seconds ago.

    A younger one has taken the number of one that ended. One that ended and that its parent did not
    take notice of (a zombie) does not run.

    Args:
        process: A process's number on this machine, see :func:`place`.
        age_s: Seconds.
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's; no number of a process
        pass
    import psutil

    try:
        found = psutil.Process(process)
        ended = found.status() == psutil.STATUS_ZOMBIE
        return not ended and time.time() - found.create_time() >= age_s - _SLACK_S
    except (psutil.NoSuchProcess, OverflowError, ValueError):
        return False
    except psutil.Error:  # the system does not tell
        return True
