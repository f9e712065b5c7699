import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pleura.data.prepare import Frame
from pleura.formats.rle import rle2mask
from pleura.inference.prediction import Prediction, decide, finish
from pleura.models.bundle import Calibration, OperatingPoint

shares = st.floats(0, 1, width=32)
maps = arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    elements=shares,
)


def test_a_score_below_the_threshold_empties_the_mask_and_one_at_it_does_not():
    probability = np.full((10, 10), 0.9, np.float32)
    point = OperatingPoint(score=0.7, mask=0.5)
    assert not decide(probability, 0.69, point).any()
    assert decide(probability, 0.7, point).all()


def test_the_mask_is_where_the_probability_exceeds_the_threshold():
    probability = np.array([[0.25, 0.5, 0.75]], np.float32)
    mask = decide(probability, 1.0, OperatingPoint(score=0, mask=0.5))
    assert mask.tolist() == [[False, False, True]]


@pytest.mark.parametrize(("pixels", "kept"), [(4, False), (5, True), (6, True)])
def test_a_mask_of_the_smallest_area_is_kept_and_a_smaller_one_is_not(pixels, kept):
    probability = np.zeros((10, 10), np.float32)
    probability[0, :pixels] = 1
    mask = decide(probability, 1.0, OperatingPoint(score=0.5, mask=0.5, min_area=0.05))
    assert np.count_nonzero(mask) == pixels * kept


@given(maps, shares, shares, shares)
def test_a_stricter_point_never_answers_more(probability, score, low, high):
    low, high = sorted((low, high))
    loose = decide(probability, score, OperatingPoint(score=low, mask=low, min_area=low))
    strict = decide(probability, score, OperatingPoint(score=high, mask=high, min_area=high))
    assert not (strict & ~loose).any()


@given(arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_the_run_length_text_is_the_mask(mask):
    prediction = Prediction(
        "1.2", 0.5, mask, mask.astype(np.float32), Frame(*mask.shape, len(mask))
    )
    assert np.array_equal(rle2mask(prediction.rle, mask.shape), mask)
    assert prediction.area_px == mask.sum()
    assert (prediction.rle == "-1") == (prediction.area_px == 0)


@pytest.mark.parametrize("shape", [(64, 64), (30, 70), (70, 30), (1, 9)])
def test_a_finished_answer_has_the_shape_of_the_file(shape):
    prepared = np.linspace(0, 1, 32 * 32, dtype=np.float32).reshape(32, 32)
    prediction = finish("1.2", prepared, 0.75, Frame(*shape, 32), OperatingPoint(), seconds=0.25)
    assert prediction.probability.shape == prediction.mask.shape == shape
    assert prediction.probability.dtype == np.float32
    assert prediction.mask.dtype == np.bool_
    assert prediction.score == 0.75
    assert (prediction.image_id, prediction.seconds) == ("1.2", 0.25)


def test_the_mask_of_a_wide_film_lies_where_the_network_saw_it():
    prepared = np.zeros((32, 32), np.float32)
    prepared[12:16, 0:8] = 1  # above the middle, at the left edge
    mask = finish("1.2", prepared, 1.0, Frame(32, 64, 32), OperatingPoint(mask=0.5)).mask
    rows, columns = np.nonzero(mask)
    assert 8 <= rows.min() <= rows.max() <= 16  # 16 rows of black lie above the film
    assert columns.max() <= 17


def test_the_score_is_the_calibrated_one_and_the_threshold_is_held_against_it():
    prepared, frame = np.full((32, 32), 0.9, np.float32), Frame(32, 32, 32)
    line = Calibration("platt", slope=1, intercept=-np.log(3))  # a third of the odds
    for point, called in [(OperatingPoint(score=0.24), True), (OperatingPoint(score=0.26), False)]:
        prediction = finish("1.2", prepared, 0.5, frame, point, calibration=line)
        assert prediction.score == pytest.approx(0.25)
        assert isinstance(prediction.score, float)
        assert prediction.mask.any() == called
