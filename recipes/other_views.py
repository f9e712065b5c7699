"""Draws radiographs that are no frontal chest: laterals, abdomens, hands, knees, skulls.

They are as plain as a drawing can be that still has the proportions, the overlap and the greys of
such a radiograph: rays through soft tissue, bone and air, with scatter, noise and a radiograph's
    S-shaped
answer. They measure the input guard where no real radiographs of these kinds may be had.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.synthesis.phantom.anatomy import Floats, Pose
from pleura.synthesis.phantom.canvas import SPAN, Grid, Image, Plate, blurred, curve, strip, tube

Drawing = Callable[[np.random.Generator, Grid], Image]


def draw_view(kind: str, rng: np.random.Generator, size: int = 256) -> NDArray[np.uint8]:
    """Return a drawn radiograph.

    Args:
        kind: A key of `VIEWS`.
        rng: Source of everything random.
        size: Side in pixels.

    Returns:
        ``(size, size)`` uint8, bone bright, air dark.
    """
    pose = Pose(
        view="PA",
        zoom=float(rng.normal(1.08, 0.12)),
        tilt=float(rng.normal(0.0, 0.06)),
        shift=(float(rng.normal(0, 0.03)), float(rng.normal(0, 0.03))),
        turn=0.0,
        breath=1.0,
        arms=0.0,
    )
    depth = Plate(size, pose).carry(VIEWS[kind](rng, Grid(round(SPAN * size))))
    return _exposed(rng, depth if rng.random() < 0.5 else depth[:, ::-1])


def _exposed(rng: np.random.Generator, depth: Image) -> NDArray[np.uint8]:
    """Return the radiograph of rays that were weakened by exp(-depth)."""
    size = len(depth)
    depth = depth + 0.06 * blurred(rng.standard_normal(depth.shape, np.float32), size / 300)
    rays = np.exp(-np.maximum(depth, 0))
    rays += np.float32(rng.uniform(0.2, 0.7)) * blurred(np.minimum(rays, 0.12), 0.07 * size)
    rays += np.sqrt(rays) * np.float32(0.004) * rng.standard_normal(depth.shape, np.float32)
    signal = -np.log(np.clip(rays, 1e-4, 1.2))
    body = signal[signal > 0.15]
    low, high = np.percentile(body if body.size else signal, [10, 90])
    slope = rng.uniform(2.5, 4) / max(float(high - low), 0.3)
    curved = 1 / (1 + np.exp(-slope * (signal - (low + high) / 2)))
    dark, light = rng.uniform(0, 25), rng.uniform(215, 255)
    return np.asarray(np.clip(dark + curved * (light - dark), 0, 255), np.uint8)


# ------------------------------------------------------------------------------ the shapes


def _ring(middle: tuple[float, float], radii: tuple[float, float], turn: float = 0.0) -> Floats:
    angle = np.linspace(0, 2 * np.pi, 60)
    x, y = radii[0] * np.cos(angle), radii[1] * np.sin(angle)
    cos, sin = np.cos(turn), np.sin(turn)
    return np.stack([middle[0] + cos * x - sin * y, middle[1] + sin * x + cos * y], axis=1)


def _filled(grid: Grid, *outlines: Floats, soft: float = 0.002) -> Image:
    """Return 0..1 inside the outlines."""
    canvas = grid.blank()
    for outline in outlines:
        grid.fill(canvas, outline, 255)
    return grid.blur(canvas, soft) / np.float32(255)


def _rounded(grid: Grid, shape: Image, edge: float) -> Image:
    """Return 0..1, rising from the border of a shape like the side of a ball of radius `edge`."""
    inside = cv2.distanceTransform((shape > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    rise = 1 - np.clip(inside * np.float32(SPAN / grid.count / edge), 0, 1)
    return grid.blur(np.sqrt(1 - rise * rise), 0.004)


def _bones(grid: Grid, *lines: tuple[Floats, tuple[float, ...]], blur: float = 0.001) -> Image:
    """Return 0..1 along bones: a middle line and half-widths from start to end for each."""
    canvas = grid.blank()
    for line, widths in lines:
        tube(grid, canvas, line, widths, 230)
    return grid.blur(canvas, blur) / np.float32(255)


def _line(*points: tuple[float, float]) -> Floats:
    return curve(np.array(points, float)) if len(points) > 2 else np.linspace(*points, 32)


def _vertebrae(grid: Grid, spine: Floats, half: float, high: float) -> Image:
    """Return 0..1 in a column of bodies along a line, with gaps between them."""
    canvas = grid.blank()
    along = np.r_[0, np.cumsum(np.hypot(*np.diff(spine, axis=0).T))]
    for start in np.arange(0, along[-1] - high, high):
        ends = [
            [np.interp(start + part * high, along, spine[:, axis]) for axis in (0, 1)]
            for part in (0.08, 0.5, 0.92)
        ]
        grid.fill(canvas, strip(np.array(ends), half * np.array([1, 0.88, 1])), 230)
    return grid.blur(canvas, 0.002) / np.float32(255)


# --------------------------------------------------------------------------------- the views


def lateral_chest(rng: np.random.Generator, grid: Grid) -> Image:
    """Return the attenuation of a chest from the side, the front at the left."""
    deep = rng.normal(1, 0.09)
    body = _line((0.02, -0.3), (-0.05, 0.05), (-0.24 * deep, 0.2), (-0.33 * deep, 0.55))
    front = np.concatenate([body, _line((-0.33 * deep, 0.55), (-0.34 * deep, 0.9), (-0.32, 1.4))])
    back = _line((0.3, 1.4), (0.3, 0.8), (0.34 * deep, 0.45), (0.26, 0.12), (0.16, -0.3))
    trunk = _filled(grid, np.concatenate([front, back]))
    depth = 6.4 * _rounded(grid, trunk, 0.2)
    base = rng.uniform(0.78, 0.9)
    lung = np.concatenate(
        [
            _line((0.02, 0.08), (-0.12, 0.18), (-0.25 * deep, 0.4), (-0.26 * deep, base - 0.14)),
            _line((-0.26 * deep, base - 0.14), (-0.05, base - 0.15), (0.27 * deep, base + 0.06)),
            _line((0.27 * deep, base + 0.06), (0.28 * deep, 0.5), (0.2, 0.2), (0.02, 0.08)),
        ]
    )
    depth -= 3.6 * _rounded(grid, _filled(grid, lung), 0.12)
    heart = _ring((-0.1, base - 0.26), (0.15 * rng.normal(1, 0.1), 0.17), 0.5)
    depth += 1.4 * _rounded(grid, _filled(grid, heart, soft=0.006), 0.12)
    depth += 0.7 * _filled(grid, _ring((0.0, 0.4), (0.05, 0.06)), soft=0.02)
    spine = _line((0.12, -0.2), (0.2 * deep, 0.15), (0.24 * deep, 0.5), (0.16, 1.0), (0.12, 1.4))
    depth += 0.9 * _vertebrae(grid, spine, 0.038, 0.068)
    sternum = _line((-0.13, 0.2), (-0.27 * deep, 0.4), (-0.29 * deep, 0.62))
    ribs = [
        (
            _line((0.22 * deep, y), (0.02, y + fall * 0.5), (-0.24 * deep, y + fall + shift)),
            (0.008, 0.009, 0.008),
        )
        for y in np.arange(0.1, 0.85, 0.075)
        for fall, shift in ((rng.normal(0.2, 0.02), 0.0), (rng.normal(0.2, 0.02), 0.02))
    ]
    depth += 0.35 * _bones(grid, *ribs) + 0.5 * _bones(grid, (sternum, (0.016, 0.012)))
    arm = _line((0.05, 0.2), (-0.1, 0.0), (-0.2, -0.25))
    depth += 1.5 * _filled(grid, strip(arm, np.full(len(arm), 0.09)), soft=0.01)
    depth += 0.7 * _bones(grid, (arm, (0.04, 0.022, 0.02)))
    return depth


def abdomen(rng: np.random.Generator, grid: Grid) -> Image:
    """Return the attenuation of an abdomen, from the lowest ribs to the hips."""
    wide = rng.normal(0.42, 0.05)
    side = _line((wide, -0.3), (wide - 0.01, 0.3), (wide + 0.02, 0.7), (wide + 0.08, 1.4))
    trunk = _filled(grid, np.concatenate([side, side[::-1] * [-1, 1]]))
    depth = rng.uniform(4.2, 5.2) * _rounded(grid, trunk, 0.25)
    depth += 0.5 * _filled(grid, _ring((-0.24, 0.12), (0.2, 0.2), 0.3), soft=0.02)  # liver
    for side_ in (-1, 1):
        depth += 0.35 * _filled(grid, _ring((side_ * 0.17, 0.36), (0.05, 0.1), side_ * 0.2))
        psoas = _line((side_ * 0.05, 0.25), (side_ * 0.16, 0.85))
        depth += 0.35 * _filled(grid, strip(psoas, np.linspace(0.02, 0.07, 32)), soft=0.006)
    spine = _line((0, -0.3), (rng.normal(0, 0.02), 0.3), (0.0, 0.8))
    depth += 1.1 * _vertebrae(grid, spine, 0.058, 0.1)
    for side_ in (-1, 1):
        ribs = [
            (_line((side_ * 0.06, y), (side_ * 0.25, y + 0.06), (side_ * 0.36, y + 0.2)), (0.012,))
            for y in (-0.2, -0.11, -0.02)
        ]
        depth += 0.4 * _bones(grid, *((line, widths * 2) for line, widths in ribs))
        wing = np.array(
            [(0.09, 0.78), (0.2, 0.66), (0.36, 0.64), (0.38, 0.75), (0.3, 0.95), (0.17, 1.0)]
        )
        depth += 0.7 * _filled(grid, wing * [side_, 1], soft=0.004)
        hip = _line((side_ * 0.3, 1.0), (side_ * 0.38, 1.1), (side_ * 0.36, 1.4))
        depth += 0.9 * _bones(grid, (hip, (0.055, 0.04, 0.035)))
    sacrum = np.array([(-0.09, 0.76), (0.09, 0.76), (0.05, 1.0), (-0.05, 1.0)])
    depth += 0.7 * _filled(grid, sacrum, soft=0.005)
    for _ in range(rng.poisson(14)):  # gas in the bowel
        at = (rng.uniform(-0.32, 0.32), rng.uniform(0.1, 0.9))
        size = (rng.uniform(0.02, 0.07), rng.uniform(0.015, 0.05))
        gas = _filled(grid, _ring(at, size, rng.uniform(0, np.pi)), soft=0.006)
        depth -= rng.uniform(0.4, 1.0) * gas
    return depth


def hand(rng: np.random.Generator, grid: Grid) -> Image:
    """Return the attenuation of a hand, fingers up, on an empty radiograph."""
    spread = rng.uniform(0.06, 0.16)
    lengths = np.array([0.86, 1.0, 1.06, 0.98, 0.78]) * rng.normal(0.38, 0.02)
    bones: list[tuple[Floats, tuple[float, ...]]] = []
    flesh = []
    wrist = np.array([0.0, 0.82])
    for finger in range(5):
        angle = (finger - 2) * spread + (-0.45 if finger == 0 else 0.0)
        way = np.array([np.sin(angle), -np.cos(angle)])
        start = wrist + np.array([0.045 * (finger - 2), -0.08 if finger else -0.02])
        parts = (0.26, 0.16, 0.1, 0.07) if finger else (0.17, 0.12, 0.0, 0.09)
        for part in np.array(parts)[np.array(parts) > 0]:
            end = start + way * part * lengths[finger] / 0.38
            bones.append((_line(tuple(start), tuple(end)), (0.02, 0.012, 0.011, 0.018)))
            start = end + way * 0.012
        line = _line(tuple(wrist), tuple(start + way * 0.02))
        flesh.append(strip(line, np.interp(np.arange(32), [0, 8, 31], [0.06, 0.042, 0.03])))
    flesh.append(strip(_line((0.0, 0.78), (0.0, 1.5)), np.full(32, 0.12)))
    flesh.append(_ring((0.0, 0.66), (0.15, 0.17)))
    depth = 0.75 * _rounded(grid, _filled(grid, *flesh), 0.05)
    for row, count in ((0.79, 4), (0.84, 4)):
        for place in np.linspace(-0.075, 0.075, count):
            at = (place + rng.normal(0, 0.005), row + rng.normal(0, 0.005))
            depth += 0.5 * _filled(grid, _ring(at, (0.026, 0.024)), soft=0.003)
    bones.append((_line((-0.05, 0.9), (-0.06, 1.5)), (0.055, 0.03, 0.028)))
    bones.append((_line((0.065, 0.91), (0.06, 1.5)), (0.03, 0.02, 0.02)))
    return depth + 0.9 * _bones(grid, *bones)


def knee(rng: np.random.Generator, grid: Grid) -> Image:
    """Return the attenuation of a knee from the front."""
    wide = rng.normal(0.24, 0.03)
    leg = strip(_line((0.02, -0.4), (0.0, 0.5), (0.02, 1.4)), np.full(32, wide))
    depth = 2.2 * _rounded(grid, _filled(grid, leg), wide)
    femur = _line((0.03, -0.4), (0.0, 0.46))
    tibia = _line((0.0, 0.5), (0.02, 1.4))
    fibula = _line((0.12, 0.58), (0.11, 1.4))
    depth += 1.5 * _bones(
        grid,
        (femur, (0.07, 0.07, 0.075, 0.09, 0.15)),
        (tibia, (0.145, 0.085, 0.07, 0.065, 0.065)),
        (fibula, (0.035, 0.02, 0.02)),
    )
    return depth + 0.6 * _filled(grid, _ring((0.0, 0.36), (0.075, 0.085)), soft=0.006)


def skull(rng: np.random.Generator, grid: Grid) -> Image:
    """Return the attenuation of a head from the side, the face at the left."""
    big = rng.normal(1, 0.06)
    vault = _ring((0.05, 0.38), (0.36 * big, 0.3 * big), 0.1)
    face = np.array([(-0.28, 0.35), (-0.34, 0.6), (-0.3, 0.82), (-0.12, 0.88), (0.05, 0.62)])
    neck = strip(_line((0.12, 0.6), (0.1, 1.4)), np.full(32, 0.17))
    depth = 2.6 * _rounded(grid, _filled(grid, vault, face, neck), 0.16)
    rim = _filled(grid, vault) - _filled(grid, _ring((0.05, 0.38), (0.33 * big, 0.27 * big), 0.1))
    depth += 1.6 * np.maximum(rim, 0)
    jaw = _line((0.0, 0.62), (-0.02, 0.78), (-0.15, 0.86), (-0.29, 0.83))
    depth += 1.0 * _bones(grid, (jaw, (0.03, 0.035, 0.03)))
    teeth = [(_line((x, 0.7), (x, 0.78)), (0.01, 0.008)) for x in np.arange(-0.29, -0.1, 0.028)]
    depth += 0.9 * _bones(grid, *teeth)
    depth -= 0.9 * _filled(grid, _ring((-0.2, 0.56), (0.06, 0.06)), soft=0.01)
    depth += 0.9 * _filled(grid, _ring((0.06, 0.58), (0.1, 0.05), 0.4), soft=0.012)
    return depth + 0.9 * _vertebrae(grid, _line((0.12, 0.66), (0.1, 1.4)), 0.05, 0.07)


VIEWS: dict[str, Drawing] = {
    "lateral chest": lateral_chest,
    "abdomen": abdomen,
    "hand": hand,
    "knee": knee,
    "skull": skull,
}
