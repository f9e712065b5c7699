"""What a pneumothorax does to a radiograph, as changes of attenuation; and edits that are none.

All changes are in steps from lung to soft tissue and are made in a window around one lung.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from pleura.synthesis.phantom.anatomy import ramp
from pleura.synthesis.phantom.canvas import SHIFT, fixed
from pleura.synthesis.simulate.collapse import Collapse
from pleura.synthesis.simulate.tissue import Image, Layers, split
from pleura.synthesis.simulate.wall import PLACES, Outline

FAKES = ("smoothing", "line", "density", "patch")
"""Edits without a pneumothorax: markings taken out at the wall but no line and no air; a line with
markings on both sides; a denser lung with crowded vessels; markings taken out away from the
wall."""

_LEAST = 0.004  # of a step; a smaller change is none
_LIKE_COLLAPSED = 0.8  # of the edits without a pneumothorax
_FLUID = 0.2  # of those with air beside the level, which are few
_DEPTH_SHARE = 0.14  # of the radiograph's width: so far from the wall the air has its full depth


@dataclass(frozen=True, slots=True, eq=False)
class EditedLung:
    """A window of a radiograph around one lung, taken apart.

    Attributes:
        outline: The lung's border, in the radiograph's pixels.
        left: First column of the window.
        top: First row of the window.
        field: ``(rows, columns)`` bool, the lung field in the window.
        attenuation: ``(rows, columns)`` float32, steps.
        layers: Its layers.
    """

    outline: Outline
    left: int
    top: int
    field: NDArray[np.bool_]
    attenuation: Image
    layers: Layers

    @property
    def window(self) -> tuple[slice, slice]:
        """The window as an index into the radiograph."""
        rows, columns = self.field.shape
        return np.s_[self.top : self.top + rows, self.left : self.left + columns]

    @property
    def unit(self) -> float:
        """Pixels of this radiograph per pixel of one 512 wide."""
        return self.outline.size / 512

    def local(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return radiograph positions ``(n, 2)`` as positions in the window."""
        return np.asarray(points - np.array([self.left, self.top]), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Strength:
    """How strongly one lesion shows; shares of the step from lung to soft tissue.

    Attributes:
        darkening: Less attenuation where the air is deepest.
        line: More attenuation along the visceral pleura.
        density: More attenuation in what is left of the lung.
        fluid: Height of a fluid level over the lowest point, as a share of the lung's height; 0
            for none.
    """

    darkening: float
    line: float
    density: float
    fluid: float = 0.0


def around(attenuation: Image, outline: Outline) -> EditedLung:
    """Return the window of a radiograph around one lung.

    Args:
        attenuation: ``(rows, columns)``, the whole radiograph in steps from lung to soft tissue.
        outline: The lung's border.
    """
    rows, columns = attenuation.shape
    margin = round(0.05 * outline.size)
    low = np.floor(outline.points.min(axis=0)).astype(int) - margin
    high = np.ceil(outline.points.max(axis=0)).astype(int) + margin + 1
    left, top = np.maximum(low, 0).tolist()
    right, bottom = np.minimum(high, (columns, rows)).tolist()
    part = np.ascontiguousarray(attenuation[top:bottom, left:right])
    field = outline.field((rows, columns))[top:bottom, left:right]
    return EditedLung(outline, left, top, field, part, split(part, outline.size))


def draw_strength(rng: np.random.Generator, collapse: Collapse) -> Strength:
    """Draw how strongly a lesion shows."""
    share = collapse.share
    fluid = 0.0
    if rng.random() < _FLUID:
        height = float(rng.uniform(0.05, 0.3))
        fluid = height if _has_air_at(collapse, height) else 0.0
    return Strength(
        darkening=float(rng.uniform(0.04, 0.17)),
        line=float(rng.uniform(0.03, 0.12)),
        density=float(rng.uniform(0.1, 0.55) * share + rng.uniform(0.0, 0.015)),
        fluid=fluid,
    )


def lesion(
    rng: np.random.Generator, lung: EditedLung, collapse: Collapse, strength: Strength
) -> tuple[Image, NDArray[np.bool_]]:
    """Return the change that a pneumothorax makes, and the mask of its air.

    Both are ``(rows, columns)`` of the window.
    """
    unit = lung.unit
    mask = collapse.mask[lung.window]
    outside = _soft(mask, 0.6 * unit)
    change = -outside * lung.layers.markings
    change -= np.float32(strength.darkening) * outside * _air_depth(lung)
    change += _deepened(lung, outside)
    change += _collapsed(lung, collapse, mask, strength.density)
    change += np.float32(strength.line) * _line(rng, lung, collapse)
    if strength.fluid > 0:
        change, mask = _with_fluid(lung, change, mask, strength.fluid)
    return _trimmed(change), mask


def _collapsed(
    lung: EditedLung, collapse: Collapse, mask: NDArray[np.bool_], density: float
) -> Image:
    """Return the change of the lung that is left: its markings crowd, and it gets denser."""
    rest = _soft(lung.field & ~mask, 0.8 * lung.unit)
    denser = np.float32(density) * _from_border(lung, 10 * lung.unit)
    return np.asarray((_crowded(lung, collapse) + denser) * rest, dtype=np.float32)


def fake(rng: np.random.Generator, lung: EditedLung, collapse: Collapse, kind: str) -> Image:
    """Return the change of an edit that shows no pneumothorax, ``(rows, columns)`` of the window.

    It is made of parts of one that does. In most, the lung that is left is changed as it is with a
    pneumothorax, so that this alone tells little.
    """
    change = _part(rng, lung, collapse, kind)
    if kind == "density" or rng.random() < _LIKE_COLLAPSED:
        density = draw_strength(rng, collapse).density
        mask = collapse.mask[lung.window]
        change = change + _collapsed(lung, collapse, mask, density)
    return _trimmed(change)


def _part(rng: np.random.Generator, lung: EditedLung, collapse: Collapse, kind: str) -> Image:
    """Return what an edit that shows no pneumothorax has of its own."""
    unit = lung.unit
    if kind == "smoothing":
        mask = collapse.mask[lung.window]
        amount = np.float32(rng.uniform(0.4, 1.0)) * _soft(mask, rng.uniform(3, 7) * unit)
        return -amount * lung.layers.markings
    if kind == "line":
        return np.float32(rng.uniform(0.03, 0.12)) * _line(rng, lung, collapse)
    if kind == "density":
        whole = _soft(lung.field, 2 * unit) * _from_border(lung, 12 * unit)
        return np.float32(rng.uniform(0.0, 0.08)) * whole
    points = np.argwhere(cv2.erode(lung.field.astype(np.uint8), np.ones((9, 9), np.uint8)))
    y, x = points[rng.integers(len(points))] if len(points) else (0, 0)
    radii = rng.uniform(0.03, 0.1, 2) * lung.outline.size
    rows, columns = np.indices(lung.field.shape, dtype=np.float32)
    spot = np.exp(-((((rows - y) / radii[0]) ** 2 + ((columns - x) / radii[1]) ** 2) ** 2))
    amount = (spot * lung.field).astype(np.float32)
    darker = np.float32(rng.uniform(-0.02, 0.08))
    soft = np.asarray(cv2.GaussianBlur(amount, (0, 0), 2 * unit), dtype=np.float32)
    return -soft * (lung.layers.markings + darker)


def _trimmed(change: Image) -> Image:
    """Return the change without what is too small to matter: those pixels stay as they are."""
    return np.where(np.abs(change) < _LEAST, np.float32(0), change).astype(np.float32)


def _soft(mask: NDArray[np.bool_], sigma: float) -> Image:
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)
    return np.where(soft < 0.01, np.float32(0), soft)


def _from_border(lung: EditedLung, distance: float) -> Image:
    """Return 0 at the field's border to 1 at `distance` pixels inside."""
    inside = cv2.distanceTransform(_framed(lung.field), cv2.DIST_L2, 5)[1:-1, 1:-1]
    return ramp(np.asarray(inside, dtype=np.float64), 0.0, distance).astype(np.float32)


def _framed(field: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.pad(field.astype(np.uint8), 1)


def _air_depth(lung: EditedLung) -> Image:
    """Return how deep air is that fills the chest there, up to 1: a circle's chord.

    At the wall it is not 0, for a band of air is seen through its length at the apex and the sides.
    """
    inside = cv2.distanceTransform(_framed(lung.field), cv2.DIST_L2, 5)[1:-1, 1:-1]
    far = 1 - np.clip(inside / np.float32(_DEPTH_SHARE * lung.outline.size), 0, 1)
    return np.asarray(0.35 + 0.65 * np.sqrt(1 - far * far), dtype=np.float32)


def _deepened(lung: EditedLung, outside: Image) -> Image:
    """Return the change that makes air of what lies below the lung: a deep sulcus."""
    outline, smooth = lung.outline, lung.layers.smooth
    if outline.sulcus == 0:
        return np.zeros_like(smooth)
    rows, columns = lung.field.shape
    whole = (lung.top + rows, lung.left + columns)
    before = outline.deepened(-outline.sulcus).field(whole)[lung.window]
    near = before & (_soft(lung.field & ~before, 6 * lung.unit) > 0.02)
    level = np.float32(np.median(smooth[near])) if near.any() else np.float32(0)
    below = _soft(lung.field & ~before, 1.5 * lung.unit) * outside
    return np.asarray(-0.9 * np.maximum(smooth - level, 0) * below, dtype=np.float32)


def _crowded(lung: EditedLung, collapse: Collapse) -> Image:
    """Return the change that moves the markings inward with the pleura; bones stay in place."""
    unit = lung.unit
    x0 = lung.outline.hilum[0] - lung.outline.side * 0.06 * lung.outline.size - lung.left
    y0 = lung.outline.hilum[1] - lung.top
    rows, columns = np.indices(lung.field.shape, dtype=np.float32)
    dx = np.asarray(columns - np.float32(x0), dtype=np.float32)
    dy = np.asarray(rows - np.float32(y0), dtype=np.float32)
    outer = _radii(lung.local(lung.outline.points), (x0, y0))
    inner = _radii(lung.local(collapse.pleura), (x0, y0))
    stretch = np.clip(outer / np.maximum(inner, 1.0), 1.0, 3.0)
    stretch = gaussian_filter1d(stretch, 5, mode="wrap")
    angle = np.asarray(cv2.phase(dx, dy)) * np.float32(len(stretch) / (2 * np.pi))
    table = np.concatenate([stretch, stretch[:1]]).astype(np.float32)
    whole = np.minimum(angle.astype(np.intp), len(stretch) - 1)
    part = angle - whole
    more = (table[whole] * (1 - part) + table[whole + 1] * part).astype(np.float32)
    markings = lung.layers.markings
    along, down = (np.float32(x0) + dx * more, np.float32(y0) + dy * more)
    moved = cv2.remap(markings, along, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    shift = (more - 1) * np.hypot(dx, dy)
    amount = ramp(shift, 0.4 * unit, 2.5 * unit).astype(np.float32)
    return np.asarray(amount * (moved - markings), dtype=np.float32)


def _radii(points: NDArray[np.float64], centre: tuple[float, float]) -> NDArray[np.float64]:
    """Return ``(360,)`` distances of a closed line from `centre`, in directions from 0 to 2 pi."""
    ahead = np.roll(points, -1, axis=0)
    dense = np.concatenate([points + share * (ahead - points) for share in (0.0, 0.34, 0.67)])
    dx, dy = (dense - np.array(centre)).T
    bins = (np.arctan2(dy, dx) % (2 * np.pi) * 360 / (2 * np.pi)).astype(np.intp) % 360
    far = np.zeros(360)
    np.maximum.at(far, bins, np.hypot(dx, dy))
    known = np.flatnonzero(far)
    return np.asarray(np.interp(np.arange(360), known, far[known], period=360), dtype=np.float64)


def _line(rng: np.random.Generator, lung: EditedLung, collapse: Collapse) -> Image:
    """Return the visceral pleura, 0 to 1: thin, uneven, fading at its ends and broken by ribs."""
    unit = lung.unit
    points = lung.local(collapse.pleura)
    wave = gaussian_filter1d(rng.standard_normal(len(points)), 7, mode="wrap")
    level = np.clip(0.75 + 0.3 * wave / (wave.std() + 1e-9), 0.15, 1.2)
    level *= ramp(collapse.thickness, 1.5 * unit, 6 * unit)
    canvas: NDArray[np.uint8] = np.zeros(lung.field.shape, dtype=np.uint8)
    places = fixed(points)
    width = max(round(1.15 * unit), 1)
    for start, value in enumerate(np.round(200 * level).astype(int).tolist()):
        stop = (start + 1) % len(places)
        if value > 0 and level[stop] > 0:
            piece = [places[[start, stop]]]
            cv2.polylines(canvas, piece, False, value, width, cv2.LINE_AA, SHIFT)
    soft = blurred_line(canvas, width, float(rng.uniform(0.55, 0.9)) * unit) / np.float32(200)
    smooth = lung.layers.smooth
    over = (smooth - cv2.GaussianBlur(smooth, (0, 0), 13 * unit)).astype(np.float64)
    ribs = ramp(over, 0.01, 0.09)
    return np.asarray(soft * (1 - 0.65 * ribs) * _soft(lung.field, unit), dtype=np.float32)


def _level(outline: Outline, height: float) -> float:
    """Return the row of a fluid level that stands `height` of the lung's height over its bottom."""
    return float(outline.points[:, 1].max()) - height * outline.height


def _has_air_at(collapse: Collapse, height: float) -> bool:
    """Return whether there is air beside the chest wall at a level, for fluid to lie under."""
    wall = np.flatnonzero(PLACES < 1)
    away = np.abs(collapse.outline.points[wall, 1] - _level(collapse.outline, height))
    nearest = away.argmin()
    return bool(collapse.thickness[nearest] > 4 / 512 * collapse.outline.size)


def blurred_line(canvas: NDArray[np.uint8], width: int, sigma: float) -> Image:
    """Return a drawn line blurred, as bright in its middle as it was drawn.

    Args:
        canvas: ``(rows, columns)`` with the line.
        width: The line's, in pixels.
        sigma: Of the blur, in pixels.
    """
    peak = math.erf(width / (math.sqrt(8) * sigma))
    soft = cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), sigma)
    return np.asarray(soft / np.float32(peak), dtype=np.float32)


def _with_fluid(
    lung: EditedLung, change: Image, mask: NDArray[np.bool_], height: float
) -> tuple[Image, NDArray[np.bool_]]:
    """Return the change with fluid below a level line, and the mask above it.

    The fluid is as dense as the soft tissue below the lung and fills the recess down to it.
    """
    unit = lung.unit
    level = _level(lung.outline, height) - lung.top
    depth = np.arange(lung.field.shape[0], dtype=np.float64)[:, None] - level
    below = ramp(depth, -1.1 * unit, 1.1 * unit).astype(np.float32)
    wide = 2 * round(9 * unit) + 1
    reach = cv2.dilate(lung.field.astype(np.uint8), np.ones((wide, 1), np.uint8))
    below = below * _soft(reach > 0, 1.5 * unit)
    smooth = lung.layers.smooth
    thicker = 0.3 * ramp(depth, 0.0, 0.16 * lung.outline.size).astype(np.float32)
    target = np.float32(np.quantile(smooth[lung.field], 0.35) + 1.0) + thicker
    even = cv2.GaussianBlur(smooth, (0, 0), 6 * unit)
    fluid = 0.8 * np.maximum(target - smooth, 0) + 0.2 * np.maximum(target - even, 0)
    fluid = fluid - 0.85 * lung.layers.markings
    return np.asarray(change * (1 - below) + below * fluid, dtype=np.float32), mask & (below < 0.5)
