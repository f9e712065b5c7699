import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pleura.engines.onnx_engine import ONNXEngine, _provider
from pleura.errors import BundleError, UsageError
from pleura.models.bundle import read_bundle

with_cuda = SimpleNamespace(get_available_providers=lambda: ["CUDAExecutionProvider"])
without = SimpleNamespace(get_available_providers=lambda: ["CPUExecutionProvider"])


def test_without_the_package(tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = r"`engine` onnx needs the package onnxruntime; pip install 'pleura\[onnx\]'"
    with pytest.raises(UsageError, match=message):
        ONNXEngine(read_bundle(tiny_model))


def test_without_what_torch_writes_onnx_by(tiny_model, monkeypatch):
    from pleura.engines.convert import to_onnx

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    message = r"torch writes ONNX by the package onnxscript, which is not there; pip install 'pleu"
    with pytest.raises(UsageError, match=message):
        to_onnx(read_bundle(tiny_model))


def test_half_precision(exported):
    with pytest.raises(UsageError, match="`precision` bf16: the engine onnx runs in float32"):
        ONNXEngine(exported("onnx"), precision="bf16")


def test_devices():
    assert _provider(without, "cpu") == ("CPUExecutionProvider", {})
    name, settings = _provider(with_cuda, "cuda:1")
    assert name == "CUDAExecutionProvider"
    assert settings == {"device_id": 1, "use_tf32": 0}
    assert _provider(with_cuda, "cuda")[1]["device_id"] == 0
    with pytest.raises(UsageError, match="`device` cuda: this build of ONNX Runtime has no CUDA"):
        _provider(without, "cuda")
    for device in ("gpu", "cuda:x", ""):
        with pytest.raises(UsageError, match=f"`device` {device}: is not a device; take cpu, cuda"):
            _provider(with_cuda, device)


def test_a_gpu_that_cannot_be_used_is_not_passed_over(exported, monkeypatch):
    # ONNX Runtime itself goes on with the CPU, and only prints it.
    provider = ("CUDAExecutionProvider", {})
    monkeypatch.setattr(
        "pleura.engines.onnx_engine._provider", lambda *_: ("CPUExecutionProvider", {})
    )
    ONNXEngine(exported("onnx"), "cuda")
    monkeypatch.setattr("pleura.engines.onnx_engine._provider", lambda *_: provider)
    monkeypatch.setattr(
        "onnxruntime.InferenceSession",
        lambda *_, **__: SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"]),
    )
    with pytest.raises(UsageError, match="`device` cuda: ONNX Runtime found the GPU but cannot"):
        ONNXEngine(exported("onnx"), "cuda")


def test_a_graph_that_does_not_fit_together(exported):
    bundle = exported("onnx")
    broken = replace(bundle.exported, graph=bundle.exported.graph[:-40])
    with pytest.raises(BundleError, match=r"model.h5: ONNX Runtime cannot run its graph \("):
        ONNXEngine(replace(bundle, exported=broken))
