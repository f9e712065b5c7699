"""Boxes that were written as masks: all of their runs repeat the column before.

A box says where a pneumothorax is, not how far it goes. A network that learns from boxes as masks
learns to draw boxes, and Dice against them says nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pleura.formats.rle import Form, runs

MANY: Final = 10
"""So many boxes are no masks that happen to be so."""

_KINDS: Final = 4
"""Different runs in a box, or in a few of them. In SIIM-ACR's 3,576 rows there are 8 or more."""

_COLUMNS: Final = 4
"""Columns that a box has at least, so that it can be told."""


def are_boxes(text: str, rows: int, form: Form) -> bool:
    """Return whether a mask is a box, or a few of them, each of some columns.

    Args:
        text: Run lengths.
        rows: Height of its picture.
        form: The form of the text.

    Examples:
        >>> are_boxes("13 5 7 5 7 5 7 5", 12, "relative")
        True
    """
    starts, lengths = runs(text, form=form)
    kinds = len(set(zip((starts % rows).tolist(), lengths.tolist(), strict=True)))
    return 0 < kinds <= _KINDS and starts.size >= _COLUMNS * kinds


def boxes_among(
    masks: Iterable[tuple[str, Sequence[str]]],
    shapes: Mapping[str, tuple[int, int]],
    form: Form = "relative",
) -> int:
    """Return how many of the images with masks have boxes; 0 where they may be so by chance.

    Args:
        masks: Image id and its run-length texts, none where it is negative.
        shapes: Image id -> ``(rows, columns)``; others are passed over.
        form: The form of the texts.
    """
    drawn = [
        all(are_boxes(text, shapes[key][0], form) for text in texts)
        for key, texts in masks
        if texts and key in shapes
    ]
    boxes = sum(drawn)
    return boxes if boxes >= MANY and 2 * boxes > len(drawn) else 0
