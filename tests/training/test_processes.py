import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pleura.data.arrays import write_prepared
from pleura.models.bundle import read_bundle


@pytest.mark.slow
def test_two_processes_train_one_model(small_index, tmp_path):
    write_prepared(small_index.train, [], tmp_path / "p", size=32, workers=1)
    torchrun = Path(sys.executable).with_name("torchrun")
    settings = [
        "train.epochs=2",
        "train.batch=4",
        "train.folds=3",
        "network.width=4",
        "network.depth=3",
    ]
    command = [torchrun, "--nproc-per-node", "2", "-m", "pleura", "train", tmp_path / "p"]
    options = ["--out", tmp_path / "m", *(word for s in settings for word in ("--set", s))]
    result = subprocess.run(
        [*map(str, command), *map(str, options)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(tmp_path / "m" / "model.h5")]
    record = json.loads((tmp_path / "m" / "run.json").read_text())
    assert record["identity"]["processes"] == 2


@pytest.mark.slow
def test_two_processes_equal_one_with_a_double_batch(small_index, tmp_path):
    """With a network and a loss that know no batch statistics."""
    write_prepared(small_index.train, [], tmp_path / "p", size=32, workers=1)
    python = Path(sys.executable)
    shared = ["train.epochs=2", "train.folds=3", "train.loss=bce", "network.name=cnn"]
    shared += ["network.width=4", "network.depth=2", "train.precision=fp32"]
    launchers = {
        "two": ([str(python.with_name("torchrun")), "--nproc-per-node", "2"], 4),
        "one": ([str(python)], 8),
    }
    for name, (launcher, batch) in launchers.items():
        settings = [*shared, f"train.batch={batch}"]
        command = [*launcher, "-m", "pleura", "train", str(tmp_path / "p")]
        command += ["--out", str(tmp_path / name)]
        command += [word for setting in settings for word in ("--set", setting)]
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            timeout=300,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    two, one = (read_bundle(tmp_path / name / "model.h5") for name in ("two", "one"))
    for column in ("loss", "val_loss", "val_dice_coeff"):
        assert two.history[column] == pytest.approx(one.history[column], abs=1e-3)
    for name, weights in one.weights.items():
        assert two.weights[name] == pytest.approx(weights, abs=1e-5), name
