import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from pleura.config import Data, Network, Train
from pleura.data.arrays import open_prepared, write_prepared
from pleura.data.index import build_index
from pleura.data.phantom import write_cohort
from pleura.data.records import image_keys
from pleura.data.sources import find_sources
from pleura.errors import BundleError, ConfigError, DataError, UsageError
from pleura.inference.torch_engine import load_network
from pleura.models.bundle import read_bundle, write_bundle
from pleura.models.efficientnet import read_weights
from pleura.training import memory
from pleura.training.batches import Images
from pleura.training.checkpoint import network_arrays, read_checkpoint
from pleura.training.loop import COLUMNS, Trainer, split

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


def _interrupted(prepared, out, settings=SETTINGS, network=NETWORK):
    def stop(step):
        if step.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(prepared, out, network, settings).run(on_step=stop)


def test_deep_supervision_changes_what_is_learnt_and_resumes_to_the_same_numbers(
    prepared, tmp_path, unbroken
):
    deep = replace(NETWORK, deep=1)
    whole = Trainer(prepared, tmp_path / "whole", deep, SETTINGS).run()
    assert whole.history["loss"] != unbroken.history["loss"]
    assert "coarser.0.weight" in whole.weights

    _interrupted(prepared, tmp_path / "cut", network=deep)
    same(whole, Trainer(prepared, tmp_path / "cut", deep, SETTINGS).run(resume=True))


EVERYTHING = replace(
    SETTINGS,
    epochs=4,
    batch=4,
    accumulate=2,
    ema=0.9,
    clip=0.5,
    schedule="plateau",
    best=2,
    warmup=0.2,
    positives=0.8,
    loss="winner",
)


def test_with_everything_on_a_cut_off_training_resumes_to_the_same_numbers(prepared, tmp_path):
    whole = Trainer(prepared, tmp_path / "whole", NETWORK, EVERYTHING).run()
    _interrupted(prepared, tmp_path / "cut", EVERYTHING)
    same(whole, Trainer(prepared, tmp_path / "cut", NETWORK, EVERYTHING).run(resume=True))
    assert not list(tmp_path.rglob("best-*.h5"))


def test_the_average_of_the_best_epochs_is_kept_only_where_it_is_no_worse(prepared, tmp_path):
    trainer = Trainer(prepared, tmp_path, NETWORK, replace(SETTINGS, best=3))
    bundle = trainer.run()
    about, best = bundle.training, max(bundle.history["val_dice_coeff"])
    assert about["averaged_epochs"] == 3
    assert about["averaged"] == (about["averaged_val_dice_coeff"] >= best)
    alone = Trainer(prepared, tmp_path / "alone", NETWORK, SETTINGS).run()
    name = next(iter(bundle.weights))
    assert np.array_equal(bundle.weights[name], alone.weights[name]) != about["averaged"]


def test_the_moving_average_is_what_is_validated_and_kept(prepared, tmp_path, unbroken):
    settings = replace(SETTINGS, ema=0.99)
    trainer = Trainer(prepared, tmp_path, NETWORK, settings)
    bundle = trainer.run()
    assert bundle.history["loss"] == unbroken.history["loss"]  # it does not touch the training
    assert bundle.history["val_loss"] != unbroken.history["val_loss"]
    best = int(np.argmax(bundle.history["val_dice_coeff"]))
    loaded = load_network(bundle)
    trainer._average = None
    trainer._bare().load_state_dict(loaded.state_dict())
    assert trainer._validate().dice_coeff == pytest.approx(bundle.history["val_dice_coeff"][best])


def test_a_training_that_gets_no_better_ends_early(prepared, tmp_path):
    settings = replace(SETTINGS, epochs=30, learning_rate=1e-9, patience=2)
    history = Trainer(prepared, tmp_path, NETWORK, settings).run().history
    assert 3 <= len(history["epoch"]) < 30


def test_accumulated_batches_make_the_step_of_one_large_batch(prepared, tmp_path):
    cnn = Network(name="cnn", width=4, depth=2)  # no batch statistics
    large = replace(SETTINGS, loss="bce", epochs=2, batch=8)
    small = replace(large, batch=4, accumulate=2)
    bundles = [
        Trainer(prepared, tmp_path / str(n), cnn, settings).run()
        for n, settings in enumerate((large, small))
    ]
    for name, weights in bundles[0].weights.items():
        assert bundles[1].weights[name] == pytest.approx(weights, abs=1e-5), name


def test_images_grow_over_the_training(small_index, tmp_path):
    arrays = write_prepared(small_index.train, [], tmp_path / "p", size=64, workers=1)
    settings = replace(SETTINGS, epochs=2, grow=[32])
    trainer = Trainer(arrays, tmp_path / "m", NETWORK, settings)
    seen = []
    trainer.network.register_forward_pre_hook(lambda _, x: seen.append(x[0].shape[-1]))
    trainer.run()
    training = [size for size in seen if size == 32]
    assert len(training) == len(trainer.loader)
    assert seen[-1] == 64
    with pytest.raises(ConfigError, match=r"train.grow has 64, but the images are prepared at 64"):
        Trainer(arrays, tmp_path / "n", NETWORK, replace(settings, grow=[64]))


def test_the_batch_that_fits_is_found_and_resumed_with(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MOST", 8)
    settings = replace(SETTINGS, batch="auto", epochs=2)
    trainer = Trainer(prepared, tmp_path, NETWORK, settings)
    assert trainer.identity["train.batch"] == 8
    _interrupted(prepared, tmp_path / "cut", settings)
    monkeypatch.setattr(memory, "MOST", 2)  # what fits is another thing now
    resumed = Trainer(prepared, tmp_path / "cut", NETWORK, settings)
    assert resumed.identity["train.batch"] == 8
    resumed.run(resume=True)


def test_the_share_of_positives_falls_to_the_true_one(prepared, tmp_path):
    trainer = Trainer(prepared, tmp_path, NETWORK, replace(SETTINGS, positives=0.9))
    positive = np.array([prepared.train[row].positive for row in trainer.split.train])
    shares = [positive[trainer._order(epoch)].mean() for epoch in range(SETTINGS.epochs)]
    assert shares[0] == pytest.approx(0.9, abs=0.03)
    assert shares[-1] == pytest.approx(positive.mean(), abs=0.03)
    assert shares == sorted(shares, reverse=True)


def test_half_precision_needs_a_gpu(prepared, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match=r"train.precision is fp16, which needs a GPU; take bf16"):
        Trainer(prepared, tmp_path, NETWORK, replace(SETTINGS, precision="fp16"))


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


def test_a_training_begins_with_pretrained_weights(prepared, tmp_path):
    stored = read_weights()["_bn0.weight"]
    for pretrained in (True, False):
        network = Network(name="efficientnet", depth=3, pretrained=pretrained)
        trainer = Trainer(prepared, tmp_path, network, SETTINGS)
        found = network_arrays(trainer.network)["encoder.stem.1.weight"]
        assert np.array_equal(found, stored.numpy()) == pretrained


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Six further films, of nobody among the others."""
    folder = tmp_path_factory.mktemp("other")
    write_cohort(folder / "films", train=6, test=0, seed=99, size=128, prevalence=0.5, workers=1)
    index = build_index(find_sources(Data(path=str(folder / "films"))), workers=1)
    return write_prepared(index.train, (), folder / "prepared", size=32, workers=1)


@pytest.fixture(scope="module")
def start(other, tmp_path_factory):
    """A model of the further films."""
    out = tmp_path_factory.mktemp("start")
    Trainer(other, out, NETWORK, replace(SETTINGS, epochs=1)).run()
    return out / "model.h5"


def test_a_training_begins_with_the_weights_of_another_model(start, prepared, tmp_path):
    first = read_bundle(start)
    settings = replace(SETTINGS, start=str(start), epochs=1)
    trainer = Trainer(prepared, tmp_path, NETWORK, settings)
    for name, array in network_arrays(trainer.network).items():
        assert np.array_equal(array, first.weights[name]), name
    assert trainer.identity["train.start"] == first.digest
    # What trained the first trained this one too, and no evaluation may count it.
    assert set(first.trained_on.tolist()) <= set(trainer.run().trained_on.tolist())


def test_a_model_of_another_network_cannot_be_begun_with(start, prepared, tmp_path):
    wider = replace(NETWORK, width=8)
    with pytest.raises(ConfigError, match=r"model\.h5, a network with width 4, not 8; start with"):
        Trainer(prepared, tmp_path, wider, replace(SETTINGS, start=str(start)))


def test_a_model_that_saw_what_validates_cannot_be_begun_with(unbroken, prepared, tmp_path):
    start = tmp_path / "start.h5"
    write_bundle(unbroken, start)
    settings = replace(SETTINGS, start=str(start), fold=1)
    with pytest.raises(DataError, match=r"of the images that validate have trained; start with"):
        Trainer(prepared, tmp_path / "run", NETWORK, settings)


def test_further_films_train_beside_the_others_and_never_validate(prepared, other, tmp_path):
    settings = replace(SETTINGS, extra=[str(other.path)], extra_share=0.25, epochs=2)
    trainer = Trainer(prepared, tmp_path, NETWORK, settings)
    alone = Trainer(prepared, tmp_path, NETWORK, SETTINGS)
    own, share = len(alone.split.train), round(len(alone.split.train) / 3)
    for epoch in range(2):
        order = trainer._order(epoch)
        assert len(order) == own + share
        assert sorted(order[order < own]) == list(range(own))
        assert list(order[order < own]) == list(alone._order(epoch))
        assert order.max() < own + len(other.train)
    bundle = trainer.run()
    keys = set(image_keys(other.train).tolist())
    assert keys <= set(bundle.trained_on.tolist())
    assert bundle.training["extra_images"] == len(other.train)
    assert bundle.training["validation_images"] == len(alone.split.validation)
    assert bundle.training["train.extra"] == [other.fingerprint]


def test_the_pictures_of_further_films_reach_the_network(prepared, other):
    rows = np.array([4, 2])
    images = Images((prepared, rows), (other, np.arange(6)))
    x, y = images.read([1, 2, 0, 7])
    expected = [prepared.x_train[2], other.x_train[0], prepared.x_train[4], other.x_train[5]]
    assert np.array_equal(x[:, 0].numpy(), np.stack(expected))
    masks = [prepared.y_train[2], other.y_train[0], prepared.y_train[4], other.y_train[5]]
    assert np.array_equal(y[:, 0].numpy(), np.stack(masks))


def test_further_films_that_validate_are_refused(prepared, tmp_path):
    settings = replace(SETTINGS, extra=[str(prepared.path)])
    with pytest.raises(DataError, match=r"of its images are among those of .* that validate"):
        Trainer(prepared, tmp_path, NETWORK, settings)


def test_further_films_of_another_size_are_refused(small_index, prepared, tmp_path):
    larger = write_prepared(small_index.train, (), tmp_path / "larger", size=64, workers=1)
    with pytest.raises(DataError, match=r"is prepared at 64 pixels, .* at 32; prepare both alike"):
        Trainer(prepared, tmp_path, NETWORK, replace(SETTINGS, extra=[str(larger.path)]))


def test_the_last_epoch_is_kept_where_that_is_asked_for(prepared, tmp_path):
    # A rate far too high in the end: the last epoch is not the best one.
    settings = replace(SETTINGS, keep="last", epochs=2, learning_rate=1.0, schedule="cosine")
    trainer = Trainer(prepared, tmp_path, NETWORK, settings)
    bundle = trainer.run()
    last = read_checkpoint(tmp_path / "checkpoint.h5").weights
    assert all(np.array_equal(last[name], bundle.weights[name]) for name in last)


def test_a_training_on_all_images_validates_on_none(prepared, tmp_path):
    settings = replace(SETTINGS, keep="last", epochs=2)
    bundle = Trainer(prepared, tmp_path, NETWORK, settings, whole=True).run()
    assert bundle.training["images"] == len(prepared.train)
    assert bundle.training["validation_images"] == 0
    assert bundle.training["whole"] is True
    assert np.isnan(bundle.history["val_loss"]).all()
    assert np.isfinite(bundle.history["loss"]).all()
    logged = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [sorted(row) for row in logged] == 2 * [
        ["dice_coeff", "epoch", "learning_rate", "loss", "seconds"]
    ]


@pytest.mark.parametrize("wrong", [{"keep": "best"}, {"keep": "last", "schedule": "plateau"}])
def test_a_training_on_all_images_cannot_choose(prepared, tmp_path, wrong):
    with pytest.raises(ConfigError, match="a training on all images has none to choose by"):
        Trainer(prepared, tmp_path, NETWORK, replace(SETTINGS, **wrong), whole=True)
