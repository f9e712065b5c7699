"""Many answers without keeping them in memory, and the line on disk that each is."""

import json
import os
import weakref
from array import array
from collections.abc import Sequence
from typing import overload

from pleura.inference.answer import Answer

_PIECE_BYTES = 4096


class Answers(Sequence[Answer]):
    """Answers in the order of their inputs, each read from disk when it is asked for.

    Args:
        descriptor: An open file of records, which may have no name any more; it is closed with
            this object.
        offsets: Where each record begins.
    """

    def __init__(self, descriptor: int, offsets: "array[int]") -> None:
        self._descriptor = descriptor
        self._offsets = offsets
        weakref.finalize(self, os.close, descriptor)

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, place: int) -> Answer: ...

    @overload
    def __getitem__(self, place: slice) -> list[Answer]: ...

    def __getitem__(self, place: int | slice) -> Answer | list[Answer]:
        if isinstance(place, slice):
            return [self._at(offset) for offset in self._offsets[place]]
        return self._at(self._offsets[place])

    def _at(self, offset: int) -> Answer:
        return read_record(self._descriptor, offset)


def record(key: str, answer: Answer, *, repeats: bool = False) -> bytes:
    """Return the line that keeps an answer.

    Args:
        key: What tells the file, and its content, from others.
        answer: The answer.
        repeats: Whether it says no more than that another file has this one's id, which depends on
            the files that came before it.
    """
    return json.dumps([key, answer.as_json(), repeats]).encode() + b"\n"


def parse_record(line: bytes) -> tuple[str, Answer, bool]:
    """Return key, answer and `repeats` of a line; raise ValueError where it is no record."""
    try:
        key, values, repeats = json.loads(line)
        return str(key), Answer(**values), bool(repeats)
    except (TypeError, LookupError) as error:
        raise ValueError("no record") from error


def read_record(descriptor: int, offset: int) -> Answer:
    """Return the answer whose line begins at `offset` of an open file."""
    pieces: list[bytes] = []
    while True:
        piece = os.pread(descriptor, _PIECE_BYTES, offset)
        line, end, _ = piece.partition(b"\n")
        pieces.append(line)
        if end or not piece:
            return parse_record(b"".join(pieces))[1]
        offset += len(piece)
