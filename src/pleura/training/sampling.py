"""Which images an epoch trains on, and in which order.

Of the challenge's images 22 % show a pneumothorax. Its winners drew far more of them at first, so
that the network soon learns what it looks for, and came down to the true share, so that it ends
with true odds.

Nothing here has a state: an epoch's rows follow from seed and epoch, so a resumed training draws
what an unbroken one does, and every process computes the same order and takes its own part of it.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pleura.errors import DataError, UsageError

_POSITIVE, _NEGATIVE, _PLACES, _MIXED = range(4)  # what random numbers are for: keys of their seeds


def positive_share(epoch: int, epochs: int, first: float, last: float) -> float:
    """Return the share of positives in `epoch`: a straight line from `first` to `last`.

    >>> [round(positive_share(epoch, 4, 0.8, 0.2), 3) for epoch in range(4)]
    [0.8, 0.6, 0.4, 0.2]

    Args:
        epoch: From 0. From ``epochs - 1`` on the share is `last`.
        epochs: Number of epochs. If it is 1, that epoch has `last`: a training ends on true odds.
        first: Share in the first epoch, 0..1; the winner's is 0.8.
        last: Share in the last epoch, 0..1; the mean of ``positive`` for the true prevalence.
    """
    done = min(1.0, epoch / (epochs - 1)) if epochs > 1 else 1.0
    return first * (1 - done) + last * done


def epoch_rows(
    positive: NDArray[np.bool_],
    shares: Sequence[float] | None,
    seed: int,
    epoch: int,
    count: int | None = None,
) -> NDArray[np.int64]:
    """Return the rows that `epoch` trains on, in order.

    With `shares`, ``round(share * count)`` of the rows are positives. Positives and negatives are
    each drawn from a stream of their own: one random order of all of them, then another, and so on.
    An epoch goes on in both streams where the epoch before stopped. So no negative comes a second
    time before all have come once, whatever the shares are; where few negatives are asked for, an
    epoch takes only some and the next ones go on from there. The positives are spread: each stretch
    of ``1 / share`` rows holds one at a random place, so the first m rows hold ``share * m`` of
    them give or take one, and batches are alike.

    Without `shares`, an epoch goes on in one stream of all rows; with `count` left out that is one
    random order of all rows per epoch.

    An image that comes twice in an epoch should not look the same twice: draw augmentations by
    place in the returned order, not by row (:func:`pleura.training.augment.draw`).

    Args:
        positive: ``(n,)``; True where the image has a pneumothorax. Rows count from 0 to n - 1.
        shares: Of positives, 0..1, in epochs 0, 1, ..., at least up to `epoch`: all are needed to
            know where the streams stand. None takes images as they are.
        seed: At least 0.
        epoch: From 0.
        count: Number of rows, the same in every epoch; n where left out.

    Returns:
        ``(count,)`` rows. The first ``k`` epochs do not depend on later shares.

    Raises:
        UsageError: `shares` ends before `epoch`, or holds a number outside 0..1.
        DataError: Positives are asked for and there are none, or negatives.
    """
    count = len(positive) if count is None else count
    if shares is None:
        return _drawn(len(positive), epoch * count, count, seed, None)
    wanted = _wanted(shares, epoch, count)
    before, now = sum(wanted[:epoch]), wanted[epoch]
    drawn = []
    for kind, start, number in (
        (_POSITIVE, before, now),
        (_NEGATIVE, epoch * count - before, count - now),
    ):
        rows = np.flatnonzero(positive == (kind == _POSITIVE))
        if number and not len(rows):
            raise DataError(
                f"sampling: epoch {epoch} wants {number} {_NAMES[kind]} images of {count}, and of "
                f"the {len(positive)} images that train none is {_NAMES[kind]}; sample without a "
                "share of positives, or train on other images"
            )
        drawn.append(rows[_drawn(len(rows), start, number, seed, kind)])
    return _spread(drawn[0], drawn[1], (seed, _PLACES, epoch))


_NAMES = {_POSITIVE: "positive", _NEGATIVE: "negative"}


def mixed_rows(
    rows: NDArray[np.int64], extra: NDArray[np.int64], seed: int, epoch: int
) -> NDArray[np.int64]:
    """Return `rows` with `extra` spread evenly among them, each in its own order.

    Every stretch of ``(n + m) / m`` places holds one of the m extra rows, at a random place.

    Args:
        rows: ``(n,)``.
        extra: ``(m,)``.
        seed: At least 0.
        epoch: From 0.
    """
    return _spread(extra, rows, (seed, _MIXED, epoch))


def _wanted(shares: Sequence[float], epoch: int, count: int) -> list[int]:
    """Return the number of positives in each epoch up to `epoch`."""
    if len(shares) <= epoch:
        raise UsageError(
            f"sampling: {len(shares)} shares of positives were given, and epoch {epoch} (from 0) "
            "needs its own and all before it; give one for each epoch"
        )
    for number, share in enumerate(shares[: epoch + 1]):
        if not 0 <= share <= 1:
            raise UsageError(
                f"sampling: the share of positives of epoch {number} is {share}; "
                "choose one from 0 to 1"
            )
    return [math.floor(share * count + 0.5) for share in shares[: epoch + 1]]


def _drawn(items: int, start: int, count: int, seed: int, kind: int | None) -> NDArray[np.int64]:
    """Return places `start` to ``start + count`` of an endless row of random orders of `items`."""
    if not count:
        return np.empty(0, dtype=np.int64)
    first, last = start // items, (start + count - 1) // items
    orders = [_order(items, seed, kind, turn) for turn in range(first, last + 1)]
    skipped = start - first * items
    return np.concatenate(orders)[skipped : skipped + count]


def _order(items: int, seed: int, kind: int | None, turn: int) -> NDArray[np.int64]:
    """Return a random order of 0 .. items - 1; `kind` None is that of all images in turn."""
    if kind is not None:
        return np.random.default_rng((seed, kind, turn)).permutation(items)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + turn)
    order: NDArray[np.int64] = torch.randperm(items, generator=generator).numpy()
    return order


def _spread(
    some: NDArray[np.int64], others: NDArray[np.int64], key: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return both in one row, `some` spread evenly among `others`, at places drawn from `key`."""
    count = len(some) + len(others)
    places = _places(len(some), count, np.random.default_rng(key))
    mixed = np.empty(count, dtype=np.int64)
    mixed[places], mixed[~places] = some, others
    return mixed


def _places(positives: int, count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return ``(count,)``, True at one random place in each of `positives` equal stretches."""
    places = np.zeros(count, dtype=bool)
    if positives:
        edges = -(-np.arange(positives + 1) * count // positives)  # rounded up
        places[rng.integers(edges[:-1], edges[1:])] = True
    return places
