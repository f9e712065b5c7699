"""The 3 x 3 convolutions of an OpenVINO graph, with fewer multiplications for the same sums.

Source: Winograd 1980; Lavin and Gray 2016, F(4 x 4, 3 x 3). Of a tile of 6 x 6 inputs, 36 products
a channel make 4 x 4 outputs, which take 144 one by one: pixels and weights are both changed by a
small matrix along each axis first, and the products by another one afterwards.

OpenVINO has no kernel for this. But the changes are linear, so one matrix takes a whole axis to all
of its tiles, borders included, and everything is matrix products, which it runs as fast as the
processor can. The longer the axis, the more of that matrix is zeros: it pays in the deeper levels,
and `_share` says where. Rounding weighs more: of sums about 1 large, the worst of 100,000 is off by
5e-5, not by 1e-6, so this is for float32 alone.

Shapes: C channels in, K channels out, H rows, W columns, T tiles along an axis.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Lavin and Gray's matrices: of six inputs, of three weights, to four outputs.
_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_WEIGHTS = np.array(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32
) / np.float32(24)
_OUTPUT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    np.float32,
)
_STEP, _POINTS = 4, 6

_TOGETHER = 8  # tiles whose outputs one matrix makes, where the axis can be cut into such pieces
_LEAST_TILES = 16  # with fewer, reading the weights, of which there are four times as many, is all
_MOST = 0.7  # of the multiplications; with more, bringing the tiles together costs what is won


def with_fewer_products(model: Any) -> int:
    """Replace, in `model`, each convolution that gains by it; return how many.

    Args:
        model: An ``openvino.Model`` for one image, all its shapes known. Changed in place.
    """
    count = 0
    for node in model.get_ordered_ops():
        weights = _weights(node)
        if weights is None or not _pays(*weights.shape[:2], *node.get_output_shape(0)[2:]):
            continue
        old, replaced = node.output(0), _products(node.input_value(0), weights).output(0)
        replaced.add_names(old.get_names())
        for target in old.get_target_inputs():
            target.replace_source_output(replaced)
        count += 1
    model.validate_nodes_and_infer_types()
    return count


def _weights(node: Any) -> NDArray[np.float32] | None:
    """Return the weights (K, C, 3, 3) of a "same" convolution of one image, else nothing."""
    if node.get_type_name() != "Convolution":
        return None
    constant, shape = node.input_value(1).get_node(), list(node.output(0).get_shape())
    if constant.get_type_name() != "Constant" or len(shape) != 4 or shape[0] != 1:
        return None
    plain = {"strides": [1, 1], "dilations": [1, 1], "pads_begin": [1, 1], "pads_end": [1, 1]}
    found = node.get_attributes()
    if any(list(found[name]) != value for name, value in plain.items()):
        return None
    if list(node.get_input_shape(0))[2:] != shape[2:]:  # an auto_pad that the paddings do not say
        return None
    weights: NDArray[np.float32] = constant.get_data()
    return weights if weights.dtype == np.float32 and weights.shape[2:] == (3, 3) else None


def _products(x: Any, weights: NDArray[np.float32]) -> Any:
    """Return the node that convolves `x`, (1, C, H, W), with `weights`."""
    from openvino import opset13 as ops  # by now imported without its telemetry

    def constant(values: Any) -> Any:
        return ops.constant(np.ascontiguousarray(values))

    def shaped(node: Any, *shape: int) -> Any:
        return ops.reshape(node, constant(np.array(shape, np.int64)), False)

    def ordered(node: Any, *axes: int) -> Any:
        return ops.transpose(node, constant(np.array(axes, np.int64)))

    n = _POINTS
    made, read, rows, columns = *weights.shape[:2], *list(x.get_shape())[2:]
    high, wide = _tiles(rows), _tiles(columns)
    some_high, some_wide = _together(rows), _together(columns)
    pieces_high, pieces_wide = high // some_high, wide // some_wide

    tiles = ops.matmul(shaped(x, read * rows, columns), constant(_to_tiles(columns)), False, True)
    tiles = shaped(tiles, read, rows, n * wide)
    tiles = ops.matmul(constant(_to_tiles(rows)[None]), tiles, False, False)
    tiles = ordered(shaped(tiles, read, n, high, n, wide), 1, 3, 0, 2, 4)
    tiles = shaped(tiles, n * n, read, high * wide)

    changed = np.kron(_WEIGHTS, _WEIGHTS) @ weights.reshape(-1, 9).T
    sums = ops.matmul(constant(changed.reshape(n * n, made, read)), tiles, False, False)

    sums = shaped(sums, n, n, made * pieces_high, some_high, pieces_wide, some_wide)
    sums = shaped(ordered(sums, 2, 0, 3, 4, 1, 5), made * pieces_high, n * some_high, n * wide)
    sums = ops.matmul(constant(_from_tiles(rows, some_high)[None]), sums, False, False)
    sums = shaped(sums, made * rows * pieces_wide, n * some_wide)
    sums = ops.matmul(sums, constant(_from_tiles(columns, some_wide)), False, True)
    return shaped(sums, 1, made, rows, columns)


def _pays(made: int, read: int, rows: int, columns: int) -> bool:
    enough = _tiles(rows) * _tiles(columns) >= _LEAST_TILES
    return enough and _share(made, read, rows, columns) <= _MOST


def _share(made: int, read: int, rows: int, columns: int) -> float:
    """Return the multiplications of all the products, over those of the convolution itself."""
    high, wide = _POINTS * _tiles(rows), _POINTS * _tiles(columns)
    there = read * rows * wide * (columns + high)
    back = made * rows * _POINTS * (_together(rows) * wide + _together(columns) * columns)
    products = read * made * high * wide + there + back
    return products / (9 * read * made * rows * columns)


def _tiles(side: int) -> int:
    return -(-side // _STEP)


def _together(side: int) -> int:
    """Return how many tiles along an axis one matrix brings back: some, or all of them."""
    return _TOGETHER if side % (_STEP * _TOGETHER) == 0 else _tiles(side)


def _to_tiles(side: int) -> NDArray[np.float32]:
    """Return what takes an axis to its tiles, (6 T, side), with zeros before and after it."""
    matrix = np.zeros((_POINTS, _tiles(side), side + 2 * _STEP), np.float32)
    for tile in range(_tiles(side)):
        matrix[:, tile, _STEP * tile : _STEP * tile + _POINTS] = _INPUT
    return matrix[:, :, 1 : side + 1].reshape(-1, side)


def _from_tiles(side: int, tiles: int) -> NDArray[np.float32]:
    """Return what takes `tiles` to the part of an axis they make, (at most 4 tiles, 6 tiles)."""
    matrix = np.zeros((tiles, _STEP, _POINTS, tiles), np.float32)
    for tile in range(tiles):
        matrix[tile, :, :, tile] = _OUTPUT
    return matrix.reshape(_STEP * tiles, -1)[:side]
