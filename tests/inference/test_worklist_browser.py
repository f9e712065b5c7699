"""The worklist as a browser shows it from a disk: Debian's Chromium, driven by Playwright."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pleura.data.prepare import restore
from pleura.dicom.radiograph import open_radiograph
from pleura.inference.prediction import decide
from pleura.inference.row import Row
from pleura.inference.worklist import data_name, stored_map
from pleura.rendering.heat import heat_colours
from tests.browser import HOSTILE, Visit, playwright, small_targets, started_browser, visits
from tests.dicom_files import make_dicom
from tests.inference.made import POINT, Job, job, predicted, radiograph

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started_browser() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return job(tmp_path_factory.mktemp("job"))


@pytest.fixture
def visit(browser: Any, made: Job) -> Iterator[Visit]:
    """Open a page; in the end its console is empty and it asked for nothing but its own data."""
    with visits(browser, (1300, 1100)) as opened:

        def open_worklist(out: Path = made.out, **options: Any) -> Any:
            own = ((out / "worklist").as_uri() + "/", "blob:")
            return opened(out / "worklist.html", own, **options)

        yield open_worklist


def ready(page: Any) -> None:
    radiograph = page.locator(
        "#radiograph"
    )  # not wait_for_function: the page's policy forbids its eval
    playwright.expect(radiograph).to_have_attribute("data-ready", re.compile("."))


def pick(page: Any, image_id: str) -> None:
    page.locator("#rows .line", has_text=image_id).first.click()
    ready(page)


def slide(page: Any, selector: str, value: float) -> None:
    page.locator(selector).evaluate(
        "(element, value) => { element.value = value; "
        "element.dispatchEvent(new Event('input', { bubbles: true })); }",
        value,
    )
    settle(page)


def settle(page: Any) -> None:
    """Wait until what was asked for is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def lines(page: Any) -> list[tuple[str, str, str, str]]:
    """Return id, call, score and area of the rows in the document, from top to bottom."""
    found: list[tuple[int, tuple[str, str, str, str]]] = page.evaluate("""() =>
        [...document.querySelectorAll("#rows .line")].map((line) => [
            Number(line.ariaRowIndex ?? line.getAttribute("aria-rowindex")),
            [".uid", ".call", ".score", ".area"].map((part) => {
                const node = line.querySelector(part);
                return node && node.firstChild ? node.firstChild.textContent : "";
            }),
        ])""")
    return [tuple(parts) for _, parts in sorted(found)]


def ids(page: Any) -> list[str]:
    return [line[0] for line in lines(page)]


def canvas(page: Any, name: str) -> np.ndarray:
    """Return the pixels of a canvas, ``(rows, columns, 4)`` red, green, blue, opacity."""
    values = page.evaluate(
        """(id) => {
            const shown = document.getElementById(id);
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [shown.width, shown.height];
            const pen = canvas.getContext("2d", { willReadFrequently: true });
            pen.drawImage(shown, 0, 0);
            const all = pen.getImageData(0, 0, canvas.width, canvas.height).data;
            return [canvas.height, canvas.width, [...all]];
        }""",
        name,
    )
    return np.array(values[2], np.uint8).reshape(values[0], values[1], 4)


# --------------------------------------------------------------------------- what is decided


@pytest.mark.parametrize(
    ("score", "mask"),
    [(None, None), (0.2, None), (None, 0.6), (0.85, 0.1), (0.0, 0.01), (0.1, 0.5), (1.0, 0.99)],
)
def test_moved_thresholds_decide_as_python_does(
    visit: Visit, made: Job, score: float | None, mask: float | None
) -> None:
    page = visit()
    ready(page)
    if score is not None:
        slide(page, "#by-score", score)
    if mask is not None:
        slide(page, "#by-mask", mask)
    point = replace(
        POINT,
        score=POINT.score if score is None else score,
        mask=POINT.mask if mask is None else mask,
    )
    expected = {
        image_id: int(np.count_nonzero(decide(found.probability, found.score, point)))
        for image_id, found in made.predictions.items()
    }
    seen = {image_id: (call, area) for image_id, call, _, area in lines(page) if call != "failed"}
    assert seen == {
        image_id: ("positive", f"{area:,} px") if area else ("negative", "–")  # noqa: RUF001
        for image_id, area in expected.items()
    }
    positive = sum(area > 0 for area in expected.values())
    assert page.locator("#counts b").inner_text() == f"{positive} of 12 called positive"
    assert page.get_by_role("button", name="Positive").inner_text() == f"Positive {positive}"
    for image_id, area in list(expected.items())[::4]:
        pick(page, image_id)
        measured = page.locator("#measured").inner_text()
        if area:
            share = 100 * area / made.predictions[image_id].mask.size
            assert measured.startswith(f"Mask {area:,} px, ")
            assert float(measured.split(",")[-1].split("%")[0]) == pytest.approx(share, rel=0.06)
        else:
            assert measured in (
                "The score is below its threshold",
                "The mask is below the smallest area",
                "No pixel is above the threshold",
            )


def test_the_way_back_to_the_operating_point(visit: Visit, made: Job) -> None:
    page = visit()
    before = lines(page)
    called = sum(answer.rle not in (None, "-1") for answer in made.answers)
    reset = page.get_by_role("button", name="Back to the operating point")
    assert reset.is_disabled()
    assert page.locator("#counts").inner_text().split("\n")[-1] == "at the operating point"
    slide(page, "#by-score", 0)
    slide(page, "#by-mask", 0.2)
    now = int(page.locator("#counts b").inner_text().split()[0])
    assert now > called
    assert f"{now - called} more than at the operating point" in (
        page.locator("#counts").inner_text()
    )
    reset.click()
    assert lines(page) == before
    assert reset.is_disabled()
    assert page.locator("output[for=by-score]").inner_text() == "0.414"
    assert page.locator("output[for=by-mask]").inner_text() == "0.345"


def test_what_is_drawn_is_the_stored_map(visit: Visit, made: Job) -> None:
    page = visit()
    slide(page, "#by-score", 0)
    for threshold in (0.25, 0.45):
        slide(page, "#by-mask", threshold)
        for image_id in list(made.predictions)[8:]:
            prediction = made.predictions[image_id]
            pick(page, image_id)
            stored = stored_map(prediction.prepared_map).astype(np.float32)
            spread = restore(stored, prediction.frame)
            mask = decide(spread / 255, 1.0, replace(POINT, mask=threshold))
            assert 0 < np.count_nonzero(mask) < mask.size
            over = canvas(page, "over")
            unsure = np.abs(spread - 255 * threshold) < 1e-3
            assert np.array_equal((over[:, :, 3] > 0) | unsure, mask | unsure)
            assert np.unique(over[mask & ~unsure], axis=0).tolist() == [[255, 153, 28, 255]]
    page.get_by_role("radio", name="Heat map").check()
    settle(page)
    colours = heat_colours()[:, [2, 1, 0, 3]][np.floor(spread + 0.5).astype(int)]
    seen, solid = canvas(page, "over"), colours[:, :, 3] == 255
    assert np.array_equal(seen[solid], colours[solid])
    assert np.abs(seen[:, :, 3].astype(int) - colours[:, :, 3]).max() <= 4
    page.get_by_role("radio", name="None").check()
    assert page.locator("#over").is_hidden()


def test_the_outline_goes_round_the_mask(visit: Visit, made: Job) -> None:
    page = visit()
    slide(page, "#by-score", 0)
    image_id = list(made.predictions)[
        9
    ]  # a wide radiograph, black above and below in the map's square
    prediction = made.predictions[image_id]
    pick(page, image_id)
    box = [float(v) for v in page.locator("#outline").get_attribute("viewBox").split()]
    rows, columns = prediction.mask.shape
    assert rows < columns
    assert box == pytest.approx([0, (columns - rows) / 2 / 2, 48, rows / 2])
    ends = page.locator("#outline path").first.evaluate(
        "path => path.getAttribute('d').match(/-?[0-9.]+/g).map(Number)"
    )
    spread = restore(stored_map(prediction.prepared_map).astype(np.float32), prediction.frame)
    for x, y in np.array(ends).reshape(-1, 2):
        row, column = (y - box[1]) * 2 - 0.5, (x - box[0]) * 2 - 0.5
        if 1 < row < rows - 2 and 1 < column < columns - 2:
            near = spread[int(row) - 1 : int(row) + 3, int(column) - 1 : int(column) + 3]
            assert near.min() <= 255 * POINT.mask <= near.max()
    page.get_by_label("Outline of the mask").uncheck()
    assert page.locator("#outline path").first.get_attribute("d") == ""
    page.get_by_label("Outline of the mask").check()
    slide(page, "#by-score", 1)
    assert page.locator("#outline path").first.get_attribute("d") == ""


# ------------------------------------------------------------------------------- the radiograph


def test_the_window_is_one_of_grey_values(visit: Visit) -> None:
    page = visit()
    ready(page)
    plain = canvas(page, "radiograph")[:, :, 0].astype(float)
    assert plain.max() - plain.min() > 100
    slide(page, "#centre", 100)
    slide(page, "#width", 51)
    expected = np.clip(((plain - 99.5) / 50 + 0.5) * 255, 0, 255)
    assert np.abs(canvas(page, "radiograph")[:, :, 0] - expected).max() <= 0.5
    page.get_by_role("button", name="Invert").click()
    assert np.abs(canvas(page, "radiograph")[:, :, 0] - (255 - expected)).max() <= 0.5
    page.locator("#window-reset").click()
    assert np.array_equal(canvas(page, "radiograph")[:, :, 0], plain)
    assert page.locator("output[for=width]").inner_text() == "256"


def test_a_drag_on_the_radiograph_moves_the_window(visit: Visit) -> None:
    page = visit()
    ready(page)
    box = page.locator("#picture").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y - 60)
    page.mouse.up()
    settle(page)
    assert page.locator("#width").input_value() == "296"
    assert page.locator("#centre").input_value() == "98"
    page.mouse.dblclick(x, y)
    assert page.locator("#width").input_value() == "256"


def test_the_radiograph_fills_the_stage_without_being_stretched(visit: Visit, made: Job) -> None:
    page = visit()
    stage = page.locator("#stage").bounding_box()
    for image_id in list(made.predictions)[:4]:
        pick(page, image_id)
        rows, columns = made.predictions[image_id].mask.shape
        box = page.locator("#picture").bounding_box()
        assert box["width"] / box["height"] == pytest.approx(columns / rows, rel=0.01)
        room = min(stage["width"] / box["width"], stage["height"] / box["height"])
        assert room == pytest.approx(1, abs=0.01)


def test_the_radiograph_is_zoomed_and_moved(visit: Visit) -> None:
    page = visit()
    ready(page)
    box = page.locator("#picture").bounding_box()
    x, y = box["x"] + 0.7 * box["width"], box["y"] + 0.6 * box["height"]
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    zoomed = page.locator("#picture").evaluate_handle(
        "async (e) => { while (e.style.getPropertyValue('--zoom') === '1') "
        "await new Promise(requestAnimationFrame); return e; }"
    )
    now = zoomed.as_element().bounding_box()
    assert now["width"] > 2 * box["width"]
    stage = page.locator("#stage").bounding_box()
    if now["height"] > stage["height"]:  # what was below the pointer still is
        assert (y - now["y"]) / now["height"] == pytest.approx(0.6, abs=0.02)
    assert (x - now["x"]) / now["width"] == pytest.approx(0.7, abs=0.02)
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(x + 50, y)
    page.mouse.up()
    page.keyboard.up("Shift")
    moved = page.locator("#picture").bounding_box()
    assert moved["x"] - now["x"] == pytest.approx(50, abs=1)
    assert page.locator("#width").input_value() == "256", "with Shift the window stays"
    page.get_by_role("button", name="Zoom out").click()
    assert page.locator("#picture").bounding_box()["width"] == pytest.approx(
        now["width"] / 1.25, rel=0.01
    )
    page.get_by_role("button", name="Fit to the window").click()
    assert page.locator("#picture").bounding_box() == box


def test_opacity_is_remembered_for_each_overlay(visit: Visit) -> None:
    page = visit()
    ready(page)
    slide(page, "#opacity", 55)
    assert page.locator("#over").evaluate("e => e.style.opacity") == "0.55"
    page.get_by_role("radio", name="Heat map").check()
    assert page.locator("#over").evaluate("e => e.style.opacity") == "0.6"
    assert page.locator("#legend").is_visible()
    page.get_by_role("radio", name="Mask").check()
    assert page.locator("#opacity").input_value() == "55"
    assert page.locator("#legend").is_hidden()


# -------------------------------------------------------------------------------- the list


def test_the_list_is_sorted_by_each_column(visit: Visit, made: Job) -> None:
    page = visit()
    by_score = sorted(made.predictions, key=lambda image_id: -made.predictions[image_id].score)
    assert ids(page) == [*by_score, "torn.dcm"]
    head = page.get_by_role("columnheader", name="Score")
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").click()
    assert ids(page) == [*by_score[::-1], "torn.dcm"]
    page.get_by_role("button", name="Image", exact=True).click()
    assert ids(page) == [*made.predictions, "torn.dcm"]
    page.get_by_role("button", name="Area", exact=True).click()
    areas = [made.predictions[image_id].area_px for image_id in ids(page)[:-1]]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > 0
    page.get_by_role("button", name="Called", exact=True).click()
    calls = [line[1] for line in lines(page)]
    assert calls == sorted(calls, key=["positive", "negative", "failed"].index)
    assert head.get_attribute("aria-sort") == "none"


def test_the_list_is_searched_and_filtered(visit: Visit, made: Job) -> None:
    page = visit()
    page.get_by_role("button", name="Flagged").click()
    assert ids(page) == ["1.2.826.0.1.0002"]
    assert page.locator("#rows .flag").inner_text() == "looks inverted, looks like a lateral view"
    pick(page, "0002")
    assert page.locator("#about").inner_text().split("\n")[:2] == [
        "Flagged, answered all the same",
        "looks inverted, looks like a lateral view",
    ]
    assert not page.locator("#notes p").is_visible()
    page.get_by_text("Notes on the file").click()
    assert page.locator("#notes p").inner_text() == "odd preamble"
    page.get_by_role("button", name="Failed").click()
    assert ids(page) == ["torn.dcm"]
    pick(page, "torn")
    assert page.locator("#message").inner_text() == "torn.dcm: is not DICOM; export it again"
    assert page.locator("#answer b").inner_text() == "No answer"
    page.get_by_role("button", name="Positive").click()
    assert {line[1] for line in lines(page)} == {"positive"}
    page.get_by_role("button", name="All 13").click()
    page.get_by_role("searchbox").fill("preamble INVERTED 0002")
    assert ids(page) == ["1.2.826.0.1.0002"]
    page.get_by_role("searchbox").fill("nothing like it")
    assert page.locator("#nothing").is_visible()
    assert page.locator("#next").is_disabled()


NOT_ASSESSED = {1: ("rotated", "modality=CT"), 9: ("size=16x16",)}


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job with two radiographs not assessed: without flags they would be of either call."""
    return job(tmp_path_factory.mktemp("doubtful"), not_assessed=NOT_ASSESSED)


def test_what_is_not_assessed_is_a_group_of_its_own(visit: Visit, doubtful: Job) -> None:
    page = visit(doubtful.out)
    for threshold in (None, 0, 1):  # no threshold makes an answer of it
        if threshold is not None:
            slide(page, "#by-score", threshold)
        called = [line[1] for line in lines(page)]
        assert called.count("not assessed") == 2
        assert called[-3:] == ["not assessed", "not assessed", "failed"], "without a score"
        positive, negative = called.count("positive"), called.count("negative")
        assert positive + negative == 10
        assert page.locator("#counts b").inner_text() == f"{positive} of 10 called positive"
        for name, many in (("Positive", positive), ("Negative", negative), ("Failed", 1)):
            button = page.locator(f"[data-kind={name.lower()}]")
            assert button.inner_text() == f"{name} {many}"
    chosen = page.get_by_role("button", name="Not assessed 2")
    chosen.click()
    assert sorted(ids(page)) == ["1.2.826.0.1.0001", "1.2.826.0.1.0009"]
    assert page.locator("#rows .score, #rows .area").count() == 0
    why = "looks as if it lay on its side, the header says modality CT"
    assert page.locator("#rows .why", has_text="CT").inner_text() == why
    pick(page, "0001")
    assert page.locator("#answer").inner_text().strip() == "Not assessed"
    assert page.locator("#measured").inner_text() == f"Why: {why}"
    assert "Flagged" not in page.locator("#about").inner_text()
    assert page.get_by_role("radio", name="Heat map").is_disabled()
    assert not canvas(page, "over")[:, :, 3].any()
    assert page.locator("#outline path").first.get_attribute("d") == ""
    assert page.locator("#picture").get_attribute("aria-label") == (
        "Radiograph 1.2.826.0.1.0001, not assessed"
    )
    assert page.evaluate(CONTRAST) == []
    page.locator("[data-kind=all]").click()
    page.get_by_role("searchbox").fill("not assessed 16")
    assert ids(page) == ["1.2.826.0.1.0009"]
    page.get_by_role("searchbox").fill("")
    pick(page, "0002")
    assert page.get_by_role("radio", name="Mask").is_enabled()
    page.get_by_role("button", name="Called", exact=True).click()
    calls = [line[1] for line in lines(page)]
    order = ["positive", "negative", "not assessed", "failed"]
    assert calls == sorted(calls, key=order.index)


@pytest.mark.parametrize("width", [400, 1400])
def test_not_assessed_and_why_can_be_read_at_any_width(
    visit: Visit, doubtful: Job, width: int
) -> None:
    page = visit(doubtful.out, width=width, height=900)
    page.locator("[data-kind='not assessed']").click()
    for row in page.locator("#rows .line").all():
        assert "not assessed" in row.inner_text()
        assert row.locator(".why").is_visible()
    assert page.evaluate(OUTSIDE) == []


def test_the_list_is_walked_with_keys(visit: Visit, made: Job) -> None:
    page = visit(height=700)
    ready(page)
    order = [line[0] for line in lines(page)]
    current = page.locator("#current")
    assert current.inner_text() == order[0]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert current.inner_text() == order[2]
    page.keyboard.press("ArrowUp")
    assert current.inner_text() == order[1]
    active = page.locator("#grid").get_attribute("aria-activedescendant")
    assert page.locator(f"#{active}").get_attribute("aria-selected") == "true"
    page.keyboard.press("End")
    assert current.inner_text() == "torn.dcm"
    assert page.locator(".line[aria-selected=true]").is_visible()
    playwright.expect(page.locator(".line[aria-selected=true]")).to_be_in_viewport()
    assert page.locator("#next").is_disabled()
    page.keyboard.press("Home")
    playwright.expect(page.locator(".line[aria-selected=true]")).to_be_in_viewport()
    page.locator("#by-mask").focus()
    page.keyboard.press("ArrowUp")
    settle(page)
    assert current.inner_text() == order[0], "on a slider an arrow moves the slider"
    assert page.locator("output[for=by-mask]").inner_text() in ("0.35", "0.36")
    page.get_by_role("button", name="Next image").click()
    assert page.locator("#place").inner_text() == "2 of 13"


# ------------------------------------------------------------------------ how it is shown

OUTSIDE = """() => [...document.querySelectorAll("body *")].filter((element) => {
    if (!element.checkVisibility() || element.closest("svg, #picture")) return false;
    const frame = element.getBoundingClientRect();
    return frame.right > document.documentElement.clientWidth + 1 || frame.left < -1;
}).map((element) => element.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize(
    ("width", "scheme"), [(400, "light"), (1000, "dark"), (1280, "light"), (1920, "dark")]
)
def test_the_page_fits_its_window(visit: Visit, width: int, scheme: str) -> None:
    page = visit(width=width, height=900)
    ready(page)
    if scheme == "light":
        page.locator("#theme").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OUTSIDE) == []
    if width >= 1200:
        assert page.evaluate("document.documentElement.scrollHeight") <= 900
    assert page.locator("#picture").bounding_box()["width"] > min(360, width - 40)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(11, 12, 14)"
    assert dark == (scheme == "dark")


@pytest.mark.parametrize("width", [400, 1600])
def test_targets_can_be_hit(visit: Visit, width: int) -> None:
    page = visit(width=width, height=900)
    ready(page)
    assert small_targets(page) == []


def test_the_page_is_dark_until_light_is_asked_for_and_stays_light(visit: Visit) -> None:
    page = visit(color_scheme="light")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator("#theme").click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert page.locator("#theme").get_attribute("aria-pressed") == "true"


def test_what_the_reader_marks_and_notes_stays_in_the_browser(visit: Visit, made: Job) -> None:
    page = visit()
    ready(page)
    count = len(made.answers)
    unread = page.locator("[data-kind=unread]")
    assert unread.inner_text().split() == ["Unread", str(count)]
    first = page.locator("#current").inner_text()
    page.locator("#read").check()
    page.locator("#remark").fill("chest drain, arrow keys and all")
    page.reload()
    ready(page)
    assert page.locator("#current").inner_text() == first
    assert page.locator("#read").is_checked()
    assert page.locator("#remark").input_value() == "chest drain, arrow keys and all"
    assert unread.inner_text().split() == ["Unread", str(count - 1)]
    unread.click()
    assert page.locator("#place").inner_text() == f"{count - 1} images"
    page.locator("[data-kind=all]").click()
    move = page.locator("#next")
    move.click()
    ready(page)
    assert not page.locator("#read").is_checked()
    assert page.locator("#remark").input_value() == ""


def test_what_the_header_says_and_the_side_are_told(visit: Visit, made: Job) -> None:
    page = visit()
    ready(page)
    for answer in made.answers:
        prediction = made.predictions.get(answer.image_id)
        if prediction is None or not prediction.area_px:
            continue
        pick(page, answer.image_id)
        told = " ".join(page.locator("#about").inner_text().split())
        assert "Age 71 years Sex F View AP Date 2019-07-04" in told
        right = prediction.mask[:, : prediction.mask.shape[1] // 2].sum() / prediction.area_px
        if right < 0.1 or right > 0.9:
            assert told.startswith("Side left" if right < 0.1 else "Side right")
        elif 0.3 < right < 0.7:
            assert told.startswith("Side both")


def test_long_ids_are_shown_by_their_ends_and_errors_hide_no_flag(
    visit: Visit, tmp_path: Path
) -> None:
    uids = [f"1.2.826.0.1.3680043.{number}.12345678" for number in range(2)]
    ids = [*uids, "1.2.826.0.1.3680043.7.87654321", "case_1"]
    answers, writer = [], job(tmp_path, images=0).writer
    for number, image_id in enumerate(ids):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(make_dicom(radiograph(number)))
        prediction = predicted(number, image_id)
        wrote = writer.write(open_radiograph(path), prediction, tmp_path / "out")
        row = Row.of(str(path), prediction, areas=wrote.areas)
        answers.append(replace(row, flags="inverted", error="no overlay could be written"))
    writer.finish(answers, tmp_path / "out")
    page = visit(tmp_path / "out")
    ready(page)
    shown = {row[0] for row in lines(page)}
    assert shown == {"\u20260.12345678", "\u20261.12345678", "\u202687654321", "case_1"}
    line = page.locator("#rows .line").first
    assert "no overlay could be written" in line.inner_text()
    assert "looks inverted" in line.inner_text()
    sizes = page.evaluate(
        "['.chip', '.note.flag'].map((one) => parseFloat(getComputedStyle("
        "document.querySelector('#rows ' + one)).fontSize))"
    )
    assert sizes[1] >= sizes[0]


CONTRAST = """() => {
    const parts = (colour) => colour.match(/[0-9.]+/g).map(Number);
    const light = ([r, g, b]) => {
        const linear = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    };
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = parts(getComputedStyle(at).backgroundColor);
            if (colour.length < 4 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const wrong = [];
    for (const element of document.querySelectorAll("body *")) {
        const text = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!text || !element.checkVisibility() || element.closest(":disabled, #stage, option"))
            continue;
        const [a, b] = [light(parts(getComputedStyle(element).color)), light(ground(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) wrong.push(`${ratio.toFixed(2)} ${element.outerHTML.slice(0, 100)}`);
    }
    return wrong;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(visit: Visit, made: Job, scheme: str) -> None:
    page = visit(color_scheme=scheme)
    for image_id in (*list(made.predictions)[:3], "torn.dcm"):
        pick(page, image_id)
        assert page.evaluate(CONTRAST) == []


def test_tab_reaches_everything_and_everything_has_a_name(visit: Visit) -> None:
    page = visit()
    ready(page)
    slide(page, "#by-score", 0.2)
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen = page.evaluate("""() => {
            const at = document.activeElement;
            if (at === document.body) return null;
            const shown = [at, at.parentElement, at.closest(".choices")].some((element) =>
                element && getComputedStyle(element).outlineStyle !== "none");
            return [at.id || at.value || at.dataset.kind || at.textContent, shown];
        }""")
        if seen is None:
            break
        assert seen[1], f"no ring around {seen[0]}"
        reached.add(seen[0])
    assert {"search", "grid", "by-score", "by-mask", "reset", "opacity", "centre"} <= reached
    assert {"all", "flagged", "width", "invert", "outlined", "next", "Score"} <= reached
    for control in page.locator("input, button").all():
        named = control.evaluate(
            "e => e.getAttribute('aria-label') || e.textContent.trim() || "
            "(e.labels && [...e.labels].map((label) => label.textContent).join('').trim())"
        )
        assert named, control.evaluate("e => e.outerHTML")


def test_a_row_of_a_narrow_page_leads_to_its_radiograph(visit: Visit, made: Job) -> None:
    page = visit(width=400, height=800)
    pick(page, list(made.predictions)[3])
    playwright.expect(page.locator("#current")).to_be_in_viewport()
    playwright.expect(page.locator("#picture")).to_be_in_viewport()


def test_without_its_script_the_page_says_so(visit: Visit) -> None:
    page = visit(java_script_enabled=False)
    assert page.get_by_text("which this browser does not run").is_visible()
    assert page.locator("main").is_hidden()


# ---------------------------------------------------------------------- hostile and large


def test_hostile_texts_do_nothing(visit: Visit, tmp_path: Path) -> None:
    hostile = job(tmp_path, images=4, hostile=HOSTILE)
    page = visit(hostile.out)
    assert sorted(ids(page))[0] == f"1.2.826.0.1.0000{HOSTILE}"
    for image_id in (*hostile.predictions, "torn.dcm"):
        pick(page, image_id.removesuffix(HOSTILE))
    assert page.locator("#message").inner_text().endswith(HOSTILE)
    page.get_by_role("button", name="Flagged").click()
    pick(page, "0002")
    assert HOSTILE in page.locator("#about").inner_text()
    assert HOSTILE in (page.locator("#notes p").text_content() or "")
    assert page.locator("script").count() == 2
    assert page.locator("img").count() == page.locator(".thumb img").count()


def test_an_element_that_got_into_the_page_runs_nothing(made: Job, browser: Any) -> None:
    """Only the page's own script may load scripts: its policy is more than our escaping."""
    text = (made.out / "worklist.html").read_text()
    extra = "<script>window.bad = 1</script><script src='worklist/bad.js'></script>"
    (made.out / "worklist" / "bad.js").write_text("window.bad = 2")
    (made.out / "spoiled.html").write_text(text.replace("<main", f"{extra}<main"))
    page = browser.new_page()
    page.goto((made.out / "spoiled.html").as_uri())
    ready(page)
    assert page.evaluate("window.bad") is None
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=bad=3>')")
    settle(page)
    assert page.evaluate("window.bad") is None
    page.close()


def test_data_that_is_missing_is_named(visit: Visit, made: Job, tmp_path: Path) -> None:
    out = tmp_path / "moved"
    shutil.copytree(made.out, out)
    image_id = list(made.predictions)[5]
    name = f"{data_name(image_id)}.js"
    (out / "worklist" / name).unlink()
    page = visit(out)
    pick(page, image_id)
    assert page.locator("#message").inner_text() == (
        f"worklist/{name} is missing or damaged: it belongs beside this page."
    )
    pick(page, list(made.predictions)[6])
    assert page.locator("#message").is_hidden()
    assert all("ERR_FILE_NOT_FOUND" in trouble for trouble in page.troubles)
    page.troubles.clear()


def test_a_page_of_10_000_images_stays_usable(visit: Visit, tmp_path: Path) -> None:
    small = job(tmp_path, images=4)
    contents = {
        image_id: (small.out / "worklist" / f"{data_name(image_id)}.js").read_text()
        for image_id in small.predictions
    }
    answers = []
    for number in range(10_000):
        like = small.answers[number % 4]
        image_id = f"1.2.826.0.2.{number:05d}"
        name, before = data_name(image_id), data_name(like.image_id)
        content = contents[like.image_id].replace(before, name)
        (small.out / "worklist" / f"{name}.js").write_text(content)
        answers.append(replace(like, image_id=image_id, score=((number * 7919) % 10_000) / 9_999))
    small.writer.finish(answers, small.out)
    assert (small.out / "worklist.html").stat().st_size < 8_000_000
    page = visit(small.out)
    ready(page)
    assert page.locator("#rows .line").count() < 40
    assert page.evaluate("document.querySelectorAll('*').length") < 900
    assert lines(page)[0][2] == "1.000"
    page.keyboard.press("End")
    assert page.locator("#place").inner_text() == "10,000 of 10,000"
    assert lines(page)[-1][2] == "0.000"
    playwright.expect(page.locator(".line[aria-selected=true] .thumb img")).to_be_visible()
    page.get_by_role("searchbox").fill("2.07777")
    assert ids(page) == ["1.2.826.0.2.07777"]
    page.get_by_role("searchbox").fill("")
    spent = page.evaluate("""() => {
        const slider = document.getElementById("by-score");
        const begun = performance.now();
        for (let n = 0; n < 10; n += 1) {
            slider.value = n / 10;
            set.score = n / 10;
            refill();
        }
        return (performance.now() - begun) / 10;
    }""")
    assert spent < 1000, "a moved threshold is far from a second, on any machine"
    page.locator("#grid").evaluate("e => { e.scrollTop = e.scrollHeight / 2; }")
    settle(page)
    assert page.locator("#rows .line").count() < 40
    assert page.evaluate("kept.size") <= 24
    assert page.evaluate("thumbs.size") <= 600


def test_radiographs_are_compared_with_their_files(visit: Visit, made: Job) -> None:
    from pleura.dicom.radiograph import read_radiograph

    page = visit()
    for answer in made.answers[:4]:
        pick(page, answer.image_id)
        radiograph = read_radiograph(answer.path).pixels
        assert np.abs(canvas(page, "radiograph")[:, :, 0].astype(float) - radiograph).mean() < 4
        assert cv2.countNonZero(canvas(page, "radiograph")[:, :, 3]) == radiograph.size
