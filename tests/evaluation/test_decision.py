import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.evaluation.decision import deal, fit_decision, fit_nested
from pleura.evaluation.predictions import MASK_THRESHOLDS, Predictions


def predictions(count, seed=0):
    rng = np.random.default_rng(seed)
    positive = np.arange(count) % 2 == 0
    masks = len(MASK_THRESHOLDS)
    return Predictions(
        scores=np.clip(rng.normal(0.3 + 0.4 * positive, 0.2), 0, 1),
        positive=positive,
        dice=rng.uniform(0, 1, (count, masks)) * positive[:, None],
        areas=np.full((count, masks), 0.01),
    )


def test_a_part_chooses_nothing_for_itself():
    found, parts = predictions(40), np.arange(40) % 4
    decisions = fit_nested(found, parts)
    for part, decision in enumerate(decisions):
        assert decision == fit_decision(found.among(parts != part))
    moved = Predictions(
        np.where(parts == 1, 1 - found.scores, found.scores),
        found.positive,
        found.dice,
        found.areas,
    )
    assert fit_nested(moved, parts)[1] == decisions[1]
    assert fit_nested(moved, parts)[0] != decisions[0]


def test_one_part_has_nobody_to_choose_for_it():
    with pytest.raises(
        ValueError, match="thresholds are chosen on the other parts, and there is one part alone"
    ):
        fit_nested(predictions(4), np.zeros(4, np.int64))


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), min_size=1), st.integers(1, 7)
)
def test_a_patient_is_in_one_part_and_parts_are_alike(items, count):
    groups, positive = [who for who, _ in items], np.array([is_so for _, is_so in items])
    parts = deal(groups, positive, count)
    owners = {}
    for group, part in zip(groups, parts, strict=True):
        assert owners.setdefault(group, part) == part
    assert set(parts.tolist()) == set(range(min(count, len(owners))))
    with_one = {group for group, is_so in items if is_so}
    held = np.bincount([owners[group] for group in with_one], minlength=count)[: len(set(parts))]
    assert np.ptp(held) <= 1 if with_one else True
    assert np.array_equal(parts, deal(groups, positive, count))


def test_no_image_has_no_part():
    assert deal([], np.empty(0, bool)).shape == (0,)
