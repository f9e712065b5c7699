import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.errors import DataError, UsageError
from pleura.training.sampling import epoch_rows, positive_share

FEW = settings(max_examples=50)


@st.composite
def mixed(draw):
    """Return labels with at least one of each kind, a share per epoch, a seed and a count."""
    positive = np.array([*draw(st.lists(st.booleans(), max_size=30)), True, False])
    shares = draw(st.lists(st.floats(0, 1), min_size=1, max_size=8))
    return positive, shares, draw(st.integers(0, 2**40)), draw(st.integers(1, 50))


def stream(positive, shares, seed, count, kind):
    """Return the rows of one kind, positive or negative, over all epochs."""
    rows = [epoch_rows(positive, shares, seed, e, count) for e in range(len(shares))]
    return [int(row) for row in np.concatenate(rows) if positive[row] == kind]


def test_the_share_falls_on_a_straight_line():
    shares = [positive_share(epoch, 5, 0.8, 0.2) for epoch in range(5)]
    assert shares == pytest.approx([0.8, 0.65, 0.5, 0.35, 0.2])
    assert shares[0] == 0.8
    assert shares[-1] == 0.2


def test_a_single_epoch_and_any_after_the_last_have_the_last_share():
    assert positive_share(0, 1, 0.8, 0.22) == 0.22
    assert positive_share(9, 5, 0.8, 0.22) == 0.22


@given(mixed())
@FEW
def test_an_epoch_has_exactly_its_share_of_positives(case):
    positive, shares, seed, count = case
    for epoch, share in enumerate(shares):
        rows = epoch_rows(positive, shares, seed, epoch, count)
        assert rows.shape == (count,)
        assert rows.dtype == np.int64
        assert abs(positive[rows].sum() - share * count) <= 0.5


@given(mixed())
@FEW
def test_every_beginning_of_an_epoch_has_about_its_share(case):
    positive, shares, seed, count = case
    for epoch in range(len(shares)):
        found = positive[epoch_rows(positive, shares, seed, epoch, count)]
        expected = found.mean() * np.arange(1, count + 1)
        assert np.abs(found.cumsum() - expected).max() <= 1 + 1e-9


@given(mixed(), st.booleans())
@FEW
def test_none_comes_twice_before_all_have_come_once(case, kind):
    positive, shares, seed, count = case
    rows = np.flatnonzero(positive == kind).tolist()
    drawn = stream(positive, shares, seed, count, kind)
    for start in range(0, len(drawn), len(rows)):
        turn = drawn[start : start + len(rows)]
        assert len(set(turn)) == len(turn)
        assert set(turn) <= set(rows)
        if len(turn) == len(rows):
            assert set(turn) == set(rows)


@given(mixed(), st.lists(st.floats(0, 1), max_size=4))
@FEW
def test_an_epoch_depends_on_no_later_one(case, later):
    positive, shares, seed, count = case
    last = len(shares) - 1
    alone = epoch_rows(positive, shares, seed, last, count)
    assert np.array_equal(alone, epoch_rows(positive, shares + later, seed, last, count))


@given(mixed(), st.booleans())
@FEW
def test_the_order_of_a_kind_does_not_depend_on_the_shares(case, kind):
    """Shares say how far the streams go, not what is in them."""
    positive, shares, seed, count = case
    drawn = stream(positive, shares, seed, count, kind)
    other = stream(positive, [0.5] * len(shares), seed, count, kind)
    common = min(len(drawn), len(other))
    assert drawn[:common] == other[:common]


@given(st.integers(1, 40), st.integers(0, 1000), st.integers(0, 50))
@FEW
def test_without_shares_an_epoch_is_one_random_order_of_all(images, seed, epoch):
    positive = np.zeros(images, dtype=bool)
    rows = epoch_rows(positive, None, seed, epoch)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    assert rows.tolist() == torch.randperm(images, generator=generator).tolist()


@given(st.integers(1, 30), st.integers(1, 50), st.integers(1, 5))
@FEW
def test_without_shares_a_shorter_or_longer_epoch_goes_on_where_the_last_one_stopped(n, count, k):
    positive = np.zeros(n, dtype=bool)
    rows = np.concatenate([epoch_rows(positive, None, 7, epoch, count) for epoch in range(k)])
    for start in range(0, len(rows), n):
        turn = rows[start : start + n].tolist()
        assert len(set(turn)) == len(turn)


def test_the_order_follows_seed_and_epoch():
    positive = np.arange(100) < 30
    shares = [0.5, 0.5, 0.5]
    first = epoch_rows(positive, shares, 0, 0)
    assert np.array_equal(first, epoch_rows(positive, shares, 0, 0))
    assert not np.array_equal(first, epoch_rows(positive, shares, 1, 0))
    assert not np.array_equal(first, epoch_rows(positive, shares, 0, 1))
    places = [positive[epoch_rows(positive, shares, 0, e)].tolist() for e in range(3)]
    assert places[0] != places[1] != places[2]


def test_with_the_true_prevalence_an_epoch_takes_each_image_once():
    positive = np.arange(97) % 4 == 0
    for epoch in range(3):
        rows = epoch_rows(positive, [positive.mean()] * 3, 3, epoch)
        assert sorted(rows.tolist()) == list(range(97))


def test_processes_that_take_batches_in_turn_cover_the_epoch_once():
    positive = np.arange(64) % 4 == 0
    rows = epoch_rows(positive, [0.6], 0, 0).reshape(8, 8)
    taken = np.concatenate([rows[rank::2].ravel() for rank in range(2)])
    assert sorted(taken) == sorted(rows.ravel())
    assert all(4 <= positive[batch].sum() <= 6 for batch in rows)


def test_too_few_shares_are_refused():
    with pytest.raises(
        UsageError, match=re.escape("2 shares of positives were given, and epoch 2")
    ):
        epoch_rows(np.array([True, False]), [0.5, 0.5], 0, 2)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    message = f"share of positives of epoch 1 is {share}; choose one from 0 to 1"
    with pytest.raises(UsageError, match=re.escape(message)):
        epoch_rows(np.array([True, False]), [0.5, share], 0, 1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([False] * 4, "epoch 0 wants 2 positive images of 4, and of the 4 images that train none"),
        ([True] * 4, "epoch 0 wants 2 negative images of 4, and of the 4 images that train none"),
    ],
)
def test_a_kind_that_is_not_there_is_refused(labels, message):
    with pytest.raises(DataError, match=message):
        epoch_rows(np.array(labels), [0.5], 0, 0)
    assert sorted(epoch_rows(np.array(labels), [float(labels[0])], 0, 0)) == [0, 1, 2, 3]
