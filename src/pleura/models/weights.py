"""A network's weights as named arrays: their digest, and their rounding to 16 bits."""

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pleura.errors import BundleError

Arrays = dict[str, NDArray[np.generic]]
"""Name -> array, each of a shape and dtype of its own."""


def rounded(arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
    """Return the arrays, in their shapes, with weights rounded to numbers that 16 bits hold.

    They stay float32. Arrays of one axis (biases, and what normalisation keeps) are left as they
    are: they are few, and a variance may lie outside the range of 16 bits.
    """
    return widen(_narrowed(arrays))


def halve(arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
    """Return rounded arrays, in their shapes, with the weights as float16.

    Args:
        arrays: From :func:`rounded`.

    Raises:
        ValueError: A weight is not one of 16 bits: the arrays were not rounded.
    """
    narrow = _narrowed(arrays)
    if digest(widen(narrow)) != digest(arrays):
        raise ValueError(
            "the weights are not rounded to 16 bits; round them before they are judged"
        )
    return narrow


def widen(arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
    """Return the arrays, in their shapes, with float16 made float32."""
    return {
        name: array.astype(np.float32) if array.dtype == np.float16 else array
        for name, array in arrays.items()
    }


def _narrowed(arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
    return {
        name: array.astype(np.float16) if array.ndim > 1 and array.dtype == np.float32 else array
        for name, array in arrays.items()
    }


def digest(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """Return a SHA-256 (hex) over the names, types, shapes and values of `arrays`."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def check_finite(arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Raise BundleError where a float of the arrays, of any shape, is NaN or infinite.

    With such a weight every answer would be NaN.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BundleError(f"its weights {name} are not all finite numbers")
