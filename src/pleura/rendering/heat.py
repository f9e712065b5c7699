"""A map of probabilities laid over a radiograph, in colours.

Pictures are ``(rows, columns, 3)`` uint8 in OpenCV's order blue, green, red.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.rendering.fonts import open_font
from pleura.rendering.overlay import TEXT, Picture, as_uint8, check_shape

HEAT_OPACITY = 0.6
"""How much a map of probabilities covers of the radiograph below, where it is strongest."""

_DARKEST = 72


def heat(pixels: NDArray[Any], probability: NDArray[np.float32]) -> Picture:
    """Return a radiograph in grey with a map of probabilities laid over it in colours.

    The colours (:func:`heat_colours`) stand in a bar in the lower right corner. Where the
    probability is 0 the radiograph stays as it is.

    Args:
        pixels: ``(rows, columns)`` uint8 or uint16, 0 black, the dtype's largest value white.
        probability: ``(rows, columns)`` float32 in 0..1.

    Returns:
        ``(rows, columns, 3)`` uint8, blue, green, red.

    Raises:
        UsageError: The map has another shape than the pixels, or these are neither uint8 nor
            uint16.
    """
    check_shape("map", probability, pixels)
    table = heat_colours().astype(np.float32)
    levels = np.rint(np.clip(probability, 0, 1) * 255).astype(np.uint8)
    radiograph = as_uint8(pixels)[:, :, None]
    opacity = (table[:, 3] * np.float32(HEAT_OPACITY / 255))[levels][:, :, None]
    picture = radiograph + opacity * (table[:, :3][levels] - radiograph)
    return _with_bar(np.rint(picture).astype(np.uint8))


def heat_colours() -> NDArray[np.uint8]:
    """Return the colour of each probability: ``(256, 4)`` uint8 blue, green, red, opacity.

    From purple over orange to a pale yellow: the brighter the likelier, for colour-blind eyes and
    in grey print too. The opacity rises with the probability and is full from 1/4 on, so that what
    is hardly likely does not veil the radiograph.

    Source: matplotlib's inferno (S. van der Walt, N. Smith), without its near-black third.
    """
    steps = np.linspace(_DARKEST, 255, 256).round().astype(np.uint8)
    colours = cv2.applyColorMap(steps[:, None], cv2.COLORMAP_INFERNO)[:, 0]
    opacity = np.minimum(4 * np.arange(256), 255).astype(np.uint8)
    return np.concatenate([colours, opacity[:, None]], axis=1)


def _with_bar(picture: Picture) -> Picture:
    """Return the picture with the colours of probabilities as a bar in its lower right corner."""
    from PIL import Image, ImageDraw

    rows, columns = picture.shape[:2]
    text = max(7, round(min(rows, columns) / 48))
    width, height = 9 * text, max(2, text // 2)
    right, bottom = columns - 2 * text, rows - 2 * text
    left, top = right - width, bottom - height
    if left < text or top < 3 * text:
        return picture  # too small for a bar that can be read
    ground = picture[top - 2 * text : bottom + text, left - text : right + text]
    ground //= 4
    steps = np.linspace(0, 255, width).round().astype(np.intp)
    picture[top:bottom, left:right] = heat_colours()[steps, :3]
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    font = open_font(text)
    for at, label in ((0.0, "0"), (0.5, "0.5"), (1.0, "1")):
        draw.text((left + at * width, top - text // 3), label, TEXT, font, anchor="ms")
    return np.array(image, np.uint8)
