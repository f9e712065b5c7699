"""`pleura predict --out s3://...`: there lies what a folder would hold, whole, and once."""

import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import time

import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from pleura.cli.app import execute
from pleura.inference.job import Job
from pleura.remote.results_at import ResultsAt

OUT = "s3://films/out"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A cache folder of these tests' own; it keeps the converted network."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(kept, monkeypatch):
    """Where results are made that go to an address."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))
    yield kept / "pleura" / "results"
    shutil.rmtree(kept / "pleura" / "results", ignore_errors=True)


@pytest.fixture
def command(tiny_model, cohort):
    return ["predict", str(tiny_model), str(cohort / "dicom-images-test"), "--answer-flagged"]


def there(store, prefix="out/"):
    found = store.client.list_objects_v2(Bucket="films", Prefix=prefix).get("Contents", ())
    bring = store.client.get_object
    return {
        one["Key"].removeprefix(prefix): bring(Bucket="films", Key=one["Key"])["Body"].read()
        for one in found
    }


def here(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def without_moments(files):
    """Return files without what differs between two moments."""
    rows = list(csv.DictReader(io.StringIO(files["predictions.csv"].decode())))
    parquet = pq.read_table(io.BytesIO(files["predictions.parquet"])).drop_columns("seconds")
    told = [row | {"seconds": ""} for row in rows], parquet.to_pylist()
    more = {"predictions.csv": told, "predictions.parquet": "", "worklist.html": ""}
    return files | {name: value for name, value in more.items() if name in files}


@pytest.mark.slow
def test_what_lies_there_is_what_a_folder_holds(command, tmp_path, cache, capsys, store):
    more = ["--overlays", "--worklist"]
    assert execute([*command, *more, "--out", str(tmp_path / "here")]) == 0
    capsys.readouterr()
    store.way.refused[:] = ["500", "lost", "503"]
    assert execute([*command, *more, "--out", OUT + "/"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{OUT}/submission.csv\n"
    assert "putting results at s3://films/out: " in shown.err
    found = there(store)
    assert without_moments(found) == without_moments(here(tmp_path / "here"))
    assert not list(cache.iterdir())
    for secret in ("the-secret-key", "AKIATHEKEYID"):
        assert secret not in shown.out + shown.err
        assert not any(secret.encode() in content for content in found.values())
    assert execute([*command, "--out", OUT]) == 1
    assert f"{OUT}: holds predictions.csv already, and results at an address are written once" in (
        capsys.readouterr().err
    )
    assert there(store) == found


@pytest.mark.slow
def test_the_folders_of_several_jobs_are_one_data_set(command, store, cohort):
    films = sorted((cohort / "dicom-images-test").rglob("*.dcm"))
    for part, some in enumerate((films[:4], films[4:])):
        place = f"s3://films/all/part={part}"
        assert execute([*command[:2], *map(str, some), *command[3:], "--out", place]) == 0
    host = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    s3 = pyarrow.fs.S3FileSystem(endpoint_override=host, scheme="http")
    table = ds.dataset(
        "films/all", filesystem=s3, partitioning="hive", exclude_invalid_files=True
    ).to_table(columns=["image_id", "part"])
    assert sorted(table["part"].to_pylist()) == [0] * 4 + [1] * (len(films) - 4)
    assert len(set(table["image_id"].to_pylist())) == len(films)


def test_a_store_that_fails_costs_no_answer(command, cache, capsys, store, monkeypatch):
    real, answered = Job._kept, []
    monkeypatch.setattr(Job, "_kept", lambda *one: (answered.append(one), real(*one))[1])
    store.way.refused[:] = ["", *["403"] * 9]
    assert execute([*command, "--out", OUT]) == 1
    shown = capsys.readouterr().err
    assert "predictions.csv: may not be written: check what gives the right to" in shown
    assert list(there(store)) == [".pleura.lock"]
    store.way.refused.clear()
    assert execute([*command[:2], "x.dcm", "--out", OUT, "--work", str(cache / "other")]) == 1
    assert f"{OUT}: is in use by pleura predict (process {os.getpid()}, since" in (
        capsys.readouterr().err
    )
    asked = len(answered)
    assert execute([*command, "--out", OUT]) == 0
    assert len(answered) == asked
    assert sorted(there(store)) == ["predictions.csv", "predictions.parquet", "submission.csv"]


def test_where_no_results_are_put(command, tmp_path, monkeypatch, capsys, store):
    monkeypatch.chdir(tmp_path)
    for words, status, said in (
        (["--out", "here", "--work", "w"], 2, "--work: is for results at an address; leave it out"),
        (["--out", "s3://none/o"], 1, "s3://none/o/.pleura.lock: there is no such bucket; make it"),
        (["--out", "gs://b/o"], 1, "gs://b/o/.pleura.lock: what reads gs:// is not installed; pip"),
        (["--out", "https://me:pw@host/o?sig=5ec3e7"], 2, "--out https://host/o: results are writ"),
        (["--out", "hdfs://host/o"], 2, "a folder of this machine, or to s3://, gs://, az://; nam"),
        (["--out", "file://host/o"], 2, "file://host/o: names host as a machine, and only files"),
    ):
        assert execute([*command, *words]) == status
        shown = capsys.readouterr().err
        assert said in shown
        assert "5ec3e7" not in shown
    words = [*command[:2], "--watch", "in", "--out", OUT]
    assert execute(words) == 2
    assert (
        f"--out {OUT}: --watch has no end, so its results cannot be put" in capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())


def test_a_file_address_is_a_folder(command, tmp_path):
    assert execute([*command, "--out", f"file://{tmp_path}/a%20b"]) == 0
    assert (tmp_path / "a b" / "submission.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("on", [[], ["--on", "ray", "--cpus", "1"]])
def test_a_killed_job_goes_on(on, tiny_model, cohort, tmp_path, cache, store):
    data = str(cohort / "dicom-images-train")
    words = ["predict", str(tiny_model), data, "--answer-flagged", "--overlays", "--batch", "2"]
    assert execute([*words, "--out", str(tmp_path / "here")]) == 3  # some phantoms are faulty
    there_too = [sys.executable, "-m", "pleura", *words, *on, "--out", OUT]
    first = subprocess.Popen(there_too, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(3000):
        if len(list(cache.rglob("*.png"))) > 5:
            break
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert list(there(store)) == [".pleura.lock"]
    assert any(cache.rglob(".predictions.sqlite"))
    assert subprocess.run(there_too, capture_output=True, timeout=600).returncode == 3
    assert without_moments(there(store)) == without_moments(here(tmp_path / "here"))


@pytest.mark.slow
@pytest.mark.parametrize("on", [["--batch", "2"], ["--on", "ray", "--cpus", "1"]])
def test_a_machine_that_is_lost_costs_what_it_had_in_hand(
    on, command, tmp_path, cache, capsys, store, monkeypatch
):
    command += ["--overlays", "--worklist"]
    assert execute([*command, "--out", str(tmp_path / "here")]) == 0
    monkeypatch.setattr("pleura.cli.predict.PART_S", 0.0)
    parts, put_part = [], ResultsAt.put_part

    def put_three(results, job, rows):
        put_part(results, job, rows)
        parts.append(rows)
        if len(parts) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ResultsAt, "put_part", put_three)
        assert execute([*command, *on, "--out", OUT]) == 130
    shutil.rmtree(cache)
    found = there(store)
    assert sum(name.startswith(".rows/") for name in found) == 3
    assert sum(name.startswith("overlays/") for name in found) >= 3
    assert "submission.csv" not in found
    capsys.readouterr()
    assert execute([*command, *on, "--out", OUT]) == 1
    assert "remove s3://films/out/.pleura.lock" in capsys.readouterr().err
    store.client.delete_object(Bucket="films", Key="out/.pleura.lock")
    taken, take_rows = {}, Job.take_rows
    monkeypatch.setattr(
        Job, "take_rows", lambda job, rows: taken.update(rows) or take_rows(job, rows)
    )
    assert execute([*command, *on, "--out", OUT]) == 0
    assert taken == parts[0] | parts[1] | parts[2]
    assert without_moments(there(store)) == without_moments(here(tmp_path / "here"))
