"""A picture that says why there is no picture."""

import numpy as np

from pleura.errors import ChangedError, InputError
from pleura.rendering.fonts import open_font
from pleura.rendering.overlay import Colour, Picture

CHANGED = "changed since"
UNREADABLE = "cannot be read any more"

_GROUND: Colour = (60, 56, 52)
_TEXT: Colour = (226, 222, 218)


def why(error: InputError) -> str:
    """Return what a picture says that cannot be shown for an error."""
    return CHANGED if isinstance(error, ChangedError) else UNREADABLE


def notice(text: str, side: int) -> Picture:
    """Return a plain square of `side` pixels with a few words: ``(side, side, 3)`` uint8."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(np.full((side, side, 3), _GROUND, np.uint8))
    font = open_font(max(8, side // 16))
    ImageDraw.Draw(image).text((side / 2, side / 2), text, _TEXT, font, anchor="mm")
    return np.array(image, np.uint8)
