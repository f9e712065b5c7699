"""Named arrays in HDF5: written by pleura, hostile until parsed.

Only plain, contiguous number arrays are read. Links to other files, virtual and compressed data
sets (a small file could claim terabytes) and any size that the caller does not expect are refused
before a byte of data is touched.
"""

import hashlib
from collections.abc import Mapping

import h5py
import numpy as np
from numpy.typing import NDArray

from pleura.errors import BundleError

Arrays = dict[str, NDArray[np.generic]]


def write_arrays(group: h5py.Group, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write each array as a plain data set of `group` under its name."""
    for name, array in arrays.items():
        group.create_dataset(name, data=array, track_times=False)


def read_arrays(group: h5py.Group, max_bytes: int) -> Arrays:
    """Return the arrays of `group` by name.

    Args:
        group: A group that holds data sets only.
        max_bytes: What all of them may hold together.

    Raises:
        BundleError: Something in the group is not a plain array of numbers, or there is too much.
    """
    arrays: Arrays = {}
    left = max_bytes
    for name in group:
        dataset = _plain(group, name)
        left -= dataset.nbytes
        if left < 0:
            raise BundleError(f"its arrays hold more than the {max_bytes} bytes expected")
        arrays[name] = dataset[()] if dataset.shape else np.asarray(dataset[()])
    return arrays


def rounded(arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
    """Return the arrays with the weights of convolutions and layers rounded to 16-bit numbers.

    They stay float32. Vectors (biases, and what normalisation keeps) are left as they are: they are
    few, and a variance may lie outside the range of 16 bits.
    """
    return widened(_narrowed(arrays))


def halved(arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
    """Return what :func:`rounded` gives with the rounded weights as float16.

    Raises:
        ValueError: A weight is not one of 16 bits: the arrays were not rounded.
    """
    narrow = _narrowed(arrays)
    if digest(widened(narrow)) != digest(arrays):
        raise ValueError(
            "the weights are not rounded to 16 bits; round them before they are judged"
        )
    return narrow


def widened(arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
    """Return the arrays with float16 made float32."""
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


def _plain(group: h5py.Group, name: str) -> h5py.Dataset:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise BundleError(f"{name} is a link to somewhere else; pleura writes no links")
    item = group[name]
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiub":
        raise BundleError(f"{name} is not an array of numbers")
    if item.is_virtual or item.external or item.chunks is not None:
        raise BundleError(f"{name} is not stored as one plain block")
    held = item.id.get_storage_size()
    if item.size and item.nbytes != held:
        raise BundleError(f"{name} claims {item.nbytes} bytes but stores {held}")
    return item
