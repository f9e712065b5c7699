"""Pictures that say they are to be turned before they are shown.

Viewers turn them, and programs that draw masks differ in it. So which pixel a mask means is not
known, as in a NIfTI file whose axes are turned.

Source: CIPA DC-008 (Exif) 4.6.5, tag 274, which TIFF has too.
"""

import io
import struct
import warnings
from typing import Final

from PIL import ExifTags, Image

RULE: Final = (
    "says that it is to be turned before it is shown (orientation {}), which programs do or leave; "
    "save it as it is shown, without that tag"
)
"""Why such a picture is refused; with the number of its orientation."""

_TURNED: Final = range(2, 9)
_WRONG: Final = (LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error)
"""What damaged tags provoke. It is passed over, for the pixels are whole without them."""


def orientation_of(picture: Image.Image) -> int:
    """Return the orientation of a picture if it is to be turned, 2 to 8, else 0.

    Args:
        picture: As it was opened; where its format has the tag behind the pixels, they are loaded.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            found = picture.getexif().get(ExifTags.Base.Orientation)
    except _WRONG:
        return 0
    return found if isinstance(found, int) and found in _TURNED else 0


def orientation_in(content: bytes, kind: str) -> int:
    """Return the same of the bytes of a file.

    Args:
        content: The file.
        kind: Its format, as Pillow names it.
    """
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(content), formats=(kind,)) as picture,
        ):
            return orientation_of(picture)
    except _WRONG:
        return 0
