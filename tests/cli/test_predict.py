import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pleura.cli.app import execute
from pleura.inference import folder
from pleura.inference.folder import predict_files
from pleura.inference.predictor import load
from pleura.models.bundle import OperatingPoint, read_bundle, write_bundle
from tests.cli.interrupting import interrupt
from tests.dicom_files import make_dicom


@pytest.fixture(scope="module")
def tests(cohort):
    """The folder of the cohort's six test phantoms."""
    return cohort / "dicom-images-test"


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_gives_a_submission(tiny_model, tests, tmp_path, capsys):
    out = tmp_path / "out"
    assert execute(["predict", str(tiny_model), str(tests), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out / 'submission.csv'}\n"
    assert "predicting: 6 of 6 files" in said.err
    assert "6 files: " in said.err
    assert " 0 failed. Not for diagnosis." in said.err
    assert (out / "submission.csv").read_text().startswith("ImageId,EncodedPixels\n")
    ids = [row["ImageId"] for row in table(out / "submission.csv")]
    assert ids == [path.stem for path in sorted(tests.rglob("*.dcm"))]
    assert {path.name for path in out.iterdir()} == {"submission.csv", "predictions.csv"}


def test_files_globs_and_the_order_of_both(tiny_model, tests, tmp_path, capsys):
    one, *others = sorted(tests.rglob("*.dcm"))[::-1]
    inputs = [str(one), f"{tests}/*/*/*.dcm"]
    assert execute(["predict", str(tiny_model), *inputs, "--out", str(tmp_path), "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    assert [answer["path"] for answer in answers] == [str(one), *sorted(map(str, others))]


def test_json_says_everything(tiny_model, tests, tmp_path, capsys):
    assert execute(["predict", str(tiny_model), str(tests), "--out", str(tmp_path), "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["files"] == {
        "submission": str(tmp_path / "submission.csv"),
        "predictions": str(tmp_path / "predictions.csv"),
    }
    assert len(found["answers"]) == 6
    for answer, row in zip(found["answers"], table(tmp_path / "submission.csv"), strict=True):
        assert (answer["image_id"], answer["rle"]) == (row["ImageId"], row["EncodedPixels"])
        assert 0 <= answer["score"] <= 1
        assert (answer["rows"], answer["columns"]) == (128, 128)
        assert answer["error"] == ""


def test_a_bad_file_is_listed_and_3(tiny_model, tests, tmp_path, capsys):
    bad, good = tmp_path / "bad [x].dcm", next(tests.rglob("*.dcm"))
    bad.write_text("no DICOM")
    inputs = [str(bad), str(good), str(tmp_path / "none.dcm")]
    assert execute(["predict", str(tiny_model), *inputs, "--out", str(tmp_path / "o")]) == 3
    said = capsys.readouterr()
    assert f"failed {bad}: is not DICOM" in said.err
    assert "none.dcm: cannot be read (No such file or directory)" in said.err
    assert "3 files: " in said.err
    assert " 2 failed." in said.err
    rows = table(tmp_path / "o" / "predictions.csv")
    assert [bool(row["error"]) for row in rows] == [True, False, True]
    assert len(table(tmp_path / "o" / "submission.csv")) == 1


def test_overlays_and_names_by_file(tiny_model, tests, tmp_path):
    path = tmp_path / "mine.dcm"
    shutil.copy(next(tests.rglob("*.dcm")), path)
    command = ["predict", str(tiny_model), str(path), "--out", str(tmp_path), "--id", "stem"]
    assert execute([*command, "--overlays", "--batch", "1", "--precision", "fp32"]) == 0
    assert [row["ImageId"] for row in table(tmp_path / "submission.csv")] == ["mine"]
    assert (tmp_path / "overlays" / "mine.png").is_file()


def test_another_operating_point(tiny_model, tests, tmp_path):
    bundle = read_bundle(tiny_model)
    presets = {"sensitive": OperatingPoint(score=0, mask=0), "specific": OperatingPoint(1, 1)}
    model = tmp_path / "m.h5"
    write_bundle(replace(bundle, presets=presets), model)
    called = {}
    for at in ("default", "sensitive", "specific"):
        out = tmp_path / at
        assert execute(["predict", str(model), str(tests), "--out", str(out), "--at", at]) == 0
        rows = table(out / "submission.csv")
        called[at] = sum(row["EncodedPixels"] != "-1" for row in rows)
    assert (called["specific"], called["sensitive"]) == (0, 6)
    assert 0 < called["default"] < 6


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--id", "name"], 2, "--id name: take uid or stem"),
        (["--precision", "fp8"], 2, "--precision fp8: take auto, fp32 or bf16"),
        (["--at", "rule"], 2, "holds no operating point rule; it has default"),
        (["--device", "gpu"], 2, "--device gpu: is not a device; take cpu, cuda or cuda:0"),
        (["--device", "cuda:99"], 2, "--device cuda:99: torch sees "),
    ],
)
def test_wrong_options(tiny_model, tests, tmp_path, arguments, status, message, capsys):
    out = tmp_path / "o"
    assert (
        execute(["predict", str(tiny_model), str(tests), "--out", str(out), *arguments]) == status
    )
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not out.exists()


def test_bad_places(tiny_model, tests, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    for model, source, out, message in [
        ("none.h5", tests, "o", "none.h5: there is no such file; train a model with pleura train"),
        (tmp_path / "file", tests, "o", "file: cannot be read as a model.h5"),
        (tiny_model, tmp_path / "empty", "o", "empty: holds no DICOM file; name a file"),
        (tiny_model, tests, tmp_path / "file", "file: results could not be written"),
    ]:
        command = ["predict", str(model), str(source), "--out", str(tmp_path / out)]
        assert execute(command) == 1
        said = capsys.readouterr()
        assert message in said.err
        assert said.err.count("\n") == 1
        assert said.out == ""


def test_ctrl_c_and_once_more(tiny_model, tmp_path, monkeypatch, capsys):
    films, out = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        pixels = rng.integers(256, size=(48, 64), dtype=np.uint8)
        (films / f"{number}.dcm").write_bytes(make_dicom(pixels, SOPInstanceUID=f"1.2.{number}"))
    journal = out / ".predictions.journal"
    command = ["predict", tiny_model, films, "--out", out, "--batch", "1", "--precision", "fp32"]
    ended = interrupt(
        command,
        lambda: journal.exists() and len(journal.read_text().splitlines()) >= 3,
        slowed="pleura.inference.predictor:Predictor._run",
        seconds=0.4,
    )
    assert ended.status == 130
    assert ended.out == ""
    assert ended.err == "pleura: interrupted; what was finished is kept\n"
    assert not (out / "submission.csv").exists()
    finished = len(journal.read_text().splitlines()) - 1
    added, real = [], folder._Journal.add
    monkeypatch.setattr(
        folder._Journal, "add", lambda self, *one: (added.append(one), real(self, *one))[1]
    )
    assert execute([*map(str, command), "--json"]) == 0
    assert len(added) == 8 - finished
    found = json.loads(capsys.readouterr().out)["answers"]
    paths = sorted(films.iterdir())
    whole = predict_files(load(tiny_model, precision="fp32"), paths, tmp_path / "whole", batch=1)
    assert [{**one, "seconds": 0} for one in found] == [
        {name: getattr(replace(answer, seconds=0), name) for name in answer.__slots__}
        for answer in whole
    ]
