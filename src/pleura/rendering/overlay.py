"""A radiograph with its mask laid over.

Pictures are ``(rows, columns, 3)`` uint8 in OpenCV's order blue, green, red.
"""

import os
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.errors import OutputError, UsageError
from pleura.formats.plain_picture import signed_png
from pleura.storage.atomic import write_bytes

Picture = NDArray[np.uint8]
"""``(rows, columns, 3)``, blue, green, red."""

Colour = tuple[int, int, int]

MASK_COLOUR: Colour = (28, 153, 255)
"""Amber (blue, green, red): what is predicted or annotated."""

TEXT: Colour = (226, 222, 218)
"""The letters on a picture."""

TRUTH_COLOUR: Colour = (236, 206, 56)
"""Cyan: the truth beside a prediction. The two stay apart for colour-blind eyes."""

_TINT = 0.24
_PIXELS_PER_LINE = 420


def overlay(
    pixels: NDArray[Any], mask: NDArray[np.bool_], *, truth: NDArray[np.bool_] | None = None
) -> Picture:
    """Return a radiograph in grey with a mask laid over it: a faint tint and a crisp contour.

    Args:
        pixels: ``(rows, columns)`` uint8 or uint16, 0 black, the dtype's largest value white.
        mask: ``(rows, columns)`` bool; where it is empty the picture stays plain grey.
        truth: ``(rows, columns)`` bool, drawn as a contour of a second colour over the first.

    Returns:
        ``(rows, columns, 3)`` uint8, blue, green, red. Contours lie on the outermost pixels of the
        masks and grow with the picture: 1 pixel wide up to about 600 pixels, 2 at 1024.

    Raises:
        UsageError: A mask has another shape than the pixels, or these are neither uint8 nor uint16.
    """
    for name, other in (("mask", mask), ("truth", truth)):
        if other is not None:
            check_shape(name, other, pixels)
    picture = np.repeat(as_uint8(pixels)[:, :, None], 3, axis=2)
    mask = np.asarray(mask, dtype=bool)
    tinted = (1 - _TINT) * picture[mask] + _TINT * np.array(MASK_COLOUR)
    picture[mask] = np.rint(tinted).astype(np.uint8)
    _draw_contour(picture, mask, MASK_COLOUR)
    if truth is not None:
        _draw_contour(picture, truth, TRUTH_COLOUR)
    return picture


def as_uint8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pixels of any shape, uint8 or uint16, as uint8; the largest value stays white.

    Raises:
        UsageError: They are neither.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype != np.uint16:
        raise UsageError(f"pixels are {pixels.dtype}; uint8 and uint16 can be drawn")
    return np.asarray((pixels.astype(np.uint32) + 128) // 257, np.uint8)


def check_shape(name: str, other: NDArray[Any], pixels: NDArray[Any]) -> None:
    """Raise UsageError where a mask or map, called `name`, has not the shape of the pixels."""
    if other.shape != pixels.shape:
        raise UsageError(
            f"the {name} is {other.shape} but the radiograph {pixels.shape}; bring them to one "
            "size first"
        )


def _draw_contour(picture: Picture, mask: NDArray[np.bool_], colour: Colour) -> None:
    plane = np.ascontiguousarray(mask, dtype=np.uint8)
    outlines, _ = cv2.findContours(plane, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    width = max(1, round(min(mask.shape) / _PIXELS_PER_LINE))
    cv2.drawContours(picture, outlines, -1, colour, width, cv2.LINE_AA)


def shrink(pixels: NDArray[Any], side: int) -> NDArray[np.uint8]:
    """Return a radiograph as 8-bit grey that fits a square; a smaller one keeps its size.

    Args:
        pixels: ``(rows, columns)`` uint8 or uint16, 0 black, the dtype's largest value white.
        side: Side of the square, in pixels.

    Raises:
        UsageError: The pixels are neither uint8 nor uint16.
    """
    grey = as_uint8(pixels)
    scale = side / max(grey.shape)
    if scale >= 1:
        return grey
    rows, columns = (max(1, round(length * scale)) for length in grey.shape)
    return resize(grey, rows, columns)


def write_png(path: str | os.PathLike[str], image: NDArray[np.uint8]) -> None:
    """Write a picture as PNG that names pleura as its maker, whole or not at all.

    Args:
        path: The file; its folders are made.
        image: ``(rows, columns, 3)`` uint8 blue, green, red, or ``(rows, columns)`` grey.

    Raises:
        OutputError: The file could not be written.
    """
    done, content = cv2.imencode(".png", image)
    if not done:
        raise OutputError(f"{path}: a picture of shape {image.shape} could not be made a PNG")
    write_bytes(path, signed_png(content.tobytes()))


def resize(pixels: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Return a picture, ``(rows, columns)`` or with colours, at another size.

    Where it shrinks, a pixel is the mean of those it covers; else they are interpolated linearly.
    """
    shrinks = rows < pixels.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (columns, rows), interpolation=how), np.uint8)
