import numpy as np
import pytest

from pleura.engines import batch_size as fastest
from pleura.engines.batch_size import fastest_batch


class Timed:
    """An engine whose time for a batch is a table; more images than `room` do not fit."""

    def __init__(self, monkeypatch, seconds, room=1000, error=None):
        self.now, self.seconds, self.room, self.error = 0.0, seconds, room, error
        self.tried = []
        monkeypatch.setattr(fastest.time, "perf_counter", lambda: self.now)

    def probabilities(self, pixels):
        self.tried.append(len(pixels))
        assert pixels.shape == (len(pixels), 64, 64)
        assert pixels.dtype == np.uint8
        if len(pixels) > self.room:
            raise self.error
        self.now += self.seconds(len(pixels))


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        (lambda n: 1.0 * n, 1),  # no batch is better than another: the smallest
        (lambda n: 1.0 + 0.1 * n, 32),
        (lambda n: 1.0 + n if n < 8 else 2.0 * n, 4),
        (lambda n: 0.98**n * n, 1),  # a gain that is not worth its memory
    ],
)
def test_the_least_time_per_image(monkeypatch, seconds, best):
    assert fastest_batch(Timed(monkeypatch, seconds), 64, 10_000) == best


def test_a_full_memory_ends_the_search(monkeypatch):
    for error in (RuntimeError("CUDA out of memory"), MemoryError()):
        engine = Timed(monkeypatch, lambda n: 1.0, room=8, error=error)
        assert fastest_batch(engine, 64, 10_000) == 8


def test_another_error_is_not_taken_for_it(monkeypatch):
    engine = Timed(monkeypatch, lambda n: 1.0, room=2, error=RuntimeError("no kernel"))
    with pytest.raises(RuntimeError, match="no kernel"):
        fastest_batch(engine, 64, 10_000)
    engine = Timed(monkeypatch, lambda n: 1.0, room=0, error=MemoryError())
    with pytest.raises(MemoryError):
        fastest_batch(engine, 64, 10_000)


@pytest.mark.parametrize(("files", "most"), [(0, 1), (7, 1), (16, 2), (70, 8)])
def test_few_files_are_worth_no_long_trial(monkeypatch, files, most):
    engine = Timed(monkeypatch, lambda n: 1.0)
    assert fastest_batch(engine, 64, files) == most
    assert max(engine.tried) == most
