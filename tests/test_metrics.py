import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pleura import metrics
from pleura.metrics import dice_coeff

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))
PAIRS = st.integers(1, 40).flatmap(lambda n: st.tuples(hnp.arrays(bool, n), hnp.arrays(bool, n)))


@pytest.mark.parametrize(
    ("truth", "prediction", "smooth", "expected"),
    [
        ([0, 0], [0, 0], 1, 1.0),
        ([0, 0], [0, 0], 0, 1.0),
        ([1, 0], [0, 0], 0, 0.0),
        ([1, 0], [0, 0], 1, 1 / 2),
        ([0, 0], [1, 1], 1, 1 / 3),
        ([1, 1], [1, 0], 0, 2 / 3),
        ([1, 1], [1, 0], 1, 3 / 4),
        ([1, 1], [1, 1], 1, 1.0),
    ],
)
def test_dice_is_exact(truth, prediction, smooth, expected):
    assert dice_coeff(truth, prediction, smooth=smooth) == pytest.approx(expected)


@given(PAIRS, st.sampled_from([0, 1e-3, 1.0]))
def test_dice_is_symmetric_in_range_and_one_only_for_equal_masks(pair, smooth):
    x, y = pair
    value = dice_coeff(x, y, smooth)
    assert value == dice_coeff(y, x, smooth)
    assert 0 <= value <= 1
    assert (value == 1) == bool((x == y).all())


@given(PAIRS)
def test_masks_as_numbers_score_the_same(pair):
    x, y = pair
    assert dice_coeff(x, y) == pytest.approx(dice_coeff(x.astype(float), y.astype(np.uint8)))


@given(PAIRS)
def test_iou_follows_from_dice(pair):
    dice, iou = dice_coeff(*pair, smooth=0), metrics.iou(*pair)
    assert iou == pytest.approx(dice / (2 - dice))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30))
def test_auroc_is_the_share_of_pairs_in_the_right_order(items):
    labels, scores = [label for label, _ in items], [score for _, score in items]
    pairs = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p, is_p in zip(scores, labels, strict=True)
        for n, is_n in zip(scores, labels, strict=True)
        if is_p and not is_n
    ]
    value = metrics.auroc(labels, scores)
    assert math.isnan(value) if not pairs else value == pytest.approx(np.mean(pairs))


SAME_SIZE = hnp.arrays(bool, (9, 11))


@settings(deadline=None)
@given(SAME_SIZE, SAME_SIZE, st.sampled_from([(1.0, 1.0), (0.5, 2.0)]))
def test_distances_of_outlines_are_those_of_every_pair_of_pixels(truth, said, spacing):
    def outline(mask):
        rows, columns = mask.shape
        return [
            np.array([r * spacing[0], c * spacing[1]])
            for r, c in zip(*np.nonzero(mask), strict=True)
            if not all(
                0 <= r + dr < rows and 0 <= c + dc < columns and mask[r + dr, c + dc]
                for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0))
            )
        ]

    one, other = outline(truth), outline(said)
    far, mean = metrics.surface_distances(truth, said, spacing)
    assert (far, mean) == pytest.approx(metrics.surface_distances(said, truth, spacing))
    if not one or not other:
        assert far == mean == (0 if not one and not other else math.inf)
        return
    pairs = np.array([[np.linalg.norm(a - b) for b in other] for a in one])
    there, back = pairs.min(axis=1), pairs.min(axis=0)
    assert far == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert mean == pytest.approx(np.mean([*there, *back]))


@pytest.mark.filterwarnings("ignore:monai.metrics.utils")
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.4, 0.7)])
def test_distances_of_outlines_are_monais(spacing):
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :80]
    for _ in range(4):
        centres = rng.integers(20, 44, (2, 2))
        masks = [(rows - r) ** 2 / 2 + (columns - c) ** 2 < 100 for r, c in centres]
        tensors = [torch.tensor(mask)[None, None].float() for mask in masks]
        far, mean = metrics.surface_distances(*masks, spacing)
        by_monai = compute_hausdorff_distance(
            *tensors, include_background=True, percentile=95, spacing=spacing
        )
        assert far == pytest.approx(float(by_monai), abs=1e-4)
        by_monai = compute_average_surface_distance(
            *tensors, include_background=True, symmetric=True, spacing=spacing
        )
        assert mean == pytest.approx(float(by_monai), abs=1e-4)


def test_distances_want_rows_and_columns():
    with pytest.raises(ValueError, match="a mask has rows and columns; this one has 1 axes"):
        metrics.surface_distances([True], [True])


def test_undefined_figures_are_nan_and_not_zero():
    assert math.isnan(metrics.positive_dice([1.0, 1.0], [False, False]))
    assert math.isnan(metrics.sensitivity([False], [True]))
    assert math.isnan(metrics.specificity([True], [True]))


def test_rates():
    labels, called = [True, True, False, False], [True, False, False, False]
    assert metrics.sensitivity(labels, called) == 0.5
    assert metrics.specificity(labels, called) == 1.0
    assert metrics.positive_dice([0.5, 0.0, 1.0, 1.0], labels) == 0.25


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\) differ"):
        dice_coeff([0, 1], [0, 1, 1])


def test_smooth_must_not_be_negative():
    with pytest.raises(ValueError, match="smooth is -1; it must be 0 or more"):
        dice_coeff([1], [1], smooth=-1)


@pytest.mark.parametrize(
    "figure",
    [
        metrics.auroc,
        metrics.average_precision,
        metrics.brier_score,
        metrics.expected_calibration_error,
    ],
)
def test_a_score_that_is_no_number_is_refused(figure):
    with pytest.raises(ValueError, match="a score is NaN"):
        figure([True, False], [0.5, float("nan")])
    with pytest.raises(ValueError, match="scores are <U3; give numbers"):
        figure([True, False], ["0.5", "10"])


@pytest.mark.parametrize("figure", [metrics.brier_score, metrics.expected_calibration_error])
def test_per_cent_are_no_probabilities(figure):
    with pytest.raises(ValueError, match="probabilities go from 10 to 90; they must be in 0 to 1"):
        figure([False, True], [10, 90])


@pytest.mark.parametrize("strange", [float("nan"), -1, 0.3, None, "0", 2])
def test_what_is_neither_0_nor_1_is_no_label_and_no_decision(strange):
    labels, said = [0, 1, strange], [0.2, 0.7, 0.9]
    for figure in (metrics.auroc, metrics.average_precision, metrics.brier_score):
        with pytest.raises(ValueError, match=r"a label is .*; it must be 0 or 1, or Fal"):
            figure(labels, said)
    for figure in (metrics.sensitivity, metrics.specificity):
        with pytest.raises(ValueError, match=r"a label is .*; it must be 0 or 1"):
            figure(labels, [0, 1, 1])
        with pytest.raises(ValueError, match=r"a decision is .* against a threshold"):
            figure([0, 1, 1], labels)
    with pytest.raises(ValueError, match=r"a label is .*: leave out what is not known"):
        metrics.positive_dice(said, labels)
    assert metrics.auroc([0.0, 1.0], [1, 2]) == metrics.auroc(np.array([0, 1], np.uint8), [1, 2])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30))
def test_average_precision_sums_precision_over_the_recall_gained(items):
    labels, scores = [label for label, _ in items], [score for _, score in items]
    positives = sum(labels)
    if not positives:
        assert math.isnan(metrics.average_precision(labels, scores))
        return
    columns = metrics.average_precision([[label] for label in labels], [[one] for one in scores])
    expected, before = 0.0, 0
    for threshold in sorted(set(scores), reverse=True):
        called = [label for label, score in items if score >= threshold]
        expected += (sum(called) - before) / positives * sum(called) / len(called)
        before = sum(called)
    assert metrics.average_precision(labels, scores) == columns == pytest.approx(expected)


def test_the_brier_score_by_hand():
    assert metrics.brier_score([1, 0, 0], [0.9, 0.2, 0.0]) == pytest.approx((0.01 + 0.04) / 3)
    assert math.isnan(metrics.brier_score([], []))


def test_the_calibration_error_by_hand():
    labels, scores = [0, 0, 1, 1], [0.1, 0.3, 0.6, 0.6]
    # Two bins: mean score 0.2 against 0, and 0.6 against 1.
    assert metrics.expected_calibration_error(labels, scores, bins=2) == pytest.approx(0.3)
    assert math.isnan(metrics.expected_calibration_error([], []))


@given(st.lists(st.integers(0, 20), min_size=1, max_size=200), st.integers(1, 20))
def test_bins_hold_equal_masses_as_far_as_ties_allow(numbers, bins):
    values = np.array(numbers) / 20
    found = metrics.equal_mass_bins(values, bins)
    assert found.min() == 0
    assert found.max() < bins
    order = np.argsort(values, kind="stable")
    assert np.all(np.diff(found[order]) >= 0), "a higher score is in no lower bin"
    for value in set(values):
        assert len(set(found[values == value])) == 1
    distinct = metrics.equal_mass_bins(np.arange(len(numbers)), bins)
    counts = np.bincount(distinct)
    assert counts[counts > 0].max() - counts[counts > 0].min() <= 1


@pytest.mark.parametrize(("images", "bins"), [(1, 1), (19, 1), (20, 2), (149, 14), (1000, 15)])
def test_bins_have_ten_images_at_least(images, bins):
    assert len(set(metrics.equal_mass_bins(np.arange(images)))) == bins


def test_masks_of_0_and_255_are_masks_and_floats_beyond_1_are_none():
    mask = np.array([0, 255, 255], np.uint8)
    assert metrics.dice_coeff(mask, mask) == 1.0
    assert metrics.iou(mask, mask > 0) == 1.0
    wrongs = ([0.0, 255, 255], [0, np.nan, 1.0], [-0.5, 0.0, 1.0], [-1, 0, 1])  # -1: "ignore"
    for wrong in map(np.array, wrongs):
        with pytest.raises(ValueError, match="probabilities go from 0 to 1"):
            metrics.dice_coeff(mask, wrong)
