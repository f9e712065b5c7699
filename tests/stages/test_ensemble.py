from dataclasses import replace

import numpy as np
import pytest

from pleura.config import Network, Train
from pleura.errors import BundleError, DataError, UsageError
from pleura.inference.torch_engine import TorchEngine
from pleura.models.bundle import read_bundle, write_bundle
from pleura.models.card import write_card
from pleura.stages.ensemble import combine
from pleura.stages.folds import train_folds

NETWORK = Network(name="cnn", width=4, depth=2)
SETTINGS = Train(epochs=1, batch=8, folds=2, precision="fp32")


@pytest.fixture(scope="module")
def members(small_prepared, tmp_path_factory):
    out = tmp_path_factory.mktemp("ensemble") / "folds"
    return [read_bundle(p) for p in train_folds(small_prepared, out, NETWORK, SETTINGS).models]


def test_the_file_of_an_ensemble_answers_with_the_mean(members, small_prepared, tmp_path):
    write_bundle(combine(members), tmp_path / "all.h5")
    whole = read_bundle(tmp_path / "all.h5")
    x = np.asarray(small_prepared.x_train[:3])
    found = TorchEngine(whole, precision="fp32").probabilities(x)
    alone = [TorchEngine(member, precision="fp32").probabilities(x) for member in members]
    assert found.maps == pytest.approx((alone[0].maps + alone[1].maps) / 2, abs=1e-5)
    assert found.scores == pytest.approx((alone[0].scores + alone[1].scores) / 2, abs=1e-5)


def test_members_of_one_training_bring_their_thresholds(members):
    whole = combine(members, flip=True)
    assert whole.points == members[0].points
    assert whole.calibration == members[0].calibration
    assert set(whole.trained_on) == set(members[0].trained_on) | set(members[1].trained_on)
    assert not whole.evaluation  # nobody measured the mean


def test_its_card_tells_of_every_member(members):
    card = write_card(combine(members, flip=True))
    assert "ensemble of cnn, width 4, stride 4, cnn, width 4, stride 4, each on the picture" in card
    for member in members:
        assert f"Trained on {member.training['images']} radiographs" in card
    assert "(fold 1 of 2, numbered from 0)" in card
    assert "Not measured" in card


def test_one_model_with_its_mirror_image(members):
    assert combine(members[:1], flip=True).network.flip
    with pytest.raises(UsageError, match="1 models make no ensemble; name two or more, or one wit"):
        combine(members[:1])
    with pytest.raises(UsageError, match="0 models make no ensemble"):
        combine([], flip=True)


def test_different_thresholds_need_images_to_choose_on(members, small_prepared):
    point = replace(members[1].operating_point, score=0.9)
    other = replace(members[1], operating_point=point)
    with pytest.raises(UsageError, match=r"fold-1/model.h5 and .*fold-0/model.h5 have different"):
        combine([members[0], other])
    with pytest.raises(DataError, match=r"all of its \d+ labelled images trained a member; choose"):
        combine([members[0], other], prepared=small_prepared)


def test_thresholds_are_chosen_on_images_that_trained_none(members, small_prepared):
    seen = [replace(member, trained_on=member.trained_on[:5]) for member in members]
    other = replace(seen[1], operating_point=replace(seen[1].operating_point, score=0.9))
    whole = combine([seen[0], other], prepared=small_prepared)
    assert whole.evaluation["images"] == len(small_prepared.train) - len(whole.trained_on)
    assert "that trained none of its members" in whole.evaluation["measured_on"]


def test_members_must_prepare_alike_and_be_no_ensembles(members):
    other = replace(
        members[1], preprocessing=replace(members[1].preprocessing, size=128), path=None
    )
    with pytest.raises(BundleError, match="members must prepare them alike"):
        combine([members[0], other])
    whole = combine(members)
    with pytest.raises(BundleError, match="model: is an ensemble; name its members instead"):
        combine([whole, members[0]])
