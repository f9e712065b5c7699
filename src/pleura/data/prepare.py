"""From a radiograph to the pixels a network sees, and from a network's map back to the file.

The one rule, used alike in training, prediction and export: the picture is centred on a black
square of its longer side (nothing for a square film), and that square is brought to `size` x `size`
by area averaging where it shrinks and by linear interpolation where it grows. A mask takes the same
way as a picture of 0 and 255 and is set where the result is at least 128. A map of probabilities
takes the way back with linear interpolation.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

PREPARATION = "letterbox-area-1"
"""Name and version of the rule above; a bundle carries it, and another one is refused."""


@dataclass(frozen=True, slots=True)
class Frame:
    """How a file's pixels lie in the prepared square.

    Attributes:
        rows: Height of the file's pixels.
        columns: Width of the file's pixels.
        size: Side length of the prepared square.
    """

    rows: int
    columns: int
    size: int

    @property
    def side(self) -> int:
        """Side length, in the file's pixels, of the square before it is resized."""
        return max(self.rows, self.columns)

    @property
    def top(self) -> int:
        """Rows of black above the picture in that square."""
        return (self.side - self.rows) // 2

    @property
    def left(self) -> int:
        """Columns of black left of the picture in that square."""
        return (self.side - self.columns) // 2


def prepare_pixels(pixels: NDArray[Any], size: int) -> NDArray[np.uint8]:
    """Return a radiograph's pixels as the network sees them.

    Args:
        pixels: ``(rows, columns)``, uint8 or uint16, 0 black, as in
            :class:`pleura.formats.dicom.Radiograph`.
        size: Side length of the result in pixels.

    Returns:
        ``(size, size)`` uint8, 0 black to 255 white. Of uint16 the upper byte is kept, after
        resizing and rounded.
    """
    resized = _resize(_square(pixels), size)
    if resized.dtype != np.uint8:
        resized = np.minimum((resized.astype(np.uint32) + 128) // 257, 255)
    return resized.astype(np.uint8, copy=False)


def prepare_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Return a file's mask in the prepared square.

    Args:
        mask: ``(rows, columns)`` bool at the file's own size.
        size: Side length of the result in pixels.

    Returns:
        ``(size, size)`` bool.
    """
    picture = np.ascontiguousarray(mask).view(np.uint8) * np.uint8(255)
    return prepare_pixels(picture, size) >= 128


def restore(probability: NDArray[np.float32], frame: Frame) -> NDArray[np.float32]:
    """Return a map over the prepared square as a map over the file's own pixels.

    Args:
        probability: ``(frame.size, frame.size)`` float32 in 0..1.
        frame: Where the file's pixels lie in the square.

    Returns:
        ``(frame.rows, frame.columns)`` float32 in 0..1.
    """
    whole = cv2.resize(probability, (frame.side, frame.side), interpolation=cv2.INTER_LINEAR)
    rows = slice(frame.top, frame.top + frame.rows)
    columns = slice(frame.left, frame.left + frame.columns)
    return np.ascontiguousarray(whole[rows, columns], dtype=np.float32)


def _square(pixels: NDArray[Any]) -> NDArray[Any]:
    rows, columns = pixels.shape
    if rows == columns:
        return pixels
    frame = Frame(rows, columns, 0)
    square = np.zeros((frame.side, frame.side), pixels.dtype)
    square[frame.top : frame.top + rows, frame.left : frame.left + columns] = pixels
    return square


def _resize(square: NDArray[Any], size: int) -> NDArray[Any]:
    shrinks = size < square.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=how))
