import numpy as np
import pytest
import torch

from pleura.data.prepare import prepare_mask, prepare_pixels
from pleura.training.batches import Batches, shrunk


def batches(images, batch, accumulate=1):
    return Batches(lambda epoch: np.roll(np.arange(images), epoch), images, batch, accumulate)


def test_batches_are_pieces_of_the_epochs_order():
    sampler = batches(7, 3)
    assert list(sampler) == [[(0, 0), (1, 1), (2, 2)], [(3, 3), (4, 4), (5, 5)]]
    sampler.epoch = 1
    assert list(sampler) == [[(0, 6), (1, 0), (2, 1)], [(3, 2), (4, 3), (5, 4)]]
    assert len(sampler) == 2


def test_fewer_images_than_a_batch_are_one():
    assert list(batches(3, 8)) == [[(0, 0), (1, 1), (2, 2)]]


@pytest.mark.parametrize(("images", "expected"), [(23, 4), (24, 6), (11, 2), (5, 1)])
def test_what_does_not_fill_a_step_is_left_out(images, expected):
    assert len(batches(images, 4, accumulate=2)) == expected


def test_a_smaller_size_is_what_the_preparation_makes():
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(64, 64), dtype=np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[10:31, 7:40] = True
    x = torch.from_numpy(pixels)[None, None].float() / 255
    y = torch.from_numpy(mask)[None, None].float()
    small_x, small_y = shrunk(x, y, 32)
    assert np.abs(255 * small_x[0, 0].numpy() - prepare_pixels(pixels, 32)).max() < 1
    assert np.array_equal(small_y[0, 0].numpy().astype(bool), prepare_mask(mask, 32))
    assert shrunk(x, y, 64)[0] is x
