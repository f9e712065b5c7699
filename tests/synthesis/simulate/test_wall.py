"""The outline of a lung: its marks, its snap to the radiograph, its deepened sulcus."""

import cv2
import numpy as np
import pytest

from pleura.synthesis.simulate.wall import PLACES, SNAP_SHARE, find_outline

ANGLE, BASE = 160, 220


@pytest.mark.parametrize("side", [-1, 1])
def test_the_marks_lie_where_their_names_say(canvases, side):
    for canvas in canvases:
        field = canvas.lungs.mask[int(side > 0)]
        outline = find_outline(canvas.pixels.astype(np.float32), field, side)
        points = outline.points
        x, y = side * points[:, 0], points[:, 1]
        assert len(points) == len(PLACES)
        assert y[0] < np.quantile(y, 0.15)
        assert y[ANGLE] > np.quantile(y, 0.8)
        assert x[ANGLE] > x[0]
        assert x[BASE] < x[ANGLE]
        inside = np.round(points + 2 * outline.inward).astype(int)
        assert field[inside[:, 1], inside[:, 0]].mean() > 0.85
        np.testing.assert_allclose(np.hypot(*outline.inward.T), 1, atol=1e-6)


def test_the_wall_is_drawn_to_where_the_radiograph_turns_from_lung_to_wall(canvases):
    canvas = canvases[0]
    field = canvas.lungs.mask[1]
    radiograph = np.where(field, 40, 160).astype(np.float32)
    radiograph = cv2.GaussianBlur(radiograph, (0, 0), 1.0)
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    small = cv2.erode(field.astype(np.uint8), ball).astype(bool)

    def wall_errors(snap):
        outline = find_outline(radiograph, small, 1, snap=snap)
        edge = cv2.distanceTransform((~field).astype(np.uint8), cv2.DIST_L2, 5)
        edge -= cv2.distanceTransform(field.astype(np.uint8), cv2.DIST_L2, 5)
        at = np.round(outline.points[30:130]).astype(int)
        return np.abs(edge[at[:, 1], at[:, 0]])

    assert np.median(wall_errors(False)) > 1.5
    assert np.median(wall_errors(True)) <= 1.0


def test_the_snap_is_bounded_and_leaves_the_mediastinum_alone(canvases):
    for canvas in canvases:
        field = canvas.lungs.mask[0]
        plain = find_outline(canvas.pixels.astype(np.float32), field, -1, snap=False)
        snapped = find_outline(canvas.pixels.astype(np.float32), field, -1)
        moved = np.hypot(*(snapped.points - plain.points).T)
        assert moved.max() <= SNAP_SHARE * 256 + 1
        assert moved[BASE + 8 : -8].max() < 0.5


def test_a_deepened_sulcus_moves_the_angle_down_and_back(canvases):
    outline = find_outline(canvases[0].pixels.astype(np.float32), canvases[0].lungs.mask[0], -1)
    deep = outline.deepened(7.0)
    assert deep.points[ANGLE, 1] == pytest.approx(outline.points[ANGLE, 1] + 7)
    np.testing.assert_allclose(deep.points[:100], outline.points[:100], atol=1e-3)
    np.testing.assert_allclose(deep.deepened(-7.0).points, outline.points)
    assert deep.deepened(-7.0).sulcus == 0
