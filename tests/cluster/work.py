"""Work for actors of the tests: it squares numbers, and dies over some of them."""

import itertools
import os
import signal
import time
from pathlib import Path

from pleura.engines.threads import fixed_threads
from pleura.errors import DataError


def squares(poison=(), once="", fails=(), breaks=()):
    """Return what squares the numbers of a shard; see the names for what it does instead."""

    def work(shard):
        for number in shard:
            if number in poison:
                os.kill(os.getpid(), signal.SIGKILL)
            if once and number == 5 and not Path(once).exists():
                Path(once).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if number in fails:
                raise DataError(f"number {number}: is not to be squared")
            if number in breaks:
                raise ZeroDivisionError("secret words of a library")
        return [(number, number**2) for number in shard]

    return work


def patient(number_s):
    """Return what squares the numbers of a shard, and takes so long for each."""
    work = squares()

    def slowly(shard):
        time.sleep(number_s * len(shard))
        return work(shard)

    return slowly


def unmakeable():
    """Raise what cannot be begun."""
    raise DataError("there is nothing to begin with")


def cut(items, size):
    """Yield items in consecutive shards of `size`, the last one shorter."""
    upcoming = iter(items)
    while shard := list(itertools.islice(upcoming, size)):
        yield shard


def threads():
    """Return what tells with how many threads networks run in the process of an actor."""
    return lambda shard: fixed_threads()
