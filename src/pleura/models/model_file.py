"""Whatever file holds a model: model.h5, an exported graph, or one that comes with pleura."""

import os

from pleura.models.bundle import Bundle, read_bundle
from pleura.models.fetched import content_of, model_at
from pleura.models.shipped import file_of
from pleura.remote.address import scheme_in, url_of


def read_model(path: str | os.PathLike[str]) -> Bundle:
    """Return the model in a file, or the one of a name such as ``pleura:fast``.

    Args:
        path: A model.h5, a folder that holds one, a file that ``pleura export`` wrote, or such a
            name. At an address it is a file, which is fetched.

    Raises:
        AddressError: The file at an address could not be had.
        BundleError: The file is missing, truncated, corrupt, foreign, or needs a later pleura; or
            no model of that name comes with pleura.
        UsageError: The file is ONNX and the package onnx is not installed; or no model is read from
            addresses of that kind.
    """
    if scheme_in(os.fspath(path)) and content_of(path) is None:
        with model_at(url_of(os.fspath(path))) as shown:
            return read_model(shown)
    suffix = file_of(path).suffix.lower()
    if suffix == ".onnx":
        from pleura.models.onnx_file import read_onnx

        return read_onnx(path)
    if suffix == ".xml":
        from pleura.models.openvino_file import read_openvino

        return read_openvino(path)
    return read_bundle(path)
