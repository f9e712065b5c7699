import csv
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from pleura.cli.app import execute

RUN = """
[network]
name = "cnn"
width = 2
depth = 2
[train]
epochs = 1
batch = 8
folds = 3
[tune]
trials = 2
[tune.space]
"train.loss" = ["bce", "bce_dice"]
"""


def test_a_search_from_a_run_file(small_prepared, tmp_path, capsys):
    (tmp_path / "run.toml").write_text(RUN)
    out = tmp_path / "study"
    command = [
        "tune",
        str(small_prepared.path),
        "--run",
        str(tmp_path / "run.toml"),
        "--out",
        str(out),
    ]
    assert execute(command) == 0
    said = capsys.readouterr()
    assert "trial 1: train.loss " in said.err
    assert "(complete): val_dice_coeff 0." in said.out
    assert f"wrote {out / 'best.toml'}" in said.err
    assert execute([*command, "--json"]) == 0
    trials = json.loads(capsys.readouterr().out)
    assert [trial["state"] for trial in trials] == ["complete", "complete"]
    best = str(out / "best.toml")
    train = ["train", str(small_prepared.path), "--out", str(tmp_path / "m"), "--run", best]
    assert execute(train) == 0


@pytest.mark.slow
def test_several_commands_share_a_study_and_take_up_what_a_killed_one_had_begun(
    small_prepared, tmp_path
):
    (tmp_path / "run.toml").write_text(RUN)
    out = tmp_path / "study"
    command = [sys.executable, "-m", "pleura", "tune", str(small_prepared.path), "--out", str(out)]
    command += ["--run", str(tmp_path / "run.toml"), "--set", "train.epochs=10"]
    command += ["--set", "tune.trials=3", "--study", f"sqlite:///{tmp_path / 'base.db'}"]
    begun = out / "trial-0000" / "history.jsonl"
    with begin(command) as killed:
        while not (begun.exists() and begun.read_text()):
            assert killed.poll() is None
            time.sleep(0.1)
        killed.kill()
    with begin(command) as one, begin(command) as two:
        assert (one.wait(300), two.wait(300)) == (0, 0)
    with (out / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == ["0", "1", "2"]
    assert {row["state"] for row in rows} == {"complete"}
    assert begun.with_name("history.csv").read_text().count("\n") == 11
    assert (out / "best.toml").exists()


@contextmanager
def begin(command):
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_run_without_a_space(small_prepared, tmp_path, capsys):
    (tmp_path / "run.toml").write_text("")
    command = ["tune", str(small_prepared.path), "--run", str(tmp_path / "run.toml")]
    assert execute([*command, "--out", str(tmp_path / "s")]) == 1
    assert "the run has no [tune.space]" in capsys.readouterr().err
