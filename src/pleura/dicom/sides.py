"""Whether pixels are a picture only with other Rows and Columns than the header says.

Nothing but the header states the sides of uncompressed frames and of RLE.
"""

from collections.abc import Callable, Iterable
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.dicom.limits import MAX_SIDE_PX

_FEWEST_VALUES = 1024
_LOOKED_AT, _AT_FIRST = 2048, 128
_RUN = 8
"""Values side by side that are taken together, so that noise counts less than what is shown."""

_SHORTEST, _FEWEST_ROWS = 16, 16
_RELATED = 0.25
"""Unlikeness of neighbouring rows, as a share of how far values lie from their middle: a picture
has less (chests up to 0.1), rows that have nothing in common about 1."""

_BETTER = 0.85
"""Chests whose sides are right have more than 1.2 at any other length."""

_LEAST_VARYING = 0.35
"""A few marks on an even ground show nothing: chance or a slanting line would do the same."""

_AS_GOOD = 1.1
_VALLEY = 0.5

Steps = Callable[[int], NDArray[np.int64]]


def true_columns(stored: NDArray[Any], in_file: int) -> int | None:
    """Return how long the rows of a picture are, where that is evidently not Columns; else None.

    At the right length a value resembles the one that lies a row further on, and not those a little
    before or behind that. Where rows of the header's length have nothing in common, all lengths are
    tried, else those that divide the number of values. Rows of twice the right length, which show
    the picture twice side by side, resemble one another too, and so do rows of half of it.

    Args:
        stored: Values ``(rows, columns)`` of 8 or 16 bit, in the file's order.
        in_file: How many values the file has, which may be more.
    """
    values, columns = stored.reshape(-1), stored.shape[1]
    longest = values.size // _FEWEST_ROWS
    if values.size < _FEWEST_VALUES or 2 * columns > values.size:
        return None
    furthest = max(columns, longest + _aside(longest))
    steps, few_steps = (_steps(values, furthest, count) for count in (_LOOKED_AT, _AT_FIRST))
    varying = values[columns:] != values[:-columns]
    if np.count_nonzero(varying) < _LEAST_VARYING * varying.size:
        return None
    below, some = float(steps(columns).mean()), values[::61]
    related = _RELATED * _RUN * float(np.abs(some - np.median(some)).mean())

    def is_row(length: int) -> bool:
        if not _SHORTEST <= length <= longest or length == columns:
            return False
        limit = min(related, below * (_BETTER if columns % length else _AS_GOOD))
        return bool(steps(length).mean() < limit) and _is_valley(steps, length)

    def best(lengths: Iterable[int]) -> int | None:
        return min(filter(is_row, lengths), key=lambda one: float(steps(one).mean()), default=None)

    found = best(_divisors(values.size) | _divisors(in_file))
    if found is None and below > related and steps(_RUN).mean() < _VALLEY * below:
        every = range(_SHORTEST, min(longest, MAX_SIDE_PX) + 1)
        found = best(one for one in every if few_steps(one).mean() < related)
    return found


def _steps(values: NDArray[Any], furthest: int, count: int) -> Steps:
    """Return a function from a distance, at most `furthest`, to how far values so apart differ."""
    last = values.size - furthest - _RUN
    at = np.arange(0, last, max(1, last // count) | 1)[:, None] + np.arange(_RUN)

    def sums(distance: int) -> NDArray[np.int64]:
        total: NDArray[np.int64] = values[at + distance].sum(axis=1, dtype=np.int64)
        return total

    here = sums(0)
    return lambda distance: np.abs(sums(distance) - here)


def _is_valley(steps: Steps, length: int) -> bool:
    aside = _aside(length)
    beside = min(steps(length - aside).mean(), steps(length + aside).mean())
    return bool(steps(length).mean() < _VALLEY * beside)


def _aside(length: int) -> int:
    return max(_RUN, length // 16)


def _divisors(number: int) -> set[int]:
    small = [one for one in range(1, isqrt(number) + 1) if number % one == 0]
    return {*small, *(number // one for one in small)}
