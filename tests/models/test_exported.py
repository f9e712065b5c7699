from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from pleura.errors import BundleError
from pleura.models import exported as module
from pleura.models.bundle import Calibration, Exported, OperatingPoint, read_bundle
from pleura.models.exported import from_metadata, metadata, read_bytes
from pleura.storage import seal

GRAPH = Exported("openvino", b"<net/>", b"\x00\x01", "int8", "a" * 64)


@pytest.fixture(scope="module")
def bundle(tiny_model):
    return replace(
        read_bundle(tiny_model),
        presets={"rule": OperatingPoint(0.3, 0.2)},
        calibration=Calibration("isotonic", scores=(0.1, 0.9), values=(0.0, 1.0)),
        evaluation={"mean_dice": 0.5, "auroc": None},
        training={"fingerprint": "f", "positives": 3},
        trained_on=np.array([0, 2**64 - 1], np.uint64),
        history={"epoch": [1.0, 2.0], "loss": [0.1, 1e-9]},
        card="# A card\n\nwith “quotes” & <marks>",
        versions={"pleura": "0"},
    )


def changed(text, **changes):
    """Return the text with other entries, sealed again."""
    table = seal.unsealed(text)
    about = {**table["about"], **changes.pop("about", {})}
    return seal.sealed({**table, "about": about, **changes})


def test_everything_comes_back(bundle):
    found = from_metadata(metadata(bundle, GRAPH), replace(GRAPH, precision="fp32"), Path("m.xml"))
    assert np.array_equal(found.trained_on, bundle.trained_on)
    assert found.trained_on.dtype == np.uint64
    assert found.exported == GRAPH
    assert found.weights == {}
    assert found.path == Path("m.xml")
    for name in asdict(bundle):
        if name not in ("weights", "trained_on", "exported", "path"):
            assert getattr(found, name) == getattr(bundle, name), name


def test_it_is_one_line_of_ascii(bundle):
    text = metadata(bundle, GRAPH)
    assert text.isascii()
    assert "\n" not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pleura_format": 1}, "has format 1; this pleura reads 3: install the one that wrote it"),
        ({"kind": "onnx"}, "calls itself a file for onnx, but is one for openvino"),
        ({"kind": "tensorrt"}, "damaged: its metadata: kind is 'tensorrt'"),
        ({"precision": "int4"}, "damaged: its metadata: precision is 'int4'"),
        ({"graph_digest": "0" * 64}, "its network does not match its digest, it is damaged"),
        ({"weights_digest": "0" * 64}, "the weights in m.bin are not those it was written with"),
        ({"model_digest": "../../x"}, "damaged: its metadata: model_digest"),
        ({"run": "rm -rf"}, "damaged: its metadata: unknown key run"),
        ({"about": {"trained_on": [2**64]}}, "damaged: its metadata: about.trained_on"),
        ({"about": {"preprocessing": {"size": 10**6, "preparation": "x"}}}, "damaged: .*size"),
        ({"about": {"operating_point": {"score": 2}}}, "damaged: .*about.operating_point.score is"),
        ({"about": {"operating_point": {"scor": 1}}}, "damaged: .*unknown key about.operating_poi"),
    ],
)
def test_metadata_that_do_not_fit(bundle, changes, message):
    with pytest.raises(BundleError, match=message):
        from_metadata(changed(metadata(bundle, GRAPH), **changes), GRAPH, Path("m.xml"))


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", "[" * 10**6, "1" * (2**24 + 1)])
def test_something_else(text):
    with pytest.raises(BundleError, match=r"its metadata (does not end with a seal|has .*charac)"):
        from_metadata(text, GRAPH, Path("m.xml"))


def test_a_changed_threshold_is_noticed(bundle):
    text = metadata(bundle, GRAPH)
    changed = text.replace('"score": 0.3', '"score": 0.4')
    assert changed != text
    with pytest.raises(
        BundleError, match="its metadata does not match its seal; it was damaged or"
    ):
        from_metadata(changed, GRAPH, Path("m.xml"))


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    path = tmp_path / "m.onnx"
    path.write_bytes(bytes(10))
    assert read_bytes(path) == bytes(10)
    path.write_bytes(bytes(11))
    with pytest.raises(BundleError, match="has 11 bytes; no such file of pleura has more than 10"):
        read_bytes(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BundleError, match="there is no such file; write it with pleura export"):
        read_bytes(tmp_path / "none")
