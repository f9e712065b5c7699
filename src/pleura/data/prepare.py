"""From a radiograph to the pixels a network sees, and from a network's map back to the file.

The one rule, used alike in training, evaluation, prediction and export: the picture, its pixels
made square where the file says that they are not, is centred on a black square of its longer side
(nothing for a square radiograph), and that square is brought to `size` x `size` by area averaging
where it shrinks and by linear interpolation where it grows. A mask takes the same way as a picture
of 0 and 255 and is set where the result is at least 128. A map of probabilities takes the way back
with linear interpolation.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.dicom.square import square_shape, squared

PREPARATION = "letterbox-area-1"
"""Name and version of the rule above; a bundle carries it, and another one is refused."""


@dataclass(frozen=True, slots=True)
class Frame:
    """How a file's pixels lie in the prepared square.

    Attributes:
        rows: Height of the file's pixels.
        columns: Width of the file's pixels.
        size: Side length of the prepared square.
        aspect: Height of one of the file's pixels divided by its width.
    """

    rows: int
    columns: int
    size: int
    aspect: float = 1.0

    @property
    def shown(self) -> tuple[int, int]:
        """Rows and columns of the picture with square pixels: the file's own, mostly."""
        return square_shape(self.rows, self.columns, self.aspect)

    @property
    def side(self) -> int:
        """Side length, in square pixels, of the square before it is resized."""
        return max(self.shown)

    @property
    def top(self) -> int:
        """Rows of black above the picture in that square."""
        return (self.side - self.shown[0]) // 2

    @property
    def left(self) -> int:
        """Columns of black left of the picture in that square."""
        return (self.side - self.shown[1]) // 2


def prepare_pixels(pixels: NDArray[Any], size: int, aspect: float = 1.0) -> NDArray[np.uint8]:
    """Return a radiograph's pixels as the network sees them.

    Args:
        pixels: ``(rows, columns)``, uint8 or uint16, 0 black, as in
            :class:`pleura.dicom.radiograph.Radiograph`.
        size: Side length of the result in pixels.
        aspect: Height of a pixel divided by its width.

    Returns:
        ``(size, size)`` uint8, 0 black to 255 white. Of uint16 the upper byte is kept, after
        resizing and rounded.
    """
    resized = _resize(_square(squared(pixels, aspect)), size)
    if resized.dtype != np.uint8:
        resized = np.minimum((resized.astype(np.uint32) + 128) // 257, 255)
    return resized.astype(np.uint8, copy=False)


def prepare_mask(mask: NDArray[np.bool_], size: int, aspect: float = 1.0) -> NDArray[np.bool_]:
    """Return a file's mask in the prepared square.

    Args:
        mask: ``(rows, columns)`` bool at the file's own size.
        size: Side length of the result in pixels.
        aspect: Height of one of the file's pixels divided by its width.

    Returns:
        ``(size, size)`` bool.
    """
    picture = np.ascontiguousarray(mask).view(np.uint8) * np.uint8(255)
    return prepare_pixels(picture, size, aspect) >= 128


def prepare_boxes(boxes: str, frame: Frame) -> NDArray[np.int64]:
    """Return boxes over the file's pixels in the prepared square, rounded outwards.

    Args:
        boxes: ``x y width height`` in the file's pixels, x from its left and y from its top edge;
            ``;`` between boxes. Empty: none.
        frame: Where the file's pixels lie in the square.

    Returns:
        ``(boxes, 4)`` int64: first row, first column, and the row and the column behind the last,
        each box with one pixel at least.
    """
    values = [[float(number) for number in box.split()] for box in boxes.split(";") if box]
    x, y, width, height = np.array(values, np.float64).reshape(-1, 4).T
    scale = frame.size / frame.side
    down, along = frame.shown[0] / frame.rows, frame.shown[1] / frame.columns
    y, height, x, width = y * down, height * down, x * along, width * along
    top, left = (y + frame.top) * scale, (x + frame.left) * scale
    first = np.floor(np.stack([top, left], 1) + 1e-9)
    last = np.ceil(np.stack([top + height * scale, left + width * scale], 1) - 1e-9)
    first = np.clip(first, 0, frame.size - 1)
    last = np.clip(last, first + 1, frame.size)
    return np.concatenate([first, last], axis=1).astype(np.int64)


def restore(probability: NDArray[np.float32], frame: Frame) -> NDArray[np.float32]:
    """Return a map over the prepared square as a map over the file's own pixels.

    Args:
        probability: ``(frame.size, frame.size)`` float32 in 0..1.
        frame: Where the file's pixels lie in the square.

    Returns:
        ``(frame.rows, frame.columns)`` float32 in 0..1.
    """
    whole = cv2.resize(probability, (frame.side, frame.side), interpolation=cv2.INTER_LINEAR)
    rows, columns = frame.shown
    part = whole[frame.top : frame.top + rows, frame.left : frame.left + columns]
    if frame.aspect != 1:
        own = (frame.columns, frame.rows)
        part = np.asarray(cv2.resize(part, own, interpolation=cv2.INTER_LINEAR))
    return np.ascontiguousarray(part, dtype=np.float32)


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
