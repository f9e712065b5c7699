import base64
import hashlib
import math
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pleura.errors import OutputError
from pleura.evaluation.charts import (
    Ranking,
    area_svg,
    precision_points,
    precision_svg,
    reliability_svg,
    roc_points,
    roc_svg,
    score_svg,
)
from pleura.evaluation.comparison import compare
from pleura.evaluation.figures import FIGURES, Evaluation, PointScore, PredictiveValues, Stratum
from pleura.evaluation.intervals import Score
from pleura.evaluation.outcomes import Outcome
from pleura.evaluation.report import (
    Report,
    choose_cases,
    choose_failures,
    kind_of,
    render_report,
    write_report,
)
from pleura.evaluation.scores import summarise
from pleura.models.bundle import OperatingPoint
from pleura.rendering.overlay import MASK_COLOUR, TRUTH_COLOUR
from tests.html_page import Page

HOSTILE = '"><script>alert(1)</script><img src=http://evil.example/x>&'


def made(number: int, positive: bool, called: bool, score: float, dice: float = 0.0) -> Outcome:
    return Outcome(
        image_id=f"1.2.{number}",
        patient=f"patient {number}",
        positive=positive,
        called=called,
        score=score,
        dice=1.0 if not positive and not called else dice,
        iou=1.0 if not positive and not called else dice / (2 - dice),
        truth_px=1000 + 100 * number if positive else 0,
        predicted_px=900 + number if called else 0,
        image_px=1_000_000,
        lesions=int(positive),
        lesions_found=int(positive and called),
        false_lesions=int(called and not positive),
    )


OUTCOMES = [
    *(made(n, True, True, 0.6 + n / 100, 0.3 + n / 40) for n in range(20)),
    *(made(n, True, False, 0.3) for n in range(20, 26)),
    *(made(n, False, True, 0.55) for n in range(26, 29)),
    *(made(n, False, False, n / 200) for n in range(29, 60)),
]


UNDEFINED = Score(math.nan, math.nan, math.nan)
EVALUATION = Evaluation(
    images=60,
    annotated=60,
    positives=26,
    patients=60,
    lesions=26,
    mean_dice=Score(0.701, 0.612, 0.788),
    positive_dice=Score(0.413, 0.303, 0.524),
    all_empty_dice=34 / 60,
    mean_iou=Score(0.655, 0.555, 0.755),
    positive_iou=Score(0.311, 0.211, 0.411),
    auroc=Score(0.951, 0.877, 0.998),
    average_precision=Score(0.931, 0.831, 0.988),
    sensitivity=Score(0.769, 0.6, 0.92),
    specificity=Score(0.912, 0.806, 1.0),
    accuracy=Score(0.85, 0.749, 0.931),
    ppv=Score(0.87, 0.717, 0.971),
    npv=Score(0.838, 0.701, 0.949),
    lesion_sensitivity=Score(0.768, 0.601, 0.921),
    false_lesions=Score(0.051, 0.001, 0.121),
    brier=Score(0.072, 0.062, 0.082),
    calibration_error=Score(0.034, 0.024, 0.044),
    points=(
        PointScore("default", OperatingPoint(), Score(0.769, 0.6, 0.92), Score(0.912, 0.806, 1)),
        PointScore(
            "sensitive", OperatingPoint(0.213, 0.35), Score(0.962, 0.9, 1), Score(0.5, 0.4, 0.6)
        ),
    ),
    predictive_values=(PredictiveValues(0.05, Score(0.315, 0.2, 0.4), Score(0.987, 0.97, 1)),),
    strata=(
        Stratum("size", "below 0.5 %", 9, 9, UNDEFINED, Score(0.217, 0.1, 0.3), *[UNDEFINED] * 3),
        Stratum("sex", "F", 31, 0, Score(0.903, 0.8, 1), *[UNDEFINED] * 4),
    ),
)


def report(outcomes: Sequence[Outcome] = OUTCOMES, **values: object) -> Report:
    picture = np.full((32, 32, 3), 90, np.uint8)
    fields: dict[str, object] = {
        "title": "pleura: validation",
        "evaluation": EVALUATION,
        "outcomes": outcomes,
        "cases": dict.fromkeys(choose_cases(outcomes, 12), picture),
        "failures": dict.fromkeys(choose_failures(outcomes, 6), picture),
        "curves_svg": '<svg class="chart"></svg>',
        "facts": {"Network": "unet"},
        "notes": ("The operating point was chosen on other images.",),
    }
    return Report(**(fields | values))


@cache
def usual_page() -> str:
    return render_report(report())


def test_the_page_shows_every_figure_with_its_interval() -> None:
    given_report = report()
    text = Page(render_report(given_report)).text
    evaluation = given_report.evaluation
    for score in (
        evaluation.mean_dice,
        evaluation.positive_dice,
        evaluation.auroc,
        evaluation.sensitivity,
        evaluation.specificity,
    ):
        assert f"{score.value:.3f} 95 %: {score.low:.3f} to {score.high:.3f}" in text
    assert f"Answering “none” to everything scores {evaluation.all_empty_dice:.3f}" in text
    assert "Images with a pneumothorax: 26, found 20, missed 6. Without one: 34, correctly" in text
    for name, words in FIGURES.items():
        score = getattr(evaluation, name)
        shown = f"{words[0].upper()}{words[1:]} {score.value:.3f} {score.low:.3f} to"
        assert f"{shown} {score.high:.3f}" in text
    assert "sensitive 0.213 0.35 0 % 0.962 0.900 to 1.000 0.500 0.400 to 0.600" in text
    assert "5 % 0.315 0.200 to 0.400 0.987 0.970 to 1.000" in text
    assert "Size of the pneumothorax below 0.5 % 9 9 0.217 0.100 to 0.300" in text
    assert "Sex F 31 0 0.903 0.800 to 1.000 undefined" in text
    assert "Network unet" in text
    assert "The operating point was chosen on other images." in text
    assert text.count("Not a medical device") == 1


def test_the_page_needs_nothing_from_outside() -> None:
    text = usual_page()
    page = Page(text)
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert "@import" not in text
    assert "url(" not in re.sub(r"url\(#\w+\)", "", text)
    sources = [image["src"] or "" for image in page.all("img")]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not page.all("link")
    assert all("src" not in script for script in page.all("script"))


def test_the_policy_allows_the_script_of_the_page_and_no_other() -> None:
    text = usual_page()
    policy = next(
        meta["content"] or ""
        for meta in Page(text).all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_hostile_texts_stay_texts() -> None:
    plain = Page(usual_page())
    outcomes = [replace(item, image_id=item.image_id + HOSTILE) for item in OUTCOMES]
    hostile = Page(
        render_report(report(outcomes, title=HOSTILE, notes=[HOSTILE], facts={HOSTILE: HOSTILE}))
    )
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert hostile.text.count("<script>alert(1)</script>") >= 4


def test_no_patient_is_named() -> None:
    assert "patient 1" not in usual_page()


def test_pictures_come_out_as_they_went_in() -> None:
    page = Page(usual_page())
    source = page.all("img")[0]["src"] or ""
    content = np.frombuffer(base64.b64decode(source.partition(",")[2]), np.uint8)
    assert abs(cv2.imdecode(content, cv2.IMREAD_COLOR).astype(int) - 90).max() <= 2


def test_the_legend_has_the_colours_of_the_pictures() -> None:
    for name, colour in (("mask", MASK_COLOUR), ("truth", TRUTH_COLOUR)):
        blue, green, red = colour
        assert f"--{name}: #{red:02x}{green:02x}{blue:02x};" in usual_page()


def test_there_is_a_button_for_each_kind_that_is_shown() -> None:
    page = Page(usual_page())
    buttons = [button["data-kind"] for button in page.all("button")]
    assert buttons == ["all", "found", "empty", "all", "missed", "false-alarm"]
    tiles = [figure["data-kind"] for figure in page.all("figure")]
    assert set(tiles) == set(buttons) - {"all"}
    filters = [div for div in page.all("div") if div.get("class") == "filters"]
    assert len(filters) == 2
    assert all("hidden" in one for one in filters), "without its script there are no dead buttons"
    some = Page(render_report(report([item for item in OUTCOMES if item.called])))
    kinds = [button["data-kind"] for button in some.all("button")]
    assert kinds == ["all", "found", "all", "false-alarm"]


def test_the_best_the_median_and_the_worst_are_named() -> None:
    text = Page(usual_page()).text
    assert "Found, best Dice 0.77" in text
    assert "Found, median Dice 0.55" in text
    assert "Found, worst Dice 0.30" in text
    two = [item for item in OUTCOMES if kind_of(item) == "found"][:2]
    assert "Found, best" not in Page(render_report(report(two))).text


def test_a_page_without_failures_shows_none() -> None:
    right = [item for item in OUTCOMES if item.positive == item.called]
    assert "Failures" not in Page(render_report(report(right))).text
    assert "6 of 9: the largest misses" in Page(usual_page()).text


def test_every_part_of_the_page_can_be_jumped_to() -> None:
    page = Page(usual_page())
    targets = [link["href"] for link in page.all("a")]
    assert targets[0] == "#how-the-answers-are-spread"
    assert {"#by-part-of-the-images", "#failures", "#training", "#facts"} <= set(targets)
    assert {f"#{heading['id']}" for heading in page.all("h2")} == set(targets)


def test_a_size_without_an_image_is_no_row() -> None:
    nobody = Stratum("size", "above 3 %", 0, 0, *[UNDEFINED] * 5)
    evaluation = replace(EVALUATION, strata=(*EVALUATION.strata, nobody))
    text = Page(render_report(report(evaluation=evaluation))).text
    assert "below 0.5 %" in text
    assert "above 3 %" not in text


def test_labels_alone_show_no_figure_of_masks() -> None:
    labels = [replace(item, dice=math.nan, iou=math.nan, truth_px=0) for item in OUTCOMES]
    text = Page(
        render_report(report(labels, evaluation=summarise(labels), cases={}, failures={}))
    ).text
    assert "undefined" not in text
    assert "Positive Dice" not in text
    assert "Nobody drew a mask, so there is no Dice." in text
    assert "60, of which 26 with a pneumothorax; 60 with a label and no mask" in text
    assert "Failures" not in text


def test_a_comparison_is_shown_where_there_is_one() -> None:
    assert "Against the other model" not in usual_page()
    other = [replace(item, dice=item.dice / 2, score=1 - item.score) for item in OUTCOMES]
    comparison = compare(OUTCOMES, other)
    text = Page(render_report(report(comparison=comparison))).text
    dice = comparison.differences[1]
    shown = (
        f"{dice.difference.value:+.3f} {dice.difference.low:+.3f} to {dice.difference.high:+.3f}"
    )
    assert f"Positive Dice {shown} 100.0 % {dice.ours:.3f} {dice.theirs:.3f}" in text
    healthy = [item for item in OUTCOMES if not item.positive]
    none = Page(render_report(report(healthy, comparison=compare(healthy, healthy)))).text
    assert "AUROC undefined undefined undefined undefined" in none


def test_undefined_figures_are_called_so() -> None:
    healthy = [made(n, False, False, 0.1) for n in range(3)]
    evaluation = replace(
        EVALUATION, positive_dice=UNDEFINED, auroc=UNDEFINED, sensitivity=UNDEFINED
    )
    text = Page(render_report(report(healthy, evaluation=evaluation))).text
    assert text.count("undefined no interval") == 3
    assert "nan" not in text.lower().split()


def test_a_page_without_images_can_be_written() -> None:
    page = Page(render_report(report([], evaluation=summarise([]), curves_svg="", notes=[])))
    assert page.text.count("undefined") >= 5
    assert page.all("a", href="#all-figures")
    assert "nan" not in page.text.lower().split()
    assert not page.all("svg")
    assert not page.all("figure")


def test_the_file_holds_the_page_and_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    write_report(report(), tmp_path / "new" / "report.html")
    assert (tmp_path / "new" / "report.html").read_text(encoding="utf-8") == usual_page()


def test_a_page_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"report\.html: could not be written"):
        write_report(report(), tmp_path / "file" / "report.html")


def test_cases_go_from_the_best_over_the_median_to_the_worst() -> None:
    by_id = {item.image_id: item for item in OUTCOMES}
    chosen = [by_id[name] for name in choose_cases(OUTCOMES, 12)]
    kinds = [kind_of(item) for item in chosen]
    assert kinds == ["found"] * 9 + ["empty"] * 3
    found = [item.dice for item in chosen if kind_of(item) == "found"]
    assert found == sorted(found, reverse=True)
    assert (found[0], found[4], found[-1]) == (0.3 + 19 / 40, 0.3 + 10 / 40, 0.3)


def test_failures_are_the_gravest_of_either_kind() -> None:
    by_id = {item.image_id: item for item in OUTCOMES}
    chosen = [by_id[name] for name in choose_failures(OUTCOMES, 5)]
    assert [kind_of(item) for item in chosen] == ["missed"] * 3 + ["false-alarm"] * 2
    assert [item.truth_px for item in chosen[:3]] == [3500, 3400, 3300]
    assert len(choose_failures(OUTCOMES, 100)) == 9, "all of them where there is room"


kinds_drawn = st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 1)), max_size=30)


@settings(deadline=None)
@given(kinds_drawn, st.integers(0, 35), st.randoms())
def test_a_choice_is_full_distinct_and_independent_of_order(
    drawn: list[tuple[bool, bool, float]], n: int, chance: random.Random
) -> None:
    outcomes = [
        made(number, positive, called, 0.5, dice)
        for number, (positive, called, dice) in enumerate(drawn)
    ]
    right = sum(item.positive == item.called for item in outcomes)
    for choose, there in ((choose_cases, right), (choose_failures, len(outcomes) - right)):
        chosen = choose(outcomes, n)
        assert len(chosen) == len(set(chosen)) == min(n, there)
        shuffled = list(outcomes)
        chance.shuffle(shuffled)
        assert choose(shuffled, n) == chosen


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.integers(0, 5)),
        min_size=2,
    )
)
def test_the_drawn_curves_are_of_the_figures(drawn: list[tuple[bool, float, int]]) -> None:
    """Also where patients have several images: all count patients, and calls lie on the curve."""
    outcomes = [
        replace(made(n, positive, score > 0.4, score), patient=str(patient))
        for n, (positive, score, patient) in enumerate(drawn)
    ]
    evaluation = summarise(outcomes)
    points = roc_points(Ranking.of(outcomes))
    if math.isnan(evaluation.auroc.value):
        assert points is None
        return
    assert np.trapezoid(points[1], points[0]) == pytest.approx(evaluation.auroc.value)
    called = (1 - evaluation.specificity.value, evaluation.sensitivity.value)
    assert np.isclose(np.transpose(points), called).all(axis=1).any()
    recall, precision = precision_points(Ranking.of(outcomes))
    area = float((np.diff(recall) * precision[1:]).sum())
    assert area == pytest.approx(evaluation.average_precision.value)
    if any(item.called for item in outcomes):
        called = (evaluation.sensitivity.value, evaluation.ppv.value)
        assert np.isclose(np.transpose([recall, precision]), called).all(axis=1).any()


def test_charts_that_are_undefined_are_left_out() -> None:
    healthy = [item for item in OUTCOMES if not item.positive]
    assert roc_svg(healthy, EVALUATION) == ""
    assert area_svg(healthy) == ""
    assert "pneumothorax" not in score_svg(healthy)
    assert score_svg([]) == ""
    assert precision_svg(healthy, EVALUATION) == ""
    assert reliability_svg([]) == ""
    assert reliability_svg(healthy) != ""


def test_each_positive_is_a_dot_at_its_area() -> None:
    chart = area_svg(OUTCOMES)
    assert chart.count("<use") >= 26
    assert ">1,000<" in chart
    assert ">10,000<" in chart
