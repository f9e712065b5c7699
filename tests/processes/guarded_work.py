"""What the processes of test_guarded.py do."""

import ctypes
import errno
import os
import time
from pathlib import Path

import numpy as np

from pleura.errors import AddressError, DataError
from pleura.processes.isolation import Reply, next_file
from pleura.storage import elsewhere


def doubled(items):
    found = []
    for item in items:
        next_file()
        if item == "segfault":
            ctypes.string_at(0)
        if item == "sleep":
            time.sleep(60)
        if item == "hog":
            bytearray(1 << 30)
        if item == "exit":
            os._exit(7)
        found.append(item + item)
    return found


def slowly_doubled(items):
    for _ in items:
        next_file()
        time.sleep(0.8)
    return [item + item for item in items]


def refused(item):
    raise DataError(f"{item}: no such thing")


def full(item):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/where")


def names_a_class(name):
    return Reply({"raised": name, "says": "what"})


def divided(number):
    return Reply({"found": 1 / number})


def hides_memory(item):
    try:
        bytearray(1 << 40)
    except MemoryError as error:
        raise DataError(f"{item}: cannot be decoded") from error


def drawn(shape):
    return np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)


def drawn_size(size):
    return Reply({"size": size})


def where(_):
    return Reply({"folder": str(Path.cwd())})


def who(_):
    return Reply({"pid": os.getpid()})


def sleeps_after_the_first(seconds):
    time.sleep(seconds)
    return Reply({"slept": seconds})


def contents(names):
    return [content(name) for name in names]


def content(name):
    try:
        found = elsewhere.content_of(name)
    except AddressError as error:
        return str(error)
    return "no file" if found is None else found.decode()
