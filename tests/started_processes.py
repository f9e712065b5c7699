"""What tests ask about processes, and let them do."""

import os
import time
from pathlib import Path

import psutil


def running(pid: int) -> bool:
    """Return whether a process runs; one that ended and that nobody waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def leave_number(folder: str) -> None:
    """Leave a file in a folder that is named after the process, and take a while."""
    Path(folder, str(os.getpid())).touch()
    time.sleep(0.1)
