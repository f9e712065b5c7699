"""A radiograph without a pneumothorax, made into one with it or into a negative that was edited."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.errors import DataError, UsageError
from pleura.synthesis.lungs import Lungs
from pleura.synthesis.simulate import edits
from pleura.synthesis.simulate.collapse import (
    Collapse,
    Shape,
    draw_area_share,
    draw_collapse,
    draw_shape,
)
from pleura.synthesis.simulate.distractors import draw_distractors
from pleura.synthesis.simulate.response import find_response, mediastinum
from pleura.synthesis.simulate.tissue import Image
from pleura.synthesis.simulate.wall import Outline, Side, find_outline

Kind = Literal["pneumothorax", "edited", "untouched", "original"]

SMALLEST_RADIOGRAPH = 256
SIDES: tuple[Side, Side] = (-1, 1)

_BOTH_SIDES = 0.03
_EDITED = 0.75  # of the radiographs without a pneumothorax
_TRIES = 24
_LEAST_STEP = 0.45  # logits from lung to soft tissue, below which a radiograph is too flat
_LEAST_GREY = 18.0  # grey levels by which a lung must be darker than the mediastinum
_SOLID = 0.52  # steps above the lungs' middle, from which on there is no lung
_AERATED_FROM = 0.7  # of the air must lie where there is lung
_CLOUDED = 0.5  # steps by which a lung may be brighter than the other


@dataclass(frozen=True, slots=True)
class Lesion:
    """One pneumothorax that was drawn.

    Attributes:
        side: "R" for the patient's right (the left half of the picture) or "L".
        shape: Where the air is.
        wanted: Area asked for, as a share of the radiograph.
        area: Area of its mask, as a share of the radiograph.
        strength: How strongly it shows.
    """

    side: Literal["R", "L"]
    shape: Shape
    wanted: float
    area: float
    strength: edits.Strength


@dataclass(frozen=True, slots=True)
class Parameters:
    """What was drawn on a radiograph.

    Attributes:
        kind: "pneumothorax"; "edited" for an edit that shows none; "untouched" by either;
            "original" for a radiograph on which nothing at all is drawn.
        lesions: One, on few radiographs two; empty unless there is a pneumothorax.
        fake: One of :data:`pleura.synthesis.simulate.edits.FAKES` on an edited radiograph, else "".
        distractors: What else was drawn, see :data:`pleura.synthesis.simulate.distractors.CHANCES`.
    """

    kind: Kind
    lesions: tuple[Lesion, ...]
    fake: str
    distractors: tuple[str, ...]


ORIGINAL = Parameters("original", (), "", ())
"""Of a radiograph that is taken as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """A radiograph with its exact mask.

    Attributes:
        pixels: ``(size, size)`` uint8.
        mask: ``(size, size)`` bool, the air in the pleural space; empty without a pneumothorax.
        region: ``(size, size)`` bool, where the air was drawn, or would have been.
        lung: ``(size, size)`` bool, the lung that it was, or would have been, drawn in.
        parameters: What was drawn.
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    region: NDArray[np.bool_]
    lung: NDArray[np.bool_]
    parameters: Parameters


def simulate(
    radiograph: NDArray[np.uint8],
    lungs: Lungs,
    rng: np.random.Generator,
    *,
    prevalence: float = 0.5,
) -> Simulated:
    """Return a radiograph with a pneumothorax drawn on it, or without one, as a negative.

    Chance decides between the two after everything that can fail, so which radiographs are refused
    does not depend on it. Pixels that no drawing reaches keep their value to the bit.

    Args:
        radiograph: ``(size, size)`` uint8, 256 or more, upright, without a pneumothorax.
        lungs: Its fields, from :func:`pleura.synthesis.lungs.find_lungs`.
        rng: Source of everything random; the same state gives the same bytes.
        prevalence: Chance of a pneumothorax, 0 to 1.

    Raises:
        UsageError: The radiograph is not a square of 256 pixels or more, or not 8-bit; the fields
            are of another radiograph; `prevalence` is out of range.
        DataError: The radiograph cannot be used: its fields are doubtful, it is too flat, its lungs
            are opaque, or no pneumothorax of a drawn size fits. The message says which.
    """
    _check(radiograph, lungs, prevalence)
    if lungs.doubt:
        raise DataError(f"the lung fields are doubtful: {lungs.doubt}; use another radiograph")
    response = find_response(radiograph, lungs.mask)
    attenuation = response.attenuation(radiograph)
    clear = _clear_sides(radiograph, attenuation, lungs, response.step)
    calm = cv2.GaussianBlur(radiograph, (0, 0), radiograph.shape[0] / 512).astype(np.float32)
    sides = _draw_sides(rng, clear)
    outlines = tuple(
        find_outline(calm, field, side, snap=index in sides)
        for index, (field, side) in enumerate(zip(lungs.mask, SIDES, strict=True))
    )
    drawn = _draw_collapses(rng, [outlines[i] for i in sides], _aerated(attenuation, lungs))
    positive = bool(rng.random() < prevalence)
    edited = bool(rng.random() < _EDITED)
    change = np.zeros(radiograph.shape, dtype=np.float32)
    mask = np.zeros(radiograph.shape, dtype=np.bool_)
    lesions, fake = [], ""
    for wanted, collapse in drawn if positive or edited else []:
        lung = edits.around(attenuation, collapse.outline)
        if not positive:
            fake = str(rng.choice(edits.FAKES))
            change[lung.window] += edits.fake(rng, lung, collapse, fake)
            break
        strength = edits.draw_strength(rng, collapse)
        part, air = edits.lesion(rng, lung, collapse, strength)
        change[lung.window] += part
        mask[lung.window] |= air
        side: Literal["R", "L"] = "R" if collapse.outline.side < 0 else "L"
        lesions.append(
            Lesion(side, collapse.shape, wanted, float(air.sum()) / radiograph.size, strength)
        )
    distractors = draw_distractors(rng, (outlines[0], outlines[1]), drawn[0][1].outline.side)
    change += distractors.change
    changed = np.rint(np.clip(response.grey(attenuation + change), 0, 255)).astype(np.uint8)
    kind: Kind = "pneumothorax" if positive else "edited" if edited else "untouched"
    return Simulated(
        np.where(change != 0, changed, radiograph),
        mask,
        np.logical_or.reduce([collapse.mask for _, collapse in drawn]),
        np.logical_or.reduce([collapse.outline.field(radiograph.shape) for _, collapse in drawn]),
        Parameters(kind, tuple(lesions), fake, distractors.names),
    )


def _check(radiograph: NDArray[np.uint8], lungs: Lungs, prevalence: float) -> None:
    rows, columns = radiograph.shape if radiograph.ndim == 2 else (0, 0)
    if radiograph.dtype != np.uint8 or rows != columns or rows < SMALLEST_RADIOGRAPH:
        raise UsageError(
            f"the radiograph is {radiograph.dtype} of shape {radiograph.shape}; it must be a "
            f"square of uint8 with a side of {SMALLEST_RADIOGRAPH} or more: prepare it first"
        )
    if lungs.mask.shape != (2, rows, columns):
        raise UsageError(
            f"the lung fields have shape {lungs.mask.shape} and the radiograph {radiograph.shape}; "
            "find the "
            "fields of this very radiograph"
        )
    if not 0 <= prevalence <= 1:
        raise UsageError(f"prevalence is {prevalence}; it must lie between 0 and 1")


def _clear_sides(
    radiograph: NDArray[np.uint8], attenuation: Image, lungs: Lungs, step: float
) -> tuple[int, ...]:
    """Return which lungs are clear enough to draw in: 0, 1 or both."""
    middles = [float(np.median(attenuation[field])) for field in lungs.mask]
    soft = float(np.quantile(mediastinum(radiograph, lungs.mask), 0.6))
    darker = [soft - float(np.median(radiograph[field])) for field in lungs.mask]
    if step < _LEAST_STEP or max(darker) < _LEAST_GREY:
        raise DataError("the radiograph is too flat to draw in; use another radiograph")
    clear = tuple(
        index
        for index in (0, 1)
        if middles[index] < min(middles) + _CLOUDED and darker[index] >= _LEAST_GREY
    )
    if not clear:
        raise DataError("both lungs are opaque; use another radiograph")
    return clear


def _aerated(attenuation: Image, lungs: Lungs) -> NDArray[np.bool_]:
    """Return where the radiograph is about as transparent as a lung, ribs or not."""
    calm = cv2.GaussianBlur(attenuation, (0, 0), attenuation.shape[0] / 128)
    middle = float(np.median(calm[lungs.mask.any(axis=0)]))
    return np.asarray(calm < middle + _SOLID)


def _draw_sides(rng: np.random.Generator, clear: tuple[int, ...]) -> tuple[int, ...]:
    """Return which lungs are drawn on: one, on few radiographs both."""
    both = len(clear) == 2 and rng.random() < _BOTH_SIDES
    return clear if both else (int(rng.choice(clear)),)


def _draw_collapses(
    rng: np.random.Generator, outlines: list[Outline], aerated: NDArray[np.bool_]
) -> list[tuple[float, Collapse]]:
    """Return the area wanted, as a share of the picture, and the lung with it, for each outline."""
    size = aerated.shape[0]
    found = []
    for outline in outlines:
        for _ in range(_TRIES):
            share = draw_area_share(rng) / len(outlines)
            shape = draw_shape(rng, share)
            collapse = draw_collapse(rng, outline, shape, share * size * size, (size, size))
            if collapse is not None and aerated[collapse.mask].mean() >= _AERATED_FROM:
                found.append((share, collapse))
                break
    if len(found) < len(outlines):
        raise DataError("no pneumothorax of a drawn size fits these lungs; use another radiograph")
    return found
