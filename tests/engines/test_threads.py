import os
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from pleura.engines import threads
from pleura.engines.threads import OwnThreads, best_threads, busy_cores, fixed_threads, share_cores
from pleura.errors import UsageError


@pytest.mark.parametrize(
    ("cores", "busy", "expected"),
    [
        (1, 0.0, 1),
        (1, 1.0, 1),
        (2, 0.0, 2),
        (2, 0.3, 2),
        (2, 1.0, 1),  # one other busy process on two cores
        (2, 2.0, 1),
        (4, 1.0, 3),
        (16, 8.0, 8),
        (16, 16.0, 16),  # one thread of seventeen would be less than its share
    ],
)
def test_as_many_threads_as_cores_are_free(cores: int, busy: float, expected: int) -> None:
    assert best_threads(cores, busy) == expected


class Times(SimpleNamespace):
    def __iter__(self) -> Any:
        return iter((self.user, self.idle, self.iowait))


def test_what_others_keep_busy_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [
        [Times(user=0.0, idle=0.0, iowait=0.0)] * 3,
        [
            Times(user=1.0, idle=0.0, iowait=0.0),
            Times(user=0.25, idle=0.5, iowait=0.25),
            Times(user=9.0, idle=0.0, iowait=0.0),  # not ours
        ],
    ]
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: looks.pop(0))
    monkeypatch.setattr(threads, "_allowed", lambda: {0, 1})
    assert busy_cores(0.0) == (2, 1.25)


def test_a_number_that_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", str(before))
    threads._chosen.cache_clear()
    assert share_cores() == before
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "busy_cores", lambda: (2, 1.0))
    threads._chosen.cache_clear()
    try:
        assert share_cores() == 1
        assert torch.get_num_threads() == 1
        assert share_cores(before) == before  # what is asked for goes before what is free
        assert share_cores() == 1
    finally:
        threads._chosen.cache_clear()
        torch.set_num_threads(before)


def test_cores_are_those_this_process_may_use() -> None:
    assert threads._allowed() <= set(range(os.cpu_count() or 1))


@pytest.mark.parametrize(
    ("said", "wanted"), [("1", 1), ("1,2", 1), (" 1 ", 1), ("0", 0), ("", 0), ("x", 0)]
)
def test_what_the_environment_says_of_threads(
    monkeypatch: pytest.MonkeyPatch, said: str, wanted: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert fixed_threads() == wanted
    monkeypatch.setenv("OMP_NUM_THREADS", "9999")
    assert fixed_threads() == len(threads._allowed())


def test_threads_are_those_of_the_process_that_began_them() -> None:
    fresh, begun = OwnThreads(), OwnThreads()
    begun.begin()
    begun.begin()
    child = os.fork()
    if child == 0:  # pragma: no cover (the copy is not measured)
        status = 1
        try:
            fresh.begin()
            with pytest.raises(
                UsageError, match="a copy \\(a fork\\) that lacks its threads; call"
            ):
                begun.begin()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
