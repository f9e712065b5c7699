"""Lung fields: right on phantoms, near others' on real ones, and doubted where they are wrong."""

import csv

import cv2
import numpy as np
import pytest

from pleura.data.radiographs import read_any_radiograph
from pleura.synthesis import lungs
from pleura.synthesis.lungs import find_lungs
from pleura.synthesis.phantom import draw_phantom


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.fixture(scope="module")
def phantoms():
    return [
        draw_phantom(np.random.default_rng([9, seed]), size=256, pneumothorax=seed == 0)
        for seed in range(4)
    ]


def test_the_fields_of_phantoms_are_found_with_their_sides(phantoms):
    for phantom in phantoms:
        found = find_lungs(phantom.pixels)
        assert found.mask.shape == (2, 256, 256)
        for side in (0, 1):
            assert dice(found.mask[side], phantom.lungs[side]) > 0.93


def test_fields_of_a_mirror_image_are_the_mirrored_fields(phantoms):
    plain = find_lungs(phantoms[1].pixels).mask
    mirrored = find_lungs(np.ascontiguousarray(phantoms[1].pixels[:, ::-1])).mask
    assert dice(mirrored[::-1, :, ::-1], plain) > 0.98


def test_size_shape_and_depth_of_the_radiograph_hardly_matter(phantoms):
    pixels = phantoms[2].pixels
    plain = find_lungs(pixels).mask
    deep = find_lungs(pixels.astype(np.uint16) * 257).mask
    np.testing.assert_array_equal(deep, plain)
    wide = np.pad(pixels, ((0, 0), (40, 40)))
    large = cv2.resize(wide, (672, 512), interpolation=cv2.INTER_CUBIC)
    found = find_lungs(large).mask[:, ::2, 80:-80:2]
    assert dice(found, plain) > 0.93


@pytest.mark.parametrize("turn", ["blank", "noise", "upside down", "turned", "one half"])
def test_what_is_no_upright_chest_is_doubted(phantoms, turn):
    pixels = phantoms[1].pixels
    odd = {
        "blank": np.zeros_like(pixels),
        "noise": np.random.default_rng(0).integers(0, 256, pixels.shape).astype(np.uint8),
        "upside down": np.ascontiguousarray(pixels[::-1]),
        "turned": np.ascontiguousarray(np.rot90(pixels)),
        "one half": np.ascontiguousarray(pixels[:, :110]),
    }[turn]
    assert find_lungs(odd).doubt


@pytest.mark.slow
def test_real_fields_agree_with_those_of_another_network_and_bad_ones_are_refused(real_data):
    """Compared only: nothing here was fitted to those fields."""
    with (real_data / "nih/labels.csv").open() as file:
        names = [row["image"].removesuffix(".jpg") for row in csv.DictReader(file)][::6]
    kept, refused = [], 0
    for name in names:
        known = cv2.imread(str(real_data / f"nih/lungs/{name}.png"), cv2.IMREAD_GRAYSCALE)
        found = find_lungs(read_any_radiograph(real_data / f"nih/images/{name}.jpg").pixels)
        if known is None or found.doubt:
            refused += 1
        else:
            kept.append(dice(found.mask.any(axis=0), known > 127))
    assert np.mean(kept) > 0.93
    assert np.quantile(kept, 0.05) > 0.88
    assert refused < 0.25 * len(names)


def test_the_weights_are_few_plain_numbers():
    with np.load(lungs.WEIGHTS, allow_pickle=False) as arrays:
        assert {arrays[name].dtype for name in arrays.files} == {np.dtype(np.float16)}
        assert sum(arrays[name].size for name in arrays.files) < 400_000
    assert lungs.WEIGHTS.stat().st_size < 1 << 20
