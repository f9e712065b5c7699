"""Several models as one, and a picture with its mirror image, whatever runs the networks.

Probabilities are averaged, maps and scores alike, before calibration and thresholds: what
:class:`pleura.models.ensemble.Ensemble` does inside one model.h5, done here at prediction.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pleura.engines.engine import Engine, Probabilities
from pleura.errors import BundleError, UsageError
from pleura.models.bundle import Bundle


class Averaged:
    """An engine that answers with the mean over others, and over the mirror image where wanted.

    Attributes:
        name: Those of the others, and what is averaged.
        notes: What the others have to say.

    Args:
        engines: What runs the networks that are averaged.
        tta: Whether each sees the picture mirrored left to right too.
    """

    def __init__(self, engines: Sequence[Engine], tta: bool) -> None:
        self._engines = list(engines)
        self._tta = tta
        names = "+".join(dict.fromkeys(engine.name for engine in self._engines))
        self.name = f"{names}, tta" if tta else names
        self.notes = tuple(dict.fromkeys(note for one in self._engines for note in one.notes))

    def probabilities(self, pixels: NDArray[np.uint8]) -> Probabilities:
        """Return the mean probabilities for ``(N, S, S)`` uint8 prepared pixels."""
        maps = np.zeros(pixels.shape, np.float32)
        scores = np.zeros(len(pixels), np.float32)
        mirror = np.ascontiguousarray(pixels[:, :, ::-1]) if self._tta else None
        for engine in self._engines:
            found = engine.probabilities(pixels)
            maps += found.maps
            scores += found.scores
            if mirror is not None:
                found = engine.probabilities(mirror)
                maps += found.maps[:, :, ::-1]
                scores += found.scores
        count = np.float32(len(self._engines) * (2 if self._tta else 1))
        return Probabilities(maps / count, scores / count)


def require_alike(bundles: Sequence[Bundle]) -> None:
    """Check that models can answer as one.

    Raises:
        BundleError: They prepare images in different ways.
        UsageError: Their calibration or thresholds differ.
    """
    first = bundles[0]
    for bundle in bundles[1:]:
        names = f"{bundle.path or 'model'} and {first.path or 'the first model'}"
        if bundle.preprocessing != first.preprocessing:
            raise BundleError(
                f"{names} prepare images as {bundle.preprocessing} and as {first.preprocessing}; "
                "models that are averaged must prepare them alike"
            )
        if (bundle.operating_point, bundle.calibration) != (
            first.operating_point,
            first.calibration,
        ):
            raise UsageError(
                f"{names} have different thresholds or calibrations; make one model of them, with "
                "thresholds of its own: pleura ensemble MODELS --on PREPARED"
            )
