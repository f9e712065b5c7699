"""What the children of test_isolation.py do: whatever a hostile file could make them do."""

import ctypes
import os
import re
import signal
import sys
import time
from pathlib import Path

from pleura.processes.isolation import Reply


def handle(request):
    what, value = request
    if what == "echo":
        return Reply({"pid": os.getpid(), "value": value}, value.encode())
    if what == "sleep":
        time.sleep(value)
        return Reply({"pid": os.getpid()})
    if what == "spin":  # in C, where Python looks for no signal
        re.fullmatch("(a+)+b", "a" * 60)
    if what == "hog":
        return Reply({"bytes": len(bytearray(value))})
    if what == "segfault":
        ctypes.string_at(0)
    if what == "segfault once" and not Path(value).exists():
        Path(value).touch()
        ctypes.string_at(0)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "exit":
        os._exit(value)
    if what == "raise":
        raise ValueError(f"the patient's name is {value}")
    if what == "long":
        return Reply({}, bytes(value))
    if what == "modules":
        return Reply({"modules": [name for name in value if name in sys.modules]})
    if what == "limits":
        import resource

        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return Reply(
            {
                "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
                "blocked": int(re.search(r"SigBlk:\s*(\w+)", status)[1], 16),
            }
        )
    return Reply({"done": what})


def broken(request):
    sys.exit(5)


def sleeps(request, **_):
    time.sleep(60)
