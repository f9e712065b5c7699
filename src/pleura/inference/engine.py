"""What runs a network: one protocol, and the choice among three engines.

================  ===========================================  ==================================
name              runs on                                      opens
================  ===========================================  ==================================
``torch``         CPU and CUDA; the reference                  model.h5
``openvino``      CPU; the default there                       model.h5, exported .xml with .bin
``onnx``          ONNX Runtime: CPU, CUDA with its GPU build   model.h5, exported .onnx
================  ===========================================  ==================================

Nothing is imported before an engine is opened, and torch only by its own and to convert a model.h5
for the first time.

Shapes: N images, S side length in pixels.
"""

import os
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pleura.config import EngineName, Precision
from pleura.errors import UsageError
from pleura.models.bundle import Bundle, read_bundle


class Probabilities(NamedTuple):
    """What a network says of some images.

    Attributes:
        maps: ``(N, S, S)`` float32 in 0..1, for each pixel.
        scores: ``(N,)`` float32 in 0..1, for each image.
    """

    maps: NDArray[np.float32]
    scores: NDArray[np.float32]


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


def read_model(path: str | os.PathLike[str]) -> Bundle:
    """Return the model in a file: a model.h5, or one that ``pleura export`` wrote.

    Raises:
        BundleError: The file is missing, truncated, corrupt, foreign, or needs a later pleura.
        UsageError: The file is ONNX and the package onnx is not installed.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".onnx":
        from pleura.models.onnx_file import read_onnx

        return read_onnx(path)
    if suffix == ".xml":
        from pleura.models.openvino_file import read_openvino

        return read_openvino(path)
    return read_bundle(path)


def open_engine(
    bundle: Bundle,
    engine: EngineName = "auto",
    device: str = "cpu",
    precision: Precision = "auto",
) -> Engine:
    """Return the engine that runs `bundle`.

    Args:
        bundle: A model.
        engine: ``auto`` is the exported file's own, else openvino on the CPU and torch on CUDA.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` takes bf16 where the device has it natively; ``fp32`` is the reference.

    Raises:
        UsageError: The engine does not run such a file, device or precision, or is not installed.
        BundleError: The model cannot be run.
    """
    if bundle.exported is not None:
        if engine not in ("auto", bundle.exported.kind):
            raise UsageError(
                f"--engine {engine}: {bundle.path or 'the model'} is exported for "
                f"{bundle.exported.kind}; leave --engine out, or take the model.h5 it was made from"
            )
        engine = bundle.exported.kind
    elif engine == "auto":
        engine = "openvino" if device == "cpu" else "torch"
    if engine == "openvino":
        from pleura.inference.openvino_engine import OpenVINOEngine

        return OpenVINOEngine(bundle, device, precision)
    if engine == "onnx":
        from pleura.inference.onnx_engine import ONNXEngine

        return ONNXEngine(bundle, device, precision)
    from pleura.inference.torch_engine import TorchEngine

    return TorchEngine(bundle, device, precision)
