"""Which picture run-length masks were made for, told from their runs alone.

Runs are counted down the columns, so in a right decoding the runs of neighbouring columns touch:
the starts of two of them lie one height apart, give or take the slope of the mask's edge. In a
picture of another height the same text is another mask, of scattered pieces. So the height shows in
how far the runs of a mask have to be shifted for most of it to lie on itself again.

A height that is off by a few rows shears the mask instead of scattering it, and one mask alone may
slope so by itself. Two things tell then: many masks that slope alike, and masks that run over the
foot of one column onto the head of the next, which they would not at the other height.

Only the height is in the runs. The width is a guess from the proportions of the picture.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pleura.errors import RleError
from pleura.formats.rle import Form, other_form, runs

NEAR: Final = 16
"""Rows a column: no mask slopes more. In SIIM-ACR's 3,576 rows the steepest has 11."""

_LEAST: Final = 16
"""Rows: no picture is lower."""

_MOST: Final = 1 << 13
"""Rows: no higher picture is thought of."""

_NEXT: Final = 24
"""How many runs further on a run of the next column is looked for."""

_MOST_RUNS: Final = 4096
"""Of a mask with more runs, as many from its middle are looked at."""

_FEWEST_RUNS: Final = 5
"""Of a mask with fewer runs, nothing is told from the mask alone."""

_FEWEST_ALIKE: Final = 3
"""Fewer masks say nothing of the others of their table."""

_TOUCH: Final = 0.6
"""Share of a mask that lies on itself at its own height, at least. 0.80 or more in every row of
SIIM-ACR."""

_AS_WELL: Final = 0.8
"""A height that explains this share of what the best one does explains the mask."""

_SAME: Final = 0.97
"""A fraction of the height that explains this share of what the height does is the true height: at
a multiple of it the columns come to lie above each other, and still touch."""

_SLOPES: Final = (0.65, 0.16, 0.0145, 4e-3, 1e-3, 8e-4, 3e-4, 3e-4, 3e-4, 2e-4, 2e-4, 2e-4)
"""How often masks slope by 0, 1, 2 ... rows a column, up or down alike, in SIIM-ACR's rows; a slope
of more is as rare as `_STEEPER`."""

_STEEPER: Final = 1e-5
_WRAPS: Final = 0.4
"""Share of masks that run over a column's foot in a picture that is a few rows too high."""

_WRAPS_RIGHTLY: Final = 1e-5
"""The same in a picture of their own height: none of SIIM-ACR's 2,669."""

_EVIDENCE: Final = 9.0
"""Nats that the other height must explain the masks better by."""

_WRAPPED: Final = 0.1
"""Share of those that slope alike that must run over a column's foot. That all slope alike is not
enough: somebody's masks may, and then right ones would be refused."""

_SLIGHT: Final = 2
"""Rows by which the height told from one mask is easily off."""

_HEIGHTS: Final = 32
"""So many of the heights seen are tried for all masks of a table."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a mask does not belong to the picture that it is to be laid on.

    Attributes:
        size: ``(rows, columns)`` of the picture that it was made for, as far as can be told; None
            where it was made for this one, but is written in the other run-length form.
        alike: How many masks of the table were made for a picture of another size, and how many
            can be told; None where this mask shows it by itself.
    """

    size: tuple[int, int] | None
    alike: tuple[int, int] | None = None


def exchanged(size: Sequence[int], shape: Sequence[int]) -> str:
    """Return the words for a size that is another one with its sides exchanged; "" where not."""
    alike = list(size) == list(shape[::-1])
    return ", so rows and columns are exchanged: mend their order" if alike else ""


def find_misfits(
    texts: Sequence[str], shapes: Sequence[tuple[int, int]], form: Form = "relative"
) -> dict[int, Misfit]:
    """Return which masks of a table were not made for the pictures that they are to be laid on.

    Where most of those that can be told were made for another height, and that is not one or two
    alone, the others, which have too few runs to tell, are taken to be as well.

    Args:
        texts: The masks' run-length texts, each well-formed. They may leave their pictures.
        shapes: ``(rows, columns)`` of the picture of each.
        form: The form that they are to be read in.

    Returns:
        Position in `texts` -> what is wrong; those that are not here fit, or nothing can be told.
    """
    traces = [
        trace(*runs(text, form=form), shape) for text, shape in zip(texts, shapes, strict=True)
    ]
    found = {
        place: Misfit(None)
        for place, mask in enumerate(traces)
        if not mask.fits and _fits_in_form(texts[place], shapes[place], other_form(form))
    }
    left = [place for place in range(len(traces)) if place not in found]
    heights = of_another_height([traces[place] for place in left])
    other = {left[place]: rows for place, rows in heights.items() if rows}
    sizes = _sizes(other, traces)
    found |= {place: Misfit(sizes[place]) for place in other}
    if sizes and len(heights) > len(other):
        (common, _), *_ = Counter(sizes.values()).most_common(1)
        alike = len(other), sum(1 for place in left if traces[place].rows)
        found |= {left[p]: Misfit(common, alike) for p, rows in heights.items() if not rows}
    return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Trace:
    """What the runs of one mask say of the height it was made for.

    Attributes:
        shape: ``(rows, columns)`` of the picture that it is to be laid on.
        end: Pixels up to the end of its last run.
        rows: The height that it was made for, give or take the slope of its edge; 0 where it has
            too few runs, or no height makes them touch.
        fits: Whether the picture's own height, give or take `NEAR`, explains it as well.
        drawing: Equal for masks that are alike but for their place, which are one witness.
        wraps: ``(2 * NEAR + 1,)`` bool: whether a run goes over a column's foot at the picture's
            height less `NEAR`, ..., at its own, ..., at its height and `NEAR` more.
    """

    shape: tuple[int, int]
    end: int
    rows: int
    fits: bool
    drawing: int
    wraps: NDArray[np.bool_]


def trace(starts: NDArray[np.int64], lengths: NDArray[np.int64], shape: tuple[int, int]) -> Trace:
    """Return what the runs of a mask say of the height it was made for.

    Args:
        starts: ``(runs,)`` int64, rising: pixels from 0 down the columns.
        lengths: ``(runs,)`` int64, in pixels.
        shape: ``(rows, columns)`` of the picture that it is to be laid on. Runs may leave it.
    """
    starts, lengths = _merged(starts, lengths)
    end = int(starts[-1] + lengths[-1]) if starts.size else 0
    # What is cut off a mask of very many runs is not missed, and time stays bounded.
    middle = max(0, (starts.size - _MOST_RUNS) // 2)
    starts, lengths = starts[middle : middle + _MOST_RUNS], lengths[middle : middle + _MOST_RUNS]
    rows, fits = _height(starts, lengths, shape[0])
    drawing = hash(np.diff(starts).tobytes() + lengths.tobytes())
    return Trace(shape, end, rows, fits, drawing, _wraps(starts, lengths, shape[0]))


def of_another_height(traces: Sequence[Trace]) -> dict[int, int]:
    """Return which masks of a table were made for another height than their picture's, and which.

    Where most of those that can be told are, and that is not one or two alone, the others, which
    have too few runs to tell, are taken to be as well.

    Args:
        traces: :func:`trace` of each mask of the table.

    Returns:
        Position in `traces` -> rows of the picture that it was made for, 0 where that cannot be
        told of this mask.
    """
    told = [place for place, mask in enumerate(traces) if mask.rows]
    other = {place: traces[place].rows for place in told if not traces[place].fits}
    near = [place for place in told if place not in other]
    sheared = _sheared([traces[place] for place in near])
    other |= {near[place]: rows for place, rows in sheared.items()}
    other = _settled(other)
    if len(other) >= _FEWEST_ALIKE and 2 * len(other) > len(told):
        other |= {place: 0 for place, mask in enumerate(traces) if not mask.rows}
    return dict(sorted(other.items()))


def likely_size(rows: int, end: int, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the likely ``(rows, columns)`` of the picture that a mask was made for.

    Args:
        rows: Its height, as :func:`of_another_height` says; a row more or less may be the slope of
            the mask's edge.
        end: Pixels up to the end of the mask's last run.
        shape: ``(rows, columns)`` of the picture that is there: turned round where the height is
            its width, else of the same proportions, and wider where the mask needs it.

    Examples:
        >>> likely_size(192, 30_000, (384, 320))
        (192, 160)
        >>> likely_size(319, 30_000, (384, 320))
        (320, 384)
    """
    if abs(rows - shape[1]) <= _SLIGHT and shape[0] != shape[1]:
        return shape[1], max(shape[0], -(-end // shape[1]))
    return rows, max(round(rows * shape[1] / shape[0]), -(-end // rows), 1)


def touching(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of a mask that lies on itself when shifted by 0, 1, 2 ... pixels.

    Only other runs count, `_NEXT` of them behind each: what a run shares with itself is left out.

    Args:
        starts: ``(runs,)``: the first pixel of each run, counted down the columns from 0, rising.
        lengths: ``(runs,)``: the pixels of each.

    Returns:
        ``(_MOST,)``, one share for each shift.
    """
    ends = starts + lengths
    apart = np.arange(1, min(_NEXT, starts.size - 1) + 1)
    # What two runs share rises from the first shift to the second, and falls from the third on.
    rising = [n for k in apart for n in (starts[k:] - ends[:-k], ends[k:] - starts[:-k])]
    falling = [n for k in apart for n in (starts[k:] - starts[:-k], ends[k:] - ends[:-k])]
    curve = _counted(rising) - _counted(falling)
    shared = np.concatenate([[0.0], curve.cumsum().cumsum()[:-1]])
    shares: NDArray[np.float64] = shared / max(lengths.sum(), 1)
    return shares


def _counted(shifts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return how many times each shift below `_MOST` occurs."""
    every = np.concatenate([*shifts, np.zeros(0, np.int64)])
    return np.bincount(every[every < _MOST], minlength=_MOST)


def _fits_in_form(text: str, shape: tuple[int, int], form: Form) -> bool:
    try:
        return trace(*runs(text, shape, form=form), shape).fits
    except RleError:
        return False


def _sizes(heights: Mapping[int, int], traces: Sequence[Trace]) -> dict[int, tuple[int, int]]:
    """Return the likely size of each mask's own picture: one for all of a height and a picture."""
    ends: dict[tuple[int, tuple[int, int]], int] = {}
    for place, rows in heights.items():
        key = rows, traces[place].shape
        ends[key] = max(ends.get(key, 0), traces[place].end)
    return {
        place: likely_size(rows, ends[rows, traces[place].shape], traces[place].shape)
        for place, rows in heights.items()
    }


def _merged(
    starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the runs with those that touch made one."""
    ends = starts + lengths
    apart = np.flatnonzero(starts[1:] > ends[:-1])
    begun = starts[np.concatenate([[0], apart + 1])] if starts.size else starts
    ended = ends[np.concatenate([apart, [ends.size - 1]])] if starts.size else ends
    return begun, ended - begun


def _height(starts: NDArray[np.int64], lengths: NDArray[np.int64], rows: int) -> tuple[int, bool]:
    """Return the height that a mask was made for, and whether the picture's `rows` explain it."""
    if starts.size < _FEWEST_RUNS:
        return 0, False
    shares = touching(starts, lengths)
    shares[:_LEAST] = 0
    best = float(shares.max())
    if best < _TOUCH:
        return 0, False
    window = shares[max(0, rows - rows // 4) : rows + rows // 4 + 1]
    near = float(window.max(initial=0))
    if near < _AS_WELL * best:
        return _top(shares, int(np.argmax(shares >= _AS_WELL * best))), False
    below = shares[: 5 * rows // 8]
    if below.max(initial=0) >= _SAME * near:
        return _top(shares, int(np.argmax(below >= _SAME * near))), False
    height = _top(shares, max(0, rows - rows // 4) + int(window.argmax()))
    return height, abs(height - rows) <= NEAR


def _top(shares: NDArray[np.float64], place: int) -> int:
    """Return where the shares are highest up the slope from a place, to either side."""
    for step in (-1, 1):
        while 0 < place + step < shares.size and shares[place + step] > shares[place]:
            place += step
    return place


def _wraps(starts: NDArray[np.int64], lengths: NDArray[np.int64], rows: int) -> NDArray[np.bool_]:
    """Return whether a run goes over a column's foot, at each height `NEAR` the picture's."""
    heights = np.arange(rows - NEAR, rows + NEAR + 1)[:, None]
    heights = np.maximum(heights, 1)
    over: NDArray[np.bool_] = starts // heights != (starts + lengths - 1) // heights
    return over.any(axis=1) & (heights[:, 0] >= _LEAST)


def _sheared(traces: Sequence[Trace]) -> dict[int, int]:
    """Return which of masks that fit their picture, give or take, fit another height better.

    Two ways to be wrong are thought of: all by as many rows, and all made for one height. Each is
    looked for until no more is found, so a table may mix them.
    """
    other: dict[int, int] = {}
    rows = np.array([trace.shape[0] for trace in traces], np.int64)
    gains = _gains(traces)
    while len(other) < len(traces):
        left = np.array([place for place in range(len(traces)) if place not in other])
        best: tuple[float, NDArray[np.bool_], NDArray[np.int64]] | None = None
        for offsets in _suppositions(traces, rows):
            found = _mixture(gains, offsets, left, traces)
            if found is not None and (best is None or found[0] > best[0]):
                best = (*found, offsets)
        if best is None:
            break
        _, members, offsets = best
        other |= {int(place): int(rows[place] + offsets[place]) for place in left[members]}
    return other


def _gains(traces: Sequence[Trace]) -> NDArray[np.float64]:
    """Return how much better each height `NEAR` its picture's explains each mask, in nats.

    Returns:
        ``(masks, 2 * NEAR + 1)`` float64, for the picture's height less `NEAR` up to `NEAR` more.
    """
    steps = np.arange(-NEAR, NEAR + 1)
    slopes = np.full(2 * NEAR + 1, _STEEPER)
    slopes[: len(_SLOPES)] = _SLOPES
    slopes = np.log(np.concatenate([slopes, np.full(2 * NEAR, _STEEPER)]))
    gains = np.zeros((len(traces), steps.size))
    copies = Counter(trace.drawing for trace in traces)
    for place, trace in enumerate(traces):
        slope = trace.rows - trace.shape[0]
        wrapped = trace.wraps.astype(float)
        right = np.log(np.where(wrapped, _WRAPS_RIGHTLY, 1 - _WRAPS_RIGHTLY))
        wrong = np.log(np.where(wrapped, _WRAPS, 1 - _WRAPS))
        gains[place] = slopes[abs(slope - steps)] - slopes[abs(slope)]
        gains[place] /= copies[trace.drawing]
        gains[place] += right - right[NEAR] + wrong[NEAR] - wrong
    gains[:, NEAR] = 0
    return gains


def _suppositions(traces: Sequence[Trace], rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield by how many rows each picture would be too low: ``(masks,)`` int64 each time."""
    for offset in range(-NEAR, NEAR + 1):
        if offset:
            yield np.full(len(traces), offset)
    if len(set(rows.tolist())) > 1:
        for height, _ in Counter(trace.rows for trace in traces).most_common(_HEIGHTS):
            yield height - rows


def _mixture(
    gains: NDArray[np.float64],
    offsets: NDArray[np.int64],
    left: NDArray[np.int64],
    traces: Sequence[Trace],
) -> tuple[float, NDArray[np.bool_]] | None:
    """Return how much better it is to suppose that some masks are off, and which they are.

    The masks are taken for a mixture of right ones and such as are off, with the share that
    explains them best.

    Returns:
        The gain in nats, and ``(left,)`` bool; None where the evidence is not enough.
    """
    offsets = offsets[left]
    thought = (abs(offsets) <= NEAR) & (offsets != 0)
    own = gains[left, np.where(thought, offsets, 0) + NEAR]
    odds = np.where(thought, np.exp(np.minimum(own, 300)), 0)
    if np.log(np.maximum(odds, 1)).sum() <= _EVIDENCE:
        return None
    share = 0.5
    for _ in range(100):
        share = float((share * odds / (1 - share + share * odds)).mean())
    gain = float(np.log(1 - share + share * odds).sum())
    members = share * odds > 1 - share
    if gain <= _EVIDENCE or not members.any():
        return None
    wrapped = np.mean([traces[place].wraps[NEAR] for place in left[members]])
    if wrapped < _WRAPPED:
        return None
    return gain, members


def _settled(other: Mapping[int, int]) -> dict[int, int]:
    """Return the heights with those that lie together put to their middle: the edges' slope goes.

    Those within `NEAR` of the commonest are taken together first, then of the commonest left.
    """
    settled: dict[int, int] = {}
    while len(settled) < len(other):
        left = {place: rows for place, rows in other.items() if place not in settled}
        (common, _), *_ = Counter(left.values()).most_common(1)
        alike = {place: rows for place, rows in left.items() if abs(rows - common) <= NEAR}
        settled |= dict.fromkeys(alike, round(median(alike.values())))
    return settled
