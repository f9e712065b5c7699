"""The pictures on the page of an audit: small, and made where strangers' files are opened.

This module imports little, because the processes that open them do.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.data.unchanged import read_unchanged
from pleura.errors import ChangedError, InputError
from pleura.formats.rle import EMPTY, rle2mask
from pleura.processes.isolation import next_file
from pleura.rendering.notice import notice, why

SIDE = 512
"""Longer side of a picture on the page, in pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Thumb:
    """One picture of the page, made by :func:`thumb`.

    Attributes:
        picture: ``(rows, columns)`` uint8 grey, 0 black.
        outline: The mask's contours, outer ones and those of its holes, to be filled by the
            even-odd rule; each ``(n, 2)`` int, x and y of pixels of `picture`. Empty for no mask.
    """

    picture: NDArray[np.uint8]
    outline: tuple[NDArray[np.int32], ...] = ()

    def packed(self) -> dict[str, Any]:
        """Return it as values that JSON can hold."""
        return {
            "shape": self.picture.shape,
            "picture": base64.b64encode(self.picture.tobytes()).decode(),
            "outline": [contour.tolist() for contour in self.outline],
        }

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any]) -> "Thumb":
        """Return what :meth:`packed` packed."""
        picture = np.frombuffer(base64.b64decode(packed["picture"]), np.uint8)
        outline = (np.array(contour, np.int32).reshape(-1, 2) for contour in packed["outline"])
        return cls(picture.reshape(packed["shape"]), tuple(outline))


def thumb(pixels: NDArray[Any], mask: NDArray[np.bool_] | None, side: int = SIDE) -> Thumb:
    """Return a radiograph as the page shows it, shrunk to fit a square.

    Args:
        pixels: ``(rows, columns)`` uint8 or uint16, 0 black, the dtype's largest value white.
        mask: ``(rows, columns)`` bool, or None. However small, it keeps a pixel.
        side: Longest side in pixels; a smaller picture stays as it is.
    """
    scale = min(1.0, side / max(pixels.shape))
    rows, columns = (max(1, round(length * scale)) for length in pixels.shape)
    picture = _shrink(pixels, rows, columns)
    if picture.dtype == np.uint16:
        picture = (picture.astype(np.uint32) + 128) // 257
    outline: tuple[NDArray[np.int32], ...] = ()
    if mask is not None and mask.any():
        plane = _shrink(np.ascontiguousarray(mask).view(np.uint8) * np.uint8(255), rows, columns)
        inside = plane >= max(1, min(128, int(plane.max())))
        contours, _ = cv2.findContours(
            inside.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
        )
        outline = tuple(np.asarray(contour, np.int32).reshape(-1, 2) for contour in contours)
    return Thumb(np.ascontiguousarray(picture, np.uint8), outline)


class ToShow(NamedTuple):
    """A file to be shown, with its mask as run-length text."""

    path: str
    encoded_pixels: str | None
    pixel_hash: str


def read_thumbs(radiographs: Sequence[ToShow]) -> list[dict[str, Any] | None]:
    """Return the packed picture of each; None where its file cannot be read any more."""
    return [None if thumb is None else thumb.packed() for thumb in map(read_thumb, radiographs)]


def read_thumb(radiograph: ToShow) -> Thumb | None:
    """Return the picture of a radiograph; None where its file cannot be read any more."""
    try:
        opened = read_unchanged(radiograph.path, radiograph.pixel_hash)
    except ChangedError as error:
        return thumb(notice(why(error), SIDE)[:, :, 0], None)
    except InputError:  # read before, gone since: the page does without
        return None
    finally:
        next_file()
    pixels, mask = opened.squared(rle2mask(radiograph.encoded_pixels or EMPTY, opened.pixels.shape))
    return thumb(pixels, mask)


def _shrink(plane: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    if plane.shape == (rows, columns):
        return plane
    shrunk = cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, plane.dtype)
