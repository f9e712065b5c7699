import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from recipes.guard import MADE_UP
from recipes.other_views import VIEWS, draw_view

from pleura.dicom.radiograph import read_radiograph
from pleura.pictures.guard import (
    KINDS,
    THRESHOLD,
    UNLIKE,
    WEIGHTS,
    Guard,
    Weights,
    _weights,
    assess,
    assess_thumb,
    measures_of,
)
from pleura.pictures.measures import thumb_of
from pleura.synthesis.phantom import draw_phantom

NAMES = {"blank", "low-contrast", UNLIKE, *KINDS[1:]}
SHAPES = st.tuples(st.integers(1, 300), st.integers(1, 300))


@pytest.fixture(scope="module")
def phantoms() -> list[np.ndarray]:
    return [
        draw_phantom(np.random.default_rng([8, seed]), size=256, pneumothorax=seed % 2 == 0).pixels
        for seed in range(6)
    ]


@st.composite
def pictures(draw):
    """Pictures of any shape: a mosaic of any greys, or noise."""
    shape = draw(SHAPES)
    mosaic = draw(hnp.arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8))))
    if draw(st.booleans()):
        return cv2.resize(mosaic, shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, shape, dtype=np.uint8)


def sound(guard: Guard) -> bool:
    flagged = guard.score >= THRESHOLD
    return 0 <= guard.score <= 1 and flagged == guard.flagged and set(guard.flags) <= NAMES


# ----------------------------------------------------------------------------------- laws


@given(pictures())
@settings(max_examples=80, deadline=None)
def test_any_picture_gets_the_same_answer_twice(pixels):
    before = pixels.copy()
    guard = assess(pixels)
    assert sound(guard)
    assert assess(np.asfortranarray(pixels)) == guard
    assert np.array_equal(before, pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (3000, 1), (2, 3), (5000, 3000), (128, 127)])
def test_any_size_gets_an_answer(shape):
    rng = np.random.default_rng(0)
    assert sound(assess(rng.integers(0, 256, shape, dtype=np.uint8)))
    assert assess(np.full(shape, 77, np.uint8)) == Guard(1.0, ("blank",))


@given(hnp.arrays(np.uint8, (128, 128)) | pictures().map(thumb_of))
@settings(max_examples=60, deadline=None)
def test_the_mirror_image_has_the_same_score(thumb):
    one, other = assess_thumb(thumb), assess_thumb(np.ascontiguousarray(thumb[:, ::-1]))
    assert one.score == pytest.approx(other.score, abs=1e-3)


def test_a_mirrored_radiograph_has_the_same_measures(phantoms):
    for pixels in phantoms:
        pair = [measures_of(thumb_of(own)) for own in (pixels, pixels[:, ::-1])]
        assert np.abs(pair[0] - pair[1]).max() < 1e-4
        assert assess(pixels).score == pytest.approx(assess(pixels[:, ::-1]).score, abs=1e-4)


@given(st.integers(0, 5), st.floats(0.6, 1.7), st.integers(0, 40), st.integers(170, 255))
@settings(max_examples=60, deadline=None)
def test_exposure_changes_little(phantoms, which, gamma, low, high):
    pixels = phantoms[which]
    changed = low + 255 * (pixels / 255.0) ** gamma * (high - low) / 255
    guard = assess(changed.astype(np.uint8))
    assert not guard.flagged
    assert guard.score == pytest.approx(assess(pixels).score, abs=0.1)


@given(pictures())
@settings(max_examples=50, deadline=None)
def test_sixteen_bits_are_judged_like_eight(pixels):
    assert assess(pixels.astype(np.uint16) * 257) == assess(pixels)


# ------------------------------------------------------------------------ what is flagged

CHANGED = {
    "inverted": lambda pixels: 255 - pixels,
    "upside-down": lambda pixels: pixels[::-1],
    "upside-down, by half a turn": lambda pixels: pixels[::-1, ::-1],
    "rotated": np.rot90,
    "rotated, the other way": lambda pixels: np.rot90(pixels, -1),
    "cropped": lambda pixels: pixels[:128, :128],
    "low-contrast": lambda pixels: (110 + pixels // 12).astype(np.uint8),
}


@pytest.mark.parametrize("size", [64, 128, 256, 512])
def test_phantoms_are_not_flagged(size):
    for seed in range(4):
        rng = np.random.default_rng([9, seed])
        guard = assess(draw_phantom(rng, size=size, pneumothorax=seed % 2 == 0).pixels)
        assert guard.flags == ()
        assert guard.score < THRESHOLD


@pytest.mark.parametrize("change", CHANGED)
def test_a_changed_phantom_is_flagged_by_name(phantoms, change):
    found = [assess(CHANGED[change](pixels)) for pixels in phantoms]
    assert all(change.split(",")[0] in guard.flags for guard in found)
    assert all(sound(guard) for guard in found)


@pytest.mark.parametrize("view", VIEWS)
def test_drawn_radiographs_of_other_kinds_are_flagged(view):
    expected = "lateral" if view == "lateral chest" else "other-part"
    found = [assess(draw_view(view, np.random.default_rng([10, seed]))) for seed in range(4)]
    assert all(guard.flagged for guard in found)
    assert sum(guard.flags == (expected,) for guard in found) >= 3


@pytest.mark.parametrize("kind", MADE_UP)
def test_made_up_pictures_are_flagged(kind):
    found = [assess(MADE_UP[kind](np.random.default_rng([11, seed]))) for seed in range(5)]
    assert all(guard.flagged for guard in found)


def test_what_resembles_nothing_is_unlike(phantoms):
    """Weights that call everything frontal leave the second question alone to answer."""
    own = _weights()
    bias = np.array([1e4] + [0.0] * (len(KINDS) - 1), np.float32)
    blind = Weights(own.kinds * 0, bias, own.mean, own.components, own.limits)
    assert assess_thumb(thumb_of(phantoms[0]), blind).flags == ()
    assert assess_thumb(thumb_of(255 - phantoms[0]), blind).flags == (UNLIKE,)


def test_the_weights_are_small_and_hold_no_radiograph():
    assert WEIGHTS.stat().st_size < 200_000
    own = _weights()
    assert own.kinds.shape == (len(KINDS), 576)
    square = own.components @ own.components.T
    assert np.abs(square - np.eye(len(square))).max() < 0.01
    # Sixteen greys a side, folded over the midline, are the finest thing that is stored.
    assert own.components.shape == (80, 576)


# ----------------------------------------------------------------------------- real radiographs


def test_real_radiographs_are_not_flagged(real_data):
    siim = [read_radiograph(path).pixels for path in sorted((real_data / "siim").rglob("*.dcm"))]
    nih = sorted((real_data / "nih" / "images").glob("*.jpg"))
    odd = [path for path in nih if int(path.stem.split("_")[0]) % 2][::3]
    radiographs = siim + [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in odd]
    assert sum(assess(pixels).flagged for pixels in radiographs) <= len(radiographs) // 100


def test_other_encodings_are_not_flagged_and_a_wrong_header_is(real_data):
    flags = {
        path.name: assess(read_radiograph(path).pixels).flags
        for path in (real_data / "other-dicom").glob("*.dcm")
    }
    assert flags.pop("siim-mono1.dcm") == ("inverted",)
    assert set(flags.values()) == {()}
