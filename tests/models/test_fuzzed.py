"""Fuzzed model files and checkpoints: refused in one line, or answered as the sound file is."""

import shutil
import subprocess

import numpy as np
import pytest

from pleura.models.onnx_file import onnx_bytes
from pleura.models.openvino_file import openvino_bytes
from pleura.processes.isolation import python_command
from pleura.training.checkpoint import Checkpoint, write_checkpoint

SECONDS = 6


def put(tiny_model, exported, folder, name):
    """Write a sound file of that name into `folder`."""
    path = folder / name
    if name == "model.h5":
        shutil.copy(tiny_model, path)
    elif name == "checkpoint.h5":
        arrays = {"w": np.ones((4, 4), np.float32)}
        history = {"loss": [0.5], "val_loss": [float("nan")]}
        write_checkpoint(Checkpoint(1, {"a": 0.5}, history, arrays, dict(arrays)), path)
    elif name == "model.onnx":
        bundle = exported("onnx")
        path.write_bytes(onnx_bytes(bundle, bundle.exported))
    else:
        bundle = exported("openvino")
        (folder / "model.xml").write_bytes(openvino_bytes(bundle, bundle.exported))
        (folder / "model.bin").write_bytes(bundle.exported.weights)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.h5", "checkpoint.h5", "model.onnx", "model.xml"])
def test_changed_files_are_refused_or_say_the_same(tiny_model, exported, tmp_path, name):
    path = put(tiny_model, exported, tmp_path, name)
    command = f"from tests.models.fuzzing import fuzz; fuzz({str(path)!r}, 1, {SECONDS})"
    ended = subprocess.run(
        python_command(command), capture_output=True, text=True, timeout=SECONDS + 240, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert int(ended.stdout.split()[0]) > 5
