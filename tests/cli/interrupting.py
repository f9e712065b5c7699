"""Ctrl-C as a user types it: a command in a process of its own, slowed down and interrupted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_SLOWED = """
import importlib, sys, time
module, _, name = {target!r}.partition(":")
holder = importlib.import_module(module)
*owners, last = name.split(".")
for owner in owners:
    holder = getattr(holder, owner)
real = getattr(holder, last)

def slowly(*arguments, **options):
    time.sleep({seconds})
    return real(*arguments, **options)

setattr(holder, last, slowly)
from pleura.cli.app import main
main()
"""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """How a command ended that was interrupted."""

    status: int
    out: str
    err: str


def interrupt(
    arguments: Sequence[object],
    when: Callable[[], bool],
    *,
    slowed: str = "pleura.cli.app:execute",
    seconds: float = 0.0,
) -> Interrupted:
    """Run a command, send Ctrl-C to its whole process group once `when` holds, and wait.

    Args:
        arguments: What follows ``pleura``.
        when: Asked twenty times a second.
        slowed: A function as ``module:name``; each call of it waits first.
        seconds: How long.
    """
    code = _SLOWED.format(target=slowed, seconds=seconds)
    child = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not when() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGINT)
    try:
        out, err = child.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # or it would be a riddle to the tests that follow
        child.communicate()
        raise
    return Interrupted(child.returncode, out, err)
