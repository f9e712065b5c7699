"""The table of `make bench` as a picture: each figure as a share of its goal."""

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pleura.rendering.figures import FIRST, GRID, INK, QUIET, SECOND

_WORDS: dict[str, Any] = {"fontsize": 8, "color": INK}
_OVER_THE_LINE = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}


def draw(report: dict[str, Any]) -> bytes:
    """Return a PNG: a bar per row, the goal a line, and on whose machine it was measured.

    Args:
        report: What ``benchmarks/latest.json`` holds.
    """
    rows = report["benchmarks"][::-1]
    machine = report["machine"]
    figure = Figure(figsize=(8, 1 + 0.42 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shares = [row["ratio"] / row["goal"] for row in rows]
    colours = [FIRST if row["met"] else SECOND for row in rows]
    axes.barh(range(len(rows)), shares, color=colours, height=0.3)
    axes.axvline(1, color=INK, linewidth=1)
    for place, (row, share) in enumerate(zip(rows, shares, strict=True)):
        wanted = "at most" if (row["ratio"] <= row["goal"]) == row["met"] else "at least"
        missed = "" if row["met"] else ": missed"
        said = f"{row['ratio']:.2f}, {wanted} {row['goal']:.2f}{missed}"
        axes.text(share + 0.02, place, said, va="center", bbox=_OVER_THE_LINE, **_WORDS)
        axes.text(0, place + 0.26, row["name"], va="bottom", bbox=_OVER_THE_LINE, **_WORDS)
    axes.set_xlim(0, max(shares) + 0.5)
    axes.set_ylim(-0.6, len(rows))
    axes.set_yticks([])
    axes.set_xlabel("measured / goal", color=QUIET, fontsize=8)
    axes.tick_params(labelsize=8, colors=QUIET)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    half = "with" if machine["bf16"] else "without"
    axes.set_title(
        f"{machine['processor']}, {machine['cores']} cores, {half} bf16",
        loc="left",
        fontsize=9,
        color=INK,
    )
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120, facecolor="white", metadata={"Software": None})
    return content.getvalue()
