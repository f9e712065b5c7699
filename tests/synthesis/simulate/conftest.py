"""Phantoms to draw on: radiographs of 256 x 256 pixels whose lungs are known."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from pleura.synthesis.lungs import Lungs
from pleura.synthesis.phantom import draw_phantom


@dataclass(frozen=True)
class Canvas:
    pixels: NDArray[np.uint8]
    lungs: Lungs


@pytest.fixture(scope="session")
def canvases() -> list[Canvas]:
    """Five phantoms without a pneumothorax."""
    drawn = (
        draw_phantom(np.random.default_rng(seed), size=256, pneumothorax=False) for seed in range(5)
    )
    return [Canvas(phantom.pixels, Lungs(phantom.lungs)) for phantom in drawn]
