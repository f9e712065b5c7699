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
    """Something to be read: its name, and where its files lie that are at addresses."""

    name: str
    listed: tuple[Listed, ...]


Said = TypeVar("Said")


def read_on(
    cluster: Cluster,
    names: Sequence[str],
    read: Callable[[Sequence[str]], Sequence[Said]],
    *,
    needs: Callable[[str], Sequence[str]] = lambda name: (name,),
    shard: int = 0,
) -> Iterator[tuple[str, Said | None]]:
    """Yield each file with what is said of it, in any order; None where workers died over it.

    Args:
        cluster: Where, and what a worker takes of it.
        names: The files.
        read: Called in the workers; it must survive pickling, and so must what it says.
        needs: Returns the paths that are read for a name, where that is none itself.
        shard: Files that a worker takes at a time; 0 for :data:`SHARD`.

    Raises:
        UsageError: No cluster is there, or has no room.
    """
    with joined(cluster.where) as ray:
        size = shard or SHARD
        most = -(-len(names) // size)
        shards = Shards[ToRead, list[tuple[str, Said | None]]](
            ray, worker, (read,), cluster.share, most
        )
        try:
            items = [ToRead(name, _listed(needs(name))) for name in names]
            for found in shards.map(chunks(items, size), lambda one: [(one.name, None)]):
                yield from found
        finally:
            shards.close()


def _listed(paths: Sequence[str]) -> tuple[Listed, ...]:
    return tuple(one for one in map(listed_at, paths) if one is not None)


def worker(
    read: Callable[[Sequence[str]], Sequence[Said]],
) -> Callable[[Sequence[ToRead]], list[tuple[str, Said]]]:
    """Return what reads shards in a process of the cluster."""

    def told(shard: Sequence[ToRead]) -> list[tuple[str, Said]]:
        names = [one.name for one in shard]
        listed = {str(found[0]): found for one in shard for found in one.listed}
        with stores_of_listed(list(listed.values())):
            return list(zip(names, read(names), strict=True))

    return told
