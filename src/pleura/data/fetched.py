"""Arrays at an address: images are fetched as they are asked for, and kept here as far as allowed.

What is kept lies in a file of the array's whole length, which takes disk space only where something
was written. Nothing tells which images are there: one is where its digest is that of what lies at
its place. So processes share the file, it outlives them, and an empty mask is never fetched. Beyond
the space that is allowed an image is fetched each time. None is thrown out for another: in an order
that is new each epoch none is wanted sooner than others.
"""

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.data.arrays import Prepared, at_hand, open_arrays
from pleura.data.checked import CheckedArray, header, piece_digest
from pleura.data.manifest import INDEX, NAME
from pleura.errors import DataError, OutputError
from pleura.remote.address import Address, without_secrets
from pleura.remote.objects import FETCHED_AHEAD, Objects
from pleura.storage import seal
from pleura.storage.atomic import why_not_written, write_bytes
from pleura.storage.elsewhere import path_at

Fetch = Callable[[int, int], Future[bytes]]
"""Begins to fetch the bytes from one place to another."""


@contextlib.contextmanager
def prepared_at(url: str, work: Path, most_bytes: int = 0) -> Iterator[Prepared]:
    """Yield the prepared folder at an address; images are fetched as they are asked for.

    Until the block ends ``open_prepared`` opens it by its address, too.

    Args:
        url: Of the folder, in a store.
        work: Where is kept what was fetched: in a folder named after the content, which processes
            may share, and which is left there.
        most_bytes: So much of the arrays is kept; 0 for half of what is free there.

    Raises:
        AddressError: It could not be had.
        DataError: As :func:`open_prepared` says.
        OutputError: The folder here could not be written.
    """
    with Objects() as objects:
        files = {
            name: objects.fetch(Address(f"{url.rstrip('/')}/{name}")).content
            for name in (INDEX, NAME)
        }
        kept = work / seal.digest(files[NAME])[:32]
        try:
            kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(why_not_written(kept, error)) from error
        for name, content in files.items():
            write_bytes(kept / name, content)
        most = most_bytes or _taken_by(kept) + shutil.disk_usage(kept).free // 2

        def array(path: Path, *about: Any) -> CheckedArray:
            there = f"{url.rstrip('/')}/{path.name}"
            return FetchedArray(
                path,
                *about,
                shown=without_secrets(there),
                fetch=functools.partial(objects.begin_part, there),
                room=lambda: most - _taken_by(kept),
            )

        with at_hand(open_arrays(kept, path_at(without_secrets(url)), array)) as prepared:
            yield prepared


def _taken_by(folder: Path) -> int:
    """Return how many bytes the arrays of a folder take on the disk, without their holes."""
    return sum(512 * path.stat().st_blocks for path in folder.glob("*.npy"))


class FetchedArray(CheckedArray):
    """An array of images at an address; use it as one of numpy.

    Args:
        path: Where it is kept; it may be there from before.
        shape: Of the array; images come first.
        dtype: uint8 or bool.
        digests: As for :class:`CheckedArray`.
        shown: The address, without secrets.
        fetch: Fetches from there.
        room: Returns how many bytes may be written yet.

    Raises:
        AddressError: What is asked for could not be had.
        DataError: The array at the address is another, or was changed since it was prepared.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        digests: Sequence[str],
        *,
        shown: str,
        fetch: Fetch,
        room: Callable[[], int],
    ) -> None:
        begin = header(shape, dtype)
        if fetch(0, len(begin)).result() != begin:
            raise DataError(
                f"{shown}: is not the {dtype} {shape} that the manifest tells of; copy the "
                "prepared folder there again"
            )
        self._kept, self._shown, self._fetch, self._room = path, shown, fetch, room
        self._each = int(np.prod(shape[1:])) * dtype.itemsize
        self._begins = len(begin)
        _make(path, begin, len(begin) + shape[0] * self._each)
        super().__init__(path, shape, dtype, digests)
        self._begun: dict[int, Future[bytes]] = {}
        self._coming: Iterator[int] = iter(())

    def __getitem__(self, images: Any) -> NDArray[Any]:
        """Return some images, by their number, a slice, or an array of numbers."""
        first, *inside = images if isinstance(images, tuple) else (images,)
        numbers = np.arange(len(self))[first]
        wanted = np.unique(np.atleast_1d(numbers) // self._piece).tolist()
        asked = {piece: self._asked(piece) for piece in wanted if not self._is_here(piece)}
        blocks = {piece: self._arrived(piece, answer) for piece, answer in asked.items()}
        self._go_on()
        if all(self._sound[piece] for piece in blocks):
            return np.asarray(self._array[images])
        found = [
            blocks.get(number // self._piece, self._block(number // self._piece))[
                number % self._piece
            ]
            for number in np.atleast_1d(numbers).tolist()
        ]
        chosen = np.stack(found)[(slice(None), *inside)]
        return chosen if np.ndim(numbers) else np.asarray(chosen[0])

    def expect(self, images: Iterable[int]) -> None:
        """Have images fetched ahead in the order in which they will be asked for."""
        for answer in self._begun.values():
            answer.cancel()
        self._begun.clear()
        self._coming = (number // self._piece for number in images)
        self._go_on()

    def check(self) -> None:
        """Compare the whole array with its digests; what is not here is fetched.

        Raises:
            DataError: Something in it is not what was written.
        """
        self._sound[:] = False
        for start in range(0, len(self), FETCHED_AHEAD):
            self[start : start + FETCHED_AHEAD]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self[:], dtype)

    def _is_here(self, piece: int) -> bool:
        self._sound[piece] = self._sound[piece] or self._is_sound(piece)
        return bool(self._sound[piece])

    def _asked(self, piece: int) -> Future[bytes]:
        known = self._begun.pop(piece, None)
        start = self._begins + piece * self._piece * self._each
        return known or self._fetch(start, start + self._block(piece).nbytes)

    def _arrived(self, piece: int, answer: Future[bytes]) -> NDArray[Any]:
        """Return a piece that was fetched, written into its place as long as there is room."""
        content, place = answer.result(), self._block(piece)
        if len(content) == place.nbytes:
            block = np.frombuffer(content, place.dtype).reshape(place.shape)
            if piece_digest(block) == self._digests[piece]:
                if self._room() >= len(content) and self._wrote(piece, content):
                    self._is_here(piece)
                return block
        raise DataError(
            f"{self._shown}: {self._rows([piece])} changed since they were prepared; copy the "
            "prepared folder there again"
        )

    def _wrote(self, piece: int, content: bytes) -> bool:
        """Write a piece into its place, and return whether that could be done."""
        try:
            descriptor = os.open(self._kept, os.O_WRONLY)
            try:
                start = self._begins + piece * self._piece * self._each
                return os.pwrite(descriptor, content, start) == len(content)
            finally:
                os.close(descriptor)
        except OSError:  # the disk is full, say: it is fetched again where it is wanted again
            return False

    def _go_on(self) -> None:
        """Begin to fetch what comes next, as much as may be on the way."""
        while len(self._begun) < FETCHED_AHEAD:
            piece = next(self._coming, None)
            if piece is None:
                return
            if piece not in self._begun and not self._is_here(piece):
                self._begun[piece] = self._asked(piece)


def _make(path: Path, begin: bytes, length: int) -> None:
    """Make a file with holes, unless it is there; other processes may do the same meanwhile."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, begin, 0)
        os.ftruncate(descriptor, length)
    finally:
        os.close(descriptor)
