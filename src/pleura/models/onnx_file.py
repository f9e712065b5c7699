"""An exported model as one ONNX file, hostile until parsed.

What pleura writes holds one plain graph: operators of ONNX itself, weights inside the file, no
graph within the graph, no function. Anything else is refused before ONNX Runtime sees it, and so
is a tensor that would not fit into memory; the file without its metadata must match its digest.

Source: onnx.proto3 of ONNX; its metadata are the last field of the file, and what a protocol buffer
is made of may be written one after the other.
"""

import math
import os
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from pleura.errors import BundleError, UsageError, first_line
from pleura.models.bundle import Bundle, Exported
from pleura.models.exported import (
    INPUT,
    KEY,
    MAPS,
    MAX_BYTES,
    SCORES,
    from_metadata,
    metadata,
    read_bytes,
)
from pleura.models.weights import check_finite

_DOMAINS = ("", "ai.onnx")


def onnx_bytes(bundle: Bundle, exported: Exported) -> bytes:
    """Return the file's content for `bundle`, of which `exported` holds the graph.

    Raises:
        UsageError: The package onnx is not installed.
    """
    return exported.graph + _tail(metadata(bundle, exported))


def read_onnx(path: str | os.PathLike[str]) -> Bundle:
    """Return the model in an ONNX file that pleura wrote.

    Raises:
        BundleError: The file is missing, truncated, corrupt, foreign, or from a later pleura.
        UsageError: The package onnx is not installed.
    """
    file = Path(path)
    import_onnx()
    try:
        return parse_onnx(read_bytes(file), file)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error


def parse_onnx(content: bytes, path: Path) -> Bundle:
    """Return the model in the content of an ONNX file.

    Raises:
        BundleError: As for :func:`read_onnx`.
        UsageError: The package onnx is not installed.
    """
    onnx = import_onnx()
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(content)
    except (DecodeError, RecursionError) as error:
        raise BundleError(
            "cannot be read as ONNX, it is truncated, damaged or something else; export it again"
        ) from error
    texts = [entry.value for entry in model.metadata_props if entry.key == KEY]
    if len(texts) != 1:
        raise BundleError(
            "is ONNX but not a model of pleura (no metadata named pleura); models of other "
            "programs cannot be loaded"
        )
    if not isinstance(texts[0], str):  # what is not UTF-8 is handed out as bytes
        raise BundleError("its metadata is not a text, it is damaged; export it again")
    tail = _tail(texts[0])
    if not content.endswith(tail):
        raise BundleError("does not end with its metadata, as pleura writes it; export it again")
    bundle = from_metadata(texts[0], Exported("onnx", content[: -len(tail)]), path)
    _check_plain(model)
    _check_ports(model.graph, bundle.preprocessing.size)
    _check_sizes(onnx, model, bundle.preprocessing.size)
    _check_finite(onnx, model.graph)
    return bundle


def import_onnx() -> ModuleType:
    """Return the package onnx.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import onnx
        import onnx.numpy_helper  # noqa: F401 - so that the package has it
        import onnx.shape_inference  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "ONNX files need the packages onnx and onnxruntime; pip install 'pleura[onnx]'"
        ) from error
    module: ModuleType = onnx
    return module


def _tail(text: str) -> bytes:
    onnx = import_onnx()
    entry = onnx.StringStringEntryProto(key=KEY, value=text)
    tail: bytes = onnx.ModelProto(metadata_props=[entry]).SerializeToString()
    return tail


def _check_plain(model: Any) -> None:
    domains = {entry.domain for entry in model.opset_import}
    domains |= {node.domain for node in model.graph.node}
    for foreign in domains.difference(_DOMAINS):
        raise BundleError(f"uses operators of {foreign!r}; pleura writes those of ONNX alone")
    if len(model.functions) or len(model.training_info) or len(model.graph.sparse_initializer):
        raise BundleError("holds functions, training or sparse weights; pleura writes none")
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g") or len(attribute.graphs):
                raise BundleError(
                    f"its {node.op_type} holds a graph of its own; pleura writes none"
                )
    for tensor in _tensors(model.graph):
        if tensor.data_location or len(tensor.external_data):
            raise BundleError(f"its weights {tensor.name!r} are in another file; pleura keeps them")


def _check_finite(onnx: ModuleType, graph: Any) -> None:
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    # A bound, which is a plain number, may be infinite.
    found = [one for one in _tensors(graph) if one.data_type in floats and len(one.dims)]
    try:
        check_finite({one.name: onnx.numpy_helper.to_array(one) for one in found})
    except (ValueError, TypeError) as error:
        raise BundleError(f"a tensor is not what it says ({first_line(error)})") from error


def _tensors(graph: Any) -> Iterable[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_ports(graph: Any, size: int) -> None:
    image = [None, size, size]
    expected = {INPUT: (2, image), MAPS: (1, image), SCORES: (1, [None])}  # 2: uint8, 1: float32
    ports = {}
    for port in [*graph.input, *graph.output]:
        kind = port.type.tensor_type
        sides = [one.dim_value if one.HasField("dim_value") else None for one in kind.shape.dim]
        ports[port.name] = (kind.elem_type, sides)
    names = [str(port.name) for port in graph.input], [str(port.name) for port in graph.output]
    if names != ([INPUT], [MAPS, SCORES]) or ports != expected:
        raise BundleError(
            f"takes {', '.join(names[0])} and gives {', '.join(names[1])}; a graph of pleura takes "
            f"{INPUT} (n, {size}, {size}) and gives {MAPS} and {SCORES}"
        )


def _check_sizes(onnx: ModuleType, model: Any, size: int) -> None:
    """Raise BundleError unless every tensor has a known size for one image, within bounds.

    A few bytes of an operator can ask for terabytes, when it is run or folded to a constant.
    """
    one = onnx.ModelProto()
    one.CopyFrom(model)
    for port in (*one.graph.input, *one.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    del one.graph.value_info[:]
    try:
        graph = onnx.shape_inference.infer_shapes(one, strict_mode=True, data_prop=True).graph
    except Exception as error:  # of onnx's own making: InferenceError, RuntimeError, ...
        raise BundleError(f"its graph does not fit together ({first_line(error)})") from error
    known = {value.name: value.type.tensor_type for value in graph.value_info}
    known |= {port.name: port.type.tensor_type for port in (*graph.input, *graph.output)}
    for node in graph.node:
        for name in filter(None, node.output):
            sides = [side.dim_value for side in known[name].shape.dim] if name in known else [0]
            whole = name in known and all(
                side.HasField("dim_value") for side in known[name].shape.dim
            )
            if not whole or 8 * math.prod(sides) > MAX_BYTES:
                raise BundleError(
                    f"its {node.op_type} gives {name!r} of {sides if whole else 'unknown'} size; "
                    f"pleura writes graphs whose tensors are known to be below {MAX_BYTES} bytes"
                )
