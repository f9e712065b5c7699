import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from torch.distributed import TCPStore

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


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_comes_back_and_the_history_is_that_of_an_unbroken_run(
    small_index, tmp_path, rank
):
    write_prepared(small_index.train, [], tmp_path / "p", size=32, workers=1)
    torchrun = [str(Path(sys.executable).with_name("torchrun")), "--nproc-per-node", "2"]
    torchrun += ["--max-restarts", "3"]
    settings = ["train.epochs=6", "train.batch=2", "train.folds=3", "network.width=4"]
    command = [*torchrun, "-m", "pleura", "train", str(tmp_path / "p"), "--resume"]
    command += [word for setting in settings for word in ("--set", setting)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("unbroken", "broken"):
        out = tmp_path / name
        with ended(
            subprocess.Popen([*command, "--out", out], env=env, stderr=subprocess.PIPE)
        ) as run:
            if name == "broken":
                await_epochs(out, 2)
                children = psutil.Process(run.pid).children()
                ranked = [one for one in children if one.environ().get("LOCAL_RANK") == f"{rank}"]
                ranked[0].kill()
            _, said = run.communicate(timeout=300)
            assert run.returncode == 0, said.decode()
    broken, unbroken = (read_bundle(tmp_path / n / "model.h5") for n in ("broken", "unbroken"))
    for column in unbroken.history:
        if column not in ("seconds", "images_per_second"):
            assert broken.history[column] == unbroken.history[column], column
    for name, weights in unbroken.weights.items():
        assert (broken.weights[name] == weights).all(), name


JOIN = """
import sys, time, torch
from pleura.training.setup import make_accelerator
time.sleep(float(sys.argv[1]))
print(make_accelerator("fp32", 1).reduce(torch.ones(1)).item())
"""


@pytest.mark.slow
def test_processes_that_are_started_again_do_not_wait_for_those_before():
    """Though one is late, and the store still holds where it listened in the attempt before."""
    store = TCPStore("127.0.0.1", 0, is_master=True)
    for attempt in ("0", "1"):
        with ExitStack() as both:
            found = [joining(store.port, attempt, rank, late=3 * rank) for rank in (0, 1)]
            for process in [both.enter_context(ended(process)) for process in found]:
                said, _ = process.communicate(timeout=60)
                assert said.decode().split() == ["2.0"]


def joining(port, attempt, rank, late):
    """Start one of two processes as torchrun does."""
    env = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    env |= {"GROUP_WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    env |= {"TORCHELASTIC_RESTART_COUNT": attempt, "TORCHELASTIC_USE_AGENT_STORE": True}
    env = {**os.environ, **{name: str(value) for name, value in env.items()}}
    command = [sys.executable, "-c", JOIN, str(late)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE)


@contextmanager
def ended(process):
    """End the process, and those that it began, whatever happens."""
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
                process.kill()


def await_epochs(out, count):
    """Wait until a training has so many epochs behind it, and some of the next."""
    table = out / "history.jsonl"
    for _ in range(600):
        if table.exists() and len(table.read_text().splitlines()) >= count:
            time.sleep(0.2)
            return
        time.sleep(0.1)
    raise AssertionError("the training did not begin")
