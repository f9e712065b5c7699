"""The outline of one lung on a radiograph, as a line that a pneumothorax follows.

Positions along it are numbers: 0 is the medial apex, 1 the costophrenic angle, 2 the medial end of
the diaphragm, and 3 the medial apex again. From 0 to 1 the line lies on the chest wall and is drawn
to where the radiograph turns from lung to wall, at the inner margin of the ribs.
"""

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates

Floats = NDArray[np.float64]
Side = Literal[-1, 1]  # -1: left half of the picture

PLACES = np.concatenate(
    [
        np.linspace(0, 1, 160, endpoint=False),
        np.linspace(1, 2, 60, endpoint=False),
        np.linspace(2, 3, 80, endpoint=False),
    ]
)
"""The positions of the outline's points."""

_WALL = 160  # points from 0 to 1
SNAP_SHARE = 0.03
"""How far the wall may be drawn from the field's own border, as a share of the width."""


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """One lung's border on a radiograph, in pixels (the first pixel's centre at 0).

    Attributes:
        side: Which half of the picture it lies in.
        points: ``(300, 2)`` float64 as (x, y), at :data:`PLACES`.
        inward: ``(300, 2)`` float64, unit vectors from the border into the lung.
        hilum: (x, y), where vessels and bronchi enter.
        size: Width of the radiograph in pixels.
        sulcus: Pixels by which the costophrenic angle was drawn down, see :meth:`deepened`.
    """

    side: Side
    points: Floats
    inward: Floats
    hilum: tuple[float, float]
    size: int
    sulcus: float = 0.0

    def deepened(self, by: float) -> "Outline":
        """Return the outline with its costophrenic angle drawn down `by` pixels."""
        width = np.where(PLACES < 1, 0.05, 0.16)
        points = self.points.copy()
        points[:, 1] += by * np.exp(-(((PLACES - 1) / width) ** 2))
        return replace(self, points=points, inward=_inward(points), sulcus=self.sulcus + by)

    def field(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return what the outline encloses, as bool ``(rows, columns)``."""
        return filled([self.points], shape)

    @property
    def area_px(self) -> float:
        """Pixels enclosed."""
        return float(cv2.contourArea(self.points.astype(np.float32)))

    @property
    def height(self) -> float:
        """From the apex to the lowest point, pixels."""
        return float(np.ptp(self.points[:, 1]))


def filled(outlines: list[Floats], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the union of closed outlines ``(n, 2)`` as bool ``(rows, columns)``."""
    canvas = np.zeros(shape, dtype=np.uint8)
    for outline in outlines:
        cv2.fillPoly(canvas, [np.round(outline * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    return canvas.astype(np.bool_)


def find_outline(
    grey: NDArray[np.float32], field: NDArray[np.bool_], side: Side, *, snap: bool = True
) -> Outline:
    """Return the border of one lung, its wall snapped to the radiograph.

    Args:
        grey: ``(rows, columns)`` float32, the radiograph in any unit that grows from air to bone.
        field: ``(rows, columns)`` bool, one connected lung field.
        side: Which half of the picture it lies in.
        snap: Whether to do that; without it the border is the field's own.
    """
    size = field.shape[1]
    contour = _contour(field)
    points = _placed(contour, side)
    for _ in range(2 if snap else 0):
        normals = _inward(points)
        shift = _snapped(grey, points[:_WALL], normals[:_WALL], SNAP_SHARE / 2 * size)
        points[:_WALL] -= shift[:, None] * normals[:_WALL]
    points = _smooth(points, 1.5)
    inside = points[_WALL + 60 :]
    y = points[:, 1].min() + 0.45 * np.ptp(points[:, 1])
    x = float(np.interp(y, inside[::-1, 1], inside[::-1, 0]))
    return Outline(side, points, _inward(points), (x, float(y)), size)


def _contour(field: NDArray[np.bool_]) -> Floats:
    """Return the border of the field as ``(n, 2)`` points, one a pixel or so, smoothed."""
    outlines, _ = cv2.findContours(field.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    longest = max(outlines, key=len)[:, 0].astype(np.float64)
    return _smooth(longest, field.shape[1] / 150)


def _smooth(points: Floats, sigma: float) -> Floats:
    return np.asarray(gaussian_filter1d(points, sigma, axis=0, mode="wrap"), dtype=np.float64)


def _placed(contour: Floats, side: Side) -> Floats:
    """Return the border at :data:`PLACES`, starting at the medial apex, down the chest wall."""
    out = side * contour[:, 0]  # grows towards the chest wall
    down = contour[:, 1]
    apex = int((0.7 * out + down).argmin())
    angle = int((0.55 * out + down).argmax())
    base = int((down - 1.1 * out).argmax())
    ring = np.roll(contour, -apex, axis=0)
    count = len(ring)
    angle, base = (angle - apex) % count, (base - apex) % count
    if angle > base:  # the other way round
        ring = np.roll(ring[::-1], 1, axis=0)
        angle, base = (count - angle) % count, (count - base) % count
    marks = (0, angle, base, count)
    closed = np.concatenate([ring, ring[:1]])
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.interp(PLACES, (0, 1, 2, 3), length[list(marks)])
    return np.stack([np.interp(at, length, closed[:, axis]) for axis in (0, 1)], axis=1)


def _inward(points: Floats) -> Floats:
    along = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal = _smooth(normal / np.maximum(np.hypot(*normal.T), 1e-9)[:, None], 4)
    normal /= np.maximum(np.hypot(*normal.T), 1e-9)[:, None]
    middle = points.mean(axis=0)
    turn = np.sign(np.sum(normal * (middle - points)))
    return np.asarray(normal * turn, dtype=np.float64)


def _snapped(grey: NDArray[np.float32], points: Floats, normals: Floats, reach: float) -> Floats:
    """Return how far outward each wall point has to move, pixels: the best smooth path.

    The radiograph is unrolled along the wall; the path of least cost through it (dynamic
    programming) follows the steepest fall of grey from the wall into the lung, and neither jumps
    nor strays.
    """
    steps = np.linspace(-reach, reach, 25)
    margin = reach / 12 * np.arange(-2, 3)
    profile = _unrolled(grey, points, normals, steps)
    rise = _unrolled(grey, points, normals, steps + margin[-1]) - _unrolled(
        grey, points, normals, steps - margin[-1]
    )
    rise = gaussian_filter1d(rise, 4, axis=0)
    scale = np.percentile(np.abs(rise), 90) + 1e-6
    cost = -np.clip(rise / scale, 0, 1.2) + 0.25 * (steps / reach) ** 2
    cost += 0.15 * (profile - profile.mean(axis=1, keepdims=True) > 3 * scale)
    path = _cheapest(cost)
    shift = gaussian_filter1d(steps[path], 5, mode="nearest")
    fade = np.minimum(1, np.minimum(np.arange(len(points)), np.arange(len(points))[::-1]) / 12)
    return np.asarray(shift * fade, dtype=np.float64)


def _unrolled(
    grey: NDArray[np.float32], points: Floats, normals: Floats, outward: Floats
) -> Floats:
    """Return the radiograph at `outward` pixels outside of each point, (points, steps)."""
    where = points[:, None] - outward[None, :, None] * normals[:, None]
    at = [where[..., 1], where[..., 0]]
    return np.asarray(map_coordinates(grey, at, order=1, mode="nearest"), dtype=np.float64)


def _cheapest(cost: Floats) -> NDArray[np.intp]:
    """Return the column per row of the path of least cost that moves by at most one column."""
    total = cost.copy()
    came = np.zeros(cost.shape, dtype=np.intp)
    columns = np.arange(cost.shape[1])
    for row in range(1, len(cost)):
        before = np.pad(total[row - 1], 1, constant_values=np.inf)
        choices = np.stack([before[:-2] + 0.06, before[1:-1], before[2:] + 0.06])
        best = choices.argmin(axis=0)
        came[row] = np.clip(columns + best - 1, 0, len(columns) - 1)
        total[row] += choices[best, columns]
    path = np.empty(len(cost), dtype=np.intp)
    path[-1] = total[-1].argmin()
    for row in range(len(cost) - 1, 0, -1):
        path[row - 1] = came[row, path[row]]
    return path
