"""The models that come with pleura: their names, and what their files hold."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from benchmarks.ship import ANSWERS, MOST_BYTES

from pleura.data.files import expand
from pleura.errors import BundleError
from pleura.inference.predictor import load
from pleura.models import shipped
from pleura.models.bundle import read_bundle, write_bundle
from pleura.models.card import write_card
from pleura.models.weights import halved, rounded


@pytest.fixture(scope="module")
def tiny_bundle(tiny_model):
    return read_bundle(tiny_model)


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_bundle):
    """A package that comes with two tiny models."""
    shipped_here = tmp_path / "shipped"
    shipped_here.mkdir()
    for name in ("a", shipped.DEFAULT):
        write_bundle(tiny_bundle, shipped_here / f"{name}.h5")
    monkeypatch.setattr(shipped, "FOLDER", shipped_here)
    monkeypatch.chdir(tmp_path)
    return shipped_here


def test_the_default_comes_first(folder):
    assert shipped.names() == (shipped.DEFAULT, "a")


def test_a_name_is_read_as_its_file(folder, tiny_bundle):
    assert read_bundle("a").digest == tiny_bundle.digest
    assert read_bundle("a").path == folder / "a.h5"


def test_a_file_or_folder_of_that_name_wins(folder, tmp_path):
    (tmp_path / "a").mkdir()
    assert not shipped.is_name("a")
    with pytest.raises(BundleError, match="a: there is no such file"):
        read_bundle("a")


def test_what_is_neither_says_which_names_there_are(folder):
    with pytest.raises(BundleError, match=r"b: there is no such file; .* pleura: siim, a$"):
        read_bundle("b")


@pytest.mark.parametrize("name", shipped.names())
def test_a_file_that_ships_is_small_complete_and_measured(name):
    path = shipped.file_of(name)
    assert path.stat().st_size <= MOST_BYTES
    bundle = read_bundle(name)
    card = write_card(bundle)
    assert card == bundle.card
    assert "**Not a medical device.**" in card
    assert "Licence of the data: not recorded" not in card
    assert "at 5 % prevalence" in card
    low, high = bundle.evaluation["auroc_interval"]
    assert 0 <= low <= bundle.evaluation["auroc"] <= high <= 1
    assert "/" not in str(bundle.training["train.start"])  # a digest, not somebody's folder
    assert (shipped.FOLDER / "NOTICE.md").read_text().count(f"`{name}`")


def test_the_default_ships():
    assert shipped.DEFAULT in shipped.names()


@pytest.mark.parametrize("name", shipped.names())
def test_its_answers_on_real_films_stay_as_they_were(name, real_data):
    expected = json.loads((ANSWERS / f"{name}.json").read_text())
    predictor = load(name)
    found = {}
    for path in expand([str(real_data / "siim"), str(real_data / "other-dicom")]):
        answer = predictor.predict(path)
        found[answer.image_id] = float(answer.score)
    assert len(found) > 80
    assert found == pytest.approx(expected, abs=0.01)


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
        halved(tiny_bundle.weights)
