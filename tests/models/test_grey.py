from dataclasses import fields

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional

from pleura.models.bundle import Preprocessing
from pleura.models.grey import IMAGENET, INPUT_MEAN, INPUT_STD, Colours, fold, with_ones

SHARE = st.floats(0.05, 0.95)
COLOURS = st.builds(Colours, st.tuples(SHARE, SHARE, SHARE), st.tuples(SHARE, SHARE, SHARE))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    colours=COLOURS,
    kernel=st.sampled_from([1, 3, 4, 7]),
    stride=st.integers(1, 4),
    padded=st.booleans(),
)
def test_a_folded_stem_answers_as_the_whole_one_to_a_grey_picture(
    seed, colours, kernel, stride, padded
):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(2, 1, 16, 16, generator=generator, dtype=torch.float64)
    weight = torch.randn(5, 3, kernel, kernel, generator=generator, dtype=torch.float64)
    mean, std = (weight.new_tensor(values)[:, None, None] for values in colours)
    padding = kernel // 2 if padded else 0
    whole = functional.conv2d(
        (pixels.expand(-1, 3, -1, -1) - mean) / std, weight, None, stride, padding
    )
    x = (pixels - INPUT_MEAN) / INPUT_STD
    folded = functional.conv2d(with_ones(x), fold(weight, colours), None, stride, padding)
    assert folded.shape == whole.shape
    assert torch.allclose(folded, whole, rtol=1e-9, atol=1e-9)


def test_the_normalisation_undone_is_the_bundles_own():
    defaults = {field.name: field.default for field in fields(Preprocessing)}
    assert (defaults["mean"], defaults["std"]) == (INPUT_MEAN, INPUT_STD)


def test_white_and_black_are_far_apart_as_photographs_have_them():
    weight = torch.ones(1, 3, 1, 1)
    black, white = (
        functional.conv2d(with_ones(torch.full((1, 1, 1, 1), v)), fold(weight, IMAGENET)).item()
        for v in (-2.0, 2.0)
    )
    assert black == pytest.approx(sum(-m / s for m, s in zip(*IMAGENET, strict=True)))
    assert white == pytest.approx(sum((1 - m) / s for m, s in zip(*IMAGENET, strict=True)))
