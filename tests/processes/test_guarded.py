"""Work on strangers' files: what one of them does to its process costs no other."""

import errno
import os

import numpy as np
import pytest

from pleura.errors import DataError, LimitError, OutputError, PleuraError
from pleura.processes import guarded as module
from pleura.processes.guarded import guarded, guarded_list, guarded_map, guarded_picture
from pleura.processes.isolation import Limits
from pleura.storage import elsewhere
from pleura.storage.elsewhere import Elsewhere
from tests.processes import guarded_work as work


@pytest.fixture(autouse=True)
def little(monkeypatch):
    """Two seconds and 256 MiB for each file."""
    monkeypatch.setattr(module, "LIMITS", Limits(seconds=2.0, memory_mib=256))


REASONS = {
    "segfault": "the process that read it crashed (SIGSEGV); export it again, or leave it out",
    "sleep": "took more than 2 seconds and was given up; export it again",
    "hog": "needs more memory than a file may take; export it again, or leave it out",
    "exit": "the process that read it ended with 7 and no answer; export it again, or leave it out",
}


@pytest.mark.parametrize(("workers", "harmful"), [(1, [*REASONS]), (2, ["segfault"])])
def test_values_come_in_order_and_each_harmful_item_has_its_own_reason(
    workers, harmful, monkeypatch
):
    monkeypatch.setattr(module, "_WORTH_PROCESSES", 0)
    items = [f"{number}" for number in range(40)]
    for place, name in zip((3, 5, 20, 39), harmful, strict=False):
        items[place] = name
    told = []
    found = guarded_list(
        work.doubled, items, name=str, workers=workers, on_progress=lambda *now: told.append(now)
    )
    wanted = [f"{item}: {REASONS[item]}" if item in REASONS else 2 * item for item in items]
    assert [str(one) if isinstance(one, LimitError) else one for one in found] == wanted
    assert told == [(16, 40), (32, 40), (40, 40)]


def test_each_file_of_a_piece_has_the_whole_time():
    assert list(guarded_list(work.slowly_doubled, ["1", "2", "3"], name=str)) == ["11", "22", "33"]


def test_nothing_to_do():
    assert list(guarded_list(work.doubled, [], name=str)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_work_comes_back_as_it_is(workers):
    with pytest.raises(DataError, match=r"^a: no such thing$"):
        list(guarded_map(work.refused, ["a", "b"], name=str, workers=workers))
    with pytest.raises(OSError, match=r"No space left") as raised:
        guarded(work.full, "a", "a")
    assert raised.value.errno == errno.ENOSPC
    assert not isinstance(raised.value, PleuraError)


def test_a_reply_names_no_class_but_one_of_ours():
    with pytest.raises(PleuraError, match=r"^what$") as raised:
        guarded(work.names_a_class, "annotations", "a")
    assert type(raised.value) is PleuraError
    with pytest.raises(OutputError, match=r"^what$"):
        guarded(work.names_a_class, "OutputError", "a")


def test_an_unexpected_error_is_one_of_its_file():
    with pytest.raises(LimitError, match=r"^a: internal error \(ZeroDivisionError\); PLEURA_DEBUG"):
        guarded(work.divided, 0, "a")


def test_memory_that_a_refusal_hides_is_said():
    with pytest.raises(LimitError, match=r"^a: needs more memory than a file may take"):
        guarded(work.hides_memory, "a", "a")


def test_a_picture_comes_back():
    picture = guarded_picture(work.drawn, (3, 4, 3), "a")
    assert picture.dtype == np.uint8
    assert (picture == np.arange(36).reshape(3, 4, 3)).all()


def test_paths_are_meant_where_the_caller_is(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert guarded(work.where, "", "a").fields["folder"] == str(tmp_path / name)


def test_a_folder_that_was_removed_hinders_nothing(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert guarded(work.drawn_size, 3, "a").fields == {"size": 3}


def test_one_process_stays_and_is_nobody_elses():
    first = guarded(work.who, "", "a").fields["pid"]
    assert guarded(work.who, "", "a").fields["pid"] == first
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:  # a child that forks off talks to no process of its parent
        os.close(reading)
        os.write(writing, str(module._kept(os.getpid(), module.LIMITS) is None).encode())
        kept = module._kept(os.getpid(), module.LIMITS)
        os.write(
            writing, str(kept.call(module._Request(None, work.who, "", {}), "a").fields).encode()
        )
        kept.close()
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as told:
        assert str(first) not in told.read()


def test_stopping_early_waits_for_nobody():
    found = guarded_map(work.sleeps_after_the_first, [0, 30, 30, 30], name=str, workers=2)
    assert next(found)[0].fields == {"slept": 0}
    found.close()


def test_what_was_interrupted_is_not_taken_for_the_next_answer(monkeypatch):
    kept = module._kept(os.getpid(), module.LIMITS)
    guarded(work.who, "", "a")
    pipe = kept._children[0]._pipe

    class Interrupted:
        def poll(self, _):
            raise KeyboardInterrupt

        def __getattr__(self, name):
            return getattr(pipe, name)

    kept._children[0]._pipe = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        guarded(work.drawn_size, 3, "a")
    assert guarded(work.drawn_size, 4, "b").fields == {"size": 4}


def test_what_the_work_imports_is_not_held_against_a_file():
    """The first request imports a module that takes 300 MiB: more than a file may."""
    from tests.processes import heavy_work

    assert guarded(heavy_work.nothing, "a", "a").fields == {}


def test_what_lies_elsewhere_is_brought_a_bounded_part_at_a_time(monkeypatch):
    asked = []

    def bring(names):
        asked.append(list(names))
        return {name: b"12" if name == "s3://b/2" else "s3://b/1: is not there" for name in names}

    names = ["s3://b/1", "s3://b/2", "here"]
    for most, wanted in ((64, [names[:2]]), (3, [["s3://b/1"], ["s3://b/2"], []])):
        asked.clear()
        monkeypatch.setattr(module, "_MOST_BYTES", most)
        with elsewhere.at_hand(Elsewhere(dict.fromkeys(names[:2], (2, 0, 0, 0)), bring)):
            found = list(guarded_list(work.contents, names, name=str))
        assert found == ["s3://b/1: is not there", "12", "no file"]
        assert asked == wanted
