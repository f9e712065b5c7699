"""Whether a picture is a frontal chest radiograph at all: a score, and what it seems to be instead.

A network answers whatever it is shown. The guard tells of each picture how unlike the radiographs
it was fitted to it is, so that an answer about a hand or a radiograph on its head is never a silent
one. It says nothing about health: a white lung or a large pneumothorax is a frontal chest
    radiograph.

A picture's measures are taken from a thumb of 64 x 64 pixels, each by its rank among all, so that
exposure hardly matters: the greys of 16 x 16 cells, and of 8 x 8 cells how much edge there is and
which way it runs. The picture is then folded over its midline: of each cell and its mirror cell
only the mean and the distance are kept, so that a mirrored picture has the same score.

Two questions are asked of these 576 numbers. Which of ten kinds of picture is it (a multinomial
logistic regression)? And how much of it is left over when it is put together from the 80 ways in
which frontal radiographs differ most (principal components)? The first knows faults it was shown,
the second answers to what nobody thought of. ``guard.npz`` beside this module holds both. ``python
-m recipes.guard`` fits them to half of 2,105 radiographs of NIH ChestX-ray14, to phantoms, and to
changed copies and drawings of what is none. Each weight sums up thousands of pictures, and no
radiograph is stored in the file.

``docs/reference/guard.md`` says how often the guard is right and how often it is wrong.

Source:
    Wang et al., "ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks", CVPR 2017 (the
    radiographs); Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR
    2005 (edges by direction, evened by their neighbourhood).
"""

import functools
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.pictures.measures import (
    BLANK_SPREAD,
    LOW_CONTRAST_SPREAD,
    inside_thumb,
    ranked,
    shrink,
    spread_of,
    thumb_of,
)

Floats = NDArray[np.float32]

WEIGHTS = Path(__file__).with_name("guard.npz")

KINDS = (
    "frontal",
    "inverted",
    "upside-down",
    "rotated",
    "tilted",
    "cropped",
    "blurred",
    "lateral",
    "other-part",
    "other-picture",
)
"""What a picture may be, in the order of the weights. ``rotated`` lies on a side, ``tilted`` is
turned by less (from some 15 degrees), ``other-part`` is a radiograph of another part of the body,
``other-picture`` none."""

UNLIKE = "unlike"
"""The flag of a picture that resembles no kind well, frontal radiographs least of all."""

THRESHOLD = 0.5
"""A picture is flagged from this score on: see docs/reference/guard.md for what it costs."""

_SIDE, _LOOK, _CELLS = 64, 16, 8
_FAINT = 0.02  # of the range of ranks per pixel: edges below it have no direction
_STEEPNESS = 6.0  # how fast the score rises with the logarithm of what is left over


@dataclass(frozen=True, slots=True)
class Guard:
    """How a picture compares with the frontal chest radiographs that the guard knows.

    Attributes:
        score: 0 (like them) to 1 (unlike).
        flags: Why it is flagged: ``blank``; or one of `KINDS` but the first, or `UNLIKE`, and
            ``low-contrast``; empty where the score is below `THRESHOLD`.
    """

    score: float
    flags: tuple[str, ...]

    @property
    def flagged(self) -> bool:
        """Whether an answer about this picture must not be given without a word."""
        return bool(self.flags)


@dataclass(frozen=True, slots=True)
class Weights:
    """What ``guard.npz`` holds.

    Attributes:
        kinds: ``(10, 576)`` float32: for each of `KINDS` a weight per measure.
        bias: ``(10,)`` float32: what is added for each.
        mean: ``(576,)`` float32: the measures of the mean of all frontal radiographs.
        components: ``(80, 576)`` float32: how frontal radiographs differ from it, orthonormal.
        limits: ``(2,)`` float32: the log-odds of not being frontal, and the logarithm of what the
            components leave over (the sum of its squares), from which on a picture is flagged.
    """

    kinds: Floats
    bias: Floats
    mean: Floats
    components: Floats
    limits: Floats


def assess(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> Guard:
    """Return how unlike a frontal chest radiograph a picture is.

    Args:
        pixels: ``(rows, columns)``, uint8 or uint16, at least one of each, 0 black (air) to the
            type's largest value white, as in :class:`pleura.dicom.radiograph.Radiograph`. A picture
            that is not square is judged as if it were stretched to one.
    """
    return assess_thumb(thumb_of(pixels))


def assess_thumb(thumb: NDArray[np.uint8], weights: Weights | None = None) -> Guard:
    """Return how unlike a frontal chest radiograph a picture is, from its thumb.

    A blank picture has the score 1. One of low contrast has at least `THRESHOLD`.

    Args:
        thumb: ``(128, 128)`` uint8, as :func:`pleura.pictures.measures.thumb_of` returns it.
        weights: What to judge with; None means ``guard.npz``.
    """
    spread = spread_of(inside_thumb(thumb))
    if spread <= BLANK_SPREAD:
        return Guard(1.0, ("blank",))
    weights = weights or _weights()
    measures = measures_of(thumb)
    values = kind_values(measures, weights)
    other = float(not_frontal(values) - weights.limits[0])
    strange = _STEEPNESS * float(left_over(measures, weights) - weights.limits[1])
    score = float(np.exp(-np.logaddexp(0, -max(other, strange))))
    flags = []
    if other >= 0:
        flags.append(KINDS[1 + int(values[1:].argmax())])
    elif strange >= 0:
        flags.append(UNLIKE)
    if spread < LOW_CONTRAST_SPREAD:
        flags.append("low-contrast")
        score = max(score, THRESHOLD)
    return Guard(score, tuple(flags))


def measures_of(thumb: NDArray[np.uint8]) -> Floats:
    """Return what the kinds are told apart by, equal for a thumb and its mirror image.

    Returns:
        ``(576,)`` float32: over the left half of the cells the mean of each cell and its mirror
        cell, then their distance halved: 16 x 8 greys (ranks, -1 to 1); 8 x 4 cells of edge
        (logarithm), and of its direction twice and four times around, as cosine and sine.
    """
    picture = ranked(shrink(inside_thumb(thumb), _SIDE))
    look = np.asarray(cv2.resize(picture, (_LOOK,) * 2, interpolation=cv2.INTER_AREA), np.float32)
    return np.concatenate(
        [_folded(look[..., None], [1]), _folded(_edges(picture), [1, 1, -1, 1, -1])]
    )


def kind_values(measures: Floats, weights: Weights) -> Floats:
    """Return ``(..., 10)``: for each of `KINDS` the logarithm of its odds, up to a constant.

    Args:
        measures: ``(..., 576)`` float32.
        weights: What to judge with.
    """
    return np.asarray(measures @ weights.kinds.T + weights.bias)


def not_frontal(values: Floats) -> Floats:
    """Return ``(...)``: the log-odds of any kind but the first, from what `kind_values` returns."""
    return np.asarray(np.logaddexp.reduce(values[..., 1:], axis=-1) - values[..., 0])


def left_over(measures: Floats, weights: Weights) -> Floats:
    """Return ``(...)``: the logarithm of what the components leave of `measures` ``(..., 576)``."""
    apart = measures - weights.mean
    rest = apart - (apart @ weights.components.T) @ weights.components
    return np.asarray(np.log(np.square(rest).sum(axis=-1) + np.float32(1e-6)))


def _edges(picture: Floats) -> Floats:
    """Return ``(8, 8, 5)``: how much edge the cells hold, and the waves of its direction.

    A direction and its opposite are the same. Under mirroring the sines change their signs.
    """
    across = cv2.Sobel(picture, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(picture, cv2.CV_32F, 0, 1, scale=1 / 8)
    size = np.sqrt(across * across + down * down) + np.float32(1e-6)
    cos2, sin2 = (across * across - down * down) / size, 2 * across * down / size
    cos4, sin4 = (cos2 * cos2 - sin2 * sin2) / size, 2 * cos2 * sin2 / size
    waves = np.stack([size, cos2, sin2, cos4, sin4], axis=-1)
    cells = waves.reshape(_CELLS, -1, _CELLS, _SIDE // _CELLS, 5).mean(axis=(1, 3))
    around = cv2.blur(cells[..., 0], (3, 3))[..., None]
    energy = 0.25 * np.log(cells[..., :1] + np.float32(0.005))
    evened = cells[..., 1:] / (around + np.float32(_FAINT))
    return np.asarray(np.concatenate([energy, evened], axis=-1), np.float32)


def _folded(cells: Floats, signs: list[int]) -> Floats:
    """Return the means and halved distances of cells ``(n, n, k)`` and their mirror cells."""
    half = cells.shape[1] // 2
    left, right = cells[:, :half], cells[:, : half - 1 : -1] * np.array(signs, np.float32)
    folded = [((left + right) / 2).ravel(), (np.abs(left - right) / 2).ravel()]
    return np.asarray(np.concatenate(folded), np.float32)


@functools.cache
def _weights() -> Weights:
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        return Weights(*(stored[field.name].astype(np.float32) for field in fields(Weights)))
