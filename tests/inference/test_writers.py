import pickle

import cv2
import numpy as np
import pytest

from pleura.data.gallery import heat
from pleura.errors import OutputError
from pleura.formats.dicom import read_radiograph
from pleura.formats.overlay import overlay
from pleura.inference.predictor import load
from pleura.inference.writers import Heatmaps, Overlays


@pytest.fixture(scope="module")
def answered(tiny_model, cohort):
    """A file whose mask is not empty, and its prediction."""
    model = load(tiny_model, precision="fp32")
    for path in sorted(cohort.rglob("*.dcm")):
        prediction = model.predict(path)
        if prediction.area_px:
            return path, prediction
    raise AssertionError("the model calls none of the phantoms")


@pytest.mark.parametrize("writer", [Overlays(), Heatmaps()], ids=lambda writer: writer.name)
def test_a_picture_per_image(writer, answered, tmp_path):
    path, prediction = answered
    pixels = read_radiograph(path).pixels
    expected = {
        "overlays": overlay(pixels, prediction.mask),
        "heatmaps": heat(pixels, prediction.probability),
    }[writer.name]
    for _ in range(2):
        pickle.loads(pickle.dumps(writer)).write(path, "1.2", prediction, tmp_path)  # noqa: S301
        assert np.array_equal(cv2.imread(str(tmp_path / writer.name / "1.2.png")), expected)
    assert [found.name for found in tmp_path.iterdir()] == [writer.name]


@pytest.mark.parametrize("writer", [Overlays(), Heatmaps()], ids=lambda writer: writer.name)
def test_a_picture_that_cannot_be_written(writer, answered, tmp_path):
    path, prediction = answered
    (tmp_path / writer.name).write_text("mine")
    with pytest.raises(OutputError, match=r"1.2.png: could not be written"):
        writer.write(path, "1.2", prediction, tmp_path)
