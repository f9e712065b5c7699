"""From files to predictions: generators one behind the other, each of which asks the one before.

::

    bring      addresses -> their bytes, in threads; paths as they are
    read       Path -> Ready, in processes that may be killed, some files ahead
    run        Ready -> Ready and its probabilities, a batch at a time
    beside     what is made of each, in threads beside the network

A file that cannot be answered travels along as a :class:`pleura.inference.readers.Failed`, and
order is kept. Only a few files are on the way at a time, however many there are.
"""

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from pleura.data.inputs import Listed, brought
from pleura.engines.engine import Engine, Probabilities
from pleura.errors import UsageError
from pleura.inference.readers import Failed, Readers, Ready
from pleura.processes.workers import ahead
from pleura.remote.objects import Objects

Item = TypeVar("Item")
Result = TypeVar("Result")
Ran = tuple[Ready, Probabilities]
"""A radiograph, and what the network says of it alone."""


class Line:
    """The processes and threads of one line of files; make it with :func:`open_line`."""

    def __init__(
        self,
        readers: Readers,
        batch: int,
        reading: ThreadPoolExecutor,
        finishing: ThreadPoolExecutor,
        objects: Objects | None = None,
    ) -> None:
        self._readers, self._batch, self._objects = readers, batch, objects
        self._reading, self._finishing = reading, finishing

    def read(
        self, sources: Iterable[Listed], size: int, *, keep: bool = False
    ) -> Iterator[Ready | Failed]:
        """Yield each file, prepared for `size` pixels; kept open for writers where `keep` says.

        Args:
            sources: Each file, and what was said of it when it was listed.
            size: Side of the prepared square.
            keep: As for :meth:`pleura.inference.readers.Readers.read`.
        """
        read = functools.partial(self._readers.read, size=size, keep=keep)
        depth = max(2 * self._batch, 2 * self._readers.workers)
        files = brought(sources, self._objects)
        return ahead(functools.partial(self._reading.submit, read), files, depth)

    def run(self, files: Iterator[Ready | Failed], engine: Engine) -> Iterator[Ran | Failed]:
        """Yield each file with what the network says of it, once its batch has been through."""
        while group := list(itertools.islice(files, self._batch)):
            said = run_network([file for file in group if isinstance(file, Ready)], engine)
            for file in group:
                yield file if isinstance(file, Failed) else (file, next(said))

    def beside(self, function: Callable[[Item], Result], items: Iterator[Item]) -> Iterator[Result]:
        """Yield ``function(item)`` of each, computed in threads while the network goes on."""

        def submit(item: Item) -> Future[Result]:
            return self._finishing.submit(function, item)

        return ahead(submit, items, 2 * self._batch)


@contextlib.contextmanager
def open_line(
    readers: Readers | None, batch: int, objects: Objects | None = None
) -> Iterator[Line]:
    """Yield a line; its threads end with the block, however that ends.

    Args:
        readers: The processes that open files; by default they are started here, and ended.
        batch: Images that go through the network together.
        objects: What fetches from addresses; None where there are paths only.

    Raises:
        UsageError: The batch is less than 1.
        PleuraError: A reading process could not be started.
    """
    if batch < 1:
        raise UsageError(f"batch is {batch}; it must be 1 or more")
    with contextlib.ExitStack() as stack:
        readers = readers or stack.enter_context(Readers())
        pools = [
            ThreadPoolExecutor(readers.workers, thread_name_prefix=f"pleura-{name}")
            for name in ("read", "finish")
        ]
        try:
            yield Line(readers, batch, pools[0], pools[1], objects)
        except BaseException:  # also where the caller stops early: nobody waits for a slow file
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)
            readers.interrupt()
            raise
        finally:
            for pool in pools:
                pool.shutdown(wait=True, cancel_futures=True)


def run_network(ready: list[Ready], engine: Engine) -> Iterator[Probabilities]:
    """Yield what the network says of each image, one by one, with its share of the time."""
    if not ready:
        return
    begun = time.perf_counter()
    found = engine.probabilities(np.stack([item.pixels for item in ready]))
    seconds = (time.perf_counter() - begun) / len(ready)
    yield from found._replace(seconds=seconds).each()
