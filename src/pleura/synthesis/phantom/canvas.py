"""What a made-up radiograph is drawn on: a grid in body units, and the plate it is carried onto."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from pleura.synthesis.phantom.anatomy import Floats, Pose, Side

Image = NDArray[np.float32]
"""``(rows, columns)``, both the `size` of a :class:`Plate` or the `count` of a :class:`Grid`."""

SIDES: tuple[Side, Side] = (-1, 1)
SPAN = 1.44
"""Side of the body grid, body units."""
SHIFT = 4
"""Fractional bits of cv2's coordinates."""

_LEFT, _TOP = -0.72, -0.2  # the body grid's upper left corner


@dataclass(frozen=True, slots=True)
class Plate:
    """Where body units fall on a radiograph of `size` pixels."""

    size: int
    pose: Pose

    def place(self, points: Floats) -> Floats:
        """Return body points ``(..., 2)`` as radiograph pixels, the first pixel's centre at 0."""
        pose = self.pose
        x, y = points[..., 0], points[..., 1] - 0.5
        cos, sin = pose.zoom * np.cos(pose.tilt), pose.zoom * np.sin(pose.tilt)
        radiograph = np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
        return np.asarray(
            (radiograph + 0.5 + np.array(pose.shift)) * self.size - 0.5, dtype=np.float64
        )

    def carry(self, grid: Image) -> Image:
        """Return a body grid ``(count, count)`` resampled onto the radiograph, ``(size, size)``."""
        corners = _grid_points(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), grid.shape[0])
        matrix = cv2.getAffineTransform(
            np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float32),
            self.place(corners).astype(np.float32),
        )
        out = cv2.warpAffine(
            grid,
            matrix,
            (self.size, self.size),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(out, dtype=np.float32)


def _grid_points(indices: Floats, count: int) -> Floats:
    """Return grid indices ``(..., 2)`` as body points."""
    step = SPAN / count
    return np.asarray((indices + 0.5) * step + np.array([_LEFT, _TOP]), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Grid:
    """A square grid over the body.

    Attributes:
        count: Points a side.
        x: ``(1, count)``, where the columns lie, body units.
        y: ``(count, 1)``, where the rows lie.
    """

    count: int
    x: Floats = field(init=False)
    y: Floats = field(init=False)

    def __post_init__(self) -> None:
        centres = (np.arange(self.count) + 0.5) * SPAN / self.count
        object.__setattr__(self, "x", (centres + _LEFT)[None, :])
        object.__setattr__(self, "y", (centres + _TOP)[:, None])

    def fill(self, canvas: NDArray[np.uint8], outline: Floats, value: int) -> None:
        """Fill a polygon ``(n, 2)`` in body units on `canvas` ``(count, count)``, edges smooth."""
        pixels = (outline - np.array([_LEFT, _TOP])) * self.count / SPAN - 0.5
        cv2.fillPoly(canvas, [fixed(pixels)], value, cv2.LINE_AA, SHIFT)

    def blank(self) -> NDArray[np.uint8]:
        """Return an empty ``(count, count)`` uint8 canvas of this grid."""
        return np.zeros((self.count, self.count), dtype=np.uint8)

    def blur(self, image: NDArray[np.generic], sigma: float) -> Image:
        """Return `image`, ``(count, count)`` of any dtype, blurred by `sigma` body units."""
        pixels = sigma * self.count / SPAN
        if pixels < 0.2:
            return image.astype(np.float32)
        return blurred(image.astype(np.float32), pixels)


def fixed(points: Floats) -> NDArray[np.int32]:
    """Return pixel positions, of any shape, as the fixed-point int32 numbers that cv2 draws at."""
    return np.round(points * (1 << SHIFT)).astype(np.int32)


def blurred(image: Image, sigma: float) -> Image:
    """Return `image`, ``(rows, columns)``, blurred by `sigma` pixels.

    A strong blur is computed at a lower resolution, which does not show.
    """
    factor = int(sigma // 4)
    if factor < 2:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.float32)
    rows, columns = image.shape
    small = cv2.resize(
        image, (max(columns // factor, 1), max(rows // factor, 1)), interpolation=cv2.INTER_AREA
    )
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor)
    return np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_CUBIC), np.float32)


def tube(
    grid: Grid, canvas: NDArray[np.uint8], line: Floats, widths: Sequence[float], value: float
) -> None:
    """Draw a bone with a bright rim along a line.

    Args:
        grid: The body.
        canvas: ``(count, count)``, drawn on.
        line: ``(n, 2)`` as (x, y), body units.
        widths: Half of its width at even distances from start to end, body units.
        value: How bright it is, up to 255.
    """
    place = np.linspace(0, 1, len(line))
    half = np.interp(place, np.linspace(0, 1, len(widths)), widths)
    lift = np.array([0.0, -0.0012])
    for share, level in ((1.0, 0.5), (0.93, 1.0), (0.74, 0.66), (0.5, 0.55)):
        grid.fill(canvas, strip(line + lift * (share < 0.9), half * share), round(value * level))


def strip(line: Floats, half: Floats) -> Floats:
    """Return the outline of a band of half-width `half` ``(n,)`` around `line` ``(n, 2)``."""
    along = np.gradient(line, axis=0)
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / length[:, None] * half[:, None]
    return np.concatenate([line + across, (line - across)[::-1]])


def mirrored(right: Floats) -> Floats:
    """Return the closed outline of a shape from its right half."""
    return np.concatenate([right, (right * [-1, 1])[::-1]])


def curve(points: Floats, count: int = 32) -> Floats:
    """Return `count` points of a smooth curve through `points` ``(n, 2)``."""
    place = np.linspace(0, 1, len(points))
    return np.asarray(PchipInterpolator(place, points)(np.linspace(0, 1, count)), dtype=np.float64)


def smooth_loop(points: Floats) -> Floats:
    """Return a closed outline ``(n, 2)`` with its corners cut three times, ``(8 n, 2)``.

    Source: Chaikin, Computer Graphics and Image Processing 1974; 3: 346.
    """
    for _ in range(3):
        ahead = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * ahead, 0.25 * points + 0.75 * ahead], axis=1)
        points = points.reshape(-1, 2)
    return points
