"""Notes: what is wrong with a file that was read nonetheless."""

from dataclasses import dataclass
from typing import Literal

NoteKind = Literal[
    "bytes-ignored",
    "wrong-syntax",
    "loose-structure",
    "id-elsewhere",
    "number-form",
    "unreadable-value",
    "table-label",
    "window-of-other-values",
    "geometry-contradicts",
    "plain-picture",
]
"""What a note is about; the finding of an audit has the same name."""


@dataclass(frozen=True, slots=True)
class Note:
    """What the reader put up with, or left out.

    Attributes:
        kind: By which notes are counted.
        text: What was found and what was done about it, in words that need no path.
    """

    kind: NoteKind
    text: str
