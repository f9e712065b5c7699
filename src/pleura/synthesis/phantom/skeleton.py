"""Attenuation by bones, on a body grid."""

import numpy as np
from numpy.typing import NDArray

from pleura.synthesis.phantom import anatomy
from pleura.synthesis.phantom.anatomy import Chest, Side
from pleura.synthesis.phantom.canvas import (
    SIDES,
    Grid,
    Image,
    curve,
    mirrored,
    smooth_loop,
    strip,
    tube,
)


def bones(rng: np.random.Generator, grid: Grid, chest: Chest) -> Image:
    """Return the attenuation by bones beyond that of the tissue they displace (no unit)."""
    density = chest.person.bone
    back, front = grid.blank(), grid.blank()
    for side in SIDES:
        for number in range(10, -1, -1):
            behind, ahead = anatomy.rib(chest, side, number)
            fade = 1.0 if number < 8 else 0.75
            tube(grid, back, behind, (0.0125, 0.0135, 0.0105), 200 * fade)
            if number < 9:
                tube(grid, front, ahead, (0.0105, 0.012, 0.0135), 170 * fade)
    out = grid.blur(back, 0.0008) * np.float32(0.5 / 255)
    out += grid.blur(front, 0.0012) * np.float32(0.3 / 255)
    out += _spine(grid, chest)
    girdle = grid.blank()
    for side in SIDES:
        _shoulder_blade(rng, grid, chest, girdle, side)
    out += grid.blur(girdle, 0.001) * np.float32(0.75 / 255)
    collar = grid.blank()
    for side in SIDES:
        _collar_bone(rng, grid, chest, collar, side)
    out += grid.blur(collar, 0.0009) * np.float32(0.8 / 255)
    return out * np.float32(density)


def _spine(grid: Grid, chest: Chest) -> Image:
    """Return the vertebrae: bodies with bright end plates, pedicles and spinous processes."""
    person = chest.person
    bodies, details = grid.blank(), grid.blank()
    y = person.apex_y - 0.33
    while y < 1.25:
        t = float(chest.depth(np.array(y)))
        high = 0.05 + 0.016 * float(np.clip(t, -0.3, 1.1))
        wide = 0.038 + 0.012 * float(np.clip(t, -0.3, 1.1))
        waist = mirrored(
            np.array([(wide, y), (0.87 * wide, y + 0.5 * high), (wide, y + 0.86 * high)])
        )
        grid.fill(bodies, waist, 165)
        for edge in (y + 0.003, y + 0.85 * high):
            plate = np.array([[-wide, edge], [wide, edge]])
            grid.fill(details, strip(plate, np.full(2, 0.0022)), 120)
        _pedicles(grid, details, wide, y, high)
        y += high
    across = np.exp(-((grid.x / 0.045) ** 4)).astype(np.float32)
    out = grid.blur(bodies, 0.003) * np.float32(0.75 / 255) * (0.55 + 0.45 * across)
    out = out + grid.blur(details, 0.0016) * np.float32(0.42 / 255)
    return np.asarray(out, dtype=np.float32)


def _pedicles(grid: Grid, canvas: NDArray[np.uint8], wide: float, y: float, high: float) -> None:
    turn = np.linspace(0, 2 * np.pi, 24)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    for side in SIDES:
        spot = np.array([side * 0.68 * wide, y + 0.33 * high])
        grid.fill(canvas, spot + ring * [0.0085, 0.0125], 190)
        grid.fill(canvas, spot + ring * [0.0055, 0.0095], 90)
        wing = np.array([[side * wide, y + 0.2 * high], [side * (wide + 0.026), y + 0.05 * high]])
        grid.fill(canvas, strip(wing, np.array([0.011, 0.008])), 110)
    spot = np.array([0.0, y + 0.62 * high])
    grid.fill(canvas, spot + ring * [0.006, 0.015], 200)
    grid.fill(canvas, spot + ring * [0.0035, 0.0115], 110)


def _shoulder_blade(
    rng: np.random.Generator, grid: Grid, chest: Chest, canvas: NDArray[np.uint8], side: Side
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
    blade = smooth_loop(blade) * [side, 1]
    middle = blade.mean(axis=0)
    grid.fill(canvas, blade, 120)
    grid.fill(canvas, middle + (blade - middle) * 0.9, 62)
    ridge = np.array([[x - 0.06, top + 0.115], [x + 0.02, top + 0.07], [x + 0.085, top + 0.02]])
    tube(grid, canvas, curve(ridge) * [side, 1], (0.004, 0.007, 0.014), 150)
    hook = np.array([[x + 0.04, top + 0.085], [x + 0.02, top + 0.06], [x + 0.035, top + 0.085]])
    tube(grid, canvas, curve(hook) * [side, 1], (0.01, 0.011, 0.008), 140)
    turn = np.linspace(0, 2 * np.pi, 40)
    head = np.array([x + 0.095, top + 0.095])
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    for radius, value in ((0.047, 190), (0.0435, 140)):
        grid.fill(canvas, (head + radius * ring) * [side, 1], value)
    reach = person.half_width + person.fat + 0.11 + chest.pose.arms
    neck = head + np.array([0.012, 0.01])
    shaft = np.array([neck, (reach, 0.55), (reach + 0.07, 1.4)])
    tube(grid, canvas, curve(shaft) * [side, 1], (0.04, 0.022, 0.02, 0.02, 0.02), 150)


def _collar_bone(
    rng: np.random.Generator, grid: Grid, chest: Chest, canvas: NDArray[np.uint8], side: Side
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
    tube(grid, canvas, curve(line) * [side, 1], (0.019, 0.0135, 0.012, 0.0125, 0.016), 175)
