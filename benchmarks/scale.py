"""A hundred million radiographs, on paper: what would be the bottleneck, and how to cut the work.

``python -m benchmarks.scale`` prints the tables of docs/explanation/scale.md, two minutes on one
core: first where the time goes, stage by stage, from what :mod:`benchmarks.scale_parts` measured;
then a discrete-event simulation of a cluster whose machines are unequal and die, for several ways
to cut the work into shards. ``--check`` sees, in seconds, that the simulation keeps its laws.
"""

import argparse
import math
import random
from bisect import bisect_left
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import simpy

from pleura.remote.objects import AHEAD_BYTES, FETCHED_AHEAD

RADIOGRAPHS = 100_000_000


@dataclass(frozen=True, slots=True)
class Parts:
    """What a radiograph costs each part, in seconds of one core where nothing else is said.

    Attributes:
        bytes: Of its file.
        large_bytes: Of the file of a detector of today, not compressed.
        read_s: Its bytes become what a network sees: decoded, judged, made smaller.
        read_large_s: The same of a large one.
        fast_s: The network of ``pleura:fast``.
        best_s: The networks of ``pleura:best``.
        overlay_s: Its overlay, where one is written.
        fetch_s: Asking a store for it.
        list_s: Its name in a listing.
        named_s: Its line in a table of addresses and digests.
        row_s: Its row, at the one machine that keeps them.
        row_bytes: Memory that it takes there.
        kept_bytes: Disk that it takes there.
        table_s: Its lines in the three tables.
    """

    bytes: float
    large_bytes: float
    read_s: float
    read_large_s: float
    fast_s: float
    best_s: float
    overlay_s: float
    fetch_s: float
    list_s: float
    named_s: float
    row_s: float
    row_bytes: float
    kept_bytes: float
    table_s: float


MEASURED = Parts(
    bytes=145e3,
    large_bytes=15e6,
    read_s=0.0088,
    read_large_s=0.211,
    fast_s=0.13,
    best_s=0.36,
    overlay_s=0.05,
    fetch_s=0.0053,
    list_s=0.00021,
    named_s=8e-6,
    row_s=0.0002,
    row_bytes=512,
    kept_bytes=787,
    table_s=0.00026,
)
"""On a shared AMD EPYC with AVX-512 and bf16; the networks on a quiet one (experiments.md)."""


@dataclass(frozen=True, slots=True)
class World:
    """What is not ours: machines, wires and a store.

    Attributes:
        cores: Of a machine.
        wire_bytes_s: What a machine can receive.
        first_byte_s: Until a store begins to answer.
        prefix_gets_s: Objects that a store gives out under one prefix in a second.
        page_s: Until a store has told of a thousand names.
        message_s: What one call to an actor costs whoever calls.
        core_hour: Price of a core for an hour.
    """

    cores: int = 16
    wire_bytes_s: float = 10e9 / 8
    first_byte_s: float = 0.15
    prefix_gets_s: float = 5500
    page_s: float = 0.15
    message_s: float = 0.001
    core_hour: float = 0.05


def stages(
    parts: Parts, world: World, machines: int, *, network_s: float, large: bool, ahead: int
) -> dict[str, float]:
    """Return how many radiographs each stage can do in a second, by its name.

    Args:
        parts: What each part costs.
        world: What the machines are.
        machines: How many there are.
        network_s: Of the model.
        large: Whether files are as large as a detector's.
        ahead: Objects that a machine asks for at a time.
    """
    read_s = parts.read_large_s if large else parts.read_s
    size = parts.large_bytes if large else parts.bytes
    ahead = max(1, min(ahead, int(AHEAD_BYTES / size)))
    waiting_s = world.first_byte_s + size * ahead / world.wire_bytes_s
    return {
        "listing one prefix": 1000 / (world.page_s + 1000 * parts.list_s),
        "the one who asks, listing": 1 / (parts.row_s + parts.list_s),
        "the one who asks, from a table": 1 / (parts.row_s + parts.named_s),
        "the store, one prefix": world.prefix_gets_s,
        "waiting for the store": machines * ahead / waiting_s,
        "asking the store": machines / parts.fetch_s,
        "wire": machines * world.wire_bytes_s / size,
        "cores": machines * world.cores / (read_s + parts.fetch_s + network_s),
    }


# ------------------------------------------------------------------------- the simulation


@dataclass(frozen=True, slots=True)
class Way:
    """How the work is cut and given out.

    Attributes:
        shard: Radiographs in a shard, at most.
        turn: Radiographs that are listed at a time.
        waits: Whether a turn begins when the one before is done, cut into four shards for each
            worker; not when a worker has time, in shards that become smaller only at the very end.
        cut_after: Deaths over a shard of several until it is cut in halves.
        give_up_after: Deaths over a radiograph alone until it is given up.
    """

    shard: int = 64
    turn: int = 16_384
    waits: bool = False
    cut_after: int = 2
    give_up_after: int = 2


@dataclass(frozen=True, slots=True)
class Farm:
    """Machines that work on radiographs, and what happens to them.

    Attributes:
        machines: How many workers there are, one a machine.
        rate: Radiographs in a second that one answers on average while its line is full.
        gap_s: How long a line takes to fill and to drain, for each shard.
        unlike: Standard deviation of the logarithm of a machine's speed.
        slow: Share of the shards that take `slower` times as long.
        slower: See `slow`.
        life_s: How long a machine lives on average.
        back_s: Until another worker is there in its place.
        poison: Share of the radiographs over which a worker dies.
        call_s: What giving out a shard costs whoever gives it out.
        row_s: What a row costs there.
    """

    machines: int = 100
    rate: float = 100.0
    gap_s: float = 0.4
    unlike: float = 0.1
    slow: float = 0.002
    slower: float = 5.0
    life_s: float = 24 * 3600.0
    back_s: float = 30.0
    poison: float = 1e-6
    call_s: float = 0.001
    row_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulated job came to.

    Attributes:
        seconds: How long it took.
        share: How long machines without gaps, deaths and waits would take, as a share of it.
        answered: Radiographs with an answer.
        given_up: Radiographs that were given up, and are poison.
        wronged: Radiographs that were given up, and are none.
        deaths: Workers that died.
        lost_s: Time of workers that was lost with them, or until others were there.
    """

    seconds: float
    share: float
    answered: int
    given_up: int
    wronged: int
    deaths: int
    lost_s: float


_BATCH = 4
"""No shard is smaller than what goes through the network together."""


class _Job:
    """One job on a farm; :func:`simulate` runs it."""

    def __init__(self, radiographs: int, farm: Farm, way: Way, seed: int) -> None:
        self.radiographs, self.farm, self.way = radiographs, farm, way
        self.random = random.Random(seed)
        self.env = simpy.Environment()
        self.driver = simpy.Resource(self.env, 1)
        self.begins = iter(range(0, radiographs, way.turn))
        self.shards = deque[tuple[int, int, int]]()  # first, behind the last, deaths
        self.in_hand = 0
        self.answered = self.given_up = self.wronged = self.deaths = 0
        self.lost_s = 0.0
        self.changed = self.env.event()
        count = round(radiographs * farm.poison)
        self.poison = sorted(self.random.sample(range(radiographs), count))

    def worker(self) -> Generator[Any, Any, None]:
        """Take shards until nothing is left; die now and then, and be replaced."""
        draw, farm = self.random, self.farm
        speed = farm.rate * draw.lognormvariate(0, farm.unlike)
        while (shard := (yield from self._next())) is not None:
            first, end, deaths = shard
            each_s = (farm.slower if draw.random() < farm.slow else 1.0) / speed
            bad = self._bad(first, end)
            needed_s = farm.gap_s + each_s * ((end if bad is None else bad + 1) - first)
            life_s = draw.expovariate(1 / farm.life_s)
            yield self.env.timeout(min(needed_s, life_s))
            if bad is None and life_s >= needed_s:
                yield from self._drive(farm.call_s + farm.row_s * (end - first))
                self.answered += end - first
                self._change()
                continue
            self._died(first, end, deaths + 1)
            self.lost_s += min(needed_s, life_s) + farm.back_s
            yield self.env.timeout(farm.back_s)

    def _next(self) -> Generator[Any, Any, tuple[int, int, int] | None]:
        """Return the next shard for a worker that has time; None where nothing is left."""
        while not self.shards:
            first = None if self.way.waits and self.in_hand else next(self.begins, None)
            if first is not None:
                self._cut(first)
            elif self.in_hand:
                yield self.changed
            else:
                return None
        self.in_hand += 1
        return self.shards.popleft()

    def _cut(self, first: int) -> None:
        """Cut a turn into shards."""
        end = min(first + self.way.turn, self.radiographs)
        while first < end:
            if self.way.waits:
                wanted = math.ceil(self.way.turn / (4 * self.farm.machines))
            elif end == self.radiographs:
                wanted = math.ceil((end - first) / (2 * self.farm.machines))
            else:
                wanted = self.way.shard
            behind = min(end, first + max(_BATCH, min(wanted, self.way.shard)))
            self.shards.append((first, behind, 0))
            first = behind

    def _drive(self, seconds: float) -> Generator[Any, Any, None]:
        """Let the one who gives out the work, and keeps what comes back, do something."""
        with self.driver.request() as turn:
            yield turn
            yield self.env.timeout(seconds)

    def _bad(self, first: int, end: int) -> int | None:
        """Return the first radiograph of a shard over which workers die."""
        at = bisect_left(self.poison, first)
        return self.poison[at] if at < len(self.poison) and self.poison[at] < end else None

    def _died(self, first: int, end: int, deaths: int) -> None:
        self.deaths += 1
        alone = end - first == 1
        if deaths < (self.way.give_up_after if alone else self.way.cut_after):
            self.shards.appendleft((first, end, deaths))
        elif not alone:
            half = first + (end - first) // 2
            self.shards.extendleft([(half, end, 0), (first, half, 0)])
        elif self._bad(first, end) is None:
            self.wronged += 1
        else:
            self.given_up += 1
        self._change()

    def _change(self) -> None:
        """Wake those who wait: a shard is no longer in hand."""
        self.in_hand -= 1
        self.changed.succeed()
        self.changed = self.env.event()


def simulate(radiographs: int, farm: Farm, way: Way, seed: int = 0) -> Outcome:
    """Return what a job of so many radiographs comes to."""
    job = _Job(radiographs, farm, way, seed)
    for _ in range(farm.machines):
        job.env.process(job.worker())
    job.env.run()
    seconds = job.env.now
    return Outcome(
        seconds,
        radiographs / farm.rate / farm.machines / seconds,
        job.answered,
        job.given_up,
        job.wronged,
        job.deaths,
        job.lost_s,
    )


# --------------------------------------------------------------------------------- tables


def show_paper() -> None:
    """Print where the time goes, and what it costs."""
    world = World()
    for model, network_s in (("fast", MEASURED.fast_s), ("best", MEASURED.best_s)):
        for large in (False, True):
            size = "large" if large else "small"
            print(f"\npleura:{model}, {size} files: hours for {RADIOGRAPHS:,}, by stage")
            columns = [
                stages(
                    MEASURED, world, count, network_s=network_s, large=large, ahead=FETCHED_AHEAD
                )
                for count in MACHINES
            ]
            for name in columns[0]:
                hours = [RADIOGRAPHS / column[name] / 3600 for column in columns]
                print(f"| {name} | " + " | ".join(f"{one:.2f}" for one in hours) + " |")
            read_s = MEASURED.read_large_s if large else MEASURED.read_s
            core_hours = RADIOGRAPHS * (read_s + MEASURED.fetch_s + network_s) / 3600
            print(f"core hours {core_hours:,.0f}, {core_hours * world.core_hour:,.0f} at 0.05 each")
    print(f"\nrows: {RADIOGRAPHS * MEASURED.row_bytes / 1e9:.0f} GB of memory, ", end="")
    print(f"{RADIOGRAPHS * MEASURED.kept_bytes / 1e9:.0f} GB of disk, ", end="")
    print(f"tables {RADIOGRAPHS * MEASURED.table_s / 3600:.1f} hours")


MACHINES = (10, 100, 1000)


def show_ways(radiographs: int) -> None:
    """Print what each way to cut the work comes to, as a share of what machines could do."""
    print("\nshard, of 10 and of 100 machines")
    ways = {"64, as it was": Way(turn=65_536, waits=True)}
    for seconds in (0.5, 2, 5, 10, 20, 40, 80, 160):
        ways[f"{seconds:g} s"] = Way(round(seconds * Farm().rate))
    for name, way in ways.items():
        told = [simulate(radiographs * count // 100, Farm(count), way) for count in (10, 100)]
        print(f"| {name} | " + " | ".join(f"{one.share:.3f}" for one in told) + " |", flush=True)
    print("\npoison, life in hours; deaths until a shard is cut, a radiograph given up; share,")
    print("workers that died, radiographs given up without need")
    for poison, life_s in ((1e-7, 86400.0), (1e-5, 86400.0), (1e-7, 3600.0), (1e-5, 3600.0)):
        for cut_after, alone in ((1, 1), (1, 2), (2, 2), (1, 3), (3, 3)):
            farm = Farm(poison=poison, life_s=life_s)
            way = Way(2000, cut_after=cut_after, give_up_after=alone)
            told = simulate(radiographs, farm, way)
            print(
                f"| {poison:g} | {life_s / 3600:g} | {cut_after}, {alone} | {told.share:.3f} | "
                f"{told.deaths} | {told.wronged} |",
                flush=True,
            )


def check() -> None:
    """See that the simulation keeps its laws.

    Raises:
        AssertionError: It does not.
    """
    farm = Farm(7, poison=1e-3, life_s=600, row_s=1e-4)
    for way in (Way(waits=True), Way(256, 4096), Way(50, cut_after=1, give_up_after=3)):
        told = simulate(20_000, farm, way)
        assert told == simulate(20_000, farm, way), "one seed gives one outcome"
        assert told.answered + told.given_up + told.wronged == 20_000, "all are answered, once"
        assert told.given_up == 20, "every one over which workers die is found, and given up"
        assert told.share < 1
    calm = replace(farm, poison=0, life_s=1e12, unlike=0, slow=0, gap_s=0, call_s=0, row_s=0)
    even = simulate(7 * 64 * 10, calm, Way(turn=7 * 64 * 10, waits=True))
    assert math.isclose(even.share, 1), "nothing is lost where nothing happens"
    uneven = replace(calm, unlike=0.3)
    waited, not_waited = (simulate(20_000, uneven, Way(turn=1000, waits=w)) for w in (True, False))
    assert waited.seconds > 1.1 * not_waited.seconds, "to wait for the slowest costs time"
    kept = replace(calm, row_s=1 / calm.rate)
    assert math.isclose(simulate(5_000, kept, Way()).seconds * kept.rate, 5_000, rel_tol=0.05), (
        "no more is answered than one machine can keep"
    )
    tenfold = [
        min(stages(MEASURED, World(), n, network_s=0.1, large=False, ahead=8).values())
        for n in MACHINES
    ]
    assert tenfold == sorted(tenfold), "more machines are never slower"


def main() -> None:
    """Print the tables, or see that the laws are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--radiographs", type=int, default=10_000_000)
    wanted = parser.parse_args()
    if wanted.check:
        check()
        return
    show_paper()
    show_ways(wanted.radiographs)


if __name__ == "__main__":
    main()
