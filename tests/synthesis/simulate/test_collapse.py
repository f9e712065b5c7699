"""The shapes of air between lung and wall."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.synthesis.simulate.collapse import (
    LARGEST,
    SHAPES,
    THINNEST,
    draw_area_share,
    draw_collapse,
    draw_shape,
)
from pleura.synthesis.simulate.wall import find_outline

RADIOGRAPH = (256, 256)


@pytest.fixture(scope="module")
def outline(canvases):
    canvas = canvases[1]
    return find_outline(canvas.pixels.astype(np.float32), canvas.lungs.mask[0], -1)


@given(seed=st.integers(0, 2**32), shape=st.sampled_from(SHAPES), share=st.floats(0.002, 0.05))
@settings(max_examples=15, deadline=None)
def test_the_air_has_the_area_wanted_and_lies_in_the_lung(outline, seed, shape, share):
    found = draw_collapse(np.random.default_rng(seed), outline, shape, share * 256**2, RADIOGRAPH)
    if found is None:
        return
    assert found.mask.sum() == pytest.approx(share * 256**2, rel=0.1, abs=6)
    assert not (found.mask & ~found.outline.field(RADIOGRAPH)).any()
    assert found.thickness.max() >= THINNEST * 256
    assert (found.thickness >= 0).all()
    rest = found.outline.points[~found.loose]
    np.testing.assert_allclose(found.pleura[~found.loose], rest, atol=1.0)


def test_every_shape_can_be_drawn_and_lies_at_its_place(outline):
    rng = np.random.default_rng(0)
    share = {"whole": 0.04, "apicolateral": 0.015}
    y = {}
    for shape in SHAPES:
        found = None
        while found is None:
            area = share.get(shape, 0.006) * 256**2
            found = draw_collapse(rng, outline, shape, area, RADIOGRAPH)
        rows = np.flatnonzero(found.mask.any(axis=1))
        y[shape] = (rows[0], rows.mean(), rows[-1])
        parts = cv2.connectedComponents(found.mask.astype(np.uint8))[0] - 1
        assert parts <= 3
    assert y["apical"][1] < y["lateral"][1] < y["basal"][1]
    assert y["whole"][2] > y["apicolateral"][1]


def test_more_air_than_a_lung_holds_is_refused(outline):
    area = 1.01 * LARGEST * outline.area_px
    assert draw_collapse(np.random.default_rng(0), outline, "whole", area, RADIOGRAPH) is None


def test_a_band_thinner_than_can_be_seen_is_refused(outline):
    assert draw_collapse(np.random.default_rng(0), outline, "whole", 12.0, RADIOGRAPH) is None


def test_areas_and_shapes_follow_the_real_distribution():
    rng = np.random.default_rng(0)
    areas = np.array([draw_area_share(rng) for _ in range(4000)]) * 1024**2
    assert np.median(areas) == pytest.approx(8630, rel=0.1)
    assert np.quantile(areas, 0.9) == pytest.approx(33432, rel=0.12)
    small = [draw_shape(rng, 0.002) for _ in range(400)]
    large = [draw_shape(rng, 0.08) for _ in range(400)]
    assert small.count("apical") > 150
    assert large.count("whole") > 300
    assert small.count("whole") < 40
