import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.config import Train
from pleura.training.schedule import PLATEAU_EPOCHS, is_over, plateau_factor, rate_factor, size_of


@pytest.mark.parametrize("name", ["cosine", "onecycle", "plateau"])
@given(steps=st.integers(1, 200), warmup=st.floats(0, 0.9))
def test_a_rate_rises_to_the_peak_and_never_again(name, steps, warmup):
    rates = [rate_factor(name, step, steps, warmup) for step in range(steps)]
    assert all(0 <= rate <= 1 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_the_shapes_of_the_schedules():
    cosine = [rate_factor("cosine", step, 100, 0.1) for step in range(100)]
    assert cosine[9] == 1.0
    assert cosine[0] == pytest.approx(0.1)
    assert cosine[55] == pytest.approx(0.5)
    assert cosine[-1] < 0.01
    cycle = [rate_factor("onecycle", step, 100, 0.3) for step in range(100)]
    assert cycle[0] == pytest.approx(1 / 25)
    assert cycle[30] == 1.0
    assert cycle[-1] == pytest.approx(1 / 10_000)
    assert [rate_factor("plateau", step, 100, 0.1) for step in (0, 9, 50, 99)] == [0.1, 1, 1, 1]


def test_a_plateau_halves_the_rate_each_time():
    better, same = [0.1, 0.2, 0.3], [0.3] * PLATEAU_EPOCHS
    assert plateau_factor([]) == 1
    assert plateau_factor(better) == 1
    assert plateau_factor([*better, *same[1:]]) == 1
    assert plateau_factor([*better, *same]) == 0.5
    assert plateau_factor([*better, *same, 0.4, *same]) == 0.25


def test_when_a_training_is_over():
    assert not is_over([], 3)
    assert not is_over([0.5, 0.1, 0.1, 0.1], 0)
    assert is_over([0.5, 0.1, 0.1, 0.5], 3)
    assert not is_over([0.5, 0.1, 0.1, 0.6], 3)
    assert not is_over([0.5, 0.1, 0.1], 3)


def test_sizes_grow_in_even_parts_and_the_last_gets_what_is_left_over():
    settings = Train(epochs=11, progressive_sizes=[384, 256])
    sizes = [size_of(settings, 512, epoch) for epoch in range(11)]
    assert sizes == [256] * 3 + [384] * 3 + [512] * 5
    assert size_of(Train(epochs=1, progressive_sizes=[256, 384]), 512, 0) == 512
    assert size_of(Train(), 512, 0) == 512
