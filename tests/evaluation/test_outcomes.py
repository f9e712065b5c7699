import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import arrays

from pleura.evaluation.outcomes import outcome


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


@given(arrays(bool, (8, 8)), arrays(bool, (8, 8)))
def test_without_a_true_mask_only_the_answer_and_the_label_count(mask, truth):
    found = outcome("a", 0.5, mask, None, labelled_positive=bool(truth.any()))
    both = outcome("a", 0.5, mask, truth)
    assert not found.annotated
    for name in ("positive", "called", "score", "predicted_px", "image_px", "patient"):
        assert getattr(found, name) == getattr(both, name)
    assert (found.truth_px, found.lesions, found.surfaces) == (0, 0, None)
