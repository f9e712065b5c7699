"""The rows of a job on disk as they come, so that a job that was cut off goes on where it was."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Self, overload

from pleura.errors import OutputError
from pleura.inference.row import Row
from pleura.remote.address import Source, identity_of
from pleura.storage.content import Stamp
from pleura.storage.database import Store, View

NAME = ".predictions.sqlite"


class Rows(Sequence[Row]):
    """Rows in the order of their inputs, each read from disk when it is asked for."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __len__(self) -> int:
        return len(self._view)

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...

    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        return row_of(self._view.text(place))


class JobStore:
    """The rows of a job by the keys of their files; use it in a ``with`` block.

    Whoever opens it holds the folder.

    Args:
        out: The job's folder.
        job: All that a row depends on but the file; a store of another job begins anew.

    Raises:
        OutputError: As for :class:`pleura.storage.database.Store`.
    """

    def __init__(self, out: Path, job: str) -> None:
        self._store = Store(out / NAME, job)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def __len__(self) -> int:
        return len(self._store)

    def __contains__(self, key: str) -> bool:
        return key in self._store

    def get(self, key: str) -> Row:
        """Return the row of a file that has one; raise KeyError where it has none."""
        text = self._store.get(key)
        if text is None:
            raise KeyError(key)
        return row_of(text)

    def items(self) -> Iterator[tuple[str, Row]]:
        """Yield key and row of each file, in the order in which they were answered."""
        for key, text in self._store.items():
            yield key, row_of(text)

    def rows(self, keys: Iterable[str]) -> Rows:
        """Return the rows of files that have one; they outlive the store."""
        return Rows(self._store.view(keys))

    def add(self, key: str, row: Row, *, repeats: bool = False) -> None:
        """Keep a row, in place of an earlier one with this key.

        Args:
            key: What tells the file, and its content, from others.
            row: The row.
            repeats: Whether it says no more than that another file has this one's id, which depends
                on the files that came before it: another time others may.

        Raises:
            OutputError: It could not be written.
        """
        self._store.put(key, text_of(row), passing=repeats)

    def finish(self) -> None:
        """Remove the file: the job is done."""
        self._store.remove()


def text_of(row: Row) -> str:
    """Return a row as JSON, in ASCII."""
    return json.dumps(asdict(row))


def row_of(text: str) -> Row:
    """Return the row of a text that :func:`text_of` gave.

    Raises:
        OutputError: It is the text of none, although its seal is whole.
    """
    try:
        values = json.loads(text)
        if values["areas"] is not None:
            values["areas"] = tuple(values["areas"])
        return Row(**values)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise OutputError(
            f"{NAME}: holds a row that this pleura does not write; remove that file: what it held "
            "is done again"
        ) from error


def key_of(path: Source, stamp: Stamp | None) -> str:
    """Return what tells a file, and its content, from others.

    Args:
        path: The file, or its address.
        stamp: Of its content; None where it cannot be looked at.
    """
    told = f"{identity_of(path)}|{'missing' if stamp is None else tuple(stamp)}"
    return blake2b(os.fsencode(told), digest_size=16).hexdigest()
