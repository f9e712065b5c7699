import csv
import json
import re

import pytest
from rich.console import Console

from pleura.cli import console, train
from pleura.cli.app import execute
from pleura.cli.train import watch_training
from pleura.models.bundle import read_bundle
from pleura.stages.train import learned_nothing
from pleura.training.history import Step
from tests.cli.interrupting import interrupt

TINY = ["network.name=cnn", "network.width=4", "network.depth=2", "train.batch=8", "train.folds=3"]


def settings(*more):
    return [word for setting in [*TINY, *more] for word in ("--set", setting)]


def test_a_model_and_what_tells_of_it(small_prepared, tmp_path, capsys):
    out = tmp_path / "new" / "model"
    command = ["train", str(small_prepared.path), "--out", str(out)]
    assert execute([*command, *settings("train.epochs=2")]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out / 'model.h5'}\n"
    assert "epoch   1 of 2: loss " in said.err
    assert "epoch   2 of 2: loss " in said.err
    assert "best validation dice_coeff" in said.err
    names = {path.name for path in out.iterdir()}
    assert names == {"model.h5", "history.csv", "history.jsonl", "curves.png", "run.json"}
    bundle = read_bundle(out / "model.h5")
    with (out / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"loss", "dice_coeff", "val_loss", "val_dice_coeff"} <= rows[0].keys()
    assert float(rows[1]["loss"]) == pytest.approx(bundle.history["loss"][1], rel=1e-4)
    record = json.loads((out / "run.json").read_text())
    assert record["digest"] == bundle.digest
    assert record["images"] + record["validation_images"] == len(small_prepared.train)
    assert (out / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_a_model_that_learned_nothing_says_so(small_prepared, tmp_path, capsys):
    command = ["train", str(small_prepared.path), "--out", str(tmp_path / "m")]
    assert execute([*command, *settings("train.epochs=1", "train.learning_rate=1e-9")]) == 0
    told = capsys.readouterr().err
    figures = read_bundle(tmp_path / "m" / "model.h5").evaluation
    assert figures["mean_dice"] <= figures["all_empty_dice"]
    none = f"{figures['all_empty_dice']:.3f}"
    assert "note: this model has learned nothing that helps: on the images that v" in told
    assert f"and answering none to all has {none}" in told


def test_folds_that_learned_nothing_say_so(small_prepared, tmp_path, capsys):
    command = ["train", str(small_prepared.path), "--out", str(tmp_path / "m"), "--folds", "2"]
    assert execute([*command, *settings("train.epochs=1", "train.learning_rate=1e-9")]) == 0
    assert "note: this model has learned nothing that helps" in capsys.readouterr().err


def test_a_fold_of_one_patients_positives_is_said_before_and_after(
    small_prepared, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("pleura.training.loop.one_sided", lambda records: "most are of one")
    command = ["train", str(small_prepared.path), "--out", str(tmp_path / "m")]
    assert execute([*command, *settings("train.epochs=1")]) == 0
    told = capsys.readouterr().err
    first, second, *_ = told.splitlines()
    assert first.startswith("cnn on ")
    assert "to validate, epochs: 1, " in first
    assert second == "note: most are of one"
    assert told.rstrip().endswith("note: most are of one")


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"mean_dice": 0.8, "all_empty_dice": 0.7}, False),
        ({"mean_dice": 0.7, "all_empty_dice": 0.7}, True),
        ({"mean_dice": None, "all_empty_dice": None}, False),
        ({}, False),
    ],
)
def test_what_nothing_is(figures, said):
    assert bool(learned_nothing(figures)) == said


def test_the_bar_of_a_training(monkeypatch, capsys):
    usual = {"stderr": True, "force_terminal": True, "width": 80, "color_system": None}
    monkeypatch.setattr(console, "err", Console(**usual))
    with watch_training() as told:
        told(Step(1, 100, 1, 4, 0.5, 0.25, 8.0))
    said = capsys.readouterr().err
    assert "before the first batch" in said
    assert "0.000" not in said
    assert "epoch 1/100  loss 0.5000  dice_coeff 0.250" in said
    assert re.search(r"\d:\d\d elapsed, \S+ left", said)
    assert "…" not in said


def test_a_run_file_and_set_over_it(small_prepared, tmp_path):
    run = tmp_path / "run.toml"
    run.write_text(
        '[network]\nname = "cnn"\nwidth = 4\ndepth = 1\n[train]\nepochs = 9\nfolds = 3\n'
    )
    command = ["train", str(small_prepared.path), "--out", str(tmp_path / "m"), "--run", str(run)]
    assert execute([*command, "--set", "train.epochs=1"]) == 0
    bundle = read_bundle(tmp_path / "m" / "model.h5")
    assert bundle.network.depth == 1
    assert bundle.history["epoch"] == [1]


def test_all_folds(small_prepared, tmp_path, capsys):
    out = tmp_path / "m"
    command = ["train", str(small_prepared.path), "--out", str(out), *settings("train.epochs=1")]
    assert execute([*command, "--folds", "2"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-2:] == [str(out / f"fold-{n}" / "model.h5") for n in (0, 1)]
    assert "Out of fold" in said.out
    assert "fold 2 of 2" in said.err
    assert (out / "out_of_fold.csv").exists()
    assert execute([*command, "--folds", "2", "--resume", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["out_of_fold"]["images"] > 0
    assert told["models"] == [str(out / f"fold-{n}" / "model.h5") for n in (0, 1)]
    models = [str(out / f"fold-{n}" / "model.h5") for n in (0, 1)]
    capsys.readouterr()
    ensemble = ["ensemble", *models, "--out", str(tmp_path / "all.h5"), "--tta"]
    assert execute([*ensemble, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["members"], told["tta"]) == (2, True)
    assert told["digest"] == read_bundle(tmp_path / "all.h5").digest
    assert execute(ensemble) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'all.h5'}\n"
    assert "2 models and their mirror images as one; wrote" in said.err
    assert read_bundle(tmp_path / "all.h5").network.members
    assert execute([*command, "--folds", "1"]) == 2
    assert "--folds" in capsys.readouterr().err


def test_a_second_training_into_the_same_folder(small_prepared, tmp_path, capsys):
    command = ["train", str(small_prepared.path), "--out", str(tmp_path / "m")]
    command += settings("train.epochs=1")
    assert execute(command) == 0
    before = (tmp_path / "m" / "model.h5").read_bytes()
    capsys.readouterr()
    assert execute(command) == 2
    assert "there is a training in this folder already" in capsys.readouterr().err
    assert execute([*command, "--resume", "--json"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert (told["models"], told["kept"]) == ([str(tmp_path / "m" / "model.h5")], "best")
    assert 0 <= told["val_dice_coeff"] <= 1
    assert "epoch" not in said.err, "a finished training is not done again"
    assert execute([*command, "--resume", "--set", "train.seed=5"]) == 2
    assert "is a finished training of other data or settings" in capsys.readouterr().err
    assert (tmp_path / "m" / "model.h5").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--set", "train.lerning_rate=1"], 2, "unknown key train.lerning_rate; did you mean"),
        (["--set", "train.epochs=0"], 2, "train.epochs is 0: input should be greater"),
        (["--set", "epochs"], 2, "--set epochs: write it as section.key=value"),
        (["--set", "prepare.size=512"], 2, "--set prepare.size=512: a training takes settings of"),
        (["--set", "network.depth=7"], 1, "needs a size divisible by 128, not 64"),
        (["--set", "train.folds=90"], 1, "patients cannot make 90 folds"),
        (["--run", "nowhere.toml"], 1, "nowhere.toml: cannot be read (No such file or directory)"),
    ],
)
def test_settings_that_cannot_be(small_prepared, tmp_path, arguments, status, message, capsys):
    out = tmp_path / "m"
    assert execute(["train", str(small_prepared.path), "--out", str(out), *arguments]) == status
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not (out / "model.h5").exists()


def test_a_folder_that_is_not_prepared(tmp_path, capsys):
    assert execute(["train", str(tmp_path), "--out", str(tmp_path / "m")]) == 1
    assert "is not a finished prepared folder" in capsys.readouterr().err


def test_a_long_epoch_says_in_a_pipe_how_far_it_is(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(train.time, "monotonic", lambda: now[0])
    with watch_training() as told:
        for step, seconds in [(1, 1), (9, 59), (10, 61), (11, 100), (20, 122)]:
            now[0] = seconds
            told(Step(2, 30, step, 600, 0.25, 0.5, 4.0))
    assert capsys.readouterr().err.splitlines() == [
        "epoch   2 of 30, step 10 of 600: loss 0.2500, dice_coeff 0.500; 4.0 images/s",
        "epoch   2 of 30, step 20 of 600: loss 0.2500, dice_coeff 0.500; 4.0 images/s",
    ]


@pytest.mark.slow
def test_ctrl_c_and_once_more(small_prepared, tmp_path, capsys):
    out = tmp_path / "m"
    command = ["train", small_prepared.path, "--out", out, *settings("train.epochs=3")]
    ended = interrupt(
        command,
        lambda: (out / "checkpoint.h5").exists(),
        slowed="pleura.training.learner:Learner.step",
        seconds=0.2,
    )
    assert ended.status == 130
    assert ended.out == ""
    assert ended.err.endswith("pleura: interrupted; what was finished is kept\n")
    assert "Traceback" not in ended.err
    assert read_bundle(out / "model.h5").history["epoch"][0] == 1
    assert execute([*map(str, command), "--resume"]) == 0
    said = capsys.readouterr().err
    assert "epoch   1 of 3" not in said
    assert "epoch   3 of 3" in said
    assert read_bundle(out / "model.h5").history["epoch"] == [1, 2, 3]
    assert not (out / "checkpoint.h5").exists()
