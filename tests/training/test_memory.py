import pytest
import torch

from pleura.errors import UsageError
from pleura.training import memory
from pleura.training.memory import largest_batch, memory_errors_as_usage

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def until(limit, error):
    tried = []

    def try_batch(batch):
        tried.append(batch)
        if batch > limit:
            raise error

    return try_batch, tried


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("not enough memory: you tried")],
)
def test_batches_double_until_one_does_not_fit(error):
    try_batch, tried = until(12, error)
    assert largest_batch(try_batch, 1000, GPU) == 8
    assert tried == [1, 2, 4, 8, 16]


def test_no_more_than_there_is_use_for():
    try_batch, _ = until(10_000, MemoryError())
    assert largest_batch(try_batch, 5, GPU) == 4
    assert largest_batch(try_batch, 10_000, GPU) == memory.MOST


def test_on_a_cpu_the_growth_of_the_peak_decides(monkeypatch):
    peaks = iter([100, 110, 120, 140, 180, 260])
    monkeypatch.setattr(memory, "_peak_bytes", lambda: next(peaks))
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: type("M", (), {"available": 120}))
    try_batch, tried = until(10_000, MemoryError())
    # After 4 the peak has grown by 40: as much again twice fits into 0.7 * 120 bytes; after 8 not.
    assert largest_batch(try_batch, 1000, CPU) == 8
    assert tried == [1, 2, 4, 8]


def test_not_even_one_image():
    try_batch, _ = until(0, torch.OutOfMemoryError("CUDA out of memory"))
    message = (
        r"train.batch is 1: a step with 1 images does not fit into the memory of cuda; set it "
        "lower and train.accumulate higher, or train.batch=auto"
    )
    with pytest.raises(UsageError, match=message):
        largest_batch(try_batch, 8, GPU)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes differ"), memory_errors_as_usage(4, 64, CPU):
        raise RuntimeError("shapes differ")
    with (
        pytest.raises(UsageError, match="a step with 4 images of 64 x 64 pixels does not fit"),
        memory_errors_as_usage(4, 64, CPU),
    ):
        raise MemoryError
