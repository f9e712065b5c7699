import json
import math
from dataclasses import replace

import numpy as np
import pytest

from pleura.evaluation.comparison import compare, verdict
from pleura.evaluation.figures import FIGURES
from pleura.evaluation.intervals import Score
from pleura.evaluation.outcomes import Outcome
from pleura.evaluation.scores import summarise


def outcomes(seed, skill):
    rng = np.random.default_rng(7)
    noise = np.random.default_rng(seed)
    found = []
    for number in range(80):
        positive = number % 3 == 0
        hard = rng.random()
        score = float(
            np.clip(0.5 + (skill * (positive - 0.5) * (1 - hard)) + noise.normal(0, 0.1), 0, 1)
        )
        dice = min(1.0, 0.3 + skill * (1 - hard) * 0.6) if positive else 1.0
        found.append(
            Outcome(
                f"i{number}", f"p{number // 2}", positive, positive, score, dice, dice,
                2000 * positive, 1, 10**6, int(positive), int(positive), 0,
            )
        )  # fmt: skip
    return found


def named(comparison):
    return {item.name: item for item in comparison.differences}


def test_the_better_model_is_above_in_nearly_all_resamples():
    better, worse = outcomes(0, 1.0), outcomes(1, 0.2)
    found = named(compare(better, worse))
    assert list(found) == list(FIGURES)
    dice = found["positive_dice"]
    assert dice.difference.low > 0
    assert dice.above == 1.0
    assert dice.ours == summarise(better).positive_dice.value
    assert dice.theirs == summarise(worse).positive_dice.value
    assert dice.difference.value == pytest.approx(dice.ours - dice.theirs)
    assert found["auroc"].above > 0.95
    assert found["specificity"].above == 0.0, "equal in all resamples is above in none"


def test_turning_the_models_round_turns_the_signs():
    better, worse = outcomes(0, 1.0), outcomes(1, 0.2)
    there, back = named(compare(better, worse)), named(compare(worse, better))
    for name in FIGURES:
        assert there[name].difference.value == pytest.approx(-back[name].difference.value)
        assert there[name].difference.low == pytest.approx(-back[name].difference.high)


def test_a_paired_interval_is_narrower_than_two_apart():
    one = outcomes(0, 1.0)
    other = [replace(item, dice=item.dice - 0.02 * item.positive) for item in one]
    dice = named(compare(one, other))["positive_dice"].difference
    alone = summarise(one).positive_dice
    assert (dice.low, dice.high) == pytest.approx((0.02, 0.02))
    assert alone.high - alone.low > 0.05


def test_a_model_against_itself():
    one = outcomes(0, 1.0)
    for item in compare(one, one).differences:
        assert item.difference.value == 0
        assert item.above == 0


def test_undefined_differences_are_null_in_json():
    healthy = [item for item in outcomes(0, 1.0) if not item.positive]
    plain = compare(healthy, healthy).as_json()
    json.dumps(plain, allow_nan=False)
    auroc = next(item for item in plain["differences"] if item["name"] == "auroc")
    assert auroc["ours"] is None
    assert auroc["difference"] is None
    assert auroc["above"] is None
    assert (plain["images"], plain["positives"]) == (len(healthy), 0)
    assert math.isnan(named(compare(healthy, healthy))["auroc"].above)


def test_other_images_cannot_be_compared():
    one = outcomes(0, 1.0)
    with pytest.raises(ValueError, match=r"80 outcomes of one model and 79 of another are not of"):
        compare(one, one[:-1])
    with pytest.raises(ValueError, match="a paired comparison needs that"):
        compare(one, one[::-1])


def test_two_systems_that_agree_on_36_of_36_are_not_known_to_be_alike():
    perfect = [
        Outcome(
            f"i{n}", f"p{n}", n < 36, n < 36, 0.9 if n < 36 else 0.1, 1.0, 1.0, 9 * (n < 36),
            9 * (n < 36), 100, int(n < 36), int(n < 36), 0,
        )
        for n in range(65)
    ]  # fmt: skip
    found = named(compare(perfect, perfect))
    sensitivity = found["sensitivity"].difference
    assert (sensitivity.low, sensitivity.high) == pytest.approx((-0.0964, 0.0964), abs=1e-4)
    for name in FIGURES:
        if name not in ("brier", "calibration_error"):
            difference = found[name].difference
            assert difference.low < 0 < difference.high, name
    assert math.isnan(compare(perfect, perfect).auroc.p)


def test_two_systems_that_never_differed_might_on_others():
    one = [replace(item, called=n % 2 > 0) for n, item in enumerate(outcomes(0, 1.0))]
    found = named(compare(one, one, margin=0.01))
    for name in ("sensitivity", "npv", "lesion_sensitivity", "positive_dice", "auroc"):
        difference = found[name].difference
        assert difference.value == 0
        assert difference.low < -0.05 < 0.05 < difference.high, name
        assert found[name].verdict == "not shown"


def test_both_tests_stand_beside_the_bootstrap():
    better, worse = outcomes(0, 1.0), outcomes(1, 0.2)
    worse = [replace(item, called=item.called and n % 4 > 0) for n, item in enumerate(worse)]
    found = compare(better, worse)
    auroc = named(found)["auroc"]
    assert found.auroc.difference.value == pytest.approx(auroc.difference.value)
    assert found.auroc.difference.low == pytest.approx(auroc.difference.low, abs=0.05)
    assert found.auroc.p < 0.01
    assert found.auroc.clustered, "two images a patient"
    positives, negatives, everybody = found.calls
    assert (positives.among, positives.ours, positives.theirs) == ("positives", 7, 0)
    assert (negatives.ours, negatives.theirs, negatives.p) == (0, 0, 1.0)
    assert everybody.images == 80
    assert positives.p == pytest.approx(2 / 2**7)
    plain = found.as_json()
    assert plain["calls"][0]["p"] == pytest.approx(0.015625)
    assert plain["auroc"]["difference_interval"][0] > 0


@pytest.mark.parametrize(
    ("low", "high", "lower", "expected"),
    [
        (0.01, 0.05, False, "superior"),
        (-0.04, 0.05, False, "non-inferior"),
        (-0.06, 0.05, False, "not shown"),
        (-0.09, -0.06, False, "inferior"),
        (-0.09, -0.06, True, "superior"),
        (-0.09, 0.04, True, "non-inferior"),
        (0.06, 0.09, True, "inferior"),
        (math.nan, math.nan, False, ""),
    ],
)
def test_what_an_interval_shows_at_a_margin(low, high, lower, expected):
    assert verdict(Score(0.0, low, high), 0.05, lower) == expected


def test_a_margin_is_told_with_its_verdicts():
    better, worse = outcomes(0, 1.0), outcomes(1, 0.2)
    plain = compare(better, worse, margin=0.05).as_json()
    assert plain["margin"] == 0.05
    verdicts = {item["name"]: item["verdict"] for item in plain["differences"]}
    assert verdicts["positive_dice"] == "superior"
    assert verdicts["specificity"] == "not shown", "53 negatives that agree exclude no 0.05"
    assert compare(better, worse).differences[0].verdict == ""


def test_figures_of_scores_that_nobody_gave_are_undefined():
    found = compare(outcomes(0, 1.0), outcomes(1, 0.2), undefined=["auroc"])
    assert found.auroc is None
    assert math.isnan(named(found)["auroc"].difference.value)
