"""What masks may be instead: boxes, outlines, one mask for many images, a frame, the background.

A box says where a pneumothorax is, not how far it goes, and an outline leaves out what it encloses.
A network that learns from them as masks learns to draw them, and Dice against them says nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from pleura.formats.rle import Form, runs

Doubt = Literal["boxes", "outlines", "same-mask", "common-pixels"]

MANY: Final = 10
"""So many are not so by chance."""

_KINDS: Final = 4
"""Different runs in a box, or in a few of them. In SIIM-ACR's 3,576 rows there are 8 or more."""

_COLUMNS: Final = 4
"""Columns that a box has at least, so that it can be told."""

_HOLLOW: Final = 3.0
"""An outline spans so many times its own pixels down its columns. 1 in 100 of SIIM-ACR's rows does,
which have parts above one another."""


_GRID: Final = 64
"""Cells a side in which masks are held against each other."""

_COMMON: Final = 0.75
"""Share of all masks that have one place in common. In SIIM-ACR 0.23 of the 2,669 have, 0.64 of the
151 that are large and left."""

_COMMON_BY_CHANCE: Final = 0.4
_CHANCE: Final = 2e-4


def why_impossible(text: str, shape: tuple[int, int], form: Form = "relative") -> str:
    """Return why a mask can be none of a pneumothorax, in words; "" where it can.

    Args:
        text: Run lengths.
        shape: ``(rows, columns)`` of its picture.
        form: The form of the text.

    Examples:
        >>> why_impossible("0 48", (6, 8))[:43]
        'its mask holds 100% of the picture, and a p'
    """
    rows, columns = shape
    starts, lengths = runs(text, form=form)
    ends = starts + lengths
    share = int(lengths.sum()) / (rows * columns)
    corners = np.array([0, rows - 1, rows * (columns - 1), rows * columns - 1])[:, None]
    if share > 0.5 and (
        min(shape) >= _GRID or ((starts <= corners) & (corners < ends)).any(axis=1).all()
    ):
        return (
            f"its mask holds {share:.0%} of the picture, and a pneumothorax never more than half; "
            "is it inverted? The background is 0, which is black (of COCO's counts the first)"
        )
    over = np.count_nonzero(starts // rows != (ends - 1) // rows)
    whole = starts.size and starts[0] == 0 and ends[-1] == rows * columns
    sides = bool(whole and min(lengths[0], lengths[-1]) >= rows)
    if min(shape) >= _GRID and (over > columns // 2 or sides):
        return (
            "its mask runs along opposite edges of the picture, as a frame does; write it again "
            "without the frame"
        )
    return ""


def are_boxes(text: str, rows: int, form: Form = "relative") -> bool:
    """Return whether a mask is a box, or a few of them, each of some columns.

    Args:
        text: Run lengths.
        rows: Height of its picture.
        form: The form of the text.

    Examples:
        >>> are_boxes("13 5 7 5 7 5 7 5", 12)
        True
    """
    starts, lengths = runs(text, form=form)
    kinds = len(set(zip((starts % rows).tolist(), lengths.tolist(), strict=True)))
    return 0 < kinds <= _KINDS and starts.size >= _COLUMNS * kinds


def is_outline(text: str, rows: int, form: Form = "relative") -> bool:
    """Return whether a mask is hollow; the arguments are those of :func:`are_boxes`.

    Examples:
        >>> is_outline(" ".join(["5 1 88 1"] * 60), 95)
        True
    """
    starts, lengths = runs(text, form=form)
    first = np.flatnonzero(np.diff(starts // rows, prepend=-1))
    last = np.append(first[1:], starts.size)[: first.size] - 1
    spans = (starts + lengths)[last] - starts[first]
    return bool(spans.sum() > _HOLLOW * lengths.sum())


def _cells(text: str, shape: tuple[int, int], form: Form) -> NDArray[np.bool_]:
    """Return which cells a mask has a pixel in: ``(_GRID * _GRID,)``, down the columns.

    A mask that leaves its picture, and is refused elsewhere, has none.
    """
    rows, columns = shape
    starts, lengths = runs(text, form=form)
    ends = starts + lengths - 1
    if ends.max(initial=0) >= rows * columns:
        return np.zeros(_GRID * _GRID, np.bool_)
    first, last = starts // rows, ends // rows
    # A run over the foot of a column is one in each column.
    parts = last - first + 1
    place = np.repeat(np.arange(starts.size), parts)
    column = first[place] + np.arange(place.size) - np.repeat(parts.cumsum() - parts, parts)
    top = np.where(column == first[place], (starts % rows)[place], 0)
    foot = np.where(column == last[place], (ends % rows)[place], rows - 1)
    line = (column * _GRID // columns) * (_GRID + 1)
    size = _GRID * (_GRID + 1)
    depth = np.bincount(line + top * _GRID // rows, minlength=size)
    depth = depth - np.bincount(line + foot * _GRID // rows + 1, minlength=size)
    return np.asarray(depth.cumsum().reshape(_GRID, -1)[:, :_GRID].ravel() > 0)


def _with_common_pixels(
    drawn: Mapping[str, Sequence[str]], shapes: Mapping[str, tuple[int, int]], form: Form
) -> int:
    """Return how many masks have a pixel in one place, where chance would not have so many."""
    from scipy.stats import binomtest  # so that whoever writes a table need not wait for it

    if len(drawn) < MANY:
        return 0
    found = np.zeros(_GRID * _GRID, np.int64)
    for key, texts in drawn.items():
        found += np.logical_or.reduce([_cells(text, shapes[key], form) for text in texts])
    most = int(found.max())
    chance = binomtest(most, len(drawn), _COMMON_BY_CHANCE, "greater").pvalue
    return most if most >= _COMMON * len(drawn) and chance < _CHANCE else 0


def doubts(
    masks: Mapping[str, Sequence[str]], shapes: Mapping[str, tuple[int, int]], form: Form
) -> dict[Doubt, int]:
    """Return how many images have what may be no masks, where these are many and most.

    Args:
        masks: Image id -> its run-length texts, none where it is negative.
        shapes: Image id -> ``(rows, columns)``; others are passed over.
        form: The form of the texts.
    """
    drawn = {key: texts for key, texts in masks.items() if texts and key in shapes}

    def count(kind: Callable[[str, int, Form], bool]) -> int:
        return sum(
            all(kind(text, shapes[key][0], form) for text in texts) for key, texts in drawn.items()
        )

    found: dict[Doubt, int] = {
        "boxes": count(are_boxes),
        "outlines": count(is_outline),
        "same-mask": max(Counter(map(tuple, drawn.values())).values(), default=0),
    }
    told = {doubt: n for doubt, n in found.items() if n >= MANY and 2 * n > len(drawn)}
    if not told and (common := _with_common_pixels(drawn, shapes, form)):
        told["common-pixels"] = common
    return told
