import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, poisson

from pleura.evaluation.proportions import auroc_interval, auroc_variance, rate_interval, wilson


def test_wilson_agrees_with_published_figures():
    """Newcombe, Stat Med 1998; 17: 857, table I: 81 of 263, 15 of 148, 0 of 20 and 1 of 29."""
    shares = np.array([81 / 263, 15 / 148, 0, 1 / 29])
    low, high = wilson(shares, np.array([263, 148, 20, 29]))
    assert low == pytest.approx([0.2553, 0.0624, 0.0, 0.0061], abs=5e-5)
    assert high == pytest.approx([0.3662, 0.1605, 0.1611, 0.1718], abs=5e-5)


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_holds_the_share_and_stays_within_bounds(cases, share):
    low, high = wilson(share, cases)
    assert 0 <= low <= share <= high <= 1
    assert high - low > 0


@pytest.mark.parametrize(("share", "cases"), [(0.5, 30), (0.95, 40), (1.0, 36)])
def test_wilson_covers_about_as_often_as_it_says(share, cases):
    covered = 0.0
    for count in range(cases + 1):
        low, high = wilson(count / cases, cases)
        covered += binom.pmf(count, cases, share) * (low <= share <= high)
    assert 0.92 <= covered <= 1


@given(st.floats(0, 1), st.integers(2, 300), st.integers(2, 300))
def test_an_area_lies_in_its_interval_and_mirrors(area, positives, negatives):
    low, high = auroc_interval(area, positives, negatives)
    assert 0 <= low <= area <= high <= 1
    assert high > low
    mirrored = auroc_interval(1 - area, positives, negatives)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6)


def test_the_bounds_are_where_the_area_is_just_too_far():
    low, high = auroc_interval(0.9, 25, 60)
    for bound in (low, high):
        error = math.sqrt(auroc_variance(bound, 25, 60))
        assert abs(0.9 - bound) / error == pytest.approx(1.959964, abs=1e-4)


def test_the_variance_is_hanleys_where_both_groups_are_alike():
    """Hanley and McNeil 1982, equation 2, with as many positives as negatives."""
    area, n = 0.893, 50
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    expected = area * (1 - area) + (n - 1) * (q1 + q2 - 2 * area**2)
    assert auroc_variance(area, n, n) == pytest.approx(expected / n**2, rel=1e-9)


def test_perfect_ranking_of_few_is_no_certainty():
    assert auroc_interval(1.0, 20, 20) == pytest.approx((0.90, 1.0), abs=0.01)
    assert auroc_interval(1.0, 200, 200)[0] > 0.98


def test_a_rate_has_the_exact_bounds_of_a_count():
    low, high = rate_interval(0.0, 100)
    assert (low, high) == (0.0, pytest.approx(0.0368888, abs=1e-6))
    low, high = rate_interval(0.1, 100)
    assert poisson.sf(9, 100 * low) == pytest.approx(0.025)
    assert poisson.cdf(10, 100 * high) == pytest.approx(0.025)
