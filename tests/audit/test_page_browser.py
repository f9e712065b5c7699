"""The page of an audit as a browser shows it: Debian's Chromium, driven by Playwright."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pleura.audit.page import write_page
from tests.audit.made import Pages, pages
from tests.browser import (
    HOSTILE,
    Visit,
    playwright,
    small_targets,
    smallest_chart_text,
    started_browser,
    visits,
)

pytestmark = pytest.mark.slow
SHOWN = """
    (selector) => [...document.querySelectorAll(selector)].filter((element) =>
        element.checkVisibility() && !element.disabled && !element.closest("fieldset:disabled"))
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started_browser() as chromium:
        yield chromium


def written(folder: Path, made: Pages) -> Path:
    path = folder / "audit.html"
    write_page(made.audit, made.thumbs, made.negative, made.positive, path)
    return path


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("usual"), pages(images=80))


@pytest.fixture
def visit(browser: Any, usual: Path) -> Iterator[Visit]:
    """Open a page; in the end its console is empty and nothing was asked from outside."""
    with visits(browser, (1200, 900)) as opened:
        yield lambda path=usual, **options: opened(path, (), **options)


def rows(page: Any) -> list[str]:
    texts: list[str] = page.locator("#table tbody td.image .link").all_inner_texts()
    return texts


def open_viewer(page: Any, number: int = 0) -> Any:
    """Open the viewer from the gallery of positive images; return that picture's button."""
    button = page.locator(".gallery").nth(1).locator("button").nth(number)
    button.click()
    ready(page)
    return button


def ready(page: Any) -> None:
    page.wait_for_function("document.getElementById('canvas').dataset.ready !== ''")


def pixels(page: Any) -> np.ndarray:
    """Return the grey values that the viewer's canvas shows."""
    values = page.evaluate("""() => {
        const canvas = document.getElementById("canvas");
        const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return [canvas.height, canvas.width, [...all].filter((_, n) => n % 4 === 0)];
    }""")
    return np.array(values[2]).reshape(values[:2])


def slide(page: Any, selector: str, value: int) -> None:
    page.locator(selector).evaluate(
        "(element, value) => { element.value = value; "
        "element.dispatchEvent(new Event('input', { bubbles: true })); }",
        value,
    )


def focused(page: Any) -> Any:
    return page.evaluate_handle("document.activeElement").as_element()


# ------------------------------------------------------------------------------- findings


def test_findings_are_filtered_by_severity_and_group(visit: Visit) -> None:
    page = visit()
    cards = page.locator("article.finding:visible")
    everything = cards.count()
    page.get_by_role("button", name="warnings 5").click()
    assert cards.count() == 5
    assert page.locator("#findings-status").inner_text() == f"5 of {everything} findings"
    page.get_by_role("group", name="About").get_by_role("button", name="annotations").click()
    assert cards.count() == 1
    pressed = page.locator("[aria-pressed=true]:visible").all_inner_texts()
    assert [text.split()[0] for text in pressed] == ["warnings", "annotations"]
    page.get_by_role("button", name="all parts").click()
    page.get_by_role("button", name=f"all {everything}").click()
    assert cards.count() == everything


def test_every_item_can_be_found_but_only_some_are_made(visit: Visit) -> None:
    page = visit()
    card = page.locator("#finding-no-patients")
    items = card.locator("li")
    assert items.count() == 8
    card.locator(".listing summary").click()
    playwright.expect(items).to_have_count(25)
    card.get_by_role("button", name="Next").click()
    assert items.first.inner_text().startswith("1.2.826.000025")
    card.get_by_role("searchbox").fill("000077")
    playwright.expect(items).to_have_count(1)
    assert card.get_by_role("status").inner_text() == "1 of 80"
    items.first.get_by_role("button").click()
    assert page.locator("#viewer-title").inner_text() == "1.2.826.000077"
    assert page.locator("#no-picture").is_visible()
    assert "JPEG Baseline" in page.locator("#facts").inner_text()


def test_findings_and_table_lead_to_each_other(visit: Visit) -> None:
    page = visit()
    page.locator("#finding-tiny-mask .to-table a").click()
    playwright.expect(page.locator("#table-status")).to_have_text("3 of 80 images")
    assert page.locator("#of-finding").input_value() == "tiny-mask"
    assert page.locator("#of-finding").evaluate("e => e === document.activeElement")
    page.get_by_role("button", name="errors 2").click()
    assert page.locator("#finding-tiny-mask").is_hidden()
    page.locator("#table tbody tr").first.get_by_role("link", name="tiny-mask").click()
    playwright.expect(page.locator("#finding-tiny-mask")).to_be_visible()
    playwright.expect(page.locator("#finding-tiny-mask")).to_be_in_viewport()
    assert focused(page).get_attribute("id") == "finding-tiny-mask"
    page.goto(page.url.partition("#")[0] + "#finding-shortcut")
    playwright.expect(page.locator("#finding-shortcut")).to_be_in_viewport()


# ---------------------------------------------------------------------------------- table


def test_the_table_is_searched_filtered_and_cleared(visit: Visit) -> None:
    page = visit()
    status = page.locator("#table-status")
    assert status.inner_text() == "80 images"
    page.locator("#search").fill("000042")
    assert rows(page) == ["1.2.826.000042"]
    assert status.inner_text() == "1 of 80 images"
    page.locator("#search").fill("AP tiny-mask")
    assert rows(page) == ["1.2.826.000006"]
    page.locator("#search").fill("no such image")
    assert page.locator("#table-empty").is_visible()
    page.get_by_role("button", name="Clear").click()
    playwright.expect(status).to_have_text("80 images")
    page.locator("#of-part").select_option("test")
    assert status.inner_text() == "16 of 80 images"
    page.locator("#of-label").select_option("pneumothorax")
    assert status.inner_text() == "0 of 80 images"
    page.locator("#of-part").select_option("train")
    assert status.inner_text() == "16 of 80 images"
    page.locator("#of-finding").select_option("missing-transpose")
    assert rows(page) == ["1.2.826.000001"]
    page.locator("#search").press("Enter")
    assert rows(page) == ["1.2.826.000001"]


def test_the_table_is_sorted_by_each_column(visit: Visit) -> None:
    page = visit()
    head = page.locator("th[data-key=area]")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert rows(page)[:2] == ["1.2.826.000001", "1.2.826.000006"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert rows(page)[:2] == ["1.2.826.000076", "1.2.826.000071"]
    page.locator("th[data-key=id] button").click()
    assert rows(page)[0] == "1.2.826.000000"
    assert head.get_attribute("aria-sort") == "none"
    for key in ("part", "label", "size", "view", "sex", "age", "codes"):
        page.locator(f"th[data-key={key}] button").click()
        assert page.locator(f"th[data-key={key}]").get_attribute("aria-sort") == "ascending"
    page.locator("#table-pager").get_by_role("button", name="Next").click()
    assert page.locator("#table-pager span").inner_text() == "51–80 of 80"  # noqa: RUF001
    assert focused(page).inner_text() == "Previous", "the button that is used up gives focus on"


def test_an_id_can_be_copied(visit: Visit) -> None:
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy id 1.2.826.000003").click()
    playwright.expect(page.locator("td button.copy").nth(3)).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "1.2.826.000003"


def test_a_row_opens_the_viewer_and_its_neighbours_are_those_of_the_table(visit: Visit) -> None:
    page = visit()
    page.locator("#of-label").select_option("pneumothorax")
    page.get_by_role("button", name="1.2.826.000006", exact=True).last.click()
    ready(page)
    assert page.locator("#viewer-place").inner_text() == "2 of 16"
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewer-title").inner_text() == "1.2.826.000011"


# --------------------------------------------------------------------------------- viewer


def test_the_viewer_tells_all_about_an_image(visit: Visit) -> None:
    page = visit()
    open_viewer(page)
    told = " ".join(page.locator("#facts").inner_text().split())
    for fact in (
        "Part training",
        "Label pneumothorax",
        "Area 101 px (0.0096 %)",
        "Size 1024 × 1024",  # noqa: RUF001
        "View PA",
        "Sex M",
        "Age 1",
        "Encoding JPEG Baseline, 8 bits",
        "File train/000001/1.2.826.000001.dcm",
        "missing-transpose",
    ):
        assert fact in told
    page.locator("#facts").get_by_role("link", name="missing-transpose").click()
    assert page.locator("#viewer").is_hidden()
    assert focused(page).get_attribute("id") == "finding-missing-transpose"


def test_the_window_is_one_of_grey_values(visit: Visit) -> None:
    page = visit()
    open_viewer(page)
    plain = pixels(page)
    assert plain.min() < 10
    assert plain.max() > 245
    slide(page, "#centre", 100)
    slide(page, "#width", 51)
    expected = np.clip(((plain - 99.5) / 50 + 0.5) * 255, 0, 255)
    assert np.abs(pixels(page) - expected).max() <= 0.5
    page.get_by_role("button", name="Invert").click()
    assert np.abs(pixels(page) - (255 - expected)).max() <= 0.5
    assert page.locator("#invert").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Reset").click()
    assert np.array_equal(pixels(page), plain)
    assert page.locator("#centre").input_value() == "128"


def test_the_picture_is_zoomed_and_moved_in_every_way(visit: Visit) -> None:
    page = visit()
    open_viewer(page)
    stage = page.locator("#stage").bounding_box()
    middle = (stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2)

    def box() -> dict[str, float]:
        at: dict[str, float] = page.locator("#picture-box").bounding_box()
        return at

    fitted = box()
    assert fitted["height"] == pytest.approx(stage["height"], abs=1)
    page.get_by_role("button", name="Zoom in").click()
    assert page.locator("#zoom").inner_text() == "125 %"
    assert box()["width"] == pytest.approx(1.25 * fitted["width"], abs=1)
    page.get_by_role("button", name="Zoom out").click()
    page.get_by_role("button", name="Zoom out").click()
    assert page.locator("#zoom").inner_text() == "100 %"
    page.mouse.move(*middle)
    page.mouse.wheel(0, -600)
    page.wait_for_function("document.getElementById('zoom').value !== '100 %'")
    enlarged = box()
    assert enlarged["width"] > 2 * fitted["width"]
    page.mouse.down()
    page.mouse.move(middle[0] + 50, middle[1] + 40)
    page.mouse.up()
    moved = box()
    assert (moved["x"] - enlarged["x"], moved["y"] - enlarged["y"]) == pytest.approx((50, 40))
    page.locator("#stage").focus()
    page.keyboard.press("ArrowRight")
    assert box()["x"] == pytest.approx(moved["x"] - 60)
    assert page.locator("#viewer-place").inner_text() == "1 of 2", "it moved, and stayed"
    page.get_by_role("button", name="Move view right").click()
    assert box()["x"] == pytest.approx(moved["x"] - 120)
    page.keyboard.press("0")
    assert box() == fitted
    page.keyboard.press("+")
    assert page.locator("#zoom").inner_text() == "125 %"
    page.keyboard.press("-")
    assert box() == fitted
    for _ in range(30):
        page.keyboard.press("+")
    assert page.locator("#zoom").inner_text() == "1600 %"
    page.get_by_role("button", name="Fit").click()
    assert box() == fitted


def test_masks_are_shown_hidden_and_tinted(visit: Visit) -> None:
    page = visit()
    on_page = page.locator(".gallery").nth(1).locator("use").nth(1)
    assert on_page.bounding_box() is not None
    slide(page, "section .mask-tint", 80)
    opacity = "getComputedStyle(document.getElementById('mask-1')).fillOpacity"
    assert page.evaluate(opacity) == "0.8"
    open_viewer(page)
    assert page.locator("#viewer .mask-tint").input_value() == "80"
    assert page.locator("#canvas-mask use").count() == 1
    page.get_by_label("show mask", exact=True).uncheck()
    style = "getComputedStyle(document.getElementById('mask-1')).display"
    assert page.evaluate(style) == "none"
    assert not page.locator("section .mask-on").is_checked()
    page.get_by_label("show mask", exact=True).check()
    assert page.evaluate(style) != "none"


def test_the_mask_lies_where_it_belongs(visit: Visit) -> None:
    page = visit()
    open_viewer(page)
    slide(page, "#viewer .mask-tint", 100)
    at = page.locator("#picture-box").bounding_box()
    scale = at["width"] / 96
    import cv2

    shot = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)

    def colour(x: float, y: float) -> tuple[int, int, int]:
        b, g, r = shot[round(at["y"] + y * scale), round(at["x"] + x * scale)]
        return int(r), int(g), int(b)

    for x, y in ((32, 40), (48, 24), (60, 44), (48, 56)):
        assert colour(x, y) == (255, 153, 28), "the ring of the mask"
    for x, y in ((48, 40), (20, 40), (48, 72)):
        assert len(set(colour(x, y))) == 1, "its hole, and the picture around it"


# ------------------------------------------------------------------------------- keyboard


def test_the_viewer_is_used_by_keys_and_gives_the_focus_back(visit: Visit) -> None:
    page = visit()
    button = page.locator(".gallery").first.locator("button").first
    button.focus()
    page.keyboard.press("Enter")
    ready(page)
    assert focused(page).get_attribute("id") == "stage"
    assert page.locator("#viewer-place").inner_text() == "1 of 3"
    page.keyboard.press("ArrowLeft")
    assert page.locator("#viewer-place").inner_text() == "1 of 3"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("PageDown")
    assert page.locator("#viewer-place").inner_text() == "3 of 3"
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewer-place").inner_text() == "3 of 3"
    page.keyboard.press("PageUp")
    assert page.locator("#viewer-title").inner_text() == "1.2.826.000002"
    page.locator("#centre").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#centre").input_value() == "129", "on a slider an arrow moves the slider"
    assert page.locator("#viewer-place").inner_text() == "2 of 3"
    page.keyboard.press("Escape")
    assert page.locator("#viewer").is_hidden()
    assert button.evaluate("element => element === document.activeElement")
    page.keyboard.press("Space")
    playwright.expect(page.locator("#viewer")).to_be_visible()
    page.get_by_role("button", name="Next", exact=True).last.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert focused(page).get_attribute("id") == "stage", "the button that is used up gives focus on"
    page.get_by_role("button", name="Close").click()
    assert button.evaluate("element => element === document.activeElement")


@pytest.mark.parametrize("where", ["page", "viewer"])
def test_tab_reaches_everything_and_shows_where_it_is(visit: Visit, where: str) -> None:
    page = visit()
    page.locator("#search").fill("00004")
    scope = "body"
    if where == "viewer":
        open_viewer(page)
        scope = "#viewer"
    stops = f"{scope} :is(a[href], button, input, select, summary, [tabindex='0'])"
    wanted = page.evaluate(f"selector => ({SHOWN})(selector).length", stops)
    assert wanted > 10
    reached = page.evaluate_handle("new Set()")
    for _ in range(wanted + 3):
        page.keyboard.press("Tab")
        seen = page.evaluate(
            """(reached) => {
                const at = document.activeElement;
                if (at === document.body) return true;
                reached.add(at);
                const style = getComputedStyle(at);
                return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
            }""",
            reached,
        )
        assert seen, focused(page).evaluate("element => element.outerHTML.slice(0, 200)")
    assert page.evaluate("reached => reached.size", reached) == wanted


def test_filters_and_details_answer_to_enter_and_space(visit: Visit) -> None:
    page = visit()
    page.get_by_role("button", name="errors 2").focus()
    page.keyboard.press("Space")
    assert page.locator("article.finding:visible").count() == 2
    page.locator("#finding-truncated .listing summary").focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#finding-truncated li")).to_be_visible()
    assert "it breaks off" in page.locator("#finding-truncated li").inner_text()


# ------------------------------------------------------------------------ how it is shown

CLIPPED = """() => {
    const wrong = [];
    const wide = document.documentElement.clientWidth;
    for (const element of document.querySelectorAll("body *")) {
        if (!element.checkVisibility() || element.closest("svg, .out, .skip, .stage")) continue;
        const frame = element.getBoundingClientRect();
        const name = element.outerHTML.slice(0, 120);
        if (frame.right > wide + 1 || frame.left < -1) wrong.push(`outside: ${name}`);
        const text = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (text && element.scrollWidth > element.clientWidth + 1 && element.clientWidth)
            wrong.push(`clipped: ${name}`);
    }
    return wrong;
}"""


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1000, "dark"), (1600, "light")])
def test_the_page_fits_its_window(visit: Visit, width: int, scheme: str) -> None:
    page = visit(width=width, color_scheme=scheme)
    for summary in page.locator("summary").all():
        if summary.evaluate("element => !element.parentElement.open"):
            summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CLIPPED) == []
    open_viewer(page)
    assert page.evaluate(CLIPPED) == []
    assert page.locator("#stage").bounding_box()["height"] > 300
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 19, 22)"
    assert dark == (scheme == "dark")


@pytest.mark.parametrize("width", [400, 1600])
def test_targets_can_be_hit_and_charts_can_be_read(visit: Visit, width: int) -> None:
    page = visit(width=width, height=900)
    assert small_targets(page) == []
    assert smallest_chart_text(page) >= 11
    page.evaluate("window.scrollTo(0, document.body.scrollHeight / 2)")
    assert page.locator("nav").bounding_box()["y"] == pytest.approx(0, abs=1)


def test_without_its_script_the_page_can_be_read(visit: Visit) -> None:
    page = visit(java_script_enabled=False)
    assert page.locator("article.finding:visible").count() == 9
    assert page.locator("svg.chart:visible").count() == 4
    assert page.locator(".gallery button:visible").count() == 5
    assert page.locator(".filters:visible").count() == 0
    assert page.locator("#table").is_hidden()
    assert page.get_by_text("This table needs JavaScript").is_visible()
    page.locator("#finding-no-patients .listing summary").click()
    assert page.locator("#finding-no-patients li:visible").count() == 8


def test_a_printed_page_has_no_controls(visit: Visit) -> None:
    page = visit()
    page.emulate_media(media="print")
    assert page.locator(":is(nav, .filters, #table):visible").count() == 0
    assert page.locator("article.finding:visible").count() == 9
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


# ---------------------------------------------------------------------- hostile and large


def test_hostile_texts_do_nothing(visit: Visit, tmp_path: Path) -> None:
    page = visit(written(tmp_path, pages(images=60, hostile=HOSTILE)), width=400)
    for summary in page.locator(".listing summary").all():
        summary.click()
    assert rows(page)[3] == f"1.2.826.000003{HOSTILE}"
    page.locator("#search").fill("onerror=alert 000007")
    assert rows(page) == [f"1.2.826.000007{HOSTILE}"]
    open_viewer(page)
    assert page.locator("#viewer-title").inner_text() == f"1.2.826.000001{HOSTILE}"
    assert page.evaluate(CLIPPED) == []
    assert page.locator("img").count() == 0


def test_a_page_of_12_000_images_makes_only_what_is_seen(visit: Visit, tmp_path: Path) -> None:
    page = visit(written(tmp_path, pages(images=12_000)))
    nodes = page.evaluate("document.querySelectorAll('*').length")
    assert nodes < 4_000
    assert page.locator("#table tbody tr").count() == 50
    page.locator("#search").press_sequentially("1.2.826.011999")
    playwright.expect(page.locator("#table-status")).to_have_text("1 of 12,000 images")
    assert rows(page) == ["1.2.826.011999"]
    page.locator("#search").fill("")
    page.locator("th[data-key=area] button").click()
    page.locator("#of-finding").select_option("no-patients")
    assert page.locator("#table-status").inner_text() == "12,000 images"
    card = page.locator("#finding-no-patients")
    card.locator(".listing summary").click()
    card.get_by_role("searchbox").fill("011998")
    playwright.expect(card.locator("li")).to_have_count(1)
    card.get_by_role("searchbox").fill("")
    playwright.expect(card.locator("li")).to_have_count(25)
    assert page.evaluate("document.querySelectorAll('*').length") < nodes + 300
