import os
import subprocess
import sys

import psutil
import pytest

from pleura.storage.alive import place, runs_since


def test_a_place_is_the_same_all_the_time() -> None:
    assert place() == place()
    assert len(place()) == 8


def test_a_process_runs_since_it_began() -> None:
    assert runs_since(os.getpid(), 0.0)
    assert not runs_since(os.getpid(), 1e9), "one of this number that old has ended"


@pytest.mark.parametrize("number", [2**22 + 1, 2**31 - 1, 2**70])
def test_a_number_that_no_process_has(number: int) -> None:
    assert not runs_since(number, 0.0)


def test_one_that_ended_and_that_nobody_waited_for() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as child:
        psutil.Process(child.pid)
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        assert not runs_since(child.pid, 0.0)


def test_where_the_system_does_not_tell_it_is_taken_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(number: int) -> None:
        raise psutil.AccessDenied(number)

    monkeypatch.setattr(psutil, "Process", hidden)
    assert runs_since(os.getpid(), 0.0)
