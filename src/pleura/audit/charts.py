"""The charts of an audit's page: sizes of the masks and prevalence by attribute, as inline SVG."""

from collections.abc import Sequence
from math import sqrt

from pleura.audit.findings import Balance, BalanceRow
from pleura.rendering import figures

MOST_VALUES = 12
"""Values of an attribute that a chart shows; those of the most images are kept."""

_Z = 1.959963984540054


def wilson(positive: int, images: int, patients: int | None = None) -> tuple[float, float]:
    """Return the 95 % interval of a share, low and high; (0, 1) where there is no image.

    Args:
        positive: Images that count.
        images: Images.
        patients: How many independent witnesses they are; None: as many as images.

    Source: Wilson 1927, the score interval without continuity correction.
    """
    if not images:
        return 0.0, 1.0
    share, part = positive / images, _Z**2 / (patients or images)
    middle = (share + part / 2) / (1 + part)
    half = sqrt(share * (1 - share) * part + part * part / 4) / (1 + part)
    low = 0.0 if positive == 0 else max(0.0, middle - half)
    return low, 1.0 if positive == images else min(1.0, middle + half)


def area_svg(balance: Balance) -> str:
    """Return the masks' share of their image as a histogram on a logarithmic axis.

    Empty where there is no mask.
    """
    if not any(balance.area_counts):
        return ""
    from matplotlib.ticker import MaxNLocator

    edges = balance.area_edges_percent
    median = next((q.area_percent for q in balance.area_quantiles if q.share == 0.5), None)

    with figures.panels() as (axes,):
        axes.set_title("How large the masks are")
        axes.stairs(balance.area_counts, edges, fill=True, color=figures.SECOND, alpha=0.35)
        axes.stairs(balance.area_counts, edges, color=figures.SECOND, linewidth=1.5)
        if median is not None:
            axes.axvline(median, color=figures.INK, linewidth=1, linestyle=(0, (3, 3)))
            axes.annotate(
                f"median {median:.2g} %",
                (median, 1),
                xycoords=("data", "axes fraction"),
                xytext=(5, -4),
                textcoords="offset points",
                va="top",
                fontsize=9,
            )
        figures.log_axis(axes, edges[0], edges[-1])
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, 1.12 * max(balance.area_counts))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.set_xlabel("area of the mask in % of its image")
        axes.set_ylabel("images")
        return figures.svg(axes, "Areas of the masks")


def prevalence_svg(balance: Balance, attribute: str) -> str:
    """Return the share with a pneumothorax by value of an attribute, with 95 % intervals.

    Empty where the attribute is known of no image.
    """
    strata = shown(balance.strata, attribute)
    if not any(stratum.value for stratum in strata):
        return ""
    from matplotlib.ticker import MaxNLocator

    bounds = [wilson(s.positive, s.images, s.patients) for s in strata]
    whole = balance.prevalence or 0.0
    # A value of next to no images has a wide interval; it may leave the chart, others set its end.
    ends = [high for (_, high), stratum in zip(bounds, strata, strict=True) if stratum.images >= 30]
    end = min(1.0, 1.15 * max([whole, *ends, *(s.positive / s.images for s in strata)], default=1))

    with figures.panels() as (axes,):
        axes.set_title(f"Prevalence by {_written(attribute)}")
        axes.axvline(100 * whole, color=figures.QUIET, linewidth=0.9, linestyle=(0, (3, 3)))
        for place, (stratum, (low, high)) in enumerate(zip(strata, bounds, strict=True)):
            axes.plot(
                [100 * low, 100 * min(high, end)],
                [place, place],
                color=figures.SECOND,
                linewidth=4,
                alpha=0.45,
                solid_capstyle="round" if high <= end else "butt",
            )
            share = 100 * stratum.positive / stratum.images
            axes.plot([share], [place], "o", markersize=6, color=figures.SECOND, zorder=4)
            axes.annotate(
                f"{stratum.images:,}",
                (1, place),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                color=figures.QUIET,
                annotation_clip=False,
            )
        axes.annotate(
            "images",
            (1, 1),
            xycoords="axes fraction",
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=9,
            color=figures.QUIET,
        )
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.set_yticks(range(len(strata)), [_written(stratum.value) for stratum in strata])
        axes.tick_params(axis="y", length=0, labelcolor=figures.INK)
        axes.set_ylim(len(strata) - 0.4, -0.6)
        axes.set_xlim(0, max(1.0, 100 * end))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))
        axes.set_xlabel("% with a pneumothorax, 95 % interval; dashed: all")
        return figures.svg(axes, f"Prevalence by {attribute}")


def shown(strata: Sequence[BalanceRow], attribute: str) -> list[BalanceRow]:
    """Return the strata of an attribute that a chart shows, in their own order."""
    own = [stratum for stratum in strata if stratum.attribute == attribute and stratum.images]
    kept = sorted(own, key=lambda stratum: -stratum.images)[:MOST_VALUES]
    return [stratum for stratum in own if stratum in kept]


def _written(text: str) -> str:
    """Return a value of a file as a chart can draw it: short plain text, nothing to be typeset."""
    if not text:
        return "not known"
    plain = "".join(sign if " " <= sign <= "~" else "?" for sign in text)
    short = plain if len(plain) <= 14 else f"{plain[:13].rstrip()}…"
    return short.replace("$", r"\$")
