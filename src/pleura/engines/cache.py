"""Converted networks, kept in the user's cache folder, so that torch is needed once a model.

An entry's name is made of all that its content depends on, so none is ever out of date; the folder
may be emptied at any time. Above :data:`MOST_BYTES` what was not used for longest is removed. An
entry begins with the SHA-256 of the rest: one that is damaged is made again.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from pleura.errors import OutputError
from pleura.models.bundle import Bundle, Exported, version_of
from pleura.models.weights import digest
from pleura.storage.atomic import write_bytes
from pleura.storage.own_file import cache_folder, require_own_file

MOST_BYTES = 2 * 2**30
"""What the folder may hold once a network is added to it; the newest stays, however large."""

_DIGEST = hashlib.sha256().digest_size
_LENGTH = 8


class Converted(NamedTuple):
    """A graph, and what there is to say of how it was come by.

    Attributes:
        exported: The graph.
        notes: That it could not be kept, where it could not.
    """

    exported: Exported
    notes: tuple[str, ...] = ()


def folder() -> Path:
    """Return the folder of converted networks: ``pleura/engines`` in the user's cache folder."""
    return cache_folder("engines")


def converted(bundle: Bundle, package: str, convert: Callable[[Bundle], Exported]) -> Converted:
    """Return a bundle's graph: its own where it is exported, else ``convert(bundle)``, kept.

    A cache that cannot be written is told in a note, and not needed.

    Args:
        bundle: A model.
        package: The package whose version the result depends on.
        convert: What makes the graph.
    """
    if bundle.exported is not None:
        return Converted(bundle.exported)
    name = f"{_key(bundle, package)}.{package}"
    try:
        require_own_file(folder() / name)
        found = _read(folder() / name)
    except (
        OSError,
        OutputError,
        RuntimeError,
    ):  # RuntimeError: nobody knows where this user's home is
        found = None
    if found is not None:
        with suppress(OSError):  # of another user, or read-only: then it is not ours to remove
            os.utime(folder() / name)
        return Converted(found)
    made = convert(bundle)
    head = json.dumps([made.kind, made.precision, made.model_digest, len(made.graph)]).encode()
    content = len(head).to_bytes(_LENGTH, "big") + head + made.graph + made.weights
    try:
        write_bytes(folder() / name, hashlib.sha256(content).digest() + content)
    except (OutputError, RuntimeError) as error:
        note = (
            f"the converted network is not kept, and every start converts it again ({error}); set "
            "XDG_CACHE_HOME to a folder that can be written"
        )
        return Converted(made, (note,))
    _make_room(folder() / name)
    return Converted(made)


def is_kept(bundle: Bundle, package: str) -> bool:
    """Return whether :func:`converted` has nothing to convert."""
    try:
        return (
            bundle.exported is not None
            or (folder() / f"{_key(bundle, package)}.{package}").exists()
        )
    except (OSError, RuntimeError):  # as above
        return False


def _make_room(newest: Path) -> None:
    """Remove the entries that were not used for longest until the others are small enough."""
    with suppress(OSError):  # another process removes them too
        found = {path: path.stat() for path in newest.parent.iterdir() if path.is_file()}
        total = 0
        for path in sorted(found, key=lambda path: (path != newest, -found[path].st_mtime_ns)):
            total += found[path].st_size
            if total > MOST_BYTES and path != newest:
                path.unlink(missing_ok=True)


def _key(bundle: Bundle, package: str) -> str:
    """Return a digest of network, weights, preprocessing and the versions that convert them."""
    names = ("pleura", package)
    facts = json.dumps(
        [
            asdict(bundle.network),
            asdict(bundle.preprocessing),
            digest(bundle.weights),
            [version_of(name) for name in names],
        ]
    )
    return hashlib.sha256(facts.encode()).hexdigest()


def _read(path: Path) -> Exported | None:
    """Return the entry at `path`, or None where it is not whole.

    Raises:
        OSError: There is none.
    """
    content = memoryview(path.read_bytes())
    found, rest = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(rest).digest() != found:
        return None
    begin = _LENGTH + int.from_bytes(rest[:_LENGTH], "big")
    kind, precision, model_digest, length = json.loads(bytes(rest[_LENGTH:begin]))
    graph, weights = rest[begin : begin + length], rest[begin + length :]
    return Exported(kind, bytes(graph), bytes(weights), precision, model_digest)
