"""Whole commands on a Ray cluster of this machine: what they write, and what is lost by kills."""

import contextlib
import csv
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pyarrow.parquet as pq
import pytest

from pleura.cli.app import execute
from pleura.inference.job import JobSettings
from pleura.inference.job_store import key_of, text_of
from pleura.inference.row import Row
from pleura.inference.tables import Provenance
from pleura.models.bundle import OperatingPoint
from pleura.stages import predict_on_ray
from pleura.stages.predict_on_ray import ClusterJob, Done, Told, _given_up, _put_in_place
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

    second = subprocess.run(on_ray, capture_output=True, text=True, timeout=600)
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
    for _ in range(6000):
        if len(kept_in(out, place)) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{count} rows did not come")


@slow
def test_a_cluster_that_is_lost_is_told_in_one_sentence(tiny_model, films, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    place, out = Path(tempfile.mkdtemp(prefix="head-")), tmp_path / "out"  # a short path
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--head", f"--port={port}"]
    ray += ["--num-cpus=2", "--include-dashboard=false", f"--temp-dir={place}"]
    subprocess.run(ray, check=True, capture_output=True, timeout=300)
    what = command("predict", tiny_model, films, "--answer-flagged", "--batch", "2", "--out", out)
    try:
        quiet = subprocess.PIPE
        first = subprocess.Popen(
            [*what, "--on", f"127.0.0.1:{port}", "--cpus", "1"], stderr=quiet, stdout=quiet
        )
        for _ in range(3000):
            workers = processes_with("ray::_Actor")
            if any(one.parent() in of(place) for one in workers):
                break  # one begins, so nothing is done yet
            time.sleep(0.1)
        for one in of(place):
            one.kill()
        _, said = first.communicate(timeout=300)
    finally:
        for one in of(place):
            one.kill()
        shutil.rmtree(place, ignore_errors=True)
    assert first.returncode == 1
    lines = [line for line in said.decode().splitlines() if line.startswith("pleura: error: ")]
    assert len(lines) == 1
    assert (
        "node of the cluster is gone, so nothing is heard of the cluster any more; beg" in lines[0]
    )
    assert b"Ray" not in said
    assert b"GCS" not in said
    assert subprocess.run(what, capture_output=True, timeout=600).returncode == 3
    here = tmp_path / "here"
    assert execute([*map(str, what[3:-1]), str(here)]) == 3
    assert told(here) == told(out)


def of(place):
    return processes_with(str(place))


def processes_with(text):
    """Return the processes that a text is in the command line of, but for this one."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if one.pid != os.getpid() and text in " ".join(one.cmdline()):
                found.append(one)
    return found


class Workers:
    """Workers that answer shards at once, and hand them back in other orders."""

    def __init__(self, seconds=1.0):
        self.sizes, self.seconds = [], seconds

    def __len__(self):
        return 3

    def close(self):
        pass

    def map(self, shards, given_up):
        upcoming = iter(shards)
        while some := list(itertools.islice(upcoming, 3)):
            for shard in reversed(some):
                self.sizes.append(len(shard))
                told = [
                    Told(source, key_of(source, stamp), text_of(Row(str(source), source.stem)))
                    for source, stamp in shard
                ]
                yield Done(told, self.seconds * len(shard))


def films_of(first, count):
    return {Path(f"/{number}.dcm"): None for number in range(first, first + count)}


@pytest.fixture
def answered(tmp_path):
    """Answers turns by given workers; returns the rows' paths."""
    point = OperatingPoint(0.5, 0.5, 0.0)
    predictor = SimpleNamespace(
        provenance=Provenance("m", "e", point, "p"), answer_flagged=False, bundle=None
    )
    settings = JobSettings(tmp_path / "o", "stem")

    def answer(turns, workers):
        with ClusterJob(predictor, settings, lambda files: workers) as job:
            rows = [row.path for row in job.answer_turns(turns)]
            assert job.done == len(job) == len(rows)
        return rows

    return answer


def test_rows_keep_the_order_of_all_turns_and_no_turn_waits_for_another(answered):
    workers, turns = Workers(), [films_of(0, 40), films_of(40, 1), films_of(41, 9)]
    assert answered(turns, workers) == list(map(str, films_of(0, 50)))
    assert max(workers.sizes) <= 7  # so that each of three workers has something to do
    assert workers.sizes != sorted(workers.sizes, reverse=True)
    # What is known is not asked again, and stands where it stood.
    again = Workers()
    wanted = [films_of(20, 5), films_of(50, 2), films_of(0, 3), films_of(0, 3)]
    expected = [*films_of(20, 5), *films_of(50, 2), *films_of(0, 3)]
    assert answered(wanted, again) == list(map(str, expected))
    assert sum(again.sizes) == 2
    assert answered([films_of(0, 3)], None) == list(map(str, films_of(0, 3)))
    assert answered([], None) == []


def test_a_shard_grows_until_it_takes_its_time(answered, monkeypatch):
    monkeypatch.setattr(predict_on_ray, "TURN", 2000)
    workers = Workers(seconds=0.05)
    assert len(answered([films_of(0, 2000), films_of(2000, 1999)], workers)) == 3999
    assert workers.sizes[:3] == [64, 64, 64]
    assert max(workers.sizes) == 400  # 20 seconds
    assert workers.sizes[-1] == 4
    assert len(workers.sizes) < 70


def test_a_folder_is_watched_by_one_machine(tmp_path, capsys):
    where = ["--watch", str(tmp_path), "--on", "ray", "--out", str(tmp_path / "o")]
    assert execute(["predict", *where]) == 2
    said = "--on ray: a folder is watched by one machine; leave out one of the two"
    assert said in capsys.readouterr().err


def test_a_file_over_which_workers_die_has_its_reason():
    ((source, key, row),) = _given_up((Path("x/a.dcm"), None)).told
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
