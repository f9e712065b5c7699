"""Arrays on disk that are compared with their digests as they are read.

A prepared folder may hold many gigabytes, so it is not read through when it is opened. Its manifest
has a digest for each image of an array, or, in large ones, for each few: a piece. A piece is
compared with its own the first time that an image of it is asked for, and all of them where that is
wanted.
"""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pleura.errors import DataError
from pleura.formats.text_file import open_regular
from pleura.processes.workers import CHUNK
from pleura.storage.seal import digest

DIGESTS = 1 << 16
"""An array has no more digests than this, or than one for `CHUNK` images: a manifest is a text."""


class CheckedArray:
    """An array of images in a file, memory-mapped and read-only; use it as one of numpy.

    Args:
        path: A .npy file, as :func:`header` begins it.
        shape: Of the array; images come first.
        dtype: uint8 or bool.
        digests: One for each :func:`piece_of` images, or, as earlier ones, for each `CHUNK`.

    Raises:
        DataError: The file is not there, or its header or length are not those of such an array.
            Whatever reads an image raises it too where a piece is not what was written.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], digests: Sequence[str]
    ) -> None:
        self._path = path
        self._array = _mapped(path, shape, dtype)
        self._digests = digests
        self._sound = np.zeros(len(digests), np.bool_)
        sizes = (piece_of(shape[0]), CHUNK)
        fits = [size for size in sizes if len(digests) == len(range(0, shape[0], size))]
        if not fits:
            raise DataError(
                f"{path}: has {shape[0]} images and {len(digests)} digests; there is one for every "
                f"{' or '.join(map(str, sizes))} images; prepare the folder again"
            )
        self._piece = fits[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Images, rows, columns."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """What a pixel is."""
        return self._array.dtype

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, images: Any) -> NDArray[Any]:
        """Return some images, by their number, a slice, or an array of numbers."""
        first = images[0] if isinstance(images, tuple) else images
        numbers = np.atleast_1d(np.arange(len(self))[first])
        self._require_sound(np.unique(numbers // self._piece))
        return np.asarray(self._array[images])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        self.check()
        return np.array(self._array, dtype, copy=copy)

    def check(self) -> None:
        """Compare the whole array with its digests.

        Raises:
            DataError: Something in it is not what was written.
        """
        self._sound[:] = False
        self._require_sound(np.arange(len(self._digests)))

    def expect(self, images: Iterable[int]) -> None:
        """Say which images will be asked for, in order: of use where they are elsewhere."""

    def _block(self, piece: int) -> NDArray[Any]:
        return self._array[piece * self._piece : (piece + 1) * self._piece]

    def _require_sound(self, pieces: NDArray[np.int64]) -> None:
        unsound = [int(piece) for piece in pieces if not self._sound[piece]]
        changed = [piece for piece in unsound if not self._is_sound(piece)]
        if changed:
            raise DataError(
                f"{self._path}: {self._rows(changed)} changed since they were prepared; the "
                "disk or a copy may be damaged: prepare the folder again"
            )
        self._sound[unsound] = True

    def _is_sound(self, piece: int) -> bool:
        block = self._block(piece)
        if piece_digest(block) != self._digests[piece]:
            return False
        most = block.view(np.uint8).max(initial=0)
        if block.dtype == np.bool_ and most > 1:
            raise DataError(
                f"{self._path}: a mask holds the value {most}; a mask is 0 or 1: prepare the "
                "folder again"
            )
        return True

    def _rows(self, pieces: Sequence[int]) -> str:
        """Return which rows of the array some pieces are, in words, the first few of them."""
        runs = [
            (first * self._piece, min((last + 1) * self._piece, len(self)) - 1)
            for first, last in _runs(pieces)
        ]
        told = [f"{first} to {last}" if first < last else f"{first}" for first, last in runs]
        more = f" and {len(told) - 3} more ranges" if len(told) > 3 else ""
        return f"row{'s' * (runs[0][0] < runs[-1][1])} {', '.join(told[:3])}{more}"


def piece_of(images: int) -> int:
    """Return how many images of an array of so many have a digest together: 1, 2, 4, 8 or 16."""
    return next(size for size in (1, 2, 4, 8, CHUNK) if size == CHUNK or images <= size * DIGESTS)


def piece_digests(block: NDArray[Any], piece: int) -> list[str]:
    """Return the digest of each `piece` images of ``(n, ...)``, in their order."""
    return [piece_digest(block[start : start + piece]) for start in range(0, len(block), piece)]


def piece_digest(block: NDArray[Any]) -> str:
    """Return the digest of images ``(n, ...)`` of any dtype, in their order."""
    return digest(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)


def header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Return how a .npy file of such an array begins."""
    stream = io.BytesIO()
    about = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(stream, about)
    return stream.getvalue()


def _mapped(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    begin = header(shape, dtype)
    wanted = len(begin) + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    try:
        with open_regular(path, DataError) as file:
            found, size = file.read(len(begin)), os.fstat(file.fileno()).st_size
            if found == begin and size == wanted:
                if size == len(begin):
                    return np.zeros(shape, dtype)  # nothing cannot be mapped
                return np.memmap(file, dtype, "r", len(begin), shape)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be opened ({error}); prepare the folder again") from error
    raise DataError(
        f"{path}: has {size} bytes, or begins otherwise than a {dtype} array of {shape}, which the "
        f"manifest tells of and which takes {wanted}; prepare the folder again"
    )


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of each run of numbers that follow one another."""
    for _, run in groupby(enumerate(numbers), lambda item: item[1] - item[0]):
        found = [number for _, number in run]
        yield found[0], found[-1]
