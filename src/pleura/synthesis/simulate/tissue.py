"""What lies in a lung field, taken apart: what is smooth or bone, lung markings, and grain."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
"""``(rows, columns)``."""


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """A radiograph's attenuation as a sum of three layers, each ``(rows, columns)``, in steps.

    Attributes:
        smooth: Soft tissue, and ribs with their edges.
        markings: Vessels and the mesh of the lung.
        grain: Noise, and what is as fine as noise.
    """

    smooth: Image
    markings: Image
    grain: Image


def split(attenuation: Image, size: int) -> Layers:
    """Return the layers of (part of) a radiograph.

    A grey opening takes out what is bright and narrow; a filter that stops at edges evens what is
    left. Edges of bone that the two blur are steep and long, those of small vessels faint and
    short, so that steep and oriented ones go back into the smooth layer.

    Args:
        attenuation: ``(rows, columns)`` float32, in steps from lung to soft tissue.
        size: Width of the whole radiograph in pixels, which says how wide a vessel is.
    """
    unit = size / 512
    calm = _blurred(attenuation, 1.1 * unit)
    grain = attenuation - calm
    limit = 3.0 * 1.4826 * float(np.median(np.abs(grain))) + 1e-6
    grain = np.clip(grain, -limit, limit).astype(np.float32)
    even = _evened(calm, unit)
    rest = calm - even
    level = _blurred(np.minimum(rest, 0.08), 9 * unit)
    rest = rest - level
    bone = _ramp(np.abs(_blurred(rest, 0.8 * unit)), 0.05, 0.13)
    bone *= _ramp(_oriented(calm, 5 * unit), 0.35, 0.7)
    bone = _blurred(bone, 1.2 * unit)
    smooth = even + level + bone * rest
    return Layers(smooth, calm - smooth, grain)


def _evened(image: NDArray[Any], unit: float) -> Image:
    """Return a picture without what is narrow and bright or faint, edges kept.

    It is done at the scale of 512 pixels or so. What a larger radiograph loses by that at its edges
    is steep and goes back in with the bones' edges.
    """
    rows, columns = image.shape
    factor = max(round(unit), 1)
    small: NDArray[Any] = image
    if factor > 1:
        size = (-(-columns // factor), -(-rows // factor))
        small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    wide = 2 * round(4.0 * unit / factor) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (wide, wide))
    small = np.asarray(cv2.morphologyEx(small, cv2.MORPH_OPEN, kernel))
    for spread in (0.11, 0.07):
        small = np.asarray(cv2.bilateralFilter(small, 0, spread, 3.2 * unit / factor))
    if factor > 1:
        small = np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR))
    return np.asarray(small, dtype=np.float32)


def _oriented(image: Image, sigma: float) -> Image:
    """Return how much the edges around each pixel have one direction, 0 to 1 (structure tensor)."""
    x = cv2.Sobel(image, cv2.CV_32F, 1, 0)
    y = cv2.Sobel(image, cv2.CV_32F, 0, 1)
    xx, yy, xy = (cv2.GaussianBlur(part, (0, 0), sigma) for part in (x * x, y * y, x * y))
    return np.asarray(np.sqrt((xx - yy) ** 2 + 4 * xy * xy) / (xx + yy + 1e-9), dtype=np.float32)


def _blurred(image: NDArray[np.floating[Any]], sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.float32)


def _ramp(value: Image, start: float, stop: float) -> Image:
    t = np.clip((value - start) / (stop - start), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)
