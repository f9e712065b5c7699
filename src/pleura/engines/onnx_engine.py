"""The engine on ONNX Runtime: on the CPU, and on CUDA where its GPU build is installed.

Shapes: N images, S side length in pixels.
"""

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.choices import Precision
from pleura.engines.cache import converted
from pleura.engines.engine import Probabilities
from pleura.engines.libraries import import_onnxruntime
from pleura.engines.threads import OwnThreads, fixed_threads
from pleura.errors import BundleError, UsageError
from pleura.models.bundle import Bundle, Exported
from pleura.models.exported import INPUT, MAPS, SCORES


class ONNXEngine:
    """ONNX Runtime in float32.

    Attributes:
        name: The engine and its precision, such as ``onnx fp32`` or ``onnx cuda fp32``.
        notes: That the converted network could not be kept, where it could not.

    Args:
        bundle: The model.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` or ``fp32``, which are the same here.

    Raises:
        UsageError: The package, the device or the precision is not there.
        BundleError: The model cannot be run.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu", precision: Precision = "auto") -> None:
        onnxruntime = import_onnxruntime()
        if precision == "bf16":
            raise UsageError(
                "`precision` bf16: the engine onnx runs in float32; take auto or fp32, or another "
                "engine"
            )
        provider = _provider(onnxruntime, device)
        exported, self.notes = converted(bundle, "onnx", _convert)
        self.name = f"onnx {'' if device == 'cpu' else 'cuda '}{exported.precision}"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is wrong is raised
        options.intra_op_num_threads = fixed_threads()  # 0: as many as there are cores
        try:
            self._session = onnxruntime.InferenceSession(
                exported.graph, options, providers=[provider]
            )
        except Exception as error:  # of its own making: Fail, InvalidGraph, InvalidProtobuf, ...
            why = (str(error).splitlines() or [""])[0][:300]
            raise BundleError(
                f"{bundle.path or 'model'}: ONNX Runtime cannot run its graph ({why})"
            ) from error
        self._threads = OwnThreads()
        self._threads.begin()
        if self._session.get_providers()[0] != provider[0]:
            raise UsageError(
                f"`device` {device}: ONNX Runtime found the GPU but cannot use it (CUDA or cuDNN "
                "of another version); take cpu, or `engine` torch"
            )

    def probabilities(self, pixels: NDArray[np.uint8]) -> Probabilities:
        """Return the probabilities for ``(N, S, S)`` uint8 prepared pixels."""
        self._threads.begin()
        found = self._session.run([MAPS, SCORES], {INPUT: np.ascontiguousarray(pixels)})
        return Probabilities(*found)


def _provider(onnxruntime: ModuleType, device: str) -> tuple[str, dict[str, Any]]:
    """Return ONNX Runtime's name and settings for a device; raise UsageError for one not there."""
    if device == "cpu":
        return "CPUExecutionProvider", {}
    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise UsageError(f"`device` {device}: is not a device; take cpu, cuda or cuda:0")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise UsageError(
            f"`device` {device}: this build of ONNX Runtime has no CUDA; take cpu, or install "
            "onnxruntime-gpu in its place"
        )
    # TensorFloat-32 has 10 bits where float32 has 23.
    return "CUDAExecutionProvider", {"device_id": int(number or 0), "use_tf32": 0}


def _convert(bundle: Bundle) -> Exported:
    from pleura.engines.convert import to_onnx  # imports torch

    return to_onnx(bundle)
