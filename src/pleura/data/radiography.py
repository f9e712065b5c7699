"""The picture of a made-up chest: rays through tissue, bone and air, noise, and the film's answer.

Smooth parts (body, lungs, heart, bones) are drawn as path lengths on a small square grid in body
units and carried onto the film in one step; what is fine (vessels, the pleural line, lines and
wires) is drawn on the film itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.data import anatomy
from pleura.data.anatomy import Chest, Floats, Lung, Person, Pose, Side

Image = NDArray[np.float32]

_SPAN = 1.44  # side of the body grid, body units
_LEFT, _TOP = -0.72, -0.2  # its upper left corner
_SOFT = 0.2  # attenuation of soft tissue, 1/cm
_SHIFT = 4  # fractional bits of cv2's coordinates
_SIDES: tuple[Side, Side] = (-1, 1)


@dataclass(frozen=True, slots=True)
class Phantom:
    """A made-up radiograph whose pneumothorax is known exactly.

    Attributes:
        pixels: (size, size) uint8, MONOCHROME2: bone bright, air dark.
        mask: (size, size) bool, air between the chest wall and the visceral pleura; all False
            without a pneumothorax.
        age: Years.
        sex: "M" or "F".
        view: "PA" or "AP".
        side: The patient's side of the pneumothorax, "R" or "L"; None without one.
        spacing_mm: Side of a pixel at the detector.
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    age: int
    sex: str
    view: str
    side: str | None
    spacing_mm: float


def draw_phantom(
    rng: np.random.Generator,
    *,
    size: int = 1024,
    pneumothorax: bool,
    person: Person | None = None,
) -> Phantom:
    """Draw one made-up frontal chest radiograph.

    Args:
        rng: Source of everything random; the same state gives the same pixels.
        size: Side of the film in pixels, 64 or more.
        pneumothorax: Whether there is one. Devices and skin folds do not depend on it.
        person: The patient; None draws a new one.

    Returns:
        The film and its mask; the mask is empty exactly when `pneumothorax` is False.
    """
    person = person or anatomy.draw_person(rng)
    chest = Chest(person, anatomy.draw_pose(rng))
    film = _Film(size, chest.pose)
    lungs = tuple(anatomy.whole_lung(chest, side) for side in _SIDES)
    mask = np.zeros((size, size), dtype=np.bool_)
    sick: Lung | None = None
    if pneumothorax:
        lung = lungs[int(rng.random() < 0.5)]
        sick, mask = _collapse(rng, film, lung)
        lungs = tuple(sick if sick.side == one.side else one for one in lungs)
    pixels = _expose(rng, film, chest, lungs)
    side = None if sick is None else ("R" if sick.side < 0 else "L")
    spacing = 0.143 if rng.random() < 0.7 else 0.168
    return Phantom(
        pixels=pixels,
        mask=mask,
        age=person.age,
        sex=person.sex,
        view=chest.pose.view,
        side=side,
        spacing_mm=round(spacing * 1024 / size, 6),
    )


@dataclass(frozen=True, slots=True)
class _Film:
    """Where body units fall on a film of `size` pixels."""

    size: int
    pose: Pose

    def place(self, points: Floats) -> Floats:
        """Return body points (..., 2) as film pixels, the first pixel's centre at 0."""
        pose = self.pose
        x, y = points[..., 0], points[..., 1] - 0.5
        cos, sin = pose.zoom * np.cos(pose.tilt), pose.zoom * np.sin(pose.tilt)
        film = np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
        return np.asarray((film + 0.5 + np.array(pose.shift)) * self.size - 0.5, dtype=np.float64)

    def carry(self, grid: Image) -> Image:
        """Return a body grid resampled onto the film."""
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
    """Return grid indices (..., 2) as body points."""
    step = _SPAN / count
    return np.asarray((indices + 0.5) * step + np.array([_LEFT, _TOP]), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Grid:
    """A square grid in body units with x as a row and y as a column."""

    count: int
    x: Floats = field(init=False)
    y: Floats = field(init=False)

    def __post_init__(self) -> None:
        centres = (np.arange(self.count) + 0.5) * _SPAN / self.count
        object.__setattr__(self, "x", (centres + _LEFT)[None, :])
        object.__setattr__(self, "y", (centres + _TOP)[:, None])

    def fill(self, canvas: NDArray[np.uint8], outline: Floats, value: int) -> None:
        """Fill the body-unit polygon `outline` (n, 2) on `canvas` with `value`, edges smooth."""
        pixels = (outline - np.array([_LEFT, _TOP])) * self.count / _SPAN - 0.5
        cv2.fillPoly(canvas, [_fixed(pixels)], value, cv2.LINE_AA, _SHIFT)

    def blank(self) -> NDArray[np.uint8]:
        return np.zeros((self.count, self.count), dtype=np.uint8)

    def blur(self, image: NDArray[np.generic], sigma: float) -> Image:
        """Return `image` blurred by `sigma` body units."""
        pixels = sigma * self.count / _SPAN
        if pixels < 0.2:
            return image.astype(np.float32)
        return _blur(image.astype(np.float32), pixels)


def _fixed(points: Floats) -> NDArray[np.int32]:
    return np.round(points * (1 << _SHIFT)).astype(np.int32)


def _blur(image: Image, sigma: float) -> Image:
    """Return `image` blurred by `sigma` pixels, at a lower resolution where nobody can tell."""
    factor = int(sigma // 4)
    if factor < 2:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.float32)
    rows, columns = image.shape
    small = cv2.resize(
        image,
        (max(columns // factor, 1), max(rows // factor, 1)),
        interpolation=cv2.INTER_AREA,
    )
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor)
    return np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_CUBIC), np.float32)


# ---------------------------------------------------------------------------- pneumothorax


def _collapse(rng: np.random.Generator, film: _Film, lung: Lung) -> tuple[Lung, NDArray[np.bool_]]:
    """Return `lung` with a pneumothorax of a realistic size, and its mask on the film."""
    zoom = film.pose.zoom
    share = max(anatomy.draw_area_px(rng) / 1024**2, 12.0 / film.size**2)
    while True:
        sick = anatomy.draw_collapse(rng, lung, share / zoom**2)
        mask = _main_parts(_inside(film, sick.field, sick) & ~_inside(film, sick.pleura, sick))
        if mask.any():
            return sick, mask
        share *= 2  # too thin for this film's pixels


def _main_parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return `mask` without the specks: connected parts of less than a twentieth of it."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= 0.05 * mask.sum()
    keep[0] = False
    return np.asarray(keep[parts], dtype=np.bool_)


def _inside(film: _Film, radius: Floats, lung: Lung) -> NDArray[np.bool_]:
    canvas = np.zeros((film.size, film.size), dtype=np.uint8)
    outline = _fixed(film.place(lung.points(radius)))
    cv2.fillPoly(canvas, [outline], 1, cv2.LINE_8, _SHIFT)
    return canvas.astype(np.bool_)


# ---------------------------------------------------------------------------- the exposure


def _expose(
    rng: np.random.Generator, film: _Film, chest: Chest, lungs: Sequence[Lung]
) -> NDArray[np.uint8]:
    """Return the film of `chest` as (size, size) uint8."""
    grid = _Grid(round(_SPAN * min(film.size, 512)))
    soft, tissue = _soft_tissue(rng, grid, chest, lungs)
    bones = _bones(rng, grid, chest)
    depth = film.carry(_SOFT * soft + bones)
    lung_tissue = film.carry(tissue)
    depth += _texture(rng, film, lung_tissue)
    depth += _vessels(rng, film, lungs) * np.clip(4 * lung_tissue, 0.15, 1)
    depth += _pleural_lines(rng, film, lungs)
    depth += _skin_folds(rng, film, chest)
    depth += _devices(rng, film, chest, lungs)
    np.maximum(depth, 0.0, out=depth)
    signal = _noisy(rng, _scattered(rng, depth))
    lung, middle = _reference_levels(film, chest, lungs, signal)
    grey = _film_response(rng, signal, lung, middle)
    _markers(rng, film, grey)
    return grey


def _scattered(rng: np.random.Generator, depth: Image) -> Image:
    """Return the rays that arrive, 0..1: what was not stopped, blurred a little, plus scatter."""
    size = depth.shape[0]
    primary = np.exp(-depth)
    primary = _blur(primary, 0.75 * size / 1024 + 0.25)
    veil = _blur(np.minimum(primary, 0.12), 0.07 * size)
    primary += np.float32(rng.uniform(0.4, 0.9)) * veil
    return primary


def _noisy(rng: np.random.Generator, rays: Image) -> Image:
    """Return the logarithm of a counted number of rays: -log(counts), 0 for a free beam."""
    size = rays.shape[0]
    quanta = float(rng.uniform(1.5e4, 6e4)) * (1024 / size) ** 2
    noise = rng.standard_normal(rays.shape, dtype=np.float32)
    noise = 0.55 * noise + 0.9 * cv2.GaussianBlur(noise, (0, 0), 0.8)
    counts = rays + np.sqrt(rays / np.float32(quanta)) * noise
    return np.asarray(-np.log(np.clip(counts, 1e-4, 1.2)), dtype=np.float32)


def _reference_levels(
    film: _Film, chest: Chest, lungs: Sequence[Lung], signal: Image
) -> tuple[float, float]:
    """Return the signal in the middle of the lungs and behind the heart."""
    spots = np.concatenate([lung.points(0.5 * lung.field)[::6] for lung in lungs])
    low = chest.person.apex_y + np.linspace(0.75, 1.0, 20) * chest.length
    spine = np.stack([np.full(20, 0.02), low], axis=1)
    return _median_at(film, signal, spots), _median_at(film, signal, spine)


def _median_at(film: _Film, signal: Image, points: Floats) -> float:
    at = np.clip(np.round(film.place(points)), 0, film.size - 1).astype(int)
    return float(np.median(signal[at[:, 1], at[:, 0]]))


def _film_response(
    rng: np.random.Generator, signal: Image, lung: float, middle: float
) -> NDArray[np.uint8]:
    """Return grey values 0..255 along a film's S-shaped curve through two reference levels."""
    dark, bright = rng.uniform(0.27, 0.47), rng.uniform(0.72, 0.86)
    low, high = np.log(dark / (1 - dark)), np.log(bright / (1 - bright))
    slope = (high - low) / max(middle - lung, 0.3)
    curve = 1 / (1 + np.exp(-(low + slope * (signal - np.float32(lung)))))
    top = rng.uniform(225, 255)
    return np.asarray(np.clip(curve * top, 0, 255), dtype=np.uint8)


# ---------------------------------------------------------------------------- soft tissue


def _soft_tissue(
    rng: np.random.Generator, grid: _Grid, chest: Chest, lungs: Sequence[Lung]
) -> tuple[Image, Image]:
    """Return path lengths through soft tissue in cm, and through lung tissue alone (0..1)."""
    body = _body(rng, grid, chest)
    aerated = np.zeros((grid.count, grid.count), dtype=np.float32)
    tissue = np.zeros_like(aerated)
    density = rng.uniform(0.18, 0.34)
    for lung in lungs:
        depth = _lung_depth(grid, chest, lung.side)
        left = _lung_share(grid, lung)
        crowded = density * (1 + 0.9 * lung.collapse)
        rest = rng.uniform(0.0, 0.25) * density
        aerated += depth * (1 - rest - (crowded - rest) * left)
        tissue += depth / 16 * left
    soft = body - aerated - _airways(grid, chest)
    soft += _breasts(rng, grid, chest) + _hila(grid, lungs) * np.minimum(aerated / 7, 1)
    soft -= _abdominal_gas(rng, grid, chest)
    free = grid.blur((body > 0.05).astype(np.float32), 0.002)
    return grid.blur(np.maximum(soft, 0.35 * np.sqrt(body)) * free, 0.0011), tissue


def _body(rng: np.random.Generator, grid: _Grid, chest: Chest) -> Image:
    """Return the thickness of trunk, neck, shoulders and arms, as if without lungs, in cm."""
    person = chest.person
    y = np.linspace(person.apex_y + 0.12 * chest.length, 1.6, 40)
    side = chest.wall(y) + person.fat + 0.018
    side = np.maximum(side, np.interp(y, (0.2, 0.42), (person.half_width + 0.06, 0.0)))
    shoulder = person.apex_y - 0.02
    neck = 0.115 if person.sex == "F" else 0.13
    slope = np.array(
        [
            (neck, -0.6),
            (neck + 0.005, shoulder - 0.16),
            (neck + 0.06, shoulder - 0.085),
            (0.31, shoulder - 0.03),
            (0.44, shoulder + 0.015),
            (0.52, shoulder + 0.08),
            (0.54, shoulder + 0.16),
            (0.47, shoulder + 0.26),
        ]
    )
    right = np.concatenate([slope, np.stack([side, y], axis=1)[y > shoulder + 0.3]])
    trunk = grid.blank()
    grid.fill(trunk, _mirrored(right), 255)
    thick = rng.uniform(20, 23) + 40 * (person.fat - 0.05)
    if chest.pose.view == "AP":
        thick += 1.0
    out = _rounded(grid, trunk, thick, 0.115)
    upper = 1 - 0.3 * anatomy._ramp(-grid.y, -person.apex_y - 0.09, 0.06 - person.apex_y)
    out *= upper.astype(np.float32)
    arms = _arms(rng, grid, chest)
    return grid.blur(np.maximum(out, arms), 0.003)


def _arms(rng: np.random.Generator, grid: _Grid, chest: Chest) -> Image:
    canvas = grid.blank()
    reach = chest.person.half_width + chest.person.fat + 0.05 + chest.pose.arms
    top = chest.person.apex_y + 0.1
    for side in _SIDES:
        out = reach + rng.normal(0, 0.01)
        line = np.array(
            [[0.46, top - 0.03], [0.48, top + 0.1], [out + 0.07, 0.55], [out + 0.14, 1.4]]
        )
        grid.fill(canvas, _strip(line * [side, 1], np.array([0.06, 0.068, 0.065, 0.055])), 255)
    return _rounded(grid, canvas, 11.0, 0.06)


def _rounded(grid: _Grid, canvas: NDArray[np.uint8], thick: float, edge: float) -> Image:
    """Return a thickness that rises from the border of a filled shape like the side of a ball."""
    inside = cv2.distanceTransform((canvas > 127).astype(np.uint8), cv2.DIST_L2, 5)
    inside = inside * np.float32(_SPAN / grid.count / edge)
    rise = 1 - np.clip(inside, 0, 1)
    return np.asarray(thick * np.sqrt(1 - rise * rise), dtype=np.float32)


def _lung_depth(grid: _Grid, chest: Chest, side: Side) -> Image:
    """Return the front-to-back length of the lung of `side` in cm, as if it filled its space."""
    y = grid.y
    out = side * grid.x
    t = chest.depth(y)
    wall = np.clip((chest.wall(y) - out) / 0.15, 0.0, 1.0)
    dome = np.clip(t / 0.34, 0.0, 1.0)
    depth = np.sqrt(1 - (1 - wall) ** 3) * (0.18 * (t > 0) + 0.82 * np.sqrt(1 - (1 - dome) ** 2))
    inner = np.clip((chest.border(side, y) - out) / 0.045, 0.0, 1.0)
    most = np.interp(t, (0.0, 0.3, 0.6, 1.0), (0.96, 0.94, 0.82, 0.85))
    depth = depth * (1 - most * np.sqrt(inner * (2 - inner)))
    under = y - chest.diaphragm(side, np.abs(out))
    step = np.clip(0.5 + under * grid.count / _SPAN / 2, 0.0, 1.0)
    depth = depth * (1 - step * (0.55 + 0.45 * np.clip(under / 0.11, 0.0, 1.0) ** 0.4))
    depth = depth * (out > 0) * np.clip((1.3 - t) / 0.2, 0, 1)
    return np.asarray(14.5 * np.clip(depth, 0, None), dtype=np.float32)


def _lung_share(grid: _Grid, lung: Lung) -> Image:
    """Return 1 where lung tissue is and 0 in a pneumothorax."""
    canvas = np.full((grid.count, grid.count), 255, dtype=np.uint8)
    if lung.collapse > 0:
        grid.fill(canvas, lung.points(lung.field + 0.004), 0)
        grid.fill(canvas, lung.points(lung.pleura), 255)
    return canvas.astype(np.float32) / np.float32(255)


def _airways(grid: _Grid, chest: Chest) -> Image:
    """Return the air in the trachea and the main bronchi, in cm."""
    top, length = chest.person.apex_y, chest.length
    fork = top + 0.33 * length
    bend = 0.5 * chest.pose.turn
    lines = (
        (np.array([[0, -0.3], [0, top], [0.006 + bend, fork]]), (0.017, 0.019, 0.02)),
        (np.array([[0.006 + bend, fork], [-0.05, fork + 0.06]]), (0.013, 0.008)),
        (np.array([[0.006 + bend, fork], [0.07, fork + 0.055]]), (0.011, 0.007)),
    )
    canvas = grid.blank()
    for line, widths in lines:
        grid.fill(canvas, _strip(line, np.array(widths)), 255)
    return grid.blur(canvas, 0.005) * np.float32(2.7 / 255)


def _hila(grid: _Grid, lungs: Sequence[Lung]) -> Image:
    """Return the large vessels at the roots of the lungs, in cm."""
    out = np.zeros((grid.count, grid.count), dtype=np.float32)
    for lung in lungs:
        x = (grid.x - lung.hilum[0] + 0.012 * lung.side) / 0.032
        y = (grid.y - lung.hilum[1] - 0.01) / 0.055
        out += (1.9 * np.exp(-(x**2)) * np.exp(-(y**2))).astype(np.float32)
    return out


def _breasts(rng: np.random.Generator, grid: _Grid, chest: Chest) -> Image:
    person = chest.person
    out = np.zeros((grid.count, grid.count), dtype=np.float32)
    if person.breast <= 0.3:
        return out
    radius = 0.105 + 0.014 * person.breast
    for side in _SIDES:
        x = side * grid.x - 0.56 * person.half_width - 0.03 - rng.normal(0, 0.01)
        y = grid.y - person.breast_y - rng.normal(0, 0.01)
        ball = np.clip(1 - (x / radius) ** 2 - (y / (radius * 0.92)) ** 2, 0, None)
        fade = anatomy._ramp(y, -radius, 0.55 * radius)
        out += (1.6 * person.breast * ball**0.6 * fade).astype(np.float32)
    return grid.blur(out, 0.003)


def _abdominal_gas(rng: np.random.Generator, grid: _Grid, chest: Chest) -> Image:
    out = np.zeros((grid.count, grid.count), dtype=np.float32)
    top = float(chest.diaphragm(1, np.array([0.16]))[0])
    if rng.random() < 0.7:  # the stomach's bubble
        wide, high = rng.uniform(0.03, 0.075), rng.uniform(0.015, 0.045)
        _add_blob(grid, out, (rng.uniform(0.12, 0.2), top + 0.02 + high), (wide, high), 5.0)
    for _ in range(rng.poisson(2.0)):
        spot = (rng.uniform(-0.1, 0.25), top + rng.uniform(0.1, 0.3))
        _add_blob(grid, out, spot, (rng.uniform(0.015, 0.05), rng.uniform(0.012, 0.03)), 3.0)
    return grid.blur(out, 0.003)


def _add_blob(
    grid: _Grid, out: Image, at: tuple[float, float], radii: tuple[float, float], thick: float
) -> None:
    x, y = (grid.x - at[0]) / radii[0], (grid.y - at[1]) / radii[1]
    out += (thick * np.sqrt(np.clip(1 - x**2 - y**2, 0, None))).astype(np.float32)


# ---------------------------------------------------------------------------- bones


def _bones(rng: np.random.Generator, grid: _Grid, chest: Chest) -> Image:
    """Return the attenuation by bones beyond that of the tissue they displace (no unit)."""
    density = chest.person.bone
    back, front = grid.blank(), grid.blank()
    for side in _SIDES:
        for number in range(10, -1, -1):
            behind, ahead = anatomy.rib(chest, side, number)
            fade = 1.0 if number < 8 else 0.75
            _tube(grid, back, behind, (0.0125, 0.0135, 0.0105), 200 * fade)
            if number < 9:
                _tube(grid, front, ahead, (0.0105, 0.012, 0.0135), 170 * fade)
    out = grid.blur(back, 0.0008) * np.float32(0.5 / 255)
    out += grid.blur(front, 0.0012) * np.float32(0.3 / 255)
    out += _spine(grid, chest)
    girdle = grid.blank()
    for side in _SIDES:
        _shoulder_blade(rng, grid, chest, girdle, side)
    out += grid.blur(girdle, 0.001) * np.float32(0.75 / 255)
    collar = grid.blank()
    for side in _SIDES:
        _collar_bone(rng, grid, chest, collar, side)
    out += grid.blur(collar, 0.0009) * np.float32(0.8 / 255)
    return out * np.float32(density)


def _tube(
    grid: _Grid,
    canvas: NDArray[np.uint8],
    line: Floats,
    widths: Sequence[float],
    value: float,
) -> None:
    """Draw a bone with a bright rim along `line`; `widths` are half-widths from start to end."""
    place = np.linspace(0, 1, len(line))
    half = np.interp(place, np.linspace(0, 1, len(widths)), widths)
    lift = np.array([0.0, -0.0012])
    for share, level in ((1.0, 0.5), (0.93, 1.0), (0.74, 0.66), (0.5, 0.55)):
        grid.fill(canvas, _strip(line + lift * (share < 0.9), half * share), round(value * level))


def _strip(line: Floats, half: Floats) -> Floats:
    """Return the outline of a band of half-width `half` (n,) around `line` (n, 2)."""
    along = np.gradient(line, axis=0)
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / length[:, None] * half[:, None]
    return np.concatenate([line + across, (line - across)[::-1]])


def _mirrored(right: Floats) -> Floats:
    """Return the closed outline of a shape from its right half."""
    return np.concatenate([right, (right * [-1, 1])[::-1]])


def _spine(grid: _Grid, chest: Chest) -> Image:
    """Return the vertebrae: bodies with bright end plates, pedicles and spinous processes."""
    person = chest.person
    bodies, details = grid.blank(), grid.blank()
    y = person.apex_y - 0.33
    while y < 1.25:
        t = float(chest.depth(np.array(y)))
        high = 0.05 + 0.016 * float(np.clip(t, -0.3, 1.1))
        wide = 0.038 + 0.012 * float(np.clip(t, -0.3, 1.1))
        waist = _mirrored(
            np.array([(wide, y), (0.87 * wide, y + 0.5 * high), (wide, y + 0.86 * high)])
        )
        grid.fill(bodies, waist, 165)
        for edge in (y + 0.003, y + 0.85 * high):
            plate = np.array([[-wide, edge], [wide, edge]])
            grid.fill(details, _strip(plate, np.full(2, 0.0022)), 120)
        _pedicles(grid, details, wide, y, high)
        y += high
    across = np.exp(-((grid.x / 0.045) ** 4)).astype(np.float32)
    out = grid.blur(bodies, 0.003) * np.float32(0.75 / 255) * (0.55 + 0.45 * across)
    return out + grid.blur(details, 0.0016) * np.float32(0.42 / 255)


def _pedicles(grid: _Grid, canvas: NDArray[np.uint8], wide: float, y: float, high: float) -> None:
    turn = np.linspace(0, 2 * np.pi, 24)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    for side in _SIDES:
        spot = np.array([side * 0.68 * wide, y + 0.33 * high])
        grid.fill(canvas, spot + ring * [0.0085, 0.0125], 190)
        grid.fill(canvas, spot + ring * [0.0055, 0.0095], 90)
        wing = np.array([[side * wide, y + 0.2 * high], [side * (wide + 0.026), y + 0.05 * high]])
        grid.fill(canvas, _strip(wing, np.array([0.011, 0.008])), 110)
    spot = np.array([0.0, y + 0.62 * high])
    grid.fill(canvas, spot + ring * [0.006, 0.015], 200)
    grid.fill(canvas, spot + ring * [0.0035, 0.0115], 110)


def _shoulder_blade(
    rng: np.random.Generator, grid: _Grid, chest: Chest, canvas: NDArray[np.uint8], side: Side
) -> None:
    """Draw a scapula with its rim, the head of the humerus and its shaft."""
    person = chest.person
    inward = rng.uniform(0.0, 0.03) + (0.035 if chest.pose.view == "AP" else 0.0)
    top = person.apex_y
    x = person.half_width * 0.98 - inward
    blade = np.array(
        [
            (x - 0.055, top + 0.045),
            (x + 0.02, top + 0.055),
            (x + 0.055, top + 0.1),
            (x + 0.045, top + 0.16),
            (x + 0.02, top + 0.24),
            (x - 0.005, top + 0.32),
            (x - 0.035, top + 0.335),
            (x - 0.058, top + 0.26),
            (x - 0.068, top + 0.15),
        ]
    )
    blade = _smooth_loop(blade) * [side, 1]
    middle = blade.mean(axis=0)
    grid.fill(canvas, blade, 120)
    grid.fill(canvas, middle + (blade - middle) * 0.9, 62)
    ridge = np.array([[x - 0.06, top + 0.115], [x + 0.02, top + 0.07], [x + 0.085, top + 0.02]])
    _tube(grid, canvas, _curve(ridge) * [side, 1], (0.004, 0.007, 0.014), 150)
    hook = np.array([[x + 0.04, top + 0.085], [x + 0.02, top + 0.06], [x + 0.035, top + 0.085]])
    _tube(grid, canvas, _curve(hook) * [side, 1], (0.01, 0.011, 0.008), 140)
    turn = np.linspace(0, 2 * np.pi, 40)
    head = np.array([x + 0.095, top + 0.095])
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    for radius, value in ((0.047, 190), (0.0435, 140)):
        grid.fill(canvas, (head + radius * ring) * [side, 1], value)
    reach = person.half_width + person.fat + 0.11 + chest.pose.arms
    neck = head + np.array([0.012, 0.01])
    shaft = np.array([neck, (reach, 0.55), (reach + 0.07, 1.4)])
    _tube(grid, canvas, _curve(shaft) * [side, 1], (0.04, 0.022, 0.02, 0.02, 0.02), 150)


def _collar_bone(
    rng: np.random.Generator, grid: _Grid, chest: Chest, canvas: NDArray[np.uint8], side: Side
) -> None:
    person = chest.person
    raised = rng.normal(0, 0.012) - (0.02 if chest.pose.view == "AP" else 0.0)
    top = person.apex_y + 0.055
    width = person.half_width
    line = np.array(
        [
            (0.034, top + 0.03),
            (0.1, top + 0.012 + 0.3 * raised),
            (0.45 * width + 0.03, top - 0.025 + 0.7 * raised),
            (0.85 * width, top - 0.06 + raised),
            (1.2 * width, top - 0.045 + raised),
        ]
    )
    _tube(grid, canvas, _curve(line) * [side, 1], (0.019, 0.0135, 0.012, 0.0125, 0.016), 175)


def _curve(points: Floats, count: int = 32) -> Floats:
    """Return `count` points of a smooth curve through `points` (n, 2)."""
    from scipy.interpolate import PchipInterpolator

    place = np.linspace(0, 1, len(points))
    return np.asarray(PchipInterpolator(place, points)(np.linspace(0, 1, count)), dtype=np.float64)


def _smooth_loop(points: Floats) -> Floats:
    """Return a closed outline with its corners cut three times (Chaikin)."""
    for _ in range(3):
        ahead = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * ahead, 0.25 * points + 0.75 * ahead], axis=1)
        points = points.reshape(-1, 2)
    return points


# ---------------------------------------------------------------------------- fine structures


def _texture(rng: np.random.Generator, film: _Film, tissue: Image) -> Image:
    """Return the fine mesh of lung tissue, and the faint unevenness of everything else."""
    size = film.size
    half = size // 2 if size >= 512 else size
    unit = half / 1024
    mesh = rng.standard_normal((half, half), dtype=np.float32)
    fine = cv2.GaussianBlur(mesh, (0, 0), 2.6 * unit + 0.4)
    fine -= cv2.GaussianBlur(mesh, (0, 0), 7 * unit + 0.8)
    fine *= np.float32(rng.uniform(0.02, 0.045)) / (fine.std() + np.float32(1e-6))
    small = rng.standard_normal((24, 24), dtype=np.float32)
    coarse = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC) * np.float32(0.03)
    fine = cv2.resize(fine, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(fine * tissue + coarse, dtype=np.float32)


def _vessels(rng: np.random.Generator, film: _Film, lungs: Sequence[Lung]) -> Image:
    """Return the attenuation by the lungs' vessels: one tree of arteries and one of veins."""
    strength = rng.uniform(0.7, 1.35)
    out = np.zeros((film.size, film.size), dtype=np.float32)
    for _ in range(2):
        canvas = np.zeros((film.size, film.size), dtype=np.uint8)
        trees = [anatomy.vessel_tree(rng, lung) for lung in lungs]
        pieces = film.place(np.concatenate([tree[0] for tree in trees]))
        widths = np.concatenate([tree[1] for tree in trees])
        _draw_pieces(canvas, pieces, widths * film.pose.zoom * film.size, widths)
        out += canvas
    soft = _blur(out, 0.9 * film.size / 1024 + 0.2)
    return soft * np.float32(strength * 0.45 / 255)


def _draw_pieces(
    canvas: NDArray[np.uint8], pieces: Floats, thickness_px: Floats, diameters: Floats
) -> None:
    """Draw straight pieces, thin ones first, as bright as their diameter asks."""
    level = np.clip(diameters / 0.0125, 0.05, 1.0) ** 0.9 * np.minimum(thickness_px, 1.0)
    classes = np.round(8 * np.log(diameters / 0.001)).astype(int)
    fixed = _fixed(pieces)
    for index in np.unique(classes):
        chosen = classes == index
        pixels = max(round(float(thickness_px[chosen].mean())), 1)
        value = round(255 * float(level[chosen].mean()))
        cv2.polylines(canvas, fixed[chosen], False, value, pixels, cv2.LINE_AA, _SHIFT)


def _pleural_lines(rng: np.random.Generator, film: _Film, lungs: Sequence[Lung]) -> Image:
    """Return the thin bright line of the visceral pleura where it has left the wall."""
    canvas = np.zeros((film.size, film.size), dtype=np.uint8)
    for lung in lungs:
        if lung.collapse == 0:
            continue
        loose = lung.field - lung.pleura > 0.003
        points = film.place(lung.points(lung.pleura))
        ahead = np.roll(points, -1, axis=0)
        pieces = np.stack([points, ahead], axis=1)[loose]
        width = max(round(2.0 * film.size / 1024), 1)
        cv2.polylines(canvas, _fixed(pieces), False, 255, width, cv2.LINE_AA, _SHIFT)
    strength = rng.uniform(0.12, 0.24) * min(1.0, film.size / 700 + 0.3)
    soft = _blur(canvas.astype(np.float32), 0.8 * film.size / 1024 + 0.2)
    return soft * np.float32(strength / 255)


def _skin_folds(rng: np.random.Generator, film: _Film, chest: Chest) -> Image:
    """Return folds of skin: an edge on one side, fading on the other, over and beyond the lung."""
    canvas = np.zeros((film.size, film.size), dtype=np.float32)
    if rng.random() > 0.22:
        return canvas
    side = 1 if rng.random() < 0.5 else -1
    x = side * rng.uniform(0.14, 0.3)
    y = rng.uniform(0.12, 0.4)
    slant = side * rng.uniform(-0.05, 0.14)
    line = np.array([(x, y), (x + 0.5 * slant, y + 0.2), (x + slant, y + rng.uniform(0.3, 0.6))])
    edge = _curve(line)
    out = np.array([side * rng.choice((-1.0, 1.0)) * 0.05, 0.0])
    shape = np.zeros((film.size, film.size), dtype=np.uint8)
    strength = rng.uniform(0.06, 0.14)
    for part in np.linspace(1.0, 0.1, 10):
        band = film.place(np.concatenate([edge, (edge + out * part)[::-1]]))
        cv2.fillPoly(shape, [_fixed(band)], round(255 * (1.05 - part)), cv2.LINE_AA, _SHIFT)
    return _blur(shape.astype(np.float32), 2.0 * film.size / 1024) * np.float32(strength / 255)


# ---------------------------------------------------------------------------- devices, markers


def _devices(rng: np.random.Generator, film: _Film, chest: Chest, lungs: Sequence[Lung]) -> Image:
    """Return electrodes, wires, lines, tubes and drains; none depends on a pneumothorax."""
    canvas = np.zeros((film.size, film.size), dtype=np.uint8)
    bedside = chest.pose.view == "AP"
    often = 2.4 if bedside else 0.5
    if rng.random() < 0.22 * often:
        _electrodes(rng, film, canvas)
    if rng.random() < 0.2 * often:
        _venous_line(rng, film, chest, canvas)
    if bedside and rng.random() < 0.3:
        _airway_tube(rng, film, chest, canvas)
    if rng.random() < 0.09 * often:
        _drain(rng, film, chest, canvas)
    soft = _blur(canvas.astype(np.float32), 0.6 * film.size / 1024 + 0.2)
    return soft * np.float32(1.6 / 255)


def _draw_line(
    film: _Film, canvas: NDArray[np.uint8], line: Floats, width: float, value: int
) -> None:
    """Draw a body-unit curve on the film, `width` body units wide."""
    pixels = width * film.size
    value = max(round(value * min(pixels, 1.0)), 1)
    points = [_fixed(film.place(line))]
    cv2.polylines(canvas, points, False, value, max(round(pixels), 1), cv2.LINE_AA, _SHIFT)


def _electrodes(rng: np.random.Generator, film: _Film, canvas: NDArray[np.uint8]) -> None:
    turn = np.linspace(0, 2 * np.pi, 32)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    plug = np.array([rng.uniform(-0.2, 0.2), 1.15])
    for _ in range(rng.integers(2, 6)):
        spot = np.array([rng.uniform(-0.36, 0.36), rng.uniform(0.12, 0.85)])
        bow = (spot + plug) / 2 + rng.normal(0, 0.12, 2)
        _draw_line(film, canvas, _curve(np.array([spot, bow, plug])), 0.0026, 105)
        _draw_line(film, canvas, spot + 0.019 * ring, 0.0016, 35)
        disc = _fixed(film.place(spot + 0.0065 * ring))
        cv2.fillPoly(canvas, [disc], 190, cv2.LINE_AA, _SHIFT)


def _venous_line(
    rng: np.random.Generator, film: _Film, chest: Chest, canvas: NDArray[np.uint8]
) -> None:
    top = chest.person.apex_y
    tip = (-0.045, top + rng.uniform(0.3, 0.45) * chest.length)
    vein = (-0.05, top + 0.12)
    if rng.random() < 0.5:
        start = [(-0.085, top - 0.14), (-0.07, top)]
    else:
        start = [(-0.33, top + 0.2), (-0.22, top + 0.085), (-0.12, top + 0.075)]
    _draw_line(film, canvas, _curve(np.array([*start, vein, tip]), 60), 0.0042, 80)
    if rng.random() < 0.3 and len(start) == 3:
        turn = np.linspace(0, 2 * np.pi, 32)
        ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        _draw_line(film, canvas, np.array(start[0]) + 0.024 * ring, 0.008, 170)


def _airway_tube(
    rng: np.random.Generator, film: _Film, chest: Chest, canvas: NDArray[np.uint8]
) -> None:
    top = chest.person.apex_y
    end = top + rng.uniform(0.12, 0.26) * chest.length
    line = np.array([(0.004, -0.25), (rng.normal(0, 0.004), top), (0.003, end)])
    for shift in (-0.0115, 0.0115):
        _draw_line(film, canvas, _curve(line) + np.array([shift, 0.0]), 0.0022, 45)
    _draw_line(film, canvas, _curve(line) + np.array([0.011, 0.0]), 0.0024, 110)


def _drain(rng: np.random.Generator, film: _Film, chest: Chest, canvas: NDArray[np.uint8]) -> None:
    side = 1 if rng.random() < 0.5 else -1
    top, low = chest.person.apex_y, rng.uniform(0.5, 0.75)
    wall = float(chest.wall(np.array([low]))[0])
    tip = (rng.uniform(0.1, 0.2), top + rng.uniform(0.05, 0.3))
    points = [(wall + 0.2, low + 0.2), (wall, low), (0.72 * wall, 0.6 * low + 0.4 * tip[1]), tip]
    line = _curve(np.array(points), 60) * [side, 1]
    width = rng.uniform(0.008, 0.016)
    across = np.array([width, 0.25 * width])
    _draw_line(film, canvas, line, 2 * width, 16)
    for shift in (-across, across):
        _draw_line(film, canvas, line + shift, 0.0018, 45)
    _draw_line(film, canvas, line + 0.5 * across, 0.0036, 135)


def _markers(rng: np.random.Generator, film: _Film, grey: NDArray[np.uint8]) -> None:
    """Write the side letter, bedside words and a dark collimated margin, in place."""
    size = film.size
    value = int(rng.integers(215, 256))
    scale = size / 1024
    spot = (round((0.87 + rng.uniform(-0.05, 0.04)) * size), round(rng.uniform(0.06, 0.16) * size))
    if rng.random() < 0.85:
        _write(grey, "L", spot, rng.uniform(0.9, 1.6) * scale, value)
    if film.pose.view == "AP" and rng.random() < 0.7:
        _write(grey, "PORTABLE", (round(0.03 * size), round(0.05 * size)), 0.7 * scale, value)
        _write(grey, "AP", (round(0.04 * size), round(0.085 * size)), 0.7 * scale, value)
    if rng.random() < 0.35:
        for edge in range(4):
            width = round(rng.uniform(0, 0.03) * size)
            view = np.rot90(grey, edge)
            view[:width] = view[:width] // 12


def _write(
    grey: NDArray[np.uint8], text: str, spot: tuple[int, int], scale: float, value: int
) -> None:
    thick = max(round(2.4 * scale), 1)
    cv2.putText(grey, text, spot, cv2.FONT_HERSHEY_SIMPLEX, scale, value, thick, cv2.LINE_AA)
