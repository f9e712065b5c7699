import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pleura.errors import BundleError, UsageError
from pleura.models.onnx_file import onnx_bytes, parse_onnx, read_onnx


@pytest.fixture
def bundle(exported):
    return exported("onnx")


@pytest.fixture
def path(bundle, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes(bundle, bundle.exported))
    return path


def changed(bundle, change):
    """Return a file of which `change` has changed the graph, with digests that fit it."""
    model = onnx.ModelProto.FromString(bundle.exported.graph)
    change(model)
    graph = replace(bundle.exported, graph=model.SerializeToString())
    return onnx_bytes(bundle, graph)


def test_it_is_read_as_it_was_written(bundle, path):
    assert read_onnx(path).exported == bundle.exported
    onnx.checker.check_model(str(path), full_check=True)


def test_nothing_says_where_it_was_made(path):
    content = path.read_bytes()
    assert b"stack_trace" not in content
    assert b".py" not in content
    assert b"pkg.torch" not in content


def test_every_truncation_is_noticed(path):
    content = path.read_bytes()
    for length in np.linspace(0, len(content) - 1, 60).astype(int):
        path.write_bytes(content[:length])
        with pytest.raises(BundleError, match=r"m\.onnx: "):
            read_onnx(path)


def test_every_flipped_byte_is_noticed(path):
    content = path.read_bytes()
    for place in np.random.default_rng(0).integers(len(content), size=150):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match=r"m\.onnx: "):
            read_onnx(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a model", b"\x89HDF\r\n\x1a\n" * 9])
def test_something_else(path, content):
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"m.onnx: (cannot be read as ONNX|is ONNX but not a)"):
        read_onnx(path)


def test_the_model_of_another_program(bundle, path):
    path.write_bytes(bundle.exported.graph)
    with pytest.raises(BundleError, match="is ONNX but not a model of pleura"):
        read_onnx(path)
    path.write_bytes(onnx_bytes(bundle, bundle.exported) + b"\x12\x01x")  # a producer behind it
    with pytest.raises(BundleError, match="does not end with its metadata, as pleura writes it"):
        read_onnx(path)


def test_there_is_no_file(tmp_path):
    with pytest.raises(BundleError, match=r"no.onnx: there is no such file; write it with pleura"):
        read_onnx(tmp_path / "no.onnx")


def test_without_the_package(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    message = r"ONNX files need the packages onnx and onnxruntime; pip install 'pleura\[onnx\]'"
    with pytest.raises(UsageError, match=message):
        read_onnx(path)


def custom_domain(model):
    model.graph.node[0].domain = "com.example.native"


def custom_opset(model):
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def function(model):
    body = [helper.make_node("Identity", ["a"], ["b"])]
    opset = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("", "Own", ["a"], ["b"], body, opset))


def inner_graph(model):
    inner = helper.make_graph([], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=inner))


def external(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")


def external_in_a_node(model):
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "hidden")
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(helper.make_node("Constant", [], ["hidden"], value=tensor))


def other_input(model):
    model.graph.input[0].name = "data"


def other_type(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def other_size(model):
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 65


def more_inputs(model):
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def bomb(model):
    model.graph.initializer.append(numpy_helper.from_array(np.array([10**12]), "huge"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["huge"], ["bang"]))


def unknown_size(model):
    model.graph.node.append(helper.make_node("NonZero", [model.graph.node[0].output[0]], ["some"]))


def misfit(model):
    model.graph.node.append(helper.make_node("Concat", ["maps", "scores"], ["m"], axis=0))


def not_finite(model):
    tensor = next(one for one in model.graph.initializer if len(one.dims) > 1)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[1] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def half_a_tensor(model):
    tensor = next(one for one in model.graph.initializer if len(one.dims) > 1)
    tensor.raw_data = tensor.raw_data[:-4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (not_finite, "its weights .* are not all finite numbers"),
        (half_a_tensor, "a tensor is not what it says|its graph does not fit together"),
        (custom_domain, "uses operators of 'com.example.native'; pleura writes those of ONNX"),
        (custom_opset, "uses operators of 'com.example'; pleura writes those of ONNX alone"),
        (function, "holds functions, training or sparse weights; pleura writes none"),
        (inner_graph, "its If holds a graph of its own; pleura writes none"),
        (external, "its weights .* are in another file; pleura keeps them"),
        (external_in_a_node, "its weights 'hidden' are in another file; pleura keeps them"),
        (other_input, r"takes data and gives maps, scores; a graph of pleura takes pixels \(n"),
        (other_type, r"takes pixels and gives maps, scores; a graph of pleura takes pixels"),
        (other_size, r"takes pixels and gives maps, scores; a graph of pleura takes pixels"),
        (more_inputs, r"takes pixels, more and gives maps, scores; a graph of pleura takes"),
        (bomb, r"its ConstantOfShape gives 'bang' of \[1000000000000\] size; pleura writes"),
        (unknown_size, "its NonZero gives 'some' of unknown size; pleura writes graphs whose"),
        (misfit, "its graph does not fit together"),
    ],
)
def test_what_pleura_never_writes(bundle, change, message, tmp_path):
    with pytest.raises(BundleError, match=message):
        parse_onnx(changed(bundle, change), tmp_path / "m.onnx")


def test_the_harness_changes_nothing_by_itself(bundle, tmp_path):
    parse_onnx(changed(bundle, lambda model: None), tmp_path / "m.onnx")
