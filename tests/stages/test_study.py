"""The study of a search, and files that are none, or are damaged."""

import contextlib
import os
import shutil
import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import optuna
import pytest

from pleura.config import Range, Tune
from pleura.errors import DataError, OutputError
from pleura.stages.study import Study
from tests.damage import damaged, refusals, trials
from tests.full_disks import small_disk

WANTED = Tune(
    trials=1000,
    space={
        "train.loss": ["bce", "bce_dice"],
        "train.learning_rate": Range(1e-3, 1e-2, log=True),
        "network.width": Range(2, 8),
    },
)
ANEW = "choose another `out`, or remove it to search anew"


def searched(out, count=3):
    study = Study(out, WANTED)
    for number in range(count):
        attempt = study.begin()
        attempt.is_hopeless(0.1 * number, 1)
        attempt.finish(0.2 * number)
    return study.trials


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    searched(folder)
    return folder / "study.db"


@pytest.fixture
def path(whole, tmp_path):
    return shutil.copy(whole, tmp_path / "study.db")


def test_a_study_is_opened_again_in_any_folder(tmp_path):
    folder = tmp_path / "a?b#c%20d"
    folder.mkdir()
    made = searched(folder)
    assert {path.name for path in folder.iterdir() if path.is_file()} == {"study.db"}
    study = Study(folder, WANTED)
    assert study.trials == made
    assert study.best == made[-1].settings
    assert made[-1].settings.keys() == WANTED.space.keys()


def test_a_trial_that_was_cut_off_before_it_had_all_its_settings(path):
    study = optuna.load_study(study_name="pleura", storage=f"sqlite:///{path}")
    study.ask().suggest_int("network.width", 2, 8)
    attempt = Study(path.parent, WANTED).begin()
    assert attempt.number == 3
    assert attempt.settings.keys() == WANTED.space.keys()
    attempt.give_up(failed=True)
    assert Study(path.parent, WANTED).trials[3].state == "fail"


def test_a_trial_that_was_cut_off_after_it_had_told_of_an_epoch(tmp_path):
    with Study(tmp_path, WANTED).begin() as attempt:
        attempt.is_hopeless(0.5, 1)
    again = Study(tmp_path, WANTED).begin()
    assert (again.number, again.settings) == (0, attempt.settings)
    assert not again.is_hopeless(0.5, 1)


def test_processes_that_share_a_database_try_no_setting_twice(tmp_path):
    """A thread is as good as a process here, as each has its own locks."""
    share = (tmp_path / "out", replace(WANTED, trials=2), f"sqlite:///{tmp_path / 'base.db'}")
    with ThreadPoolExecutor(1) as other:
        first = Study(*share).begin()
        theirs = other.submit(Study, *share).result()
        with other.submit(theirs.begin).result() as second:
            assert (first.number, second.number) == (0, 1)
            second.finish(0.5)
            assert other.submit(theirs.begin).result() is None
            first.__exit__()  # as the system does, when its process dies
            third = other.submit(theirs.begin).result()
        assert (third.number, third.settings) == (0, first.settings)
        third.finish(0.5)
        assert Study(*share).begin() is None


def test_an_empty_file_is_a_study_that_was_just_begun(tmp_path):
    (tmp_path / "study.db").touch()
    assert len(searched(tmp_path, 1)) == 1


def test_a_database_of_another_program_is_left_as_it_is(tmp_path):
    path = tmp_path / "study.db"
    with contextlib.closing(sqlite3.connect(path)) as opened:
        opened.execute("CREATE TABLE studies (study_name TEXT)")
        opened.commit()
    content = path.read_bytes()
    with pytest.raises(DataError) as caught:
        Study(tmp_path, WANTED)
    assert str(caught.value) == f"{path}: is a database of another program than pleura tune; {ANEW}"
    assert path.read_bytes() == content


def test_a_study_of_another_program_is_left_as_it_is(tmp_path):
    path = tmp_path / "study.db"
    optuna.create_study(study_name="theirs", storage=f"sqlite:///{path}")
    content = path.read_bytes()
    with pytest.raises(DataError, match="a database of another program than pleura tune; choose"):
        Study(tmp_path, WANTED)
    assert path.read_bytes() == content


def test_a_study_of_another_optuna(path):
    for statement, why in [
        ("UPDATE alembic_version SET version_num = 'v9'", r"\(The runtime optuna version .+\): it"),
        ("UPDATE studies SET study_name = 'pleura' || x'00'", "another program"),
        ("UPDATE trial_params SET distribution_json = '{'", "another version of Optuna"),
        ("UPDATE trials SET state = 'NONE'", "another version of Optuna"),
    ]:
        copy = shutil.copy(path, path.parent / "copy.db")
        with contextlib.closing(sqlite3.connect(path)) as opened:
            opened.execute(statement)
            opened.commit()
        with pytest.raises(DataError, match=why) as caught:
            _ = Study(path.parent, WANTED).trials
        assert str(caught.value).isprintable()
        assert str(caught.value).endswith(ANEW)
        shutil.copy(copy, path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"trials: 3\n" * 300, "is no SQLite database, as a study is"),
        (b"SQLite format 3\0", r"cannot be used \(file is not a database\): it is damaged"),
        (b"SQLite format 3\0" + bytes(4096), r"cannot be used \(.+\): it is damaged"),
    ],
)
def test_what_is_no_study(tmp_path, content, why):
    (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(DataError, match=why) as caught:
        Study(tmp_path, WANTED)
    assert str(caught.value).startswith(f"{tmp_path / 'study.db'}: ")
    assert str(caught.value).endswith(ANEW)


def test_what_is_no_file(tmp_path):
    path = tmp_path / "study.db"
    path.mkdir()
    with pytest.raises(DataError, match=r"study.db: is a folder; name a regular file"):
        Study(tmp_path, WANTED)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"study.db: is a pipe; name a regular file"):
        Study(tmp_path, WANTED)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))
        with pytest.raises(DataError, match=r"study.db: could not be read \(No such device"):
            Study(tmp_path, WANTED)


def test_a_study_that_another_program_holds(path):
    with contextlib.closing(sqlite3.connect(path)) as opened:
        opened.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OutputError) as caught:
            Study(path.parent, WANTED)
    assert str(caught.value) == (
        f"{path}: could not be written (database is locked); what is finished is kept: end the "
        "program that holds it and run it again"
    )


@pytest.mark.slow
def test_a_full_disk(whole, tmp_path):
    """Whenever the disk is full, one sentence says so; with space, the study goes on."""
    message = r"^/.*/study.db: could not be written \((database or disk is full|disk I/O error)\); "
    for free in (0, 24, 60, 90, 110):
        with small_disk(tmp_path / "disk", 1024) as disk:
            left = 1024 - free - 4
            (disk / "other").write_bytes(bytes(left << 10))
            with pytest.raises(OutputError, match=message) as caught:
                searched(disk, 200)
            assert str(caught.value).endswith("kept: free some space and run it again")
            (disk / "other").unlink()
            before = len(Study(disk, WANTED).trials)
            after = searched(disk, 3)
            assert len(after) >= max(3, before)


@pytest.mark.slow
def test_damage(whole, tmp_path):
    """Nothing seals the file, so of damage comes one sentence, or nothing at all."""
    content, count = whole.read_bytes(), 0
    for number, rng in enumerate(trials(15.0, 300)):
        out = tmp_path / f"{number}"
        out.mkdir()
        (out / "study.db").write_bytes(damaged(content, rng))
        with refusals() as told:
            searched(out, 1)
        count += bool(told)
    assert count
