"""A radiograph that is read again: only if it still shows what was answered, measured or indexed.

A path may stand for another patient's file a moment later. Whoever draws under an old answer asks
for the picture that the answer is about.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pleura.data.prepare import prepare_pixels
from pleura.data.radiographs import AnyRadiograph, open_any_radiograph, read_any_radiograph
from pleura.data.scan import pixel_hash
from pleura.errors import ChangedError
from pleura.processes.guarded import guarded
from pleura.processes.isolation import Reply
from pleura.storage.elsewhere import path_at


class Shown(NamedTuple):
    """A radiograph as a network, or somebody who looks at small pictures, sees it.

    Attributes:
        pixels: ``(size, size)`` uint8, prepared.
        shape: ``(rows, columns)`` of the file.
        aspect: Height of one of its pixels divided by its width.
    """

    pixels: NDArray[np.uint8]
    shape: tuple[int, int]
    aspect: float


def read_unchanged(path: str | Path, expected: str) -> AnyRadiograph:
    """Return the radiograph in a file whose pixels have the hash that they had before.

    Args:
        path: The file.
        expected: What :func:`pleura.data.scan.pixel_hash` gave then; empty where nobody looked.

    Raises:
        ChangedError: It shows something else.
        InputError: It cannot be read any more.
    """
    radiograph = read_any_radiograph(path_at(path))
    if expected and pixel_hash(radiograph.pixels) != expected:
        raise ChangedError(f"{path}: shows another picture than the one that was read before")
    return radiograph


def read_shown(path: str | Path, size: int, *, pixels: str = "", content: str = "") -> Shown:
    """Return the radiograph in a file, prepared; it is read in a process that may be killed.

    Args:
        path: The file.
        size: Side of the prepared square.
        pixels: The hash that its pixels had before, as for :func:`read_unchanged`; or
        content: the fingerprint that its bytes had. Both empty where nobody looked.

    Raises:
        ChangedError: It shows something else.
        LimitError: It took too much, or killed the process that read it.
        InputError: It cannot be read any more.
    """
    reply = guarded(
        partial(_shown, size=size, pixels=pixels, content=content), path_at(path), str(path)
    )
    found = reply.fields
    return Shown(
        np.frombuffer(reply.blob, np.uint8).reshape(size, size),
        (int(found["rows"]), int(found["columns"])),
        float(found["aspect"]),
    )


def _shown(path: Path, *, size: int, pixels: str, content: str) -> Reply:
    if content:
        radiograph = open_any_radiograph(path, content).radiograph
        plane, aspect = radiograph.pixels, radiograph.header.geometry.aspect
    else:
        plain = read_unchanged(path, pixels)
        plane, aspect = plain.pixels, plain.aspect
    rows, columns = plane.shape
    prepared = prepare_pixels(plane, size, aspect)
    return Reply({"rows": rows, "columns": columns, "aspect": aspect}, prepared.tobytes())
