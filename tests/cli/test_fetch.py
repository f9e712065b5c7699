import json
import os
import subprocess
import sys

import pytest
import typer

from pleura.cli import app as command_line
from pleura.cli.fetch import fetch as verb
from pleura.fetch import kaggle as fetch
from pleura.fetch.kaggle import COMPETITION, DATASET
from tests import kagglehub_stand_in as stand_in
from tests.kagglehub_stand_in import STAGE_1, STAGE_2, read_files, refused, write_files


@pytest.fixture
def execute(monkeypatch):
    """Return a function that runs a command line, with the verb whether app.py has it or not."""
    if "fetch" not in typer.main.get_command(command_line.app).commands:
        app = typer.Typer(name="pleura", pretty_exceptions_enable=False)
        app.command()(verb)
        app.command()(lambda: None)
        monkeypatch.setattr(command_line, "app", app)
    return command_line.execute


@pytest.fixture
def kaggle(monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "LAYOUTS", stand_in.small_layouts(fetch))
    kaggle = stand_in.install(monkeypatch, tmp_path / "cache")
    kaggle.things[DATASET] = write_files(tmp_path / "published", STAGE_1)
    kaggle.things[COMPETITION] = write_files(tmp_path / "challenge", STAGE_2)
    return kaggle


def test_what_is_needed_comes_first_and_the_folder_last(kaggle, execute, tmp_path, capsys):
    out = tmp_path / "siim"
    assert execute(["fetch", "siim", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}\n", "what kagglehub prints to stdout goes to stderr"
    lines = said.err.splitlines()
    assert lines[0].startswith("The DICOM files of stage 1 come from https://www.kaggle.com/")
    assert "needs no account as a rule" in lines[2]
    assert lines[3].startswith("Downloading to ")
    assert lines[-2:] == [
        "placing: 6 of 6 files",
        "3 training and 2 test files, 4 rows for 3 images; 6 files new, 0 there already",
    ]
    assert read_files(out) == STAGE_1
    assert execute(["fetch", "siim", "--out", str(out)]) == 0
    assert kaggle.asked == [DATASET]


def test_another_copy(kaggle, execute, tmp_path, capsys):
    kaggle.things["some/body"] = kaggle.things.pop(DATASET)
    command = ["fetch", "siim", "--from", "some/body", "--out", str(tmp_path / "siim")]
    assert execute(command) == 0
    assert "https://www.kaggle.com/datasets/some/body" in capsys.readouterr().err


def test_stage_2_as_json(kaggle, execute, tmp_path, capsys):
    out = tmp_path / "siim"
    assert execute(["fetch", "siim", "--stage", "2", "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "out": str(out),
        "stage": 2,
        "sources": [COMPETITION, DATASET],
        "placed": 9,
        "kept": 0,
        "train": 5,
        "test": 2,
        "rows": 6,
        "images": 5,
        "warnings": [],
    }
    assert f"rules accepted at https://www.kaggle.com/competitions/{COMPETITION}/rules" in said.err


def test_deviations_are_warnings_and_3(kaggle, execute, tmp_path, capsys):
    (kaggle.things[DATASET] / "dicom-images-test/1.4/1.4.1/4.dcm").unlink()
    assert execute(["fetch", "siim", "--out", str(tmp_path / "siim")]) == 3
    said = capsys.readouterr()
    assert said.err.endswith("warning: dicom-images-test: 1 files; 2 were published\n")
    assert said.out == f"{tmp_path / 'siim'}\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (stand_in.ConnectionError_("x"), "cannot be reached (ConnectionError); check the conn"),
        (stand_in.UnauthenticatedError(), "needs an account; make a token at"),
        (refused(403), "Kaggle refuses it (403)"),
        (refused(404), "Kaggle has no such data set (404)"),
        (OSError(28, "No space left on device"), "No space left on device; free some space"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_1(kaggle, execute, tmp_path, capsys, error, message):
    kaggle.things[DATASET] = error
    assert execute(["fetch", "siim", "--out", str(tmp_path / "siim")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err.splitlines()[-1]
    assert said.err.splitlines()[-1].startswith("pleura: error: ")
    assert "Traceback" not in said.err


def test_without_kagglehub(execute, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub.exceptions", None)
    assert execute(["fetch", "siim", "--out", str(tmp_path / "siim")]) == 1
    assert "install it with pip install 'pleura[kaggle]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nih"], "'nih' is no data set that can be fetched; there is siim"),
        (["siim", "--stage", "3"], "--stage"),
        (["siim", "--from", "x"], "--from x: a data set is named OWNER/SLUG"),
    ],
)
def test_calls_that_make_no_sense(kaggle, execute, tmp_path, capsys, arguments, message):
    assert execute(["fetch", *arguments, "--out", str(tmp_path / "siim")]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert kaggle.asked == []


def test_ctrl_c_while_it_downloads(kaggle, execute, tmp_path, capsys):
    kaggle.things[DATASET] = KeyboardInterrupt()
    assert execute(["fetch", "siim", "--out", str(tmp_path / "siim")]) == 130
    assert capsys.readouterr().err.endswith("what was finished is kept\n")


def test_nothing_heavy_is_imported_for_the_help():
    code = (
        "import sys, pleura.cli.fetch; "
        "print({'torch', 'numpy', 'pydicom', 'kagglehub'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "set()", done.stderr
