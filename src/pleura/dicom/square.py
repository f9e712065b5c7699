"""Pictures whose pixels are square, as screens show them, from ones whose pixels are not."""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.dicom.limits import MAX_PIXELS


def square_shape(rows: int, columns: int, aspect: float) -> tuple[int, int]:
    """Return the ``(rows, columns)`` that a picture has once its pixels are square.

    The side along which pixels are longer grows, the other stays; both are less where the picture
    would have more than `MAX_PIXELS`.

    Args:
        rows: Height in pixels, and `columns` the width.
        columns: Width in pixels.
        aspect: Height of a pixel divided by its width.
    """
    if aspect == 1:
        return rows, columns
    height, width = rows * max(aspect, 1.0), columns * max(1 / aspect, 1.0)
    shrunk = min(1.0, math.sqrt(MAX_PIXELS / (height * width)))
    return max(1, round(height * shrunk)), max(1, round(width * shrunk))


def squared(plane: NDArray[Any], aspect: float) -> NDArray[Any]:
    """Return a picture, a map or a mask with square pixels; itself where they are square.

    Args:
        plane: ``(rows, columns)``; uint8 or uint16, float32 or bool.
        aspect: Height of a pixel divided by its width.

    Returns:
        ``square_shape(rows, columns, aspect)``, of the same dtype; interpolated linearly, and a
        mask where at least half of a pixel is set.
    """
    if aspect == 1:
        return plane
    if plane.dtype == np.bool_:
        return np.asarray(squared(plane.astype(np.uint8) * np.uint8(255), aspect) >= 128)
    rows, columns = square_shape(plane.shape[0], plane.shape[1], aspect)
    return np.asarray(cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_LINEAR))
