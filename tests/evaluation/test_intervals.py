import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura import metrics
from pleura.evaluation.intervals import (
    Score,
    auroc_samples,
    average_precision_samples,
    draw_patients,
)

LABELLED = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.sampled_from("abcdef")),
    min_size=1,
    max_size=25,
)


def mean_score(values, groups, seed=0, resamples=1000):
    draws = draw_patients(groups, seed, resamples)
    return draws.score(draws.mean(np.array(values, float)))


def test_patients_bring_all_their_images():
    groups = ["a", "b", "a", "c", "a"]
    draws = draw_patients(groups, resamples=50)
    assert draws.weights.shape == (51, 5)
    assert (draws.weights[0] == 1).all(), "the first sample is the images as they are"
    assert (draws.weights[:, 0] == draws.weights[:, 2]).all()
    assert (draws.weights[:, 0] == draws.weights[:, 4]).all()
    per_patient = draws.weights[1:][:, [0, 1, 3]]
    assert (per_patient.sum(axis=1) == 3).all(), "as many patients are drawn as there are"


def test_the_same_seed_gives_the_same_draws():
    one, same, other = (draw_patients("abcd", seed, 20).weights for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@settings(deadline=None, max_examples=50)
@given(LABELLED)
def test_weighted_figures_are_those_of_the_repeated_images(items):
    positive = np.array([item[0] for item in items])
    scores = np.array([item[1] for item in items])
    draws = draw_patients([item[2] for item in items], resamples=8)
    ranked = auroc_samples(positive, scores, draws)
    precise = average_precision_samples(positive, scores, draws)
    for row, weights in enumerate(draws.weights.astype(int)):
        rows = np.repeat(np.arange(len(items)), weights)
        expected = metrics.auroc(positive[rows], scores[rows])
        assert ranked[row] == pytest.approx(expected, nan_ok=True)
        expected = metrics.average_precision(positive[rows], scores[rows])
        assert precise[row] == pytest.approx(expected, nan_ok=True)
        assert draws.mean(scores)[row] == pytest.approx(scores[rows].mean(), nan_ok=True)


def test_images_of_one_patient_widen_the_interval():
    values = np.repeat([0.0, 1.0] * 5, 10)
    apart = mean_score(values, [str(n) for n in range(100)])
    together = mean_score(values, [str(n // 10) for n in range(100)])
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_one_patient_gives_no_interval():
    score = mean_score([0.25] * 3, ["a", "a", "a"])
    assert (score.value, math.isnan(score.low), math.isnan(score.high)) == (0.25, True, True)
    assert str(score) == "0.250 (no interval: one patient)"


def test_a_figure_about_images_of_one_patient_has_no_interval():
    draws = draw_patients(["a", "a", "b", "c"], resamples=50)
    about = np.array([True, True, False, False])
    samples = draws.ratio(about * np.array([1.0, 0.5, 0, 0]), about.astype(float))
    assert math.isnan(draws.score(samples, about).low)
    assert draws.score(samples, about).value == 0.75


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    groups = [str(n) for n in range(60)]
    covered = 0
    for trial in range(100):
        score = mean_score(rng.normal(size=60), groups, trial, 200)
        covered += score.low <= 0 <= score.high
    assert 86 <= covered <= 100


def test_no_images_give_undefined_figures():
    score = mean_score([], [])
    assert math.isnan(score.value)
    assert str(score) == "undefined"
    draws = draw_patients([])
    nothing = np.zeros(0)
    assert np.isnan(auroc_samples(nothing.astype(bool), nothing, draws)).all()
    assert np.isnan(average_precision_samples(nothing.astype(bool), nothing, draws)).all()


def test_the_text_of_a_score():
    assert str(Score(0.5, 0.25, 0.75)) == "0.500 (0.250 to 0.750)"


def test_a_thousand_resamples_of_a_thousand_images_take_moments():
    rng = np.random.default_rng(0)
    positive, scores = rng.random(1000) < 0.2, rng.random(1000)
    begun = time.process_time()
    draws = draw_patients([str(n) for n in range(1000)])
    auroc_samples(positive, scores, draws)
    assert time.process_time() - begun < 5
