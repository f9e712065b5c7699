"""What masks may be instead: boxes, outlines, or one mask that was written for many images.

A box says where a pneumothorax is, not how far it goes, and an outline leaves out what it encloses.
A network that learns from them as masks learns to draw them, and Dice against them says nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import numpy as np

from pleura.formats.rle import Form, runs

Doubt = Literal["boxes", "outlines", "same-mask"]

MANY: Final = 10
"""So many are not so by chance."""

_KINDS: Final = 4
"""Different runs in a box, or in a few of them. In SIIM-ACR's 3,576 rows there are 8 or more."""

_COLUMNS: Final = 4
"""Columns that a box has at least, so that it can be told."""

_HOLLOW: Final = 3.0
"""An outline spans so many times its own pixels down its columns. 1 in 100 of SIIM-ACR's rows does,
which have parts above one another."""


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
    return {doubt: n for doubt, n in found.items() if n >= MANY and 2 * n > len(drawn)}
