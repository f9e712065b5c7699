"""A bundle's network -> the graph that another engine runs. It needs torch.

The graph begins with uint8 pixels and ends with probabilities, so normalisation and sigmoid belong
to the file, and an engine has nothing to do but run it.

OpenVINO's own front end reads what ``torch.export`` gives; neither ONNX nor OpenVINO's converter,
which tells its makers of every use, takes part.

Shapes: N images, S side length in pixels.
"""

import importlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from pleura.engines.libraries import import_openvino
from pleura.errors import BundleError, OutputError, UsageError, first_line
from pleura.models.bundle import Bundle, Exported
from pleura.models.exported import INPUT, MAPS, SCORES
from pleura.models.loading import load_network
from pleura.models.onnx_file import import_onnx
from pleura.models.openvino_file import plain_graph
from pleura.models.served import as_served

OPSET = 20
"""Of ONNX."""

_ONNX_BYTES = 2**31 - 1  # what a protocol buffer can hold


class Served(nn.Module):
    """A network from prepared pixels to probabilities."""

    def __init__(self, network: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.network = network
        self.scale, self.shift = 1 / (255 * std), mean / std

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps ``(N, S, S)`` and scores ``(N,)`` for ``(N, S, S)`` uint8 pixels."""
        outputs = self.network(pixels[:, None].float() * self.scale - self.shift)
        return torch.sigmoid(outputs.mask.float())[:, 0], torch.sigmoid(outputs.score.float())


def to_openvino(bundle: Bundle) -> Exported:
    """Return the bundle's network as an OpenVINO graph.

    Raises:
        BundleError: The weights do not fit the network, or it cannot be converted.
    """
    import_openvino()  # first, so that it comes without its telemetry
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    with _quietly(bundle, "OpenVINO"):
        decoder = TorchFXPythonDecoder.from_exported_program(_traced(bundle))
        front_end = FrontEndManager().load_by_framework("pytorch")
        model = front_end.convert(front_end.load(decoder))
    size = bundle.preprocessing.size
    model.reshape([-1, size, size])
    for port, name in zip([*model.inputs, *model.outputs], (INPUT, MAPS, SCORES), strict=True):
        port.get_tensor().set_names({name})
    model.inputs[0].get_node().set_friendly_name(INPUT)
    return openvino_graph(model, Exported("openvino", b"", model_digest=bundle.digest))


def openvino_graph(model: object, exported: Exported) -> Exported:
    """Return `exported` with the graph and weights of an ``openvino.Model``.

    Raises:
        OutputError: OpenVINO writes files only, and the folder for temporary ones takes none.
    """
    openvino = import_openvino()
    try:
        with tempfile.TemporaryDirectory(prefix="pleura-") as folder:
            xml, weights = Path(folder, "graph.xml"), Path(folder, "graph.bin")
            openvino.serialize(model, str(xml), str(weights))
            graph, content = plain_graph(xml.read_bytes()), weights.read_bytes()
    except (OSError, RuntimeError) as error:  # of C++, where the disk is full
        raise OutputError(
            f"{os.environ.get('TMPDIR', 'the folder for temporary files')}: the graph could not be "
            f"written there ({first_line(error)}); free some space, or name another folder in "
            "TMPDIR"
        ) from error
    return Exported("openvino", graph, content, exported.precision, exported.model_digest)


def to_onnx(bundle: Bundle) -> Exported:
    """Return the bundle's network as an ONNX graph.

    Raises:
        BundleError: The weights do not fit the network, or it cannot be converted.
        UsageError: The extra is not installed.
    """
    import_onnx()
    try:
        importlib.import_module("onnxscript")
    except ImportError as error:
        raise UsageError(
            "torch writes ONNX by the package onnxscript, which is not there; pip install "
            "'pleura[onnx]'"
        ) from error
    with _quietly(bundle, "ONNX"):
        program = torch.onnx.export(
            # What attention's fused kernel returns lies in memory as no replacement of it does, and
            # the exporter then cannot take the views that follow it.
            _traced(bundle, plain_attention=True),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[MAPS, SCORES],
            verbose=False,
        )
        model = program.model_proto if program is not None else None
    if model is None or model.ByteSize() > _ONNX_BYTES:
        raise BundleError(
            f"{bundle.path or 'model'}: is larger than an ONNX file can be (2 GiB); export it for "
            "openvino"
        )
    return onnx_graph(model, Exported("onnx", b"", model_digest=bundle.digest))


def onnx_graph(model: object, exported: Exported) -> Exported:
    """Return `exported` with the graph of an ``onnx.ModelProto``, stripped of where it was made."""
    onnx = import_onnx()
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    graph = plain.graph
    parts = (graph.node, graph.input, graph.output, graph.value_info, graph.initializer)
    for part in (plain, graph, *(one for several in parts for one in several)):
        del part.metadata_props[:]
        part.doc_string = ""
    return Exported(
        "onnx", plain.SerializeToString(), b"", exported.precision, exported.model_digest
    )


def _traced(bundle: Bundle, *, plain_attention: bool = False) -> torch.export.ExportedProgram:
    loaded = as_served(load_network(bundle))
    network = Served(loaded, bundle.preprocessing.mean, bundle.preprocessing.std)
    for part in network.modules():
        choose = getattr(part, "set_attn_implementation", None)  # of transformers' models
        if plain_attention and callable(choose):
            choose("eager")
    size = bundle.preprocessing.size
    example = torch.zeros(
        (2, size, size), dtype=torch.uint8
    )  # a batch of 1 would be taken as fixed
    return torch.export.export(
        network.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("N")},)
    )


@contextmanager
def _quietly(bundle: Bundle, target: str) -> Iterator[None]:
    """Keep what exporters tell their developers off the screen; make one error of what they raise.

    Raises:
        BundleError: The conversion failed.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        raise BundleError(
            f"{bundle.path or 'model'}: its {bundle.network.name} cannot be converted for {target} "
            f"({type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}); use it with "
            "`engine` torch"
        ) from error
    finally:
        logging.disable(disabled)
