import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

import psutil
import pytest
from torch.distributed import TCPStore

from pleura.data.arrays import write_prepared
from pleura.errors import UsageError
from pleura.models.bundle import read_bundle
from pleura.training.setup import is_main_process


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


@pytest.fixture(scope="module")
def command(small_index, tmp_path_factory):
    """What torchrun is to start: a training of two processes, which goes on where it was."""
    prepared = tmp_path_factory.mktemp("prepared") / "p"
    write_prepared(small_index.train, [], prepared, size=32, workers=1)
    settings = ["train.epochs=8", "train.batch=2", "train.folds=3", "network.width=4"]
    words = [word for setting in settings for word in ("--set", setting)]
    return ["--max-restarts", "3", "-m", "pleura", "train", str(prepared), "--resume", *words]


@pytest.fixture(scope="module")
def unbroken(command, tmp_path_factory):
    """A training of two processes that nobody kills."""
    out = tmp_path_factory.mktemp("unbroken") / "m"
    with ended(torchrun(out, ["--nproc-per-node", "2", *command])) as run:
        require_success(run)
    return read_bundle(out / "model.h5")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_comes_back_and_the_history_is_that_of_an_unbroken_run(
    unbroken, command, tmp_path, rank
):
    with ended(torchrun(tmp_path / "m", ["--nproc-per-node", "2", *command])) as run:
        await_epochs(tmp_path / "m", 2)
        children = psutil.Process(run.pid).children()
        ranked = [one for one in children if one.environ().get("LOCAL_RANK") == f"{rank}"]
        ranked[0].kill()
        require_success(run)
    require_equal(read_bundle(tmp_path / "m" / "model.h5"), unbroken)


@pytest.mark.slow
def test_a_machine_that_is_killed_comes_back_and_the_history_is_that_of_an_unbroken_run(
    unbroken, command, tmp_path
):
    """The second of two; the machines are two torchrun on this one."""
    with socket.socket() as free, ExitStack() as machines:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()

        def machine(is_host):
            shape = ["--nnodes", "2", "--nproc-per-node", "1", "--local-addr", "127.0.0.1"]
            shape += ["--rdzv-backend", "c10d", "--rdzv-endpoint", where]
            shape += ["--rdzv-conf", f"is_host={is_host}"]
            env = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
            begun = torchrun(tmp_path / "m", [*shape, *command], env)
            return machines.enter_context(ended(begun))

        first, second = machine(is_host=True), machine(is_host=False)
        await_epochs(tmp_path / "m", 2)
        end(second)
        again = machine(is_host=False)
        require_success(first)
        require_success(again)
    require_equal(read_bundle(tmp_path / "m" / "model.h5"), unbroken)


def test_machines_that_would_not_find_each_other_again_do_not_begin(monkeypatch):
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    message = (
        "would not find each other; on each machine, give it the rendezvous backend c10d and exp"
    )
    with pytest.raises(UsageError, match=message):
        is_main_process()


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
                said, _ = process.communicate(timeout=300)
                assert said.decode().split() == ["2.0"]


def joining(port, attempt, rank, late):
    """Start one of two processes as torchrun does."""
    env = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    env |= {"GROUP_WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    env |= {"TORCHELASTIC_RESTART_COUNT": attempt, "TORCHELASTIC_USE_AGENT_STORE": True}
    env = {**os.environ, **{name: str(value) for name, value in env.items()}}
    command = [sys.executable, "-c", JOIN, str(late)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE)


def torchrun(out, words, env=None):
    """Start torchrun; what it says goes to a file beside the results."""
    path = str(Path(sys.executable).with_name("torchrun"))
    env = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    with NamedTemporaryFile(dir=out.parent, suffix=".txt", delete=False) as said:
        begun = subprocess.Popen([path, *words, "--out", str(out)], env=env, stderr=said)
    begun.said = Path(said.name)
    return begun


def require_success(run):
    assert run.wait(timeout=300) == 0, run.said.read_text()


def require_equal(broken, unbroken):
    for column in unbroken.history:
        if column not in ("seconds", "images_per_second"):
            assert broken.history[column] == unbroken.history[column], column
    for name, weights in unbroken.weights.items():
        assert (broken.weights[name] == weights).all(), name


@contextmanager
def ended(process):
    """End the process, and those that it began, whatever happens."""
    with process:
        try:
            yield process
        finally:
            end(process)


def end(process):
    """Kill a process and those that it began, before it begins others."""
    if process.poll() is None:
        process.send_signal(signal.SIGSTOP)
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()


def await_epochs(out, count):
    """Wait until a training has so many epochs behind it, and some of the next."""
    table = out / "history.jsonl"
    for _ in range(3000):
        if table.exists() and len(table.read_text().splitlines()) >= count:
            time.sleep(0.2)
            return
        time.sleep(0.1)
    raise AssertionError("the training did not begin")
