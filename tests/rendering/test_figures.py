import re
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from pleura.rendering import figures


def line(count: int = 1) -> Any:
    with figures.panels(count) as all_axes:
        for axes in all_axes:
            axes.set_title("A < B & C")
            axes.plot([0, 1], [0, 1], color=figures.SECOND, marker="o", label="line")
            axes.legend()
        yield all_axes[0]


def as_png(count: int) -> bytes:
    (content,) = map(figures.png, line(count))
    return content


def as_svg(label: str) -> str:
    (content,) = (figures.svg(axes, label) for axes in line())
    return content


def test_a_png_has_as_many_panels_as_charts() -> None:
    one, two = (
        cv2.imdecode(np.frombuffer(as_png(count), np.uint8), cv2.IMREAD_COLOR) for count in (1, 2)
    )
    assert two.shape == (one.shape[0], 2 * one.shape[1], 3)


def test_an_svg_is_one_well_formed_element_with_its_label() -> None:
    chart = as_svg('what "it" shows')
    root = ElementTree.fromstring(chart)
    assert root.tag == "svg"
    assert root.get("aria-label") == 'what "it" shows'
    assert "A < B & C" in "".join(root.itertext())


def test_an_svg_names_nothing_outside_and_no_font() -> None:
    chart = as_svg("label")
    for word in ("http", "xlink", "<metadata", "<style", "font-family", "DejaVu", "xmlns"):
        assert word not in chart


def test_every_colour_can_follow_the_page() -> None:
    chart = as_svg("label")
    assert f"var(--second, {figures.SECOND})" in chart
    bare = re.sub(r"var\(--\w+, #[0-9a-f]{6}\)", "", chart)
    assert not re.search(r"(fill|stroke): #[0-9a-f]{6}", bare)


def test_two_charts_on_a_page_share_no_id() -> None:
    first, second = (set(re.findall(r'id="([^"]*)"', as_svg(name))) for name in "ab")
    assert first
    assert first.isdisjoint(second)


def test_what_is_referred_to_is_there() -> None:
    chart = as_svg("label")
    ids = set(re.findall(r'id="([^"]*)"', chart))
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', chart)) <= ids


def test_the_same_chart_gives_the_same_bytes() -> None:
    assert as_svg("label") == as_svg("label")
    assert as_png(1) == as_png(1)


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [(0.4, 6.9, (0.1, 10)), (10, 1000, (10, 10_000)), (1000, 1000, (1000, 10_000))],
)
def test_a_logarithmic_axis_has_whole_decades_and_plain_numbers(
    low: float, high: float, ends: tuple[float, float]
) -> None:
    with figures.panels() as (axes,):
        figures.log_axis(axes, low, high)
        axes.figure.canvas.draw()
        assert axes.get_xlim() == pytest.approx(ends)
        assert not any(label.get_text() for label in axes.get_xticklabels(minor=True))
        written = axes.xaxis.get_major_formatter()
        assert [written(value, 0) for value in (0.1, 1, 1_000_000)] == ["0.1", "1", "1,000,000"]
