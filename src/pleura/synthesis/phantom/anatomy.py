"""The geometry of a made-up chest: who is imaged, where the borders lie, how a lung collapses.

Everything here is in *body units*: x runs to the right of the picture with 0 at the midline (the
patient's right is at negative x), y runs down with 0 at the top edge of an average radiograph, and
1 unit is the side of an average radiograph (about 36 cm). Nothing here draws a pixel.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

Floats = NDArray[np.float64]
Side = Literal[-1, 1]  # -1: left half of the picture, the patient's right lung
View = Literal["PA", "AP"]

ANGLES = np.linspace(-np.pi, np.pi, 360, endpoint=False)
"""Directions from the hilum: 0 points to the chest wall, -pi/2 to the apex, pi/2 to the base."""

# Areas of real masks in pixels of a 1024 x 1024 radiograph at the given quantiles, counted from the
# 2,669 positive radiographs of the public annotation table.
_AREA_QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
_AREAS_PX = (55, 567, 1363, 2005, 4059, 8630, 18388, 33432, 45772, 80416, 161421)
_SMALLEST_LUNG = 0.12  # a whole collapse leaves this share of the lung's radius


@dataclass(frozen=True, slots=True)
class Person:
    """What all radiographs of one patient share.

    Attributes:
        age: Years, 18 to 92.
        sex: "M" or "F".
        half_width: Half the inner width of the chest at the base, body units.
        apex_y: Where the lungs begin, body units.
        length: Apex to costophrenic angle at full breath, body units.
        fat: Thickness of the chest wall outside the ribs, body units.
        heart: Size of the heart, 1 is average.
        aorta: Size of the aortic knob, 1 is average.
        bone: Density of the bones, 1 is average.
        breast: Thickness of the breasts in cm; 0 for none.
        breast_y: Height of the breasts, body units.
        rib_slope: How steeply the ribs fall, 1 is average.
        rib_gap: Distance between two ribs at the spine, body units.
        dome: Height of the diaphragm's domes, body units.
        wobble: Unevenness of the mediastinal borders, four values around 1.
    """

    age: int
    sex: Literal["M", "F"]
    half_width: float
    apex_y: float
    length: float
    fat: float
    heart: float
    aorta: float
    bone: float
    breast: float
    breast_y: float
    rib_slope: float
    rib_gap: float
    dome: float
    wobble: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Pose:
    """How one radiograph was taken.

    Attributes:
        view: "PA" (standing) or "AP" (in bed: larger heart, higher diaphragm).
        zoom: Radiograph units per body unit.
        tilt: Rotation in the radiograph's plane, radians.
        shift: Radiograph position of the body's (0, 0.5), radiograph units from the radiograph's
            centre.
        turn: Shift of the mediastinum by a turn of the body, body units.
        breath: Share of the full length that the lungs have, 0.75 to 1.
        arms: Distance of the arms from the trunk, body units.
    """

    view: View
    zoom: float
    tilt: float
    shift: tuple[float, float]
    turn: float
    breath: float
    arms: float


def draw_person(rng: np.random.Generator) -> Person:
    """Draw a patient at random."""
    age = int(np.clip(rng.normal(48, 17), 18, 92))
    sex: Literal["M", "F"] = "F" if rng.random() < 0.45 else "M"
    old = (age - 48) / 40
    female = sex == "F"
    return Person(
        age=age,
        sex=sex,
        half_width=float(rng.normal(0.335 if female else 0.35, 0.016)),
        apex_y=float(rng.normal(0.095, 0.02)),
        length=float(rng.normal(0.68 if female else 0.71, 0.035)),
        fat=float(rng.gamma(4.0, 0.011) + (0.018 if female else 0.012)),
        heart=float(np.clip(rng.normal(1.0 + 0.08 * old, 0.11), 0.75, 1.4)),
        aorta=float(np.clip(rng.normal(1.0 + 0.35 * old, 0.2), 0.5, 1.7)),
        bone=float(np.clip(rng.normal(1.0 - 0.2 * old, 0.12), 0.6, 1.35)),
        breast=min(float(rng.gamma(4.0, 0.75)), 4.5) if female else 0.0,
        breast_y=float(rng.normal(0.72 + 0.03 * old, 0.03)),
        rib_slope=float(rng.normal(1.0, 0.13)),
        rib_gap=float(rng.normal(0.066, 0.0025)),
        dome=float(rng.uniform(0.075, 0.135)),
        wobble=tuple(rng.normal(1.0, 0.06, 4).tolist()),
    )


def draw_pose(rng: np.random.Generator) -> Pose:
    """Draw the way one radiograph is taken at random."""
    view: View = "AP" if rng.random() < 0.4 else "PA"
    bedside = view == "AP"
    return Pose(
        view=view,
        zoom=float(rng.normal(1.0, 0.06)),
        tilt=float(rng.normal(0.0, 0.045 if bedside else 0.018)),
        shift=(float(rng.normal(0, 0.022)), float(rng.normal(0, 0.02))),
        turn=float(rng.normal(0.0, 0.018 if bedside else 0.007)),
        breath=float(rng.uniform(0.76, 0.95) if bedside else rng.uniform(0.9, 1.03)),
        arms=float(rng.uniform(-0.01, 0.05) if bedside else rng.uniform(0.0, 0.09)),
    )


_WALL = PchipInterpolator(  # over the square root of depth below the apex, 0 to 1
    (0.0, 0.1, 0.2, 0.35, 0.45, 0.55, 0.63, 0.71, 0.84, 0.92, 1.0, 1.2),
    (0.33, 0.44, 0.55, 0.70, 0.79, 0.86, 0.905, 0.935, 0.97, 0.985, 0.99, 0.97),
)
_RIGHT_BORDER = PchipInterpolator(
    (0.0, 0.01, 0.04, 0.1, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.4),
    (0.115, 0.08, 0.06, 0.052, 0.05, 0.056, 0.066, 0.083, 0.097, 0.103, 0.1, 0.09, 0.08),
)
_LEFT_BORDER = PchipInterpolator(
    (0.0, 0.01, 0.04, 0.1, 0.18, 0.24, 0.29, 0.35, 0.42, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.4),
    (
        *(0.115, 0.08, 0.06, 0.05, 0.049, 0.064, 0.068, 0.058, 0.068),
        *(0.088, 0.122, 0.158, 0.182, 0.186, 0.17, 0.12),
    ),
)


@dataclass(frozen=True, slots=True)
class Chest:
    """The borders of one patient's chest on one radiograph; all lengths are in body units."""

    person: Person
    pose: Pose

    @property
    def length(self) -> float:
        """Apex to costophrenic angle on this radiograph, body units."""
        return self.person.length * self.pose.breath

    def depth(self, y: Floats) -> Floats:
        """Return heights, of any shape, as shares of the way from the apex (0) to the angle (1)."""
        return (y - self.person.apex_y) / self.length

    def wall(self, y: Floats) -> Floats:
        """Return the inner half-width of the chest, for `y` of any shape."""
        t = np.clip(self.depth(y), 0.0, 1.44)
        return np.asarray(_WALL(np.sqrt(t)) * self.person.half_width, dtype=np.float64)

    def border(self, side: Side, y: Floats) -> Floats:
        """Return how far the mediastinum's border is from the midline, for `y` of any shape."""
        person = self.person
        t = np.clip(self.depth(y), 0.0, 1.4)
        heart = person.heart * (1.16 if self.pose.view == "AP" else 1.0)
        low = ramp(t, 0.35, 0.6)
        if side < 0:
            base = _RIGHT_BORDER(t) * (1 + low * (heart * person.wobble[0] - 1))
        else:
            knob = 0.017 * (person.aorta - 0.8) * np.exp(-(((t - 0.27) / 0.05) ** 2))
            waist = (person.wobble[1] - 1) * 0.12 * np.exp(-(((t - 0.42) / 0.07) ** 2))
            base = _LEFT_BORDER(t) * (1 + low * (heart * person.wobble[2] - 1)) + knob + waist
        if self.pose.view == "AP":
            base = base * (1 + 0.16 * ramp(t, 0.02, 0.15) * (1 - ramp(t, 0.3, 0.5)))
        bottom = ramp(t, 0.02, 0.2)
        return np.asarray(base + side * self.pose.turn * bottom, dtype=np.float64)

    def diaphragm(self, side: Side, x: Floats) -> Floats:
        """Return the height of the diaphragm's dome, for `x` (from the midline) of any shape."""
        person = self.person
        floor = person.apex_y + self.length
        high = 0.0 if side < 0 else 0.022 * person.wobble[3]
        peak = 0.5 * person.half_width
        width = 0.99 * person.half_width - peak
        out = np.clip((x - peak) / width, 0.0, 1.3)
        inner = np.clip((peak - x) / peak, 0.0, 1.0)
        dome = person.dome * (1 - out**2.9) - 0.4 * person.dome * inner**2
        return np.asarray(floor + high * (1 - out) - dome, dtype=np.float64)

    def gap(self, side: Side, x: Floats, y: Floats) -> Floats:
        """Return how far inside the lung field points of any shape lie; negative outside."""
        out = np.abs(x) * np.where(x * side >= 0, 1.0, -1.0)
        apex = 4.0 * (y - self.person.apex_y)
        inside = np.minimum(self.wall(y) - out, out - self.border(side, y))
        air = np.minimum(np.minimum(inside, apex), self.diaphragm(side, out) - y)
        return np.asarray(air, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Lung:
    """One lung as a star around its hilum.

    Attributes:
        side: Which lung.
        hilum: (x, y), body units.
        field: ``(360,)`` float64, distance from the hilum to the lung field's border in the
            directions of :data:`ANGLES`.
        pleura: ``(360,)`` float64, the same for the visceral pleura; equal to `field` where the
            lung touches the wall.
    """

    side: Side
    hilum: tuple[float, float]
    field: Floats
    pleura: Floats

    def points(self, radius: Floats, angles: Floats = ANGLES) -> Floats:
        """Return the ``(n, 2)`` points at `radius` and `angles` around the hilum."""
        x = self.hilum[0] + self.side * radius * np.cos(angles)
        return np.stack([x, self.hilum[1] + radius * np.sin(angles)], axis=1)

    @property
    def air_area(self) -> float:
        """Area between the pleura and the field's border, square body units."""
        return _ring_area(self.field, self.pleura)

    @property
    def collapse(self) -> float:
        """Share of the lung's area that it has lost, 0 to 1."""
        return self.air_area / _ring_area(self.field, np.zeros_like(self.field))


def whole_lung(chest: Chest, side: Side) -> Lung:
    """Return the lung of `side`, everywhere in touch with the wall."""
    y = chest.person.apex_y + 0.43 * chest.length
    x = float(chest.border(side, np.array([y]))[0]) + 0.014
    radii = np.linspace(0.0, 0.75, 151)
    px = side * x + side * radii[:, None] * np.cos(ANGLES)
    py = y + radii[:, None] * np.sin(ANGLES)
    gap = chest.gap(side, px, py)
    outside = gap < 0
    first = np.where(outside.any(axis=0), outside.argmax(axis=0), len(radii) - 1)
    first = np.maximum(first, 1)
    columns = np.arange(len(ANGLES))
    inner, outer = gap[first - 1, columns], gap[first, columns]
    part = np.clip(inner / np.maximum(inner - outer, 1e-9), 0.0, 1.0)
    field = radii[first - 1] + part * (radii[1] - radii[0])
    return Lung(side, (side * x, y), field, field)


def draw_area_px(rng: np.random.Generator) -> float:
    """Draw the area of a pneumothorax in pixels of a 1024 x 1024 radiograph.

    Source: quantiles of the areas in the public SIIM-ACR table, interpolated in the logarithm.
    """
    return float(np.exp(np.interp(rng.random(), _AREA_QUANTILES, np.log(_AREAS_PX))))


def draw_collapse(rng: np.random.Generator, lung: Lung, area: float) -> Lung:
    """Return `lung` drawn away from the wall so that the air between has about `area`.

    Args:
        rng: Source of the shape: apical, apico-lateral, lateral or all around.
        lung: A lung in touch with the wall.
        area: Wanted area, square body units; clipped to what the lung allows.
    """
    shape = _draw_shape(rng, area)
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        if _pulled(lung, shape, middle).air_area < area:
            low = middle
        else:
            high = middle
    return _pulled(lung, shape, high)


def _draw_shape(rng: np.random.Generator, area: float) -> Floats:
    """Return ``(360,)`` weights in 0..1: how far the lung leaves the wall in each direction."""
    size = np.log(area / 0.008)
    middling = np.exp(-0.6 * max(size - 0.8, 0.0) ** 2)
    kinds = np.array(
        [
            np.exp(-0.9 * size) * (size < -0.2),
            1.6 * middling,
            0.5 * (size < 0.2),
            np.exp(1.6 * size - 1.9),
        ]
    )
    kind = rng.choice(4, p=kinds / kinds.sum())
    start = -rng.uniform(1.4, 1.62)
    if kind == 0:  # an apical cap
        stop, fade = -rng.uniform(0.75, 1.1), 0.45
    elif kind == 1:  # from the apex down along the wall
        stop, fade = rng.uniform(-0.5, 0.6) + 0.4 * max(size, 0.0), 0.6
    elif kind == 2:  # along the wall only
        start, stop, fade = -rng.uniform(0.9, 1.3), rng.uniform(0.1, 0.7), 0.35
    else:  # all around
        start, stop, fade = start - 0.15, rng.uniform(0.75, 1.1), 0.3
    rise = ramp(ANGLES, start - 0.15, start + (0.15 if kind != 2 else 0.6))
    tilt = np.exp(-rng.uniform(0.0, 0.5) * np.clip(ANGLES + 1.5, 0, None))
    shape = rise * (1 - ramp(ANGLES, stop - fade, stop + fade)) * tilt
    return np.where(shape < 0.02, 0.0, shape)


def _pulled(lung: Lung, shape: Floats, amount: float) -> Lung:
    """Return `lung` with its pleura `amount` * `shape` body units (0..1) inside of the wall."""
    least = _SMALLEST_LUNG * lung.field + 0.02
    pulled = np.maximum(lung.field - amount * 0.5 * shape, np.minimum(least, lung.field))
    smooth = gaussian_filter1d(pulled, 4.0, mode="wrap")
    loose = ramp(lung.field - pulled, 0.0, 0.006)
    pleura = np.minimum(loose * smooth + (1 - loose) * lung.field, lung.field)
    return Lung(lung.side, lung.hilum, lung.field, pleura)


def _ring_area(outer: Floats, inner: Floats) -> float:
    return float(0.5 * np.sum(outer**2 - inner**2) * (ANGLES[1] - ANGLES[0]))


def rib(chest: Chest, side: Side, number: int) -> tuple[Floats, Floats]:
    """Return a rib's middle line as its ``(n, 2)`` back part and ``(m, 2)`` front part.

    Args:
        chest: Whose rib.
        side: Which half.
        number: 0 (first) to 10 (eleventh).
    """
    person = chest.person
    top = person.apex_y - 0.022 + number * person.rib_gap
    fall = person.rib_slope * float(
        np.interp(number, (0, 1, 3, 8, 10), (0.11, 0.17, 0.235, 0.29, 0.25))
    )
    stop = float(np.interp(number, (0, 1, 6, 8, 9, 10), (2.75, 2.6, 2.25, 2.05, 1.8, 1.5)))
    angle = np.linspace(0.1, stop, 56)
    y = top + fall * ((1 - np.cos(angle)) / 2 + 0.1 * np.sin(angle)) - 0.012 * np.sin(2 * angle)
    half = chest.wall(np.maximum(y, person.apex_y + 0.002)) + 0.008
    x = side * np.maximum(half * np.sin(angle), 0.03)
    line = np.stack([x, y], axis=1)
    turn = int(np.searchsorted(angle, np.pi / 2))
    return line[: turn + 1], line[turn:]


def vessel_tree(rng: np.random.Generator, lung: Lung) -> tuple[Floats, Floats]:
    """Return the branches of one vessel tree, growing outward from the hilum.

    The tree grows in the lung as it would be at the wall and is then carried inward with the
    pleura, so that a collapsed lung's vessels lie closer together.

    Returns:
        ``(n, 2, 2)`` float64 ends of straight pieces as (x, y), body units; ``(n,)`` diameters.
    """
    # Positions are relative to the hilum, mirrored so that +x points to the chest wall.
    trunks = 0.35 * np.sort(rng.uniform(-1.6, 1.6, 8)) + 0.65 * np.linspace(-1.7, 1.6, 8)
    position = np.stack([0.012 * np.cos(trunks) - 0.004, 0.045 * np.sin(trunks)], axis=1)
    heading = trunks + rng.normal(0, 0.25, len(trunks))
    diameter = rng.uniform(0.006, 0.0105, len(trunks)) * (1 + 0.3 * (trunks > 0.5))
    limit = _around(lung.field, np.arctan2(position[:, 1], position[:, 0] + 0.01))
    roomy = limit > 0.07
    position, heading, diameter = position[roomy], heading[roomy], diameter[roomy]
    roots = np.stack([position * [0.0, 0.6] - [0.024, 0.0], position], axis=1)
    pieces, widths = [roots], [diameter]
    for _ in range(44):
        step = rng.uniform(0.006, 0.013, len(heading))[:, None]
        ahead = position + step * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        pieces.append(np.stack([position, ahead], axis=1))
        widths.append(diameter)
        position = ahead
        outward = np.arctan2(position[:, 1], position[:, 0])
        heading = heading + 0.07 * _wrap(outward - heading) + rng.normal(0, 0.17, len(heading))
        forks = rng.random(len(heading)) < 0.27
        turn = rng.choice((-1.0, 1.0), len(heading)) * rng.uniform(0.45, 1.0, len(heading))
        share = rng.uniform(0.5, 0.85, len(heading))
        child = (position[forks], (heading + turn)[forks], (diameter * share)[forks])
        heading = np.where(forks, heading - 0.25 * turn, heading)
        diameter = diameter * np.where(forks, 0.88, 0.975)
        position = np.concatenate([position, child[0]])
        heading = np.concatenate([heading, child[1]])
        diameter = np.concatenate([diameter, child[2]])
        reach = np.hypot(position[:, 0], position[:, 1])
        limit = _around(lung.field, np.arctan2(position[:, 1], position[:, 0]))
        alive = (diameter > 0.0009) & (reach < 0.985 * limit)
        position, heading, diameter = position[alive], heading[alive], diameter[alive]
        if not len(heading):
            break
    return _carry(lung, np.concatenate(pieces)), np.concatenate(widths)


def _carry(lung: Lung, points: Floats) -> Floats:
    """Return `points` (relative to the hilum, mirrored) moved inward with the pleura."""
    angle = np.arctan2(points[..., 1], points[..., 0])
    shrink = _around(lung.pleura, angle) / np.maximum(_around(lung.field, angle), 1e-6)
    x = lung.hilum[0] + lung.side * points[..., 0] * shrink
    return np.stack([x, lung.hilum[1] + points[..., 1] * shrink], axis=-1)


def _around(values: Floats, angle: Floats) -> Floats:
    """Return the ``(360,)`` `values` over :data:`ANGLES` at any `angle`."""
    return np.asarray(np.interp(angle, ANGLES, values, period=2 * np.pi), dtype=np.float64)


def _wrap(angle: Floats) -> Floats:
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi, dtype=np.float64)


def ramp(value: Floats, start: float, stop: float) -> Floats:
    """Return a smooth step from 0 at `start` to 1 at `stop`, for values of any shape."""
    t = np.clip((value - start) / (stop - start), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float64)
