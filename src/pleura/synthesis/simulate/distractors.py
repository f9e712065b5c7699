"""Lines and edges that are no pneumothorax, on radiographs with one and without, equally often.

What the phantoms have too (folds of skin, electrodes, lines, tubes, drains) is drawn by their code,
on a chest that is fitted to the radiograph's lung fields.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.synthesis.phantom import devices
from pleura.synthesis.phantom.anatomy import Chest, Pose, draw_person, draw_pose, ramp
from pleura.synthesis.phantom.canvas import SHIFT, Image, Plate, curve, fixed
from pleura.synthesis.phantom.markings import skin_fold
from pleura.synthesis.simulate.edits import blurred_line
from pleura.synthesis.simulate.wall import Floats, Outline, Side

CHANCES = {
    "fold": 0.14,
    "electrodes": 0.08,
    "venous-line": 0.07,
    "airway-tube": 0.03,
    "drain": 0.12,
    "companion-line": 0.1,
    "scapular-line": 0.1,
}
"""How often each is drawn on a radiograph; with and without a pneumothorax alike."""

_STEP = 2.0
"""Attenuation from lung to soft tissue in the phantoms, which the devices' own is relative to."""


@dataclass(frozen=True, slots=True, eq=False)
class Distractors:
    """What was drawn.

    Attributes:
        names: Keys of :data:`CHANCES`.
        change: ``(size, size)`` float32, more attenuation, in steps from lung to soft tissue.
    """

    names: tuple[str, ...]
    change: Image


def draw_distractors(
    rng: np.random.Generator, outlines: tuple[Outline, Outline], side: Side
) -> Distractors:
    """Draw what distracts, at random.

    Args:
        rng: Source of everything random.
        outlines: Both lungs of the radiograph.
        side: Where a drain is put: where the pneumothorax is, if there is one.
    """
    chosen = {name for name, chance in CHANCES.items() if rng.random() < chance}
    size = outlines[0].size
    plate, chest = _chest(rng, outlines)
    canvas = np.zeros((size, size), dtype=np.uint8)
    if "electrodes" in chosen:
        devices.draw_electrodes(rng, plate, canvas)
    if "venous-line" in chosen:
        devices.draw_venous_line(rng, plate, chest, canvas)
    if "airway-tube" in chosen:
        devices.draw_airway_tube(rng, plate, chest, canvas)
    if "drain" in chosen:
        devices.draw_drain(rng, plate, chest, canvas, side)
    change = np.zeros((size, size), dtype=np.float32)
    if canvas.any():
        change += devices.attenuation_of(plate, canvas) / np.float32(_STEP)
    if "fold" in chosen:
        change += skin_fold(rng, plate) / np.float32(_STEP)
    outline = outlines[int(rng.random() < 0.5)]
    if "companion-line" in chosen:
        change += _companion(rng, outline)
    if "scapular-line" in chosen:
        change += _scapular(rng, outline)
    change[np.abs(change) < 0.004] = 0
    return Distractors(tuple(name for name in CHANCES if name in chosen), change)


def _chest(rng: np.random.Generator, outlines: tuple[Outline, Outline]) -> tuple[Plate, Chest]:
    """Return a phantom's radiograph and chest that lie where the radiograph's lungs do."""
    size = outlines[0].size
    points = np.concatenate([outline.points for outline in outlines]) / size
    low, high = points.min(axis=0), points.max(axis=0)
    pose: Pose = replace(
        draw_pose(rng),
        zoom=1.0,
        tilt=0.0,
        shift=(float((low[0] + high[0]) / 2 - 0.5), 0.0),
        turn=0.0,
        breath=1.0,
    )
    person = replace(
        draw_person(rng),
        half_width=float(high[0] - low[0]) / 2,
        apex_y=float(low[1]),
        length=float(high[1] - low[1]),
    )
    return Plate(size, pose), Chest(person, pose)


def _companion(rng: np.random.Generator, outline: Outline) -> Image:
    """Return a thin line along the apex: soft tissue under the first ribs or the collar bone."""
    unit = outline.size / 512
    first, last = sorted(rng.integers(8, 62, 2).tolist())
    last = max(last, first + 18)
    depth = rng.uniform(-2, 9) * unit
    sag = np.sin(np.linspace(0, np.pi, last - first)) * rng.uniform(0, 5) * unit
    line = outline.points[first:last] + (depth + sag)[:, None] * outline.inward[first:last]
    return _stroke(outline.size, line, float(rng.uniform(0.03, 0.1)), rng)


def _scapular(rng: np.random.Generator, outline: Outline) -> Image:
    """Return the medial border of a shoulder blade over the outer lung: a nearly straight edge.

    The side towards the chest wall is a little brighter, as bone lies there.
    """
    size, unit = outline.size, outline.size / 512
    top = outline.points[int(rng.integers(40, 60))]
    low = outline.points[int(rng.integers(95, 130))]
    inward = np.array([-outline.side * rng.uniform(4, 40) * unit, 0.0])
    bow = np.array([-outline.side * rng.uniform(-6, 12) * unit, 0.0])
    line = curve(np.stack([top + inward, (top + low) / 2 + inward + bow, low + 0.6 * inward]), 48)
    strength = float(rng.uniform(0.04, 0.11))
    out = np.array([outline.side * 26 * unit, 0.0])
    shape = np.zeros((size, size), dtype=np.uint8)
    for part in np.linspace(1.0, 0.1, 8):
        band = np.concatenate([line, (line + out * part)[::-1]])
        cv2.fillPoly(shape, [fixed(band)], round(200 * (1.05 - part)), cv2.LINE_AA, SHIFT)
    bright = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 1.1 * unit)
    return bright * np.float32(0.6 * strength / 200) + _stroke(size, line, 0.7 * strength, rng)


def _stroke(size: int, line: Floats, strength: float, rng: np.random.Generator) -> Image:
    """Return a thin blurred line that fades at both ends, `strength` at its brightest."""
    unit = size / 512
    canvas: NDArray[np.uint8] = np.zeros((size, size), dtype=np.uint8)
    place = np.linspace(0, 1, len(line))
    width = max(round(1.2 * unit), 1)
    level = ramp(place, 0, 0.25) * (1 - ramp(place, 0.75, 1)) * 200
    for start in range(len(line) - 1):
        value = round(float(level[start]))
        piece = [fixed(line[start : start + 2])]
        cv2.polylines(canvas, piece, False, value, width, cv2.LINE_AA, SHIFT)
    soft = blurred_line(canvas, width, float(rng.uniform(0.6, 1.1)) * unit)
    return np.asarray(soft * np.float32(strength / 200))
