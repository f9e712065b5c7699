"""How many images go through the network together: what was fastest in a trial."""

import time

import numpy as np

from pleura.engines.engine import Engine
from pleura.errors import is_about_memory

MOST = 32

_WORTH = 0.95  # a larger batch must be so much faster per image, for it needs more memory


def fastest_batch(engine: Engine, size: int, files: int) -> int:
    """Return the batch, a power of two, that took the least time per image.

    Doubling ends where it does not pay, or where the memory, a GPU's above all, is full. What is
    answered does not depend on it. Each batch is tried once for warmth and once for its time.

    Args:
        engine: What runs the network.
        size: Side length of the prepared square.
        files: How many there are; no more than an eighth of them is tried, for a trial takes time.
    """
    best, least = 1, np.inf
    batch = 1
    while batch <= max(1, min(MOST, files // 8)):
        try:
            seconds = _seconds_per_image(engine, batch, size)
        except (MemoryError, RuntimeError) as error:
            if batch == 1 or not is_about_memory(error):
                raise
            break
        if seconds > _WORTH * least:
            break
        best, least = batch, seconds
        batch *= 2
    return best


def _seconds_per_image(engine: Engine, batch: int, size: int) -> float:
    pixels = np.zeros((batch, size, size), np.uint8)
    engine.probabilities(pixels)
    begun = time.perf_counter()
    engine.probabilities(pixels)
    return (time.perf_counter() - begun) / batch
