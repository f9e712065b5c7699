import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.evaluation.intervals import bootstrap
from pleura.evaluation.operating_point import choose_operating_point
from pleura.evaluation.scores import outcome, summarise
from pleura.inference.prediction import decide
from pleura.metrics import dice_coeff
from pleura.models.bundle import OperatingPoint


def mask_of(pixels):
    mask = np.zeros((10, 10), bool)
    mask.reshape(-1)[:pixels] = True
    return mask


def scored(truth_px, predicted_px, score, name, patient=None):
    return outcome(name, score, mask_of(predicted_px), mask_of(truth_px), patient)


def test_the_figures_of_a_small_set_by_hand():
    outcomes = [
        scored(10, 10, 0.9, "a"),  # found exactly
        scored(10, 5, 0.8, "b"),  # half of it: Dice 2/3
        scored(10, 0, 0.2, "c"),  # missed
        scored(0, 0, 0.1, "d"),  # rightly empty
        scored(0, 4, 0.7, "e"),  # false alarm
    ]
    result = summarise(outcomes)
    assert result.mean_dice.value == pytest.approx((1 + 2 / 3 + 0 + 1 + 0) / 5)
    assert result.positive_dice.value == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert result.mean_iou.value == pytest.approx((1 + 0.5 + 0 + 1 + 0) / 5)
    assert result.all_empty_dice == 2 / 5
    assert result.sensitivity.value == pytest.approx(2 / 3)
    assert result.specificity.value == 0.5
    assert result.auroc.value == pytest.approx(5 / 6)
    assert (result.images, result.positives, result.patients) == (5, 3, 5)
    assert result.mean_dice.low <= result.mean_dice.value <= result.mean_dice.high


def test_undefined_figures_are_null_in_json():
    plain = summarise([scored(0, 0, 0.1, "a")]).as_json()
    assert plain["positive_dice"] is None
    assert plain["auroc"] is None
    assert plain["mean_dice"] == 1.0


def test_the_same_seed_gives_the_same_intervals():
    outcomes = [scored(n % 3 * 5, n % 4 * 4, n / 20, f"i{n}") for n in range(20)]
    assert summarise(outcomes) == summarise(outcomes)


def test_images_of_one_patient_widen_the_interval():
    values = np.repeat([0.0, 1.0] * 5, 10)

    def mean(rows):
        return float(values[rows].mean())

    apart = bootstrap(mean, [str(n) for n in range(100)])
    together = bootstrap(mean, [str(n // 10) for n in range(100)])
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_one_patient_gives_no_interval():
    score = bootstrap(lambda rows: 0.25, ["a", "a", "a"])
    assert (score.value, math.isnan(score.low), math.isnan(score.high)) == (0.25, True, True)
    assert str(score) == "0.250 (no interval: one patient)"


def test_positives_of_one_patient_give_no_interval_of_theirs():
    outcomes = [scored(10, 5, 0.9, f"p{n}", "7") for n in range(3)]
    outcomes += [scored(0, 0, 0.1, f"n{n}") for n in range(5)]
    result = summarise(outcomes)
    assert math.isnan(result.positive_dice.low)
    assert result.as_json()["positive_dice_interval"] == [None, None]
    assert not math.isnan(result.mean_dice.low)


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        values = rng.normal(size=60)
        score = bootstrap(
            lambda rows, v=values: float(v[rows].mean()), [str(n) for n in range(60)], trial, 200
        )
        covered += score.low <= 0 <= score.high
    assert 86 <= covered <= 100


def test_no_images_give_undefined_figures():
    assert math.isnan(bootstrap(lambda rows: math.nan, []).value)


def test_the_text_of_a_score():
    score = bootstrap(lambda rows: 0.5, ["a", "b"])
    assert str(score) == "0.500 (0.500 to 0.500)"
    assert str(bootstrap(lambda rows: math.nan, ["a"])) == "undefined"


def maps_of(items):
    for level, truth_px in items:
        probability = np.zeros((10, 10), np.float32)
        probability.reshape(-1)[:10] = level
        yield probability, level, mask_of(truth_px)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.15, 0.35, 0.55, 0.75, 0.95]), st.sampled_from([0, 6, 10])),
        min_size=1,
        max_size=8,
    )
)
@settings(deadline=None, max_examples=50)
def test_no_other_thresholds_do_much_better(items):
    chosen = choose_operating_point(maps_of(items))

    def mean_dice(point):
        return np.mean(
            [
                dice_coeff(truth, decide(p, score, point), smooth=0)
                for p, score, truth in maps_of(items)
            ]
        )

    best = mean_dice(chosen)
    error = 1 / np.sqrt(len(items))  # the largest that a standard error of a Dice can be
    for mask in (0.1, 0.3, 0.5, 0.7):
        for score in (0.0, 0.25, 0.45, 0.65, 0.85, 1.0):
            assert best >= mean_dice(OperatingPoint(score=score, mask=mask)) - error


def test_many_images_give_the_best_thresholds():
    items = [(0.55, 0), (0.75, 10)] * 100
    point = choose_operating_point(maps_of(items))
    for probability, score, truth in maps_of(items[:2]):
        mask = decide(probability, score, point)
        assert np.array_equal(mask, truth)


def test_few_images_do_not_move_the_thresholds_far():
    point = choose_operating_point(maps_of([(0.35, 0), (0.75, 10)]))
    assert point == OperatingPoint(score=0.5, mask=0.5)


def test_one_lucky_image_does_not_close_the_gate():
    # Nineteen found at all scores, and one false alarm above most of them.
    items = [(0.7 + 0.01 * n, 10) for n in range(19)] + [(0.86, 0)]
    assert choose_operating_point(maps_of(items)).score < 0.7


def test_without_images_the_thresholds_are_one_half():
    assert choose_operating_point([]) == OperatingPoint()
