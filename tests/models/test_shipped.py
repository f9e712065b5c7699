"""The models that come with pleura: their names, and what their files hold."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from recipes.ship import ANSWERS, MOST_BYTES

from pleura.config import Network
from pleura.data.files import expand
from pleura.errors import BundleError
from pleura.inference.predictor import load
from pleura.models import shipped, zoo
from pleura.models.bundle import read_bundle, write_bundle
from pleura.models.card import write_card
from pleura.models.model_file import read_model
from pleura.models.weights import halve, rounded
from pleura.training import setup


@pytest.fixture(scope="module")
def tiny_bundle(tiny_model):
    return read_bundle(tiny_model)


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_bundle):
    """A package that comes with two tiny models."""
    shipped_here = tmp_path / "shipped"
    shipped_here.mkdir()
    for name in ("best", "fast"):
        write_bundle(tiny_bundle, shipped_here / f"{name}.h5")
    monkeypatch.setattr(shipped, "FOLDER", shipped_here)
    monkeypatch.chdir(tmp_path)
    return shipped_here


def test_the_default_comes_first(folder):
    assert shipped.DEFAULT == "pleura:fast"
    assert shipped.names() == ("pleura:fast", "pleura:best")


def test_a_name_is_read_as_its_file(folder, tiny_bundle):
    for read in (read_bundle, read_model):
        assert read("pleura:best").digest == tiny_bundle.digest
        assert read("pleura:best").path == folder / "best.h5"
    assert read_bundle(Path("pleura:best")).path == folder / "best.h5"


def test_no_file_or_folder_stands_in_for_a_name(folder, tmp_path):
    for name in ("pleura:best", "pleura", "fast", "best"):
        (tmp_path / name).mkdir()
    assert read_bundle("pleura:best").path == folder / "best.h5"
    with pytest.raises(BundleError, match=r"^best: is a folder; name a file$"):
        read_bundle("best")


@pytest.mark.parametrize("name", ["pleura:bset", "pleura:", "pleura:../fast", "pleura:best.onnx"])
def test_an_unknown_name_says_which_there_are(folder, name):
    message = f"{name}: no model of that name comes with pleura; there is pleura:fast, pleura:best"
    with pytest.raises(BundleError, match=f"^{message}$"):
        read_model(name)


def test_a_name_without_the_prefix_is_a_path(folder):
    message = r"^best: there is no such file; .* with pleura: pleura:fast, pleura:best$"
    with pytest.raises(BundleError, match=message):
        read_bundle("best")


@pytest.mark.parametrize("name", shipped.names())
def test_a_file_that_ships_is_small_complete_and_measured(name):
    bundle = read_bundle(name)
    card = write_card(bundle)
    assert card == bundle.card
    assert "**Not a medical device.**" in card
    assert "Licence of the data: not recorded" not in card
    assert "at 5 % prevalence" in card
    low, high = bundle.evaluation["auroc_interval"]
    assert 0 <= low <= bundle.evaluation["auroc"] <= high <= 1
    for member in bundle.training["members"]:
        begun = str(member["training"]["train.init_from"])
        assert "/" not in begun, "a digest, not somebody's folder"
    assert f"`{name}`" in (shipped.FOLDER / "NOTICE.md").read_text()


def test_a_flipped_bit_of_a_file_that_ships_is_refused_at_once(tmp_path):
    content = bytearray(shipped.file_of(shipped.DEFAULT).read_bytes())
    content[2361] ^= 0x40  # where a length of HDF5's heap once lay, which it followed for ever
    (tmp_path / "model.h5").write_bytes(content)
    with pytest.raises(BundleError, match=r"model.h5: does not match its digest; it was damaged"):
        read_bundle(tmp_path / "model.h5")


def test_what_ships_is_small():
    sizes = [shipped.file_of(name).stat().st_size for name in shipped.names()]
    assert sum(sizes) <= MOST_BYTES


def test_the_default_ships():
    assert shipped.DEFAULT in shipped.names()


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped.names())
def test_its_answers_on_real_radiographs_stay_as_they_were(name, real_data):
    expected = json.loads((ANSWERS / f"{shipped.file_of(name).stem}.json").read_text())
    predictor = load(name, precision="fp32")
    found = {}
    radiographs = expand([str(real_data / "siim"), str(real_data / "other-dicom")]).files
    for path in [*radiographs[::5], *radiographs[-4:]]:
        answer = predictor.predict(path)
        found[answer.image_id] = float(answer.score)
    assert len(found) >= 20
    assert found == pytest.approx({key: expected[key] for key in found}, abs=0.01)


def test_rounded_weights_take_half_the_room(tiny_bundle, tmp_path):
    small = replace(tiny_bundle, weights=rounded(tiny_bundle.weights))
    write_bundle(small, tmp_path / "half.h5", half=True)
    with h5py.File(tmp_path / "half.h5") as file:
        kinds = {name: item.dtype for name, item in file["weights"].items()}
    for name, array in small.weights.items():
        assert array.dtype == tiny_bundle.weights[name].dtype
        assert (kinds[name] == np.float16) == (array.ndim > 1)
        assert np.allclose(array, tiny_bundle.weights[name], rtol=1e-3, atol=1e-6)
    assert read_bundle(tmp_path / "half.h5").digest == small.digest


def test_weights_that_were_not_rounded_are_not_halved(tiny_bundle):
    with pytest.raises(ValueError, match="not rounded to 16 bits"):
        halve(tiny_bundle.weights)


def test_a_training_may_begin_with_the_default_model() -> None:
    settings = zoo.complete(Network(name="efficientnet"))
    begun = setup.begin_network(
        settings, setup.read_start("pleura:fast", settings, np.zeros(0, np.uint64))
    )
    assert zoo.count_parameters(settings) == sum(one.numel() for one in begun.parameters())
