"""An HDF5 file of plain arrays and one text, which pleura reads without HDF5.

::

    HDF5                  /about           a JSON text, of fixed length
                          /GROUP/NAME      an array, as one plain block of numbers
    table of contents     a sealed table, see pleura.storage.seal: kind and format of the file, the
                          digest of all before it, and where each array lies
    20 digits, " pleura"  and a line feed: how long the table is

Any program that reads HDF5 opens it, because HDF5 ignores what stands behind its own end. pleura
takes the arrays from where its table says they lie. HDF5's library follows what a file says, and
one flipped bit can keep it busy for ever; it also takes locks, which network drives refuse.
"""

import io
import json
import math
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from pleura.config import Count, parse
from pleura.errors import BundleError, ConfigError, SealError
from pleura.models.fetched import content_of
from pleura.models.foreign import HDF5, HEAD_BYTES, what_begins, what_is
from pleura.models.weights import Arrays
from pleura.storage import seal
from pleura.storage.atomic import atomic_path

Kind = Literal["model", "checkpoint", "fold"]

_KINDS: Mapping[str, str] = {
    "model": "a model.h5",
    "checkpoint": "the checkpoint of a training",
    "fold": "the out-of-fold predictions",
}
_TYPES = Literal["|b1", "|i1", "|u1", "<i2", "<u2", "<f2", "<i4", "<u4", "<f4", "<i8", "<u8", "<f8"]
_END = re.compile(rb"(\d{20}) pleura\n")
_END_BYTES = 28
_ALIGNED = 64
_HDF5_END = slice(40, 48)  # of version 0, in its first block: where HDF5's own part ends

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Columns = dict[str, list[Finite | None]]
"""A history as JSON holds it: None is what was not measured."""


@dataclass(frozen=True, slots=True)
class _Table:
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    kind: str
    format: int
    pleura: str
    content: Digest
    about: tuple[Count, Count]
    arrays: dict[str, tuple[_TYPES, list[Count], Count]]


@dataclass(frozen=True, slots=True)
class Contents:
    """What such a file holds.

    Attributes:
        about: The text's table.
        groups: Of each group the arrays by name; they cannot be written to.
    """

    about: dict[str, Any]
    groups: Mapping[str, Arrays]

    def group(self, name: str) -> Arrays:
        """Return the arrays of a group; none where nothing was written into it."""
        return self.groups.get(name, {})


def write_sealed(
    path: str | os.PathLike[str],
    kind: Kind,
    version: tuple[int, str],
    about: Mapping[str, Any],
    groups: Mapping[str, Mapping[str, NDArray[np.generic]]],
) -> None:
    """Write a text and arrays to `path`, whole or not at all.

    Args:
        path: The file.
        kind: What it is.
        version: The format of its text and groups, and the version of pleura.
        about: The text's table, plain values.
        groups: Group -> name -> array of numbers or bool, of any shape.

    Raises:
        OutputError: The file could not be written.
        ValueError: A number of `about` is not finite, or an array is not one of numbers.
    """
    text = json.dumps(about, allow_nan=False).encode()
    whole = io.BytesIO()
    places = _write_hdf5(whole, version, text, groups)
    table = seal.sealed(
        {
            "kind": kind,
            "format": version[0],
            "pleura": version[1],
            "content": seal.digest(whole.getbuffer()),
            **places,
        }
    )
    whole.seek(0, io.SEEK_END)
    whole.write(table.encode() + b"%020d pleura\n" % len(table))
    with atomic_path(path) as partial:
        partial.write_bytes(whole.getbuffer())


def read_sealed(
    path: str | os.PathLike[str],
    kind: Kind,
    form: int,
    most_bytes: int,
    missing: str = "there is no such file",
) -> Contents:
    """Return the content of a file that :func:`write_sealed` wrote.

    Args:
        path: The file.
        kind: What it must be.
        form: The only format that is read.
        most_bytes: What it may have; a larger one is not read.
        missing: What to say where there is none.

    Raises:
        BundleError: It is missing, cut off, changed since it was written, of another kind or
            format, or something else; the message does not name it.
    """
    content = read_bytes(path, most_bytes, missing)
    end = _END.fullmatch(content[-_END_BYTES:])
    if end is None:
        raise BundleError(_without_seal(content, Path(path), kind))
    length = min(int(end[1]), len(content) - _END_BYTES, seal.MOST_CHARACTERS + 1)
    start = len(content) - _END_BYTES - length
    try:
        found = seal.unsealed(content[start:-_END_BYTES].decode(errors="replace"))
    except SealError as error:
        raise BundleError(f"its table of contents {error}; get the file again") from error
    _check_kind(found, kind, form)
    try:
        table = parse(_Table, found, "its table of contents")
    except ConfigError as error:
        raise BundleError(f"damaged: {str(error)[:300]}") from error
    body = memoryview(content)[:start]
    if seal.digest(body) != table.content:
        raise BundleError(
            "does not match its digest; it was damaged or edited since pleura wrote it, get it "
            "again"
        )
    return _contents(body, table)


def read_bytes(path: str | os.PathLike[str], most_bytes: int, missing: str) -> bytes:
    """Return the content of a regular file, of which the size is bounded before it is read.

    A file at an address is one that was fetched (:func:`pleura.models.fetched.model_at`).

    Raises:
        BundleError: It is missing, no regular file, too large or cannot be read.
    """
    fetched = content_of(path)
    if fetched is not None:
        return fetched
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
        if not stat.S_ISREG(mode):  # a pipe would be waited for
            raise BundleError(f"is {what_is(path)}; name a file")
        with open(path, "rb") as file:  # noqa: PTH123
            size = os.fstat(file.fileno()).st_size
            if size > most_bytes:
                raise BundleError(
                    f"has {size} bytes; no such file of pleura has more than {most_bytes}"
                )
            return file.read(size)
    except FileNotFoundError as error:
        raise BundleError(missing) from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        why = getattr(error, "strerror", None) or error
        raise BundleError(f"cannot be read ({why})") from error
    except MemoryError as error:
        raise BundleError(f"has {size} bytes, for which there is not enough memory") from error


def as_columns(history: Mapping[str, Sequence[float]]) -> Columns:
    """Return a history of numbers, NaN among them, as JSON can hold it."""
    return {
        name: [value if math.isfinite(value) else None for value in column]
        for name, column in history.items()
    }


def as_history(columns: Columns) -> dict[str, list[float]]:
    """Return what :func:`as_columns` was given."""
    return {
        name: [math.nan if value is None else value for value in column]
        for name, column in columns.items()
    }


def _write_hdf5(
    whole: io.BytesIO,
    version: tuple[int, str],
    text: bytes,
    groups: Mapping[str, Mapping[str, NDArray[np.generic]]],
) -> dict[str, Any]:
    """Write all that HDF5 shows, and return where text and arrays lie.

    It is made in memory, because HDF5's library crashes the process where a disk is full.
    """
    import h5py

    arrays: dict[str, Any] = {}
    how = {"alignment_threshold": 1, "alignment_interval": _ALIGNED}
    with h5py.File(whole, "w", **how) as file:
        file.attrs["pleura_format"] = version[0]
        file.attrs["pleura_version"] = np.bytes_(version[1])
        said = file.create_dataset("about", data=np.bytes_(text), track_times=False)
        for group, named in groups.items():
            folder = file.create_group(group)
            for name, array in named.items():
                stored = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                made = folder.create_dataset(
                    name, data=stored.reshape(array.shape), track_times=False
                )
                place = made.id.get_offset() or 0  # None: it holds nothing
                arrays[f"{group}/{name}"] = [stored.dtype.str, list(array.shape), place]
        return {"about": [said.id.get_offset(), len(text)], "arrays": arrays}


def _check_kind(table: Mapping[str, Any], kind: Kind, form: int) -> None:
    found = str(table.get("kind"))[:40]
    if found != kind:
        raise BundleError(
            f"is {_KINDS.get(found, f'a file of pleura of the kind {found!r}')}, not {_KINDS[kind]}"
        )
    if table.get("format") != form:
        raise BundleError(
            f"has format {str(table.get('format'))[:20]}, written by pleura "
            f"{str(table.get('pleura'))[:20]}; this pleura reads format {form}: install that "
            "version, or make the file again with this one"
        )


def _contents(body: memoryview, table: _Table) -> Contents:
    """Return text and arrays, each of which must lie within `body`, beside the others."""
    left = len(body)
    groups: dict[str, Arrays] = {}
    for name, (kind, shape, place) in table.arrays.items():
        wanted = np.dtype(kind)
        size = math.prod(shape) * wanted.itemsize
        left -= size
        longest = max(shape, default=0)  # of an array that holds nothing too
        if place + size > len(body) or left < 0 or len(shape) > 32 or longest > len(body):
            raise BundleError(f"damaged: {name[:80]} lies outside the file or over another array")
        flat = np.frombuffer(body[place : place + size], wanted)
        group, _, own = name.partition("/")
        groups.setdefault(group, {})[own] = np.require(
            flat.reshape(shape) if kind != "|b1" else flat.view(np.uint8).reshape(shape) != 0,
            requirements=["ALIGNED"],
        )
    start, length = table.about
    try:
        about = seal.strict_json(bytes(body[start : start + length]).decode())
    except ValueError as error:
        raise BundleError(f"damaged: its text is not JSON as pleura writes it ({error})") from error
    return Contents(about, groups)


def _without_seal(content: bytes, path: Path, kind: Kind) -> str:
    """Return what a file is that does not end as pleura ends its files."""
    head = content[:HEAD_BYTES]
    if content.startswith(HDF5):
        end = int.from_bytes(content[_HDF5_END], "little")
        if len(content) < max(end, _HDF5_END.stop):
            return f"is cut off after {len(content)} bytes; get it again"
        if b"pleura_format" in head:
            return (
                "has no seal at its end: it is cut off, or another program changed it, or a pleura "
                "before its first release wrote it; get it again, or make it again"
            )
    return f"is {what_begins(head, path.name)}, not {_KINDS[kind]} of pleura"
