import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pleura.cli.app import execute
from pleura.inference.folder import predict_files
from pleura.inference.journal import Journal
from pleura.inference.predictor import load
from pleura.models import shipped
from pleura.models.bundle import OperatingPoint, current_versions, read_bundle, write_bundle
from tests.cli.interrupting import interrupt
from tests.dicom_files import make_dicom


@pytest.fixture(scope="module")
def tests(cohort):
    """The folder of the cohort's six test phantoms."""
    return cohort / "dicom-images-test"


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def json_lines(text):
    """Return the answers and the summary of what --json printed."""
    *answers, last = map(json.loads, text.splitlines())
    assert list(last) == ["summary"]
    return answers, last["summary"]


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
    names = {path.name for path in out.iterdir()}
    assert names == {"submission.csv", "predictions.csv", "predictions.parquet"}


def test_files_globs_and_the_order_of_both(tiny_model, tests, tmp_path, capsys):
    one, *others = sorted(tests.rglob("*.dcm"))[::-1]
    inputs = [str(one), f"{tests}/*/*/*.dcm"]
    assert execute(["predict", str(tiny_model), *inputs, "--out", str(tmp_path), "--json"]) == 0
    answers, _ = json_lines(capsys.readouterr().out)
    assert [answer["path"] for answer in answers] == [str(one), *sorted(map(str, others))]


@pytest.fixture
def comes_with_pleura(tiny_model, tmp_path, monkeypatch):
    """A package whose default model is the tiny one."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    shutil.copy(tiny_model, folder / "siim.h5")
    monkeypatch.setattr(shipped, "FOLDER", folder)


@pytest.mark.usefixtures("comes_with_pleura")
def test_without_a_model_the_one_that_comes_with_pleura_answers(
    tiny_model, tests, tmp_path, capsys
):
    film = str(next(tests.rglob("*.dcm")))
    answers = []
    for models in ([], ["siim"], [str(tiny_model)]):
        out = tmp_path / f"out{len(answers)}"
        assert execute(["predict", *models, film, "--out", str(out)]) == 0
        answers.append((out / "submission.csv").read_text())
        told = capsys.readouterr().err
        assert ("no model is named: siim, which comes with pleura" in told) == (not models)
        assert "research and education" in told or models
    assert len(set(answers)) == 1


@pytest.mark.usefixtures("comes_with_pleura")
def test_a_model_alone_is_nothing_to_predict(tmp_path, capsys):
    assert execute(["predict", "siim", "--out", str(tmp_path / "out")]) == 2
    assert "name what to predict" in capsys.readouterr().err


def test_json_says_everything(tiny_model, tests, tmp_path, capsys):
    assert execute(["predict", str(tiny_model), str(tests), "--out", str(tmp_path), "--json"]) == 0
    said = capsys.readouterr()
    answers, summary = json_lines(said.out)
    bundle = read_bundle(tiny_model)
    assert summary == {
        "files": 6,
        "positive": sum(answer["rle"] != "-1" for answer in answers),
        "negative": sum(answer["rle"] == "-1" for answer in answers),
        "failed": 0,
        "incomplete": 0,
        "flagged": sum(bool(answer["flags"]) for answer in answers),
        "model": bundle.digest,
        "engine": load(tiny_model).engine.name,
        "pleura": current_versions()["pleura"],
        "score_threshold": bundle.operating_point.score,
        "mask_threshold": bundle.operating_point.mask,
        "min_area": bundle.operating_point.min_area,
        "submission": str(tmp_path / "submission.csv"),
        "predictions": str(tmp_path / "predictions.csv"),
        "parquet": str(tmp_path / "predictions.parquet"),
    }
    assert len(answers) == 6
    for answer, row in zip(answers, table(tmp_path / "submission.csv"), strict=True):
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
        (["--batch", "0"], 2, "--batch 0: take a number from 1 on, or auto"),
        (["--batch", "many"], 2, "--batch many: take a number from 1 on, or auto"),
        (["--watch", "."], 2, "name what to predict: files, folders or globs, or --watch FOLDER"),
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
    (tmp_path / "model.h5").write_text("mine")
    for model, source, out, message in [
        ("none.h5", tests, "o", "none.h5: there is no such file; train a model with pleura train"),
        (tmp_path / "model.h5", tests, "o", "model.h5: cannot be read as a model.h5"),
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
    lines = [line for line in ended.err.split("\n") if not line.startswith("flagged ")]
    told, last, end = lines
    assert re.fullmatch("[0-9] of 8 files are done; the same command goes on with the others", told)
    assert (last, end) == ("pleura: interrupted; what was finished is kept", "")
    assert not (out / "submission.csv").exists()
    finished = len(journal.read_text().splitlines()) - 1
    added, real = [], Journal.add
    monkeypatch.setattr(
        Journal, "add", lambda self, *one, **more: (added.append(one), real(self, *one, **more))[1]
    )
    assert execute([*map(str, command), "--json"]) == 0
    assert len(added) == 8 - finished
    found, _ = json_lines(capsys.readouterr().out)
    paths = sorted(films.iterdir())
    whole = predict_files(load(tiny_model, precision="fp32"), paths, tmp_path / "whole", batch=1)
    assert [{**one, "seconds": 0} for one in found] == [
        {name: getattr(replace(answer, seconds=0), name) for name in answer.__slots__}
        for answer in whole
    ]


@pytest.mark.slow
def test_a_service_that_watches(tiny_model, tmp_path):
    """It takes what arrives, ends with its tables on Ctrl-C, and asks nothing twice."""
    films, out = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    command = ["predict", tiny_model, "--watch", films, "--out", out, "--workers", "1", "--json"]
    submission = out / "submission.csv"

    def put(number):
        pixels = np.full((32, 32), 10 * number, np.uint8)
        (films / f"{number}.dcm").write_bytes(make_dicom(pixels, SOPInstanceUID=f"1.2.{number}"))

    def ids():
        return [row["ImageId"] for row in table(submission)] if submission.exists() else []

    put(1)
    ended = interrupt(command, lambda: ids() == ["1.2.1"])
    answers, summary = json_lines(ended.out)
    assert ended.status == 0, ended.err
    assert [answer["image_id"] for answer in answers] == ["1.2.1"]
    assert f"watching {films}; Ctrl-C ends it" in ended.err
    put(2)
    ended = interrupt(command, lambda: ids() == ["1.2.1", "1.2.2"])
    answers, summary = json_lines(ended.out)
    assert [answer["image_id"] for answer in answers] == ["1.2.2"]
    assert summary["files"] == 1
    assert ids() == ["1.2.1", "1.2.2"]


def test_a_mirror_and_a_second_model(tiny_model, tests, tmp_path, capsys):
    command = ["predict", str(tiny_model), str(tests), "--precision", "fp32", "--json"]
    more = [[], ["--tta"], ["--ensemble", str(tiny_model)]]
    answers, summaries = [], []
    for number, arguments in enumerate(more):
        assert execute([*command, "--out", str(tmp_path / str(number)), *arguments]) == 0
        found, summary = json_lines(capsys.readouterr().out)
        answers.append([answer["score"] for answer in found])
        summaries.append((summary["model"], summary["engine"]))
    assert answers[1] != pytest.approx(answers[0], abs=1e-6)
    assert answers[2] == pytest.approx(answers[0], abs=1e-6), "a model averaged with itself"
    assert len(set(summaries)) == 3


def test_the_fastest_batch_changes_nothing(tiny_model, tests, tmp_path, capsys):
    command = ["predict", str(tiny_model), str(tests), "--precision", "fp32", "--out"]
    assert execute([*command, str(tmp_path / "a")]) == 0
    assert execute([*command, str(tmp_path / "b"), "--batch", "auto"]) == 0
    assert "batch: 1, the fastest here" in capsys.readouterr().err
    one, other = (table(tmp_path / name / "predictions.csv") for name in "ab")
    assert [row["area_px"] for row in one] == [row["area_px"] for row in other]


def test_what_is_no_chest_radiograph_is_answered_and_flagged(tiny_model, tmp_path, capsys):
    film = tmp_path / "noise.dcm"
    pixels = np.random.default_rng(0).integers(256, size=(96, 96), dtype=np.uint8)
    film.write_bytes(make_dicom(pixels))
    assert execute(["predict", str(tiny_model), str(film), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert f"flagged {film}: not like a frontal chest radiograph (other-picture)" in said
    assert " 0 failed, 1 flagged." in said
    (row,) = table(tmp_path / "out" / "predictions.csv")
    assert float(row["guard"]) >= 0.5
    assert row["flags"] == "other-picture"
    assert row["score"]


def test_pages_pictures_and_dicom_results_when_asked_for(tiny_model, tests, tmp_path):
    film = next(tests.rglob("*.dcm"))
    command = ["predict", str(tiny_model), str(film), "--out", str(tmp_path)]
    everything = ["--report", "--heatmaps", "--overlays", "--dicom", "sr, sc"]
    assert execute([*command, *everything]) == 0
    names = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert names >= {"report.html", "report", "heatmaps", "overlays", "dicom"}
    kinds = {path.name.split(".")[-2] for path in (tmp_path / "dicom").iterdir()}
    assert kinds == {"sr", "sc"}

    assert execute([*command, "--dicom", "all", "--deidentify"]) == 0
    assert (tmp_path / "dicom-deidentified").is_dir()
    assert not (tmp_path / ".deidentify.key").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dicom", "seg,pdf"], "--dicom seg,pdf: take any of seg,map,sr,gsps,sc, or all"),
        (["--deidentify"], "--deidentify: is for DICOM results; name them with --dicom all"),
    ],
)
def test_results_that_are_none(tiny_model, tests, tmp_path, options, message, capsys):
    command = ["predict", str(tiny_model), str(tests), "--out", str(tmp_path)]
    assert execute([*command, *options]) == 2
    assert message in capsys.readouterr().err
