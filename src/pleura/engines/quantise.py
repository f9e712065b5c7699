"""A float graph -> the same in 8-bit integers, by NNCF's post-training quantisation.

The ranges of what flows through the network are measured on real pictures; no weight is trained.
How much that costs is for the caller to measure.
"""

import contextlib
import io
import logging
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.engines.convert import onnx_graph, openvino_graph
from pleura.engines.libraries import import_openvino, openvino_core, without_telemetry
from pleura.errors import UsageError
from pleura.models.bundle import Exported
from pleura.models.exported import INPUT
from pleura.models.onnx_file import import_onnx


def quantise(exported: Exported, pixels: Sequence[NDArray[np.uint8]]) -> Exported:
    """Return `exported` with its network in 8-bit integers.

    Args:
        exported: A float graph.
        pixels: Prepared pictures ``(S, S)`` of the kind that it will see; some hundreds are enough.

    Raises:
        UsageError: The extra is not installed.
    """
    openvino = import_openvino()
    model: Any
    if exported.kind == "onnx":
        model = import_onnx().ModelProto.FromString(exported.graph)
    else:
        weights = openvino.Tensor(np.frombuffer(exported.weights, np.uint8))
        model = openvino_core().read_model(exported.graph, weights)
    with _quietly():
        nncf = _import_nncf()
        images = nncf.Dataset(list(pixels), lambda one: {INPUT: one[None]})
        model = nncf.quantize(model, images, subset_size=len(pixels))
    to_graph = onnx_graph if exported.kind == "onnx" else openvino_graph
    return to_graph(model, replace(exported, precision="int8"))


def _import_nncf() -> ModuleType:
    try:
        with without_telemetry():
            import nncf
    except ImportError as error:
        raise UsageError("`int8` needs the package nncf; pip install 'pleura[int8]'") from error
    module: ModuleType = nncf
    return module


@contextlib.contextmanager
def _quietly() -> Any:
    """Keep NNCF's bars and notes off stdout, where results go."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
