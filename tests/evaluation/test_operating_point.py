import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.engines.engine import Probabilities
from pleura.evaluation.decision import fit_decision
from pleura.evaluation.operating_point import (
    MIN_AREAS,
    Choice,
    choose_operating_point,
    sensitive_threshold,
    specific_threshold,
)
from pleura.evaluation.predictions import MASK_THRESHOLDS, Predictions, count_image, joined
from pleura.inference.prediction import decide
from pleura.metrics import dice_coeff
from pleura.models.bundle import OperatingPoint


def mask_of(pixels):
    mask = np.zeros((10, 10), bool)
    mask.reshape(-1)[:pixels] = True
    return mask


def maps_of(items):
    for level, truth_px in items:
        probability = np.zeros((10, 10), np.float32)
        probability.reshape(-1)[:10] = level
        yield probability, level, mask_of(truth_px)


def chosen(items):
    counted = (
        count_image(Probabilities(probability[None], np.array([score])), truth)
        for probability, score, truth in maps_of(items)
    )
    return choose_operating_point(joined(counted))


def table(scores, positive, dice, areas=0.1):
    """Predictions whose Dice may depend on the mask threshold, in a row or for each image."""
    shape = (len(scores), len(MASK_THRESHOLDS))
    return Predictions(
        np.array(scores, float),
        np.array(positive, bool),
        np.broadcast_to(np.array(dice, float), shape),
        np.broadcast_to(np.array(areas, float), shape),
    )


def mean_dice(predictions, point):
    column = MASK_THRESHOLDS.index(point.mask)
    called = (predictions.scores >= point.score) & (predictions.areas[:, column] >= point.min_area)
    return np.where(called, predictions.dice[:, column], ~predictions.positive).mean()


@given(
    st.lists(
        st.tuples(st.sampled_from([0.15, 0.35, 0.55, 0.75, 0.95]), st.sampled_from([0, 6, 10])),
        min_size=1,
        max_size=8,
    )
)
@settings(deadline=None, max_examples=50)
def test_no_other_thresholds_do_much_better(items):
    def figure(point):
        return np.mean(
            [
                dice_coeff(truth, decide(p, score, point), smooth=0)
                for p, score, truth in maps_of(items)
            ]
        )

    best = figure(chosen(items).default)
    error = 1 / np.sqrt(len(items))  # the largest that a standard error of a Dice can be
    for mask in (0.1, 0.3, 0.5, 0.7):
        for score in (0.0, 0.25, 0.45, 0.65, 0.85, 1.0):
            for area in (0.0, 0.005):
                point = OperatingPoint(score=score, mask=mask, min_area=area)
                assert best >= figure(point) - error - 1e-9


def test_many_images_give_the_best_thresholds():
    items = [(0.55, 0), (0.75, 10)] * 100
    point = chosen(items).default
    for probability, score, truth in maps_of(items[:2]):
        assert np.array_equal(decide(probability, score, point), truth)


def test_few_images_do_not_move_the_thresholds_far():
    point = chosen([(0.35, 0), (0.75, 10)]).default
    assert point.score == pytest.approx(0.5, abs=0.1)
    assert point.mask == pytest.approx(0.5, abs=0.1)


def test_one_lucky_image_does_not_close_the_gate():
    # Nineteen found at all scores, and one false alarm above most of them.
    items = [(0.7 + 0.01 * n, 10) for n in range(19)] + [(0.86, 0)]
    assert chosen(items).default.score < 0.7


SPIKE = MASK_THRESHOLDS.index(0.85)


def spiky(images, luck):
    """Positives on which masks from 0.2 to 0.5 do well; at 0.85 alone half do better by luck."""
    dice = np.full((images, len(MASK_THRESHOLDS)), 0.3)
    dice[:, 3:10] = 0.7
    dice[:, SPIKE] = 0.7 + luck * np.tile([-1, 1.1], images // 2)
    scores = np.linspace(0.6, 0.95, images)
    return table(scores, np.ones(images, bool), dice)


def test_a_spike_that_chance_explains_is_not_chosen():
    predictions = spiky(20, 0.25)
    means = predictions.dice.mean(axis=0)
    assert means.argmax() == SPIKE, "the plain optimum would be the spike"
    assert choose_operating_point(predictions).default.mask == pytest.approx(0.35, abs=0.051)


def test_with_many_images_the_plain_optimum_is_chosen_though_it_is_a_spike():
    predictions = spiky(5000, 0.25)
    assert predictions.dice.mean(axis=0).argmax() == SPIKE
    assert choose_operating_point(predictions).default.mask == 0.85


def test_the_centre_of_the_plateau_is_taken_and_not_its_edge():
    dice = np.full((50, len(MASK_THRESHOLDS)), 0.2)
    dice[:, 3:10] = 0.8  # 0.2 to 0.5
    dice[:, 9] = 0.8 + np.tile([-0.1, 0.101], 25)  # by a hair the best is its edge
    predictions = table(np.linspace(0.6, 0.9, 50), np.ones(50, bool), dice)
    assert choose_operating_point(predictions).default.mask == 0.35


def test_small_false_alarms_raise_the_smallest_area():
    # Negatives with high scores and specks of 0.0008 of the image, positives of 0.004.
    positive = np.repeat([True, False], 200)
    areas = np.where(positive, 0.004, 0.0008)[:, None]
    predictions = table(np.full(400, 0.9), positive, np.where(positive, 0.7, 0.0)[:, None], areas)
    point = choose_operating_point(predictions).default
    assert 0.0008 < point.min_area <= 0.004
    assert mean_dice(predictions, point) == pytest.approx(0.85)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 60))
def test_the_chosen_triplet_is_within_one_standard_error_of_the_best(seed, images):
    rng = np.random.default_rng(seed)
    positive = rng.random(images) < 0.5
    dice = rng.random((images, len(MASK_THRESHOLDS))) * positive[:, None]
    scores = np.round(rng.random(images), 1)
    areas = rng.choice([0.0, 0.0004, 0.004], (images, 1))
    predictions = table(scores, positive, dice, areas)
    point = choose_operating_point(predictions).default
    edges = np.unique([0, 1, *scores])
    triplets = [
        OperatingPoint(gate, mask, area)
        for gate in (edges[1:] + edges[:-1]) / 2
        for mask in MASK_THRESHOLDS
        for area in MIN_AREAS
    ]
    best = max(mean_dice(predictions, other) for other in triplets)
    assert mean_dice(predictions, point) >= best - 1 / np.sqrt(images)


def test_without_images_the_thresholds_are_one_half_and_there_are_no_presets():
    found = choose_operating_point(joined([]))
    assert found == Choice(OperatingPoint())
    assert found.presets == {}


SCORED = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])),
    min_size=1,
    max_size=60,
)


@given(SCORED)
def test_presets_reach_what_they_promise_and_no_other_threshold_does_better(items):
    positive = np.array([item[0] for item in items])
    scores = np.array([item[1] for item in items])
    gates = np.unique([0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1, *scores])
    found = sensitive_threshold(scores, positive)
    assert (found is None) == (not positive.any())
    if found is not None:
        assert (scores[positive] >= found).mean() >= 0.95
        stricter = [gate for gate in gates if (scores >= gate).sum() < (scores >= found).sum()]
        assert all((scores[positive] >= gate).mean() < 0.95 for gate in stricter)
    found = specific_threshold(scores, positive)
    if found is not None:
        assert (scores[~positive] < found).mean() >= 0.95
        looser = [gate for gate in gates if (scores >= gate).sum() > (scores >= found).sum()]
        assert all((scores[~positive] < gate).mean() < 0.95 for gate in looser)
    else:
        assert positive.all() or (scores[~positive] == 1).mean() > 0.05


def test_positives_of_equal_score_are_found_together():
    scores = np.array([0.2] * 10 + [0.8] * 30)
    positive = np.ones(40, bool)
    assert sensitive_threshold(scores, positive) == pytest.approx(0.1), "30 of 40 are too few"


def test_twenty_images_and_a_share_of_nineteen():
    scores = np.arange(1, 21) / 21
    everyone = np.ones(20, bool)
    assert (scores >= sensitive_threshold(scores, everyone)).sum() == 19
    assert (scores < specific_threshold(scores, ~everyone)).sum() == 19


def test_the_rule_is_one_over_one_plus_the_expected_dice():
    positive = np.array([True, False] * 20)
    dice = np.where(positive, 0.5, 0.0)[:, None]
    found = choose_operating_point(table(np.linspace(0.1, 0.9, 40), positive, dice))
    assert found.expected_dice == pytest.approx(0.5)
    assert found.rule is not None
    assert found.rule.score == pytest.approx(1 / 1.5)


def test_presets_are_of_the_score_alone():
    found = chosen([(0.35, 0), (0.75, 10)] * 30)
    assert list(found.presets) == ["sensitive", "specific", "rule"]
    for point in found.presets.values():
        assert (point.mask, point.min_area) == (found.default.mask, 0.0)
    healthy = chosen([(0.35, 0), (0.75, 0)] * 5)
    assert list(healthy.presets) == ["specific"]
    assert healthy.expected_dice is None


def unlike(annotated, positive):
    """Return predictions of 40 images, some of which have a mask."""
    rng = np.random.default_rng(0)
    masks = len(MASK_THRESHOLDS)
    dice = np.where(positive[:, None], rng.random((40, masks)), 1.0)
    dice[~annotated] = np.nan
    scores = np.clip(rng.normal(np.where(positive, 0.7, 0.3), 0.2), 0, 1)
    return Predictions(scores, positive, dice, np.full((40, masks), 0.01))


def test_images_without_a_mask_choose_nothing_where_enough_have_one():
    positive = np.arange(40) % 2 == 0
    annotated = np.arange(40) < 20
    all_of_them = unlike(annotated, positive)
    decision = fit_decision(all_of_them)
    assert decision == fit_decision(all_of_them.among(annotated))
    assert decision.choice.expected_dice is not None


@pytest.mark.parametrize("with_positives", [False, True])
def test_without_masks_of_both_labels_the_score_decides(with_positives):
    positive = np.arange(40) % 2 == 0
    annotated = positive & with_positives
    found = unlike(annotated, positive)
    choice = fit_decision(found).choice
    assert choice.sensitive is not None
    assert choice.specific is not None
    if not with_positives:
        assert (choice.default.score, choice.default.mask) == (0.5, 0.5)
        assert choice.rule is None
        return
    means = found.dice[annotated].mean(axis=0)
    assert choice.default.mask == MASK_THRESHOLDS[int(means.argmax())]
    assert choice.default.score == pytest.approx(1 / (1 + means.max()))
