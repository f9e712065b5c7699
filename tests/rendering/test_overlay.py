import re

import cv2
import numpy as np
import pytest

from pleura.errors import UsageError
from pleura.rendering.overlay import MASK_COLOUR, TRUTH_COLOUR, overlay
from tests.made_pictures import box, radiograph


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_empty_mask_leaves_plain_grey(dtype: type) -> None:
    pixels = radiograph(dtype=dtype)
    picture = overlay(pixels, np.zeros(pixels.shape, bool))
    assert picture.dtype == np.uint8
    assert picture.shape == (60, 80, 3)
    assert (picture == picture[:, :, :1]).all()
    assert picture[0, 0, 0] == 0
    assert picture[-1, -1, 0] == 255
    np.testing.assert_allclose(picture[:, :, 0], radiograph().astype(int), atol=1)


def test_the_pixels_are_left_as_they_were() -> None:
    pixels = radiograph()
    before = pixels.copy()
    overlay(pixels, box(), truth=box())
    assert (pixels == before).all()


def test_only_the_mask_and_its_contour_change() -> None:
    pixels, mask = radiograph(), box()
    changed = (overlay(pixels, mask) != pixels[:, :, None]).any(axis=2)
    near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert changed[mask].all()
    assert not changed[~near].any()


def test_the_contour_has_its_colour_and_the_inside_lets_the_radiograph_through() -> None:
    pixels = radiograph()
    picture = overlay(pixels, box())
    np.testing.assert_allclose(picture[20, 40].astype(int), MASK_COLOUR, atol=30)
    inside = picture[25:35, 35:45].astype(int)
    assert (np.diff(inside[:, :, 1], axis=0) > 0).all(), "the radiograph's own ramp is still seen"
    assert (inside[:, :, 2] > inside[:, :, 0]).all(), "the tint is warm"


def test_the_truth_is_a_contour_of_another_colour_without_a_tint() -> None:
    pixels, nothing = radiograph(), np.zeros((60, 80), bool)
    picture = overlay(pixels, nothing, truth=box())
    np.testing.assert_allclose(picture[20, 40].astype(int), TRUTH_COLOUR, atol=30)
    assert (picture[25:35, 35:45] == pixels[25:35, 35:45, None]).all()


def test_contours_grow_with_the_picture() -> None:
    def width(side: int) -> int:
        mask = np.zeros((side, side), bool)
        mask[side // 4 : side // 2, side // 4 : side // 2] = True
        picture = overlay(np.zeros((side, side), np.uint8), mask)
        column = picture[: side // 2, 3 * side // 8].astype(int)
        return int((column[:, 2] > 200).sum())

    assert 1 <= width(300) < width(1024) < width(3000) < 15


def test_a_mask_in_column_order_is_drawn_the_same() -> None:
    mask = box()
    assert (overlay(radiograph(), mask) == overlay(radiograph(), np.asfortranarray(mask))).all()


@pytest.mark.parametrize("name", ["mask", "truth"])
def test_an_overlay_of_another_size_is_refused(name: str) -> None:
    masks = {"mask": box(), "truth": box(), name: box(60, 81)}
    with pytest.raises(
        UsageError, match=re.escape(f"the {name} is (60, 81) but the radiograph (60, 80)")
    ):
        overlay(radiograph(), masks["mask"], truth=masks["truth"])


def test_pixels_of_another_type_are_refused() -> None:
    with pytest.raises(UsageError, match="pixels are float64; uint8 and uint16 can be drawn"):
        overlay(radiograph().astype(float), box())
