"""What a set of images would be if its sizes and its share of positives were those of another set.

A set that was gathered for its positives, or for its small ones, says little of the set that a
model will meet. Post-stratification mends that as far as sizes and prevalence go: images are
weighed so that the negatives, and the positives of each size, have the shares that they have there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pleura.errors import UsageError

SIZES: tuple[tuple[str, float, float], ...] = (
    ("below 0.5 %", 0.0, 0.005),
    ("0.5 to 1 %", 0.005, 0.01),
    ("1 to 3 %", 0.01, 0.03),
    ("above 3 %", 0.03, 1.0),
)
"""Classes of size of a pneumothorax by name, as shares of the image: from the first number on,
below the second."""


@dataclass(frozen=True, slots=True)
class Mix:
    """What a set is made of.

    Attributes:
        name: What it is called.
        prevalence: Share of images with a pneumothorax, above 0 and below 1.
        sizes: Of these, the share of each of :data:`SIZES`; they sum to 1. None: as they were
            found.
    """

    name: str
    prevalence: float
    sizes: tuple[float, ...] | None = None

    def shares(self) -> tuple[float, ...]:
        """Return the share of each of :meth:`parts`, the negatives first."""
        sizes = (1.0,) if self.sizes is None else self.sizes
        return (1 - self.prevalence, *(self.prevalence * share for share in sizes))

    def parts(self, share: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the part of each image: 0 for a negative, then one for each size.

        Args:
            share: ``(images,)``: area of the true mask as a share of the image, 0 for a negative.
        """
        positive = share > 0
        if self.sizes is None:
            return positive.astype(np.int64)
        return np.where(positive, 1 + size_class(share), 0)


_SIIM_SIZES = (866, 652, 848, 303)
_SIIM_IMAGES = 12_047

SIIM = Mix(
    "siim",
    sum(_SIIM_SIZES) / _SIIM_IMAGES,
    tuple(count / sum(_SIIM_SIZES) for count in _SIIM_SIZES),
)
"""The whole SIIM-ACR set: 2,669 positives of 12,047 images, their sizes counted from the united
masks of the challenge's second table (``stage_2_train.csv``)."""


def size_class(share: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which of :data:`SIZES`, from 0, each of ``(n,)`` shares of an image falls into."""
    edges = [low for _, low, _ in SIZES[1:]]
    return np.searchsorted(edges, share, side="right").astype(np.int64)


def find_mix(text: str) -> Mix:
    """Return the mix that a text names: ``siim``, or a prevalence such as ``0.05``.

    Raises:
        UsageError: It is neither.
    """
    if text == SIIM.name:
        return SIIM
    try:
        prevalence = float(text)
    except ValueError:
        prevalence = -1.0
    if not 0 < prevalence < 1:
        raise UsageError(
            f"mix {text[:40]!r}: write siim (the sizes and the prevalence of the whole SIIM-ACR "
            "set) or a prevalence above 0 and below 1, such as 0.05"
        )
    return Mix(f"{100 * prevalence:.3g} % prevalence", prevalence)


def find_mixes(texts: Sequence[str]) -> tuple[Mix, ...]:
    """Return the mix that each text names, see :func:`find_mix`."""
    return tuple(find_mix(text) for text in texts)
