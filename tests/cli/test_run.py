import json
from pathlib import Path

import pytest

from pleura.cli.app import execute
from tests.cli.test_app import installed

SMALL = [
    "phantom.train=14",
    "phantom.test=4",
    "phantom.size=64",
    "prepare.size=32",
    "prepare.workers=1",
    "network.name=cnn",
    "network.width=4",
    "network.depth=2",
    "train.epochs=1",
    "train.folds=2",
]


def sets(settings):
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture
def run_file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(f'out = "{tmp_path / "out"}"\n[phantom]\ntrain = 14\ntest = 4\nsize = 64\n')
    return path


@pytest.mark.slow
def test_a_whole_run_and_once_more(run_file, tmp_path, capsys):
    command = ["run", str(run_file), *sets(SMALL)]
    assert execute(command) == 0
    said = capsys.readouterr()
    for words in ("Validation part", "Test images, never seen in training", "mean Dice", "Files"):
        assert words in said.out
    for stage in ("phantom", "audit", "prepare", "train", "evaluate", "predict"):
        assert f"\n{stage} " in f"\n{said.err}"
    assert "Not a medical device: not for diagnosis." in said.err
    assert execute([*command, "--json"]) == 0
    said = capsys.readouterr()
    assert said.err.count("unchanged, reused") >= 5
    found = json.loads(said.out)
    assert found["measured_on"] == "test images"
    assert found["mean_dice"] == found["test"]["mean_dice"]
    assert found["failures"] == found["not_assessed"] == []
    assert found["counts"]["files_test"] == 4
    assert all(Path(path).exists() for path in found["files"].values())
    assert {"mean_dice", "positive_dice", "auroc", "seconds", "validation"} <= found.keys()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[trian]\n", "run.toml: unknown key trian; did you mean train?"),
        ("[train]\nepochs = 'x'\n", "run.toml: train.epochs is 'x': input should be a valid int"),
        ("[train\n", "run.toml: is not TOML"),
        ('[data]\npath = "nowhere"\n', "nowhere: there is no such file or folder"),
    ],
)
def test_a_run_file_with_a_mistake(tmp_path, monkeypatch, content, message, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(content)
    assert execute(["run", "run.toml"]) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]


def test_no_run_file(tmp_path, capsys):
    assert execute(["run", str(tmp_path / "none.toml")]) == 1
    assert "none.toml: cannot be read (No such file or directory)" in capsys.readouterr().err


def test_a_folder_of_somebody_else(tmp_path, capsys):
    mine = tmp_path / "out" / "phantoms" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    assert execute(["demo", "--out", str(tmp_path / "out"), *sets(SMALL)]) == 2
    assert "holds files that this run did not make" in capsys.readouterr().err
    assert mine.read_text() == "precious"


def test_a_wrong_setting_of_the_demo(tmp_path, capsys):
    assert execute(["demo", "--out", str(tmp_path / "out"), "--set", "train.epoch=1"]) == 2
    assert "unknown key train.epoch; did you mean train.epochs?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_demo_in_small(tmp_path):
    """The installed program, with enough phantoms for every fault of the real set."""
    out = tmp_path / "demo"
    settings = ["phantom.train=60", "phantom.test=12", "phantom.size=128", "train.epochs=2"]
    small = [*SMALL[3:8], "train.folds=3"]
    done = installed("demo", "--out", out, "--json", *sets([*settings, *small]))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    assert found["counts"]["unreadable"] == 1
    assert len(found["failures"]) == 1
    assert found["test"]["images"] == 12
    for name in ("model", "curves", "submission", "report", "validation_report", "audit"):
        assert Path(found["files"][name]).is_file()
    again = installed("demo", "--out", out, *sets([*settings, *small]))
    assert again.returncode == 0
    assert again.stderr.count("unchanged, reused") >= 5
