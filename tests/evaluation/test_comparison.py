import json
import math
from dataclasses import replace

import numpy as np
import pytest

from pleura.evaluation.comparison import compare
from pleura.evaluation.scores import FIGURES, Outcome, summarise


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
