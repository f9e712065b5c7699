"""Pages as a browser shows them from a disk: Debian's Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs Playwright: pip install -r requirements-dev.lock"
)
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("needs Chromium: apt-get install chromium", allow_module_level=True)

HOSTILE = "\"'><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>&"

Visit = Callable[..., Any]


_SMALL_TARGETS = """() =>
    [...document.querySelectorAll("a, button, summary, input, label:has(input)")]
    .filter((one) => one.checkVisibility() && !one.closest(".skip") && !one.matches("label input"))
    .filter((one) => getComputedStyle(one).display !== "inline")
    .filter((one) => one.getBoundingClientRect().height < 23.9)
    .map((one) => one.outerHTML.slice(0, 100))"""

_CHART_TEXTS = """() => [...document.querySelectorAll(".chart text")]
    .map((one) => parseFloat(getComputedStyle(one).fontSize)
        * one.ownerSVGElement.getScreenCTM().a)"""


def small_targets(page: Any) -> list[str]:
    """Return what can be pressed and is lower than 24 px; links within a text are not meant."""
    found: list[str] = page.evaluate(_SMALL_TARGETS)
    return found


def smallest_chart_text(page: Any) -> float:
    """Return the height of the smallest letters in a chart, in px of the window."""
    return float(min(page.evaluate(_CHART_TEXTS)))


@contextmanager
def started_browser() -> Iterator[Any]:
    """Start Chromium, and end it."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@contextmanager
def visits(browser: Any, size: tuple[int, int]) -> Iterator[Visit]:
    """Yield what opens a page; in the end its console is empty and it asked for its own alone.

    Args:
        browser: As :func:`started_browser` yields it.
        size: Width and height of the window, unless a visit says otherwise.
    """
    contexts: list[Any] = []
    troubles: list[str] = []

    def opened(
        path: Path,
        own: tuple[str, ...],
        width: int = size[0],
        height: int = size[1],
        **options: Any,
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height}, reduced_motion="reduce", **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)  # a machine that is busy takes its time
        page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (troubles.append("dialog"), dialog.dismiss()))

        def requested(request: Any) -> None:
            if not request.url.startswith((path.as_uri(), "data:", *own)):
                troubles.append(f"request: {request.url}")

        page.on("request", requested)
        page.troubles = troubles
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []
