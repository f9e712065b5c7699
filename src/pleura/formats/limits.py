"""How large a picture may be that pleura reads."""

from typing import Final

MAX_SIDE_PX: Final = 16_384
MAX_PIXELS: Final = 100_000_000
