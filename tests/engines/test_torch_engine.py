from dataclasses import replace

import numpy as np
import pytest
import torch

from pleura.config import Network
from pleura.engines.torch_engine import TorchEngine
from pleura.errors import BundleError, ConfigError, UsageError
from pleura.models.bundle import Preprocessing, read_bundle
from pleura.models.loading import checked_device, load_network, uses_bf16


@pytest.fixture(scope="module")
def bundle(tiny_model):
    return read_bundle(tiny_model)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(256, size=(5, 64, 64), dtype=np.uint8)


def test_probabilities_have_the_shape_of_the_pixels(bundle, pixels):
    maps, scores, _ = TorchEngine(bundle).probabilities(pixels)
    assert maps.shape == pixels.shape
    assert scores.shape == (len(pixels),)
    for found in (maps, scores):
        assert found.dtype == np.float32
        assert found.min() >= 0
        assert found.max() <= 1


def test_they_are_the_sigmoid_of_the_networks_logits(bundle, pixels):
    network = load_network(bundle)
    assert not network.training
    with torch.inference_mode():
        x = torch.from_numpy(bundle.preprocessing.normalise(pixels))[:, None]
        logits = network(x)
    maps, scores, _ = TorchEngine(bundle, precision="fp32").probabilities(pixels)
    assert maps == pytest.approx(torch.sigmoid(logits.mask)[:, 0].numpy(), abs=1e-5)
    assert scores == pytest.approx(torch.sigmoid(logits.score).numpy(), abs=1e-5)


def test_a_batch_gives_what_one_by_one_gives(bundle, pixels):
    engine = TorchEngine(bundle, precision="fp32")
    one_by_one = [engine.probabilities(one[None]) for one in pixels]
    together = engine.probabilities(pixels)
    assert together.maps == pytest.approx(np.concatenate([o.maps for o in one_by_one]), abs=1e-5)
    assert together.scores == pytest.approx(
        np.concatenate([o.scores for o in one_by_one]), abs=1e-5
    )


def test_half_precision_stays_close_to_full(bundle, pixels):
    full = TorchEngine(bundle, precision="fp32").probabilities(pixels).maps
    half = TorchEngine(bundle, precision="bf16").probabilities(pixels).maps
    assert half.dtype == np.float32
    assert np.abs(half - full).max() < 0.05
    assert np.abs(half - full).mean() < 0.005


def test_precision_by_name():
    cpu = torch.device("cpu")
    assert uses_bf16("bf16", cpu)
    assert not uses_bf16("fp32", cpu)


@pytest.mark.parametrize(
    ("capabilities", "native"),
    [
        (
            {"avx512_f": True, "avx512_bf16": False, "amx_bf16": False},
            False,
        ),  # it would be emulated
        ({"avx512_f": True, "avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"neon": True, "bf16": True}, True),
        ({}, False),
    ],
)
def test_half_precision_is_taken_where_the_processor_has_it(monkeypatch, capabilities, native):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert uses_bf16("auto", torch.device("cpu")) is native


def test_weights_change_nothing_in_the_bundle(bundle, pixels):
    before = {name: array.copy() for name, array in bundle.weights.items()}
    TorchEngine(bundle).probabilities(pixels)
    assert all(np.array_equal(before[name], bundle.weights[name]) for name in before)


@pytest.mark.parametrize("name", ["gpu", "cuda:x", ""])
def test_a_word_that_is_no_device(name):
    with pytest.raises(UsageError, match=rf"`device` {name}: is not a device; take cpu, cuda or"):
        checked_device(name)


def test_a_device_that_pleura_does_not_use():
    with pytest.raises(UsageError, match="`device` meta: pleura runs on cpu and cuda"):
        checked_device("meta")


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_without_a_gpu_the_cpu_is_not_taken_silently(bundle, monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match=f"`device` {name}: torch sees 0 GPUs here; take cpu, or"):
        TorchEngine(bundle, name)


def test_a_gpu_beyond_the_last(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert checked_device("cuda:1").index == 1
    with pytest.raises(UsageError, match="`device` cuda:2: torch sees 2 GPUs here"):
        checked_device("cuda:2")


def test_weights_of_another_network(bundle):
    wider = replace(bundle, network=Network(name="cnn", width=8, depth=2))
    with pytest.raises(BundleError, match=r"model.h5: its weights do not fit Network\(name='cnn'"):
        TorchEngine(wider)


@pytest.mark.parametrize("change", ["missing", "unknown", "of another type"])
def test_a_weight_missing_or_unknown_is_named(bundle, change):
    weights = dict(bundle.weights)
    array = weights.pop("head.bias")
    if change == "unknown":
        weights |= {"head.bias": array, "extra": array}
    elif change == "of another type":
        weights |= {"head.bias": array.astype(np.int32)}
    name = "extra" if change == "unknown" else "head.bias"
    with pytest.raises(BundleError, match=rf"{name}, float32 of shape \(1,\), has no counterpart"):
        TorchEngine(replace(bundle, weights=weights))


def test_a_size_that_the_network_cannot_take(bundle):
    deep = replace(
        bundle,
        network=Network(name="cnn", width=4, depth=6),
        preprocessing=Preprocessing(32, bundle.preprocessing.preparation),
    )
    with pytest.raises(ConfigError, match="needs a size divisible by 64, not 32"):
        TorchEngine(deep)
