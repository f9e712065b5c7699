import multiprocessing
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from pleura.config import Network, Train
from pleura.data.arrays import open_prepared, write_prepared
from pleura.errors import BundleError, ConfigError, DataError, UsageError
from pleura.models.bundle import read_bundle
from pleura.models.efficientnet import read_weights
from pleura.training.checkpoint import network_arrays, read_checkpoint
from pleura.training.loop import COLUMNS, Trainer, learning_rate, split

NETWORK = Network(name="unet", width=4, depth=3)
SETTINGS = Train(epochs=3, batch=8, folds=3, precision="fp32")


@pytest.fixture(scope="module")
def prepared(small_index, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "p"
    return write_prepared(small_index.train, small_index.test, folder, size=32, workers=1)


@pytest.fixture(scope="module")
def unbroken(prepared, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken")
    return Trainer(prepared, out, NETWORK, SETTINGS).run()


def same(first, second):
    assert first.weights.keys() == second.weights.keys()
    for name in first.weights:
        assert np.array_equal(first.weights[name], second.weights[name]), name
    for name in set(COLUMNS) - {"seconds"}:
        assert first.history[name] == second.history[name], name


def test_the_split_keeps_patients_apart_and_covers_everything(prepared):
    parts = split(prepared, 3, 0, 0)
    both = np.concatenate([parts.train, parts.validation])
    assert sorted(both) == list(range(len(prepared.train)))
    sides = [
        {prepared.train[row].patient for row in rows} for rows in (parts.train, parts.validation)
    ]
    assert not sides[0] & sides[1]


def test_the_history_and_the_bundle(unbroken, prepared):
    assert tuple(unbroken.history) == COLUMNS
    assert unbroken.history["epoch"] == [1, 2, 3]
    assert all(np.isfinite(column).all() for column in unbroken.history.values())
    assert unbroken.training["fingerprint"] == prepared.fingerprint
    assert len(unbroken.trained_on) == unbroken.training["images"]
    assert unbroken.network == NETWORK


def test_the_same_seed_gives_the_same_network(unbroken, prepared, tmp_path):
    same(unbroken, Trainer(prepared, tmp_path, NETWORK, SETTINGS).run())


def test_another_seed_gives_another(unbroken, prepared, tmp_path):
    other = Trainer(prepared, tmp_path, NETWORK, replace(SETTINGS, seed=1, epochs=1)).run()
    name = next(iter(other.weights))
    assert not np.array_equal(other.weights[name], unbroken.weights[name])


def _train_and_wait(folder, out):
    def slowly(step):
        if step.epoch == 2 and step.finished is None:
            time.sleep(60)

    Trainer(open_prepared(folder), out, NETWORK, SETTINGS).run(on_step=slowly)


def test_a_killed_training_resumes_to_the_same_numbers(unbroken, prepared, tmp_path):
    child = multiprocessing.get_context("spawn").Process(
        target=_train_and_wait, args=(prepared.path, tmp_path)
    )
    child.start()
    deadline = time.monotonic() + 120
    while not (tmp_path / "checkpoint.h5").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert read_checkpoint(tmp_path / "checkpoint.h5").epoch == 1
    trainer = Trainer(prepared, tmp_path, NETWORK, SETTINGS)
    same(unbroken, trainer.run(resume=True))
    same(unbroken, Trainer(prepared, tmp_path, NETWORK, SETTINGS).run(resume=True))
    trainer.finish()
    assert not (tmp_path / "checkpoint.h5").exists()
    same(unbroken, read_bundle(tmp_path / "model.h5"))


def _interrupted(prepared, out):
    def stop(step):
        if step.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(prepared, out, NETWORK, SETTINGS).run(on_step=stop)


def test_after_ctrl_c_the_finished_epochs_are_there(prepared, tmp_path):
    _interrupted(prepared, tmp_path)
    assert read_bundle(tmp_path / "model.h5").history["epoch"] == [1]


def test_a_training_is_not_begun_over_another(prepared, tmp_path):
    _interrupted(prepared, tmp_path)
    with pytest.raises(UsageError, match="there is a training in this folder already; go on with"):
        Trainer(prepared, tmp_path, NETWORK, SETTINGS).run()


def test_resuming_with_other_settings_is_refused_by_name(prepared, tmp_path):
    _interrupted(prepared, tmp_path)
    other = replace(SETTINGS, learning_rate=0.5)
    with pytest.raises(UsageError, match=r"train.learning_rate 0.001, now it is 0.5; resume with"):
        Trainer(prepared, tmp_path, NETWORK, other).run(resume=True)


def test_resuming_over_a_finished_model_of_other_settings_is_refused(prepared, tmp_path):
    short = replace(SETTINGS, epochs=1)
    trainer = Trainer(prepared, tmp_path, NETWORK, short)
    trainer.run()
    trainer.finish()
    with pytest.raises(UsageError, match="is a finished training of other data or settings"):
        Trainer(prepared, tmp_path, NETWORK, SETTINGS).run(resume=True)


def test_a_first_epoch_cut_off_before_its_checkpoint_is_begun_again(prepared, tmp_path, unbroken):
    _interrupted(prepared, tmp_path)
    (tmp_path / "checkpoint.h5").unlink()  # model.h5 was written, the disk was full for the other
    same(unbroken, Trainer(prepared, tmp_path, NETWORK, SETTINGS).run(resume=True))


def test_a_damaged_checkpoint_is_said_so(prepared, tmp_path):
    (tmp_path / "checkpoint.h5").write_bytes(b"nothing")
    with pytest.raises(BundleError, match=r"checkpoint.h5: cannot be read as a checkpoint"):
        Trainer(prepared, tmp_path, NETWORK, SETTINGS).run(resume=True)


def test_a_network_too_deep_for_the_size(prepared, tmp_path):
    with pytest.raises(ConfigError, match="needs a size divisible by 64, not 32"):
        Trainer(prepared, tmp_path, Network(depth=6, width=4), SETTINGS)


def test_more_folds_than_patients(prepared, tmp_path):
    with pytest.raises(DataError, match="patients cannot make 90 folds"):
        Trainer(prepared, tmp_path, NETWORK, replace(SETTINGS, folds=90))


def test_the_rate_rises_then_falls_to_nothing():
    rates = [learning_rate(step, 100, 1.0) for step in range(100)]
    assert rates[9] == 1.0 == max(rates)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01


def test_a_training_begins_with_pretrained_weights(prepared, tmp_path):
    stored = read_weights()["_bn0.weight"]
    for pretrained in (True, False):
        network = Network(name="efficientnet", depth=3, pretrained=pretrained)
        trainer = Trainer(prepared, tmp_path, network, SETTINGS)
        found = network_arrays(trainer.network)["encoder.stem.1.weight"]
        assert np.array_equal(found, stored.numpy()) == pretrained
