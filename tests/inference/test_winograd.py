import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from pleura.inference.openvino_engine import import_openvino
from pleura.inference.winograd import _share, with_fewer_products

openvino = import_openvino()
ops = openvino.opset13


def graph(weights, rows, columns, *, batch=1, strides=1, pads=1, dilations=1):
    """Return a graph of one convolution and a ReLU."""
    x = ops.parameter([batch, weights.shape[1], rows, columns], np.float32, name="x")
    y = ops.convolution(
        x, ops.constant(weights), [strides] * 2, [pads] * 2, [pads] * 2, [dilations] * 2
    )
    y.output(0).set_names({"convolved"})
    return openvino.Model([ops.relu(y)], [x])


def ran(model, x):
    wanted = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(model, "CPU", wanted).infer_new_request([x])[0]


def kinds(model):
    return {node.get_type_name() for node in model.get_ordered_ops()}


def weights_of(seed, made, read, side=3):
    values = np.random.default_rng(seed).normal(size=(made, read, side, side))
    return (values / np.sqrt(side * side * read)).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    read=st.integers(64, 96),
    made=st.integers(64, 96),
    rows=st.integers(13, 34),
    columns=st.integers(13, 34),
)
def test_it_is_the_same_convolution_borders_included(seed, read, made, rows, columns):
    weights = weights_of(seed, made, read)
    x = np.random.default_rng(seed).normal(size=(1, read, rows, columns)).astype(np.float32)
    model = graph(weights, rows, columns)
    replaced = with_fewer_products(model)
    assert replaced == (_share(made, read, rows, columns) <= 0.7)
    assert ("Convolution" in kinds(model)) == (replaced == 0)
    expected = functional.conv2d(torch.from_numpy(x), torch.from_numpy(weights), padding=1)
    np.testing.assert_allclose(ran(model, x), expected.relu(), atol=2e-4)


@pytest.mark.parametrize("side", [16, 24, 32, 64, 96])
def test_an_axis_cut_into_pieces_is_the_same_too(side):
    weights = weights_of(0, 128, 160)
    x = np.random.default_rng(1).normal(size=(1, 160, side, 16)).astype(np.float32)
    for axes in ((0, 1, 2, 3), (0, 1, 3, 2)):
        turned = np.ascontiguousarray(x.transpose(axes))
        model = graph(weights, *turned.shape[2:])
        assert with_fewer_products(model) == 1
        expected = functional.conv2d(torch.from_numpy(turned), torch.from_numpy(weights), padding=1)
        np.testing.assert_allclose(ran(model, turned), expected.relu(), atol=2e-4)


@pytest.mark.parametrize(
    ("side", "settings"),
    [
        (3, {"batch": 2}),
        (3, {"strides": 2}),
        (3, {"pads": 0}),
        (3, {"dilations": 2, "pads": 2}),
        (5, {"pads": 2}),
        (1, {"pads": 0}),
    ],
)
def test_other_convolutions_are_left(side, settings):
    model = graph(weights_of(0, 128, 128, side), 32, 32, **settings)
    assert with_fewer_products(model) == 0
    assert "Convolution" in kinds(model)


@pytest.mark.parametrize(("channels", "side"), [(24, 256), (512, 8)])
def test_it_is_left_where_it_does_not_pay(channels, side):
    assert with_fewer_products(graph(weights_of(0, channels, channels), side, side)) == 0


def test_padding_that_overrules_what_the_numbers_say_is_left():
    x = ops.parameter([1, 128, 32, 32], np.float32)
    weights = ops.constant(weights_of(0, 128, 128))
    y = ops.convolution(x, weights, [1, 1], [1, 1], [1, 1], [1, 1], auto_pad="valid")
    assert with_fewer_products(openvino.Model([y], [x])) == 0


def test_weights_that_are_computed_are_left():
    x = ops.parameter([1, 128, 32, 32], np.float32)
    halved = ops.constant(weights_of(0, 128, 128).astype(np.float16))
    y = ops.convolution(x, ops.convert(halved, "f32"), [1, 1], [1, 1], [1, 1], [1, 1])
    assert with_fewer_products(openvino.Model([y], [x])) == 0


def test_the_output_keeps_its_name():
    model = graph(weights_of(0, 128, 128), 32, 32)
    assert with_fewer_products(model) == 1
    assert model.get_ordered_ops()[-2].input_value(0).get_names() == {"convolved"}
