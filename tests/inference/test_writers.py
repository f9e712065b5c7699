import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest

from pleura.dicom.radiograph import open_radiograph
from pleura.errors import OutputError
from pleura.inference.predictor import load
from pleura.inference.writers import Heatmaps, Overlays
from pleura.rendering.heat import heat
from pleura.rendering.overlay import overlay
from tests.dicom_files import make_dicom


@pytest.fixture(scope="module")
def answered(tiny_model, cohort):
    """A file whose mask is not empty, and its prediction."""
    model = load(tiny_model, precision="fp32", answer_flagged=True)
    for path in sorted(cohort.rglob("*.dcm")):
        prediction = model.predict(path)
        if prediction.area_px:
            return open_radiograph(path), replace(prediction, image_id="1.2")
    raise AssertionError("the model calls none of the phantoms")


@pytest.mark.parametrize("writer", [Overlays(), Heatmaps()], ids=lambda writer: writer.name)
def test_a_picture_per_image(writer, answered, tmp_path):
    radiograph, prediction = answered
    pixels = radiograph.radiograph.pixels
    expected = {
        "overlays": overlay(pixels, prediction.mask),
        "heatmaps": heat(pixels, prediction.probability),
    }[writer.name]
    for _ in range(2):
        pickle.loads(pickle.dumps(writer)).write(radiograph, prediction, tmp_path)  # noqa: S301
        assert np.array_equal(cv2.imread(str(tmp_path / writer.name / "1.2.png")), expected)
    assert [found.name for found in tmp_path.iterdir()] == [writer.name]


@pytest.mark.parametrize("writer", [Overlays(), Heatmaps()], ids=lambda writer: writer.name)
def test_a_picture_has_square_pixels(writer, tiny_model, tmp_path):
    path = tmp_path / "long.dcm"
    path.write_bytes(make_dicom(np.zeros((60, 90), np.uint8), PixelAspectRatio="2\\1"))
    prediction = load(tiny_model, precision="fp32", answer_flagged=True).predict(path)
    prediction = replace(prediction, image_id="1.2")
    assert prediction.probability.shape == (60, 90)
    writer.write(open_radiograph(path), prediction, tmp_path)
    assert cv2.imread(str(tmp_path / writer.name / "1.2.png")).shape == (120, 90, 3)


@pytest.mark.parametrize("writer", [Overlays(), Heatmaps()], ids=lambda writer: writer.name)
def test_what_is_not_assessed_has_no_picture_and_loses_an_older_one(writer, answered, tmp_path):
    radiograph, prediction = answered
    writer.write(radiograph, prediction, tmp_path)
    writer.write(radiograph, replace(prediction, assessed=False), tmp_path)
    assert list((tmp_path / writer.name).iterdir()) == []


@pytest.mark.parametrize("writer", [Overlays(), Heatmaps()], ids=lambda writer: writer.name)
def test_a_picture_that_cannot_be_written(writer, answered, tmp_path):
    radiograph, prediction = answered
    (tmp_path / writer.name).write_text("mine")
    with pytest.raises(OutputError, match=r"1.2.png: could not be written"):
        writer.write(radiograph, prediction, tmp_path)
    (tmp_path / writer.name).unlink()
    (tmp_path / writer.name / "1.2.png").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"1.2.png: could not be written"):
        writer.write(radiograph, replace(prediction, assessed=False), tmp_path)
