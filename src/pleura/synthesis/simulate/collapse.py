"""How far a lung has left its wall: the shapes of a pneumothorax, and the air between."""

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from pleura.synthesis.phantom.anatomy import draw_area_px, ramp
from pleura.synthesis.simulate.wall import PLACES, Floats, Outline, filled

Shape = Literal["apical", "apicolateral", "lateral", "whole", "basal", "medial", "loculated"]
SHAPES: tuple[Shape, ...] = (
    "apical",
    "apicolateral",
    "lateral",
    "whole",
    "basal",
    "medial",
    "loculated",
)

THINNEST = 6.5 / 512
"""Greatest thickness that the air must reach, as a share of the radiograph's width."""
LARGEST = 0.78
"""Share of a lung field that the air may take at most."""

_FAINT = 0.6 / 512  # thinner air is none
_THICKEST: dict[Shape, float] = {  # shares of the radiograph's width
    "apical": 0.11,
    "apicolateral": 0.2,
    "lateral": 0.075,
    "whole": 0.6,
    "basal": 0.1,
    "medial": 0.05,
    "loculated": 0.075,
}
_TRIES = 8
_DEEP_SULCUS = 0.5  # of the basal ones
_SULCUS = (0.012, 0.04)  # shares of the radiograph's width


@dataclass(frozen=True, slots=True, eq=False)
class Collapse:
    """One lung with air between it and its wall.

    Attributes:
        outline: The lung's border as it was, or with a deeper costophrenic angle.
        shape: Where the air is.
        thickness: ``(300,)`` float64, pixels of air at :data:`PLACES`.
        pleura: ``(300, 2)`` float64 as (x, y), where the visceral pleura lies; on the border where
            there is no air.
        mask: ``(rows, columns)`` bool, the air.
    """

    outline: Outline
    shape: Shape
    thickness: Floats
    pleura: Floats
    mask: NDArray[np.bool_]

    @property
    def loose(self) -> NDArray[np.bool_]:
        """Where along the border there is air: ``(300,)``, at :data:`PLACES`."""
        return self.thickness > _FAINT * self.outline.size

    @property
    def share(self) -> float:
        """Share of the lung field that is air, 0 to 1."""
        return float(self.mask.sum()) / max(self.outline.area_px, 1.0)


def draw_area_share(rng: np.random.Generator) -> float:
    """Draw the share of a radiograph that a pneumothorax covers, distributed as in the real set."""
    return draw_area_px(rng) / 1024**2


def draw_shape(rng: np.random.Generator, area_share: float) -> Shape:
    """Draw where the air is; small amounts gather at the apex, large ones surround the lung."""
    size = float(np.log(area_share / 0.008))
    middling = float(np.exp(-0.5 * max(size - 0.9, 0.0) ** 2))
    weights = np.array(
        [
            1.2 * float(np.exp(-0.8 * max(size + 0.6, 0.0))),
            1.5 * middling * (size > -1.3),
            0.45 * (-1.0 < size < 0.9),
            0.9 * min(float(np.exp(1.5 * size - 1.9)), 6.0),
            0.22 * middling,
            0.08 * (size < 0.4),
            0.25 * (size < 0.5),
        ]
    )
    return SHAPES[int(rng.choice(len(SHAPES), p=weights / weights.sum()))]


def draw_collapse(
    rng: np.random.Generator,
    outline: Outline,
    shape: Shape,
    area_px: float,
    radiograph: tuple[int, int],
) -> Collapse | None:
    """Return the lung with about `area_px` of air at its wall, or None where that cannot be.

    Args:
        rng: Source of the shape's details.
        outline: The lung's border.
        shape: Where the air is.
        area_px: Wanted area on this radiograph, pixels.
        radiograph: ``(rows, columns)``.

    Returns:
        None where the air would be thinner than :data:`THINNEST` however short it is drawn, thicker
        than air of this shape is, or more than :data:`LARGEST` of the field.
    """
    if area_px > LARGEST * outline.area_px:
        return None
    if shape == "basal" and rng.random() < _DEEP_SULCUS:
        outline = outline.deepened(float(rng.uniform(*_SULCUS)) * outline.size)
    for attempt in range(_TRIES):
        profile = _profile(rng, shape, 0.78**attempt)
        found = _filled_to(outline, shape, profile, area_px, radiograph)
        if found is None:
            continue
        thickest = found.thickness.max() / outline.size
        if thickest > _THICKEST[shape]:
            return None
        if thickest >= THINNEST:
            return found
    return None


def _profile(rng: np.random.Generator, shape: Shape, length: float) -> Floats:
    """Return ``(300,)`` weights in 0..1: how thick the air is along the border.

    `length` below 1 draws it shorter, so that a small area still has a thickness.
    """
    u = PLACES
    if shape == "apical":
        stop = rng.uniform(0.24, 0.42) * length
        weights = (1 - ramp(u, stop * 0.45, stop)) * (u < 1)
    elif shape == "apicolateral":
        stop = rng.uniform(0.5, 0.97) * max(length, 0.45)
        tilt = np.exp(-rng.uniform(0.2, 2.2) * u)
        weights = tilt * (1 - ramp(u, stop * 0.5, stop)) * (u < 1)
    elif shape == "lateral":
        middle, half = rng.uniform(0.45, 0.72), rng.uniform(0.22, 0.4) * length
        weights = ramp(u, middle - half, middle - 0.3 * half) * (
            1 - ramp(u, middle + 0.3 * half, middle + half)
        )
    elif shape == "whole":
        stop = rng.uniform(1.05, 1.7)
        tilt = np.exp(-rng.uniform(-0.5, 0.8) * np.clip(u, 0, 1))
        weights = tilt / tilt.max() * (1 - ramp(u, 0.9, stop))
    elif shape == "basal":
        start, stop = 1 - rng.uniform(0.12, 0.35) * length, 1 + rng.uniform(0.25, 0.8) * length
        weights = ramp(u, start, 0.5 + 0.5 * start) * (1 - ramp(u, 0.5 + 0.5 * stop, stop))
    elif shape == "medial":
        middle, half = rng.uniform(2.3, 2.8), rng.uniform(0.12, 0.25) * length
        weights = np.cos(np.clip((u - middle) / half, -1, 1) * np.pi / 2) ** 2
    else:
        middle, half = rng.uniform(0.15, 1.15), rng.uniform(0.1, 0.22) * length
        weights = np.cos(np.clip((u - middle) / half, -1, 1) * np.pi / 2)
    wave = gaussian_filter1d(rng.standard_normal(len(u)), rng.uniform(12, 30), mode="wrap")
    weights = weights * (1 + rng.uniform(0.03, 0.16) * wave / (wave.std() + 1e-9))
    return np.asarray(np.clip(weights, 0, None), dtype=np.float64)


def _directions(outline: Outline, shape: Shape) -> Floats:
    """Return ``(300, 2)`` unit vectors along which the pleura leaves the border."""
    towards = np.array(outline.hilum) - outline.points
    towards /= np.maximum(np.hypot(*towards.T), 1e-9)[:, None]
    pull = {"whole": 0.75, "apicolateral": 0.3, "apical": 0.1}.get(shape, 0.0)
    aim = (1 - pull) * outline.inward + pull * towards
    if shape in ("apical", "apicolateral", "whole"):
        # At its medial end the air reaches the mediastinum, so there the pleura slides down on it.
        start = outline.points[0]
        down = outline.points[-18] - start
        down = down / max(float(np.hypot(*down)), 1e-9)
        near = (1 - ramp(PLACES, 0.0, 0.22))[:, None] * (PLACES < 1)[:, None]
        aim = (1 - near) * aim + near * down
    aim = gaussian_filter1d(aim, 4, axis=0, mode="nearest")
    return np.asarray(aim / np.maximum(np.hypot(*aim.T), 1e-9)[:, None])


def _filled_to(
    outline: Outline, shape: Shape, profile: Floats, area_px: float, radiograph: tuple[int, int]
) -> Collapse | None:
    """Return the collapse with `profile` whose area is nearest to the one wanted (bisection)."""
    aim = _directions(outline, shape)
    distance = np.hypot(*(outline.points - np.array(outline.hilum)).T)
    deepest = np.maximum(0.8 * distance, 0.1 * outline.size)
    field = outline.field(radiograph)
    low, high = 0.0, 0.8 * outline.height
    if _pulled(outline, shape, profile, aim, deepest, high, field).mask.sum() < 0.9 * area_px:
        return None
    for _ in range(12):
        middle = (low + high) / 2
        if _pulled(outline, shape, profile, aim, deepest, middle, field).mask.sum() < area_px:
            low = middle
        else:
            high = middle
    found = _pulled(outline, shape, profile, aim, deepest, high, field)
    return replace(found, thickness=gaussian_filter1d(found.thickness, 1, mode="nearest"))


def _pulled(
    outline: Outline,
    shape: Shape,
    profile: Floats,
    aim: Floats,
    deepest: Floats,
    amount: float,
    field: NDArray[np.bool_],
) -> Collapse:
    """Return the lung `amount` * `profile` pixels away from its border, softly limited."""
    thickness = deepest * np.tanh(amount * profile / deepest)
    thickness[thickness < _FAINT * outline.size] = 0.0
    pleura = outline.points + thickness[:, None] * aim
    loose = thickness > 0
    pleura = np.where(
        loose[:, None], gaussian_filter1d(pleura, 2.0, axis=0, mode="nearest"), outline.points
    )
    ahead = np.roll(np.arange(len(pleura)), -1)
    quads = np.stack([outline.points, outline.points[ahead], pleura[ahead], pleura], axis=1)
    mask = filled(list(quads[loose | loose[ahead]]), field.shape) & field
    if shape == "basal":  # the lung's tip cannot stay behind as a spike in the recess
        mask = _closed(mask, 0.5 * float(thickness.max()) + 1) & field
    return Collapse(outline, shape, thickness, pleura, mask)


def _closed(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Return a mask closed by a disc; by distances, which cost the same for any radius."""
    edge = round(radius) + 1
    framed = np.pad(mask, edge)
    grown = _distance(~framed) <= radius
    closed = _distance(grown) > radius
    return np.asarray(closed[edge:-edge, edge:-edge] | mask)


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return how far each pixel is from the nearest one that is not in `mask`."""
    exact = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(exact, dtype=np.float32)
