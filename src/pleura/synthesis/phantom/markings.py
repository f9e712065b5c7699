"""Fine lines over the lungs: their mesh and vessels, the visceral pleura, folds of skin."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.synthesis.phantom import anatomy
from pleura.synthesis.phantom.anatomy import Floats, Lung
from pleura.synthesis.phantom.canvas import SHIFT, Image, Plate, blurred, curve, fixed


def texture(rng: np.random.Generator, plate: Plate, tissue: Image) -> Image:
    """Return the fine mesh of lung tissue, and the faint unevenness of everything else."""
    size = plate.size
    half = size // 2 if size >= 512 else size
    unit = half / 1024
    mesh = rng.standard_normal((half, half), dtype=np.float32)
    fine: Image = blurred(mesh, 2.6 * unit + 0.4) - blurred(mesh, 7 * unit + 0.8)
    fine *= np.float32(rng.uniform(0.03, 0.055)) / (fine.std() + np.float32(1e-6))
    small = rng.standard_normal((24, 24), dtype=np.float32)
    coarse = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC) * np.float32(0.03)
    whole = cv2.resize(fine, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(whole * tissue + coarse, dtype=np.float32)


def vessels(rng: np.random.Generator, plate: Plate, lungs: Sequence[Lung]) -> Image:
    """Return the attenuation by the lungs' vessels: one tree of arteries and one of veins."""
    strength = rng.uniform(0.7, 1.35)
    out = np.zeros((plate.size, plate.size), dtype=np.float32)
    for _ in range(2):
        canvas = np.zeros((plate.size, plate.size), dtype=np.uint8)
        trees = [anatomy.vessel_tree(rng, lung) for lung in lungs]
        pieces = plate.place(np.concatenate([tree[0] for tree in trees]))
        widths = np.concatenate([tree[1] for tree in trees])
        _draw_pieces(canvas, pieces, widths * plate.pose.zoom * plate.size, widths)
        out += canvas
    soft = blurred(out, 0.9 * plate.size / 1024 + 0.2)
    return soft * np.float32(strength * 0.45 / 255)


def _draw_pieces(
    canvas: NDArray[np.uint8], pieces: Floats, thickness_px: Floats, diameters: Floats
) -> None:
    """Draw straight pieces, thin ones first, as bright as their diameter asks."""
    level = np.clip(diameters / 0.0125, 0.05, 1.0) ** 0.9 * np.minimum(thickness_px, 1.0)
    classes = np.round(8 * np.log(diameters / 0.001)).astype(int)
    places = fixed(pieces)
    for index in np.unique(classes):
        chosen = classes == index
        pixels = max(round(float(thickness_px[chosen].mean())), 1)
        value = round(255 * float(level[chosen].mean()))
        cv2.polylines(canvas, list(places[chosen]), False, value, pixels, cv2.LINE_AA, SHIFT)


def pleural_lines(rng: np.random.Generator, plate: Plate, lungs: Sequence[Lung]) -> Image:
    """Return the thin bright line of the visceral pleura where it has left the wall."""
    canvas = np.zeros((plate.size, plate.size), dtype=np.uint8)
    for lung in lungs:
        if lung.collapse == 0:
            continue
        loose = lung.field - lung.pleura > 0.003
        points = plate.place(lung.points(lung.pleura))
        ahead = np.roll(points, -1, axis=0)
        pieces = np.stack([points, ahead], axis=1)[loose]
        width = max(round(3.0 * plate.size / 1024), 1)
        cv2.polylines(canvas, list(fixed(pieces)), False, 255, width, cv2.LINE_AA, SHIFT)
    strength = rng.uniform(0.2, 0.34) * min(1.0, plate.size / 700 + 0.3)
    soft = blurred(canvas.astype(np.float32), 0.8 * plate.size / 1024 + 0.2)
    return soft * np.float32(strength / 255)


def skin_folds(rng: np.random.Generator, plate: Plate) -> Image:
    """Return folds of skin on some radiographs, nothing on most; none depends on a pneumothorax."""
    if rng.random() > 0.22:
        return np.zeros((plate.size, plate.size), dtype=np.float32)
    return skin_fold(rng, plate)


def skin_fold(rng: np.random.Generator, plate: Plate) -> Image:
    """Return a fold of skin: an edge on one side, fading on the other, over and beyond the lung."""
    side = 1 if rng.random() < 0.5 else -1
    x = side * rng.uniform(0.14, 0.3)
    y = rng.uniform(0.12, 0.4)
    slant = side * rng.uniform(-0.05, 0.14)
    line = np.array([(x, y), (x + 0.5 * slant, y + 0.2), (x + slant, y + rng.uniform(0.3, 0.6))])
    edge = curve(line)
    out = np.array([side * rng.choice((-1.0, 1.0)) * 0.05, 0.0])
    shape = np.zeros((plate.size, plate.size), dtype=np.uint8)
    strength = rng.uniform(0.18, 0.38)
    for part in np.linspace(1.0, 0.1, 10):
        band = plate.place(np.concatenate([edge, (edge + out * part)[::-1]]))
        cv2.fillPoly(shape, [fixed(band)], round(255 * (1.05 - part)), cv2.LINE_AA, SHIFT)
    return blurred(shape.astype(np.float32), 1.2 * plate.size / 1024) * np.float32(strength / 255)
