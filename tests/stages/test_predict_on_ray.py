"""Whole commands on a Ray cluster of this machine: what they write, and what is lost by kills."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from pleura.cli.app import execute
from pleura.inference.row import Row
from pleura.stages.predict_on_ray import _given_up, _put_in_place
from tests.inference.made import kept_in

slow = pytest.mark.slow


def command(*words):
    """Return the command of a pleura in a process of its own."""
    return [sys.executable, "-m", "pleura", *map(str, words)]


@pytest.fixture
def films(cohort, tmp_path):
    """A folder of films with one that is torn, and one whose id another has."""
    place = tmp_path / "films"
    place.mkdir()
    for number, path in enumerate(sorted(cohort.rglob("*.dcm"))[:22]):
        shutil.copy(path, place / f"{number:02d}.dcm")
    shutil.copy(place / "01.dcm", place / "90.dcm")
    (place / "00.dcm").write_bytes((place / "00.dcm").read_bytes()[:-50])
    return place


def told(out):
    """Return a job's tables without the time that each answer took."""
    with (out / "predictions.csv").open(newline="") as file:
        rows = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    parquet = pq.read_table(out / "predictions.parquet").drop_columns("seconds").to_pylist()
    return rows, parquet, (out / "submission.csv").read_bytes()


def pictures(out):
    paths = [path for path in out.rglob("*") if path.suffix in (".png", ".js")]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


@slow
def test_the_results_are_those_of_one_machine_whoever_is_killed(tiny_model, films, tmp_path):
    what = ["predict", tiny_model, films, "--overlays", "--worklist", "--dicom", "sr,sc"]
    what += ["--answer-flagged", "--max-seconds", "30"]
    here, there = tmp_path / "here", tmp_path / "there"
    assert execute([*map(str, what), "--out", str(here)]) == 3
    on_ray = command(*what, "--out", there, "--on", "ray", "--cpus", "1", "--batch", "2")

    first = subprocess.Popen(on_ray, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await_rows(there, tmp_path, 2)
    actors = [
        one
        for one in psutil.Process(first.pid).children(recursive=True)
        if "_Actor" in " ".join(one.cmdline())
    ]
    assert len(actors) == 2
    actors[0].send_signal(signal.SIGKILL)
    await_rows(there, tmp_path, 8)
    first.kill()
    first.wait()
    kept = len(kept_in(there, tmp_path))
    assert 8 <= kept < len(list(films.iterdir()))

    second = subprocess.run(on_ray, capture_output=True, text=True, timeout=120)
    assert second.returncode == 3
    assert f"predicting: {len(list(films.iterdir()))} of" in second.stderr
    assert not [line for line in second.stderr.splitlines() if "ray" in line.lower()]
    assert told(there) == told(here)
    assert pictures(there) == pictures(here)
    names = [sorted(path.name for path in (out / "dicom").iterdir()) for out in (here, there)]
    assert names[0] == names[1]
    assert not (there / ".staged").exists()
    assert not (there / ".predictions.sqlite").exists()


def await_rows(out, place, count):
    for _ in range(1200):
        if len(kept_in(out, place)) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{count} rows did not come")


def test_a_folder_is_watched_by_one_machine(tmp_path, capsys):
    where = ["--watch", str(tmp_path), "--on", "ray", "--out", str(tmp_path / "o")]
    assert execute(["predict", *where]) == 2
    said = "--on ray: a folder is watched by one machine; leave out one of the two"
    assert said in capsys.readouterr().err


def test_a_file_over_which_workers_die_has_its_reason():
    ((source, key, row),) = _given_up((Path("x/a.dcm"), None))
    assert (source, key) == (Path("x/a.dcm"), "")
    assert "x/a.dcm: two processes that answered it died over it, most likely for memory" in row
    assert Row(str(source)).called is None


def test_what_was_staged_is_moved_whole(tmp_path):
    staged = tmp_path / ".staged" / "k"
    (staged / "overlays").mkdir(parents=True)
    (staged / "overlays" / "1.png").write_bytes(b"new")
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays" / "1.png").write_bytes(b"old")
    _put_in_place(staged, tmp_path)
    assert (tmp_path / "overlays" / "1.png").read_bytes() == b"new"
    assert os.listdir(staged / "overlays") == []  # noqa: PTH208
