from dataclasses import replace

import numpy as np
import pytest
import torch

from pleura.config import Network
from pleura.data.prepare import PREPARATION
from pleura.engines import threads
from pleura.engines.choice import open_engine
from pleura.engines.convert import to_onnx, to_openvino
from pleura.errors import UsageError
from pleura.models import zoo
from pleura.models.bundle import Bundle, Preprocessing, read_bundle
from pleura.models.model_file import read_model
from pleura.models.onnx_file import onnx_bytes
from pleura.models.openvino_file import openvino_bytes
from pleura.training.checkpoint import network_arrays

KINDS = ("openvino", "onnx")


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(256, size=(3, 64, 64), dtype=np.uint8)


def saved(bundle, folder):
    """Write an exported bundle as `pleura export` does, and return its file."""
    if bundle.exported.kind == "onnx":
        path = folder / "model.onnx"
        path.write_bytes(onnx_bytes(bundle, bundle.exported))
        return path
    path = folder / "model.xml"
    path.write_bytes(openvino_bytes(bundle, bundle.exported))
    path.with_suffix(".bin").write_bytes(bundle.exported.weights)
    return path


def agree(bundle, pixels, tmp_path):
    """Assert that both engines, from their files, answer as torch does, in a batch or alone."""
    reference = open_engine(bundle, "torch", precision="fp32").probabilities(pixels)
    for convert in (to_openvino, to_onnx):
        found = read_model(saved(replace(bundle, exported=convert(bundle)), tmp_path))
        engine = open_engine(found, precision="fp32")
        together = engine.probabilities(pixels)
        alone = [engine.probabilities(one[None]) for one in pixels]
        for name in ("maps", "scores"):
            values, expected = getattr(together, name), getattr(reference, name)
            assert values.dtype == np.float32
            assert np.abs(values - expected).max() < 1e-5
            assert values == pytest.approx(
                np.concatenate([getattr(one, name) for one in alone]), abs=1e-6
            )
        # Decisions: no pixel changes sides but one that lies on the threshold.
        changed = (together.maps > 0.5) != (reference.maps > 0.5)
        assert np.all(np.abs(reference.maps[changed] - 0.5) < 1e-5)


@pytest.mark.slow
def test_every_network_answers_as_in_torch(case, small, pixels, tmp_path):
    torch.manual_seed(0)
    network = small(case)
    weights = network_arrays(zoo.build(network))
    agree(Bundle(network, weights, Preprocessing(64, PREPARATION)), pixels, tmp_path)


@pytest.mark.slow
def test_an_ensemble_answers_as_in_torch(small, pixels, tmp_path):
    torch.manual_seed(0)
    members = [small("cnn"), small("unet")]
    network = zoo.complete(Network(name=zoo.ENSEMBLE, members=members, tta=True))
    weights = network_arrays(zoo.build(network))
    agree(Bundle(network, weights, Preprocessing(64, PREPARATION)), pixels, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_file_answers_as_the_model(kind, exported, tiny_model, pixels, tmp_path):
    expected = open_engine(read_bundle(tiny_model), "torch", precision="fp32").probabilities(pixels)
    engine = open_engine(read_model(saved(exported(kind), tmp_path)), precision="fp32")
    for batch in (pixels, pixels[:1], pixels[:0]):
        found = engine.probabilities(batch)
        assert found.maps.shape == batch.shape
        assert found.maps == pytest.approx(expected.maps[: len(batch)], abs=1e-5)
        assert found.scores == pytest.approx(expected.scores[: len(batch)], abs=1e-5)
    assert engine.name == f"{kind} fp32"


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_says_all_that_the_model_says(kind, exported, tiny_model, tmp_path):
    bundle, found = read_bundle(tiny_model), read_model(saved(exported(kind), tmp_path))
    for name in ("network", "preprocessing", "operating_point", "presets", "calibration", "card"):
        assert getattr(found, name) == getattr(bundle, name)
    assert found.weights == {}
    assert found.exported.model_digest == bundle.digest
    assert found.digest != bundle.digest
    assert found.digest == exported(kind).digest
    assert replace(found, operating_point=replace(found.operating_point, mask=0.1)).digest != (
        found.digest
    )


@pytest.mark.parametrize("kind", [*KINDS, "torch"])
def test_an_engine_does_not_wait_for_threads_of_another_process(
    kind, exported, tiny_model, pixels, monkeypatch
):
    bundle = read_bundle(tiny_model) if kind == "torch" else exported(kind)
    engine = open_engine(bundle, precision="fp32", engine=kind)
    engine.probabilities(pixels[:1])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(threads.os, "getpid", lambda: -1)
    with pytest.raises(UsageError, match=r"loaded in another process.*call pleura\.load in each"):
        engine.probabilities(pixels[:1])


def test_which_engine_is_taken(tiny_model, exported):
    bundle = read_bundle(tiny_model)
    assert open_engine(bundle, precision="fp32").name == "openvino fp32"
    assert open_engine(bundle, "onnx").name == "onnx fp32"
    assert open_engine(bundle, "torch", precision="bf16").name == "torch bf16"
    assert open_engine(exported("onnx")).name == "onnx fp32"
    with pytest.raises(UsageError, match="torch sees 0 GPUs here"):
        open_engine(bundle, device="cuda:7")


def test_a_file_runs_with_its_own_engine_alone(exported):
    for kind, other in (("onnx", "openvino"), ("openvino", "torch")):
        message = f"`engine` {other}: .*model.h5 is exported for {kind}; leave `engine` out, or"
        with pytest.raises(UsageError, match=message):
            open_engine(exported(kind), other)
