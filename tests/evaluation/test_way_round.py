import numpy as np
import pytest

from pleura.evaluation.way_round import _WAYS, WayRound


def mask(number, shape=(300, 300)):
    """A triangle in one of many places, near neither axis of the picture."""
    drawn = np.zeros(shape, np.bool_)
    for step in range(60):
        drawn[60 + 3 * number + step, 5 + number : 15 + number + step // 2] = True
    return drawn


def compared(predicted, count=6, shape=(300, 300)):
    ways = WayRound()
    for number in range(count):
        ways.add(predicted(number), mask(number, shape))
    return ways.doubts()


@pytest.mark.parametrize("way", _WAYS)
def test_masks_that_lie_another_way_round_are_told(way):
    back = {"turned by a quarter to the left": "turned by a quarter to the right"}
    back |= {right: left for left, right in back.items()}
    (said,) = compared(lambda number: _WAYS[back.get(way, way)](mask(number)))
    assert said.startswith("On the 6 images with both masks Dice is 0.0")
    assert f"With the predicted masks {way} it is 1.000: they may have been written so" in said


def test_masks_that_lie_right_or_nowhere_are_not():
    rng = np.random.default_rng(0)
    assert compared(mask) == []
    assert compared(lambda _: rng.random((300, 300)) > 0.97) == []
    assert compared(lambda _: np.zeros((300, 300), np.bool_)) == []
    assert compared(lambda number: mask(number).T, count=4) == []  # too few to tell
    assert compared(lambda number: np.fliplr(mask(number)) if number % 2 else mask(number)) == []


def test_a_picture_that_is_not_square_is_mirrored_all_the_same():
    (said,) = compared(lambda n: np.flipud(mask(n, (1200, 400))), shape=(1200, 400))
    assert "With the predicted masks upside down" in said
