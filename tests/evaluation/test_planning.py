import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura import metrics
from pleura.errors import UsageError
from pleura.evaluation.outcomes import Outcome
from pleura.evaluation.paired import compare_areas, paired_share_interval
from pleura.evaluation.planning import Circumstances, for_difference, for_width
from pleura.evaluation.scores import summarise


def test_buderers_numbers_come_out():
    """Wald's n = 1.96**2 p (1 - p) / (w / 2)**2; Wilson's interval takes a little less or more."""
    need = for_width("sensitivity", 0.9, 0.1, Circumstances(prevalence=0.2))
    wald = 1.96**2 * 0.9 * 0.1 / 0.05**2
    assert need.positives == pytest.approx(wald, rel=0.03)
    assert need.positives + need.negatives == pytest.approx(need.positives / 0.2, abs=5)
    alone = for_width("specificity", 0.9, 0.1)
    assert (alone.positives, alone.negatives) == (0, need.positives)


def test_hanleys_numbers_come_out():
    """Hanley and McNeil 1983: 0.80 and 0.90 at r = 0.5; power 80 %, so n by their own formula."""
    need = for_difference("auroc", 0.8, Circumstances(), difference=0.1)

    def variance(area, n):
        q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
        return (area * (1 - area) + (n - 1) * (q1 + q2 - 2 * area**2)) / n**2

    n = need.positives
    assert need.negatives == n
    for size, above in ((n, True), (n - 1, False)):
        one, other = variance(0.8, size), variance(0.9, size)
        error = math.sqrt(one + other - math.sqrt(one * other))
        assert ((1.959964 + 0.841621) * error <= 0.1) == above


def test_connors_numbers_come_out():
    """Connor 1987: paired calls with 0.2 and 0.1 that only one of them gets right, power 80 %."""
    spread = math.sqrt(0.8 * 0.2 * 0.7 * 0.3)
    correlation = (0.6 - 0.56) / spread
    need = for_difference(
        "sensitivity", 0.7, Circumstances(correlation=correlation, power=0.8), difference=0.1
    )
    expected = (1.959964 * math.sqrt(0.3) + 0.841621 * math.sqrt(0.29)) ** 2 / 0.01
    assert need.positives == math.ceil(expected)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.6, 0.99), st.floats(0.03, 0.3), st.sampled_from(["auroc", "sensitivity"]))
def test_a_narrower_interval_and_fewer_that_are_independent_take_more(value, width, figure):
    def total(*arguments):
        need = for_width(figure, value, *arguments)
        return need.positives + need.negatives

    once = total(width)
    assert total(width / 1.5) > once
    assert total(width, Circumstances(images=3, resemblance=1.0)) == once
    assert total(width, Circumstances(images=3, resemblance=0.3)) <= once
    assert total(width, Circumstances(prevalence=0.05)) >= once


def test_more_than_anybody_has_is_an_error():
    with pytest.raises(UsageError, match="that takes more than 10,000,000 patients; allow a wider"):
        for_width("auroc", 0.8, 0.0001)
    with pytest.raises(UsageError, match="must be above 0, and both figures above 0 and below 1"):
        for_difference("auroc", 0.95, difference=0.05)
    with pytest.raises(UsageError, match="the sum of difference and margin must be above 0"):
        for_difference("auroc", 0.9, difference=-0.05, margin=0.05)


def simulated(rng, need, area, images=1, resemblance=0.0):
    """Return labels, scores of two systems, and patients: binormal scores of that area."""
    apart = math.sqrt(2) * _quantile(area)
    patients = need.positives + need.negatives
    groups = np.repeat(np.arange(patients), images)
    positive = groups < need.positives
    own = rng.normal(size=(2, patients))[:, groups] * math.sqrt(resemblance)
    scores = own + rng.normal(size=(2, len(groups))) * math.sqrt(1 - resemblance)
    return positive, scores + apart * positive, groups


def _quantile(p):
    from scipy.stats import norm

    return float(norm.ppf(p))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("area", "prevalence"), [(0.75, None), (0.9, None), (0.95, None), (0.85, 0.1), (0.85, 0.9)]
)
def test_the_interval_of_the_auroc_becomes_as_wide_as_planned(area, prevalence):
    rng = np.random.default_rng(0)
    need = for_width("auroc", area, 0.1, Circumstances(prevalence=prevalence))
    widths = []
    for _ in range(200):
        positive, (scores, _), groups = simulated(rng, need, area)
        widths.append(2 * 1.96 * compare_areas(positive, scores, 0 * scores, groups).error)
    assert 0.079 < np.mean(widths) < 0.107, "of areas near 1 rather too many are planned for"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "images", "resemblance"), [(0.8, 1, 0), (0.9, 1, 0), (0.9, 3, 0.4)]
)
def test_the_interval_of_the_sensitivity_becomes_as_wide_as_planned(value, images, resemblance):
    """As `pleura evaluate` computes it: the bootstrap over patients, each of whom counts once."""
    rng = np.random.default_rng(1)
    need = for_width(
        "sensitivity", value, 0.12, Circumstances(images=images, resemblance=resemblance)
    )
    widths = []
    for _ in range(40):
        outcomes = []
        for patient in range(need.positives):
            shared, alike = rng.random() < value, rng.random() < resemblance
            for number in range(images):
                called = shared if alike else rng.random() < value
                outcomes.append(Outcome(
                    f"{patient}-{number}", str(patient), True, called, 0.5, math.nan, math.nan,
                    0, 0, 1, 0, 0, 0,
                ))  # fmt: skip
        found = summarise(outcomes).sensitivity
        widths.append(found.high - found.low)
    assert np.mean(widths) == pytest.approx(0.12, rel=0.12)


@pytest.mark.slow
def test_a_margin_is_kept_as_often_as_planned_by_calls():
    rng = np.random.default_rng(2)
    study = Circumstances(correlation=0.4, power=0.8)
    need = for_difference("sensitivity", 0.85, study, margin=0.07)
    both = 0.85**2 + 0.4 * 0.85 * 0.15
    shares = [both, 0.85 - both, 0.85 - both, 1 - 2 * 0.85 + both]
    shown = [
        paired_share_interval(ours, theirs, need.positives)[0] > -0.07
        for _, ours, theirs, _ in rng.multinomial(need.positives, shares, size=2000)
    ]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("images", "resemblance"), [(1, 0.0), (3, 0.5)])
def test_a_margin_is_kept_as_often_as_planned_by_auroc(images, resemblance):
    rng = np.random.default_rng(3)
    study = Circumstances(correlation=0.0, power=0.8, images=images, resemblance=resemblance)
    need = for_difference("auroc", 0.85, study, margin=0.08)
    shown, areas = [], []
    for _ in range(400):
        positive, (ours, theirs), groups = simulated(rng, need, 0.85, images, resemblance)
        found = compare_areas(positive, ours, theirs, groups)
        shown.append(found.difference.low > -0.08)
        areas.append(metrics.auroc(positive, ours))
    assert np.mean(areas) == pytest.approx(0.85, abs=0.01)
    assert np.mean(shown) == pytest.approx(0.8, abs=0.08)
