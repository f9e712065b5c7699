import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from pleura.engines.convert import openvino_graph
from pleura.engines.libraries import import_openvino, openvino_core, without_telemetry
from pleura.engines.openvino_engine import OpenVINOEngine
from pleura.errors import BundleError, OutputError, UsageError
from pleura.models.bundle import Exported, read_bundle
from tests.full_disks import limited_file_size

openvino = import_openvino()
CORE = openvino_core()
OF_ENGINE = "pleura.engines.openvino_engine.openvino_core"


class Processor:
    """OpenVINO's core on a processor with other capabilities."""

    def __init__(self, *capabilities):
        self._capabilities = capabilities

    def get_property(self, device, name):
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return ["FP32", "INT8", *self._capabilities]

    def __getattr__(self, name):
        return getattr(CORE, name)


def test_half_precision_is_taken_where_the_processor_has_it(exported, monkeypatch):
    bundle = exported("openvino")
    monkeypatch.setattr(OF_ENGINE, lambda: Processor("BF16"))
    assert OpenVINOEngine(bundle).name == "openvino bf16"
    assert OpenVINOEngine(bundle, precision="fp32").name == "openvino fp32"
    monkeypatch.undo()
    monkeypatch.setattr(OF_ENGINE, lambda: Processor())
    assert OpenVINOEngine(bundle).name == "openvino fp32"
    message = "`precision` bf16: this processor has no bfloat16, and OpenVINO does not emulate it"
    with pytest.raises(UsageError, match=message):
        OpenVINOEngine(bundle, precision="bf16")


def test_full_precision_is_really_full(exported):
    engine = OpenVINOEngine(exported("openvino"), precision="fp32")
    for images in (1, 2):
        engine.probabilities(np.zeros((images, 64, 64), np.uint8))
    for requests in engine._compiled.values():
        compiled = requests[0].get_compiled_model()
        assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert set(engine._compiled) == {"LATENCY", "THROUGHPUT"}


def test_one_image_at_the_end_of_many_needs_no_other_graph(exported):
    engine = OpenVINOEngine(exported("openvino"), precision="fp32")
    for images in (4, 1):
        engine.probabilities(np.zeros((images, 64, 64), np.uint8))
    assert set(engine._compiled) == {"THROUGHPUT"}


@pytest.mark.parametrize("device", ["cuda", "gpu", "cuda:0"])
def test_it_runs_on_the_cpu(tiny_model, device):
    with pytest.raises(UsageError, match=f"`device` {device}: openvino runs on cpu here; take"):
        OpenVINOEngine(read_bundle(tiny_model), device)


def bomb(side):
    """Return a graph with the right ports, of which one tensor has `side` numbers."""
    ops = openvino.opset13
    pixels = ops.parameter([-1, 64, 64], openvino.Type.u8, name="pixels")
    maps = ops.multiply(ops.convert(pixels, "f32"), np.float32(0))
    large = ops.broadcast(ops.reduce_max(maps, [0, 1, 2]), np.array([side]))
    scores = ops.add(ops.reduce_max(maps, [1, 2]), ops.reduce_max(large, [0]))
    model = openvino.Model([maps, scores], [pixels], "bomb")
    for port, name in zip(
        [*model.inputs, *model.outputs], ("pixels", "maps", "scores"), strict=True
    ):
        port.get_tensor().set_names({name})
    return openvino_graph(model, Exported("openvino", b""))


def test_a_tensor_that_would_not_fit_into_memory(exported):
    bundle = exported("openvino")
    small = OpenVINOEngine(replace(bundle, exported=bomb(100)), precision="fp32")
    assert not small.probabilities(np.ones((1, 64, 64), np.uint8)).maps.any()
    message = r"model.h5: OpenVINO cannot run its graph \(its \w+ gives a tensor of size"
    with pytest.raises(BundleError, match=message):
        OpenVINOEngine(replace(bundle, exported=bomb(10**12)))


@pytest.mark.parametrize("change", [(b'"f32"', b'"f16"'), (b"<edges>", b"<oops>")])
def test_a_graph_that_does_not_fit_together(exported, change):
    bundle = exported("openvino")
    broken = replace(bundle.exported, graph=bundle.exported.graph.replace(*change))
    with pytest.raises(BundleError, match=r"model.h5: OpenVINO cannot run its graph \("):
        OpenVINOEngine(replace(bundle, exported=broken))


def test_telemetry_is_not_imported_and_whoever_has_it_keeps_it(monkeypatch):
    assert not any(name.startswith("openvino_telemetry") for name in sys.modules)
    with without_telemetry(), pytest.raises(ImportError):
        import openvino_telemetry  # noqa: F401
    assert "openvino_telemetry" not in sys.modules
    theirs = object()
    monkeypatch.setitem(sys.modules, "openvino_telemetry", theirs)
    with without_telemetry():
        assert sys.modules["openvino_telemetry"] is None
    assert sys.modules["openvino_telemetry"] is theirs


SIGNALLED = """
import gc, os, signal, sys
from pleura.engines.openvino_engine import OpenVINOEngine
from pleura.models.bundle import read_bundle

signal.signal(signal.SIGUSR1, lambda *heard: print("heard"))
engines = [OpenVINOEngine(read_bundle(path)) for path in sys.argv[1:]]
while engines:
    del engines[0]  # the oldest first
    gc.collect()
    os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_signal_is_heard_when_engines_have_gone_in_any_order(tiny_model):
    command = [sys.executable, "-c", SIGNALLED, *[str(tiny_model)] * 3]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["heard"] * 3), done.stderr


def test_an_image_alone_is_answered_as_among_others(exported):
    engine = OpenVINOEngine(exported("openvino"), precision="fp32")
    pixels = np.random.default_rng(0).integers(256, size=(3, 64, 64), dtype=np.uint8)
    alone, together = engine.probabilities(pixels[:1]), engine.probabilities(pixels)
    np.testing.assert_allclose(together.maps[0], alone.maps[0], atol=1e-6)
    np.testing.assert_allclose(together.scores[0], alone.scores[0], atol=1e-6)


def test_a_full_folder_for_temporary_files_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    message = rf"^{tmp_path}: the graph could not be written there \(.*\); free some space, or name"
    with limited_file_size(64), pytest.raises(OutputError, match=message):
        openvino_graph(plain_model(), Exported("openvino", b""))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(OutputError, match=message):
        openvino_graph(plain_model(), Exported("openvino", b""))
    assert not list(tmp_path.iterdir())


def plain_model():
    from openvino import opset13

    wanted = opset13.parameter([1, 64], np.float32)
    weights = opset13.constant(np.ones((64, 64), np.float32))
    return openvino.Model([opset13.matmul(wanted, weights, False, False)], [wanted], "plain")


def test_it_has_the_threads_that_whoever_began_the_process_wants(exported, monkeypatch):
    for said in ("1", ""):
        monkeypatch.setenv("OMP_NUM_THREADS", said)
        engine = OpenVINOEngine(exported("openvino"), precision="fp32")
        compiled = engine._requests(2)[0].get_compiled_model()
        found = compiled.get_property("INFERENCE_NUM_THREADS")
        assert found == 1 if said else found in (0, os.cpu_count())
