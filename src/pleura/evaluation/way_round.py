"""Whether predicted masks lie the same way round as the true ones: in words, where they do not.

Run lengths written along the rows, mirror images that were not mirrored back, and readers that
begin at the foot all leave masks that are right in themselves. The figures alone would blame the
network.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pleura.metrics import dice_coeff

_FEW = 5
"""Of fewer images with both masks nothing is said."""

_BETTER, _OFTEN = 0.2, 0.75
"""So much better must Dice be the other way round, and in that share of the images at all."""

_SIDE_PX = 256
"""Masks are compared at about this size, which is enough, and fast."""

_WAYS: dict[str, Callable[[NDArray[np.bool_]], NDArray[np.bool_]]] = {
    "transposed (rows and columns exchanged)": np.transpose,
    "mirrored left to right": np.fliplr,
    "upside down": np.flipud,
    "turned by half a turn": lambda mask: np.rot90(mask, 2),
    "turned by a quarter to the left": np.rot90,
    "turned by a quarter to the right": lambda mask: np.rot90(mask, -1),
    "turned by a quarter and mirrored": lambda mask: np.rot90(mask, 2).T,
}


@dataclass(slots=True)
class WayRound:
    """How predicted masks fit the true ones as they lie, and the other ways round.

    Attributes:
        found: For each image with both masks, Dice as they lie, and by each of `_WAYS`; NaN where
            that makes a picture of another shape.
    """

    found: list[list[float]] = field(default_factory=list)

    def add(self, predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> None:
        """Compare two masks ``(rows, columns)`` of one image; an empty one says nothing."""
        step = max(1, max(true.shape) // _SIDE_PX)
        small, right = predicted[::step, ::step], true[::step, ::step]
        if small.any() and right.any():
            turned = [small, *(way(small) for way in _WAYS.values())]
            self.found.append(
                [
                    dice_coeff(one, right) if one.shape == right.shape else float("nan")
                    for one in turned
                ]
            )

    def doubts(self) -> list[str]:
        """Return what a reader of Dice must know: that most masks fit far better another way."""
        if len(self.found) < _FEW:
            return []
        dice = np.array(self.found)
        as_they_lie, others = dice[:, :1], dice[:, 1:]
        often = (others > as_they_lie).mean(axis=0) >= _OFTEN
        means = np.where(np.isfinite(others), others, 0).mean(axis=0)
        best = int(np.argmax(np.where(often, means, 0)))
        now = float(as_they_lie.mean())
        if not often[best] or means[best] < now + _BETTER:
            return []
        return [
            f"On the {len(dice):,} images with both masks Dice is {now:.3f}. With the predicted "
            f"masks {list(_WAYS)[best]} it is {means[best]:.3f}: they may have been written so, or "
            "the true ones. Look at some, and write them the way the radiographs lie."
        ]
