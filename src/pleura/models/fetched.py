"""Models at addresses: fetched once, and read by their addresses as long as a command needs them.

The path of such a model is its address without secrets.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from pleura.errors import UsageError
from pleura.remote.address import STORES, Address, scheme_of, url_of, without_secrets
from pleura.remote.objects import Objects, stamp_of
from pleura.storage.elsewhere import path_at

_READ_FROM: Final = (*STORES, "http", "https")
_SECONDS: Final = 600.0
"""A model is larger than a radiograph, and fetched alone."""

_at_hand: dict[str, bytes] = {}


@contextlib.contextmanager
def model_at(url: str) -> Iterator[Path]:
    """Yield the path by which the model at an address is read until the block ends.

    Args:
        url: Of its file; of an .xml the .bin is fetched from beside it.

    Raises:
        AddressError: It could not be had.
        UsageError: It is at an address of a kind that no model is read from.
    """
    shown = path_at(without_secrets(url))
    if scheme_of(url) not in _READ_FROM:
        known = ", ".join(f"{one}://" for one in _READ_FROM)
        raise UsageError(f"{shown}: a model is read from this machine, or from {known}; copy it")
    with Objects(_SECONDS) as objects:
        ours = {without_secrets(one): _fetched(objects, one) for one in _parts(url)}
    before = {name: _at_hand.get(name) for name in ours}
    _at_hand.update(ours)
    try:
        yield shown
    finally:
        for name, content in before.items():
            del _at_hand[name]
            if content is not None:
                _at_hand[name] = content


def content_of(path: str | os.PathLike[str]) -> bytes | None:
    """Return what is in a model's file that was fetched; None of any other path."""
    return _at_hand.get(url_of(os.fspath(path))) if _at_hand else None


def _fetched(objects: Objects, url: str) -> bytes:
    about = objects.about(url) if scheme_of(url) in STORES else None  # which tells how large it is
    return objects.fetch(Address(url), None if about is None else stamp_of(about)).content


def _parts(url: str) -> list[str]:
    if PurePosixPath(Address(url).name).suffix.lower() != ".xml":
        return [url]
    place, mark, query = (url, "", "") if scheme_of(url) in STORES else url.partition("?")
    return [url, f"{place[:-4]}.bin{mark}{query}"]
