"""Work spread over processes, in order, with memory that does not grow with the work."""

import contextlib
import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2
from threadpoolctl import threadpool_limits

from pleura.errors import PleuraError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 16
"""Items a worker takes at a time."""

_WORTH_A_PROCESS = 4 * CHUNK
"""Below this many items, starting processes costs more than it saves."""


def chunks(items: Sequence[Item], size: int = CHUNK) -> Iterator[Sequence[Item]]:
    """Yield `items` in consecutive pieces of `size`, the last one shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


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
        initializer=_alone_on_its_core,
    )
    try:
        yield from _bounded(pool, function, items, 4 * count)
    except BrokenProcessPool as error:
        raise PleuraError(
            "a worker process was killed, most likely because memory ran out; "
            f"start fewer than {count} with --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def chunked_map(
    function: Callable[[Sequence[Item]], list[Result]],
    items: Sequence[Item],
    workers: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Result]:
    """Yield the results of `function` over chunks of `items`, flattened and in order.

    Args:
        function: Takes a chunk of items, returns one result per item.
        items: What to work on.
        workers: As for :func:`ordered_map`.
        on_progress: Told (items done, items in all) after each chunk.

    Raises:
        PleuraError: As for :func:`ordered_map`.
    """
    pieces = list(chunks(items))
    few = len(items) < _WORTH_A_PROCESS
    done = 0
    for results in ordered_map(function, pieces, 1 if few else workers):
        done += len(results)
        if on_progress is not None:
            on_progress(done, len(items))
        yield from results


def _alone_on_its_core() -> None:
    """Keep a worker to one thread: with as many as there are cores, the workers' fight for them."""
    cv2.setNumThreads(1)
    threadpool_limits(1)


def _bounded(
    pool: ProcessPoolExecutor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    in_flight: int,
) -> Iterator[Result]:
    def submit(item: Item) -> Future[Result]:
        with interrupts_held_back():
            return pool.submit(function, item)

    upcoming = iter(items)
    waiting = deque(submit(item) for item in itertools.islice(upcoming, in_flight))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(submit(item) for item in itertools.islice(upcoming, 1))


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
