from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pleura.data.arrays import Prepared
from pleura.data.prepare import prepare_mask, prepare_pixels
from pleura.errors import UsageError
from pleura.training.augment import augment, draw
from pleura.training.batches import Batches, Images, Truth, shrink
from tests.records import make_record


def batches(images, batch, accumulate=1, processes=1):
    def order(epoch):
        return np.roll(np.arange(images), epoch)

    return Batches(order, images, batch, accumulate, processes)


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


@given(st.integers(1, 300), st.integers(1, 20), st.integers(1, 4), st.integers(1, 9))
@settings(max_examples=200)
def test_each_image_comes_to_one_process_once_in_an_epoch(images, batch, accumulate, processes):
    assume(images >= processes)
    sampler = batches(images, batch, accumulate, processes)
    shards = [BatchSamplerShard(sampler, processes, rank) for rank in range(processes)]
    taken = [list(shard) for shard in shards]
    turns = len(taken[0])
    assert turns
    assert {len(mine) for mine in taken} == {len(shard) for shard in shards} == {turns}
    together = [item for turn in zip(*taken, strict=True) for mine in turn for item in mine]
    assert together == [(place, place) for place in range(len(together))]  # the epoch's own order
    step = sampler.batch_size * processes * (accumulate if turns >= accumulate else 1)
    assert 0 <= images - len(together) < step
    assert turns % accumulate == 0 or turns < accumulate


def test_more_processes_than_images():
    with pytest.raises(
        UsageError, match="4 processes have 3 images to train on, so some have none; start no more"
    ):
        batches(3, 1, processes=4)


def test_a_smaller_size_is_what_the_preparation_makes():
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(64, 64), dtype=np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[10:31, 7:40] = True
    x = torch.from_numpy(pixels)[None, None].float() / 255
    y = torch.from_numpy(mask)[None, None].float()
    small_x, small = shrink(x, Truth(y), 32)
    assert np.abs(255 * small_x[0, 0].numpy() - prepare_pixels(pixels, 32)).max() < 1
    assert np.array_equal(small.mask[0, 0].numpy().astype(bool), prepare_mask(mask, 32))
    assert shrink(x, Truth(y), 64)[0] is x


def weak(number, **known):
    """Return a record of a radiograph without an annotated mask, of 128 x 64 pixels."""
    record = make_record(f"weak-{number}", labelled=False)
    return replace(record, rows=128, columns=64, labelled=True, **known)


@pytest.fixture(scope="module")
def mixed():
    """A folder in memory: an annotated radiograph, three labelled ones, one with two boxes."""
    records = (
        make_record("mask", positive=True),
        weak(1, label=0.1, label_weight=0.5, positive=False),
        weak(2, label=0.9, label_weight=0.5, positive=True),
        weak(3, label=1.0, label_weight=0.8, positive=True, boxes="10 20 8 8;8 16 32 64.5"),
    )
    rng = np.random.default_rng(0)
    x = rng.integers(256, size=(4, 32, 32), dtype=np.uint8)
    y = np.zeros((4, 32, 32), bool)
    y[0, 3:9, 4:20] = True
    return Prepared(Path(), 32, x, y, x[:0], records, (), "mixed")


def test_what_is_known_of_radiographs_without_masks(mixed):
    images = Images((mixed, np.arange(4)), empty_masks=0.5)
    batch = images.read([0, 1, 2, 3])
    truth = Truth.of(batch)
    assert truth.positive.tolist() == pytest.approx([1, 0.1, 0.9, 1])
    assert batch.beliefs.positive_weight.tolist() == pytest.approx([1, 0.5, 0.5, 0.8])
    # Of the negative one: half of belief 0.5, as far as 0.1 is from one half.
    weight = truth.mask_weight.amax((1, 2, 3)).tolist()
    assert weight == pytest.approx([1, 0.5 * 0.5 * 0.8, 0, 0.8])
    assert truth.annotated.flatten().tolist() == [1, 0, 0, 0]
    assert np.array_equal(truth.mask[0, 0].numpy(), mixed.y_train[0])
    assert not truth.mask[1:].any()


def test_boxes_lie_where_the_radiograph_does_and_the_smaller_one_on_top(mixed):
    batch = Images((mixed, np.arange(4))).read([3, 0])
    assert batch.boxes == 2
    numbers = Truth.of(batch).numbers
    expected = np.zeros((32, 32))
    expected[4:21, 10:18] = 1  # 128 x 64 pixels at a quarter, 8 columns of black to the left
    expected[5:7, 10:13] = 2
    assert np.array_equal(numbers[0, 0].numpy(), expected)
    assert not numbers[1].any()
    inside = numbers[0] > 0
    weight = Truth.of(batch).mask_weight
    assert not weight[0][inside].any()
    assert (weight[0][~inside] == torch.tensor(0.8)).all()
    assert (weight[1] == 1).all()


def test_a_batch_of_annotated_radiographs_carries_no_beliefs(mixed):
    images = Images((mixed, np.arange(4)))
    assert images.read([0, 0]).beliefs is None
    assert images.read([0, 2]).y.shape == (2, 1, 32, 32)
    assert images.read([0, 3]).y.shape == (2, 2, 32, 32)


def test_masks_of_shares_go_through_as_they_are(mixed):
    shares = np.random.default_rng(1).integers(256, size=(4, 32, 32), dtype=np.uint8)
    soft = replace(mixed, y_train=shares)
    batch = Images((mixed, np.array([0])), (soft, np.arange(4))).read([0, 1, 4])
    truth = Truth.of(batch)
    assert np.array_equal(255 * truth.mask[1:, 0].numpy(), shares[[0, 3]].astype(np.float32))
    assert batch.beliefs.soft.tolist() == [0, 1, 1]
    assert batch.beliefs.mask_weight.tolist() == pytest.approx([1, 1, 0.8])
    assert batch.boxes == 0  # a map says more than boxes do
    _, small = shrink(batch.x.float(), truth, 16)
    assert small.mask[0].unique().tolist() == [0, 1]
    means = shares[[0, 3]].reshape(2, 16, 2, 16, 2).mean((2, 4)) / 255
    assert small.mask[1:, 0].numpy() == pytest.approx(means, abs=1e-6)


def test_boxes_shrink_and_move_with_the_radiograph(mixed):
    batch = Images((mixed, np.arange(4))).read([3])
    x, truth = shrink(batch.x.float() / 255, Truth.of(batch), 16)
    assert truth.numbers[0, 0, 2:11, 5:9].unique().tolist() == [1, 2]
    assert truth.numbers.sum() == truth.numbers[0, 0, 2:11, 5:9].sum()
    choices = draw(1, seed=0, epoch=0)
    choices[:] = 0
    choices[0, 0] = -1  # mirrored, and nothing else
    _, planes = augment(x, truth.planes, choices, 1e-9)
    assert torch.equal(planes, truth.planes.flip(3))
