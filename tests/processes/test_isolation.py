import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from pleura.errors import LimitError, PleuraError
from pleura.processes.isolation import MAX_REPLY_BYTES, Isolated, Limits
from tests.started_processes import running

WORK = "tests.processes.isolated_work:handle"


@pytest.fixture(scope="module")
def quick():
    """One child that may take a second and 256 MiB."""
    with Isolated(WORK, 1, Limits(seconds=1.0, memory_mib=256), "--max-s") as pool:
        yield pool


def ask(pool, what, value=""):
    return pool.call((what, value), "x.dcm")


def test_an_answer_has_fields_and_bytes(quick):
    reply = ask(quick, "echo", "héllo")
    assert reply.fields["value"] == "héllo"
    assert reply.fields["pid"] != os.getpid()
    assert bytes(reply.blob) == "héllo".encode()


def test_a_child_stays_for_the_next_request(quick):
    assert ask(quick, "echo").fields["pid"] == ask(quick, "echo").fields["pid"]


def test_a_request_can_go_to_the_child_that_worked_before():
    with Isolated(WORK, 2, Limits(seconds=60.0)) as pool, ThreadPoolExecutor(6) as threads:
        pids = {number: pool.call(("echo", ""), "x.dcm", number).fields["pid"] for number in (0, 1)}
        wanted = [None, 0, 1, 1, 0, None, 0, 0] * 4
        replies = threads.map(lambda child: pool.call(("echo", ""), "x.dcm", child), wanted)
        for child, reply in zip(wanted, replies, strict=True):
            assert child in (None, reply.by)
            assert reply.fields["pid"] == pids[reply.by]
    assert pids[0] != pids[1]


@pytest.mark.parametrize("what", ["sleep", "spin"])
def test_time_is_limited_and_the_next_file_goes_on(quick, what):
    before = ask(quick, "echo").fields["pid"]
    begun = time.monotonic()
    message = (
        "x.dcm: took more than 1 seconds and was given up; if it is sound, allow more with --max-s"
    )
    with pytest.raises(LimitError, match=message):
        ask(quick, what, 60)
    assert time.monotonic() - begun < 20
    assert ask(quick, "echo").fields["pid"] != before
    assert not psutil.pid_exists(before)


def test_memory_is_limited_beyond_what_the_program_needs(quick):
    assert ask(quick, "hog", 128 << 20).fields["bytes"] == 128 << 20
    assert ask(quick, "hog", 1 << 30).fields == {"internal": "MemoryError"}
    assert ask(quick, "hog", 128 << 20).fields["bytes"] == 128 << 20, "the same child goes on"


@pytest.mark.parametrize(
    ("what", "value", "reason"),
    [
        ("segfault", "", r"the process that read it crashed \(SIGSEGV\)"),
        ("kill", "", "the process that read it was killed, most likely because the machine's mem"),
        ("exit", 7, "the process that read it ended with 7 and no answer"),
        ("long", MAX_REPLY_BYTES, "the process that read it answered nonsense"),
    ],
)
def test_a_child_that_dies_costs_one_file(quick, what, value, reason):
    with pytest.raises(LimitError, match=rf"^x.dcm: {reason}.*; export it again, or leave it out"):
        ask(quick, what, value)
    assert ask(quick, "echo", "next").fields["value"] == "next"


def test_a_file_is_not_blamed_for_what_the_one_before_did(quick, tmp_path):
    assert ask(quick, "segfault once", str(tmp_path / "mark")).fields == {"done": "segfault once"}


def test_an_error_of_the_work_comes_back_without_its_words(quick):
    assert ask(quick, "raise", "Jane").fields == {"internal": "ValueError"}


def test_a_child_dumps_no_core_and_leaves_ctrl_c_to_its_parent(quick):
    found = ask(quick, "limits").fields
    assert found["core"] == 0
    assert found["blocked"] & 1 << (signal.SIGINT - 1)


def test_children_work_side_by_side():
    with Isolated(WORK, 2, Limits(seconds=60)) as pool:
        pids = set()

        def work():
            pids.add(ask(pool, "sleep", 0.3).fields["pid"])

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(pids) == 2


def test_an_interrupt_ends_what_runs_and_later_calls_go_on():
    with Isolated(WORK, 1, Limits(seconds=60)) as pool:
        ask(pool, "echo")
        raised = []

        def work():
            try:
                ask(pool, "sleep", 60)
            except PleuraError as error:
                raised.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.2)
        pool.interrupt()
        thread.join(timeout=20)
        assert raised == ["x.dcm: was not finished, for the work was interrupted"]
        assert ask(pool, "echo", "again").fields["value"] == "again"


def test_no_child_outlives_the_block():
    before = psutil.Process().children()
    with Isolated(WORK, 2, Limits()) as pool:
        pid = ask(pool, "echo").fields["pid"]
    assert not psutil.pid_exists(pid)
    assert psutil.Process().children() == before


def test_a_child_that_cannot_start_is_said_so():
    with Isolated("tests.data.no_such_module:handle", 1, Limits()) as pool:
        message = r"a reading process did not start \(exit status 1\); PLEURA_DEBUG=1 shows why"
        with pytest.raises(PleuraError, match=message):
            ask(pool, "echo")


ORPHAN = """
import os, sys
from pleura.processes.isolation import Isolated, Limits
pool = Isolated("tests.processes.isolated_work:handle", 1, Limits(seconds=1))
print(pool.call(("echo", ""), "x").fields["pid"], flush=True)
{then}
"""


@pytest.mark.parametrize("then", ["", 'pool.call(("spin", ""), "x")'])
def test_a_child_ends_when_its_parent_is_killed(then):
    """Also one that is busy in C: it has a timer of its own."""
    code = ORPHAN.format(then=then or "import time; time.sleep(60)")
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    time.sleep(0.2)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 30
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(pid)
