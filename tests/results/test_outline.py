import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from pleura.results import outline
from pleura.results.outline import outlines


def filled(lines, shape, scale=8):
    """The mask that lies within lines, by drawing them at a finer grid (even-odd rule)."""
    canvas = np.zeros((shape[0] * scale, shape[1] * scale), np.uint8)
    points = [np.rint(line * scale - 0.5).astype(np.int32) for line in lines]
    cv2.fillPoly(canvas, points, 1)
    centres = canvas[scale // 2 :: scale, scale // 2 :: scale]
    return centres.astype(bool)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14)))
def test_what_lies_within_the_outline_is_the_mask(mask):
    lines = outlines(mask)
    assert np.array_equal(filled(lines, mask.shape), mask)
    for line in lines:
        assert np.array_equal(line[0], line[-1])
        assert line.min() >= 0
        assert (line.max(axis=0) <= (mask.shape[1], mask.shape[0])).all()


def test_an_empty_mask_has_none():
    assert outlines(np.zeros((3, 4), bool)) == []


def test_a_pixel_has_an_outline_around_its_centre():
    mask = np.zeros((5, 7), bool)
    mask[3, 2] = True
    (line,) = outlines(mask)
    assert line.min(axis=0).tolist() == [2.25, 3.25]
    assert line.max(axis=0).tolist() == [2.75, 3.75]


def test_a_straight_edge_needs_its_corners_only():
    mask = np.zeros((50, 60), bool)
    mask[10:40, 5:55] = True
    (line,) = outlines(mask)
    assert len(line) == 5


def test_a_line_of_many_points_comes_in_pieces_that_meet(monkeypatch):
    rng = np.random.default_rng(0)
    mask = np.zeros((60, 60), bool)
    mask[20:40] = True
    mask[20:22] = rng.random((2, 60)) < 0.5
    mask[22] = True
    (whole,) = [line for line in outlines(mask) if len(line) > 40]
    monkeypatch.setattr(outline, "MOST_POINTS", 7)
    pieces = outlines(mask)
    assert max(map(len, pieces)) == 7
    assert min(map(len, pieces)) >= 2
    at = next(n for n, piece in enumerate(pieces) if np.array_equal(piece[0], whole[0]))
    joined = [pieces[at]]
    while sum(map(len, joined)) - len(joined) + 1 < len(whole):
        at += 1
        assert np.array_equal(joined[-1][-1], pieces[at][0])
        joined.append(pieces[at])
    assert np.array_equal(np.concatenate([joined[0], *(p[1:] for p in joined[1:])]), whole)


@pytest.mark.parametrize("points", [outline.MOST_POINTS])
def test_a_line_fits_its_element(points):
    assert points * 2 * 4 <= 65534
