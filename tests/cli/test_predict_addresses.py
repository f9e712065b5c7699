import csv
import tarfile
from pathlib import Path

import pytest

from pleura.cli.app import execute
from pleura.inference.job import Job
from tests.dicom_files import make_dicom
from tests.remote import pacs
from tests.remote.servers import serving


@pytest.fixture(scope="module")
def tests(cohort):
    """The folder of the six test phantoms."""
    return cohort / "dicom-images-test"


DIFFERING = ("path", "seconds", "notes")


def table(out):
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_places(out):
    """Return a job's table without what differs between two places and two moments."""
    rows = [
        row | {"error": row["error"].removeprefix(row["path"]).lstrip(": ")} for row in table(out)
    ]
    return [{name: row[name] for name in row if name not in DIFFERING} for row in rows]


def test_addresses_give_the_answers_of_files_to_the_byte(
    tiny_model, tests, tmp_path, monkeypatch, capsys, store
):
    files = sorted(tests.rglob("*.dcm"))
    torn = tmp_path / "torn.dcm"
    torn.write_bytes(files[0].read_bytes()[:-100])
    here = [*map(str, files), str(torn)]
    keys = [f"in/{Path(name).name}" for name in here]
    store.put({key: Path(name).read_bytes() for key, name in zip(keys, here, strict=True)})
    with tarfile.open(tmp_path / "films.tar", "w") as shard:
        for number, name in enumerate(here):  # what an archive holds is read in order of its names
            shard.add(name, f"{number}/{Path(name).name}")
    (tmp_path / "l.csv").write_text("\n".join(["url", *(f"s3://films/{key}" for key in keys)]))
    command = ["predict", str(tiny_model), "--overlays", "--worklist", "--answer-flagged"]
    assert execute([*command, *here, "--out", str(tmp_path / "here")]) == 3
    there = {
        "named": [f"s3://films/{key}" for key in keys],
        "listed": [str(tmp_path / "l.csv")],
        "packed": [str(tmp_path / "films.tar")],
    }
    for name, inputs in there.items():
        store.way.asked.clear()
        store.faults[:] = ["500", "503"]
        assert execute([*command, *inputs, "--out", str(tmp_path / name)]) == 3
        assert without_places(tmp_path / name) == without_places(tmp_path / "here")
        for path in (tmp_path / "here").rglob("*"):
            if path.suffix in (".png", ".js") or path.name == "submission.csv":
                other = tmp_path / name / path.relative_to(tmp_path / "here")
                assert other.read_bytes() == path.read_bytes()
        if name != "packed":
            gets = [store.way.gets(f"/films/{key}") for key in keys]
            assert sum(gets) == len(keys) + 2  # once each, but for what failed on the way
        shown = capsys.readouterr()
        assert "the-secret-key" not in shown.out + shown.err


def test_a_file_at_an_address_gets_its_reason(tiny_model, tests, tmp_path, capsys, store):
    film = next(tests.rglob("*.dcm")).read_bytes()
    store.put({"a.dcm": film})
    (tmp_path / "l.csv").write_text(f"url,md5\ns3://films/a.dcm,{32 * '0'}\ns3://films/none.dcm,\n")
    with serving(files={"/b.dcm": film}, faults=["403"]) as web:
        inputs = [str(tmp_path / "l.csv"), f"http://me:secret@{web.address}/b.dcm?key=5ec3e7"]
        assert execute(["predict", str(tiny_model), *inputs, "--out", str(tmp_path / "o")]) == 3
        url = f"{web.url}/b.dcm"
    shown = capsys.readouterr().err
    for said in (
        "failed s3://films/a.dcm: has the md5 digest ",
        "failed s3://films/none.dcm: there is no such object, or no such bucket",
        f"failed {url}: may not be read: check what gives the right to",
    ):
        assert said in shown
    written = b"".join(path.read_bytes() for path in (tmp_path / "o").rglob("*") if path.is_file())
    assert url.encode() in written
    for secret in ("5ec3e7", "me:secret", "the-secret-key", "AKIATHEKEYID"):
        assert secret.encode() not in written
        assert secret not in shown


def test_a_store_that_cannot_be_listed_stops_the_job(tiny_model, tmp_path, capsys, store):
    for address, said in [
        ("s3://none/x/", "s3://none/x/: there is no such object, or no such bucket"),
        ("ftp://host/x.dcm", "ftp://host/x.dcm: addresses of s3://, gs://, az://, http://"),
        ("gs://bucket/x/", "gs://bucket/x: what reads gs:// is not installed; pip install 'pl"),
    ]:
        status = execute(["predict", str(tiny_model), address, "--out", str(tmp_path / "o")])
        shown = capsys.readouterr().err
        assert status in (1, 2)
        assert said in shown
        assert "Traceback" not in shown


def test_a_job_on_addresses_goes_on_and_asks_again_what_changed(
    tiny_model, tests, tmp_path, monkeypatch, capsys, store
):
    films = [path.read_bytes() for path in sorted(tests.rglob("*.dcm"))]
    store.put({f"in/{number}.dcm": film for number, film in enumerate(films)})
    command = ["predict", str(tiny_model), "s3://films/in/", "--out", str(tmp_path / "o")]
    command += ["--answer-flagged", "--id", "stem"]
    real = Job.finish
    monkeypatch.setattr(Job, "finish", lambda job: (_ for _ in ()).throw(KeyboardInterrupt))
    assert execute(command) == 130
    monkeypatch.setattr(Job, "finish", real)
    store.put({"in/1.dcm": films[0]})
    store.way.asked.clear()
    assert execute(command) == 0
    assert [one for one in store.way.asked if one.endswith(".dcm")] == ["GET /films/in/1.dcm"]
    rows = table(tmp_path / "o")
    assert [row["path"] for row in rows] == [
        f"s3://films/in/{number}.dcm" for number in range(len(films))
    ]
    assert rows[0]["guard"] == rows[1]["guard"] != rows[2]["guard"]


def test_a_model_at_an_address_comes_first(tmp_path, capsys):
    words = ["predict", "x.dcm", "https://me:secret@host/m.h5?key=5", "--out", str(tmp_path / "o")]
    assert execute(words) == 2
    said = capsys.readouterr().err
    assert "https://host/m.h5: is a model, and comes after x.dcm; name the model first" in said


@pytest.mark.slow
def test_a_pacs_gives_the_answers_of_files_to_the_byte(tiny_model, tests, tmp_path, capsys):
    films = [path.read_bytes() for path in sorted(tests.rglob("*.dcm"))]
    report = make_dicom(StudyInstanceUID="1.2", SeriesInstanceUID="1.3", Modality="SR")
    command = ["predict", str(tiny_model), "--answer-flagged", "--overlays"]
    assert execute([*command, str(tests), "--out", str(tmp_path / "here")]) == 0
    with pacs.pacs(*films, report) as server:
        server.faults[:] = ["500", "503"]
        there = f"{pacs.address(server)}?StudyDate=20260101-&PatientName=Doe"
        assert execute([*command, there, "--out", str(tmp_path / "there")]) == 0
        files = [one for one in server.asked if "/instances/" in one]
        assert not server.faults
    assert len(files) == len(films)  # no other was fetched
    found = without_places(tmp_path / "there")
    assert sorted(found, key=str) == sorted(without_places(tmp_path / "here"), key=str)
    for path in tmp_path.glob("here/*/*.png"):
        other = tmp_path / "there" / path.relative_to(tmp_path / "here")
        assert other.read_bytes() == path.read_bytes()
    shown = capsys.readouterr()
    assert "1 other file: 1 .sr" in shown.err
    written = b"".join(path.read_bytes() for path in (tmp_path / "there").rglob("*.*"))
    for secret in ("the-password", "Doe"):
        assert secret not in shown.out + shown.err
        assert secret.encode() not in written
