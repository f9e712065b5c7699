import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura import metrics
from pleura.evaluation.figures import FIGURES, Evaluation
from pleura.evaluation.mix import SIIM, Mix
from pleura.evaluation.outcomes import Outcome, Traits, outcome
from pleura.evaluation.scores import summarise
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
    assert result.accuracy.value == pytest.approx(3 / 5)
    assert result.ppv.value == pytest.approx(2 / 3)
    assert result.npv.value == pytest.approx(1 / 2)
    assert result.auroc.value == pytest.approx(5 / 6)
    assert result.average_precision.value == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert result.lesion_sensitivity.value == pytest.approx(2 / 3)
    assert result.false_lesions.value == pytest.approx(1 / 5)
    assert result.brier.value == pytest.approx((0.01 + 0.04 + 0.64 + 0.01 + 0.49) / 5)
    assert (result.images, result.positives, result.patients, result.lesions) == (5, 3, 5, 3)
    assert result.mean_dice.low <= result.mean_dice.value <= result.mean_dice.high


@settings(deadline=None)
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
        (result.calibration_error, metrics.expected_calibration_error(positive, score / 10)),
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
    assert (small["name"], small["images"], small["positive_dice"]) == ("below 0.5 %", 0, None)
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


def test_all_of_many_is_no_certainty():
    outcomes = [scored(10, 10, 0.9, f"p{n}") for n in range(36)]
    outcomes += [scored(0, 0, 0.1, f"n{n}") for n in range(29)]
    result = summarise(outcomes, {"sensitive": OperatingPoint(score=0.5)})
    assert result.sensitivity.value == 1
    assert (result.sensitivity.low, result.sensitivity.high) == (pytest.approx(0.9036, abs=1e-4), 1)
    assert result.specificity.low == pytest.approx(0.8830, abs=1e-4)
    assert result.lesion_sensitivity.low == pytest.approx(0.9036, abs=1e-4)
    assert result.points[0].sensitivity.low == pytest.approx(0.9036, abs=1e-4)
    rare = result.predictive_values[1]
    assert rare.positive.value == rare.negative.value == 1
    assert rare.positive.low == pytest.approx(0.05 / (0.05 + 0.1170 * 0.95), abs=1e-3)
    assert rare.negative.low == pytest.approx(0.95 / (0.95 + 0.0964 * 0.05), abs=1e-3)


NEVER_WITHOUT_WIDTH = {*FIGURES} - {"brier", "calibration_error"}
"""Of scores that are right, 0.9 and 0.1, the error is 0.1 for each image, and no chance."""


@pytest.mark.parametrize("name", sorted(NEVER_WITHOUT_WIDTH))
def test_no_figure_is_certain_because_every_resample_says_the_same(name):
    outcomes = [scored(10, 10, 0.9, f"p{n}") for n in range(36)]
    outcomes += [scored(0, 0, 0.1, f"n{n}") for n in range(29)]
    found = getattr(summarise(outcomes), name)
    assert found.value == (0 if name == "false_lesions" else 1)
    assert 0.02 < found.high - found.low < 0.2
    upside_down = [replace(item, positive=not item.positive, called=False) for item in outcomes]
    if name in ("auroc", "sensitivity", "ppv"):
        wrong = getattr(summarise(upside_down), name)
        assert wrong.value == 0 or math.isnan(wrong.value)
        assert not wrong.high - wrong.low < 0.02


def test_a_positive_predictive_value_of_none_has_an_upper_bound():
    outcomes = [scored(10, 0, 0.1, f"p{n}") for n in range(36)]
    outcomes += [scored(0, 4 * (n < 9), 0.1, f"n{n}") for n in range(29)]
    rare = summarise(outcomes).predictive_values[1].positive
    assert (rare.value, rare.low) == (0, 0)
    alarms = 9 / 29 * 0.95
    assert rare.high == pytest.approx(0.0964 * 0.05 / (0.0964 * 0.05 + alarms), abs=1e-3)


def square(top, side, spacing=None, name="a", said=None):
    truth, mask = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    truth[top : top + side, 2 : 2 + side] = side > 0
    mask[said or 0 : (said or 0) + 4, 2:6] = said is not None
    return outcome(name, 0.5, mask, truth, spacing_mm=spacing)


def test_distances_of_outlines_and_the_empty_cases_counted_apart():
    outcomes = [
        square(3, 4, None, "a", said=3),  # the same: 0
        square(3, 4, (0.5, 0.5), "b", said=5),  # two rows below
        square(3, 4, (0.5, 0.5), "missed"),
        square(0, 0, None, "alarm", said=3),
        square(0, 0, None, "empty"),
        outcome("label", 0.5, np.ones((20, 20), bool), None, labelled_positive=True),
    ]
    px, mm = summarise(outcomes).distances
    assert (px.unit, px.images, px.missed, px.false_alarms, px.both_empty) == ("px", 2, 1, 1, 1)
    assert px.hausdorff95.value == pytest.approx((0 + 2) / 2)
    assert px.surface_distance.value == pytest.approx(outcomes[1].surfaces.mean_px / 2)
    assert px.hausdorff95.low <= px.hausdorff95.value <= px.hausdorff95.high
    assert (mm.unit, mm.images, mm.hausdorff95.value) == ("mm", 1, 1.0)
    assert (mm.missed, mm.false_alarms, mm.both_empty) == (1, 1, 1)
    assert [item.surfaces is None for item in outcomes] == [False, False, True, True, True, True]


def test_without_spacing_or_masks_there_are_no_millimetres_and_no_distances():
    nothing = summarise([square(3, 4), square(0, 0, None, "b")]).distances
    assert [item.unit for item in nothing] == ["px"]
    assert (nothing[0].images, nothing[0].missed, nothing[0].both_empty) == (0, 1, 1)
    assert math.isnan(nothing[0].hausdorff95.value)
    assert summarise([outcome("a", 0.5, np.ones((2, 2), bool), None)]).distances == ()


def test_pixels_that_are_not_square_are_measured_as_they_are():
    found = square(3, 4, (0.5, 0.25), "b", said=5).surfaces
    assert found.hausdorff95_px == pytest.approx(2)
    assert found.hausdorff95_mm == pytest.approx(1)


def test_every_patient_half_right_is_no_certainty_either():
    outcomes = [scored(10, 10 * n, 0.9, f"{who}{n}", who) for who in "abcdefghij" for n in (0, 1)]
    outcomes += [scored(0, 0, 0.1, "n")]
    found = summarise(outcomes).sensitivity
    assert found.value == 0.5
    assert (found.low, found.high) == pytest.approx((0.23659, 0.76341), abs=1e-5), "10 patients"


def test_strata_and_mixes_have_width_too():
    outcomes = [scored(10, 10, 0.9, f"p{n}", sex="F") for n in range(36)]
    outcomes += [scored(0, 0, 0.1, f"n{n}", sex="F") for n in range(29)]
    result = summarise(outcomes, mixes=[Mix("few", 0.05)])
    (women,) = (part for part in result.strata if part.by == "sex")
    for item in (women, *result.mixes):
        for name in ("mean_dice", "positive_dice", "auroc", "sensitivity", "specificity"):
            found = getattr(item, name)
            assert found.high - found.low > 0.02, name


def test_none_of_many_is_no_certainty_and_patients_are_what_counts():
    outcomes = [scored(10, 0, 0.1, f"{who}{n}", who) for who in "abcde" for n in range(4)]
    outcomes += [scored(0, 0, 0.1, "n")]
    result = summarise(outcomes)
    assert (result.sensitivity.value, result.sensitivity.low) == (0, 0)
    assert result.sensitivity.high == pytest.approx(3.8415 / 8.8415, abs=1e-3), "five, not twenty"


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
    outcomes = [
        sized(4_999, 0.3, "a", 0.1),
        sized(5_000, 0.6, "b", 0.2),
        sized(9_999, 0.8, "c", 0.4),
        sized(29_999, 0.8, "d", 0.4),
        sized(30_000, 0.9, "e", 0.9),
        sized(0, 0.4, "f", 0.0),
        sized(0, 0.7, "g", 0.0),
    ]
    result = summarise(outcomes)
    names = ("below 0.5 %", "0.5 to 1 %", "1 to 3 %", "above 3 %")
    assert parts(result, "size") == dict(zip(names, [(1, 1), (2, 2), (1, 1), (1, 1)], strict=True))
    smallest, small, middle, large = (item for item in result.strata if item.by == "size")
    assert small.positive_dice.value == pytest.approx(0.3)
    assert math.isnan(small.mean_dice.value), "it would be the positive Dice"
    ranked = [item.auroc.value for item in (smallest, small, middle, large)]
    assert ranked == [0.0, 0.75, 1.0, 1.0], "against all images without a pneumothorax"


def test_parts_by_kind_of_negative():
    outcomes = [
        scored(10, 10, 0.5, "a"),
        scored(10, 10, 0.9, "b"),
        scored(0, 0, 0.1, "c", negatives="report says none"),
        scored(0, 4, 0.7, "d", negatives="report says pneumothorax"),
        scored(0, 0, 0.6, "e"),
    ]
    none, says = (item for item in summarise(outcomes).strata if item.by == "negatives")
    assert (none.name, none.images, none.positives) == ("report says none", 1, 0)
    assert (none.auroc.value, none.specificity.value) == (1.0, 1.0)
    assert (says.auroc.value, says.specificity.value) == (0.5, 0.0), "against all positives"
    assert math.isnan(says.positive_dice.value)


# ------------------------------------------------------------------ what counts how much


def test_a_patient_with_many_images_counts_once():
    outcomes = [
        *(scored(10, 10, 0.9, f"a{n}", "p") for n in range(13)),
        scored(10, 0, 0.2, "b"),
        scored(0, 0, 0.1, "c"),
        scored(0, 4, 0.3, "d"),
    ]
    result = summarise(outcomes)
    assert result.positive_dice.value == pytest.approx(1 / 2), "one patient found, one missed"
    assert result.sensitivity.value == pytest.approx(1 / 2)
    assert result.mean_dice.value == pytest.approx(2 / 4)
    assert result.all_empty_dice == pytest.approx(2 / 4)
    assert result.auroc.value == pytest.approx((2 + 1) / 4)
    assert result.naive.positive_dice == pytest.approx(13 / 14)
    assert result.naive.mean_dice == pytest.approx(14 / 16)


def test_images_are_ranked_by_the_score_before_calibration():
    outcomes = [
        outcome("a", 0.2, mask_of(5), mask_of(5), raw_score=0.9),
        outcome("b", 0.3, mask_of(0), mask_of(0), raw_score=0.1),
    ]
    result = summarise(outcomes)
    assert result.auroc.value == 1.0
    assert result.brier.value == pytest.approx((0.8**2 + 0.3**2) / 2), "of the calibrated score"


def test_thresholds_that_other_images_chose_are_kept_with_the_outcome():
    points = {"default": OperatingPoint(), "sensitive": OperatingPoint(score=0.5)}
    truth, empty = mask_of(5), mask_of(0)
    one = outcome("a", 0.9, truth, truth)
    other = replace(outcome("b", 0.9, empty, truth), reached=frozenset())
    assert summarise([one, other], points).points[1].sensitivity.value == 0.5
    assert summarise([one, replace(other, reached=None)], points).points[1].sensitivity.value == 1


def test_figures_of_another_mix():
    sizes = [(4_000, 0.2), (7_000, 0.4), (20_000, 0.6), (50_000, 0.8)]
    outcomes = [sized(px, 0.9, f"p{px}", dice) for px, dice in sizes]
    outcomes += [sized(0, 0.1, f"n{n}", 1.0) for n in range(4)]
    (found,) = summarise(outcomes, mixes=[SIIM]).mixes
    shares = np.array([866, 652, 848, 303]) / 2669
    dice = float(shares @ [dice for _, dice in sizes])
    assert found.positive_dice.value == pytest.approx(dice)
    assert found.prevalence == pytest.approx(0.2215, abs=1e-4)
    assert found.all_empty_dice == pytest.approx(0.7785, abs=1e-4)
    assert found.mean_dice.value == pytest.approx(found.prevalence * dice + found.all_empty_dice)
    assert found.auroc.value == 1.0
    few = Mix("5 %", 0.05)
    (rare,) = summarise(outcomes, mixes=[few]).mixes
    assert rare.positive_dice.value == pytest.approx(0.5), "sizes as they were found"
    assert rare.mean_dice.value == pytest.approx(0.05 * 0.5 + 0.95)


def test_a_mix_with_a_size_that_no_image_has_is_undefined():
    outcomes = [sized(4_000, 0.9, "a", 0.2), sized(0, 0.1, "b", 1.0)]
    (found,) = summarise(outcomes, mixes=[SIIM]).mixes
    assert math.isnan(found.mean_dice.value)
    assert summarise(outcomes, mixes=[SIIM]).as_json()["mixes"][0]["mean_dice"] is None


@given(
    st.lists(st.tuples(st.integers(0, 60), st.floats(0, 1), st.sampled_from("pqr")), min_size=2),
    st.floats(0.01, 0.99),
)
def test_the_share_of_positives_is_that_of_the_mix(items, prevalence):
    outcomes = [scored(px, px, score, f"i{n}", who) for n, (px, score, who) in enumerate(items)]
    (found,) = summarise(outcomes, mixes=[Mix("m", prevalence)]).mixes
    if {item.positive for item in outcomes} == {True, False}:
        assert found.mean_dice.value == pytest.approx(1), "every mask is right"
    else:
        assert math.isnan(found.mean_dice.value)


def test_a_thousand_images_take_seconds():
    rng = np.random.default_rng(0)
    outcomes = [
        sized(int(rng.integers(0, 30_000)) * (n % 4 == 0), float(rng.random()), f"i{n}")
        for n in range(1000)
    ]
    begun = time.process_time()
    summarise(outcomes, {"default": OperatingPoint(), "sensitive": OperatingPoint(score=0.1)})
    assert time.process_time() - begun < 10
