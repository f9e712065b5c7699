import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from pleura.config import Network, Train
from pleura.engines.torch_engine import TorchEngine
from pleura.errors import BundleError, ConfigError, UsageError
from pleura.models.bundle import read_bundle
from pleura.stages.folds import NAME, NESTED_FOLDS, train_folds

NETWORK = Network(name="cnn", width=4, depth=2)
SETTINGS = Train(epochs=1, batch=8, folds=3, precision="fp32")


@pytest.fixture(scope="module")
def trained(small_prepared, tmp_path_factory):
    out = tmp_path_factory.mktemp("folds") / "all"
    return out, train_folds(small_prepared, out, NETWORK, SETTINGS)


def test_each_image_is_judged_once_by_a_network_that_never_saw_it(trained, small_prepared):
    out, found = trained
    with (out / "out_of_fold.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    records = {record.image_id: record for record in small_prepared.train}
    assert sorted(row["image_id"] for row in rows) == sorted(records)
    assert found.evaluation.images == len(records)
    for row in rows:
        bundle = read_bundle(out / f"fold-{row['fold']}" / "model.h5")
        key = int(records[row["image_id"]].pixel_hash[:16], 16)
        assert key not in bundle.trained_on
        assert int(row["positive"]) == records[row["image_id"]].positive


def test_the_scores_are_those_of_the_folds_own_network(trained, small_prepared):
    out, _ = trained
    with (out / "out_of_fold.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    place = {record.image_id: n for n, record in enumerate(small_prepared.train)}
    for row in rows[::9]:
        engine = TorchEngine(read_bundle(out / f"fold-{row['fold']}" / "model.h5"))
        x = np.asarray(small_prepared.x_train[place[row["image_id"]]][None])
        expected = engine.probabilities(x).scores[0]
        assert float(row["raw_score"]) == pytest.approx(float(expected), abs=1e-3)


def test_all_models_have_the_thresholds_of_all_folds(trained):
    out, found = trained
    assert len(found.models) == 3
    bundles = [read_bundle(path) for path in found.models]
    assert all(bundle.points == bundles[0].points for bundle in bundles)
    assert all(bundle.calibration == bundles[0].calibration for bundle in bundles)
    values = json.loads((out / "evaluation.json").read_text())
    assert values["images"] == found.evaluation.images
    default = values["operating_points"]["default"]
    assert default["score"] == bundles[0].operating_point.score
    for bundle in bundles:
        assert bundle.evaluation["images"] == found.evaluation.images
        assert "of 3 folds, each by the network of the folds that it is not in" in bundle.card


def test_what_is_finished_is_not_done_again(trained, small_prepared):
    out, found = trained
    before = {path: (out / path).read_bytes() for path in ("out_of_fold.csv", "evaluation.json")}
    seen = []
    again = train_folds(
        small_prepared, out, NETWORK, SETTINGS, resume=True, on_fold=lambda fold, note: seen.append
    )
    assert (again.models, repr(again.evaluation)) == (found.models, repr(found.evaluation))
    assert seen == []  # not one step
    assert {path: (out / path).read_bytes() for path in before} == before
    with pytest.raises(UsageError, match="there is a training in this folder already"):
        train_folds(small_prepared, out, NETWORK, SETTINGS)


def test_each_fold_is_judged_by_what_the_others_choose(trained, small_prepared):
    out, found = trained
    rows = list(csv.DictReader((out / "out_of_fold.csv").read_text().splitlines()))
    assert found.evaluation.naive is not None
    values = json.loads((out / "evaluation.json").read_text())
    assert set(values["naive"]) == {
        "mean_dice",
        "positive_dice",
        "auroc",
        "sensitivity",
        "specificity",
    }
    assert values["notes"][0] == NESTED_FOLDS
    # Three folds have three calibrations: scores that are equal before differ behind them.
    shown = {row["fold"]: float(row["score"]) for row in rows}
    assert len(set(shown.values())) == 3


def test_damaged_predictions_are_named(trained, small_prepared, tmp_path):
    out, _ = trained
    path = out / "fold-1" / NAME
    kept = path.read_bytes()
    path.write_bytes(b"nothing")
    try:
        message = r"fold-1/out_of_fold.h5: is a text, not the out-of-fold predictions of .*; remov"
        with pytest.raises(BundleError, match=message):
            train_folds(small_prepared, out, NETWORK, SETTINGS, resume=True)
    finally:
        path.write_bytes(kept)


def test_the_fold_of_the_settings_does_not_matter(trained, small_prepared):
    out, found = trained
    other = replace(SETTINGS, fold=2)
    again = train_folds(small_prepared, out, NETWORK, other, resume=True)
    assert repr(again.evaluation) == repr(found.evaluation)


def test_a_model_of_all_images_has_the_decisions_and_the_figures_of_the_folds(
    small_prepared, tmp_path
):
    settings = replace(SETTINGS, keep="last")
    found = train_folds(small_prepared, tmp_path, NETWORK, settings, refit=True)
    assert found.whole == tmp_path / "whole" / "model.h5"
    whole, one = read_bundle(found.whole), read_bundle(found.models[0])
    assert len(whole.trained_on) == len(small_prepared.train)
    assert (whole.points, whole.calibration) == (one.points, one.calibration)
    assert whole.evaluation["auroc"] == one.evaluation["auroc"]
    assert whole.evaluation["measured_on"].endswith(
        "; the network itself was trained on all of them"
    )
    assert whole.evaluation["notes"] == [NESTED_FOLDS]
    assert "Nothing was held back" in whole.card
    assert not (tmp_path / "whole" / "checkpoint.h5").exists()
    steps = []
    again = train_folds(
        small_prepared,
        tmp_path,
        NETWORK,
        settings,
        refit=True,
        resume=True,
        on_fold=lambda fold, note: steps.append,
    )
    assert not steps
    assert read_bundle(again.whole).digest == whole.digest


def test_a_model_of_all_images_needs_settings_that_choose_nothing(small_prepared, tmp_path):
    with pytest.raises(ConfigError, match="set keep to last"):
        train_folds(small_prepared, tmp_path, NETWORK, SETTINGS, refit=True)
    assert not list(tmp_path.iterdir())  # said before anything is trained
