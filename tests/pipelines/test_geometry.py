"""Radiographs whose pixels are not square: training, evaluation and prediction see the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pleura import config
from pleura.data.arrays import write_prepared
from pleura.data.index import build_index
from pleura.data.prepare import Frame, prepare_boxes
from pleura.data.sources import find_sources
from pleura.engines.torch_engine import TorchEngine
from pleura.formats.rle import mask2rle
from pleura.inference.predictor import Predictor
from pleura.inference.reading import read
from pleura.models.bundle import read_bundle
from pleura.stages.evaluate import evaluate_model, write_validation_report
from tests.dicom_files import make_dicom

SIZE = 64
GEOMETRIES = [
    {"PixelSpacing": [0.2, 0.1]},
    {"PixelAspectRatio": [1, 2]},
    {"ImagerPixelSpacing": [0.15, 0.2]},
    {},
]
ASPECTS = [2.0, 0.5, 0.75, 1.0]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A prepared folder of made-up radiographs, one per geometry, each with a mask."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    lines = ["ImageId,EncodedPixels"]
    (folder / "dicom-images-train").mkdir()
    for number, geometry in enumerate(GEOMETRIES):
        pixels = rng.integers(0, 255, (100, 160), np.uint8)
        mask = np.zeros(pixels.shape, np.bool_)
        mask[10 + number : 60, 20:90] = True
        uid = f"1.2.826.0.1.3680043.8.498.7.{number}"
        content = make_dicom(pixels, SOPInstanceUID=uid, **geometry)
        (folder / "dicom-images-train" / f"{number}.dcm").write_bytes(content)
        lines.append(f"{uid},{mask2rle(mask)}")
    (folder / "train-rle.csv").write_text("\n".join(lines) + "\n")
    index = build_index(find_sources(config.Data(str(folder))), workers=1)
    assert not index.failures
    return write_prepared(index.train, index.test, folder / "prepared", size=SIZE, workers=1)


def test_training_sees_what_prediction_sees(prepared):
    assert sorted(record.aspect for record in prepared.train) == pytest.approx(sorted(ASPECTS))
    for row, record in enumerate(prepared.train):
        ready = read(Path(record.path), SIZE)
        assert np.array_equal(prepared.x_train[row], ready.pixels)
        assert record.frame(SIZE) == ready.frame


def test_a_mask_lies_where_it_lies_in_the_picture(prepared):
    for row, record in enumerate(prepared.train):
        frame = record.frame(SIZE)
        first = 10 + int(record.image_id[-1])
        scale = SIZE / frame.side
        down, along = frame.shown[0] / 100, frame.shown[1] / 160
        rows, columns = np.nonzero(prepared.mask(row))
        edges = [rows.min(), rows.max() + 1, columns.min(), columns.max() + 1]
        wanted = [
            (frame.top + first * down) * scale,
            (frame.top + 60 * down) * scale,
            (frame.left + 20 * along) * scale,
            (frame.left + 90 * along) * scale,
        ]
        assert np.abs(np.subtract(edges, wanted)).max() <= 1


def test_an_evaluation_says_what_predicting_the_file_gives(prepared, tiny_model, tmp_path):
    bundle = read_bundle(tiny_model)
    point = replace(bundle.operating_point, score=0.0, min_area=0.0)
    bundle = replace(bundle, operating_point=point)
    engine = TorchEngine(bundle, precision="fp32")
    validation = evaluate_model(bundle, prepared, engine=engine)
    predictor = Predictor(bundle, engine, answer_flagged=True)
    for row, found in zip(validation.rows, validation.outcomes, strict=True):
        prediction = predictor.predict(prepared.train[row].path)
        assert found.predicted_px == prediction.area_px > 0
        assert found.score == pytest.approx(prediction.score, abs=1e-6)
    write_validation_report(bundle, prepared, validation, tmp_path / "page.html")


@pytest.mark.parametrize(
    ("aspect", "expected"),
    [(1.0, [20, 10, 60, 30]), (2.0, [20, 30, 60, 40]), (0.5, [35, 10, 55, 30])],
)
def test_boxes_follow(aspect, expected):
    assert prepare_boxes("10 20 20 40", Frame(100, 100, 100, aspect)).tolist() == [expected]
