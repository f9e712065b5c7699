import json
import re
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from pleura.config import Network
from pleura.errors import BundleError, UsageError
from pleura.models.bundle import (
    FORMAT,
    Bundle,
    Calibration,
    OperatingPoint,
    Preprocessing,
    read_bundle,
    write_bundle,
)
from pleura.models.sealed_file import read_sealed, write_sealed
from tests.models.sealing import with_text


@pytest.fixture
def bundle():
    rng = np.random.default_rng(0)
    return Bundle(
        network=Network(name="cnn", width=4, depth=2),
        weights={"a.weight": rng.normal(size=(3, 2)).astype(np.float32), "n": np.array(7)},
        preprocessing=Preprocessing(64, "rule-1"),
        operating_point=OperatingPoint(score=0.25, mask=0.4, min_area=0.001),
        presets={"sensitive": OperatingPoint(score=0.1, mask=0.4), "rule": OperatingPoint(0.6)},
        calibration=Calibration("isotonic", scores=(0.1, 0.3, 0.9), values=(0.0, 0.4, 0.4)),
        evaluation={"auroc": 0.9, "positive_dice": None, "strata": [{"name": "x"}] * 9000},
        training={"fingerprint": "abc", "images": 3},
        trained_on=np.array([1, 2**63], np.uint64),
        history={"epoch": [1.0, 2.0], "loss": [0.5, 0.25]},
        card="# a card",
        versions={"pleura": "0.1.0"},
    )


@pytest.fixture
def path(bundle, tmp_path):
    write_bundle(bundle, tmp_path / "model.h5")
    return tmp_path / "model.h5"


def test_a_bundle_comes_back_whole(bundle, path):
    found = read_bundle(path)
    for name, array in bundle.weights.items():
        assert found.weights[name].dtype == array.dtype
        assert np.array_equal(found.weights[name], array)
    assert np.array_equal(found.trained_on, bundle.trained_on)
    same = replace(found, weights=bundle.weights, trained_on=bundle.trained_on, path=None)
    assert same == bundle
    assert found.digest == bundle.digest


def test_the_same_bundle_gives_the_same_bytes(bundle, path, tmp_path):
    write_bundle(bundle, tmp_path / "again.h5")
    assert path.read_bytes() == (tmp_path / "again.h5").read_bytes()


def test_the_digest_follows_whatever_changes_a_result(bundle):
    changed = [
        replace(bundle, operating_point=OperatingPoint()),
        replace(bundle, preprocessing=Preprocessing(32, "rule-1")),
        replace(bundle, presets={}),
        replace(bundle, calibration=Calibration()),
        replace(bundle, weights={**bundle.weights, "n": np.array(8)}),
    ]
    assert len({bundle.digest, *(item.digest for item in changed)}) == 6
    assert replace(bundle, card="other").digest == bundle.digest


def test_the_digest_of_a_model_is_the_same_in_every_version():
    members = [Network(name="cnn", width=4, depth=2)]
    model = Bundle(
        network=Network(name="ensemble", members=members, tta=True),
        weights={"a": np.arange(3, dtype=np.float32)},
        preprocessing=Preprocessing(64, "x"),
    )
    assert model.digest == "8748c3e1d3fb48f2e6589010aca3858d1e61bcc9f4f60e3f824d3ffcf2c12e1f"
    for changed in ({"sizes": [[32]]}, {"closer": 32}):
        assert replace(model, network=replace(model.network, **changed)).digest != model.digest


def test_it_is_hdf5_without_pickle(path):
    assert path.read_bytes()[:8] == b"\x89HDF\r\n\x1a\n"
    with h5py.File(path) as file:
        assert file["weights/a.weight"].shape == (3, 2)
        assert json.loads(file["about"][()])["network"]["name"] == "cnn"


def test_reading_needs_no_hdf5(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert read_bundle(path).network.name == "cnn"


def test_no_file(tmp_path):
    message = r"none.h5: there is no such file; train a model with .* with pleura: pleura:fast"
    with pytest.raises(BundleError, match=message):
        read_bundle(tmp_path / "none.h5")


def test_a_checkpoint_is_no_model(tmp_path):
    write_sealed(tmp_path / "c.h5", "checkpoint", (1, "0"), {}, {})
    with pytest.raises(BundleError, match=r"c.h5: is the checkpoint of a training, not a model.h5"):
        read_bundle(tmp_path / "c.h5")


def test_a_model_of_another_program_is_named(path):
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.1.0"
    with pytest.raises(BundleError, match=r"model.h5: is a model of Keras, not a model.h5 of pleu"):
        read_bundle(path)


@pytest.mark.parametrize("form", [FORMAT - 1, FORMAT + 1])
def test_another_format_names_the_version_it_needs(bundle, path, form):
    write_sealed(path, "model", (form, "9.9"), {}, {})
    message = rf"has format {form}, written by pleura 9.9; this pleura reads format {FORMAT}: insta"
    with pytest.raises(BundleError, match=message):
        read_bundle(path)


def rewritten(path, weights=None, **changes):
    """Write the model anew with another text or other weights, sealed as who means to can."""
    found = read_sealed(path, "model", FORMAT, 2**20)
    groups = {"weights": weights or found.group("weights")}
    write_sealed(path, "model", (FORMAT, "0"), {**found.about, **changes}, groups)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": {"name": "cnn", "width": 10**9}}, "its text: network.width is 1000000000"),
        ({"network": {"nmae": "cnn"}}, "its text: unknown key network.nmae"),
        ({"operating_point": {"scor": 0.5}}, "its text: unknown key operating_point.scor"),
        ({"operating_point": {"score": "0.5"}}, "its text: operating_point.score is '0.5'"),
        (
            {"operating_point": {"score": 1.5}},
            "its text: operating_point.score is 1.5: input should",
        ),
        ({"presets": {"mine": {"score": 0.5}}}, "its text: presets.mine"),
        ({"preprocessing": {"size": 64, "preparation": "p", "men": 0.5}}, "unknown key preproc"),
        ({"preprocessing": {"size": 64, "preparation": "p", "mean": "x"}}, "mean is 'x'"),
        ({"preprocessing": {"size": 64, "preparation": "p", "std": 0}}, "std is 0: input should"),
        (
            {"calibration": {"method": "platt", "slope": -1}},
            "calibration.slope is -1: input should",
        ),
        (
            {"calibration": {"method": "platt", "slope": 1, "scores": [0.1], "values": [0.1]}},
            "a platt calibration with 1 scores",
        ),
        ({"thresholds": {}}, "its text: unknown key thresholds"),
        ({"trained_on": [-1]}, "trained_on.0 is -1"),
        ({"card": None}, "card is None"),
    ],
)
def test_settings_that_pleura_never_writes(path, changes, message):
    rewritten(path, **changes)
    with pytest.raises(BundleError, match=f"model.h5: .*{message}"):
        read_bundle(path)


@pytest.mark.parametrize("value", [b"NaN", b"-Infinity", b"1e400"])
@pytest.mark.parametrize("field", ["mean", "std", "mask", "auroc"])
def test_a_setting_that_is_not_finite_is_refused(path, field, value):
    name = f'"{field}": '.encode()
    with_text(path, lambda text: re.sub(name + rb"[0-9.]+", name + value, text, count=1))
    with pytest.raises(
        BundleError, match=r"its text is not JSON as pleura writes it .* not finite"
    ):
        read_bundle(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(bundle, path, value):
    weights = {**bundle.weights, "b": np.array([1, value], np.float32)}
    with pytest.raises(
        BundleError, match=r"x.h5: is not written: its weights b are not all finite"
    ):
        write_bundle(replace(bundle, weights=weights), path.with_name("x.h5"))
    assert not path.with_name("x.h5").exists()
    for kind in (np.float16, np.float64):
        rewritten(path, {"b": np.array([1, value], kind)})
        with pytest.raises(
            BundleError, match=r"model.h5: its weights b are not all finite numbers"
        ):
            read_bundle(path)


def test_normalising_is_what_it_says():
    pixels = np.array([0, 51, 255], np.uint8)
    expected = (pixels / 255 - 0.5) / 0.25
    assert Preprocessing(64, "rule-1").normalise(pixels) == pytest.approx(expected, abs=1e-6)


def test_a_model_of_a_platt_line_comes_back(bundle, tmp_path):
    line = replace(bundle, calibration=Calibration("platt", 0.5, -1.25), evaluation={})
    write_bundle(line, tmp_path / "m.h5")
    found = read_bundle(tmp_path / "m.h5")
    assert found.calibration == line.calibration
    assert found.evaluation == {}


def test_operating_points_by_name(bundle):
    assert list(bundle.points) == ["default", "sensitive", "rule"]
    assert bundle.at("default") == bundle
    assert bundle.at("rule").operating_point == OperatingPoint(0.6)
    with pytest.raises(
        UsageError,
        match=r"the model: holds no operating point specific; it has default, sensitive, rule",
    ):
        bundle.at("specific")


@pytest.mark.parametrize(
    "values",
    [
        {"method": "isotonic"},
        {"method": "platt", "scores": (0.5,), "values": (0.5,)},
        {"method": "isotonic", "scores": (0.5, 0.1), "values": (0.2, 0.3)},
        {"method": "isotonic", "scores": (0.1, 0.5), "values": (0.3, 0.2)},
        {"method": "isotonic", "scores": (0.1, 0.5), "values": (0.3, 1.2)},
        {"method": "isotonic", "scores": (0.1, 0.5), "values": (0.3,)},
    ],
)
def test_knots_that_are_none(values):
    with pytest.raises(ValueError, match=r"with rising scores and values that never fall"):
        Calibration(**values)


def test_a_calibration_by_hand():
    scores = [0.0, 0.1, 0.2, 0.6, 1.0]
    assert Calibration().apply(scores).tolist() == scores
    steps = Calibration("isotonic", scores=(0.1, 0.3), values=(0.0, 0.5)).apply(scores)
    assert steps == pytest.approx([0.0, 0.0, 0.25, 0.5, 0.5])
    line = Calibration("platt", slope=2, intercept=1).apply(scores)
    odds = np.array([0.1 / 0.9, 0.2 / 0.8, 0.6 / 0.4]) ** 2 * np.e
    assert line[1:4] == pytest.approx(odds / (1 + odds))
    assert 0 <= line[0] < line[1]
    assert line[3] < line[4] <= 1
