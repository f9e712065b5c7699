import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pleura.config import Network, Train
from pleura.engines.engine import Probabilities
from pleura.errors import BundleError, UsageError
from pleura.evaluation.decision import fit_decision
from pleura.evaluation.predictions import count_image, joined
from pleura.models.bundle import read_bundle, write_bundle
from pleura.stages.train import is_trained, train_model
from pleura.training.loop import Trainer


def said(images=120):
    """Yield what a network could say, counted: score and label go together, though not always."""
    rng = np.random.default_rng(3)
    for _ in range(images):
        truth = np.zeros((16, 16), np.bool_)
        truth[:4] = rng.random() < 0.5
        score = float(rng.beta(4, 2) if truth.any() else rng.beta(2, 4))
        maps = truth[None].astype(np.float32) * 0.8
        yield count_image(Probabilities(maps, np.array([score])), truth)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_the_calibration_is_the_one_asked_for(method):
    assert fit_decision(joined(said()), method).calibration.method == method


@pytest.fixture(scope="module")
def finished(small_prepared, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "m"
    train_model(trainer_in(out, small_prepared))
    return out


def trainer_in(out, prepared):
    network = Network(name="cnn", width=4, depth=2)
    return Trainer(prepared, out, network, Train(epochs=1, batch=16, folds=3, precision="fp32"))


def test_a_training_is_finished_where_the_model_is_the_one_its_record_tells_of(
    finished, small_prepared, tiny_model, tmp_path
):
    out = shutil.copytree(finished, tmp_path / "m")
    trainer = trainer_in(out, small_prepared)
    assert is_trained(trainer)
    bundle = read_bundle(out / "model.h5")
    point = replace(bundle.operating_point, score=0.123)
    write_bundle(replace(bundle, operating_point=point), out / "model.h5")
    assert is_trained(trainer), "the thresholds may be chosen anew"
    shutil.copy(tiny_model, out / "model.h5")
    assert not is_trained(trainer)
    with pytest.raises(UsageError, match=r"model.h5: is a finished training of other data"):
        train_model(trainer, resume=True)
    (out / "model.h5").write_bytes((finished / "model.h5").read_bytes()[:-1])
    assert not is_trained(trainer)
    with pytest.raises(BundleError, match=r"model.h5: .+; remove it to train from the start"):
        train_model(trainer, resume=True)
    (out / "model.h5").unlink()
    assert not is_trained(trainer)
    assert train_model(trainer, resume=True).digest == bundle.digest
    assert is_trained(trainer)


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "1", "{}", '{"weights": 1}', "9" * 5000])
def test_a_record_that_is_none(finished, small_prepared, tmp_path, text):
    out = shutil.copytree(finished, tmp_path / "m")
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(text)
    assert not is_trained(trainer_in(out, small_prepared))
    (out / "run.json").write_text(json.dumps({**record, "weights": None}))
    assert not is_trained(trainer_in(out, small_prepared))
