import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.dicom.limits import MAX_PIXELS
from pleura.dicom.square import square_shape, squared


@pytest.mark.parametrize(
    ("aspect", "shape"), [(1, (40, 50)), (2, (80, 50)), (0.5, (40, 100)), (0.8, (40, 62))]
)
def test_the_side_of_the_longer_pixels_grows(aspect, shape):
    assert square_shape(40, 50, aspect) == shape
    assert squared(np.zeros((40, 50), np.uint16), aspect).shape == shape


@given(st.integers(1, 16384), st.integers(1, 6000), st.floats(0.1, 10))
def test_no_picture_becomes_larger_than_one_may_be(rows, columns, aspect):
    height, width = square_shape(rows, columns, aspect)
    assert height >= 1
    assert width >= 1
    assert height * width <= MAX_PIXELS * 1.001
    if min(height, width) > 100:
        assert height / width == pytest.approx(rows * aspect / columns, rel=0.02)


def test_values_and_types_stay():
    ramp = np.linspace(0, 1, 50, dtype=np.float32) * np.ones((40, 1), np.float32)
    for plane in (ramp, (ramp * 255).astype(np.uint8), (ramp * 65535).astype(np.uint16)):
        drawn = squared(plane, 2)
        assert drawn.dtype == plane.dtype
        np.testing.assert_array_equal(drawn[0], plane[0])
        assert squared(plane, 1) is plane


def test_a_mask_stays_a_mask_in_its_place():
    mask = np.zeros((40, 50), bool)
    mask[10:20, 5:15] = True
    drawn = squared(mask, 2)
    assert drawn.dtype == bool
    assert drawn[20:40, 5:15].all()
    assert drawn.sum() == 2 * mask.sum()
