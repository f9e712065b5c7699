"""The engine on OpenVINO: the default on a CPU.

One image is run with all cores. Of several, as many run side by side as OpenVINO has streams, each
with its share of the cores: they wait less for one another. Either way a graph is compiled for one
image, of known size, which OpenVINO plans best.

Shapes: N images, S side length in pixels.
"""

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.choices import Precision
from pleura.engines.cache import converted
from pleura.engines.engine import Probabilities
from pleura.engines.libraries import import_openvino, openvino_core
from pleura.engines.threads import OwnThreads, fixed_threads
from pleura.errors import BundleError, UsageError
from pleura.models.bundle import Bundle, Exported
from pleura.models.exported import INPUT, MAPS, MAX_BYTES, SCORES


class OpenVINOEngine:
    """OpenVINO on the CPU.

    A model.h5 is converted once and kept in the user's cache folder, see
    :mod:`pleura.engines.cache`; only that imports torch.

    Attributes:
        name: The engine and its precision, such as ``openvino bf16`` or ``openvino int8 fp32``.
        notes: That the converted network could not be kept, where it could not.

    Args:
        bundle: The model.
        device: ``cpu``.
        precision: ``auto`` takes bf16 where the processor has it natively.

    Raises:
        UsageError: The device is not ``cpu``, or the processor has no such precision.
        BundleError: The model cannot be run.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu", precision: Precision = "auto") -> None:
        if device != "cpu":
            raise UsageError(
                f"`device` {device}: openvino runs on cpu here; take that, or `engine` torch"
            )
        self._openvino = import_openvino()
        self._core = openvino_core()
        native = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not native:
            raise UsageError(
                "`precision` bf16: this processor has no bfloat16, and OpenVINO does not emulate "
                "it; take auto or fp32, or `engine` torch"
            )
        self._bf16 = native and precision != "fp32"
        exported, self.notes = converted(bundle, "openvino", _convert)
        quantised = "int8 " if exported.precision == "int8" else ""
        self.name = f"openvino {quantised}{'bf16' if self._bf16 else 'fp32'}"
        self._size = bundle.preprocessing.size
        self._model = self._checked(bundle, exported)
        self._compiled: dict[str, list[Any]] = {}
        self._lock = threading.Lock()
        self._threads = OwnThreads()  # begun by the first graph that is compiled

    def probabilities(self, pixels: NDArray[np.uint8]) -> Probabilities:
        """Return the probabilities for ``(N, S, S)`` uint8 prepared pixels."""
        maps = np.empty(pixels.shape, np.float32)
        scores = np.empty(len(pixels), np.float32)
        self._threads.begin()
        with self._lock:
            requests = self._requests(len(pixels))
            for number in range(len(pixels) + len(requests)):
                request, before = requests[number % len(requests)], number - len(requests)
                if 0 <= before < len(pixels):
                    request.wait()
                    maps[before] = request.get_tensor(MAPS).data[0]
                    scores[before] = request.get_tensor(SCORES).data[0]
                if number < len(pixels):
                    request.start_async({INPUT: np.ascontiguousarray(pixels[number : number + 1])})
        return Probabilities(maps, scores)

    def _requests(self, images: int) -> list[Any]:
        """Return what runs so many images, side by side; a graph is compiled when first needed."""
        hint = "LATENCY" if images == 1 and "THROUGHPUT" not in self._compiled else "THROUGHPUT"
        if hint not in self._compiled:
            precision = "bf16" if self._bf16 else "f32"
            wanted: dict[str, Any] = {
                "PERFORMANCE_HINT": hint,
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": fixed_threads(),  # 0: as many as there are cores
            }
            compiled = self._core.compile_model(self._model, "CPU", wanted)
            count = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
            self._compiled[hint] = [compiled.create_infer_request() for _ in range(count)]
        return self._compiled[hint]

    def _checked(self, bundle: Bundle, exported: Exported) -> Any:
        """Return the graph for one image, once all its tensors are known to fit into memory."""
        try:
            weights = np.frombuffer(exported.weights, np.uint8)
            model = self._core.read_model(exported.graph, self._openvino.Tensor(weights))
            model.reshape({INPUT: [1, self._size, self._size]})
            for node in model.get_ordered_ops():
                for port in node.outputs():
                    shape = port.get_partial_shape()
                    if shape.is_dynamic or 8 * math.prod(port.get_shape()) > MAX_BYTES:
                        raise BundleError(
                            f"its {node.get_type_name()} gives a tensor of size {shape}; pleura "
                            f"writes graphs whose tensors are known to be below {MAX_BYTES} bytes"
                        )
            ports = [model.output(name) for name in (MAPS, SCORES)]
            found = [(port.get_element_type().to_string(), list(port.shape)) for port in ports]
            if found != [("f32", [1, self._size, self._size]), ("f32", [1])]:
                raise BundleError(f"its outputs are {found}; pleura writes probabilities")
        except (RuntimeError, BundleError) as error:
            why = (str(error).strip().splitlines() or [""])[-1][:300]
            raise BundleError(
                f"{bundle.path or 'model'}: OpenVINO cannot run its graph ({why})"
            ) from error
        return model


def _convert(bundle: Bundle) -> Exported:
    from pleura.engines.convert import to_openvino  # imports torch

    return to_openvino(bundle)
