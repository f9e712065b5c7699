from dataclasses import replace

import numpy as np
import pytest

from pleura.config import Network, Train
from pleura.data.prepare import prepare_pixels
from pleura.engines.openvino_engine import OpenVINOEngine
from pleura.engines.torch_engine import TorchEngine
from pleura.errors import BundleError, ConfigError, DataError, UsageError
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


@pytest.mark.slow
def test_members_of_two_sizes_each_see_their_own(members, small_prepared, tmp_path):
    small = replace(members[1], preprocessing=replace(members[1].preprocessing, size=32))
    write_bundle(combine([small, members[0]]), tmp_path / "both.h5")
    whole = read_bundle(tmp_path / "both.h5")
    assert (whole.preprocessing.size, whole.network.sizes) == (64, [[32], [64]])
    assert "at 32, 64 pixels in turn" in write_card(whole)
    x = np.asarray(small_prepared.x_train[:3])
    found = TorchEngine(whole, precision="fp32").probabilities(x)
    reduced = np.stack([prepare_pixels(one, 32) for one in x])
    alone = [
        TorchEngine(members[0], precision="fp32").probabilities(x).scores,
        TorchEngine(small, precision="fp32").probabilities(reduced).scores,
    ]
    assert found.scores == pytest.approx((alone[0] + alone[1]) / 2, abs=0.01)
    served = OpenVINOEngine(whole, precision="fp32").probabilities(x)
    assert served.scores == pytest.approx(found.scores, abs=1e-4)
    assert served.maps == pytest.approx(found.maps, abs=1e-4)


def test_one_model_at_two_sizes_answers_with_their_mean(members, small_prepared, tmp_path):
    write_bundle(combine(members[:1], sizes=[64, 32]), tmp_path / "both.h5")
    whole = read_bundle(tmp_path / "both.h5")
    assert (whole.preprocessing.size, whole.network.sizes) == (64, [[32, 64]])
    assert "at 32 and 64 pixels in turn" in write_card(whole)
    x = np.asarray(small_prepared.x_train[:3])
    small = replace(members[0], preprocessing=replace(members[0].preprocessing, size=32))
    scores = [
        TorchEngine(members[0], precision="fp32").probabilities(x).scores,
        TorchEngine(small, precision="fp32")
        .probabilities(np.stack([prepare_pixels(one, 32) for one in x]))
        .scores,
    ]
    found = OpenVINOEngine(whole, precision="fp32").probabilities(x)
    assert found.scores == pytest.approx(np.mean(scores, axis=0), abs=0.01)
    assert combine(members, sizes=[64]).network.sizes == []


def test_a_closer_look_is_cut_from_a_larger_picture(members, tmp_path):
    write_bundle(combine(members[:1], tta=True, closer=64), tmp_path / "closer.h5")
    whole = read_bundle(tmp_path / "closer.h5")
    assert (whole.preprocessing.size, whole.network.sizes, whole.network.closer) == (96, [[64]], 64)
    assert "with a closer look at 64 pixels in either upper corner" in write_card(whole)
    x = np.random.default_rng(0).integers(0, 256, (3, 96, 96), np.uint8)
    found = TorchEngine(whole, precision="fp32").probabilities(x)
    served = OpenVINOEngine(whole, precision="fp32").probabilities(x)
    assert served.scores == pytest.approx(found.scores, abs=1e-4)
    assert served.maps == pytest.approx(found.maps, abs=1e-4)
    with pytest.raises(UsageError, match="a size of 40 pixels; name multiples of 32 up to"):
        combine(members, closer=40)


def test_a_size_that_cannot_be_is_refused(members):
    for size in (66, 0, -32, 8192):
        with pytest.raises(
            UsageError, match=f"a size of {size} pixels; name multiples of 32 up to"
        ):
            combine(members, sizes=[64, size])
    deep = Network(name="cnn", width=4, depth=6)
    with pytest.raises(ConfigError, match="cnn of depth 6 needs a size divisible by 64, not 96"):
        combine([replace(member, network=deep) for member in members], sizes=[96])


def test_members_of_one_training_bring_their_thresholds(members):
    whole = combine(members, tta=True)
    assert whole.points == members[0].points
    assert whole.calibration == members[0].calibration
    assert set(whole.trained_on) == set(members[0].trained_on) | set(members[1].trained_on)
    assert not whole.evaluation  # nobody measured the mean


def test_its_card_tells_of_every_member(members):
    card = write_card(combine(members, tta=True))
    assert "ensemble of cnn, width 4, stride 4, cnn, width 4, stride 4, each on the picture" in card
    for member in members:
        assert f"Trained on {member.training['images']} radiographs" in card
    assert "(fold 1 of 2, numbered from 0)" in card
    assert "Not measured" in card


def test_one_model_with_its_mirror_image(members):
    assert combine(members[:1], tta=True).network.tta
    with pytest.raises(UsageError, match="1 models make no ensemble; name two or more, or one wit"):
        combine(members[:1])
    with pytest.raises(UsageError, match="0 models make no ensemble"):
        combine([], tta=True)


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
        members[1], preprocessing=replace(members[1].preprocessing, mean=0.4), path=None
    )
    with pytest.raises(BundleError, match="but for the size, members must prepare them alike"):
        combine([members[0], other])
    whole = combine(members)
    with pytest.raises(BundleError, match="model: is an ensemble; name its members instead"):
        combine([whole, members[0]])
