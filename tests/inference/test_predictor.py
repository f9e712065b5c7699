import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pleura.errors import BundleError, DicomError, OutputError, UsageError
from pleura.formats.dicom import read_radiograph
from pleura.inference.engine import Probabilities
from pleura.inference.predictor import Answered, Predictor, load
from pleura.inference.readers import Failed
from pleura.models.bundle import read_bundle
from tests.dicom_files import make_dicom


@pytest.fixture(scope="module")
def predictor(tiny_model):
    return load(tiny_model, precision="fp32")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Nine small films of several shapes; the fourth and the last are not DICOM."""
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(1)
    paths = []
    for number, shape in enumerate([(40, 40), (30, 50), (50, 30), None, *[(64, 64)] * 4, None]):
        path = folder / f"{number}.dcm"
        pixels = None if shape is None else rng.integers(256, size=shape, dtype=np.uint8)
        uid = f"1.2.{number}"
        path.write_bytes(b"no" if shape is None else make_dicom(pixels, SOPInstanceUID=uid))
        paths.append(path)
    return paths


def whole(answered: Answered) -> Answered:
    return answered


def test_a_prediction_speaks_of_the_files_own_pixels(predictor, files):
    prediction = predictor.predict(str(files[1]))
    assert prediction.image_id == "1.2.1"
    assert prediction.mask.shape == prediction.probability.shape == (30, 50)
    assert 0 <= prediction.score <= 1
    assert prediction.seconds > 0


def test_some_phantoms_are_called_and_some_are_not(predictor, cohort):
    areas = [predictor.predict(path).area_px for path in sorted(cohort.rglob("*.dcm"))[:10]]
    assert 0 in areas
    assert max(areas) > 0


@pytest.mark.parametrize("number", [0, 1, 2])
def test_pixels_are_answered_as_their_file_is(predictor, files, number):
    alone = predictor.predict(files[number])
    pixels = read_radiograph(files[number]).pixels
    found = predictor.predict_pixels(pixels, "mine")
    assert found.image_id == "mine"
    assert found.score == alone.score
    assert np.array_equal(found.prepared_map, alone.prepared_map)
    assert np.array_equal(found.mask, alone.mask)
    deep = predictor.predict_pixels(pixels.astype(np.uint16) * 257)
    assert deep.image_id == ""
    assert deep.score == pytest.approx(alone.score, abs=0.01)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((4, 4, 3), np.uint8), r"pixels are uint8 of shape \(4, 4, 3\)"),
        (np.zeros((4, 4)), r"pixels are float64 of shape \(4, 4\)"),
        (np.zeros((0, 4), np.uint8), r"pixels are uint8 of shape \(0, 4\)"),
    ],
)
def test_other_pixels_are_refused(predictor, pixels, words):
    message = rf"{words}; a radiograph is one plane of uint8 or uint16, \(rows, columns\)"
    with pytest.raises(UsageError, match=message):
        predictor.predict_pixels(pixels)


@pytest.mark.parametrize("batch", [1, 2, 4, 50])
def test_a_stream_gives_what_one_by_one_gives_in_order(readers, predictor, files, batch):
    answers = list(predictor.stream(files, batch=batch, then=whole, readers=readers))
    assert [answer.path for answer in answers] == files
    for path, answer in zip(files, answers, strict=True):
        if isinstance(answer, Failed):
            assert path.read_bytes() == b"no"
            continue
        alone = predictor.predict(path)
        assert answer.prediction.image_id == alone.image_id
        assert answer.prediction.probability == pytest.approx(alone.probability, abs=1e-5)
        assert answer.prediction.score == pytest.approx(alone.score, abs=1e-5)
        unsure = np.abs(alone.probability - predictor.bundle.operating_point.mask) < 1e-4
        assert np.array_equal(answer.prediction.mask | unsure, alone.mask | unsure)


def test_a_failing_file_says_why_and_the_others_go_on(readers, predictor, files):
    answers = list(predictor.stream(files, batch=3, then=whole, readers=readers))
    failed = [answer for answer in answers if isinstance(answer, Failed)]
    assert [item.path for item in failed] == [files[3], files[8]]
    assert all(item.reason.startswith(f"{item.path}: is not DICOM") for item in failed)


def test_only_bad_files(readers, predictor, files):
    answers = list(predictor.stream([files[3], Path("none.dcm")], then=whole, readers=readers))
    assert [type(answer) for answer in answers] == [Failed, Failed]
    assert "No such file" in answers[1].reason


def test_nothing_gives_nothing(readers, predictor):
    assert list(predictor.stream([], then=whole, readers=readers)) == []


def test_what_then_makes_of_an_answer_is_what_comes(readers, predictor, files):
    found = list(
        predictor.stream(files[:3], then=lambda answered: answered.prediction.rle, readers=readers)
    )
    assert found == [predictor.predict(path).rle for path in files[:3]]


def test_only_a_few_files_are_read_ahead(readers, predictor, files):
    taken = []

    def paths():
        for number in range(100):
            taken.append(number)
            yield files[number % 3]

    stream = predictor.stream(paths(), batch=2, then=whole, readers=readers)
    for number in range(40):
        next(stream)
        assert len(taken) - number <= 16
    stream.close()
    assert len(taken) < 60


def test_a_closed_stream_leaves_no_thread(readers, predictor, files):
    stream = predictor.stream(files * 5, batch=2, then=whole, readers=readers)
    next(stream)
    stream.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("pleura")]


def test_an_error_in_then_reaches_the_caller_and_leaves_no_thread(readers, predictor, files):
    def full(answered):
        raise OutputError("disk full")

    with pytest.raises(OutputError, match="disk full"):
        list(predictor.stream(files, then=full, readers=readers))
    assert not [t for t in threading.enumerate() if t.name.startswith("pleura")]


def test_a_single_bad_file_raises(predictor, files):
    with pytest.raises(DicomError, match=r"3.dcm: is not DICOM"):
        predictor.predict(files[3])


def test_another_engine_is_used_where_one_is_given(predictor, files):
    class Everywhere:
        name = "everywhere"

        def probabilities(self, pixels):
            ones = np.ones(pixels.shape, np.float32)
            return Probabilities(ones, ones[:, 0, 0])

    sure = Predictor(predictor.bundle, Everywhere())
    assert sure.predict(files[2]).mask.all()
    assert Predictor(predictor.bundle).engine.name.startswith("openvino")


def test_no_model(tmp_path):
    with pytest.raises(BundleError, match=r"none.h5: there is no such file; train a model with"):
        load(tmp_path / "none.h5")


def test_an_unknown_preparation_names_who_can_read_it(tiny_model):
    bundle = read_bundle(tiny_model)
    foreign = replace(
        bundle,
        preprocessing=replace(bundle.preprocessing, preparation="stretch-9"),
        versions={"pleura": "7.7"},
    )
    message = (
        r"model.h5: prepares images by 'stretch-9', this pleura by 'letterbox-area-1'; use the "
        r"pleura that wrote it \(7.7\)"
    )
    with pytest.raises(BundleError, match=message):
        Predictor(foreign)


def test_a_batch_of_none_is_refused(tiny_model):
    with pytest.raises(UsageError, match="batch is 0; it must be 1 or more"):
        list(load(tiny_model).stream([Path("x.dcm")], batch=0, then=lambda answered: answered))
