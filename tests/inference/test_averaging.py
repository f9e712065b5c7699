from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pleura.config import Network
from pleura.engines.engine import Probabilities
from pleura.engines.torch_engine import TorchEngine
from pleura.errors import BundleError, UsageError
from pleura.inference.predictor import Predictor, averaged, load
from pleura.models import zoo
from pleura.models.bundle import Calibration, OperatingPoint


class Left:
    """An engine that finds what is bright, less so to the right; its score is the left edge."""

    def __init__(self, weight):
        self.weight = np.float32(weight)
        self.name, self.notes = "Left", ("left says",)

    def probabilities(self, pixels):
        fall = np.linspace(1, 0, pixels.shape[2], dtype=np.float32)
        maps = pixels / np.float32(255) * fall * self.weight
        return Probabilities(maps, maps[:, :, 0].mean(1))


@pytest.fixture(scope="module")
def bundle(tiny_model):
    return load(tiny_model, precision="fp32").bundle


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(256, size=(3, 64, 64), dtype=np.uint8)


def test_one_model_alone_stays_as_it_is(bundle):
    alone = Predictor(bundle, Left(1))
    assert averaged([alone]) is alone


@pytest.mark.parametrize("answer_flagged", [False, True])
def test_several_answer_what_is_flagged_where_each_does(bundle, answer_flagged):
    members = [Predictor(bundle, Left(1), answer_flagged=one) for one in (True, answer_flagged)]
    assert averaged(members, tta=True).answer_flagged == answer_flagged


def test_the_mean_of_maps_and_scores(bundle, pixels):
    members = [Predictor(bundle, Left(weight)) for weight in (1, 0.5, 0.3)]
    found = averaged(members).engine.probabilities(pixels)
    each = [member.engine.probabilities(pixels) for member in members]
    assert found.maps == pytest.approx(np.mean([one.maps for one in each], 0), abs=1e-6)
    assert found.scores == pytest.approx(np.mean([one.scores for one in each], 0), abs=1e-6)
    assert found.maps.dtype == found.scores.dtype == np.float32
    assert averaged(members).engine.notes == ("left says",)


def test_the_mirror_image_is_averaged_where_it_belongs(bundle, pixels):
    engine = averaged([Predictor(bundle, Left(1))], tta=True).engine
    found, mirror = engine.probabilities(pixels), engine.probabilities(pixels[:, :, ::-1])
    assert found.maps == pytest.approx(mirror.maps[:, :, ::-1], abs=1e-6)
    assert found.scores == pytest.approx(mirror.scores, abs=1e-6)
    assert found.maps == pytest.approx(pixels / 255 / 2, abs=1e-6), "falls from both sides add up"


def test_an_engine_sees_contiguous_pixels(bundle, pixels):
    class Strict(Left):
        def probabilities(self, pixels):
            assert pixels.flags.c_contiguous
            return super().probabilities(pixels)

    averaged([Predictor(bundle, Strict(1))], tta=True).engine.probabilities(pixels)


def test_as_the_ensemble_in_one_file(bundle, pixels):
    """What models/ensemble.py does inside a network is done here outside of it."""
    other = {name: array * np.float32(0.5) for name, array in bundle.weights.items()}
    members = [bundle, replace(bundle, weights=other)]
    network = Network(name=zoo.ENSEMBLE, members=[bundle.network] * 2, tta=True)
    weights = {
        f"members.{number}.{name}": array
        for number, member in enumerate(members)
        for name, array in member.weights.items()
    }
    inside = TorchEngine(replace(bundle, network=network, weights=weights), precision="fp32")
    outside = averaged(
        [Predictor(member, TorchEngine(member, precision="fp32")) for member in members], tta=True
    )
    one, two = inside.probabilities(pixels), outside.engine.probabilities(pixels)
    assert one.maps == pytest.approx(two.maps, abs=1e-5)
    assert one.scores == pytest.approx(two.scores, abs=1e-5)


def test_what_it_was_made_with_tells_all_members(bundle):
    other = replace(
        bundle, weights={**bundle.weights, "head.bias": bundle.weights["head.bias"] + 1}
    )
    one, two = Predictor(bundle, Left(1)), Predictor(other, Left(1))
    found = [
        averaged(members, tta=mirrored).provenance
        for members in ([one], [one, two], [two, one], [one, one])
        for mirrored in (False, True)
    ]
    assert len({(item.model, item.engine) for item in found}) == 8
    assert found[1].model == bundle.digest
    assert found[1].engine == "Left, tta"


def test_what_it_is_called_names_all_members(bundle):
    members = [Predictor(replace(bundle, path=Path(name)), Left(1)) for name in ("a.h5", "b.h5")]
    title = averaged(members).title
    assert title.startswith("a.h5 + b.h5 (")
    assert members[0].title == title.replace(" + b.h5", "")


def test_members_that_do_not_fit(bundle):
    one = Predictor(bundle, Left(1))
    small = replace(bundle, preprocessing=replace(bundle.preprocessing, size=32))
    with pytest.raises(BundleError, match="models that are averaged must prepare them alike"):
        averaged([one, Predictor(small, Left(1))])
    for change in (
        {"operating_point": OperatingPoint(0.1, 0.2)},
        {"calibration": Calibration("platt", 2.0, 0.1)},
    ):
        message = "have different thresholds or calibrations; make one model of them, with thresh"
        with pytest.raises(UsageError, match=message):
            averaged([one, Predictor(replace(bundle, **change), Left(1))])
