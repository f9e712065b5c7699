from dataclasses import replace

import numpy as np
import pytest

from pleura.config import Predict
from pleura.errors import UsageError
from pleura.inference.predictor import Predictor
from pleura.inference.worklist import Worklist
from pleura.inference.writers import Heatmaps, Overlays
from pleura.models.bundle import OperatingPoint, read_bundle
from pleura.results.writer import DicomResults
from pleura.stages.predict import job_settings, open_predictor


@pytest.fixture
def bundle(tiny_model):
    return replace(read_bundle(tiny_model), presets={"sensitive": OperatingPoint(0.0, 0.0)})


def test_engine_operating_point_and_mirror_image_are_those_of_the_settings(bundle):
    settings = Predict(engine="torch", precision="fp32", operating_point="sensitive", tta=True)
    predictor = open_predictor([bundle], settings)
    assert predictor.engine.name == "torch fp32, tta"
    assert predictor.bundle.operating_point == OperatingPoint(0.0, 0.0)
    with pytest.raises(UsageError, match="holds no operating point rule"):
        open_predictor([bundle], replace(settings, operating_point="rule"))


def test_several_models_answer_with_their_mean(bundle):
    other = replace(bundle, weights={k: v * np.float32(0.5) for k, v in bundle.weights.items()})
    settings = Predict(engine="torch", precision="fp32")
    pixels = np.random.default_rng(0).integers(256, size=(1, 32, 32), dtype=np.uint8)
    together = open_predictor([bundle, other], settings).engine.probabilities(pixels).maps
    apart = [
        open_predictor([one], settings).engine.probabilities(pixels) for one in (bundle, other)
    ]
    np.testing.assert_allclose(together, (apart[0].maps + apart[1].maps) / 2, atol=1e-6)


def test_what_is_wanted_is_written_and_nothing_else(bundle, tmp_path):
    predictor = Predictor(bundle)

    def kinds(**wanted):
        settings = Predict(**{"overlays": False, "worklist": False, **wanted})
        return [type(one) for one in job_settings(predictor, settings, tmp_path).writers]

    assert kinds() == []
    assert kinds(worklist=True, overlays=True, heatmaps=True) == [Worklist, Overlays, Heatmaps]
    assert kinds(dicom=["sr", "seg"]) == [DicomResults]
    assert list(tmp_path.iterdir()) == []


def test_dicom_results_come_in_one_order_and_have_a_secret_only_without_the_patient(
    bundle, tmp_path
):
    def results(**wanted):
        settings = Predict(overlays=False, worklist=False, dicom=["sr", "seg", "sr"], **wanted)
        (found,) = job_settings(Predictor(bundle), settings, tmp_path).writers
        return found

    assert (results().kinds, results().key) == (("seg", "sr"), None)
    assert results(deidentify=True).key
