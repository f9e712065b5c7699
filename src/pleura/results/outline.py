"""The outline of a mask as closed lines."""

import cv2
import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 8000
"""Of one line: a value of 32-bit numbers holds at most 65,534 bytes (PS3.5 7.1.2), 8,191 points."""

_TOLERANCE = 0.5


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
    """Return the outlines of a mask's parts and of the holes in them.

    Each follows the pixels' edges to a quarter of a pixel, so that a part of one pixel has an
    outline too. Parts that touch at a corner are one.

    Args:
        mask: ``(rows, columns)`` bool.

    Returns:
        Lines ``(points, 2)`` float32 of (column, row), the top left corner of the picture being
        (0, 0) and that of its second column (1, 0). A line's last point is its first; one of more
        than `MOST_POINTS` comes in pieces, each of which begins where the one before ended.

    Source: DICOM PS3.3 C.10.5 (graphic annotation units PIXEL).
    """
    places = np.argwhere(mask)
    if not len(places):
        return []
    top, left = places.min(axis=0)
    bottom, right = places.max(axis=0) + 1
    part = np.ascontiguousarray(mask[top:bottom, left:right], dtype=np.uint8)
    fine = part.repeat(2, axis=0).repeat(2, axis=1)
    found, _ = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    lines = []
    for contour in found:
        simple = cv2.approxPolyDP(contour, _TOLERANCE, closed=True).reshape(-1, 2)
        if len(simple) < 3:
            simple = contour.reshape(-1, 2)
        closed = np.concatenate([simple, simple[:1]])
        line = ((closed + 0.5) / 2 + (left, top)).astype(np.float32)
        lines += [line[at : at + MOST_POINTS] for at in range(0, len(line) - 1, MOST_POINTS - 1)]
    return lines
