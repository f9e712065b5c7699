"""One simulated radiograph: its laws, and what is refused."""

import cv2
import numpy as np
import pytest

from pleura.errors import DataError, UsageError
from pleura.synthesis.lungs import Lungs
from pleura.synthesis.simulate import edits, simulate
from pleura.synthesis.simulate.collapse import draw_collapse
from pleura.synthesis.simulate.radiograph import Simulated
from pleura.synthesis.simulate.response import find_response
from pleura.synthesis.simulate.wall import SNAP_SHARE, find_outline

REACH = round((SNAP_SHARE + 0.04) * 256) + 2
"""Pixels that a wall may be drawn out to: by the snap, and by a deep sulcus."""


def drawn(canvas, seed, **settings) -> Simulated:
    return simulate(canvas.pixels, canvas.lungs, np.random.default_rng(seed), **settings)


@pytest.fixture(scope="module")
def positives(canvases):
    made = [(c, drawn(c, seed, prevalence=1)) for c in canvases for seed in range(3)]
    assert {lesion.side for _, one in made for lesion in one.parameters.lesions} == {"R", "L"}
    return made


def test_a_pneumothorax_has_a_mask_of_its_area_within_reach_of_its_lung(positives):
    for canvas, made in positives:
        assert made.parameters.kind == "pneumothorax"
        assert made.mask.any()
        total = sum(lesion.area for lesion in made.parameters.lesions)
        assert made.mask.mean() == pytest.approx(total)
        for lesion in made.parameters.lesions:
            if lesion.strength.fluid == 0:
                assert lesion.area == pytest.approx(lesion.wanted, rel=0.1, abs=2e-4)
        sides = [int(lesion.side == "L") for lesion in made.parameters.lesions]
        ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * REACH + 1,) * 2)
        near = cv2.dilate(canvas.lungs.mask[sides].any(axis=0).astype(np.uint8), ball) > 0
        assert not (made.mask & ~near).any()


def test_pixels_far_from_any_drawing_are_untouched_to_the_bit(positives):
    plain = [one for one in positives if not one[1].parameters.distractors]
    assert plain
    for canvas, made in plain:
        sides = [int(lesion.side == "L") for lesion in made.parameters.lesions]
        own = canvas.lungs.mask[sides].any(axis=0) | made.mask
        far = cv2.dilate(own.astype(np.uint8), np.ones((41, 41), np.uint8)) == 0
        np.testing.assert_array_equal(made.pixels[far], canvas.pixels[far])
        assert (made.pixels[made.mask] != canvas.pixels[made.mask]).mean() > 0.5


def test_the_air_is_darker_and_has_less_structure(positives):
    darker, calmer = [], []
    for canvas, made in positives:
        if made.parameters.distractors:
            continue
        before = canvas.pixels.astype(np.float32)
        after = made.pixels.astype(np.float32)
        darker.append(float((after - before)[made.mask].mean()))
        fine = [img - cv2.GaussianBlur(img, (0, 0), 2.5) for img in (before, after)]
        calmer.append(fine[1][made.mask].std() / fine[0][made.mask].std())
    assert np.median(darker) < -0.5
    assert np.median(calmer) < 0.97


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(canvases):
    one, again, other = (drawn(canvases[2], seed, prevalence=0.5) for seed in (4, 4, 5))
    assert one.pixels.tobytes() == again.pixels.tobytes()
    assert one.mask.tobytes() == again.mask.tobytes()
    assert one.parameters == again.parameters
    assert one.pixels.tobytes() != other.pixels.tobytes()


def test_negatives_have_an_empty_mask_and_are_edited_or_not(canvases):
    kinds = []
    for seed in range(20, 32):
        canvas = canvases[seed % len(canvases)]
        made = drawn(canvas, seed, prevalence=0)
        assert not made.mask.any()
        assert made.region.any()
        assert made.parameters.lesions == ()
        kinds.append(made.parameters.kind)
        changed = (made.pixels != canvas.pixels).any()
        if made.parameters.kind == "untouched" and not made.parameters.distractors:
            assert not changed
        if made.parameters.kind == "edited":
            assert made.parameters.fake in edits.FAKES
    assert set(kinds) == {"edited", "untouched"}


def test_what_can_fail_and_what_distracts_do_not_depend_on_the_class(canvases):
    for seed in range(6):
        canvas = canvases[seed % len(canvases)]
        positive, well = (drawn(canvas, seed, prevalence=p) for p in (1, 0))
        np.testing.assert_array_equal(positive.region, well.region)


@pytest.mark.parametrize("kind", edits.FAKES)
def test_each_fake_changes_the_lung_alone(canvases, kind):
    canvas = canvases[3]
    response = find_response(canvas.pixels, canvas.lungs.mask)
    outline = find_outline(canvas.pixels.astype(np.float32), canvas.lungs.mask[0], -1)
    rng = np.random.default_rng(1)
    collapse = draw_collapse(rng, outline, "apicolateral", 1200.0, (256, 256))
    assert collapse is not None
    lung = edits.around(response.attenuation(canvas.pixels), outline)
    change = edits.fake(rng, lung, collapse, kind)
    near = cv2.dilate(lung.field.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    assert (change != 0).any()
    assert not change[~near].any()


def test_a_fluid_level_is_level_and_cuts_the_mask(canvases):
    canvas = canvases[3]
    response = find_response(canvas.pixels, canvas.lungs.mask)
    outline = find_outline(canvas.pixels.astype(np.float32), canvas.lungs.mask[0], -1)
    collapse = draw_collapse(np.random.default_rng(2), outline, "whole", 3000.0, (256, 256))
    assert collapse is not None
    lung = edits.around(response.attenuation(canvas.pixels), outline)
    dry = edits.Strength(0.1, 0.1, 0.05)
    wet = edits.Strength(0.1, 0.1, 0.05, fluid=0.25)
    (before, whole), (after, cut) = (
        edits.lesion(np.random.default_rng(0), lung, collapse, strength) for strength in (dry, wet)
    )
    level = outline.points[:, 1].max() - lung.top - 0.25 * outline.height
    rows = np.flatnonzero((whole & ~cut).any(axis=1))
    assert rows[0] == pytest.approx(level, abs=1.5)
    assert not (cut & ~whole).any()
    deep = lung.field.copy()
    deep[: round(level) + 4] = False
    assert (after - before)[deep].mean() > 0.3


@pytest.mark.parametrize(
    ("radiograph", "message"),
    [
        (np.zeros((256, 300), np.uint8), r"uint8 of shape \(256, 300\); it must be a square"),
        (np.zeros((128, 128), np.uint8), "with a side of 256 or more: prepare it first"),
        (np.zeros((256, 256), np.uint16), "the radiograph is uint16 of shape"),
        (
            np.zeros((300, 300), np.uint8),
            r"the lung fields have shape \(2, 256, 256\) and the radiograph",
        ),
    ],
)
def test_radiographs_of_another_form_are_refused(canvases, radiograph, message):
    with pytest.raises(UsageError, match=message):
        simulate(radiograph, canvases[0].lungs, np.random.default_rng(0))


def test_a_prevalence_out_of_range_is_refused(canvases):
    with pytest.raises(UsageError, match=r"prevalence is 1\.5; it must lie between 0 and 1"):
        drawn(canvases[0], 0, prevalence=1.5)


def test_doubtful_fields_are_refused_and_not_used(canvases):
    doubtful = Lungs(canvases[0].lungs.mask, "a field is in pieces")
    with pytest.raises(DataError, match="the lung fields are doubtful: a field is in pieces; use"):
        simulate(canvases[0].pixels, doubtful, np.random.default_rng(0))


def test_a_flat_radiograph_is_refused(canvases):
    flat = (canvases[0].pixels // 32 + 100).astype(np.uint8)
    with pytest.raises(DataError, match="the radiograph is too flat to draw in"):
        simulate(flat, canvases[0].lungs, np.random.default_rng(0))


def test_an_opaque_lung_is_left_alone(canvases):
    canvas = canvases[0]
    white = canvas.pixels.copy()
    white[canvas.lungs.mask[0]] = np.quantile(canvas.pixels, 0.9)
    for seed in range(4):
        made = simulate(white, canvas.lungs, np.random.default_rng(seed), prevalence=1)
        assert [lesion.side for lesion in made.parameters.lesions] == ["L"]
