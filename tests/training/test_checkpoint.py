"""Checkpoints: they come back as they were, or not at all."""

import math

import numpy as np
import pytest

from pleura.errors import BundleError
from pleura.models.sealed_file import write_sealed
from pleura.training.checkpoint import FORMAT, Checkpoint, read_checkpoint, write_checkpoint
from tests.models.sealing import with_text


@pytest.fixture
def checkpoint():
    rng = np.random.default_rng(0)
    return Checkpoint(
        epoch=2,
        identity={"fingerprint": "f", "train.progressive_sizes": [32], "train.ema": 0.5},
        history={"loss": [0.5, 0.25], "val_loss": [math.nan, math.nan]},
        weights={"w": rng.normal(size=(3, 4)).astype(np.float32), "n": np.array(7)},
        optimizer={"0.step": np.array(2.0, np.float32)},
        average={"w": rng.normal(size=(3, 4)).astype(np.float32)},
        updates=4,
        scaler={"scale": 65536.0, "_growth_tracker": 3},
    )


@pytest.fixture
def path(checkpoint, tmp_path):
    write_checkpoint(checkpoint, tmp_path / "checkpoint.h5")
    return tmp_path / "checkpoint.h5"


def test_it_comes_back(checkpoint, path):
    found = read_checkpoint(path)
    for name in ("epoch", "identity", "updates", "scaler"):
        assert getattr(found, name) == getattr(checkpoint, name)
    assert type(found.scaler["_growth_tracker"]) is int
    for group in ("history", "weights", "optimizer", "average"):
        for name, values in getattr(checkpoint, group).items():
            assert np.array_equal(getattr(found, group)[name], values, equal_nan=True)


def test_a_changed_weight_is_noticed(checkpoint, path):
    content = bytearray(path.read_bytes())
    content[content.index(checkpoint.weights["w"].tobytes()) + 5] ^= 1
    path.write_bytes(content)
    message = r"checkpoint.h5: does not match its digest; .*; remove it to train from the start"
    with pytest.raises(BundleError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"epoch"', b'"epohc"', "its text: unknown key epohc; did you mean epoch"),
        (b'"updates": 4', b'"updates": -4', "its text: updates is -4"),
        (b"0.25", b"NaN", "its text is not JSON as pleura writes it"),
    ],
)
def test_a_text_that_pleura_never_writes(path, old, new, message):
    with_text(path, lambda text: text.replace(old, new))
    with pytest.raises(BundleError, match=f"checkpoint.h5: .*{message}"):
        read_checkpoint(path)


def test_a_model_is_no_checkpoint(path):
    write_sealed(path, "model", (FORMAT, "0"), {}, {})
    with pytest.raises(
        BundleError, match=r"is a model.h5, not the checkpoint of a training; remov"
    ):
        read_checkpoint(path)
