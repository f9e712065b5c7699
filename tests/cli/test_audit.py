import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pleura.cli.app import execute
from tests.dicom_files import make_dicom

REQUIRED = {
    "files_train",
    "files_test",
    "rows",
    "images",
    "positive",
    "several_rows",
    "overlapping",
    "unlabelled",
    "rows_without_file",
    "duplicates",
    "unreadable",
}


def audited(arguments, capsys, status=0):
    """Return the JSON that an audit prints."""
    assert execute(["audit", *map(str, arguments), "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_the_cohort(cohort, capsys):
    found = audited([cohort], capsys)
    counts = found["counts"]
    assert counts.keys() >= REQUIRED
    assert counts["files_train"] == 38
    assert counts["files_test"] == 6
    assert counts["unlabelled"] == 1
    assert counts["duplicates"] == 2
    assert counts["unreadable"] == counts["rows_without_file"] == 0
    assert counts["images"] == counts["positive"] + counts["empty"] == 36
    assert counts["labelled"] == 35
    assert counts["patients"] > 1
    codes = {finding["code"] for finding in found["findings"]}
    assert {"duplicate-uid", "duplicate-pixels", "unlabelled"} <= codes
    for finding in found["findings"]:
        assert finding["severity"] in ("note", "warning", "error")
        assert finding["count"] > 0


def test_the_table_for_people(cohort, capsys):
    assert execute(["audit", str(cohort)]) == 0
    said = capsys.readouterr()
    for words in (
        "38 training and 6 test files; 35 labelled, 17 with a pneumothorax (48.6%)",
        "warning  unlabelled",
        "1 image has no usable annotation",
        "note     several-rows",
        "--out DIR writes a page",
    ):
        assert words in said.out
    assert "reading: 44 of 44 files" in said.err


def test_the_cleaned_tables(cohort, tmp_path, capsys):
    found = audited([cohort, "--out", tmp_path / "new"], capsys)
    assert json.loads((tmp_path / "new" / "findings.json").read_text()) == found
    assert not (tmp_path / "new" / ".audit.journal").exists()
    assert (tmp_path / "new" / "audit.html").stat().st_size > 10_000
    index = pl.read_parquet(tmp_path / "new" / "indices.parquet")
    masks = pl.read_parquet(tmp_path / "new" / "masks.parquet")
    assert index["image_id"].n_unique() == len(index) == 35 + 1 + 6
    assert len(masks) == found["counts"]["labelled"]
    assert (masks["encoded_pixels"] != "-1").sum() == found["counts"]["labelled_positive"]


@pytest.fixture
def faulty(tmp_path):
    """A folder with one good file, one torn, and one row too many."""
    data = tmp_path / "data"
    data.mkdir()
    pixels = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    whole = make_dicom(pixels, SOPInstanceUID="1.2.1")
    (data / "a.dcm").write_bytes(whole)
    (data / "torn.dcm").write_bytes(whole[:2000])
    (data / "train-rle.csv").write_text("ImageId,EncodedPixels\n1.2.1,5 20\n1.2.9,-1\n")
    return data


def test_unreadable_files_are_listed_and_3(faulty, tmp_path, capsys):
    found = audited([faulty, "--out", tmp_path / "out"], capsys, status=3)
    assert found["counts"]["unreadable"] == 1
    assert found["counts"]["rows_without_file"] == 1
    (torn,) = [item for item in found["findings"] if item["code"] == "truncated"]
    assert torn["severity"] == "error"
    assert torn["items"][0]["id"] == "torn.dcm"
    assert torn["items"][0]["note"].startswith("(7FE0,0010) at byte")
    assert (tmp_path / "out" / "masks.parquet").exists()
    assert execute(["audit", str(faulty)]) == 3
    assert "torn.dcm" in capsys.readouterr().out


def test_places_can_be_named(faulty, tmp_path, capsys):
    moved = tmp_path / "tables" / "mine.csv"
    moved.parent.mkdir()
    shutil.move(faulty / "train-rle.csv", moved)
    patients = tmp_path / "who.csv"
    patients.write_text("ImageId,patient\n1.2.1,7\n")
    found = audited(
        ["--images", faulty, "--annotations", moved, "--patients", patients], capsys, status=3
    )
    assert found["counts"]["labelled_positive"] == 1
    assert found["counts"]["patients"] == 1
    assert found["counts"]["files_test"] == 0


def test_a_table_alone_plain_and_gzipped(cohort, tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text("ImageId,EncodedPixels\na,-1\nb,5 20\nb,15 20\nc,5 20\nc,1000 20\n")
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(table.read_bytes()))
    found = audited(["--annotations", table], capsys)
    assert audited(["--annotations", packed], capsys) == {**found, "source": str(packed)}
    counts = found["counts"]
    assert counts["files_train"] is counts["unreadable"] is None
    assert (counts["rows"], counts["images"], counts["positive"], counts["empty"]) == (5, 3, 2, 1)
    assert (counts["several_rows"], counts["overlapping"]) == (2, 1)
    assert execute(["audit", "--annotations", str(table)]) == 0
    shown = capsys.readouterr().out
    assert "5 rows of 3 images; 3 labelled, 2 with a pneumothorax" in shown
    assert "files" not in shown


def test_the_other_run_length_form(tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text("ImageId,EncodedPixels\nb,1000 20 5 20\n")
    found = audited(["--annotations", table], capsys)
    assert found["counts"]["positive"] == 1
    table.write_text("ImageId,EncodedPixels\nb,1048570 5 1048576 1\n")
    assert execute(["audit", "--annotations", str(table)]) == 3
    shown = capsys.readouterr().out
    assert "error  absolute-form" in shown
    assert "--rle absolute" in shown
    assert audited(["--annotations", table, "--rle", "absolute"], capsys)["counts"]["positive"] == 1


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "name a data folder, or a table with --annotations"),
        (["--annotations", "t.csv", "--out", "o"], 2, "--out writes tables of a data folder"),
        (["nowhere"], 1, "nowhere: there is no such file or folder"),
        (["--annotations", "nowhere.csv"], 1, "nowhere.csv: could not be read"),
        (["--annotations", "t.csv", "--rle", "coco"], 2, "is not one of 'relative', 'absolute'"),
    ],
)
def test_what_cannot_be_audited(arguments, status, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("ImageId,EncodedPixels\na,-1\n")
    assert execute(["audit", *arguments]) == status
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize("content", [b"\x1f\x8bnot gzip", b"\xff\xfe,"])
@pytest.mark.parametrize("name", ["patients.csv", "patients.csv.gz"])
def test_a_bad_patient_map_is_one_line(faulty, name, content, capsys):
    (faulty / name).write_bytes(content)
    assert execute(["audit", str(faulty)]) == 1
    said = capsys.readouterr().err
    assert name in said
    assert "internal error" not in said


@pytest.mark.parametrize("content", ["", "ImageId\n", "name,room\nDoe,7\n"])
def test_a_table_that_is_no_patient_map_is_passed_over_and_named(faulty, content, capsys):
    (faulty / "patients.csv").write_text(content)
    found = {f["code"]: f for f in audited([faulty], capsys, status=3)["findings"]}
    assert found["foreign-table"]["items"][0]["id"] == "patients.csv"
    assert execute(["audit", str(faulty), "--patients", str(faulty / "patients.csv")]) == 1
    assert "a patient map needs the columns ImageId and patient" in capsys.readouterr().err


def test_a_torn_patient_map(faulty, capsys):
    packed = gzip.compress(b"ImageId,patient\n" + b"".join(b"%d,3\n" % n for n in range(5000)))
    damaged = packed[:2000] + bytes(50) + packed[2050:]
    (faulty / "patients.csv.gz").write_bytes(damaged)
    assert execute(["audit", str(faulty)]) == 1
    assert "internal error" not in capsys.readouterr().err


def test_a_folder_as_the_patient_map(faulty, capsys):
    assert execute(["audit", str(faulty), "--patients", str(faulty)]) == 1
    assert "internal error" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("severity", "status"), [("error", 0), ("warning", 3), ("note", 3), (None, 0)]
)
def test_a_pipeline_can_fail_on_a_severity(cohort, severity, status, capsys):
    wanted = ["--fail-on", severity] if severity else []
    found = audited([cohort, *wanted], capsys, status)
    assert {finding["severity"] for finding in found["findings"]} == {"warning", "note"}


def test_an_unknown_severity_is_wrong_usage(cohort, capsys):
    assert execute(["audit", str(cohort), "--fail-on", "worst"]) == 2
    assert "'worst' is not one of 'error', 'warning', 'note'" in capsys.readouterr().err


def test_what_changed_since_an_older_audit(faulty, tmp_path, capsys):
    old = tmp_path / "old"
    audited([faulty, "--out", old], capsys, status=3)
    compared = ["--compare", old / "findings.json"]
    assert execute(["audit", str(faulty), *map(str, compared)]) == 3
    assert f"Nothing changed since {old / 'findings.json'}." in capsys.readouterr().out
    (faulty / "torn.dcm").unlink()
    (faulty / "train-rle.csv").write_text("ImageId,EncodedPixels\n1.2.1,-1\n")
    changes = audited([faulty, *compared], capsys)["changes"]
    assert changes["other_label"] == [["1.2.1", "positive", "negative"]]
    (gone,) = [f for f in changes["findings"] if f["name"] == "truncated"]
    assert (gone["before"], gone["after"], gone["went"]) == (1, None, ["torn.dcm"])
    assert execute(["audit", str(faulty), *map(str, compared)]) == 0
    said = capsys.readouterr().out
    assert "files train: 2 -> 1" in said
    assert "1 image with another label: 1.2.1 (positive to negative)" in said


def test_something_else_cannot_be_compared_with(cohort, capsys):
    assert execute(["audit", str(cohort), "--compare", str(cohort / "patients.csv")]) == 1
    assert "cannot be read as a findings.json" in capsys.readouterr().err


def test_headers_alone(cohort, capsys):
    found = audited([cohort, "--headers"], capsys)
    codes = {finding["code"] for finding in found["findings"]}
    assert "duplicate-uid" in codes
    assert "duplicate-pixels" not in codes
    assert found["images"][0]["pixel_hash"] == ""


def test_the_schema(capsys):
    assert execute(["audit", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$id"] == "pleura.findings/1"


# ------------------------------------------------------------------ the real tables


@pytest.mark.slow
def test_stage_1_whole(real_data, capsys):
    table = real_data / "annotations" / "train-rle-stage1.csv.gz"
    counts = audited(["--annotations", table], capsys)["counts"]
    assert (counts["rows"], counts["images"], counts["positive"]) == (11_582, 10_675, 2_379)


@pytest.mark.slow
def test_stage_2_whole(real_data, capsys):
    table = real_data / "annotations" / "train-rle-stage2.csv.gz"
    counts = audited(["--annotations", table], capsys)["counts"]
    assert (counts["rows"], counts["images"]) == (12_954, 12_047)
    assert (counts["positive"], counts["empty"]) == (2_669, 9_378)
    assert (counts["several_rows"], counts["overlapping"]) == (624, 183)


def test_the_real_radiographs(real_data, capsys):
    counts = audited([real_data / "siim"], capsys)["counts"]
    assert (counts["images"], counts["positive"], counts["files_test"]) == (71, 39, 10)
    assert counts["unreadable"] == 0


def test_a_prepared_folder_is_compared_with_its_digests(small_prepared, tmp_path, capsys):
    folder = Path(shutil.copytree(small_prepared.path, tmp_path / "p"))
    assert execute(["audit", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out == (
        "35 training and 6 test images at 64 pixels; nothing changed since they were prepared\n"
    )
    assert execute(["audit", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unchanged"] is True
    assert execute(["audit", str(folder), "--out", str(tmp_path / "page")]) == 2
    assert "--out writes pages of a data folder; " in capsys.readouterr().err
    path = folder / "X_test.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert execute(["audit", str(folder)]) == 1
    assert "X_test.npy: row 5 changed since they were prepared" in capsys.readouterr().err
