from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib import pyplot

from pleura.data.prepare import Frame, prepare_pixels
from pleura.errors import UsageError
from pleura.formats.rle import rle2mask
from pleura.inference.prediction import Prediction, decide, finish
from pleura.models.bundle import Calibration, OperatingPoint

shares = st.floats(0, 1, width=32)
maps = arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=shares)


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


@pytest.mark.parametrize(
    ("score", "flags", "answer_flagged", "called"),
    [
        (0.9, (), False, "positive"),
        (0.1, (), False, "negative"),
        (0.9, ("inverted",), False, "not assessed"),
        (0.1, ("modality=CT",), False, "not assessed"),
        (0.9, ("inverted",), True, "positive"),
        (0.1, ("inverted",), True, "negative"),
    ],
)
def test_what_is_flagged_is_called_neither_unless_asked_for(score, flags, answer_flagged, called):
    prepared, frame = np.full((32, 32), 0.9, np.float32), Frame(32, 32, 32)
    found = finish(
        "1.2",
        prepared,
        score,
        frame,
        OperatingPoint(0.5, 0.5),
        0.0,
        Calibration(),
        flags,
        answer_flagged,
    )
    assert (found.called, found.flags) == (called, flags)
    assert found.assessed == (called != "not assessed")
    assert found.mask.any() == (found.rle != "-1") == (called == "positive")
    assert found.score == score
    assert found.probability.shape == (32, 32)


def test_the_mask_of_a_wide_radiograph_lies_where_the_network_saw_it():
    prepared = np.zeros((32, 32), np.float32)
    prepared[12:16, 0:8] = 1  # above the middle, at the left edge
    mask = finish("1.2", prepared, 1.0, Frame(32, 64, 32), OperatingPoint(mask=0.5)).mask
    rows, columns = np.nonzero(mask)
    assert 8 <= rows.min() <= rows.max() <= 16  # 16 rows of black lie above the radiograph
    assert columns.max() <= 17


def test_the_score_is_the_calibrated_one_and_the_threshold_is_held_against_it():
    prepared, frame = np.full((32, 32), 0.9, np.float32), Frame(32, 32, 32)
    line = Calibration("platt", slope=1, intercept=-np.log(3))  # a third of the odds
    for point, called in [(OperatingPoint(score=0.24), True), (OperatingPoint(score=0.26), False)]:
        prediction = finish("1.2", prepared, 0.5, frame, point, calibration=line)
        assert prediction.score == pytest.approx(0.25)
        assert isinstance(prediction.score, float)
        assert prediction.mask.any() == called


@pytest.mark.parametrize("aspect", [1.0, 1.5])
@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (64, 64), (1, 9)])
def test_the_picture_has_the_form_of_the_radiograph_and_the_mask_in_its_place(shape, aspect):
    rows, columns = shape
    frame = Frame(rows, columns, 32, aspect)
    mask = np.zeros(shape, np.bool_)
    mask[: rows // 2] = True
    radiograph = prepare_pixels(np.full(shape, 200, np.uint8), 32, aspect)
    empty = Prediction(
        "1.2", 0.8, mask & False, np.zeros((32, 32), "f4"), frame, prepared=radiograph
    )
    plain = empty.picture()
    high, wide = frame.shown
    assert plain.shape[0] / plain.shape[1] == pytest.approx(high / wide, rel=0.1, abs=0.15)
    assert max(plain.shape[:2]) == 32
    assert (plain[..., 0] == plain[..., 2]).all()
    if rows > 8:
        drawn = Prediction(
            "1.2", 0.8, mask, empty.prepared_map, frame, prepared=radiograph
        ).picture()
        coloured = (drawn[..., 0] != drawn[..., 2]).mean(1)
        assert (coloured[: len(drawn) // 2 - 2] == 1).all()
        assert not coloured[len(drawn) // 2 + 2 :].any()


def test_a_prediction_says_in_one_line_what_it_is():
    frame, mask = Frame(2, 3, 4), np.ones((2, 3), np.bool_)
    found = Prediction("1.2", 0.8123, mask, np.zeros((4, 4), "f4"), frame, flags=("inverted",))
    assert repr(found) == (
        "Prediction('1.2', positive, score=0.812, area_px=6, flags=('inverted',), 2x3)"
    )


def test_a_notebook_shows_radiograph_score_and_flags_as_plain_text():
    frame, radiograph = Frame(32, 32, 32), np.zeros((32, 32), np.uint8)
    mask, flags = np.ones((32, 32), np.bool_), ("inverted", "modality=<b>")
    found = Prediction(
        "1.2", 0.8123, mask, np.zeros((32, 32), "f4"), frame, flags=flags, prepared=radiograph
    )
    page = found._repr_html_()
    assert '<img alt="" src="data:image/jpeg;base64,' in page
    assert "<figcaption>positive \N{MIDDLE DOT} score 0.81 \N{MIDDLE DOT} looks inverted" in page
    assert "&lt;b&gt;" in page
    assert "not for diagnosis</figcaption>" in page
    bare = replace(found, assessed=False, prepared=None, mask=~mask)._repr_html_()
    assert "<img" not in bare
    assert "0.81" not in bare
    assert "not assessed" in bare


def test_a_plot_is_drawn_where_it_is_wanted():
    matplotlib.use("agg")
    frame, radiograph = Frame(32, 32, 32), np.zeros((32, 32), np.uint8)
    mask = np.ones((32, 32), np.bool_)
    found = Prediction("1.2", 0.8123, mask, np.zeros((32, 32), "f4"), frame, prepared=radiograph)
    figure, axes = pyplot.subplots()
    assert found.plot(axes) is axes
    assert axes.get_title() == "positive \N{MIDDLE DOT} score 0.81"
    assert np.array_equal(axes.images[0].get_array(), found.picture()[:, :, ::-1])
    own = found.plot()
    assert own is not axes
    pyplot.close(own.figure)
    pyplot.close(figure)
    with pytest.raises(UsageError, match="the radiograph was not kept with this prediction"):
        replace(found, prepared=None).plot()
