"""Several models as one, and a picture with its mirror image, whatever runs the networks.

Probabilities are averaged, maps and scores alike, before calibration and thresholds: what
:class:`pleura.models.ensemble.Ensemble` does inside one model.h5, done here at prediction.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pleura.errors import BundleError, UsageError
from pleura.inference.engine import Engine, Probabilities
from pleura.inference.predictor import Predictor
from pleura.models.bundle import Bundle


class Averaged:
    """An engine that answers with the mean over others, and over the mirror image where wanted.

    Attributes:
        name: Those of the others, and what is averaged.
        notes: What the others have to say.

    Args:
        members: Predictors whose networks are averaged.
        mirrored: Whether each sees the picture mirrored left to right too.
    """

    def __init__(self, members: Sequence[Predictor], mirrored: bool) -> None:
        self._engines: list[Engine] = [member.engine for member in members]
        self._mirrored = mirrored
        names = "+".join(dict.fromkeys(engine.name for engine in self._engines))
        self.name = f"{names}, mirrored" if mirrored else names
        self.notes = tuple(dict.fromkeys(note for one in self._engines for note in one.notes))

    def probabilities(self, pixels: NDArray[np.uint8]) -> Probabilities:
        """Return the mean probabilities for ``(N, S, S)`` uint8 prepared pixels."""
        maps = np.zeros(pixels.shape, np.float32)
        scores = np.zeros(len(pixels), np.float32)
        mirror = np.ascontiguousarray(pixels[:, :, ::-1]) if self._mirrored else None
        for engine in self._engines:
            found = engine.probabilities(pixels)
            maps += found.maps
            scores += found.scores
            if mirror is not None:
                found = engine.probabilities(mirror)
                maps += found.maps[:, :, ::-1]
                scores += found.scores
        count = np.float32(len(self._engines) * (2 if self._mirrored else 1))
        return Probabilities(maps / count, scores / count)


def averaged(members: Sequence[Predictor], *, mirrored: bool = False) -> Predictor:
    """Return one predictor of several, with the calibration and thresholds they share.

    Args:
        members: One or more.
        mirrored: Whether each sees the picture mirrored left to right too. The thresholds stay
            those that were chosen without.

    Raises:
        BundleError: They prepare images in different ways.
        UsageError: Their calibration or thresholds differ.
    """
    if len(members) == 1 and not mirrored:
        return members[0]
    bundles = [member.bundle for member in members]
    require_alike(bundles)
    return Predictor(bundles[0], Averaged(members, mirrored), bundles[1:])


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
