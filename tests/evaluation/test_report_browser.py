"""The report as a browser shows it from a disk: Debian's Chromium, driven by Playwright."""

from pathlib import Path

import pytest

from pleura.evaluation.report import write_report
from pleura.training.curves import curves_svg
from tests.browser import small_targets, smallest_chart_text, started_browser, visits
from tests.evaluation.test_report import report

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_can_be_read_and_used(tmp_path: Path, width: int) -> None:
    history = {"dice_coeff": [0.1, 0.2], "val_dice_coeff": [0.1, 0.2]}
    write_report(report(curves_svg=curves_svg(history)), tmp_path / "report.html")
    with started_browser() as browser, visits(browser, (width, 900)) as opened:
        page = opened(tmp_path / "report.html", ())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert small_targets(page) == []
        assert smallest_chart_text(page) >= 11
        page.evaluate("window.scrollTo(0, document.body.scrollHeight / 2)")
        assert page.locator("nav").bounding_box()["y"] == pytest.approx(0, abs=1)


def test_tables_stand_side_by_side_where_there_is_room(tmp_path: Path) -> None:
    write_report(report(), tmp_path / "report.html")
    with started_browser() as browser, visits(browser, (1600, 900)) as opened:
        page = opened(tmp_path / "report.html", ())
        lefts = page.evaluate(
            "() => [...document.querySelectorAll('.tables section')]"
            ".map((one) => one.getBoundingClientRect().left)"
        )
        assert len({round(left) for left in lefts}) == 2
