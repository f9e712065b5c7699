import json
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


def test_it_is_hdf5_without_pickle(path):
    assert path.read_bytes()[:8] == b"\x89HDF\r\n\x1a\n"
    with h5py.File(path) as file:
        assert file["weights/a.weight"].shape == (3, 2)
        assert json.loads(file.attrs["network"])["name"] == "cnn"


def test_no_file(tmp_path):
    with pytest.raises(BundleError, match=r"none.h5: there is no such file; train a model with"):
        read_bundle(tmp_path / "none.h5")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BundleError, match=r"model.h5: "):
        read_bundle(path)


def test_every_flipped_byte_is_noticed_or_harmless(bundle, path):
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    for position in rng.integers(len(content), size=150):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            found = read_bundle(path)
        except BundleError:
            continue
        for name, array in bundle.weights.items():
            assert np.array_equal(found.weights[name], array)


def test_something_else(path):
    path.write_bytes(b"PK\x03\x04 not a model")
    with pytest.raises(BundleError, match=r"cannot be read as a model.h5"):
        read_bundle(path)


def test_hdf5_of_another_program(path):
    with h5py.File(path, "w") as file:
        file["layer"] = np.zeros(3)
    with pytest.raises(BundleError, match="is HDF5 but not a model of pleura"):
        read_bundle(path)


def test_a_later_format_names_the_version_it_needs(path):
    with h5py.File(path, "a") as file:
        file.attrs["pleura_format"] = FORMAT + 1
        file.attrs["pleura_version"] = "9.9"
    with pytest.raises(BundleError, match=r"has format 4, written by pleura 9.9; this pleura read"):
        read_bundle(path)


def test_an_earlier_format_is_refused(path):
    with h5py.File(path, "a") as file:
        file.attrs["pleura_format"] = 1
    with pytest.raises(BundleError, match=r"has format 1, of a pleura before its first release; t"):
        read_bundle(path)


def test_changed_weights_do_not_match_their_digest(path):
    with h5py.File(path, "a") as file:
        file["weights/a.weight"][0, 0] = 42
    with pytest.raises(BundleError, match="its weights do not match their digest"):
        read_bundle(path)


def test_damaged_settings(path):
    with h5py.File(path, "a") as file:
        file.attrs["network"] = json.dumps({"name": "cnn", "width": 10**9, "depth": 2})
    with pytest.raises(BundleError, match="damaged settings: network: width is 1000000000"):
        read_bundle(path)


def test_an_attribute_of_another_type(path):
    with h5py.File(path, "a") as file:
        file.attrs["network"] = 3
    with pytest.raises(BundleError, match="its attribute network is not a text"):
        read_bundle(path)


def _replaced(path, make):
    with h5py.File(path, "a") as file:
        del file["weights/a.weight"]
        make(file["weights"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda group: group.__setitem__("a.weight", h5py.ExternalLink("x.h5", "/a")),
            "a.weight is a link to somewhere else",
        ),
        (lambda group: group.create_group("a.weight"), "a.weight is not an array of numbers"),
        (
            lambda group: group.create_dataset("a.weight", data=np.array([b"text"], "S4")),
            "a.weight is not an array of numbers",
        ),
        (
            lambda group: group.create_dataset("a.weight", (10**6,), "f4", compression="gzip"),
            "a.weight is not stored as one plain block",
        ),
        (
            lambda group: group.create_dataset("a.weight", (10**6,), "f4"),
            "a.weight claims 4000000 bytes but stores 0",
        ),
    ],
)
def test_hostile_arrays_are_refused(path, make, message):
    _replaced(path, make)
    with pytest.raises(BundleError, match=message):
        read_bundle(path)


def test_too_much_data_is_refused(path, monkeypatch):
    monkeypatch.setattr("pleura.models.bundle._MAX_BYTES", 10)
    with pytest.raises(BundleError, match="its arrays hold more than the 10 bytes expected"):
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


@pytest.mark.parametrize(("slope", "rule"), [(-1, "greater than 0"), ("NaN", "finite")])
def test_a_damaged_calibration_is_refused(path, slope, rule):
    with h5py.File(path, "a") as file:
        file.attrs["calibration"] = f'{{"method": "platt", "slope": {slope}, "intercept": 0}}'
    with pytest.raises(BundleError, match=f"damaged settings: calibration: slope.*{rule}"):
        read_bundle(path)


def test_knots_that_do_not_fit_the_method_are_refused(path):
    with h5py.File(path, "a") as file:
        file.attrs["calibration"] = '{"method": "platt", "slope": 1, "intercept": 0}'
    with pytest.raises(BundleError, match=r"damaged settings: .*a platt calibration with 3 scores"):
        read_bundle(path)


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
