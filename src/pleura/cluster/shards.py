"""A map over shards of work, on actors that may die; results come as they are done.

An actor works on one shard at a time, so that little is on the way however much there is. One that
dies is replaced, and its shard is given out again in halves, until the one item is found over which
they die: that is given up, alone, after two deaths. docs/explanation/scale.md says why at once.
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

from pleura.cluster.ray_cluster import HEAD, Pulse, lost
from pleura.errors import LostError, PleuraError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

DEATHS = 2
"""So many actors may die over an item alone before it is given up."""

BEGINNINGS = 4
"""So often an actor is begun that dies before it is given anything."""

_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Share:
    """What of the cluster an actor takes.

    Attributes:
        cpus: Cores; 0 means all of a machine.
        gpus: GPUs, or a part of one.
        actors: How many there are; 0 means as many as the cluster has room for.
    """

    cpus: int = 0
    gpus: float = 0.0
    actors: int = 0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster, and what of it each actor takes.

    Attributes:
        where: As for :func:`pleura.cluster.ray_cluster.joined`.
        share: What an actor takes.
    """

    where: str
    share: Share = Share()


class Shards(Generic[Item, Result]):
    """Actors of a cluster that work on shards; close it.

    Args:
        ray: Ray's module, connected (:func:`pleura.cluster.ray_cluster.joined`).
        make: Called once in each actor; returns what is called with each shard. It and what it is
            given must survive pickling.
        given: What `make` is called with.
        share: What each actor takes.
        most: No more actors than this are of use.

    Raises:
        UsageError: The cluster has no room for an actor, or another pleura.
        PleuraError: An actor cannot be begun.
    """

    def __init__(
        self,
        ray: Any,
        make: Callable[..., Callable[[Sequence[Item]], Result]],
        given: tuple[Any, ...],
        share: Share,
        most: int,
    ) -> None:
        self._ray, self._pulse, self._lost = ray, Pulse(ray), False
        cpus, actors = _room(ray, share)
        kind = ray.remote(num_cpus=cpus, num_gpus=share.gpus, max_restarts=0, max_task_retries=0)
        self._kind = kind(_Actor)
        self._given = ray.put((make, given))
        self._cpus = cpus
        self._actors: list[Any] = []
        for _ in range(max(1, min(actors, most))):
            self._begin()
        self._require_alike()

    def close(self) -> None:
        """End the actors; those of a cluster that is gone have ended."""
        for actor in () if self._lost else self._actors:
            with contextlib.suppress(Exception):  # it is gone already
                self._ray.kill(actor)

    def __len__(self) -> int:
        """Return how many actors there are."""
        return len(self._actors)

    def map(
        self, shards: Iterable[Sequence[Item]], given_up: Callable[[Item], Result]
    ) -> Iterator[Result]:
        """Yield the result of each shard, as they are done; a shard that was cut has several.

        Args:
            shards: Asked for when an actor has time.
            given_up: What stands in place of the result of an item over which actors die.

        Raises:
            PleuraError: What an actor raised on purpose; or no actor is left.
            LostError: The cluster is gone.
        """
        upcoming, again = iter(shards), deque[tuple[Sequence[Item], int]]()
        idle, running = deque(self._actors), dict[Any, tuple[Any, Sequence[Item], int]]()
        while self._actors:
            fresh = ((shard, 0) for shard in upcoming)
            while idle and (task := again.popleft() if again else next(fresh, None)):
                actor = idle.popleft()
                running[actor.work.remote(task[0])] = (actor, *task)
            if idle and not any(shard for _, shard, _ in running.values()):
                return
            done = self._done(list(running))
            for reference in done:
                actor, shard, deaths = running.pop(reference)
                found = self._result(reference)
                if found is not None:
                    idle.append(actor)
                    if shard:
                        yield found[0]
                    continue
                self._actors.remove(actor)
                if shard or deaths + 1 < BEGINNINGS:  # it has no shard before it has a machine
                    another = self._begin()
                    running[another.version.remote()] = (another, (), 0 if shard else deaths + 1)
                if len(shard) > 1:
                    half = len(shard) // 2
                    again.extend([(shard[:half], 0), (shard[half:], 0)])
                elif shard and deaths + 1 < DEATHS:
                    again.append((shard, deaths + 1))
                elif shard:
                    yield given_up(shard[0])
        raise PleuraError(
            f"the workers of the cluster died, and none could be begun {BEGINNINGS} times; the "
            "logs of its machines show why; give the same command again"
        )

    def _done(self, references: list[Any]) -> list[Any]:
        """Return one reference of which the result is there, if one comes soon."""
        try:
            self._pulse.require()
            done, _ = self._ray.wait(references, num_returns=1, timeout=_LOOK_S)
        except LostError:
            self._lost = True
            raise
        except ConnectionError as error:  # so says Ray's client
            self._lost = True
            raise lost(HEAD) from error
        return list(done)

    def _result(self, reference: Any) -> tuple[Result] | None:
        """Return the result of a shard; None where its actor died over it."""
        exceptions = self._ray.exceptions
        try:
            self._pulse.require()
            return (self._ray.get(reference),)
        except exceptions.RayTaskError as error:
            raise _ours(error) from error
        except (exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.RaySystemError):
            return None
        except (exceptions.OutOfMemoryError, exceptions.ObjectLostError):
            return None

    def _begin(self) -> Any:
        actor = self._kind.remote(self._given, str(Path.cwd()))
        self._actors.append(actor)
        return actor

    def _require_alike(self) -> None:
        """See that every actor could be begun, and runs this pleura."""
        ours = version("pleura")
        for actor in list(self._actors):
            machine, theirs = self._begun(actor)
            if theirs != ours:
                raise UsageError(
                    f"the machine {machine} of the cluster has pleura {theirs}, and this is "
                    f"{ours}; install the same there"
                )

    def _begun(self, actor: Any, deaths: int = 0) -> Any:
        """Return what an actor says of its machine; one that is killed is replaced."""
        exceptions = self._ray.exceptions
        reference = actor.version.remote()
        while not self._done([reference]):
            pass
        try:
            return self._ray.get(reference)
        except exceptions.RayError as error:
            killed = isinstance(error, exceptions.RayActorError) and "No module" not in str(error)
            if not killed or deaths + 1 == BEGINNINGS:
                raise _not_begun(error) from error
        self._actors.remove(actor)
        return self._begun(self._begin(), deaths + 1)


class _Actor:
    """What runs in a process of the cluster."""

    def __init__(self, given: Any, folder: str) -> None:
        with contextlib.suppress(OSError):  # relative paths are those of whoever began the work
            os.chdir(folder)
        self._make, self._given = given
        self._work: Callable[[Sequence[Any]], Any] | None = None

    def version(self) -> tuple[str, str]:
        return os.uname().nodename, version("pleura")

    def work(self, shard: Sequence[Any]) -> Any:
        if self._work is None:  # not when it is begun: there Ray hides what is raised
            self._work = self._make(*self._given)
        return self._work(shard)


def _room(ray: Any, share: Share) -> tuple[int, int]:
    """Return the cores that an actor takes, and how many actors the cluster has room for."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0) >= 1]
    if share.gpus:
        cores = [int(node["CPU"]) for node in nodes if node.get("GPU", 0) >= share.gpus]
    if not cores or share.cpus > max(cores):
        wanted = f"{share.cpus or 1} cores" + (f" and {share.gpus:g} GPUs" if share.gpus else "")
        raise UsageError(
            f"each worker takes {wanted}, and no machine of the cluster has as many; lower `cpus` "
            "or `gpus`"
        )
    cpus = share.cpus or min(cores)
    if share.gpus and not share.cpus:  # its part of a machine with several GPUs
        most = max(node.get("GPU", 0) for node in nodes)
        cpus = max(1, int(min(cores) * share.gpus / most))
    room = sum(count // cpus for count in cores)
    if share.gpus:
        room = min(room, int(sum(node.get("GPU", 0) for node in nodes) / share.gpus))
    return cpus, share.actors or max(1, room)


def _ours(error: Any) -> PleuraError:
    """Return what was raised on purpose in an actor, or a sentence about what was not."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, PleuraError):
        return cause
    name = type(getattr(error, "cause", error)).__name__
    return PleuraError(
        f"a worker of the cluster failed ({name}); the log of its machine shows where"
    )


def _not_begun(error: Exception) -> PleuraError:
    said = " ".join(str(error).split())
    if "No module named" in said:
        return UsageError(
            "a machine of the cluster has no pleura; install there what is installed here"
        )
    return PleuraError(
        "a worker of the cluster could not be begun; the log of its machine shows why "
        f"({type(error).__name__})"
    )
