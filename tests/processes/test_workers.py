import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.errors import PleuraError
from pleura.processes.workers import ahead, chunks, made_ahead, ordered_map
from tests.started_processes import running


def double(number):
    return 2 * number


def die(number):
    os._exit(1)


def fail(number):
    raise ValueError(f"no {number}")


@given(st.lists(st.integers()), st.integers(1, 7))
def test_chunks_are_a_partition_in_order(items, size):
    pieces = list(chunks(items, size))
    assert [item for piece in pieces for item in piece] == items
    assert all(len(piece) == size for piece in pieces[:-1])


def test_processes_keep_the_order():
    assert list(ordered_map(double, list(range(40)), workers=2)) == list(range(0, 80, 2))


def test_an_error_of_the_function_comes_through():
    with pytest.raises(ValueError, match="no 0"):
        list(ordered_map(fail, [0, 1], workers=2))


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path):
    code = (
        "import sys\nfrom pleura.processes.workers import ordered_map\n"
        "from tests.started_processes import leave_number\n"
        "list(ordered_map(leave_number, 10_000 * [sys.argv[1]], 2))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) as parent:
        while len(list(tmp_path.iterdir())) < 2:
            assert parent.poll() is None
            time.sleep(0.05)
        parent.kill()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    deadline = time.monotonic() + 60
    while any(map(running, workers)):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.05)


def test_a_killed_worker_is_said_so():
    with pytest.raises(PleuraError, match="a worker process was killed, most likely because mem"):
        list(ordered_map(die, [0, 1, 2], workers=2))


def test_the_next_item_is_made_while_one_is_used():
    second = threading.Event()

    def items():
        yield 1
        second.set()
        yield 2
        raise PleuraError("no more")

    beside = made_ahead(items())
    assert next(beside) == 1
    assert second.wait(10)
    assert next(beside) == 2
    with pytest.raises(PleuraError, match="no more"):
        next(beside)
    assert list(made_ahead([])) == []


def test_of_several_ahead_the_weights_are_bounded():
    begun = []

    def submit(item):
        begun.append(item)
        done = Future()
        done.set_result(item)
        return done

    for items, depth, expected in [
        ([1, 1, 1, 1, 1], 3, [4, 5, 5, 5, 5]),
        ([9, 1, 1, 9, 1], 3, [3, 3, 4, 5, 5]),  # what is too heavy for all goes alone
        ([5, 5, 1, 1, 1], 9, [4, 5, 5, 5, 5]),
    ]:
        begun.clear()
        found = [(item, len(begun)) for item in ahead(submit, items, depth, int, 7)]
        assert found == list(zip(items, expected, strict=True))
