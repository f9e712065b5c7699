import shutil
from dataclasses import replace

import numpy as np
import pytest

from pleura.data.arrays import open_prepared
from pleura.engines.choice import open_engine
from pleura.engines.engine import Probabilities
from pleura.errors import BundleError, DataError, DicomError, UsageError
from pleura.models.bundle import read_bundle
from pleura.models.model_file import read_model
from pleura.stages import export as module
from pleura.stages.export import export_model, take_pictures


@pytest.fixture(scope="module")
def bundle(tiny_model):
    return read_bundle(tiny_model)


@pytest.fixture
def converted(exported, monkeypatch):
    """Conversions are taken from the session's cache: they are tested elsewhere."""
    monkeypatch.setattr(module, "to_onnx", lambda _: exported("onnx").exported)
    monkeypatch.setattr(module, "to_openvino", lambda _: exported("openvino").exported)


@pytest.mark.parametrize(("kind", "name"), [("onnx", "m.onnx"), ("openvino", "m.xml")])
def test_it_is_held_against_torch_and_written(bundle, converted, cohort, kind, name, tmp_path):
    report = export_model(bundle, kind, tmp_path / name, check=cohort / "dicom-images-test")
    assert [path.name for path in report.files] == (
        ["m.onnx"] if kind == "onnx" else ["m.xml", "m.bin"]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in report.files
    )
    assert report.engine == f"{kind} fp32"
    assert report.int8 is None
    assert report.agreement.images == 6
    assert report.agreement.source == f"6 radiographs of {cohort / 'dicom-images-test'}"
    assert 0 < report.agreement.largest < 1e-5
    assert report.agreement.calls_changed == report.agreement.pixels_changed == 0
    found = read_model(tmp_path / name)
    assert found.exported.model_digest == bundle.digest
    assert kind in found.versions


def test_phantoms_are_drawn_where_nothing_is_given(bundle, converted, tmp_path):
    report = export_model(bundle, "openvino", tmp_path / "m.xml")
    assert report.agreement.source == "8 phantoms drawn for it, no real radiographs"
    assert report.agreement.images == 8


class Off:
    """An engine that answers a little otherwise."""

    name = "off"

    def __init__(self, engine, by):
        self._engine, self._by = engine, by

    def probabilities(self, pixels):
        maps, scores, _ = self._engine.probabilities(pixels)
        return Probabilities(maps + np.float32(self._by), scores)


@pytest.mark.parametrize("by", [6e-4, -6e-4, np.nan])
def test_one_that_differs_is_not_written(bundle, converted, by, tmp_path, monkeypatch):
    real = open_engine

    def off(bundle, *arguments, **settings):
        engine = real(bundle, *arguments, **settings)
        return Off(engine, by) if bundle.exported else engine

    monkeypatch.setattr(module, "open_engine", off)
    message = "m.xml: not written; on 8 phantoms .* it differs from torch by up to .* and calls"
    with pytest.raises(BundleError, match=message):
        export_model(bundle, "openvino", tmp_path / "m.xml")
    assert not list(tmp_path.iterdir())


def test_a_name_that_does_not_fit(bundle, tmp_path):
    with pytest.raises(UsageError, match=r"`out` .*m.onnx: a file for openvino ends in .xml"):
        export_model(bundle, "openvino", tmp_path / "m.onnx")
    with pytest.raises(UsageError, match=r"`out` .*m: a file for onnx ends in .onnx"):
        export_model(bundle, "onnx", tmp_path / "m")


def test_an_exported_file_is_not_exported_again(exported, tmp_path):
    with pytest.raises(UsageError, match=r"model.h5: is exported for onnx; take the model.h5 it"):
        export_model(exported("onnx"), "openvino", tmp_path / "m.xml")


def test_pictures_of_a_prepared_folder(small_prepared):
    found = take_pictures(small_prepared.path, 64, 5)
    assert found.source == f"5 annotated radiographs of {small_prepared.path}"
    rows = np.linspace(0, len(small_prepared.x_train) - 1, 5).round().astype(int)
    assert np.array_equal(found.pixels, small_prepared.x_train[rows])
    assert np.array_equal(found.masks, small_prepared.y_train[rows])
    with pytest.raises(DataError, match="is prepared at 64 pixels, the model wants 96; prepare"):
        take_pictures(small_prepared.path, 96, 5)


def test_a_prepared_folder_without_labelled_radiographs(small_prepared, monkeypatch):
    empty = replace(open_prepared(small_prepared.path), x_train=small_prepared.x_train[:0])
    monkeypatch.setattr(module, "open_prepared", lambda _: empty)
    with pytest.raises(DataError, match="holds no labelled radiograph; name another folder"):
        take_pictures(small_prepared.path, 64, 5)


def test_a_file_that_cannot_be_read_is_an_error(cohort, tmp_path):
    shutil.copy(next(cohort.rglob("*.dcm")), tmp_path / "1.dcm")
    (tmp_path / "2.dcm").write_bytes(b"no DICOM at all")
    with pytest.raises(DicomError, match=r"2.dcm: is not DICOM"):
        take_pictures(tmp_path, 64, 5)


def rounded(exported, pixels):
    """Stand in for NNCF: the graph as it is, called int8."""
    assert len(pixels)
    return replace(exported, precision="int8")


def test_int8_without_a_loss(bundle, converted, small_prepared, tmp_path, monkeypatch):
    calibrated = []

    def quantise(exported, pixels):
        calibrated.extend(one.tobytes() for one in pixels)
        return rounded(exported, pixels)

    monkeypatch.setattr(module, "quantise", quantise)
    report = export_model(
        bundle, "openvino", tmp_path / "m.xml", calibration=small_prepared.path, max_dice_loss=0
    )
    int8 = report.int8
    assert int8.against == "annotations"
    assert int8.images == len(small_prepared.x_train) // 3
    assert int8.loss == 0
    assert int8.float_dice == int8.int8_dice
    held_apart = {one.tobytes() for one in small_prepared.x_train} - set(calibrated)
    assert len(held_apart) == int8.images
    assert report.engine == "openvino int8 fp32"
    assert read_model(tmp_path / "m.xml").exported.precision == "int8"


def test_int8_is_measured_against_the_float_mask_without_annotations(
    bundle, converted, cohort, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "quantise", rounded)
    report = export_model(
        bundle,
        "openvino",
        tmp_path / "m.xml",
        calibration=cohort / "dicom-images-train",
        check=cohort / "dicom-images-test",
    )
    assert report.int8.against == "float mask"
    assert report.int8.images == 6
    assert report.int8.float_dice == report.int8.int8_dice == 1


def test_int8_needs_images_held_apart(bundle, converted, cohort, tmp_path):
    folder = cohort / "dicom-images-test"
    message = "no image is left to measure the loss on that int8 was not calibrated on; give more"
    with pytest.raises(DataError, match=message):
        export_model(bundle, "openvino", tmp_path / "m.xml", calibration=folder, check=folder)


@pytest.mark.parametrize("kind", ["openvino", "onnx"])
def test_int8_that_loses_more_than_stated(
    bundle, converted, small_prepared, kind, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "quantise", rounded)
    real = open_engine

    def off(bundle, *arguments, **settings):
        engine = real(bundle, *arguments, **settings)
        return Off(engine, -1) if bundle.exported else engine

    monkeypatch.setattr(module, "open_engine", off)
    path = tmp_path / f"m{module.SUFFIX[kind]}"
    message = (
        r"not written; int8 loses 0\.\d+ of Dice \(measured against the annotations of \d+ "
        r"images\), more than `max_dice_loss` 0.01"
    )
    with pytest.raises(BundleError, match=message):
        export_model(bundle, kind, path, calibration=small_prepared.path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["openvino", "onnx"])
def test_int8_by_nncf(bundle, converted, small_prepared, kind, tmp_path, capfd):
    path = tmp_path / f"m{module.SUFFIX[kind]}"
    report = export_model(bundle, kind, path, calibration=small_prepared.path, max_dice_loss=0.2)
    assert capfd.readouterr().out == ""
    assert 0 < report.agreement.largest < 0.2
    found = read_model(path)
    engine = open_engine(found)
    maps = engine.probabilities(small_prepared.x_train[:3]).maps
    full = open_engine(bundle, "torch").probabilities(small_prepared.x_train[:3]).maps
    assert 0 < np.abs(maps - full).max() < 0.2


def test_int8_without_the_package(bundle, converted, small_prepared, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nncf", None)
    with pytest.raises(
        UsageError, match=r"`int8` needs the package nncf; pip install 'pleura\[int8"
    ):
        export_model(bundle, "openvino", tmp_path / "m.xml", calibration=small_prepared.path)
