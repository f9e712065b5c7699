import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pleura.engines.engine import Probabilities
from pleura.evaluation.predictions import MASK_THRESHOLDS, count_image, joined
from pleura.metrics import dice_coeff
from pleura.models.bundle import Calibration


def said(probability, score):
    return Probabilities(probability[None], np.array([score]))


MAPS = arrays(np.float32, (6, 6), elements=st.sampled_from(np.linspace(0, 1, 21, dtype="f4")))


@settings(deadline=None, max_examples=50)
@given(MAPS, arrays(bool, (6, 6)))
def test_the_counts_are_those_of_the_masks(probability, truth):
    found = count_image(said(probability, 0.25), truth, inside=0.5)
    assert found.scores.tolist() == [0.25]
    assert found.positive.tolist() == [truth.any()]
    for column, threshold in enumerate(MASK_THRESHOLDS):
        mask = probability > np.float32(threshold)
        assert found.dice[0, column] == dice_coeff(truth, mask, smooth=0)
        assert found.areas[0, column] == mask.sum() / 18, "of the half that is the radiograph"


def test_nothing_counted():
    found = joined([])
    assert found.dice.shape == found.areas.shape == (0, len(MASK_THRESHOLDS))


def test_calibrating_changes_the_scores_alone():
    items = [
        count_image(said(np.zeros((4, 4), np.float32), score), np.zeros((4, 4), bool))
        for score in (0.2, 0.7)
    ]
    found = joined(items)
    line = Calibration("platt", 2.0, 0.5)
    calibrated = found.calibrated(line)
    assert np.array_equal(calibrated.scores, line.apply(found.scores))
    assert calibrated.dice is found.dice


def test_an_image_without_a_mask_has_a_label_and_no_dice():
    probability = np.full((4, 4), 0.5, np.float32)
    found = joined(
        [
            count_image(said(probability, 0.3), None, labelled_positive=True),
            count_image(said(probability, 0.2), np.ones((4, 4), bool)),
        ]
    )
    assert found.positive.tolist() == [True, True]
    assert found.annotated.tolist() == [False, True]
    assert found.areas[0, 0] == 1
