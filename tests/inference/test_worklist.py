import base64
import json
import pickle
import re
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pleura.data.prepare import Frame
from pleura.dicom.radiograph import open_radiograph, read_radiograph
from pleura.errors import OutputError
from pleura.inference.prediction import decide
from pleura.inference.predictor import load
from pleura.inference.row import Row
from pleura.inference.worklist import (
    MAP_SIDE,
    RADIOGRAPH_SIDE,
    THRESHOLDS,
    Worklist,
    areas,
    data_name,
    packed,
    stored_map,
)
from pleura.models.bundle import OperatingPoint
from tests.dicom_files import make_dicom
from tests.html_page import Page
from tests.inference.made import POINT, SIZE, Job, job, predicted, radiograph

HOSTILE = "\"'><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>&]]><!--"

shares = st.floats(0, 1, width=32)
on_the_grid = st.sampled_from([np.float32(value) for value in (*THRESHOLDS, 0.0, 1.0)])
maps = arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.one_of(shares, on_the_grid.map(float)),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return job(tmp_path_factory.mktemp("job"), images=6)


def data_of(out: Path) -> dict:
    text = (out / "worklist.html").read_text()
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert block is not None
    return json.loads(block[1])


def script_of(out: Path, image_id: str) -> str:
    return (out / "worklist" / f"{data_name(image_id)}.js").read_text()


def values_of(script: str) -> dict:
    return json.loads(script.removeprefix("pleura(").removesuffix(");\n"))


# --------------------------------------------------------------------------- what is decided


@given(maps, shares, st.one_of(shares, st.sampled_from(THRESHOLDS)), st.floats(0, 0.5))
def test_the_areas_decide_as_decide_does(probability, score, mask, min_area):
    point = OperatingPoint(score=0.5, mask=mask, min_area=min_area)
    found = areas(probability, point)
    assert not found or found[-1] > 0
    for place, threshold in enumerate((mask, *THRESHOLDS)):
        area = found[place] if place < len(found) else 0
        kept = 0 if score < 0.5 or area < min_area * probability.size else area
        at = OperatingPoint(score=0.5, mask=threshold, min_area=min_area)
        assert kept == np.count_nonzero(decide(probability, score, at))


@given(maps)
def test_a_stored_map_is_off_by_half_a_step_at_most(probability):
    stored = stored_map(probability)
    assert stored.dtype == np.uint8
    assert np.abs(stored / 255 - probability).max() <= 1 / 510 + 1e-6


def test_a_large_map_is_averaged_down():
    large = np.zeros((2 * MAP_SIDE, 2 * MAP_SIDE), np.float32)
    large[:4, :4] = 0.5
    large[0, 0] = 1
    stored = stored_map(large)
    assert stored.shape == (MAP_SIDE, MAP_SIDE)
    assert stored[0, 0] == round(255 * 0.625)
    assert stored[1, 1] == round(255 * 0.5)
    assert not stored[2:].any()


@given(arrays(np.uint8, st.integers(1, 20).map(lambda side: (side, side))))
def test_a_packed_map_is_the_running_sum_of_what_is_unpacked(stored):
    steps = zlib.decompress(base64.b64decode(packed(stored), validate=True))
    found = np.frombuffer(steps, np.uint8).reshape(stored.shape)
    assert np.array_equal(np.cumsum(found, axis=0, dtype=np.uint8), stored)


# ------------------------------------------------------------------------ data of an image


def test_the_data_of_an_image_is_plain_values_in_a_call(made):
    for image_id, prediction in made.predictions.items():
        text = script_of(made.out, image_id)
        plain = (
            r'pleura\(\{"about":\{"name":"[0-9a-f]{32}","areas":\[[0-9,]*\]\},\n"pictures":\{'
            r'"rows":\d+,"columns":\d+,"size":\d+,"map":"[\w+/=]*",'
            r'"facts":\{("(Age|Sex|View|Date)":"[\w -]*",?){4}\},'
            r'"radiograph":"data:image/jpeg;base64,[\w+/=]*","thumb":"data:image/jpeg;base64,[\w+/=]*"'
            r"\}\}\);\n"
        )
        assert re.fullmatch(plain, text)
        values = values_of(text)
        assert values["about"]["name"] == data_name(image_id)
        assert values["about"]["areas"] == areas(prediction.probability, POINT)
        pictures = values["pictures"]
        assert (pictures["rows"], pictures["columns"]) == prediction.mask.shape
        steps = np.frombuffer(zlib.decompress(base64.b64decode(pictures["map"])), np.uint8)
        stored = stored_map(prediction.prepared_map)
        assert pictures["size"] == len(stored)
        assert np.array_equal(
            np.cumsum(steps.reshape(stored.shape), axis=0, dtype=np.uint8), stored
        )


def picture(source: str) -> np.ndarray:
    content = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize(
    ("shape", "shown"), [((2000, 1000), (768, 384)), ((500, 700), (500, 700)), ((96, 96), (96, 96))]
)
def test_a_radiograph_is_shown_in_eight_bits_and_no_larger_than_it_is(tmp_path, shape, shown):
    ramp = np.linspace(0, 65535, shape[0] * shape[1]).astype(np.uint16).reshape(shape)
    path = tmp_path / "deep.dcm"
    path.write_bytes(make_dicom(ramp, VOILUTFunction="LINEAR"))
    made = predicted(0, "1.2")
    Worklist("m", "d", POINT).write(open_radiograph(path), made, tmp_path)
    pictures = values_of(script_of(tmp_path, "1.2"))["pictures"]
    seen = picture(pictures["radiograph"])
    assert seen.dtype == np.uint8
    assert seen.shape == shown
    assert max(seen.shape) <= RADIOGRAPH_SIDE
    assert max(picture(pictures["thumb"]).shape) <= 96
    expected = cv2.resize(read_radiograph(path).pixels, shown[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(seen - expected / 257).mean() < 3


def test_a_radiograph_of_pixels_that_are_not_square_is_shown_in_its_shape(tmp_path):
    path = tmp_path / "long.dcm"
    path.write_bytes(make_dicom(np.zeros((60, 90), np.uint8), PixelAspectRatio="2\\1"))
    made = replace(predicted(0, "1.2"), frame=Frame(60, 90, SIZE, 2.0))
    Worklist("m", "d", POINT).write(open_radiograph(path), made, tmp_path)
    pictures = values_of(script_of(tmp_path, "1.2"))["pictures"]
    assert picture(pictures["radiograph"]).shape == (120, 90)
    assert (pictures["rows"], pictures["columns"]) == (120, 90)  # the map lies over these


def test_the_data_of_a_real_size_stays_small(tiny_model, real_data, tmp_path):
    path = sorted((real_data / "siim").rglob("*.dcm"))[0]
    model = load(tiny_model)
    Worklist.of(model).write(
        open_radiograph(path), replace(model.predict(path), image_id="1.2"), tmp_path
    )
    assert 20_000 < len(script_of(tmp_path, "1.2")) < 140_000


def test_a_second_write_writes_the_same(made, tmp_path):
    image_id, prediction = next(iter(made.predictions.items()))
    made.writer.write(open_radiograph(made.answers[0].path), prediction, tmp_path)
    assert script_of(tmp_path, image_id) == script_of(made.out, image_id)


@given(st.text(), st.text())
def test_the_name_of_data_is_ours_whatever_the_id(one, other):
    assert re.fullmatch("[0-9a-f]{32}", data_name(one))
    assert (data_name(one) == data_name(other)) == (one == other)


def test_a_writer_can_be_sent_and_is_named_after_what_it_depends_on(tiny_model):
    model = load(tiny_model)
    writer = Worklist.of(model, "sensitive")
    assert pickle.loads(pickle.dumps(writer)) == writer  # noqa: S301 - made here
    assert writer.model == "model.h5 (cnn at 64 px)"
    assert writer.point_name == "sensitive"
    assert writer.name == Worklist.of(model).name
    moved = replace(writer, point=replace(writer.point, min_area=0.25))
    assert len({writer.name, moved.name, replace(writer, digest="other").name}) == 3


# -------------------------------------------------------------------------------- the page


def test_the_page_holds_what_it_decides_from(made):
    data = data_of(made.out)
    assert data["point"] == {"score": 0.4137, "mask": 0.345, "min_area": 0.004}
    assert data["thresholds"] == [0.345, *(step / 100 for step in range(1, 100))]
    images = data["images"]
    assert images["id"] == [*made.predictions, "torn.dcm"]
    assert images["score"] == [*(p.score for p in made.predictions.values()), None]
    assert images["area"] == [*(p.area_px for p in made.predictions.values()), None]
    assert images["flags"][2] == "looks inverted, looks like a lateral view"
    assert images["areas"][-1] is None
    for answer, size, counted in zip(
        made.answers[:-1], images["size"], images["areas"], strict=False
    ):
        assert size == answer.rows * answer.columns
        called = (
            answer.score >= POINT.score and counted and counted[0] >= max(1, POINT.min_area * size)
        )
        assert answer.area_px == (counted[0] if called else 0)
    assert len({len(column) for column in images.values()}) == 1


def test_the_head_says_what_answered_and_how(made):
    text = Page((made.out / "worklist.html").read_text()).text
    called = sum(answer.rle not in (None, "-1") for answer in made.answers)
    assert 0 < called < 6
    assert "Model model.h5 Digest a1b2c3d4a1b2c3d4 Operating point" in text
    assert "default: score 0.414, mask 0.345, smallest area 0.4 %" in text
    assert f"7: {called} called positive, {6 - called} negative, 0 not assessed, 1 failed" in text
    assert re.search(r"Made \d{4}-\d\d-\d\d \d\d:\d\d UTC", text)
    assert text.count("Not a medical device: for research and education, not for diagnosis.") == 1


def test_what_is_not_assessed_has_a_radiograph_and_nothing_to_draw_on_it(tmp_path):
    why = {0: ("modality=CT", "view=LL"), 3: ("inverted",)}
    made = job(tmp_path, images=4, not_assessed=why)
    images = data_of(made.out)["images"]
    assert images["assessed"] == [False, True, True, False, True]
    assert images["flags"][0] == "the header says modality CT, view LL"
    for number in why:
        assert (images["score"][number], images["area"][number]) == (None, None)
        assert images["areas"][number] == []
        values = values_of(script_of(made.out, images["id"][number]))
        assert values["pictures"]["map"] is None
        assert values["about"]["areas"] == []
        assert picture(values["pictures"]["radiograph"]).shape == radiograph(number).shape
    text = Page((made.out / "worklist.html").read_text()).text
    positive = sum(bool(area) for area in images["area"])
    counted = f"{positive} called positive, {2 - positive} negative, 2 not assessed, 1 failed"
    assert f"Files 5: {counted}" in text


def test_nothing_of_a_patient_and_no_folder_is_written(made):
    written = [made.out / "worklist.html", *(made.out / "worklist").iterdir()]
    assert len(written) == 7
    for path in written:
        content = path.read_text()
        assert not any(word in content for word in ("Jane", "Doe", "DOE", "4711"))
    assert data_of(made.out)["images"]["error"][-1] == "torn.dcm: is not DICOM; export it again"


def test_folders_of_other_answers_are_left_out_of_an_error_too(made, tmp_path):
    other = made.answers[0]
    answer = Row(
        "/a/DOE/x.dcm", error=f"/a/DOE/x.dcm: has the id 1.2 of {other.path}, which was answered"
    )
    made.writer.finish([answer, replace(other, rle=None)], tmp_path)
    assert data_of(tmp_path)["images"]["error"][0] == (
        "x.dcm: has the id 1.2 of radiograph.dcm, which was answered"
    )


def test_the_page_needs_nothing_from_outside(made):
    text = (made.out / "worklist.html").read_text()
    page = Page(text)
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert "@import" not in text
    assert "url(" not in text
    assert not page.all("link")
    assert all("src" not in script for script in page.all("script"))
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert re.match(
        r"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        r"script-src 'sha256-[\w+/=]+' 'strict-dynamic'; base-uri 'none'; form-action 'none'$",
        policy["content"] or "",
    )


def test_hostile_texts_stay_texts(tmp_path):
    made = job(tmp_path, images=3, hostile=HOSTILE)
    text = (made.out / "worklist.html").read_text()
    page = Page(text)
    assert len(page.all("script")) == 2
    assert not page.all("img")
    assert f"model.h5{HOSTILE}" in page.text
    images = data_of(made.out)["images"]
    assert images["id"][0] == f"1.2.826.0.1.0000{HOSTILE}"
    assert images["error"][-1].endswith(HOSTILE)
    assert all(re.fullmatch(r"[0-9a-f]{32}\.js", p.name) for p in (made.out / "worklist").iterdir())


def test_an_empty_job_has_a_page(tmp_path):
    Worklist("m", "d", POINT).finish([], tmp_path)
    assert (
        "0: 0 called positive, 0 negative, 0 not assessed, 0 failed"
        in Page((tmp_path / "worklist.html").read_text()).text
    )


@pytest.mark.parametrize("areas", [None, (3, 2)])
def test_an_answer_without_its_data_is_an_error_unless_it_says_why(tmp_path, areas):
    answer = Row.of("radiograph.dcm", predicted(5, "1.2.9"), areas=areas)
    writer = Worklist("m", "d", POINT)
    message = (
        r"worklist/[0-9a-f]{32}.js: the data of image 1.2.9 is missing; predict into an empty "
        "folder"
    )
    with pytest.raises(OutputError, match=message):
        writer.finish([answer], tmp_path)
    writer.finish([replace(answer, error="radiograph.dcm: cannot be read again")], tmp_path)
    images = data_of(tmp_path)["images"]
    assert images["areas"] == [None]
    assert images["error"] == ["radiograph.dcm: cannot be read again"]


def test_a_page_that_cannot_be_written(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match=r"worklist.html: could not be written"):
        Worklist("m", "d", POINT).finish([], tmp_path / "out")
