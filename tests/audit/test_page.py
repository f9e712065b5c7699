import base64
import hashlib
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.audit.catalogue import catalogue
from pleura.audit.charts import MOST_VALUES, area_svg, prevalence_svg, shown, wilson
from pleura.audit.compare import compare
from pleura.audit.findings import Audit, Balance, BalanceRow, Item, found
from pleura.audit.page import CLUSTERS, PICTURES, render_page, write_page
from pleura.audit.thumbs import thumb
from pleura.errors import OutputError
from tests.audit.made import Pages, balance, pages, picture
from tests.html_page import Page

HOSTILE = (
    "\"'><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>&]]><!-- $x_$"
)


def render(given: Pages, **values: Any) -> str:
    audit = replace(given.audit, **values)
    return render_page(audit, given.thumbs, given.negative, given.positive)


@cache
def usual() -> Pages:
    return pages()


@cache
def usual_page() -> str:
    return render(usual())


def data_of(text: str) -> Any:
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert block is not None
    return json.loads(block[1])


def test_the_head_says_what_was_audited_how_much_there_is_and_how_bad_it_is() -> None:
    text = Page(usual_page()).text
    assert "pleura audit data/siim 2 errors, 5 warnings, 2 notes" in text
    assert "Training files 10,712 Test files 1,377 Labelled 10,675 ready to use" in text
    assert "Pneumothorax 2,379 22.3 % of them Unlabelled 37" in text
    assert "Patients 4,000 from the patient map" in text
    assert text.count("Not a medical device") == 2
    assert "pleura audit data/siim --out DIR" in text
    assert "(pleura.findings/1)" in text


def test_each_finding_says_what_pleura_does_and_what_to_do() -> None:
    page = Page(usual_page())
    for finding in usual().audit.findings:
        assert finding.sentence in page.text
        assert finding.treatment in page.text
        assert finding.override in page.text
        (card,) = page.all("article", id=f"finding-{finding.code}")
        assert card["data-severity"] == finding.severity
        assert card["data-group"] == finding.group
    assert "images with rows that overlap 1 share of pixels lost 42.1 %" in page.text


def test_every_code_of_the_catalogue_can_be_shown() -> None:
    everything = tuple(found(code, [Item("1.2")]) for code in catalogue())
    page = Page(render(usual(), findings=everything))
    assert len(page.all("article")) == len(catalogue())


def test_a_page_without_a_finding_says_so() -> None:
    page = Page(render(usual(), findings=()))
    assert page.text.count("Nothing found that would hurt") == 2
    assert not page.all("article")


def test_an_empty_audit_has_a_page() -> None:
    counts = usual().audit.counts
    empty = Audit("table.csv", replace(counts, files_train=None, files_test=None), None, (), ())
    page = Page(render_page(empty, {}, [], []))
    assert "Rows 12,954 of the annotation table Images 12,047" in page.text
    assert "Training files" not in page.text
    assert not page.all("table")


def test_the_balance_is_told_in_words_and_numbers() -> None:
    text = Page(usual_page()).text
    assert "2,379 show a pneumothorax: 22.2 % (95 %: 21.2 to 23.3)" in text
    assert (
        "view 10,712 (6,171) 143.2 (1) < 0.001 0.116 Goes weakly with the label: a network may"
        in text
    )
    assert (
        "sex 10,712 (6,171) 8.1 (1) 0.004 0.028 Perhaps more than chance, but it goes hardly"
        in text
    )
    assert "age 10,701 (6,171) 12.3 (9) 0.200 0.034 Not more than by chance" in text
    assert "age not known 11 0 0.0 %" in text
    assert "median 9,800 0.93" in text


def test_the_page_needs_nothing_from_outside() -> None:
    text = usual_page()
    page = Page(text)
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert "@import" not in text
    assert "url(" not in re.sub(r"url\(#\w+\)", "", text)
    sources = [image["href"] or "" for image in page.all("image")]
    assert len(sources) == len(usual().thumbs)
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    references = [use["href"] or "" for use in page.all("use")]
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert all(reference[0] == "#" for reference in references)
    inside = {reference[1:] for reference in references if not reference.startswith("#m")}
    assert {name for name in inside if not re.fullmatch(r"[0-9a-f]{10,}", name)} <= ids
    assert {link["href"][1:] for link in page.all("a") if link["href"]} <= ids
    assert not page.all("link")
    assert not page.all("img")
    assert all("src" not in script for script in page.all("script"))


def test_the_policy_allows_the_script_of_the_page_and_no_other() -> None:
    text = usual_page()
    (policy,) = Page(text).all("meta", **{"http-equiv": "Content-Security-Policy"})
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in (policy["content"] or "")
    assert (policy["content"] or "").startswith("default-src 'none'; img-src data:;")


def test_hostile_texts_stay_texts() -> None:
    plain = Page(usual_page())
    text = render(pages(hostile=HOSTILE))
    hostile = Page(text)
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(values) for _, values in hostile.tags] == [
        sorted(values) for _, values in plain.tags
    ]
    assert hostile.text.count("<script>alert(1)</script>") >= 10
    data = data_of(text)
    assert data["images"]["id"][3] == f"1.2.826.000003{HOSTILE}"
    assert text.count("<script") == 2


def test_odd_names_of_files_do_not_stop_the_page(tmp_path: Path) -> None:
    odd = "caf\udce9 \u2028 \x00 日本"
    write_page(pages(hostile=odd).audit, {}, [], [], tmp_path / "audit.html")
    text = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert data_of(text)["images"]["id"][0].startswith("1.2.826.000000caf")


def test_the_data_hold_every_image_and_every_item() -> None:
    audit = usual().audit
    data = data_of(usual_page())
    images = data["images"]
    assert images["id"] == [image.id for image in audit.images]
    assert [
        path.replace("\0", image_id)
        for path, image_id in zip(images["path"], images["id"], strict=True)
    ] == [image.path for image in audit.images]
    assert images["area"] == [image.area_px for image in audit.images]
    views = [images["view"]["values"][place] for place in images["view"]["at"]]
    assert views == [image.view for image in audit.images]

    def name(value: int | str) -> str:
        return value if isinstance(value, str) else str(images["id"][value])

    for finding, written in zip(audit.findings, data["findings"], strict=True):
        assert [name(item) for item in written["items"]] == [item.id for item in finding.items]
        notes = written["notes"]
        assert [notes["values"][at] for at in notes["at"]] == [item.note for item in finding.items]
        for place, item in enumerate(finding.items):
            number = written["in"].get(str(place))
            cluster = [] if number is None else map(name, written["clusters"][number])
            assert {*cluster} - {item.id} == {*item.others}


def test_a_picture_stands_once_and_is_shown_where_it_belongs() -> None:
    page = Page(usual_page())
    assert [image["id"] for image in page.all("image")] == [f"picture-{n}" for n in range(12)]
    masks = {path["id"] for path in page.all("path") if path.get("class") == "mask"}
    assert masks == {f"mask-{n}" for n in (1, 6, 11)}
    buttons = [button for button in page.all("button") if "data-picture" in button]
    assert all("disabled" in button for button in buttons), "without the script it opens nothing"
    ids = list(usual().thumbs)
    for button in buttons:
        assert button["title"] == ids[int(button["data-picture"] or "")]


def test_a_cluster_stands_together_once() -> None:
    text = render(
        usual(), findings=tuple(f for f in usual().audit.findings if f.code[:4] == "near")
    )
    assert text.count('class="sheet together"') == 1
    assert "cluster 1" in Page(text).text


def test_pictures_and_items_of_a_finding_are_limited() -> None:
    many = pages(images=400, pictures=100)
    ids = [image.id for image in many.audit.images]
    pairs = [Item(a, "", (b,)) for a, b in zip(ids[::2], ids[1::2], strict=True)]
    findings = (found("no-patients", map(Item, ids)), found("near-duplicates", pairs))
    page = Page(render(replace(many, negative=[], positive=[]), findings=findings))
    assert len(page.all("button", **{"data-picture": "0"})) == 2
    shown_pictures = [button for button in page.all("button") if "data-picture" in button]
    assert len(shown_pictures) == PICTURES + min(PICTURES, 2 * CLUSTERS)
    assert len(page.all("li")) == 16
    assert "392 more are in findings.json" in page.text


def test_no_script_is_needed_to_read() -> None:
    page = Page(usual_page())
    for _, attributes in page.tags:
        if attributes.get("class") in ("finding", "radiographs gallery", "chart"):
            assert "hidden" not in attributes
    hidden = [values for _, values in page.tags if "script-only" in (values.get("class") or "")]
    assert hidden
    assert all("hidden" in values for values in hidden)
    assert "This table needs JavaScript" in page.text


def test_texts_stand_out_from_what_they_stand_on() -> None:
    style = usual_page().partition("<style>")[2].partition("</style>")[0]
    schemes: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for dark, block in re.findall(
        r"(@media \(prefers-color-scheme: dark\) \{\s*)?:root \{(.*?)\}", style, re.DOTALL
    ):
        for scheme in schemes[bool(dark) :]:
            scheme.update(re.findall(r"--([a-z]+): #([0-9a-f]{6});", block))
    light, dark_scheme = schemes
    assert light["page"] != dark_scheme["page"]
    for scheme in schemes:
        for ink in ("ink", "quiet", "error", "warning", "note", "good", "focus"):
            for ground in ("page", "card"):
                assert contrast(scheme[ink], scheme[ground]) >= 4.5, (ink, ground)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours as WCAG 2.2 defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    values = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_control_has_a_name() -> None:
    text = re.sub(r"<script.*?</script>|<style>.*?</style>", "", usual_page(), flags=re.DOTALL)
    for tag in re.findall(r"<button[^>]*>.*?</button>", text, re.DOTALL):
        said = re.sub(r"<[^>]*>", "", tag).strip()
        assert said or 'aria-label="' in tag
    for found_tag in re.finditer(r"<(?:input|select)[^>]*>", text):
        before = text[: found_tag.start()]
        assert before.rfind("<label") > before.rfind("</label")


def test_the_same_audit_gives_the_same_bytes(tmp_path: Path) -> None:
    given = pages()
    write_page(given.audit, given.thumbs, given.negative, given.positive, tmp_path / "new/a.html")
    assert (tmp_path / "new/a.html").read_text(encoding="utf-8") == usual_page()


def test_a_page_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"audit\.html: could not be written"):
        write_page(usual().audit, {}, [], [], tmp_path / "file" / "audit.html")


def test_a_page_of_many_images_stays_small() -> None:
    text = render(pages(images=12_000))
    assert len(text) < 1_600_000
    assert len(Page(text).tags) < 2_500


def test_no_hash_of_a_picture_and_no_patient_is_on_the_page() -> None:
    assert usual().audit.images[9].pixel_hash not in usual_page()


shapes = st.tuples(st.integers(1, 60), st.integers(1, 60))


@settings(deadline=None, max_examples=60)
@given(shapes, st.integers(4, 70), st.integers(0, 2**32 - 1), st.sampled_from([8, 16]))
def test_a_thumb_fits_and_its_outline_is_its_mask(
    shape: tuple[int, int], side: int, seed: int, bits: int
) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 2**bits, shape).astype(np.uint8 if bits == 8 else np.uint16)
    mask = cv2.blur(rng.random(shape), (5, 5)) > 0.55
    made = thumb(pixels, mask, side)
    rows, columns = made.picture.shape
    assert made.picture.dtype == np.uint8
    assert max(rows, columns) == min(side, max(shape))
    assert bool(made.outline) == bool(mask.any())
    for polygon in made.outline:
        assert polygon.shape[1] == 2
        assert ((polygon >= 0) & (polygon < (columns, rows))).all()
    if max(shape) <= side:
        assert np.array_equal(made.picture, pixels if bits == 8 else (pixels + 128.0) // 257)
        on_it = np.zeros(shape, bool)
        for polygon in made.outline:
            on_it[polygon[:, 1], polygon[:, 0]] = True
        assert not (on_it & ~mask).any()


def test_a_mask_of_one_pixel_is_not_lost_and_a_hole_is_one() -> None:
    mask = np.zeros((1024, 1024), bool)
    mask[700, 300] = True
    (point,) = thumb(np.zeros((1024, 1024), np.uint16), mask).outline
    assert point.tolist() == [[150, 350]]
    assert len(picture(1).outline) == 2
    assert thumb(np.zeros((9, 9), np.uint8), None).outline == ()


def test_white_stays_white() -> None:
    white = thumb(np.full((2000, 1000), 65535, np.uint16), None)
    assert white.picture.shape == (512, 256)
    assert white.picture.min() == 255


def test_wilson_agrees_with_the_tables() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)
    assert wilson(5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-5)
    assert wilson(10, 10) == pytest.approx((0.72247, 1.0), abs=1e-5)
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_an_interval_holds_its_share(positive: int, others: int) -> None:
    low, high = wilson(positive, positive + others)
    assert 0 <= low <= high <= 1
    if positive + others:
        assert low <= positive / (positive + others) <= high


def test_charts_that_have_nothing_to_show_are_left_out() -> None:
    empty = replace(balance(), area_counts=(), area_edges_percent=(), strata=())
    assert area_svg(empty) == ""
    assert prevalence_svg(empty, "sex") == ""
    unknown = replace(balance(), strata=(BalanceRow("sex", "", 40, 16, 40),))
    assert prevalence_svg(unknown, "sex") == ""
    assert "10,712" not in prevalence_svg(balance(), "view")
    assert "4,288" in prevalence_svg(balance(), "view")


def test_a_chart_keeps_the_values_of_the_most_images_in_their_order() -> None:
    strata = [BalanceRow("view", f"v{n}", 10 + n % 7, 1, 9) for n in range(40)]
    kept = shown(strata, "view")
    assert len(kept) == MOST_VALUES
    assert kept == sorted(kept, key=strata.index)
    assert min(s.images for s in kept) >= max(s.images for s in strata if s not in kept)


def test_a_chart_where_nobody_is_ill() -> None:
    strata = (BalanceRow("sex", "F", 30, 0, 30), BalanceRow("sex", "M", 20, 0, 20))
    nobody = Balance(50, 0, 50, (), (), (), strata, ())
    assert "<svg" in prevalence_svg(nobody, "sex")


def test_what_changed_stands_on_the_page() -> None:
    made = pages()
    old = replace(made.audit, findings=made.audit.findings[1:], images=made.audit.images[1:])
    changed = replace(made.audit, changes=compare(old, made.audit, "old/findings.json"))
    page = Page(render_page(changed, made.thumbs, [], []))
    gone = made.audit.findings[0]
    assert "Since old/findings.json" in page.text
    assert f"{gone.code} \N{EN DASH} \N{RIGHTWARDS ARROW} {gone.count} new: " in page.text
    assert f"images new 1 {made.audit.images[0].id}" in page.text
    same = replace(made.audit, changes=compare(made.audit, made.audit, "x.json"))
    assert "Nothing changed since x.json" in Page(render_page(same, {}, [], [])).text
    assert "Nothing changed" not in Page(usual_page()).text
