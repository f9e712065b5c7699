import json
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pleura import metrics
from pleura.evaluation.scores import (
    FIGURES,
    LARGE,
    SMALL,
    Evaluation,
    Outcome,
    Traits,
    outcome,
    summarise,
)
from pleura.models.bundle import OperatingPoint


def mask_of(pixels):
    mask = np.zeros((10, 10), bool)
    mask.reshape(-1)[:pixels] = True
    return mask


def scored(truth_px, predicted_px, score, name, patient=None, **traits):
    truth, mask = mask_of(truth_px), mask_of(predicted_px)
    return outcome(name, score, mask, truth, patient, Traits(**traits))


FIVE = [
    scored(10, 10, 0.9, "a"),  # found exactly
    scored(10, 5, 0.8, "b"),  # half of it: Dice 2/3
    scored(10, 0, 0.2, "c"),  # missed
    scored(0, 0, 0.1, "d"),  # rightly empty
    scored(0, 4, 0.7, "e"),  # false alarm
]


def test_the_figures_of_a_small_set_by_hand():
    result = summarise(FIVE)
    assert result.mean_dice.value == pytest.approx((1 + 2 / 3 + 0 + 1 + 0) / 5)
    assert result.positive_dice.value == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert result.mean_iou.value == pytest.approx((1 + 0.5 + 0 + 1 + 0) / 5)
    assert result.positive_iou.value == pytest.approx(0.5)
    assert result.all_empty_dice == 2 / 5
    assert result.sensitivity.value == pytest.approx(2 / 3)
    assert result.specificity.value == 0.5
    assert result.auroc.value == pytest.approx(5 / 6)
    assert result.average_precision.value == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert result.lesion_sensitivity.value == pytest.approx(2 / 3)
    assert result.false_lesions.value == pytest.approx(1 / 5)
    assert result.brier.value == pytest.approx((0.01 + 0.04 + 0.64 + 0.01 + 0.49) / 5)
    assert (result.images, result.positives, result.patients, result.lesions) == (5, 3, 5, 3)
    assert result.mean_dice.low <= result.mean_dice.value <= result.mean_dice.high


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 10)), min_size=1, max_size=40)
)
def test_figures_are_those_of_the_metrics(items):
    outcomes = [
        scored(10 * positive, 5 * called, score / 10, f"i{n}")
        for n, (positive, called, score) in enumerate(items)
    ]
    positive, called, score = (np.array(column) for column in zip(*items, strict=True))
    result = summarise(outcomes)
    for found, expected in [
        (result.auroc, metrics.auroc(positive, score)),
        (result.average_precision, metrics.average_precision(positive, score)),
        (result.sensitivity, metrics.sensitivity(positive, called)),
        (result.specificity, metrics.specificity(positive, called)),
        (result.brier, metrics.brier_score(positive, score / 10)),
        (
            result.calibration_error,
            metrics.expected_calibration_error(positive, score / 10),
        ),
    ]:
        assert found.value == pytest.approx(expected, nan_ok=True, abs=1e-9)


def test_every_figure_that_has_an_interval_is_named():
    result = summarise(FIVE).as_json()
    assert all(name in result and f"{name}_interval" in result for name in FIGURES)
    intervals = [name for name in result if name.endswith("_interval")]
    assert len(intervals) == len(FIGURES)
    assert list(Evaluation.__slots__)[: len(result)] == [n for n in result if n not in intervals]


def test_undefined_figures_are_null_in_json_beside_the_numbers_there_were():
    plain = summarise([scored(0, 0, 0.1, "a")], {"default": OperatingPoint()}).as_json()
    assert plain["positive_dice"] is None
    assert plain["auroc"] is None
    assert plain["mean_dice"] == 1.0
    assert (plain["images"], plain["positives"], plain["lesions"]) == (1, 0, 0)
    small = plain["strata"][0]
    assert (small["name"], small["images"], small["positive_dice"]) == ("small", 0, None)
    json.dumps(plain, allow_nan=False)
    json.dumps(summarise([]).as_json(), allow_nan=False)


def test_the_same_seed_gives_the_same_intervals():
    outcomes = [scored(n % 3 * 5, n % 4 * 4, n / 20, f"i{n}") for n in range(20)]
    assert summarise(outcomes).as_json() == summarise(outcomes).as_json()
    assert summarise(outcomes).as_json() != summarise(outcomes, seed=1).as_json()


def test_positives_of_one_patient_give_no_interval_of_theirs():
    outcomes = [scored(10, 5, 0.9, f"p{n}", "7") for n in range(3)]
    outcomes += [scored(0, 0, 0.1, f"n{n}") for n in range(5)]
    result = summarise(outcomes)
    assert math.isnan(result.positive_dice.low)
    assert result.as_json()["positive_dice_interval"] == [None, None]
    assert not math.isnan(result.mean_dice.low)


# ------------------------------------------------------------------ lesions


def test_lesions_by_hand():
    truth, mask = np.zeros((12, 12), bool), np.zeros((12, 12), bool)
    truth[0:3, 0:3] = True
    truth[3, 3] = True  # shares a corner, so it is one lesion with the square
    truth[8:10, 8:10] = True
    mask[3, 3] = True  # one pixel of the first lesion
    mask[0:2, 8:11] = True  # touches none
    mask[6, 0] = True  # nor does this
    found = outcome("a", 0.5, mask, truth)
    assert (found.lesions, found.lesions_found, found.false_lesions) == (2, 1, 2)


def test_an_answer_over_two_lesions_finds_both():
    truth, mask = np.zeros((5, 9), bool), np.ones((5, 9), bool)
    truth[1, 1] = truth[3, 7] = True
    found = outcome("a", 0.5, mask, truth)
    assert (found.lesions, found.lesions_found, found.false_lesions) == (2, 2, 0)


@given(arrays(bool, (8, 8)), arrays(bool, (8, 8)))
def test_the_counts_of_lesions_agree_with_the_masks(mask, truth):
    found = outcome("a", 0.5, mask, truth)
    turned = outcome("a", 0.5, truth, mask)
    assert 0 <= found.lesions_found <= found.lesions
    assert (found.lesions_found > 0) == bool((mask & truth).any())
    assert found.false_lesions == turned.lesions - turned.lesions_found


# ------------------------------------------------------------------ points, prevalence, strata


def test_points_beside_the_default_are_of_the_score():
    points = {"default": OperatingPoint(), "sensitive": OperatingPoint(score=0.15)}
    default, sensitive = summarise(FIVE, points).points
    assert (default.sensitivity.value, default.specificity.value) == (pytest.approx(2 / 3), 0.5)
    assert (sensitive.sensitivity.value, sensitive.specificity.value) == (1.0, 0.5)
    assert sensitive.point == points["sensitive"]


def test_predictive_values_follow_bayes():
    result = summarise(FIVE)
    assert [item.prevalence for item in result.predictive_values] == [0.01, 0.05, 0.20]
    for item in result.predictive_values:
        share, found, cleared = item.prevalence, 2 / 3, 1 / 2
        positive = share * found / (share * found + (1 - share) * (1 - cleared))
        negative = (1 - share) * cleared / ((1 - share) * cleared + share * (1 - found))
        assert item.positive.value == pytest.approx(positive)
        assert item.negative.value == pytest.approx(negative)
        assert item.negative.low <= item.negative.value <= item.negative.high


def test_a_model_that_calls_nothing_has_no_positive_predictive_value():
    result = summarise([scored(10, 0, 0.1, "a"), scored(0, 0, 0.1, "b")])
    assert all(math.isnan(item.positive.value) for item in result.predictive_values)
    assert all(item.negative.value == 1 - item.prevalence for item in result.predictive_values)


def parts(result, by):
    return {item.name: (item.images, item.positives) for item in result.strata if item.by == by}


def test_parts_by_sex_age_and_view():
    outcomes = [
        scored(10, 10, 0.9, "a", sex="F", age_years=17, view="PA"),
        scored(10, 0, 0.8, "b", sex="F", age_years=18, view="AP"),
        scored(0, 0, 0.1, "c", sex="M", age_years=90, view="PA"),
        scored(0, 9, 0.7, "d"),
    ]
    result = summarise(outcomes)
    assert parts(result, "sex") == {"F": (2, 2), "M": (1, 0), "unknown": (1, 0)}
    assert parts(result, "age") == {
        "00-17": (1, 1),
        "18-39": (1, 1),
        "65 and over": (1, 0),
        "unknown": (1, 0),
    }
    assert parts(result, "view") == {"AP": (1, 1), "PA": (2, 1), "unknown": (1, 0)}
    women = next(item for item in result.strata if item.name == "F")
    assert (women.positive_dice.value, women.sensitivity.value) == (0.5, 0.5)
    assert math.isnan(women.specificity.value)
    assert math.isnan(women.auroc.value)


def sized(truth_px, score, name, dice=0.5):
    return Outcome(name, name, truth_px > 0, True, score, dice, dice, truth_px, 1, 10**6, 1, 1, 0)


def test_parts_by_size():
    edges = [round(SMALL * 10**6), round(LARGE * 10**6)]
    outcomes = [
        sized(edges[0] - 1, 0.3, "a", 0.1),
        sized(edges[0], 0.6, "b", 0.2),
        sized(edges[1], 0.8, "c", 0.4),
        sized(edges[1] + 1, 0.9, "d", 0.9),
        sized(0, 0.4, "e", 0.0),
        sized(0, 0.7, "f", 0.0),
    ]
    result = summarise(outcomes)
    assert parts(result, "size") == {"small": (1, 1), "medium": (2, 2), "large": (1, 1)}
    small, medium, large = (item for item in result.strata if item.by == "size")
    assert medium.positive_dice.value == pytest.approx(0.3)
    assert math.isnan(medium.mean_dice.value), "it would be the positive Dice"
    ranked = [item.auroc.value for item in (small, medium, large)]
    assert ranked == [0.0, 0.75, 1.0], "against all images without a pneumothorax"


def test_a_thousand_images_take_seconds():
    rng = np.random.default_rng(0)
    outcomes = [
        sized(int(rng.integers(0, 30_000)) * (n % 4 == 0), float(rng.random()), f"i{n}")
        for n in range(1000)
    ]
    begun = time.process_time()
    summarise(outcomes, {"default": OperatingPoint(), "sensitive": OperatingPoint(score=0.1)})
    assert time.process_time() - begun < 10
