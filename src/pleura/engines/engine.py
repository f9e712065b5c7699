"""What runs a network: the protocol of every engine.

Shapes: N images, S side length in pixels.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Probabilities(NamedTuple):
    """What a network says of some images.

    Attributes:
        maps: ``(N, S, S)`` float32 in 0..1, for each pixel.
        scores: ``(N,)`` float32 in 0..1, for each image.
        seconds: Time that was spent on each of them, where somebody measured it.
    """

    maps: NDArray[np.float32]
    scores: NDArray[np.float32]
    seconds: float = 0.0

    def each(self) -> Iterator["Probabilities"]:
        """Yield those of each image alone."""
        for number in range(len(self.scores)):
            one = slice(number, number + 1)
            yield Probabilities(self.maps[one], self.scores[one], self.seconds)


class Engine(Protocol):
    """Anything that turns prepared pixels into probabilities."""

    @property
    def name(self) -> str:
        """What runs it and in which precision, such as ``openvino bf16``.

        Answers under different names may differ in the last digits, so one job never mixes them.
        """

    @property
    def notes(self) -> tuple[str, ...]:
        """What its user should know, a sentence each; mostly nothing."""

    def probabilities(self, pixels: NDArray[np.uint8]) -> Probabilities:
        """Return the probabilities for ``(N, S, S)`` uint8 prepared pixels."""
