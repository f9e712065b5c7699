"""Masks made for another picture than theirs are found, right ones never."""

import doctest
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pleura.formats import mask_size
from pleura.formats.annotation_table import read_annotations
from pleura.formats.mask_size import Misfit, find_misfits
from pleura.formats.rle import mask2rle

TABLE = Path(__file__).parents[2].parent / "shared/data/annotations/train-rle-stage2.csv.gz"
SIZE = (192, 160)


def drawn(
    shape: tuple[int, int] = SIZE, down: float = 0.3, across: float = 0.3, turn: float = 4.0
) -> NDArray[np.bool_]:
    """Return an ellipse, as upright as air beside a lung, with its centre at the given share."""
    mask = np.zeros(shape, np.uint8)
    axes = (max(4, shape[1] // 12), max(4, shape[0] // 6))
    centre = round(across * shape[1]), round(down * shape[0])
    cv2.ellipse(mask, centre, axes, turn, 0, 360, 1, -1)
    return mask.astype(bool)


def several(shape: tuple[int, int] = SIZE, count: int = 8) -> list[str]:
    """Return as many masks, of both sides in turn, leaning one way and the other."""
    return [
        mask2rle(drawn(shape, 0.25 + 0.02 * n, 0.3 + 0.4 * (n % 2), (0, 0, 8, -8)[n % 4]))
        for n in range(count)
    ]


def sizes(texts: list[str], shape: tuple[int, int]) -> list[tuple[int, int] | None]:
    """Return the size that each mask is said to be made for; None where it fits."""
    found = find_misfits(texts, [shape] * len(texts))
    return [found[place].size if place in found else None for place in range(len(texts))]


shapes = st.tuples(st.integers(96, 400), st.integers(96, 400))


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(24, 1200), st.floats(0.2, 0.8), st.floats(0.2, 0.8))
def test_a_mask_fits_its_own_picture_and_no_other(
    shape: tuple[int, int], rows: int, down: float, across: float
) -> None:
    text = mask2rle(drawn(shape, down, across))
    assert find_misfits([text], [shape]) == {}
    if abs(rows - shape[0]) > mask_size.NEAR:
        (found,) = find_misfits([text], [(rows, 400)]).values()
        assert found.size is not None
        assert found.size[0] == pytest.approx(shape[0], rel=0.012, abs=3) or found.size == (
            400,
            rows,
        )


@pytest.mark.parametrize("rows", [96, 191, 194, 200, 384, 576, 1152])
def test_a_table_of_another_size_is_found_whole_with_the_size(rows: int) -> None:
    assert sizes(several(), (rows, round(rows * 160 / 192))) == [SIZE] * 8


def test_masks_of_the_size_turned_round() -> None:
    assert sizes(several((320, 384)), (384, 320)) == [(320, 384)] * 8
    assert sizes([mask2rle(drawn((384, 320)).T)], (384, 320)) == [(320, 384)]


def test_some_rows_of_another_size_among_right_ones() -> None:
    own, other = several((384, 320), 20), several(count=5)
    assert sizes([*own, *other], (384, 320)) == [None] * 20 + [SIZE] * 5


def test_pictures_of_several_sizes_beside_masks_of_one() -> None:
    shapes = [(190 + n % 5, 160) for n in range(20)]
    found = find_misfits(several(count=20), shapes)
    assert {shapes[place][0] for place in found} == {190, 191, 193, 194}
    assert {misfit.size and misfit.size[0] for misfit in found.values()} == {192}


@pytest.mark.parametrize(
    "mask",
    [
        np.eye(1, 64, 20, dtype=bool).repeat(64, axis=0),  # one whole column
        np.add.outer(np.arange(64) // 9 == 3, np.arange(64) == 20) > 1,  # one run
        np.outer(np.isin(np.arange(64), (3, 9, 10, 31)), np.arange(64) == 20),  # one column
        np.random.default_rng(1).random((64, 64)) < 0.3,
        np.ones((64, 64), bool),
        drawn((64, 64)) & (np.arange(64)[:, None] // 4 % 2 == 0),  # striped across
    ],
)
def test_what_tells_nothing_and_what_is_odd_is_left_alone(mask: NDArray[np.bool_]) -> None:
    for rows in (64, 96):
        shape = (rows, 64)
        laid = np.zeros(shape, bool)
        laid[:64] = mask
        assert find_misfits([mask2rle(laid)], [shape]) == {}


def test_right_masks_that_all_lean_alike_are_left_alone() -> None:
    """That is how somebody draws, or where the air lies; none runs over a column's foot."""
    shape = (512, 512)
    texts = [mask2rle(drawn(shape, 0.3, 0.2 + 0.02 * n, 14 + n)) for n in range(24)]
    assert sizes(texts, shape) == [None] * 24


def test_many_copies_of_a_leaning_mask_are_one_witness() -> None:
    text = mask2rle(drawn(SIZE, turn=15.0))
    moved = [f"{int(text.split()[0]) + n} {text.partition(' ')[2]}" for n in range(12)]
    assert sizes([*[text] * 12, *moved], SIZE) == [None] * 24


def test_a_mask_that_tells_nothing_goes_with_most_of_its_table() -> None:
    small = "5000 7"
    shape = (384, 320)
    assert sizes([*several((384, 320)), *several(count=4), small], shape)[-1] is None
    assert find_misfits([*several(count=4), small], [shape] * 5)[4] == Misfit(SIZE, (4, 4))


def test_a_mask_in_the_other_form_is_told_by_its_runs_too() -> None:
    mask = np.zeros(SIZE, bool)
    mask[20:30, 1:7] = True  # far to the left, where gaps and starts are alike
    texts = [mask2rle(mask, form="absolute"), mask2rle(mask)]
    assert find_misfits(texts, [SIZE] * 2) == {0: Misfit(None)}
    assert find_misfits(texts[:1], [SIZE], "absolute") == {}
    assert find_misfits(texts[:1], [(384, 320)], "absolute") == {0: Misfit(SIZE)}


def test_a_mask_of_very_many_runs_takes_no_longer() -> None:
    text = mask2rle(np.indices((512, 512)).sum(axis=0) % 2 == 0)
    assert len(text) > 500_000
    find_misfits([text], [(512, 512)])


def test_nothing_at_all() -> None:
    assert find_misfits([], []) == {}


def test_the_real_masks() -> None:
    if not TABLE.is_file():
        pytest.skip(f"the real table is not here ({TABLE})")
    every = read_annotations(TABLE).masks.values()
    texts = [text for texts in list(every)[::60] for text in texts]
    assert len(texts) > 50
    for rows, missed in ((1024, len(texts)), (1025, 3), (2048, 0)):
        found = sizes(texts, (rows, rows))
        assert found.count(None) <= missed, rows
        assert set(found) - {None} <= {(1024, 1024)}
        assert rows != 1024 or set(found) == {None}


def test_the_examples_are_right() -> None:
    assert doctest.testmod(mask_size).failed == 0
