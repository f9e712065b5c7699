import gzip
import io
import pickle
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from pleura.dicom.radiograph import read_radiograph
from pleura.engines.engine import Probabilities
from pleura.errors import AnswerError, BundleError, DicomError, OutputError, UsageError
from pleura.inference.prediction import Prediction
from pleura.inference.predictor import Predictor, load
from pleura.inference.readers import Failed
from pleura.models.bundle import read_bundle
from pleura.remote.objects import FETCHED_AHEAD
from tests.dicom_files import make_dicom


@pytest.fixture(scope="module")
def predictor(tiny_model):
    return load(tiny_model, precision="fp32", answer_flagged=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Nine small radiographs of several shapes; the fourth and the last are not DICOM."""
    folder = tmp_path_factory.mktemp("radiographs")
    rng = np.random.default_rng(1)
    paths = []
    for number, shape in enumerate([(40, 40), (30, 50), (50, 30), None, *[(64, 64)] * 4, None]):
        path = folder / f"{number}.dcm"
        pixels = None if shape is None else rng.integers(256, size=shape, dtype=np.uint8)
        uid = f"1.2.{number}"
        path.write_bytes(b"no" if shape is None else make_dicom(pixels, SOPInstanceUID=uid))
        paths.append(path)
    return paths


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
    twelve_bits = (pixels.astype(np.uint16) << 4) | (pixels >> 4)
    for few_bits in (twelve_bits, twelve_bits.astype(">u2"), pixels.astype(np.uint16)):
        few = predictor.predict_pixels(few_bits)
        white = 4095 if few_bits.max() > 255 else 255
        assert few.notes.endswith(f"bits in 16: white is {white}")
        assert few.score == pytest.approx(alone.score, abs=0.01)
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


def test_what_is_flagged_is_not_assessed_however_it_is_asked(tiny_model, readers, tmp_path):
    model = load(tiny_model, precision="fp32")
    noise = np.random.default_rng(0).integers(256, size=(96, 96), dtype=np.uint8)
    radiograph = tmp_path / "radiograph.dcm"
    radiograph.write_bytes(make_dicom(noise, Modality="CT"))
    (streamed,) = model.predict_many([radiograph], readers=readers)
    asked = model.predict(radiograph), streamed
    for found in asked:
        assert (found.called, found.flags) == ("not assessed", ("other-picture", "modality=CT"))
        assert not found.mask.any()
    pixels = model.predict_pixels(noise)
    assert (pixels.called, pixels.flags) == ("not assessed", ("other-picture",))
    assert model.predict_pixels(noise[:16, :16]).flags[-1] == "size=16x16"
    all_the_same = load(tiny_model, precision="fp32", answer_flagged=True).predict(radiograph)
    assert all_the_same.called in ("positive", "negative")
    assert all_the_same.flags == asked[0].flags


@pytest.mark.parametrize("batch", [1, 2, 4, 50])
def test_a_stream_gives_what_one_by_one_gives_in_order(readers, predictor, files, batch):
    answers = list(predictor.predict_many(files, batch=batch, readers=readers))
    for path, answer in zip(files, answers, strict=True):
        if isinstance(answer, Failed):
            assert answer.path == path
            assert path.read_bytes() == b"no"
            continue
        alone = predictor.predict(path)
        assert answer.image_id == alone.image_id
        assert answer.probability == pytest.approx(alone.probability, abs=1e-5)
        assert answer.score == pytest.approx(alone.score, abs=1e-5)
        unsure = np.abs(alone.probability - predictor.bundle.operating_point.mask) < 1e-4
        assert np.array_equal(answer.mask | unsure, alone.mask | unsure)


def test_a_failing_file_says_why_and_the_others_go_on(readers, predictor, files):
    answers = list(predictor.predict_many(files, batch=3, readers=readers))
    failed = [answer for answer in answers if isinstance(answer, Failed)]
    assert [item.path for item in failed] == [files[3], files[8]]
    assert all(item.reason.startswith(f"{item.path}: is not DICOM") for item in failed)


class Astray:
    """An engine that has no number for the second image of a batch and a pixel of the third."""

    name, notes = "astray", ()

    def probabilities(self, pixels):
        maps, scores = np.full(pixels.shape, 0.5, np.float32), np.full(len(pixels), 0.5, np.float32)
        scores[1:2], maps[2:3, 0, 0] = np.nan, np.inf
        return Probabilities(maps, scores)


def test_an_answer_that_is_no_number_is_an_error_of_that_file(readers, predictor, files):
    astray = Predictor(predictor.bundle, Astray())
    good = [path for path in files if path.read_bytes() != b"no"][:4]
    answers = list(astray.predict_many(good, batch=4, readers=readers))
    assert [type(answer) for answer in answers] == [Prediction, Failed, Failed, Prediction]
    message = "the network's answer is not a finite number; try another model, or `precision` fp32"
    assert answers[1].reason == f"1.2.1: {message}"
    astray.engine.probabilities = lambda pixels: Probabilities(pixels / np.float32(0), np.ones(1))
    with np.errstate(all="ignore"), pytest.raises(AnswerError, match=f"^1.2.0: {message}$"):
        astray.predict(good[0])


def test_only_bad_files(readers, predictor, files):
    answers = list(predictor.predict_many([files[3], Path("none.dcm")], readers=readers))
    assert [type(answer) for answer in answers] == [Failed, Failed]
    assert "No such file" in answers[1].reason


def test_nothing_gives_nothing(readers, predictor):
    assert list(predictor.predict_many([], readers=readers)) == []


@pytest.mark.parametrize(("many", "counts"), [(list, "3/3"), (iter, "3/3"), (map, "3radiographs")])
def test_a_bar_is_shown_where_it_is_asked_for(readers, predictor, files, many, counts, capfd):
    paths = map(Path, files[:3]) if many is map else many(files[:3])
    with_bar = list(predictor.predict_many(paths, readers=readers, progress=True))
    shown = capfd.readouterr()
    assert shown.out == ""
    assert counts in shown.err
    without = list(predictor.predict_many(files[:3], readers=readers))
    assert capfd.readouterr().err == ""
    assert [one.image_id for one in with_bar] == [one.image_id for one in without]


def test_only_a_few_files_are_read_ahead(readers, predictor, files):
    taken = []

    def paths():
        for number in range(100):
            taken.append(number)
            yield files[number % 3]

    with closing(predictor.predict_many(paths(), batch=2, readers=readers)) as stream:
        for number in range(40):
            next(stream)
            assert len(taken) - number <= 16 + FETCHED_AHEAD
    assert len(taken) < 60 + FETCHED_AHEAD


def test_a_closed_stream_leaves_no_thread(readers, predictor, files):
    stream = predictor.predict_many(files * 5, batch=2, readers=readers)
    next(stream)
    stream.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("pleura")]


def test_an_error_of_the_engine_reaches_the_caller_and_leaves_no_thread(readers, predictor, files):
    class Full:
        name, notes = "full", ()

        def probabilities(self, pixels):
            raise OutputError("disk full")

    with pytest.raises(OutputError, match="disk full"):
        list(Predictor(predictor.bundle, Full()).predict_many(files, readers=readers))
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

    sure = Predictor(predictor.bundle, Everywhere(), answer_flagged=True)
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
        list(load(tiny_model).predict_many([Path("x.dcm")], batch=0))


def test_a_radiograph_may_come_in_any_form(predictor, files):
    path = files[1]
    alone, radiograph = predictor.predict(path), read_radiograph(path)
    picture = Image.fromarray(radiograph.pixels)
    palette = Image.fromarray(255 - radiograph.pixels).convert("P")
    palette.putpalette([value for value in range(255, -1, -1) for _ in range(3)])
    assert not np.array_equal(np.asarray(palette), radiograph.pixels)
    pixels = [radiograph.pixels, picture, picture.convert("RGB"), palette, saved(picture, "PNG")]
    content = path.read_bytes()
    files = [
        content,
        radiograph,
        pydicom.dcmread(path),
        memoryview(content),
        gzip.compress(content),
    ]
    for form in (*files, *pixels):
        found = predictor.predict(form)
        assert (found.score, found.rle) == (alone.score, alone.rle)
        assert found.image_id == ("" if any(form is one for one in pixels) else "1.2.1")
    assert [one.score for one in predictor.predict([path, picture])] == [alone.score] * 2


def saved(picture, kind):
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def turned():
    picture = Image.new("L", (9, 8))
    picture.getexif()[274] = 6
    return picture


@pytest.mark.parametrize(
    ("form", "error", "words"),
    [
        (b"no DICOM", DicomError, "^the bytes: is not DICOM"),
        (b"", DicomError, "^the bytes: is empty; there is nothing in it to read$"),
        (pydicom.Dataset(), DicomError, "^the data set cannot be written as a file .+ file_meta"),
        (
            7,
            UsageError,
            "^int is no radiograph; give a path, the bytes of a file, a Radiograph, a ",
        ),
        (Image.new("RGB", (9, 8), "red"), UsageError, r"^the picture is in colour \(channels diff"),
        (np.zeros((8, 9, 5), np.uint8), UsageError, r"pixels are uint8 of shape \(8, 9, 5\); a ra"),
        (
            Image.new("CMYK", (9, 8)),
            UsageError,
            "^the picture has the mode CMYK; give one of L, RG",
        ),
        (Image.new("YCbCr", (9, 8)), UsageError, "^the picture has the mode YCbCr; give one of L"),
        (turned(), UsageError, r"^the picture says that it is to be turned before it is shown"),
        (Image.new("1", (9, 8)), UsageError, r"pixels are bool of shape \(8, 9\); a radiograph is"),
        ([7], UsageError, "^int is no radiograph"),
    ],
)
def test_what_is_no_radiograph(predictor, form, error, words):
    with pytest.raises(error, match=words):
        predictor.predict(form)


def test_a_model_says_in_one_line_what_it_is(predictor):
    assert repr(predictor) == f"Predictor({predictor.title}, {predictor.engine.name})"


def test_a_loaded_model_is_not_sent_anywhere(predictor):
    with pytest.raises(UsageError, match=r"sent to another process; call pleura\.load there"):
        pickle.dumps(predictor)


def test_models_are_averaged_where_several_are_named(tiny_model, files):
    alone = load(tiny_model, precision="fp32", answer_flagged=True)
    both = load(tiny_model, ensemble=[tiny_model], tta=True, precision="fp32", answer_flagged=True)
    assert both.engine.name == f"{alone.engine.name}, tta"
    assert both.digest != alone.digest
    assert both.predict(files[0]).score == pytest.approx(alone.predict(files[0]).score, abs=0.2)
