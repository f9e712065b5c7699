"""Path lengths of rays through soft tissue and air, in cm, on a body grid."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.synthesis.phantom.anatomy import Chest, Lung, Side, ramp
from pleura.synthesis.phantom.canvas import SIDES, SPAN, Grid, Image, mirrored, strip


def soft_tissue(
    rng: np.random.Generator, grid: Grid, chest: Chest, lungs: Sequence[Lung]
) -> tuple[Image, Image]:
    """Return path lengths through soft tissue in cm, and through lung tissue alone (0..1)."""
    body = _body(rng, grid, chest)
    aerated = np.zeros((grid.count, grid.count), dtype=np.float32)
    tissue = np.zeros_like(aerated)
    density = rng.uniform(0.26, 0.38)
    for lung in lungs:
        depth = _lung_depth(grid, chest, lung.side)
        left = _lung_share(grid, lung)
        crowded = density * (1 + 0.9 * lung.collapse)
        rest = rng.uniform(0.0, 0.12) * density
        aerated += depth * (1 - rest - (crowded - rest) * left)
        tissue += depth / 16 * left
    soft = body - aerated - _airways(grid, chest)
    soft += _breasts(rng, grid, chest) + _hila(grid, lungs) * np.minimum(aerated / 7, 1)
    soft -= _abdominal_gas(rng, grid, chest)
    free = grid.blur((body > 0.05).astype(np.float32), 0.002)
    return grid.blur(np.maximum(soft, 0.35 * np.sqrt(body)) * free, 0.0011), tissue


def _body(rng: np.random.Generator, grid: Grid, chest: Chest) -> Image:
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
    grid.fill(trunk, mirrored(right), 255)
    thick = rng.uniform(20, 23) + 40 * (person.fat - 0.05)
    if chest.pose.view == "AP":
        thick += 1.0
    out = _rounded(grid, trunk, thick, 0.115)
    upper = 1 - 0.3 * ramp(-grid.y, -person.apex_y - 0.09, 0.06 - person.apex_y)
    out *= upper.astype(np.float32)
    arms = _arms(rng, grid, chest)
    return grid.blur(np.maximum(out, arms), 0.003)


def _arms(rng: np.random.Generator, grid: Grid, chest: Chest) -> Image:
    canvas = grid.blank()
    reach = chest.person.half_width + chest.person.fat + 0.05 + chest.pose.arms
    top = chest.person.apex_y + 0.1
    for side in SIDES:
        out = reach + rng.normal(0, 0.01)
        line = np.array(
            [[0.46, top - 0.03], [0.48, top + 0.1], [out + 0.07, 0.55], [out + 0.14, 1.4]]
        )
        grid.fill(canvas, strip(line * [side, 1], np.array([0.06, 0.068, 0.065, 0.055])), 255)
    return _rounded(grid, canvas, 11.0, 0.06)


def _rounded(grid: Grid, canvas: NDArray[np.uint8], thick: float, edge: float) -> Image:
    """Return a thickness that rises from the border of a filled shape like the side of a ball."""
    inside = cv2.distanceTransform((canvas > 127).astype(np.uint8), cv2.DIST_L2, 5)
    inside = inside * np.float32(SPAN / grid.count / edge)
    rise = 1 - np.clip(inside, 0, 1)
    return np.asarray(thick * np.sqrt(1 - rise * rise), dtype=np.float32)


def _lung_depth(grid: Grid, chest: Chest, side: Side) -> Image:
    """Return the front-to-back length of the lung of `side` in cm, as if it filled its space."""
    y = grid.y
    own = side * grid.x[0] > 0
    out = side * grid.x[:, own]
    t = chest.depth(y)
    dome = np.clip(t / 0.34, 0.0, 1.0)
    long = 14.5 * (0.18 * (t > 0) + 0.82 * np.sqrt(1 - (1 - dome) ** 2))
    long = (long * np.clip((1.3 - t) / 0.2, 0, 1)).astype(np.float32)
    wall = 1 - np.clip((chest.wall(y) - out) / 0.15, 0.0, 1.0).astype(np.float32)
    inner = np.clip((chest.border(side, y) - out) / 0.045, 0.0, 1.0).astype(np.float32)
    most = np.interp(t, (0.0, 0.3, 0.6, 1.0), (0.96, 0.94, 0.82, 0.85)).astype(np.float32)
    under = (y - chest.diaphragm(side, out)).astype(np.float32)
    step = np.clip(0.5 + under * np.float32(grid.count / SPAN / 2), 0.0, 1.0)
    below = 0.55 + 0.45 * np.sqrt(np.clip(under / np.float32(0.11), 0.0, 1.0))
    depth = np.zeros((grid.count, grid.count), dtype=np.float32)
    depth[:, own] = long * np.sqrt(1 - wall * wall * wall) * (1 - step * below)
    depth[:, own] *= 1 - most * np.sqrt(inner * (2 - inner))
    return np.maximum(depth, 0.0, out=depth)


def _lung_share(grid: Grid, lung: Lung) -> Image:
    """Return 1 where lung tissue is and 0 in a pneumothorax."""
    canvas = np.full((grid.count, grid.count), 255, dtype=np.uint8)
    if lung.collapse > 0:
        grid.fill(canvas, lung.points(lung.field + 0.004), 0)
        grid.fill(canvas, lung.points(lung.pleura), 255)
    return canvas.astype(np.float32) / np.float32(255)


def _airways(grid: Grid, chest: Chest) -> Image:
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
        grid.fill(canvas, strip(line, np.array(widths)), 255)
    return grid.blur(canvas, 0.005) * np.float32(2.7 / 255)


def _hila(grid: Grid, lungs: Sequence[Lung]) -> Image:
    """Return the large vessels at the roots of the lungs, in cm."""
    out = np.zeros((grid.count, grid.count), dtype=np.float32)
    for lung in lungs:
        x = (grid.x - lung.hilum[0] + 0.012 * lung.side) / 0.032
        y = (grid.y - lung.hilum[1] - 0.01) / 0.055
        out += (1.9 * np.exp(-(x**2)) * np.exp(-(y**2))).astype(np.float32)
    return out


def _breasts(rng: np.random.Generator, grid: Grid, chest: Chest) -> Image:
    person = chest.person
    out = np.zeros((grid.count, grid.count), dtype=np.float32)
    if person.breast <= 0.3:
        return out
    radius = 0.105 + 0.014 * person.breast
    for side in SIDES:
        x = side * grid.x - 0.56 * person.half_width - 0.03 - rng.normal(0, 0.01)
        y = grid.y - person.breast_y - rng.normal(0, 0.01)
        ball = np.clip(1 - (x / radius) ** 2 - (y / (radius * 0.92)) ** 2, 0, None)
        fade = ramp(y, -radius, 0.55 * radius)
        out += (1.6 * person.breast * ball**0.6 * fade).astype(np.float32)
    return grid.blur(out, 0.003)


def _abdominal_gas(rng: np.random.Generator, grid: Grid, chest: Chest) -> Image:
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
    grid: Grid, out: Image, at: tuple[float, float], radii: tuple[float, float], thick: float
) -> None:
    x, y = (grid.x - at[0]) / radii[0], (grid.y - at[1]) / radii[1]
    out += (thick * np.sqrt(np.clip(1 - x**2 - y**2, 0, None))).astype(np.float32)
