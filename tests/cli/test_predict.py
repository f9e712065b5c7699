import csv
import gzip
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from pleura.cli import console
from pleura.cli.app import execute
from pleura.dicom.radiograph import read_radiograph
from pleura.inference.job import JobSettings, predict_files
from pleura.inference.job_store import JobStore
from pleura.inference.predictor import load
from pleura.models import shipped
from pleura.models.bundle import OperatingPoint, current_versions, read_bundle, write_bundle
from pleura.printable import rounded
from pleura.synthesis.phantom import draw_phantom
from tests.cli.interrupting import interrupt
from tests.dicom_files import make_dicom
from tests.inference.made import kept_in


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
    shutil.copy(tiny_model, folder / "fast.h5")
    monkeypatch.setattr(shipped, "FOLDER", folder)


@pytest.mark.usefixtures("comes_with_pleura")
def test_without_a_model_the_one_that_comes_with_pleura_answers(
    tiny_model, tests, tmp_path, capsys
):
    radiograph = str(next(tests.rglob("*.dcm")))
    answers = []
    for models in ([], ["pleura:fast"], [str(tiny_model)]):
        out = tmp_path / f"out{len(answers)}"
        assert execute(["predict", *models, radiograph, "--out", str(out)]) == 0
        answers.append((out / "submission.csv").read_text())
        told = capsys.readouterr().err
        assert ("no model is named, so pleura:fast answers, which comes with pleura" in told) == (
            not models
        )
        assert "research and education" in told or models
    assert len(set(answers)) == 1


@pytest.mark.usefixtures("comes_with_pleura")
def test_a_model_alone_is_nothing_to_predict(tmp_path, capsys):
    assert execute(["predict", "pleura:fast", "--out", str(tmp_path / "out")]) == 2
    assert "name what to predict" in capsys.readouterr().err


@pytest.mark.usefixtures("comes_with_pleura")
def test_no_folder_of_the_same_name_is_in_the_way(tests, tmp_path, monkeypatch):
    radiograph = next(tests.rglob("*.dcm")).resolve()
    monkeypatch.chdir(tmp_path)
    for name in ("siim", "fast", "pleura:fast"):
        (tmp_path / name).mkdir()
    assert execute(["predict", str(radiograph), "--out", "out"]) == 0
    assert execute(["info", "pleura:fast"]) == 0
    assert load().bundle.path == shipped.FOLDER / "fast.h5"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        (
            "model.keras",
            b"PK\x03\x04",
            "is a model of Keras; name radiographs, or before them a mo",
        ),
        (
            "model.pt",
            b"",
            "is a model of PyTorch, but empty; name radiographs, or before them a model",
        ),
        (
            "history.csv",
            b"epoch,loss\n",
            "is a table (CSV); name radiographs, or before them a mod",
        ),
        (
            "weights",
            b"\x89HDF\r\n\x1a\n",
            "is an HDF5 file; name radiographs, or before them a mod",
        ),
        (
            "unet",
            b"\x00\x01",
            "is something that pleura does not know; name radiographs, or before",
        ),
        ("model.v2", b"", "is an empty file; name radiographs, or before them a model: a .h5"),
        (
            "model/fast",
            None,
            "there is no such file; name radiographs, or before them a model: a .h5",
        ),
        ("pleura:bset", None, "no model of that name comes with pleura; there is pleura:fast"),
        ("modle.h5", None, "there is no such file; train a model with pleura train, or take one"),
        ("modle.onnx", None, "there is no such file; write it with pleura export"),
        (
            "keras.h5",
            b"\x89HDF\r\n\x1a\n" + bytes(99) + b"layer_names",
            "is a model of Keras, not a m",
        ),
    ],
)
def test_what_is_no_model_stops_the_job_by_name(
    tests, tmp_path, monkeypatch, capsys, name, content, why
):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    assert execute(["predict", name, str(next(tests.rglob("*.dcm"))), "--out", "out"]) in (1, 2)
    told = capsys.readouterr().err
    assert f"{name}: {why}" in told
    assert told.count("\n") == 1
    assert not Path("out").exists()


def test_a_link_that_leads_nowhere_stops_the_job_by_name(tests, tmp_path, monkeypatch, capsys):
    radiograph = str(next(tests.rglob("*.dcm")).resolve())
    monkeypatch.chdir(tmp_path)
    Path("model").symlink_to("model")
    Path("best").symlink_to("gone")
    for name in ("model", "best"):
        assert execute(["predict", name, radiograph, "--out", "out"]) == 2
        told = capsys.readouterr().err
        assert f"{name}: is a broken link; name radiographs, or before th" in told
        assert told.count("\n") == 1
    assert not Path("out").exists()


def test_a_folder_stands_for_the_model_in_it(tiny_model, tests, tmp_path, monkeypatch, capsys):
    radiograph = str(next(tests.rglob("*.dcm")).resolve())
    monkeypatch.chdir(tmp_path)
    Path("trained/runs").mkdir(parents=True)
    shutil.copy(tiny_model, "trained/model.h5")
    Path("trained/runs/events.out.tfevents.17").write_bytes(b"\x00\x01")
    for number, model in enumerate(("trained/model.h5", "trained", "trained/")):
        assert execute(["predict", model, radiograph, "--out", f"out{number}"]) == 0
        assert execute(["info", model]) == 0
    assert "no model is named" not in capsys.readouterr().err
    submitted = {
        Path(f"out{number}/submission.csv").read_text(encoding="utf-8") for number in range(3)
    }
    assert len(submitted) == 1

    with monkeypatch.context() as there:
        there.chdir("trained")
        assert execute(["predict", "--out", "o"]) == 2
        assert "name what to predict" in capsys.readouterr().err
    for late in ("trained", "trained/model.h5"):
        assert execute(["predict", radiograph, late, "--out", "o"]) == 2
        assert f"{late}: is a model, and comes after" in capsys.readouterr().err
    shutil.copy(radiograph, "trained/a.dcm")
    assert execute(["predict", "trained", radiograph, "--out", "o"]) == 2
    told = capsys.readouterr().err
    assert "trained: holds radiographs and a model.h5; name the model that is meant first" in told
    assert execute(["predict", "trained/model.h5", "trained/a.dcm", "--out", "one"]) == 0
    assert execute(["predict", "trained/model.h5", "trained", "--out", "both"]) in (0, 3)


def test_a_folder_without_a_model_is_none(tmp_path, capsys):
    assert execute(["info", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert f"{tmp_path}: is a folder; name a file" in told


@pytest.mark.parametrize("name", ["pleura:fast", "model.h5", "model.keras"])
def test_a_model_behind_the_radiographs_stops_the_job(tests, tmp_path, capsys, name):
    assert execute(["predict", str(tests), name, "--out", str(tmp_path / "out")]) == 2
    assert f"{name}: is a model, and comes after {tests}; name the m" in capsys.readouterr().err


@pytest.mark.usefixtures("comes_with_pleura")
def test_a_damaged_radiograph_in_the_first_place_is_no_model(tests, tmp_path, capsys):
    radiograph = str(next(tests.rglob("*.dcm")))
    (tmp_path / "IM1").write_bytes(b"\x00\x01")
    (tmp_path / "1.2.840.7").write_bytes(b"")
    (tmp_path / "CR0002").symlink_to("CR0002")
    for first in ("IM1", "1.2.840.7", "CR0002", "none.dcm", "no*"):
        command = [
            "predict",
            str(tmp_path / first),
            radiograph,
            "--out",
            str(tmp_path / f"out-{first}"),
        ]
        assert execute(command) == 3
        assert f"failed {tmp_path / first}: " in capsys.readouterr().err


def test_json_says_everything(tiny_model, tests, tmp_path, capsys):
    assert execute(["predict", str(tiny_model), str(tests), "--out", str(tmp_path), "--json"]) == 0
    said = capsys.readouterr()
    answers, summary = json_lines(said.out)
    bundle = read_bundle(tiny_model)
    assert summary == {
        "files": 6,
        "positive": sum(answer["rle"] != "-1" for answer in answers),
        "negative": sum(answer["rle"] == "-1" for answer in answers),
        "not_assessed": 0,
        "failed": 0,
        "incomplete": 0,
        "flagged": 0,
        "submitted_not_assessed": 0,
        "passed_over": {},
        "model": bundle.digest,
        "engine": load(tiny_model).engine.name,
        "pleura": current_versions()["pleura"],
        "score_threshold": rounded(bundle.operating_point.score),
        "mask_threshold": rounded(bundle.operating_point.mask),
        "min_area": rounded(bundle.operating_point.min_area),
        "submission": str(tmp_path / "submission.csv"),
        "predictions": str(tmp_path / "predictions.csv"),
        "parquet": str(tmp_path / "predictions.parquet"),
    }
    assert len(answers) == 6
    for answer, row in zip(answers, table(tmp_path / "submission.csv"), strict=True):
        assert (answer["image_id"], answer["rle"]) == (row["ImageId"], row["EncodedPixels"])
        assert 0 <= answer["score"] <= 1
        assert (answer["rows"], answer["columns"]) == (128, 128)
        assert answer["called"] == ("negative" if answer["rle"] == "-1" else "positive")
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


def test_all_that_lies_in_a_folder_is_answered_refused_or_counted_also_a_second_time(
    tiny_model, tests, tmp_path, capsys
):
    """The results lie in the folder too, and are no inputs of the second job."""
    folder, out = tmp_path / "in", tmp_path / "in" / "results"
    folder.mkdir()
    radiograph, other = sorted(tests.rglob("*.dcm"))[:2]
    shutil.copy(radiograph, folder / "a.dcm")
    (folder / "b.dcm.gz").write_bytes(gzip.compress(other.read_bytes(), 1))
    (folder / "c.zip").write_bytes(b"PK\3\4")
    (folder / "IM4").write_bytes(radiograph.read_bytes()[:100])
    (folder / "README").write_text("words")
    (folder / "notes.txt").write_text("words")
    command = ["predict", str(tiny_model), str(folder), "--out", str(out), "--dicom", "sr,sc"]
    answered = []
    for passed in (
        {".txt": 1, "no suffix": 1},
        {".txt": 1, "no suffix": 1, ".csv": 2, ".parquet": 1, "results of pleura": 4},
    ):
        assert execute([*command, "--json"]) == 3
        said = capsys.readouterr()
        answers, summary = json_lines(said.out)
        assert summary["passed_over"] == passed
        assert f"passed over {sum(passed.values())} other files: " in said.err
        assert [answer["path"] for answer in answers] == [
            str(folder / name) for name in ("IM4", "a.dcm", "b.dcm.gz", "c.zip")
        ]
        for answer, reason in zip(
            answers, ("not DICOM", "", "", "is no whole ZIP file"), strict=True
        ):
            assert reason in answer["error"]
            assert bool(reason) == bool(answer["error"])
        answered.append((out / "submission.csv").read_text())
    assert answered[0] == answered[1]
    assert len(answered[0].splitlines()) == 3


def test_overlays_and_names_by_file(tiny_model, tests, tmp_path, capsys):
    path = tmp_path / "mine.dcm"
    shutil.copy(next(tests.rglob("*.dcm")), path)
    command = ["predict", str(tiny_model), str(path), "--out", str(tmp_path), "--id", "stem"]
    assert execute([*command, "--overlays", "--batch", "1", "--precision", "fp32"]) == 0
    assert [row["ImageId"] for row in table(tmp_path / "submission.csv")] == ["mine"]
    assert (tmp_path / "overlays" / "mine.png").is_file()
    capsys.readouterr()
    for options, left in (([], False), (["--tta", "--overlays"], False), ([], True)):
        assert execute([*command, *options, "--batch", "1", "--precision", "fp32"]) == 0
        said = (
            f"note: {tmp_path}: files of an earlier job with another model or other thresholds are "
            "still there, and contradict the new tables: 1 in overlays; remove them, or predict "
            "into an empty folder\n"
        )
        assert (said in capsys.readouterr().err) == left


def test_another_operating_point(tiny_model, tests, tmp_path):
    bundle = read_bundle(tiny_model)
    presets = {"sensitive": OperatingPoint(score=0, mask=0), "specific": OperatingPoint(1, 1)}
    model = tmp_path / "m.h5"
    write_bundle(replace(bundle, presets=presets), model)
    called = {}
    for at in ("default", "sensitive", "specific"):
        out = tmp_path / at
        assert (
            execute(["predict", str(model), str(tests), "--out", str(out), "--operating-point", at])
            == 0
        )
        rows = table(out / "submission.csv")
        called[at] = sum(row["EncodedPixels"] != "-1" for row in rows)
    assert (called["specific"], called["sensitive"]) == (0, 6)
    assert 0 < called["default"] < 6


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--id", "name"], 2, "for '--id': 'name' is not one of 'uid', 'stem'"),
        (["--precision", "fp8"], 2, "'fp8' is not one of 'auto', 'fp32', 'bf16'"),
        (["--operating-point", "rule"], 2, "holds no operating point rule; it has default"),
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
        (tmp_path / "model.h5", tests, "o", "model.h5: is a text, not a model.h5 of pleura"),
        (
            tiny_model,
            tmp_path / "empty",
            "o",
            "empty: holds no DICOM file and no picture of a radiograph; name a file",
        ),
        (
            tiny_model,
            tests,
            tmp_path / "file",
            "file: could not be written (File exists); choose another",
        ),
    ]:
        command = ["predict", str(model), str(source), "--out", str(tmp_path / out)]
        assert execute(command) == 1
        said = capsys.readouterr()
        assert message in said.err
        assert said.err.count("\n") == 1
        assert said.out == ""


def test_ctrl_c_and_once_more(tiny_model, tmp_path, monkeypatch, capsys):
    radiographs, out = tmp_path / "radiographs", tmp_path / "out"
    radiographs.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        pixels = rng.integers(256, size=(48, 64), dtype=np.uint8)
        (radiographs / f"{number}.dcm").write_bytes(
            make_dicom(pixels, SOPInstanceUID=f"1.2.{number}")
        )
    command = [
        "predict",
        tiny_model,
        radiographs,
        "--out",
        out,
        "--batch",
        "1",
        "--precision",
        "fp32",
    ]
    command += ["--answer-flagged"]
    ended = interrupt(
        command,
        lambda: len(kept_in(out, tmp_path)) >= 2,
        slowed="pleura.inference.line:run_network",
        seconds=0.4,
    )
    assert ended.status == 130
    assert ended.out == ""
    lines = [
        line
        for line in ended.err.split("\n")
        if not line.startswith(("flagged", "predicting", "converting"))
    ]
    told, last, end = lines
    assert re.fullmatch(
        "[0-9] of 8 files are done; the same command continues with the others", told
    )
    assert (last, end) == ("pleura: interrupted; what was finished is kept", "")
    assert not (out / "submission.csv").exists()
    finished = len(kept_in(out, tmp_path))
    added, real = [], JobStore.add
    monkeypatch.setattr(
        JobStore, "add", lambda self, *one, **more: (added.append(one), real(self, *one, **more))[1]
    )
    assert execute([*map(str, command), "--json"]) == 0
    assert len(added) == 8 - finished
    found, _ = json_lines(capsys.readouterr().out)
    paths = sorted(radiographs.iterdir())
    model = load(tiny_model, precision="fp32", answer_flagged=True)
    whole = predict_files(model, paths, JobSettings(tmp_path / "whole", batch=1))
    assert [{**one, "seconds": 0} for one in found] == [
        rounded(replace(answer, seconds=0).as_json()) for answer in whole
    ]


@pytest.mark.slow
def test_a_service_that_watches(tiny_model, tmp_path):
    """It takes what arrives, ends with its tables on Ctrl-C, and asks nothing twice."""
    radiographs, out = tmp_path / "radiographs", tmp_path / "out"
    radiographs.mkdir()
    command = [
        "predict",
        tiny_model,
        "--watch",
        radiographs,
        "--out",
        out,
        "--workers",
        "1",
        "--json",
    ]
    command += ["--answer-flagged"]
    submission = out / "submission.csv"

    def put(number):
        pixels = np.full((32, 32), 10 * number, np.uint8)
        (radiographs / f"{number}.dcm").write_bytes(
            make_dicom(pixels, SOPInstanceUID=f"1.2.{number}")
        )

    def ids():
        return [row["ImageId"] for row in table(submission)] if submission.exists() else []

    put(1)
    ended = interrupt(command, lambda: ids() == ["1.2.1"])
    answers, summary = json_lines(ended.out)
    assert ended.status == 0, ended.err
    assert [answer["image_id"] for answer in answers] == ["1.2.1"]
    assert f"watching {radiographs}; Ctrl-C ends it" in ended.err
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


@pytest.fixture
def mixed(tests, tmp_path):
    """A folder of a radiograph, a hand, a picture of noise, and a file that is no DICOM."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    radiographs = sorted(tests.rglob("*.dcm"))
    shutil.copy(radiographs[0], folder / "a.dcm")
    hand = read_radiograph(radiographs[1]).pixels
    (folder / "b.dcm").write_bytes(
        make_dicom(hand, SOPInstanceUID="1.2.1", BodyPartExamined="HAND")
    )
    noise = np.random.default_rng(0).integers(256, size=(96, 96), dtype=np.uint8)
    (folder / "c.dcm").write_bytes(make_dicom(noise, SOPInstanceUID="1.2.2"))
    (folder / "d.dcm").write_text("no DICOM")
    return folder


def test_what_is_no_chest_radiograph_is_not_assessed(tiny_model, mixed, tmp_path, capsys):
    out = tmp_path / "out"
    radiographs = [str(mixed / name) for name in ("a.dcm", "b.dcm", "c.dcm")]
    command = ["predict", str(tiny_model), "--out", str(out), "--json"]
    assert execute([*command, *radiographs]) == 3
    said = capsys.readouterr()
    assert f"not assessed {radiographs[1]}: the header says body part HAND\n" in said.err
    assert f"not assessed {radiographs[2]}: looks like no radiograph\n" in said.err
    assert " negative, 2 not assessed, 0 failed. Not for diagnosis.\n" in said.err
    assert "submission.csv says -1 for 2 that were not assessed" in said.err
    answers, summary = json_lines(said.out)
    assert summary["positive"] + summary["negative"] == 1
    assert [summary[name] for name in ("not_assessed", "flagged", "failed")] == [2, 2, 0]
    assert summary["submitted_not_assessed"] == 2
    rows = table(out / "predictions.csv")
    for answer, row, flags in zip(
        answers[1:], rows[1:], ("body-part=HAND", "other-picture"), strict=True
    ):
        assert answer["called"] == row["called"] == "not assessed"
        assert (answer["score"], answer["area_px"], answer["rle"]) == (None, None, None)
        assert (row["score"], row["area_px"], row["error"]) == ("", "", "")
        assert answer["flags"] == row["flags"] == flags
    assert float(rows[2]["guard"]) >= 0.5
    submitted = table(out / "submission.csv")
    assert [row["ImageId"] for row in submitted[1:]] == ["1.2.1", "1.2.2"]
    assert [row["EncodedPixels"] for row in submitted[1:]] == ["-1", "-1"]


def test_what_is_flagged_is_answered_when_asked_for(tiny_model, mixed, tmp_path, capsys):
    out = tmp_path / "out"
    hand = str(mixed / "b.dcm")
    command = ["predict", str(tiny_model), hand, "--out", str(out), "--answer-flagged"]
    assert execute(command) == 0
    said = capsys.readouterr().err
    assert f"flagged, answered all the same {hand}: the header says body part HAND\n" in said
    assert " 0 not assessed, 0 failed, 1 answered although flagged. Not for diagnosis.\n" in said
    assert "submission.csv" not in said
    (row,) = table(out / "predictions.csv")
    assert row["called"] in ("positive", "negative")
    assert row["score"]
    assert row["flags"] == "body-part=HAND"


def test_a_file_that_failed_is_called_nothing(tiny_model, mixed, tmp_path, capsys):
    broken = str(mixed / "d.dcm")
    command = ["predict", str(tiny_model), broken, "--out", str(tmp_path / "out"), "--json"]
    assert execute(command) == 3
    said = capsys.readouterr()
    (answer,), summary = json_lines(said.out)
    assert answer["called"] is None
    assert (summary["failed"], summary["not_assessed"]) == (1, 0)
    (row,) = table(tmp_path / "out" / "predictions.csv")
    assert row["called"] == ""


def test_pages_pictures_and_dicom_results_when_asked_for(tiny_model, tests, tmp_path):
    radiograph = next(tests.rglob("*.dcm"))
    command = ["predict", str(tiny_model), str(radiograph), "--out", str(tmp_path)]
    everything = ["--worklist", "--heatmaps", "--overlays", "--dicom", "sr, sc"]
    assert execute([*command, *everything]) == 0
    names = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert names >= {"worklist.html", "worklist", "heatmaps", "overlays", "dicom"}
    kinds = {path.name.split(".")[-2] for path in (tmp_path / "dicom").iterdir()}
    assert kinds == {"sr", "sc"}

    assert execute([*command, "--dicom", "all", "--deidentify"]) == 0
    assert (tmp_path / "dicom-deidentified").is_dir()
    assert not (tmp_path / ".deidentify.key").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dicom", "seg,pdf"], "--dicom seg,pdf: take any of seg,map,sr,gsps,sc, or all"),
        (["--deidentify"], "--deidentify: affects only DICOM results; name them with --dicom all"),
    ],
)
def test_results_that_are_none(tiny_model, tests, tmp_path, options, message, capsys):
    command = ["predict", str(tiny_model), str(tests), "--out", str(tmp_path)]
    assert execute([*command, *options]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def forms(tmp_path):
    """The same phantom in every form without a header, an inverted one, and a broken one."""
    pixels = draw_phantom(np.random.default_rng(3), size=256, pneumothorax=False).pixels
    folder = tmp_path / "forms"
    folder.mkdir()
    picture = Image.fromarray(pixels)
    for name in ("a.png", "b.tif", "c.jpg"):
        picture.save(folder / name, **({"quality": 97} if name.endswith("jpg") else {}))
    Image.fromarray(pixels.astype(np.uint16) * 257).save(folder / "d.tiff")
    slices = nibabel.Nifti1Image(
        np.ascontiguousarray(pixels.T[:, :, None]), np.diag([-1, -1, 1, 1])
    )
    nibabel.save(slices, folder / "e.nii.gz")
    Image.fromarray(255 - pixels).save(folder / "inverted.png")
    (folder / "torn.png").write_bytes((folder / "a.png").read_bytes()[:99])
    return folder


def test_a_folder_of_pictures_in_every_form(tiny_model, forms, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["predict", str(tiny_model), str(forms), "--out", str(out), "--worklist"]
    assert execute([*command, "--overlays"]) == console.SOME_INPUTS_FAILED
    rows = {Path(row["path"]).name: row for row in table(out / "predictions.csv")}
    scores = {rows[name]["score"] for name in ("a.png", "b.tif", "d.tiff", "e.nii.gz")}
    assert len(scores) == 1
    assert float(rows["c.jpg"]["score"]) == pytest.approx(float(scores.pop()), abs=0.02)
    assert rows["e.nii.gz"]["image_id"] == "e"
    assert "spacing, view, patient, age and sex are unknown" in rows["a.png"]["notes"]
    assert "inverted" in rows["inverted.png"]["flags"].split(";")
    assert "torn.png: is corrupt or breaks off" in rows["torn.png"]["error"]
    assert (out / "overlays" / "b.png").is_file() == (rows["b.tif"]["called"] != "not assessed")
    capsys.readouterr()


def test_no_dicom_result_is_made_of_a_picture(tiny_model, forms, tmp_path):
    command = ["predict", str(tiny_model), str(forms / "a.png"), "--out", str(tmp_path / "out")]
    assert execute([*command, "--dicom", "sr"]) == console.SOME_INPUTS_FAILED
    (row,) = table(tmp_path / "out" / "predictions.csv")
    assert row["called"]
    assert "a.png: is a picture without a header, and DICOM results refer" in row["error"]


def test_a_conversion_is_announced_once(tiny_model, tests, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    told = []
    for number in range(2):
        out = str(tmp_path / f"out{number}")
        assert execute(["predict", str(tiny_model), str(tests), "--out", out]) == 0
        told.append("converting the model for openvino, which takes" in capsys.readouterr().err)
    assert told == [True, False]
