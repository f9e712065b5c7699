import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from pleura import metrics
from pleura.evaluation.calibration import ISOTONIC_LEAST, fit_calibration
from pleura.models.bundle import Calibration, score_logit


def overconfident(images, seed=0):
    """Scores of which the logit is twice what it should be and 1 too high, and labels."""
    rng = np.random.default_rng(seed)
    true_logit = rng.normal(-1, 1.5, images)
    return expit(2 * true_logit + 1), rng.random(images) < expit(true_logit)


def test_platt_finds_the_line_that_made_the_labels():
    scores, positive = overconfident(20_000)
    found = fit_calibration(scores, positive)
    assert found.method == "platt"
    assert found.slope == pytest.approx(0.5, abs=0.03)
    assert found.intercept == pytest.approx(-0.5, abs=0.06)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibrating_on_some_images_mends_the_others(method):
    calibration = fit_calibration(*overconfident(4000), method)
    assert calibration.method == method
    scores, positive = overconfident(4000, seed=1)
    better = calibration.apply(scores)
    for error in (metrics.expected_calibration_error, metrics.brier_score):
        assert error(positive, better) < error(positive, scores)
    assert metrics.expected_calibration_error(positive, better) < 0.03


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(2**-20, 1 - 2**-20, width=32)), min_size=1, max_size=40
    )
)
def test_platt_keeps_every_rank_and_so_the_auroc(items):
    positive = np.array([item[0] for item in items])
    scores = np.array([item[1] for item in items])
    found = fit_calibration(scores, positive).apply(scores)
    assert np.all((found >= 0) & (found <= 1))
    assert metrics.auroc(positive, found) == pytest.approx(
        metrics.auroc(positive, scores), nan_ok=True, abs=1e-12
    )


@pytest.mark.parametrize("method", ["platt", "isotonic"])
@pytest.mark.parametrize("positive", [np.zeros(30, bool), np.ones(30, bool), np.zeros(0, bool)])
def test_one_label_teaches_nothing(method, positive):
    scores = np.linspace(0.1, 0.9, len(positive))
    assert fit_calibration(scores, positive, method) == Calibration()


def test_perfect_separation_gives_a_finite_line():
    positive = np.arange(100) >= 50
    found = fit_calibration(np.where(positive, 0.9, 0.1), positive)
    assert 1 < found.slope < 10, "steeper, for the images say so, and not without end"
    probabilities = found.apply([0.1, 0.9])
    assert 0 < probabilities[0] < 0.05
    assert 0.95 < probabilities[1] < 1


def test_scores_of_0_and_1_give_a_finite_line():
    positive = np.arange(40) >= 20
    found = fit_calibration(positive.astype(float), positive)
    assert np.isfinite([found.slope, found.intercept]).all()
    assert np.isfinite(score_logit([0.0, 1.0])).all()


def test_two_images_hardly_move_the_score():
    found = fit_calibration(np.array([0.3, 0.7]), np.array([False, True]))
    assert 0.7 < found.slope < 1.6
    assert abs(found.intercept) < 0.2


def test_a_score_that_ranks_the_wrong_way_is_flattened_and_not_turned_round():
    positive = np.arange(200) < 100
    found = fit_calibration(np.linspace(0.05, 0.95, 200), positive)
    assert 0 < found.slope < 0.2


def test_few_images_get_a_line_instead_of_steps():
    positive = np.arange(200) < ISOTONIC_LEAST - 1
    scores = np.random.default_rng(0).random(200)
    assert fit_calibration(scores, positive, "isotonic").method == "platt"
    positive = np.arange(200) < ISOTONIC_LEAST
    found = fit_calibration(scores, positive, "isotonic")
    assert found.method == "isotonic"
    assert np.all(np.diff(found.apply(np.linspace(0, 1, 300))) >= 0)
