"""Where the lungs of a frontal chest radiograph are, by a small network of pleura's own.

The network sees a thumb of 96 x 96 pixels with its grey levels spread evenly, and answers with two
maps: the lung in the left half of the picture, and the one in the right half. It was trained on
phantoms alone, whose lungs are known (``python -m recipes.lungs train --write``), so neither a
radiograph of a real person nor a field drawn by anybody is in it. Its weights are in ``lungs.npz``
beside this module. It runs in OpenVINO, without torch.

A wrong field would make a wrong lesion, so the answer is doubted before it is used: see
:attr:`Lungs.doubt`. ``docs/explanation/simulate.md`` says how often fields agree with
others, and how many are refused.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.data.prepare import Frame, prepare_pixels, restore
from pleura.engines.libraries import import_openvino, openvino_core
from pleura.metrics import dice_coeff

Floats = NDArray[np.float32]

WEIGHTS = Path(__file__).with_name("lungs.npz")
SIDE = 96
"""Pixels per side of what the network sees."""

WIDTHS = (10, 20, 40, 56, 64)
"""Channels at each of the network's levels, the finest first."""

# What a usable pair of fields is like; each figure is a share.
AGREEMENT_FROM = 0.93
APEX_AGREEMENT_FROM = 0.89
CERTAINTY_FROM = 0.8
APEX_CERTAINTY_FROM = 0.75
AREA_BOUNDS = (0.045, 0.3)
RATIO_FROM = 0.5
WHOLE_FROM = 0.93
SOLIDITY_FROM = 0.8
HEIGHT_FROM = 0.28
EDGE_UP_TO = 0.22
STEP_FROM = 0.06

_AT_ONCE = 16
_SMALLER = 0.88  # of the second print that must give the same apices


@dataclass(frozen=True, slots=True, eq=False)
class Lungs:
    """The lung fields of one radiograph.

    Attributes:
        mask: ``(2, rows, columns)`` bool: the lung in the left half of the picture (the patient's
            right one on an upright radiograph), and the one in the right half.
        doubt: Why the fields must not be used; "" where nothing speaks against them.
    """

    mask: NDArray[np.bool_]
    doubt: str = ""


def find_lungs(pixels: NDArray[Any]) -> Lungs:
    """Return the lung fields of a frontal radiograph.

    Args:
        pixels: ``(rows, columns)``, uint8 or uint16, 0 black and air, upright.

    Returns:
        The fields, ``(2, rows, columns)``, each one connected and without holes. Where `doubt` is
        not empty they are a guess to look at and not to build on.
    """
    thumb = prepare_pixels(pixels, SIDE)
    plain, mirrored, smaller = _answers(thumb)
    shares = (plain + mirrored) / np.float32(2)
    frame = Frame(pixels.shape[0], pixels.shape[1], SIDE)
    fields = np.stack([_tidied(restore(share, frame) > 0.5, frame) for share in shares])
    doubt = _unstable(plain, mirrored, smaller) or _unlikely(thumb, shares)
    return Lungs(fields, doubt)


def lung_shares(thumbs: Sequence[NDArray[np.uint8]]) -> Floats:
    """Return what the network says of many radiographs, in one go.

    Nothing is doubted here, nor asked twice, so each is worth less than :func:`find_lungs`.

    Args:
        thumbs: ``(SIDE, SIDE)`` uint8 each, prepared.

    Returns:
        ``(n, 2, SIDE, SIDE)`` float32 in 0..1: the lung in the left half of each, and in the right.
    """
    return _answer([equalise(thumb) for thumb in thumbs])


def _answer(seen: Sequence[Floats]) -> Floats:
    """Return the two maps ``(n, 2, SIDE, SIDE)``, 0..1, for pictures as the network sees them."""
    network, pictures = _compiled(), np.stack(seen)[:, None]
    firsts = range(0, len(pictures), _AT_ONCE)
    return np.concatenate([network(pictures[first : first + _AT_ONCE])[0] for first in firsts])


def equalise(thumb: NDArray[np.uint8]) -> Floats:
    """Return a picture ``(rows, columns)`` uint8 as the network of the lungs sees it.

    Returns:
        ``(SIDE, SIDE)`` float32, its levels spread evenly over -1..1.
    """
    if thumb.shape != (SIDE, SIDE):
        thumb = prepare_pixels(thumb, SIDE)
    levels = np.cumsum(np.bincount(thumb.ravel(), minlength=256)) / thumb.size
    return np.asarray((2 * levels - 1).astype(np.float32)[thumb])


def _answers(thumb: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats]:
    """Return maps ``(2, SIDE, SIDE)`` in 0..1 for a radiograph, its mirror image, a smaller one.

    All are brought back to the radiograph's own place.
    """
    seen = equalise(thumb)
    middle = (SIDE - 1) / 2
    there = cv2.getRotationMatrix2D((middle, middle), 0, _SMALLER)
    back = cv2.invertAffineTransform(there)
    small = cv2.warpAffine(thumb, there, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    shrunk = equalise(np.asarray(small, dtype=np.uint8))
    plain, mirrored, smaller = _answer([seen, seen[:, ::-1], shrunk])
    restored = np.stack([cv2.warpAffine(share, back, (SIDE, SIDE)) for share in smaller])
    return plain, mirrored[::-1, :, ::-1], np.asarray(restored, dtype=np.float32)


@functools.cache
def _compiled() -> Callable[[Floats], Any]:
    """Return the network for batches ``(n, 1, SIDE, SIDE)``, in 0..1, on one thread."""
    openvino = import_openvino()
    op, weights = openvino.opset13, _weights()

    def convolved(x: Any, weight: str, bias: str) -> Any:
        pads = [weights[weight].shape[2] // 2] * 2
        maps = op.convolution(x, op.constant(weights[weight]), [1, 1], pads, pads, [1, 1])
        return op.add(maps, op.constant(weights[bias].reshape(1, -1, 1, 1)))

    x = pictures = op.parameter([-1, 1, SIDE, SIDE], np.float32)
    kept, number = [], 0
    for level in range(len(WIDTHS)):
        if level:
            x = op.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)
        for _ in range(2):
            x = op.relu(convolved(x, f"weight{number}", f"bias{number}"))
            number += 1
        kept.append(x)
    twice, axes = op.constant(np.full(2, 2, np.float32)), op.constant([2, 3])
    for finer in kept[-2::-1]:
        x = op.interpolate(
            x, twice, "nearest", "scales", None, None, "asymmetric", "floor", axes=axes
        )
        x = op.relu(convolved(op.concat([finer, x], 1), f"weight{number}", f"bias{number}"))
        number += 1
    said = op.sigmoid(convolved(x, "head_weight", "head_bias"))
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Model([said], [pictures], "lungs")
    compiled: Callable[[Floats], Any] = openvino_core().compile_model(model, "CPU", settings)
    return compiled


@functools.cache
def _weights() -> dict[str, Floats]:
    with np.load(WEIGHTS, allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays.files}


def _tidied(field: NDArray[np.bool_], frame: Frame) -> NDArray[np.bool_]:
    """Return the largest part of a field, without holes and with the thumb's steps smoothed."""
    cell = frame.side / SIDE
    part = _opened(_largest(field), 1.3 * cell)
    soft = cv2.GaussianBlur(part.astype(np.float32), (0, 0), 0.6 * cell)
    outlines, _ = cv2.findContours(
        (soft > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    out = np.zeros(field.shape, dtype=np.uint8)
    if outlines:
        cv2.drawContours(out, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return out.astype(np.bool_)


def _opened(field: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Return a field without what is thinner than `radius` pixels on either side."""
    framed = np.pad(field, 1).astype(np.uint8)
    core = cv2.distanceTransform(framed, cv2.DIST_L2, 5) > radius
    if not core.any():
        return field
    near = cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, 5) <= radius
    return np.asarray(near[1:-1, 1:-1])


def _largest(field: NDArray[np.bool_]) -> NDArray[np.bool_]:
    _, parts, stats, _ = cv2.connectedComponentsWithStats(field.astype(np.uint8), connectivity=4)
    if len(stats) < 2:
        return field
    return np.asarray(parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))


def _unstable(plain: Floats, mirrored: Floats, smaller: Floats) -> str:
    """Return how the fields change where they must not, or ""."""
    fields = plain > 0.5
    agreement = dice_coeff(fields, mirrored > 0.5, smooth=0)
    if agreement < AGREEMENT_FROM:
        return f"the mirror image gives other fields (Dice {agreement:.2f})"
    for field, other in zip(fields, smaller > 0.5, strict=True):
        upper = _upper_third(field)
        agreement = dice_coeff(field[upper], other[upper], smooth=0)
        if agreement < APEX_AGREEMENT_FROM:
            return f"a smaller print gives another apex (Dice {agreement:.2f})"
    return ""


def _upper_third(field: NDArray[np.bool_]) -> slice:
    rows = np.flatnonzero(field.any(axis=1))
    return slice(0, int(rows[0] + (rows[-1] - rows[0]) // 3)) if rows.size else slice(0, 0)


def _unlikely(thumb: NDArray[np.uint8], shares: Floats) -> str:
    """Return the first reason why these are no two lungs, or ""."""
    fields = shares > 0.5
    areas = fields.mean(axis=(1, 2))
    if areas.min() < AREA_BOUNDS[0] or areas.max() > AREA_BOUNDS[1]:
        return (
            f"a field covers {100 * areas.min():.0f} to {100 * areas.max():.0f} % of the radiograph"
        )
    if areas.min() < RATIO_FROM * areas.max():
        return f"one field is {areas.min() / areas.max():.2f} of the other"
    for share, field in zip(shares, fields, strict=True):
        if problem := _odd(thumb, share, field):
            return problem
    return ""


def _odd(thumb: NDArray[np.uint8], share: Floats, field: NDArray[np.bool_]) -> str:
    """Return what is odd about one field, or ""."""
    whole = _largest(field)
    if whole.sum() < WHOLE_FROM * field.sum():
        return "a field is in pieces"
    for part, least in ((share, CERTAINTY_FROM), (share[_upper_third(field)], APEX_CERTAINTY_FROM)):
        certain = float(np.abs(2 * part[part > 0.1] - 1).mean())
        if certain < least:
            return f"the network is not certain (mean margin {certain:.2f})"
    points = np.argwhere(whole)
    hull = cv2.contourArea(cv2.convexHull(points.astype(np.int32)))
    if whole.sum() < SOLIDITY_FROM * hull:
        return f"a field fills {whole.sum() / hull:.2f} of its hull"
    high = np.ptp(points[:, 0]) / SIDE
    if high < HEIGHT_FROM:
        return f"a field is {high:.2f} of the radiograph high"
    rim = np.ones_like(whole)
    rim[1:-1, 1:-1] = False
    if (whole & rim).sum() > EDGE_UP_TO * SIDE:
        return "a field leaves the radiograph"
    near = cv2.dilate(whole.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool) & ~whole
    step = (float(thumb[near].mean()) - float(thumb[whole].mean())) / 255
    if step < STEP_FROM:
        return f"a field is hardly darker than what is around it ({step:.2f})"
    return ""
