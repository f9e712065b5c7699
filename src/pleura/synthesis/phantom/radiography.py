"""The picture of a made-up chest: rays through tissue, bone and air, noise, and the plate's answer.

Smooth parts (body, lungs, heart, bones) are drawn as path lengths on a small square grid in body
units and carried onto the radiograph in one step; what is fine (vessels, the pleural line, lines
and wires) is drawn on the radiograph itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.synthesis.phantom import anatomy
from pleura.synthesis.phantom.anatomy import Chest, Floats, Lung, Person
from pleura.synthesis.phantom.canvas import SHIFT, SIDES, SPAN, Grid, Image, Plate, blurred, fixed
from pleura.synthesis.phantom.devices import devices, draw_markers
from pleura.synthesis.phantom.markings import pleural_lines, skin_folds, texture, vessels
from pleura.synthesis.phantom.skeleton import bones
from pleura.synthesis.phantom.tissue import soft_tissue

_SOFT = 0.2  # attenuation of soft tissue, 1/cm


@dataclass(frozen=True, slots=True)
class Phantom:
    """A made-up radiograph whose pneumothorax is known exactly.

    Attributes:
        pixels: ``(size, size)`` uint8, MONOCHROME2: bone bright, air dark.
        mask: ``(size, size)`` bool, air between the chest wall and the visceral pleura; all False
            without a pneumothorax.
        lungs: ``(2, size, size)`` bool, the lung fields in the left and the right half of the
            picture, air in the pleural space included.
        age: Years.
        sex: "M" or "F".
        view: "PA" or "AP".
        side: The patient's side of the pneumothorax, "R" or "L"; None without one.
        spacing_mm: Side of a pixel at the detector.
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    lungs: NDArray[np.bool_]
    age: int
    sex: str
    view: str
    side: str | None
    spacing_mm: float


def draw_phantom(
    rng: np.random.Generator, *, size: int = 1024, pneumothorax: bool, person: Person | None = None
) -> Phantom:
    """Draw one made-up frontal chest radiograph.

    Args:
        rng: Source of everything random; the same state gives the same pixels.
        size: Side of the radiograph in pixels, 64 or more.
        pneumothorax: Whether there is one. Devices and skin folds do not depend on it.
        person: The patient; None draws a new one.

    Returns:
        The radiograph and its mask; the mask is empty exactly when `pneumothorax` is False.
    """
    person = person or anatomy.draw_person(rng)
    chest = Chest(person, anatomy.draw_pose(rng))
    plate = Plate(size, chest.pose)
    lungs = tuple(anatomy.whole_lung(chest, side) for side in SIDES)
    fields = np.stack([_inside(plate, lung.field, lung) for lung in lungs])
    mask = np.zeros((size, size), dtype=np.bool_)
    collapsed: Lung | None = None
    if pneumothorax:
        lung = lungs[int(rng.random() < 0.5)]
        collapsed, mask = _collapse(rng, plate, lung)
        lungs = tuple(collapsed if collapsed.side == one.side else one for one in lungs)
    pixels = _expose(rng, plate, chest, lungs)
    side = None if collapsed is None else ("R" if collapsed.side < 0 else "L")
    spacing = 0.143 if rng.random() < 0.7 else 0.168
    return Phantom(
        pixels=pixels,
        mask=mask,
        lungs=fields,
        age=person.age,
        sex=person.sex,
        view=chest.pose.view,
        side=side,
        spacing_mm=round(spacing * 1024 / size, 6),
    )


def _collapse(rng: np.random.Generator, plate: Plate, lung: Lung) -> tuple[Lung, NDArray[np.bool_]]:
    """Return `lung` with a pneumothorax of a realistic size, and its mask on the radiograph."""
    zoom = plate.pose.zoom
    share = max(anatomy.draw_area_px(rng) / 1024**2, 12.0 / plate.size**2)
    while True:
        collapsed = anatomy.draw_collapse(rng, lung, share / zoom**2)
        mask = _main_parts(
            _inside(plate, collapsed.field, collapsed)
            & ~_inside(plate, collapsed.pleura, collapsed)
        )
        if mask.any():
            return collapsed, mask
        share *= 2  # too thin for this radiograph's pixels


def _main_parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return `mask` without the specks: connected parts of less than a hundredth of it."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= 0.01 * mask.sum()
    keep[0] = False
    return np.asarray(keep[parts], dtype=np.bool_)


def _inside(plate: Plate, radius: Floats, lung: Lung) -> NDArray[np.bool_]:
    canvas = np.zeros((plate.size, plate.size), dtype=np.uint8)
    outline = fixed(plate.place(lung.points(radius)))
    cv2.fillPoly(canvas, [outline], 1, cv2.LINE_8, SHIFT)
    return canvas.astype(np.bool_)


def _expose(
    rng: np.random.Generator, plate: Plate, chest: Chest, lungs: Sequence[Lung]
) -> NDArray[np.uint8]:
    """Return the radiograph of `chest` as ``(size, size)`` uint8."""
    grid = Grid(round(SPAN * min(plate.size, 512)))
    soft, tissue = soft_tissue(rng, grid, chest, lungs)
    depth = plate.carry(_SOFT * soft + bones(rng, grid, chest))
    lung_tissue = plate.carry(tissue)
    depth += texture(rng, plate, lung_tissue)
    depth += vessels(rng, plate, lungs) * np.clip(4 * lung_tissue, 0.15, 1)
    depth += pleural_lines(rng, plate, lungs)
    depth += skin_folds(rng, plate)
    depth += devices(rng, plate, chest)
    np.maximum(depth, 0.0, out=depth)
    signal = _noisy(rng, _scattered(rng, depth))
    lung, middle = _reference_levels(plate, chest, lungs, signal)
    grey = _radiograph_response(rng, signal, lung, middle)
    draw_markers(rng, plate, grey)
    return grey


def _scattered(rng: np.random.Generator, depth: Image) -> Image:
    """Return the rays that arrive, 0..1: what was not stopped, blurred a little, plus scatter."""
    size = depth.shape[0]
    primary = np.exp(-depth)
    primary = blurred(primary, 0.75 * size / 1024 + 0.25)
    veil = blurred(np.minimum(primary, 0.12), 0.07 * size)
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
    plate: Plate, chest: Chest, lungs: Sequence[Lung], signal: Image
) -> tuple[float, float]:
    """Return the signal in the middle of the lungs and behind the heart."""
    spots = np.concatenate([lung.points(0.5 * lung.field)[::6] for lung in lungs])
    low = chest.person.apex_y + np.linspace(0.75, 1.0, 20) * chest.length
    spine = np.stack([np.full(20, 0.02), low], axis=1)
    return _median_at(plate, signal, spots), _median_at(plate, signal, spine)


def _median_at(plate: Plate, signal: Image, points: Floats) -> float:
    at = np.clip(np.round(plate.place(points)), 0, plate.size - 1).astype(int)
    return float(np.median(signal[at[:, 1], at[:, 0]]))


def _radiograph_response(
    rng: np.random.Generator, signal: Image, lung: float, middle: float
) -> NDArray[np.uint8]:
    """Return grey values 0..255 along the plate's S-shaped curve through two reference levels."""
    dark, bright = rng.uniform(0.27, 0.47), rng.uniform(0.72, 0.86)
    low, high = np.log(dark / (1 - dark)), np.log(bright / (1 - bright))
    slope = (high - low) / max(middle - lung, 0.3)
    curve = 1 / (1 + np.exp(-(low + slope * (signal - np.float32(lung)))))
    top = rng.uniform(225, 255)
    return np.asarray(np.clip(curve * top, 0, 255), dtype=np.uint8)
