"""The data set for other people's loops."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import pleura
from pleura.data.arrays import open_prepared
from pleura.errors import DataError, UsageError
from pleura.training import dataset as module
from pleura.training.split import split


def test_an_item_is_what_was_prepared(small_prepared):
    images = pleura.Dataset(small_prepared.path, "all")
    assert len(images) == len(small_prepared.train)
    side = small_prepared.size
    assert repr(images).endswith(f"'all', {len(images)} images, {side}x{side})")
    for row in (0, len(images) - 1):
        item, record = images[row], small_prepared.train[row]
        picture = (item["image"] * 255).round().numpy().astype(np.uint8)
        np.testing.assert_array_equal(picture[0], small_prepared.x_train[row])
        np.testing.assert_array_equal(item["mask"][0].numpy() == 1, small_prepared.mask(row))
        assert item["image_id"] == record.image_id
        assert item["annotated"] == record.mask_known
        assert float(item["label"]) == record.label
        assert {item["image"].dtype, item["mask"].dtype, item["label"].dtype} == {torch.float32}


def test_the_parts_are_those_of_a_training(small_prepared):
    sides = split(small_prepared, 3, 1, 0)
    for part, rows in (("train", sides.train), ("validation", sides.validation)):
        found = pleura.Dataset(small_prepared.path, part, fold=1, folds=3)
        ids = [found[index]["image_id"] for index in range(len(found))]
        assert ids == [small_prepared.train[row].image_id for row in rows]


def test_test_images_have_neither_mask_nor_label(small_prepared):
    found = pleura.Dataset(small_prepared.path, "test")
    assert len(found) == len(small_prepared.test)
    if len(found):
        assert sorted(found[0]) == ["image", "image_id"]


def test_a_label_that_nobody_gave_is_nan(small_prepared, monkeypatch):
    opened = open_prepared(small_prepared.path)
    first = replace(opened.train[0], label=None, encoded_pixels=None, area_px=None)
    unlabelled = replace(opened, train=(first, *opened.train[1:]))
    monkeypatch.setattr(module, "open_prepared", lambda path: unlabelled)
    item = pleura.Dataset(small_prepared.path, "all")[0]
    assert math.isnan(item["label"])


def test_a_transform_is_given_each_item(small_prepared):
    images = pleura.Dataset(small_prepared.path, "all", transform=lambda item: item["image_id"])
    assert images[1] == small_prepared.train[1].image_id


@pytest.mark.slow
def test_a_loader_with_workers_and_a_transform_of_monai(small_prepared):
    from monai.transforms import RandFlipd

    flip = RandFlipd(["image", "mask"], prob=1.0, spatial_axis=1)
    images = pleura.Dataset(small_prepared.path, "all", transform=flip)
    plain = pleura.Dataset(small_prepared.path, "all")
    loader = DataLoader(images, batch_size=4, num_workers=2, multiprocessing_context="spawn")
    batch = next(iter(loader))
    assert tuple(batch["image"].shape[:2]) == (4, 1)
    torch.testing.assert_close(torch.as_tensor(batch["image"][0]).flip(-1), plain[0]["image"])
    assert batch["image_id"] == [plain[index]["image_id"] for index in range(4)]


def test_a_worker_opens_the_folder_itself(small_prepared):
    images = pleura.Dataset(small_prepared.path)
    sent = pickle.dumps(images)
    assert len(sent) < 20_000
    torch.testing.assert_close(pickle.loads(sent)[0]["image"], images[0]["image"])  # noqa: S301


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"part": "val"}, UsageError, "part is 'val'; take train, validation, all or test"),
        ({"fold": 5}, UsageError, "fold is 5 of 5; take one from 0 to 4"),
        ({"folds": 999}, DataError, "999"),
    ],
)
def test_what_is_refused(small_prepared, arguments, error, words):
    with pytest.raises(error, match=words):
        pleura.Dataset(small_prepared.path, **arguments)


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(DataError, match=str(tmp_path)):
        pleura.Dataset(tmp_path)
