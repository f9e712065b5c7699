import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pleura.data.prepare import Frame, prepare_mask, prepare_pixels, restore

SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 70))


@given(hnp.arrays(bool, SHAPES), st.sampled_from([8, 32, 64]))
def test_preparing_a_picture_of_a_mask_and_the_mask_agree(mask, size):
    picture = mask.astype(np.uint8) * 255
    assert np.array_equal(prepare_pixels(picture, size) >= 128, prepare_mask(mask, size))


@given(hnp.arrays(bool, SHAPES), st.sampled_from([8, 32]))
def test_memory_order_of_a_mask_does_not_matter(mask, size):
    assert np.array_equal(prepare_mask(mask, size), prepare_mask(np.asfortranarray(mask), size))


@given(hnp.arrays(np.uint8, SHAPES), st.sampled_from([8, 32, 64]))
def test_sixteen_bits_prepare_like_eight(pixels, size):
    deep = pixels.astype(np.uint16) * 257
    eight, sixteen = prepare_pixels(pixels, size), prepare_pixels(deep, size)
    assert sixteen.dtype == np.uint8
    assert np.abs(eight.astype(int) - sixteen.astype(int)).max() <= 1


def test_full_range_of_sixteen_bits_is_kept():
    pixels = np.array([[0, 65535], [65535, 0]], np.uint16)
    prepared = prepare_pixels(pixels, 2)
    assert prepared.tolist() == [[0, 255], [255, 0]]


def test_a_wide_radiograph_is_centred_on_black():
    prepared = prepare_pixels(np.full((50, 100), 200, np.uint8), 100)
    assert (prepared[:25] == 0).all()
    assert (prepared[25:75] == 200).all()
    assert (prepared[75:] == 0).all()


@given(SHAPES, st.sampled_from([16, 32]), st.floats(0, 1, width=32))
@settings(max_examples=50)
def test_a_map_comes_back_in_the_files_shape(shape, size, value):
    frame = Frame(*shape, size)
    restored = restore(np.full((size, size), value, np.float32), frame)
    assert restored.shape == shape
    assert restored == pytest.approx(value, abs=1e-6)


@given(SHAPES, st.sampled_from([16, 32]), st.floats(0.1, 10))
@settings(max_examples=50)
def test_so_it_does_where_pixels_are_not_square(shape, size, aspect):
    frame = Frame(*shape, size, aspect)
    restored = restore(np.full((size, size), 0.5, np.float32), frame)
    assert restored.shape == shape
    assert restored == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("aspect", [0.5, 0.8, 1.25, 2])
def test_a_place_is_found_again_where_pixels_are_not_square(aspect):
    disc = np.zeros((200, 256), np.uint8)
    rows, columns = np.ogrid[:200, :256]
    inside = ((rows - 90) / 50) ** 2 + ((columns - 60) / 40) ** 2 < 1
    disc[inside] = 255
    frame = Frame(200, 256, 128, aspect)
    back = restore(prepare_pixels(disc, 128, aspect).astype(np.float32) / 255, frame) > 0.5
    assert 2 * (inside & back).sum() / (inside.sum() + back.sum()) > 0.97
    tall, wide = frame.shown
    assert tall / wide == pytest.approx(200 * aspect / 256, rel=0.01)


@pytest.mark.parametrize("shape", [(256, 256), (200, 256), (256, 130)])
def test_a_mask_survives_the_way_there_and_back(shape):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    mask = ((rows - 90) / 50) ** 2 + ((columns - 60) / 40) ** 2 < 1
    there = prepare_mask(mask, 128)
    back = restore(there.astype(np.float32), Frame(*shape, 128)) > 0.5
    dice = 2 * (mask & back).sum() / (mask.sum() + back.sum())
    assert dice > 0.98
