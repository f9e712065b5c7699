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
from pleura.data import arrays
from pleura.data.arrays import open_prepared, write_prepared
from pleura.data.checked import piece_digests
from pleura.data.index import build_index
from pleura.data.manifest import read_manifest
from pleura.data.records import image_keys
from pleura.data.sources import find_sources
from pleura.errors import BundleError, ConfigError, DataError, DivergedError, UsageError
from pleura.models.bundle import read_bundle, write_bundle
from pleura.models.efficientnet import LITE0, read_weights
from pleura.models.loading import load_network
from pleura.synthesis.phantom import write_cohort
from pleura.training import memory, objective
from pleura.training import split as split_module
from pleura.training.batches import Images
from pleura.training.checkpoint import network_arrays, read_checkpoint
from pleura.training.history import COLUMNS, Sums
from pleura.training.loop import Trainer
from pleura.training.split import split

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
    deep = replace(NETWORK, deep_supervision=1)
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
    average_best=2,
    warmup=0.2,
    positive_fraction=0.8,
    loss="winner",
)


def test_with_everything_on_a_cut_off_training_resumes_to_the_same_numbers(prepared, tmp_path):
    whole = Trainer(prepared, tmp_path / "whole", NETWORK, EVERYTHING).run()
    _interrupted(prepared, tmp_path / "cut", EVERYTHING)
    same(whole, Trainer(prepared, tmp_path / "cut", NETWORK, EVERYTHING).run(resume=True))
    assert not list(tmp_path.rglob("best-*.h5"))


def test_the_average_of_the_best_epochs_is_kept_only_where_it_is_no_worse(prepared, tmp_path):
    trainer = Trainer(prepared, tmp_path, NETWORK, replace(SETTINGS, average_best=3))
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
    trainer.learner.take(network_arrays(loaded))
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
    settings = replace(SETTINGS, epochs=2, progressive_sizes=[32])
    trainer = Trainer(arrays, tmp_path / "m", NETWORK, settings)
    seen = []
    trainer.learner.network.register_forward_pre_hook(lambda _, x: seen.append(x[0].shape[-1]))
    trainer.run()
    training = [size for size in seen if size == 32]
    assert len(training) == len(trainer.loader)
    assert seen[-1] == 64
    with pytest.raises(
        ConfigError, match=r"train.progressive_sizes has 64, but the images are prepared at 64"
    ):
        Trainer(arrays, tmp_path / "n", NETWORK, replace(settings, progressive_sizes=[64]))


def test_batch_and_threads_are_found_and_resumed_with(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MOST", 8)
    settings = replace(SETTINGS, batch="auto", epochs=2)
    trainer = Trainer(prepared, tmp_path, NETWORK, settings)
    assert trainer.identity["train.batch"] == 8
    before = torch.get_num_threads()
    _interrupted(prepared, tmp_path / "cut", replace(settings, threads=before + 1))
    monkeypatch.setattr(memory, "MOST", 2)  # what fits is another thing now
    resumed = Trainer(prepared, tmp_path / "cut", NETWORK, settings)
    assert resumed.identity["train.batch"] == 8
    assert resumed.threads in (0, before)  # 0 on a GPU
    try:
        resumed.run(resume=True)
        assert resumed.threads in (0, before + 1)
    finally:
        torch.set_num_threads(before)


def test_the_share_of_positives_falls_to_the_true_one(prepared, tmp_path):
    trainer = Trainer(prepared, tmp_path, NETWORK, replace(SETTINGS, positive_fraction=0.9))
    positive = np.array([prepared.train[row].positive for row in trainer.split.train])
    shares = [positive[trainer.material.order(epoch)].mean() for epoch in range(SETTINGS.epochs)]
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
    with pytest.raises(BundleError, match=r"checkpoint.h5: is a text, not the checkpoint of a t"):
        Trainer(prepared, tmp_path, NETWORK, SETTINGS).run(resume=True)


def test_a_network_too_deep_for_the_size(prepared, tmp_path):
    with pytest.raises(ConfigError, match="needs a size divisible by 64, not 32"):
        Trainer(prepared, tmp_path, Network(depth=6, width=4), SETTINGS)


def test_more_folds_than_patients(prepared, tmp_path):
    with pytest.raises(DataError, match="patients cannot make 90 folds"):
        Trainer(prepared, tmp_path, NETWORK, replace(SETTINGS, folds=90))


def test_a_training_begins_with_pretrained_weights(prepared, tmp_path):
    stored = read_weights(LITE0)["_bn0.weight"]
    for pretrained in (True, False):
        network = Network(name="efficientnet", depth=3, pretrained=pretrained)
        trainer = Trainer(prepared, tmp_path, network, SETTINGS)
        found = network_arrays(trainer.learner.network)["encoder.stem.1.weight"]
        assert np.array_equal(found, stored.numpy()) == pretrained


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Six further radiographs, of nobody among the others."""
    folder = tmp_path_factory.mktemp("other")
    write_cohort(
        folder / "radiographs", train=6, test=0, seed=99, size=128, prevalence=0.5, workers=1
    )
    index = build_index(find_sources(Data(path=str(folder / "radiographs"))), workers=1)
    return write_prepared(index.train, (), folder / "prepared", size=32, workers=1)


@pytest.fixture(scope="module")
def start(other, tmp_path_factory):
    """A model of the further radiographs."""
    out = tmp_path_factory.mktemp("start")
    Trainer(other, out, NETWORK, replace(SETTINGS, epochs=1)).run()
    return out / "model.h5"


def test_a_training_begins_with_the_weights_of_another_model(start, prepared, tmp_path):
    first = read_bundle(start)
    settings = replace(SETTINGS, init_from=str(start), epochs=1)
    trainer = Trainer(prepared, tmp_path, NETWORK, settings)
    for name, array in network_arrays(trainer.learner.network).items():
        assert np.array_equal(array, first.weights[name]), name
    assert trainer.identity["train.init_from"] == first.digest
    # What trained the first trained this one too, and no evaluation may count it.
    assert set(first.trained_on.tolist()) <= set(trainer.run().trained_on.tolist())


def test_a_training_begins_with_the_one_network_of_an_ensemble(start, prepared, tmp_path):
    first = read_bundle(start)
    ensemble = Network(name="ensemble", width=0, depth=0, members=[first.network], tta=True)
    weights = {f"members.0.{name}": array for name, array in first.weights.items()}
    write_bundle(replace(first, network=ensemble, weights=weights), tmp_path / "both.h5")
    settings = replace(SETTINGS, init_from=str(tmp_path / "both.h5"), epochs=1)
    trainer = Trainer(prepared, tmp_path, NETWORK, settings)
    for name, array in network_arrays(trainer.learner.network).items():
        assert np.array_equal(array, first.weights[name]), name
    assert trainer.identity["train.init_from"] == read_bundle(tmp_path / "both.h5").digest


def test_a_model_of_another_network_cannot_be_begun_with(start, prepared, tmp_path):
    wider = replace(NETWORK, width=8)
    with pytest.raises(ConfigError, match=r"model\.h5, a network with width 4, not 8; begin with"):
        Trainer(prepared, tmp_path, wider, replace(SETTINGS, init_from=str(start)))


def test_a_model_that_saw_what_validates_cannot_be_begun_with(unbroken, prepared, tmp_path):
    start = tmp_path / "start.h5"
    write_bundle(unbroken, start)
    settings = replace(SETTINGS, init_from=str(start), fold=1)
    with pytest.raises(DataError, match=r"of the images that validate have trained; begin with"):
        Trainer(prepared, tmp_path / "run", NETWORK, settings)


def test_further_radiographs_train_beside_the_others_and_never_validate(prepared, other, tmp_path):
    settings = replace(SETTINGS, extra=[str(other.path)], extra_share=0.25, epochs=2)
    trainer = Trainer(prepared, tmp_path, NETWORK, settings)
    alone = Trainer(prepared, tmp_path, NETWORK, SETTINGS)
    own, share = len(alone.split.train), round(len(alone.split.train) / 3)
    for epoch in range(2):
        order = trainer.material.order(epoch)
        assert len(order) == own + share
        assert sorted(order[order < own]) == list(range(own))
        assert list(order[order < own]) == list(alone.material.order(epoch))
        assert order.max() < own + len(other.train)
    bundle = trainer.run()
    keys = set(image_keys(other.train).tolist())
    assert keys <= set(bundle.trained_on.tolist())
    assert bundle.training["extra_images"] == len(other.train)
    assert bundle.training["validation_images"] == len(alone.split.validation)
    assert bundle.training["train.extra"] == [other.fingerprint]


def test_the_pictures_of_further_radiographs_reach_the_network(prepared, other):
    rows = np.array([4, 2])
    images = Images((prepared, rows), (other, np.arange(6)))
    batch = images.read([1, 2, 0, 7])
    x, y = batch.x, batch.y
    assert batch.beliefs is None
    expected = [prepared.x_train[2], other.x_train[0], prepared.x_train[4], other.x_train[5]]
    assert np.array_equal(x[:, 0].numpy(), np.stack(expected))
    masks = [prepared.y_train[2], other.y_train[0], prepared.y_train[4], other.y_train[5]]
    assert np.array_equal(y[:, 0].numpy(), 255 * np.stack(masks))


def test_further_radiographs_that_validate_are_refused(prepared, tmp_path):
    settings = replace(SETTINGS, extra=[str(prepared.path)])
    with pytest.raises(DataError, match=r"of its images are among those of .* that validate"):
        Trainer(prepared, tmp_path, NETWORK, settings)


def test_further_radiographs_of_another_size_are_refused(small_index, prepared, tmp_path):
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


@pytest.fixture(scope="module")
def weak(prepared, tmp_path_factory):
    """The same without masks: a third has boxes, the others a label of little belief."""
    records = [
        replace(
            record,
            image_id=f"weak-{number}",
            encoded_pixels=None,
            area_px=None,
            label_weight=0.5,
            label=0.9 if record.positive else 0.2,
            boxes="8 8 40 60" if record.positive and number % 3 == 0 else "",
            pixel_hash=f"{number + 1:016x}" + 16 * "0",
        )
        for number, record in enumerate(prepared.train)
    ]
    out = tmp_path_factory.mktemp("weak")
    for name in ("X_train.npy", "X_test.npy"):
        (out / name).write_bytes((prepared.path / name).read_bytes())
    empty, known = np.zeros(prepared.y_train.shape, np.bool_), read_manifest(prepared.path)
    np.save(out / "Y_train.npy", empty)
    digests = {"x_train": known.x_train, "y_train": piece_digests(empty, 1), "x_test": known.x_test}
    about = (prepared.size, known.fingerprint, known.masks)
    arrays.finish(out, records, prepared.test, *about, digests)
    return open_prepared(out)


def test_radiographs_without_masks_train_the_score_and_resume_to_the_same_numbers(
    prepared, weak, tmp_path
):
    settings = replace(SETTINGS, extra=[str(weak.path)], loss="winner", positive_fraction=0.7)
    whole = Trainer(prepared, tmp_path / "whole", NETWORK, settings)
    bundle = whole.run()
    assert all(np.isfinite(column).all() for column in bundle.history.values())
    positive = np.array([record.positive for record in weak.train])
    own = len(whole.split.train)
    drawn = whole.material.order(0)
    assert positive[drawn[drawn >= own] - own].mean() == pytest.approx(0.7, abs=0.05)
    _interrupted(prepared, tmp_path / "cut", settings)
    same(bundle, Trainer(prepared, tmp_path / "cut", NETWORK, settings).run(resume=True))


def test_what_is_not_known_of_a_mask_trains_no_mask(prepared, weak, tmp_path):
    """With nothing to be said of masks the head of the mask does not move."""
    settings = replace(
        SETTINGS, epochs=1, keep="last", empty_masks=0.0, box_loss=0.0, weight_decay=0.0
    )
    rows = [row for row, record in enumerate(weak.train) if not record.boxes]
    folder = replace(
        weak,
        x_train=weak.x_train[rows],
        y_train=weak.y_train[rows],
        train=tuple(weak.train[row] for row in rows),
    )
    cnn = Network(name="cnn", width=4, depth=2)
    trainer = Trainer(folder, tmp_path, cnn, settings)
    before = network_arrays(trainer.learner.network)
    bundle = trainer.run()
    moved = {n for n, array in bundle.weights.items() if not np.array_equal(array, before[n])}
    assert not any(name.startswith("head.") for name in moved)
    assert any(name.startswith("score.") for name in moved)
    assert np.isnan(bundle.history["dice_coeff"]).all()
    assert np.isnan(bundle.history["val_dice_coeff"]).all()
    assert np.isfinite(bundle.history["val_loss"]).all()


@pytest.mark.parametrize("wrong", [{}, {"keep": "last", "schedule": "plateau"}])
def test_without_an_annotated_mask_no_epoch_is_chosen(weak, tmp_path, wrong):
    with pytest.raises(ConfigError, match="in which no annotated mask validates has none to choos"):
        Trainer(weak, tmp_path, NETWORK, replace(SETTINGS, **wrong))


def with_patients(folder, numbers):
    """Return a prepared folder as one of NIH's radiographs of the patients of these numbers."""
    pairs = zip(folder.train, numbers, strict=True)
    return replace(folder, train=tuple(replace(r, nih_patient=n) for r, n in pairs))


def test_no_patient_trains_in_one_folder_and_validates_in_another(
    prepared, weak, tmp_path, monkeypatch
):
    numbers = [n // 3 + 1 for n in range(len(prepared.train))]  # unlike the folds' own patients
    first, second = with_patients(prepared, numbers), with_patients(weak, numbers)
    monkeypatch.setattr(split_module, "open_prepared", lambda path: second)
    settings = replace(SETTINGS, extra=["weak"], epochs=1)
    trainer = Trainer(first, tmp_path, NETWORK, settings)
    validating = {numbers[row] for row in trainer.split.validation}
    ((_, rows),) = trainer.material.extra
    assert {second.train[row].nih_patient for row in rows} == set(numbers) - validating
    gone = len(numbers) - len(rows)
    assert trainer.note == (
        "left out, because radiographs of the same patients validate: "
        f"{gone} of {len(numbers)} in {weak.path}"
    )
    bundle = trainer.run()
    assert bundle.training["extra_images"] == len(rows)
    left_out = image_keys([r for r in second.train if r.nih_patient in validating])
    assert not np.isin(left_out, bundle.trained_on).any()


def test_a_further_folder_of_nobody_else_is_refused(prepared, weak, tmp_path, monkeypatch):
    numbers = [7] * len(prepared.train)
    monkeypatch.setattr(split_module, "open_prepared", lambda path: with_patients(weak, numbers))
    with pytest.raises(DataError, match="nothing of it can train, because patients of all its 35"):
        Trainer(
            with_patients(prepared, numbers), tmp_path, NETWORK, replace(SETTINGS, extra=["weak"])
        )


WAY_OUT = "train anew, in another `out`, with a smaller train.learning_rate, with train.clip, or"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_no_number_ends_the_training(
    prepared, unbroken, tmp_path, monkeypatch, value
):
    real, over = objective.LOSSES["bce_dice"], []
    monkeypatch.setitem(
        objective.LOSSES, "bce_dice", lambda *given: real(*given) * (value if over else 1.0)
    )

    def later(step):
        if step.finished and step.epoch == 2:
            over.append(True)

    message = (
        rf"{tmp_path}: in epoch 3 the loss became .+\(epochs 1 to 2 are kept in .+\); {WAY_OUT}"
    )
    with pytest.raises(DivergedError, match=message):
        Trainer(prepared, tmp_path, NETWORK, SETTINGS).run(on_step=later)
    assert len(read_bundle(tmp_path / "model.h5").history["loss"]) in (1, 2)
    assert read_checkpoint(tmp_path / "checkpoint.h5").epoch == 2
    over.clear()
    same(unbroken, Trainer(prepared, tmp_path, NETWORK, SETTINGS).run(resume=True))


def test_validation_that_gives_no_number_in_the_first_epoch(prepared, tmp_path, monkeypatch):
    trainer = Trainer(prepared, tmp_path, NETWORK, SETTINGS)
    monkeypatch.setattr(trainer, "_validate", lambda: Sums(torch.full((4,), torch.nan)))
    message = r"in epoch 1 the loss of what validates became .+ \(no epoch is kept\); train anew"
    with pytest.raises(DivergedError, match=message):
        trainer.run()
    assert not list(tmp_path.glob("*.h5"))


def test_weights_that_are_no_numbers_are_never_kept(prepared, tmp_path):
    """Where nothing validates, the last step of an epoch could spoil them unseen."""
    trainer = Trainer(prepared, tmp_path, NETWORK, replace(SETTINGS, keep="last"), whole=True)

    def spoil(step):
        if step.step == step.steps and not step.finished:
            next(trainer.learner.network.parameters()).data[0] = torch.nan

    with pytest.raises(DivergedError, match=r"in epoch 1 the weights became infinite or no number"):
        trainer.run(on_step=spoil)
    assert not list(tmp_path.glob("*.h5"))
