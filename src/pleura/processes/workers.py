"""Work spread over processes, in order, with memory that does not grow with the work.

Where it opens strangers' files, see :mod:`pleura.processes.guarded`.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

import cv2
from threadpoolctl import threadpool_limits

from pleura.errors import PleuraError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 16
"""Items a worker takes at a time."""


def chunks(items: Sequence[Item], size: int = CHUNK) -> Iterator[Sequence[Item]]:
    """Yield `items` in consecutive pieces of `size`, the last one shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def made_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items, the next of which is made in a thread meanwhile."""
    upcoming, pool = iter(items), ThreadPoolExecutor(1)
    try:
        coming = pool.submit(next, upcoming, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, upcoming, None)
            yield item
    finally:  # who stops early waits for no listing
        pool.shutdown(wait=False, cancel_futures=True)


def ordered_map(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int = 0
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order, computed in `workers` processes.

    At most four results per worker wait to be taken, so memory stays flat. With one worker, or too
    few items to pay for starting processes, everything runs in this process. When the caller stops
    early (Ctrl-C included) the work not yet started is dropped.

    Args:
        function: A function at the top of a module; it and the items must survive pickling.
        items: What to work on.
        workers: Processes to start; 0 means one per core.

    Raises:
        PleuraError: A worker was killed by the system, most often for memory.
    """
    count = workers or os.cpu_count() or 1
    if count == 1 or len(items) < 2:
        with one_thread():
            yield from map(function, items)
        return
    pool = ProcessPoolExecutor(
        min(count, len(items)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
    )

    def submit(item: Item) -> Future[Result]:
        with interrupts_held_back():
            return pool.submit(function, item)

    try:
        yield from ahead(submit, items, 4 * count)
    except BrokenProcessPool as error:
        raise PleuraError(
            "a worker process was killed, most likely because memory ran out; "
            f"start fewer than {count} with `workers`"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """Keep a worker to one thread, and let it end with its parent.

    With as many threads as there are cores, those of several workers fight for them. A worker whose
    parent was killed would write on for a while and then wait for work for ever.
    """
    cv2.setNumThreads(1)
    threadpool_limits(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def ahead(
    submit: Callable[[Item], Future[Result]],
    items: Iterable[Item],
    depth: int,
    weight: Callable[[Item], int] = lambda item: 0,
    most: int = 0,
) -> Iterator[Result]:
    """Yield the results of what `submit` begins for each item, in order, at most `depth` ahead.

    Args:
        submit: Begins the work on an item.
        items: What to work on.
        depth: So many are begun ahead, at most.
        weight: What an item weighs.
        most: Of several that are begun ahead the weights sum up to no more.
    """
    upcoming = iter(items)
    waiting, nearest = deque[tuple[Future[Result], int]](), deque[Item]()

    def begin() -> None:
        while len(waiting) < depth:
            nearest.extend(itertools.islice(upcoming, 1 - len(nearest)))
            if not nearest:
                return
            heavy = weight(nearest[0])
            if waiting and sum(one for _, one in waiting) + heavy > most:
                return
            waiting.append((submit(nearest.popleft()), heavy))

    begin()
    while waiting:
        result = waiting.popleft()[0].result()
        begin()
        yield result


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenCV to one thread: for pictures of this size its threads mostly wait, and spin."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextlib.contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C back for a moment.

    Processes that are started meanwhile never see one, from their first instruction on: it is left
    to this process, which then stops them in order.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
