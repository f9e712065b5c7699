import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pleura.data.arrays import write_prepared


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
