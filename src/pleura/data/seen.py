"""Prepared pixels of radiographs in a store, kept from the pass that makes the index.

The arrays are made of the same pixels a moment later, and to fetch and decode each radiograph again
would take as long as before.
"""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.data.prepare import prepare_pixels


@dataclass(frozen=True, slots=True)
class Seen:
    """A folder of prepared pixels, each under the hash of the pixels that they were made of.

    Attributes:
        folder: The folder.
        size: Side length of the prepared square.
    """

    folder: Path
    size: int

    def keep(self, pixels: NDArray[Any], pixel_hash: str, aspect: float) -> None:
        """Keep ``(rows, columns)`` pixels, prepared; the other arguments are those of `path`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        prepared = prepare_pixels(pixels, self.size, aspect)
        self._place(pixel_hash, aspect).write_bytes(prepared.data)

    def path(self, pixel_hash: str, aspect: float) -> Path | None:
        """Return the file of prepared pixels; None where they were not kept, or not to the end.

        Args:
            pixel_hash: As :func:`pleura.data.scan.pixel_hash` gives it.
            aspect: Height of a pixel divided by its width.
        """
        place = self._place(pixel_hash, aspect)
        with contextlib.suppress(OSError):
            if place.stat().st_size == self.size**2:
                return place
        return None

    def _place(self, pixel_hash: str, aspect: float) -> Path:
        return self.folder / f"{pixel_hash}-{aspect!r}.{self.size}"


@contextlib.contextmanager
def seen_pixels(out: Path, size: int) -> Iterator[Seen]:
    """Yield where pixels are kept beside the arrays in `out`; they are removed at the end."""
    seen = Seen(out / ".prepare.seen", size)
    try:
        yield seen
    finally:
        shutil.rmtree(seen.folder, ignore_errors=True)


def read_seen(path: str, size: int) -> NDArray[np.uint8]:
    """Return the prepared pixels in a file that :meth:`Seen.path` named: ``(size, size)`` uint8."""
    return np.fromfile(path, np.uint8).reshape(size, size)
