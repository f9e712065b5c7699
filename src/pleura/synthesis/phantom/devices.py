"""What is not of the body: electrodes, lines, tubes and drains, and letters on the radiograph."""

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.synthesis.phantom.anatomy import Chest, Floats, Side
from pleura.synthesis.phantom.canvas import SHIFT, Image, Plate, blurred, curve, fixed


def devices(rng: np.random.Generator, plate: Plate, chest: Chest) -> Image:
    """Return electrodes, wires, lines, tubes and drains; none depends on a pneumothorax."""
    canvas = np.zeros((plate.size, plate.size), dtype=np.uint8)
    bedside = chest.pose.view == "AP"
    often = 2.4 if bedside else 0.5
    if rng.random() < 0.22 * often:
        draw_electrodes(rng, plate, canvas)
    if rng.random() < 0.2 * often:
        draw_venous_line(rng, plate, chest, canvas)
    if bedside and rng.random() < 0.3:
        draw_airway_tube(rng, plate, chest, canvas)
    if rng.random() < 0.09 * often:
        draw_drain(rng, plate, chest, canvas)
    return attenuation_of(plate, canvas)


def attenuation_of(plate: Plate, canvas: NDArray[np.uint8]) -> Image:
    """Return what devices drawn on a canvas ``(size, size)`` stop of the rays, 0 to 1.6."""
    soft = blurred(canvas.astype(np.float32), 0.6 * plate.size / 1024 + 0.2)
    return soft * np.float32(1.6 / 255)


def _draw_line(
    plate: Plate, canvas: NDArray[np.uint8], line: Floats, width: float, value: int
) -> None:
    """Draw a body-unit curve on the plate, `width` body units wide."""
    pixels = width * plate.size
    value = max(round(value * min(pixels, 1.0)), 1)
    points = [fixed(plate.place(line))]
    cv2.polylines(canvas, points, False, value, max(round(pixels), 1), cv2.LINE_AA, SHIFT)


def draw_electrodes(rng: np.random.Generator, plate: Plate, canvas: NDArray[np.uint8]) -> None:
    """Draw two to five electrodes with their wires on `canvas`, ``(size, size)``."""
    turn = np.linspace(0, 2 * np.pi, 32)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    plug = np.array([rng.uniform(-0.2, 0.2), 1.15])
    for _ in range(rng.integers(2, 6)):
        spot = np.array([rng.uniform(-0.36, 0.36), rng.uniform(0.12, 0.85)])
        bow = (spot + plug) / 2 + rng.normal(0, 0.12, 2)
        _draw_line(plate, canvas, curve(np.array([spot, bow, plug])), 0.0026, 105)
        _draw_line(plate, canvas, spot + 0.019 * ring, 0.0016, 35)
        disc = fixed(plate.place(spot + 0.0065 * ring))
        cv2.fillPoly(canvas, [disc], 190, cv2.LINE_AA, SHIFT)


def draw_venous_line(
    rng: np.random.Generator, plate: Plate, chest: Chest, canvas: NDArray[np.uint8]
) -> None:
    """Draw a central venous line, some with a port, on `canvas`, ``(size, size)``."""
    top = chest.person.apex_y
    tip = (-0.045, top + rng.uniform(0.3, 0.45) * chest.length)
    vein = (-0.05, top + 0.12)
    if rng.random() < 0.5:
        start = [(-0.085, top - 0.14), (-0.07, top)]
    else:
        start = [(-0.33, top + 0.2), (-0.22, top + 0.085), (-0.12, top + 0.075)]
    _draw_line(plate, canvas, curve(np.array([*start, vein, tip]), 60), 0.0042, 80)
    if rng.random() < 0.3 and len(start) == 3:
        turn = np.linspace(0, 2 * np.pi, 32)
        ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        _draw_line(plate, canvas, np.array(start[0]) + 0.024 * ring, 0.008, 170)


def draw_airway_tube(
    rng: np.random.Generator, plate: Plate, chest: Chest, canvas: NDArray[np.uint8]
) -> None:
    """Draw a tube in the trachea on `canvas`, ``(size, size)``."""
    top = chest.person.apex_y
    end = top + rng.uniform(0.12, 0.26) * chest.length
    line = np.array([(0.004, -0.25), (rng.normal(0, 0.004), top), (0.003, end)])
    for shift in (-0.0115, 0.0115):
        _draw_line(plate, canvas, curve(line) + np.array([shift, 0.0]), 0.0022, 45)
    _draw_line(plate, canvas, curve(line) + np.array([0.011, 0.0]), 0.0024, 110)


def draw_drain(
    rng: np.random.Generator,
    plate: Plate,
    chest: Chest,
    canvas: NDArray[np.uint8],
    side: Side | None = None,
) -> None:
    """Draw a chest drain, its tip towards the apex.

    Args:
        rng: Source of everything random.
        plate: What `canvas` is of.
        chest: Whose drain.
        canvas: ``(size, size)``, drawn on.
        side: Of the picture; None: either.
    """
    if side is None:
        side = 1 if rng.random() < 0.5 else -1
    top, low = chest.person.apex_y, rng.uniform(0.5, 0.75)
    wall = float(chest.wall(np.array([low]))[0])
    tip = (rng.uniform(0.1, 0.2), top + rng.uniform(0.05, 0.3))
    points = [(wall + 0.2, low + 0.2), (wall, low), (0.72 * wall, 0.6 * low + 0.4 * tip[1]), tip]
    line = curve(np.array(points), 60) * [side, 1]
    width = rng.uniform(0.008, 0.016)
    across = np.array([width, 0.25 * width])
    _draw_line(plate, canvas, line, 2 * width, 16)
    for shift in (-across, across):
        _draw_line(plate, canvas, line + shift, 0.0018, 45)
    _draw_line(plate, canvas, line + 0.5 * across, 0.0036, 135)


def draw_markers(rng: np.random.Generator, plate: Plate, grey: NDArray[np.uint8]) -> None:
    """Write the side letter, bedside words and a dark margin on a radiograph ``(size, size)``."""
    size = plate.size
    value = int(rng.integers(215, 256))
    scale = size / 1024
    spot = (round((0.87 + rng.uniform(-0.05, 0.04)) * size), round(rng.uniform(0.06, 0.16) * size))
    if rng.random() < 0.85:
        _write(grey, "L", spot, rng.uniform(0.9, 1.6) * scale, value)
    if plate.pose.view == "AP" and rng.random() < 0.7:
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
