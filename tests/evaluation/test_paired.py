import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, permutation_test

from pleura import metrics
from pleura.evaluation.intervals import Score, patient_weights
from pleura.evaluation.paired import (
    EXACT,
    apart_interval,
    compare_areas,
    compare_calls,
    paired_share_interval,
)


def alone(n):
    return np.arange(n)


def test_hanleys_ratings_have_the_published_area_and_error():
    """Hanley and McNeil 1982, table I; the error by DeLong's method is 0.0307 (Stata, roctab)."""
    ratings = [np.repeat(np.arange(5), n) for n in ([33, 6, 6, 11, 2], [3, 2, 2, 11, 33])]
    scores = np.concatenate(ratings).astype(float)
    positive = np.repeat([False, True], [58, 51])
    found = compare_areas(positive, scores, 0 * scores, alone(109))
    assert 0.5 + found.difference.value == pytest.approx(0.8932, abs=5e-5)
    assert found.error == pytest.approx(0.0307, abs=5e-5)


def two_systems(seed, n=60):
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    positive[:2] = True, False
    hard = rng.normal(size=n)
    ours, theirs = (positive * skill + hard + rng.normal(size=n) for skill in (1.5, 1.0))
    return positive, np.round(ours, 1), np.round(theirs, 1)


@pytest.mark.parametrize("seed", range(5))
def test_the_error_is_delongs_by_its_definition(seed):
    """Every pair compared, and numpy's covariance of the placements."""
    positive, ours, theirs = two_systems(seed)
    kernels = []
    for scores in (ours, theirs):
        above = scores[positive][:, None] - scores[~positive][None, :]
        kernels.append(np.where(above > 0, 1.0, np.where(above == 0, 0.5, 0.0)))
    s10 = np.cov([kernel.mean(axis=1) for kernel in kernels])
    s01 = np.cov([kernel.mean(axis=0) for kernel in kernels])
    covariance = s10 / positive.sum() + s01 / (~positive).sum()
    contrast = np.array([1, -1])
    found = compare_areas(positive, ours, theirs, alone(len(positive)))
    assert found.difference.value == pytest.approx(kernels[0].mean() - kernels[1].mean())
    assert found.difference.value == pytest.approx(
        metrics.auroc(positive, ours) - metrics.auroc(positive, theirs)
    )
    assert found.error == pytest.approx(math.sqrt(contrast @ covariance @ contrast))
    assert not found.clustered


def test_p_is_near_that_of_exchanging_the_two_systems():
    positive, ours, theirs = two_systems(3, 150)
    ranks = [np.argsort(np.argsort(scores)).astype(float) for scores in (ours, theirs)]
    found = compare_areas(positive, *ranks, alone(150))

    def difference(one, other):
        return metrics.auroc(positive, one) - metrics.auroc(positive, other)

    by_force = permutation_test(
        ranks, difference, permutation_type="samples", n_resamples=3000, rng=1
    )
    assert found.p == pytest.approx(by_force.pvalue, abs=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_a_copy_of_every_image_adds_no_knowledge(seed):
    positive, ours, theirs = two_systems(seed)
    once = compare_areas(positive, ours, theirs, alone(60))
    doubled = [np.repeat(one, 2) for one in (positive, ours, theirs, alone(60))]
    twice = compare_areas(*doubled)
    assert twice.clustered
    assert twice.error == pytest.approx(once.error)
    assert twice.p == pytest.approx(once.p)
    naive = compare_areas(*doubled[:3], alone(120))
    assert naive.error < 0.75 * once.error, "taken as independent they would seem to"


def test_the_error_with_patients_of_both_labels_is_that_of_resampled_patients():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(80), 3)
    trait = rng.normal(size=80)[groups]
    positive = rng.random(240) < 1 / (1 + np.exp(-trait))
    scores = positive + 1.5 * trait + rng.normal(size=240)
    error = compare_areas(positive, scores, 0 * scores, groups).error
    areas = []
    for _ in range(2000):
        rows = np.concatenate([3 * who + np.arange(3) for who in rng.integers(80, size=80)])
        areas.append(metrics.auroc(positive[rows], scores[rows]))
    assert error == pytest.approx(np.std(areas), rel=0.06)


def test_patients_weigh_the_same():
    assert patient_weights(np.array([0, 1, 1, 2, 2])).tolist() == [1, 0.5, 0.5, 0.5, 0.5]


def test_areas_without_error_have_no_p():
    positive = np.array([True, True, False, False])
    found = compare_areas(positive, 1.0 * positive, 2.0 * positive, alone(4))
    assert (found.difference.value, found.error) == (0, 0)
    assert math.isnan(found.p)
    assert math.isnan(found.difference.low)
    nobody = compare_areas(positive | True, 1.0 * positive, 1.0 * positive, alone(4))
    assert math.isnan(nobody.difference.value)
    assert math.isnan(nobody.p)


def calls(both, ours, theirs, neither):
    first = np.repeat([True, True, False, False], [both, ours, theirs, neither])
    second = np.repeat([True, False, True, False], [both, ours, theirs, neither])
    return first, second


@pytest.mark.parametrize(("ours", "theirs"), [(0, 0), (3, 3), (8, 1), (150, 86), (0, 5)])
def test_with_an_image_a_patient_it_is_the_exact_test(ours, theirs):
    first, second = calls(20, ours, theirs, 9)
    n = len(first)
    found = compare_calls("all", np.ones(n, bool), first, second, alone(n))
    expected = binomtest(ours, ours + theirs).pvalue if ours + theirs else 1.0
    assert found.p == pytest.approx(expected)
    assert (found.images, found.ours, found.theirs) == (n, ours, theirs)
    assert found.patients == ours + theirs
    assert (found.method, found.clustered) == ("exact", False)


def test_many_calls_agree_with_a_published_chi_square():
    """Agresti, Categorical Data Analysis, 10.1: approval, 150 and 86 changed; z = -4.17."""
    first, second = calls(794, 150, 86, 570)
    found = compare_calls("all", np.ones(1600, bool), first, second, alone(1600))
    assert found.p == pytest.approx(math.erfc(4.17 / math.sqrt(2)), rel=0.25)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), max_size=14))
def test_with_several_images_every_exchange_is_counted(items):
    groups = np.unique([who for who, _, _ in items], return_inverse=True)[1].astype(int)
    first, second = (np.array([item[n] for item in items], bool) for n in (1, 2))
    found = compare_calls("all", np.ones(len(items), bool), first, second, groups)
    sums = [
        float(np.mean(first[groups == who]) - np.mean(second[groups == who]))
        for who in range(groups.max(initial=-1) + 1)
    ]
    ways = [sum(s * w for s, w in zip(signs, sums, strict=True))
            for signs in itertools.product((1, -1), repeat=len(sums))]  # fmt: skip
    expected = np.mean([abs(way) >= abs(sum(sums)) - 1e-9 for way in ways])
    assert found.p == pytest.approx(expected)


def test_images_of_one_patient_are_no_further_witnesses():
    first, second = calls(0, 12, 0, 0)
    rows = np.ones(12, bool)
    assert compare_calls("positives", rows, first, second, alone(12)).p < 0.001
    one = compare_calls("positives", rows, first, second, np.zeros(12, int))
    assert (one.p, one.patients, one.clustered) == (1.0, 1, True)


def test_many_patients_with_several_images_have_durkalskis_chi_square():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(60), rng.integers(1, 4, 60))
    first, second = rng.random(len(groups)) < 0.8, rng.random(len(groups)) < 0.65
    rows = np.ones(len(groups), bool)
    found = compare_calls("all", rows, first, second, groups)
    assert found.patients > EXACT
    assert found.method == "chi-square"
    sums = np.array([first[groups == k].mean() - second[groups == k].mean() for k in range(60)])
    flips = rng.choice([-1, 1], (20_000, 60)) @ sums
    assert found.p == pytest.approx((np.abs(flips) >= abs(sums.sum()) - 1e-9).mean(), abs=0.02)


def test_both_errors_are_held_about_as_often_as_is_said():
    """Two systems that are alike, patients with three images that hang together."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(50), 3)
    positive = np.repeat(np.arange(50) % 2 == 0, 3)
    areas, decided = [], []
    for _ in range(400):
        hard = rng.normal(size=50)[groups]
        ours, theirs = (positive + 0.7 * rng.normal(size=50)[groups] + hard for _ in range(2))
        areas.append(compare_areas(positive, ours, theirs, groups).p)
        right = [(scores > 0.5) == positive for scores in (ours, theirs)]
        decided.append(compare_calls("all", positive | True, *right, groups).p)
    assert 0.02 < np.mean(np.array(areas) < 0.05) < 0.09
    assert 0.01 < np.mean(np.array(decided) < 0.05) < 0.08


def test_tangos_interval_is_where_the_score_test_says_just_not():
    """The constrained likelihood is maximised by search in place of Tango's closed form."""
    ours, theirs, cases = 12, 3, 60
    for true in paired_share_interval(ours, theirs, cases):

        def cost(only_theirs, true=true):
            p10, p01 = only_theirs + true, only_theirs
            rest = 1 - p10 - p01
            return -(
                ours * math.log(p10)
                + theirs * math.log(p01)
                + (cases - ours - theirs) * math.log(rest)
            )

        low, high = max(1e-9, -true + 1e-9), (1 - true) / 2 - 1e-9
        p01 = minimize_scalar(
            cost, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
        ).x
        error = math.sqrt((2 * p01 + true - true**2) / cases)
        assert abs((ours - theirs) / cases - true) / error == pytest.approx(1.959964, abs=1e-4)


def test_no_case_that_differs_is_no_certainty():
    low, high = paired_share_interval(0, 0, 36)
    assert (low, high) == (pytest.approx(-0.0964, abs=1e-4), pytest.approx(0.0964, abs=1e-4))
    low, high = paired_share_interval(36, 0, 36)
    assert (low, high) == (pytest.approx((36 - 3.8415) / (36 + 3.8415), abs=1e-4), 1)
    low, high = paired_share_interval(0, 36, 36)
    assert low == -1


def test_two_perfect_figures_apart():
    one, other = Score(1.0, 0.9, 1.0), Score(1.0, 0.8, 1.0)
    assert apart_interval(one, other) == pytest.approx((-0.1, 0.2))
