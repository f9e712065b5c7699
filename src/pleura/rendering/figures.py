"""Small charts as bytes: PNG files, and SVG to put into a page.

Charts are drawn on bare matplotlib axes, without pyplot and its global state. The
same chart gives the same bytes. In SVG each colour is a CSS variable with the colour here as its
fallback (``var(--ink, #1d2733)``), and texts take the page's font, so that a chart follows a page
into dark mode.
"""

import contextlib
import io
import math
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, GRID = "#1d2733", "#66727f", "#dfe4e9"
FIRST, SECOND = "#2f7fb5", "#d9770d"
"""Colours of two series; the second one is the one to look at."""

_VARIABLES = {INK: "ink", QUIET: "quiet", GRID: "grid", FIRST: "first", SECOND: "second"}
STYLE: Mapping[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelcolor": QUIET,
    "axes.titlecolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 1.3,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "figure.constrained_layout.w_pad": 0.09,
    "figure.constrained_layout.h_pad": 0.07,
    "svg.fonttype": "none",
}

PANEL = (3.8, 2.7)
"""Width and height of one chart, in inches."""


@contextlib.contextmanager
def panels(count: int = 1) -> "Iterator[list[Axes]]":
    """Yield the axes of charts side by side, to draw on and write within the block."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**STYLE}):
        figure = Figure(figsize=(PANEL[0] * count, PANEL[1]), layout="constrained")
        FigureCanvasAgg(figure)
        yield list(figure.subplots(1, count, squeeze=False)[0])


def log_axis(axes: "Axes", low: float, high: float) -> None:
    """Make the axis across logarithmic, over whole decades, with a plain number at each.

    Args:
        axes: The chart.
        low: The smallest value that it shows, above 0.
        high: The largest.
    """
    from matplotlib.ticker import NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high) + 1e-9))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def png(axes: "Axes") -> bytes:
    """Return a PNG of a chart of :func:`panels`, and of those beside it."""
    content = io.BytesIO()
    _figure(axes).savefig(
        content, format="png", metadata={"Software": None}, dpi=180, facecolor="white"
    )
    return content.getvalue()


def svg(axes: "Axes", label: str) -> str:
    """Return a chart of :func:`panels` as an ``<svg>`` element to put into an HTML page.

    Args:
        axes: The chart.
        label: What it shows, for readers who do not see it; must differ within a page.
    """
    import matplotlib

    content = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": label}):
        _figure(axes).savefig(content, format="svg", metadata={"Date": None}, transparent=True)
    return _as_inline(content.getvalue(), label)


def _figure(axes: "Axes") -> "Figure":
    return cast("Figure", axes.get_figure(root=True))


def _as_inline(document: str, label: str) -> str:
    """Return the svg element alone: no namespaces, no metadata, no ids but those referred to."""
    body = document[document.index("<svg") :]
    body = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"\s*\n\s*", "\n", body)
    box = re.search(r'viewBox="([^"]*)"', body)
    if box is None:
        raise ValueError("matplotlib wrote an svg without a viewBox")
    head = f'<svg class="chart" role="img" aria-label="{escape(label)}" viewBox="{box[1]}">'
    body = head + body[body.index(">") + 1 :]
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href")
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    for colour, name in _VARIABLES.items():
        body = body.replace(colour, f"var(--{name}, {colour})")
    return body.strip()
