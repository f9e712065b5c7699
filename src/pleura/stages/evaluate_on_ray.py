"""Evaluation on a cluster: each worker runs the network on rows of the arrays, and judges them.

A worker opens the prepared folder itself, so no image travels: rows go there, and what is counted
of each comes back. Rows go through the network in the batches that one machine makes of them, so
the figures are those of one machine.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pleura.cluster.ray_cluster import joined
from pleura.cluster.shards import Cluster, Shards
from pleura.data.arrays import Prepared, open_prepared
from pleura.data.fetched import prepared_at
from pleura.engines.torch_engine import TorchEngine
from pleura.errors import PleuraError, UsageError
from pleura.models.bundle import Bundle
from pleura.processes.workers import chunks
from pleura.stages.evaluate import BATCH, Ask, Made, Make, Opens, said_of

SHARD = 8
"""Batches that a worker takes at a time: some seconds, after which at most as much is lost."""


class Piece(NamedTuple):
    """A batch of rows on its way to a worker.

    Attributes:
        number: Its place among all batches.
        rows: Of ``X_train``.
        make: What is to be made of what the model says of each.
        hints: One for each row, for `make`.
    """

    number: int
    rows: tuple[int, ...]
    make: Make[Any]
    hints: Sequence[Any]


class PreparedPlace(NamedTuple):
    """Where workers find the prepared folder.

    Attributes:
        where: Its absolute path, or its address with secrets.
        work: Where arrays from an address are kept.
        fingerprint: What it must hold.
    """

    where: str
    work: Path | None
    fingerprint: str


Counted = list[tuple[int, list[Any]]]
Workers = Shards[Piece, Counted]


@contextlib.contextmanager
def opened_on(cluster: Cluster, place: PreparedPlace, device: str = "cpu") -> Iterator[Opens]:
    """Yield what opens models on a cluster, joined until the block ends.

    Args:
        cluster: Which, and what each worker takes of it.
        place: Where workers find the folder that the models are asked of.
        device: What each worker runs the network on.

    Raises:
        UsageError: No cluster is there, or has no room.
    """
    with joined(cluster.where) as ray:

        @contextlib.contextmanager
        def opened(bundle: Bundle) -> Iterator[Ask]:
            with contextlib.ExitStack() as held:
                workers: list[Workers] = []

                def begin(batches: int) -> Workers:
                    if not workers:
                        given = (bundle, device, place)
                        workers.append(Shards(ray, worker, given, cluster.share, batches))
                        held.callback(workers[0].close)
                    return workers[0]

                yield asked_of(begin)

        yield opened


def asked_of(begin: Callable[[int], Workers]) -> Ask:
    """Return what asks a model by workers.

    Args:
        begin: Returns the workers, made by :func:`worker`, for so many batches.
    """

    def ask(
        prepared: Prepared, rows: NDArray[np.int64], make: Make[Made], hints: Sequence[Any]
    ) -> Iterator[Made]:
        pieces = [
            Piece(number, tuple(some), make, hints[number * BATCH : number * BATCH + len(some)])
            for number, some in enumerate(chunks(rows.tolist(), BATCH))
        ]

        def given_up(piece: Piece) -> Counted:
            names = f"{prepared.train[piece.rows[0]].image_id} and {len(piece.rows) - 1} more"
            raise PleuraError(
                f"{prepared.path}: two processes that ran the network on {names} died over it, "
                "most likely for memory; give each worker more of a machine with `cpus`"
            )

        workers = begin(len(pieces))
        size = max(1, min(SHARD, len(pieces) // (2 * len(workers))))
        waiting: dict[int, list[Made]] = {}
        upcoming = 0
        for found in workers.map(chunks(pieces, size), given_up):
            waiting.update(found)
            while upcoming in waiting:
                yield from waiting.pop(upcoming)
                upcoming += 1

    return ask


def worker(
    bundle: Bundle, device: str, place: PreparedPlace
) -> Callable[[Sequence[Piece]], Counted]:
    """Return what answers shards in a process of the cluster.

    Raises:
        UsageError: The device is not there; or the prepared folder is not seen there.
        AddressError: The arrays could not be had.
    """
    held = contextlib.ExitStack()
    prepared = _opened(place, held)
    if prepared.fingerprint != place.fingerprint:
        raise UsageError(
            f"{prepared.path}: holds other images on the machine {os.uname().nodename} of the "
            "cluster than here; name a folder that all share, or its address"
        )
    engine = TorchEngine(bundle, device)

    def counted(shard: Sequence[Piece]) -> Counted:
        found = []
        for piece in shard:
            said = said_of(engine, prepared, np.array(piece.rows, np.int64))
            made = [
                piece.make(bundle, prepared, row, one, hint)
                for row, one, hint in zip(piece.rows, said, piece.hints, strict=True)
            ]
            found.append((piece.number, made))
        return found

    counted.held = held  # type: ignore[attr-defined]
    return counted


def _opened(place: PreparedPlace, held: contextlib.ExitStack) -> Prepared:
    if place.work is not None:
        return held.enter_context(prepared_at(place.where, place.work))
    if not Path(place.where).is_dir():
        raise UsageError(
            f"{place.where}: is not seen by the machine {os.uname().nodename} of the cluster; name "
            "a folder that all share, or its address in a store"
        )
    return open_prepared(place.where)
