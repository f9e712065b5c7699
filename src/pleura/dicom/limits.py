"""How large a picture may be that pleura reads."""

from typing import Final

MAX_SIDE_PX: Final = 16_384
MAX_PIXELS: Final = 100_000_000

GREATEST_ASPECT = 10.0
"""Height of a pixel divided by its width, or the inverse; no radiograph's pixels are that long."""
