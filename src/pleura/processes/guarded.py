"""Work on strangers' files, a few at a time, in processes that may be killed.

Whatever a file does to its decoder (a crash, a loop without an end, a bomb in memory) costs this
file and no other: :func:`guarded_map` goes on, and says of that file why it has no answer. Work of
which the files are pleura's own goes through :mod:`pleura.processes.workers`.
"""

import atexit
import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura import errors
from pleura.errors import LimitError, PleuraError, is_about_memory
from pleura.processes.isolation import Isolated, Limits, Reply
from pleura.processes.progress import OnProgress, untold
from pleura.processes.workers import CHUNK, ahead, chunks
from pleura.storage import elsewhere

Piece = TypeVar("Piece")
Item = TypeVar("Item")

LIMITS = Limits(seconds=120.0, memory_mib=4096)
"""What one file may take."""


def guarded_map(
    function: Callable[[Piece], Reply],
    pieces: Sequence[Piece],
    *,
    name: Callable[[Piece], object],
    split: Callable[[Piece], Sequence[Piece]] = lambda piece: (piece,),
    needs: Callable[[Piece], Sequence[object]] | None = None,
    workers: int = 1,
) -> Iterator[list[Reply | LimitError]]:
    """Yield what `function` replies to each piece of work, in order.

    A piece that a process dies of is done again in its smallest parts, so that one file alone pays.
    At most four replies per process wait to be taken, so memory stays flat.

    Args:
        function: A function at the top of a module. Between files it calls
            :func:`pleura.processes.isolation.next_file`.
        pieces: What to work on; pickle carries it to the process.
        name: What messages call a piece: the path of its file.
        split: Returns the parts of a piece, each of one file.
        needs: Returns the paths of what a part reads, where that is not what messages call it.
        workers: Processes; 0 means one per core. With one, a process is used that stays.

    Yields:
        One reply for the piece, or one for each of its parts. A :class:`LimitError` stands for a
        file that took too much or killed its process.

    Raises:
        PleuraError: What `function` raised; or no process could be started.
        OSError: What `function` raised.
    """
    count = min(workers or os.cpu_count() or 1, len(pieces))
    if count < 2:
        for piece in pieces:
            yield _replies(_kept(os.getpid(), LIMITS), function, piece, name, split, needs)
        return
    with Isolated(_HANDLER, count, LIMITS) as isolated:
        # Two for each child: what lies elsewhere is brought while it works.
        threads = ThreadPoolExecutor(2 * count, thread_name_prefix="pleura-guarded")

        def submit(piece: Piece) -> Future[list[Reply | LimitError]]:
            return threads.submit(_replies, isolated, function, piece, name, split, needs)

        try:
            yield from ahead(submit, pieces, 4 * count)
        finally:  # also where the caller stops early: nobody waits for a slow file
            threads.shutdown(wait=False, cancel_futures=True)
            isolated.interrupt()
            threads.shutdown(wait=True)


def guarded_list(
    function: Callable[[Sequence[Item]], list[Any]],
    items: Sequence[Item],
    *,
    name: Callable[[Item], object],
    workers: int = 0,
    on_progress: OnProgress = untold,
) -> Iterator[Any]:
    """Yield one value for each item, in order; `function` makes them of a few items at a time.

    Args:
        function: As for :func:`guarded_map`; returns one value for each item, which JSON can hold.
        items: What to work on, each of one file.
        name: What messages call an item.
        workers: Processes; 0 means one per core. Few items are not worth more than one.
        on_progress: Told (items done, items in all).

    Yields:
        The value, as JSON gives it back, or a :class:`LimitError`.

    Raises:
        PleuraError: As for :func:`guarded_map`, and OSError.
    """
    done, pieces = 0, list(chunks(items))
    replies = guarded_map(
        functools.partial(_listed, function),
        pieces,
        name=lambda piece: name(piece[0]),
        split=lambda piece: [[item] for item in piece],
        workers=workers if len(items) >= _WORTH_PROCESSES else 1,
    )
    for piece, parts in zip(pieces, replies, strict=True):
        done += len(piece)
        on_progress(done, len(items))
        for part in parts:
            if isinstance(part, LimitError):
                yield part
            else:
                yield from part.fields["values"]


_WORTH_PROCESSES = 4 * CHUNK
"""Below this many items, starting processes costs more than it saves."""


def _listed(function: Callable[[Sequence[Item]], list[Any]], items: Sequence[Item]) -> Reply:
    return Reply({"values": function(items)})


def guarded(function: Callable[[Piece], Reply], piece: Piece, name: object) -> Reply:
    """Return what `function` replies to work on one file, as :func:`guarded_map` does.

    Raises:
        LimitError: The file took too much, or killed its process.
        PleuraError: As for :func:`guarded_map`, and OSError.
    """
    ((reply,),) = guarded_map(function, (piece,), name=lambda _: name)
    if isinstance(reply, LimitError):
        raise reply
    return reply


def guarded_picture(
    function: Callable[[Piece], NDArray[np.uint8]], piece: Piece, name: object
) -> NDArray[np.uint8]:
    """Return the picture that `function` makes of one file, as :func:`guarded` does.

    Args:
        function: Returns uint8 of any shape.
        piece: As for :func:`guarded_map`, and `name`.
        name: What messages call it.

    Raises:
        LimitError: As for :func:`guarded`, and so the others.
    """
    reply = guarded(functools.partial(_pictured, function), piece, name)
    return np.frombuffer(reply.blob, np.uint8).reshape(reply.fields["shape"])


def _pictured(function: Callable[[Piece], NDArray[np.uint8]], piece: Piece) -> Reply:
    picture = function(piece)
    return Reply({"shape": picture.shape}, picture.tobytes())


_MOST_BYTES = 64 << 20
"""More is not brought from elsewhere at once, but for a single file."""

_HANDLER = "pleura.processes.guarded:handle"


class _Request(NamedTuple):
    """Work, the folder in which its paths are meant, and what its files hold that are elsewhere."""

    folder: str | None
    function: Callable[[Any], Reply]
    piece: Any
    contents: Mapping[str, bytes | str]


def handle(request: _Request) -> Reply:
    """Do what is asked; this is what runs in the other process."""
    cv2.setNumThreads(1)
    if request.folder is not None:
        os.chdir(request.folder)
    try:
        with elsewhere.at_hand(elsewhere.given(request.contents)):
            return request.function(request.piece)
    except PleuraError as error:
        if error.__cause__ is not None and is_about_memory(error.__cause__):
            return Reply({"memory": True})
        return Reply({"raised": type(error).__name__, "says": str(error)})
    except OSError as error:
        return Reply({"errno": error.errno or 0, "says": error.strerror or str(error)})
    except Exception as error:
        if is_about_memory(error):
            return Reply({"memory": True})
        raise


@functools.cache
def _kept(owner: int, limits: Limits) -> Isolated:
    """Return the one process of the process `owner` that stays, until its owner ends."""
    started = Isolated(_HANDLER, 1, limits)
    atexit.register(started.close)
    return started


def _replies(
    isolated: Isolated,
    function: Callable[[Piece], Reply],
    piece: Piece,
    name: Callable[[Piece], object],
    split: Callable[[Piece], Sequence[Piece]],
    needs: Callable[[Piece], Sequence[object]] | None,
) -> list[Reply | LimitError]:
    folder = None
    with contextlib.suppress(OSError):  # it was removed: only whole paths mean anything
        folder = os.getcwd()  # noqa: PTH109
    about, parts = name(piece), split(piece)
    alone = len(parts) < 2
    files = [str(one) for part in parts for one in (needs(part) if needs else (name(part),))]

    def apart() -> list[Reply | LimitError]:
        answers = (_replies(isolated, function, part, name, split, needs) for part in parts)
        return [one for answer in answers for one in answer]

    if not alone and elsewhere.size_of(files) > _MOST_BYTES:
        return apart()
    try:
        request = _Request(folder, function, piece, elsewhere.brought(files))
        return [_raised(isolated.call(request, about, tries=2 if alone else 1), about)]
    except LimitError as error:
        if alone:
            return [error]
        return apart()


def _raised(reply: Reply, about: object) -> Reply:
    """Return a reply, or raise what it says went wrong."""
    found = reply.fields
    if "memory" in found:
        raise LimitError(
            f"{about}: needs more memory than a file may take; export it again, or leave it out"
        )
    if "internal" in found:
        raise LimitError(
            f"{about}: internal error ({found['internal']}); PLEURA_DEBUG=1 shows where it happened"
        )
    if "errno" in found:
        raise OSError(int(found["errno"]), str(found["says"]))
    if "raised" in found:
        kind = getattr(errors, str(found["raised"]), PleuraError)
        if not (isinstance(kind, type) and issubclass(kind, PleuraError)):
            kind = PleuraError
        raise kind(str(found["says"]))
    return reply
