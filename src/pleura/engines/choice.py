"""Which engine runs a model.

================  ===========================================  ==================================
name              runs on                                      opens
================  ===========================================  ==================================
``torch``         CPU and CUDA; the reference                  model.h5
``openvino``      CPU; the default there                       model.h5, exported .xml with .bin
``onnx``          ONNX Runtime: CPU, CUDA with its GPU build   model.h5, exported .onnx
================  ===========================================  ==================================

Nothing is imported before an engine is opened, and torch only by its own and to convert a model.h5
for the first time.
"""

from collections.abc import Sequence

from pleura.choices import EngineName, Precision
from pleura.engines.engine import Engine
from pleura.errors import UsageError
from pleura.models.bundle import Bundle


def open_engine(
    bundle: Bundle, engine: EngineName = "auto", device: str = "cpu", precision: Precision = "auto"
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
                f"`engine` {engine}: {bundle.path or 'the model'} is exported for "
                f"{bundle.exported.kind}; leave `engine` out, or take the model.h5 it was made from"
            )
        engine = bundle.exported.kind
    else:
        engine = _meant(engine, device)
    if engine == "openvino":
        from pleura.engines.openvino_engine import OpenVINOEngine

        return OpenVINOEngine(bundle, device, precision)
    if engine == "onnx":
        from pleura.engines.onnx_engine import ONNXEngine

        return ONNXEngine(bundle, device, precision)
    from pleura.engines.torch_engine import TorchEngine

    return TorchEngine(bundle, device, precision)


def converting(bundles: Sequence[Bundle], engine: EngineName, device: str) -> str:
    """Return that opening models converts them first, in words; "" where none is converted.

    To be said before, for it takes a while in which nothing else is heard. The arguments are those
    of :func:`open_engine`.
    """
    name = _meant(engine, device)
    if name == "torch":
        return ""
    from pleura.engines.cache import is_kept

    count = sum(not is_kept(bundle, name) for bundle in bundles)
    if not count:
        return ""
    what = "the model" if count == 1 else f"{count} models"
    return (
        f"converting {what} for {name}, which takes up to a minute; it is kept, and later starts "
        "are fast"
    )


def _meant(engine: EngineName, device: str) -> EngineName:
    if engine != "auto":
        return engine
    return "openvino" if device == "cpu" else "torch"
