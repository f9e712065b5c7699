import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pleura.errors import OutputError
from pleura.storage import lock
from pleura.storage.alive import place
from pleura.storage.lock import NAME, contents, locked_file, locked_folder

HOLDS = """
import sys
from pleura.storage.lock import locked_folder
with locked_folder(sys.argv[1], "train"):
    print("held", flush=True)
    sys.stdin.read()
"""


def elsewhere(function: Callable[[], Any]) -> Any:
    """Return what a function returns in another thread, which shares no lock with this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def take(folder: Path, verb: str = "prepare") -> None:
    with locked_folder(folder, verb):
        pass


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let file locks be as on a file system that has none."""

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)


@pytest.fixture(params=["the system's", "none"])
def both(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "none":
        request.getfixturevalue("no_locks")
    return request.param


def left(folder: Path, **changes: object) -> Path:
    """Leave a lock as a process does that was killed."""
    holder = {"verb": "train", "process": 2**22 + 1, "machine": "there", "place": place()}
    path = folder / NAME
    path.write_text(json.dumps({**holder, "since": time.time() - 100, **changes}))
    return path


@pytest.mark.usefixtures("both")
def test_who_comes_second_is_told_who_holds_it_and_the_folder_is_free_again(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with locked_folder(folder, "prepare"):
        with pytest.raises(OutputError) as caught:
            elsewhere(lambda: take(folder))
        assert contents(folder) == []
    assert re.fullmatch(
        rf"{folder}: is in use by pleura prepare \(process {os.getpid()}, since "
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\); wait until that has ended, or choose another place",
        str(caught.value),
    )
    assert list(folder.iterdir()) == []
    elsewhere(lambda: take(folder))


@pytest.mark.usefixtures("both")
def test_the_same_thread_may_hold_it_twice(tmp_path: Path) -> None:
    with locked_folder(tmp_path, "run"), locked_folder(f"{tmp_path}/.", "prepare"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_who_has_patience_holds_it_once_it_is_free(tmp_path: Path) -> None:
    def wait() -> None:
        with locked_folder(tmp_path, "tune", patience_s=60):
            pass

    with ThreadPoolExecutor(1) as other:
        with locked_folder(tmp_path, "prepare"):
            waiting = other.submit(wait)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
        waiting.result(timeout=60)


def test_it_is_let_go_after_an_error(tmp_path: Path) -> None:
    def fails() -> None:
        with locked_folder(tmp_path, "run"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    elsewhere(lambda: take(tmp_path))


@pytest.mark.usefixtures("both")
def test_a_file_is_held_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "folds.csv"
    with locked_file(path, "folds"):

        def again() -> None:
            with locked_file(path, "folds"):
                pass

        with pytest.raises(OutputError, match=r"folds\.csv: is in use by pleura folds \(process"):
            elsewhere(again)
        elsewhere(lambda: take(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_blocks_nobody(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match=rf"pleura train \(process {child.pid}, since"):
            take(tmp_path)
        child.send_signal(signal.SIGKILL)
    assert (tmp_path / NAME).exists()
    take(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize(
    "changes",
    [
        {},  # no such process
        {"process": os.getpid(), "since": 1e9},  # its number is ours by now
    ],
)
def test_what_a_dead_process_left_is_taken_over(tmp_path: Path, changes: dict[str, Any]) -> None:
    left(tmp_path, **changes)
    take(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_locks")
def test_without_locks_another_machine_is_believed(tmp_path: Path) -> None:
    path = left(tmp_path, machine="ward-3", place="00000000")
    with pytest.raises(OutputError) as caught:
        take(tmp_path)
    assert re.fullmatch(
        rf"{tmp_path}: is in use by pleura train \(process \d+ on ward-3, since [-0-9: ]+\); wait "
        r"until that has ended, or choose another place\. Whether it still runs cannot be seen "
        rf"from here, as this file system keeps no locks: if it has ended, remove {path}",
        str(caught.value),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "1" * 5000,
        "[" * 4000,
        json.dumps({"verb": "\x1b[31m", "process": 1, "machine": "m", "place": "p", "since": 1.0}),
        json.dumps({"verb": "run", "process": "1", "machine": "m", "place": "p", "since": 1.0}),
        json.dumps({"verb": "run", "process": 1, "machine": "m", "place": "p", "since": 1e99}),
    ],
)
def test_what_no_pleura_wrote_names_nobody(tmp_path: Path, no_locks: None, text: str) -> None:
    path = tmp_path / NAME
    path.write_text(text)
    with pytest.raises(OutputError, match="is in use by another pleura; wait until"):
        take(tmp_path)
    os.utime(path, (0, 0))  # no holder takes so long to write down who it is
    take(tmp_path)


@pytest.mark.parametrize("made", ["link", "pipe", "folder"])
def test_what_is_no_file_is_no_lock(tmp_path: Path, made: str) -> None:
    path, other = tmp_path / NAME, tmp_path / "other"
    if made == "link":
        other.write_text("mine")
        path.symlink_to(other)
        message = "could not be written"
    elif made == "pipe":
        os.mkfifo(path)
        message = "is no file; pleura keeps its lock there, so remove it"
    else:
        path.mkdir()
        message = "could not be written"
    with pytest.raises(OutputError, match=rf"{NAME}: {message}"):
        take(tmp_path)
    assert made != "link" or other.read_text() == "mine"


def test_where_nothing_can_be_written_nothing_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def read_only(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with locked_folder(tmp_path, "run"), locked_folder(tmp_path, "run"):
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lock.os, "write", full)
    take(tmp_path)  # the system's lock needs no name in it
    monkeypatch.setattr(fcntl, "flock", full)
    with pytest.raises(OutputError, match=r"\(No space left on device\); free some space"):
        take(tmp_path)


def test_of_many_at_once_one_holds_it(tmp_path: Path) -> None:
    inside, most, lost, guard = 0, 0, 0, threading.Lock()
    begin = threading.Barrier(8)

    def again_and_again() -> None:
        nonlocal inside, most, lost
        begin.wait()
        for _ in range(40):
            try:
                with locked_folder(tmp_path, "prepare"):
                    with guard:
                        inside += 1
                        most = max(most, inside)
                    time.sleep(0)
                    with guard:
                        inside -= 1
            except OutputError:
                lost += 1

    threads = [threading.Thread(target=again_and_again) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert lost > 0
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_had_begun_is_removed(tmp_path: Path) -> None:
    dead = f".a.txt.{place()}-{2**22 + 1}-7.partial"
    for folder in (tmp_path, tmp_path / "overlays", tmp_path / "mine"):
        folder.mkdir(exist_ok=True)
        (folder / dead).write_text("half")
    with locked_folder(tmp_path, "predict", products=["overlays", "absent"]):
        assert contents(tmp_path / "overlays") == []
        assert sorted(path.name for path in contents(tmp_path)) == ["mine", "overlays"]
    assert contents(tmp_path / "mine") == [tmp_path / "mine" / dead]
