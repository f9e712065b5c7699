"""A radiograph's grey levels as attenuation: where things that lie behind one another add up.

A radiograph answers the logarithm of the rays that reach it along an S-shaped curve, flat at both
ends. The way back through such a curve gives a scale on which the same layer of tissue is the same
step everywhere, in a dark lung and behind a bright heart. Its unit is the radiograph's own: the
step from lung to soft tissue. So a change has the right contrast on a hard radiograph, a soft one
and an overexposed one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Response:
    """The curve of one radiograph.

    Attributes:
        top: Grey level that the curve runs to, above every pixel it is used for.
        step: Logits from lung to soft tissue; above 0.
    """

    top: float
    step: float

    def attenuation(self, grey: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return grey levels of any shape as attenuation, in steps from lung to soft tissue."""
        share = (np.arange(256) + 0.5) / self.top
        share = np.clip(share, None, 1 - 0.5 / self.top)
        return np.asarray((np.log(share / (1 - share)) / self.step).astype(np.float32)[grey])

    def grey(self, attenuation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return attenuation, of any shape, as grey levels, not yet rounded nor cut off."""
        share = 1 / (1 + np.exp(-attenuation * np.float32(self.step)))
        return np.asarray(share * np.float32(self.top) - np.float32(0.5))


def find_response(grey: NDArray[np.uint8], lungs: NDArray[np.bool_]) -> Response:
    """Return the response of a radiograph whose lung fields are known.

    Args:
        grey: ``(rows, columns)`` uint8.
        lungs: ``(2, rows, columns)`` bool, both not empty.
    """
    top = float(max(int(grey.max()) + 8, 200))
    plain = Response(top, 1.0)
    dark = plain.attenuation(grey[lungs.any(axis=0)])
    lung = float(np.quantile(dark, 0.35))
    soft = float(np.quantile(plain.attenuation(mediastinum(grey, lungs)), 0.6))
    return Response(top, max(soft - lung, 0.4))


def mediastinum(grey: NDArray[np.uint8], lungs: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the pixels of the mediastinum: between the two fields, in the rows that both have.

    Args:
        grey: ``(rows, columns)``.
        lungs: ``(2, rows, columns)``.

    Returns:
        ``(n,)`` grey levels; all of the radiograph where nothing lies between the fields.
    """
    rows = np.flatnonzero(lungs[0].any(axis=1) & lungs[1].any(axis=1))
    columns = np.arange(grey.shape[1])
    last = grey.shape[1] - 1 - lungs[0][rows, ::-1].argmax(axis=1)
    first = lungs[1][rows].argmax(axis=1)
    inside = (columns > last[:, None]) & (columns < first[:, None])
    found = grey[rows][inside]
    return found if found.size else grey.ravel()
