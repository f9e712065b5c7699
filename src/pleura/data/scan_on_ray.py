"""A scan on a cluster: each worker reads the files of its shard as one machine would.

Names and some hundred bytes a file travel between machines, and no pixel.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from pleura.cluster.ray_cluster import joined
from pleura.cluster.shards import Cluster, Shards
from pleura.data.inputs import Listed
from pleura.data.stores import listed_at, stores_of_listed
from pleura.processes.workers import chunks

SHARD = 256
"""Files that a worker takes at a time: two seconds of one core, or more."""


class ToRead(NamedTuple):
    """A file, and where it lies if that is an address."""

    name: str
    listed: Listed | None


Said = TypeVar("Said")


def read_on(
    cluster: Cluster, names: Sequence[str], read: Callable[[Sequence[str]], Sequence[Said]]
) -> Iterator[tuple[str, Said | None]]:
    """Yield each file with what is said of it, in any order; None where workers died over it.

    Args:
        cluster: Where, and what a worker takes of it.
        names: The files.
        read: Called in the workers; it must survive pickling, and so must what it says.

    Raises:
        UsageError: No cluster is there, or has no room.
    """
    with joined(cluster.where) as ray:
        most = -(-len(names) // SHARD)
        shards = Shards[ToRead, list[tuple[str, Said | None]]](
            ray, worker, (read,), cluster.share, most
        )
        try:
            items = [ToRead(name, listed_at(name)) for name in names]
            for found in shards.map(chunks(items, SHARD), lambda one: [(one.name, None)]):
                yield from found
        finally:
            shards.close()


def worker(
    read: Callable[[Sequence[str]], Sequence[Said]],
) -> Callable[[Sequence[ToRead]], list[tuple[str, Said]]]:
    """Return what reads shards in a process of the cluster."""

    def told(shard: Sequence[ToRead]) -> list[tuple[str, Said]]:
        names = [one.name for one in shard]
        with stores_of_listed([one.listed for one in shard if one.listed is not None]):
            return list(zip(names, read(names), strict=True))

    return told
