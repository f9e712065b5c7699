"""Learning curves: what loss and Dice coefficient did over the epochs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pleura.errors import UsageError
from pleura.rendering import figures
from pleura.storage.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKED = 25  # up to so many epochs each one is a dot
_LOW = 0.25  # below it the curves lie where the best value is written, so that it is written above


def draw_curves(history: Mapping[str, Sequence[float]], path: Path) -> None:
    """Write loss and Dice coefficient by epoch, side by side, as a PNG.

    Args:
        history: Columns as in :data:`pleura.training.history.COLUMNS`, one number per epoch; one
            that is absent is left out, NaN leaves a gap.
        path: The file; its folders are made.

    Raises:
        UsageError: There is no epoch.
        OutputError: The file could not be written.
    """
    if not _epochs(history):
        raise UsageError("a history without an epoch has no curves; train for one epoch at least")
    with figures.panels(2) as (loss, dice):
        _draw_loss(history, loss)
        _draw_dice(history, dice)
        content = figures.png(loss)
    write_bytes(path, content)


def curves_svg(history: Mapping[str, Sequence[float]]) -> str:
    """Return the two charts of :func:`draw_curves` as two ``<svg>`` elements for an HTML page.

    The same history gives the same text; one without an epoch gives an empty text.
    """
    if not _epochs(history):
        return ""
    with figures.panels() as (axes,):
        _draw_loss(history, axes)
        loss = figures.svg(axes, "Loss by epoch")
    with figures.panels() as (axes,):
        _draw_dice(history, axes)
        dice = figures.svg(axes, "Dice coefficient by epoch")
    return f"{loss}\n{dice}"


def best_epoch(history: Mapping[str, Sequence[float]]) -> int | None:
    """Return the epoch, from 1, whose weights are kept: the highest validation Dice coefficient.

    Of equals it is the last, as in training. None where no epoch has one.
    """
    values = [(-1.0 if math.isnan(v) else v) for v in history.get("val_dice_coeff", ())]
    best = max(values, default=-1.0)
    return None if best < 0 else len(values) - values[::-1].index(best)


def _epochs(history: Mapping[str, Sequence[float]]) -> int:
    return max((len(column) for column in history.values()), default=0)


def _draw_loss(history: Mapping[str, Sequence[float]], axes: "Axes") -> None:
    axes.set_title("Loss")
    _draw_pair(axes, history, "loss")
    axes.set_ylim(*_loss_range(history))
    best = best_epoch(history)
    if best is not None:
        _draw_best(axes, best)


def _draw_dice(history: Mapping[str, Sequence[float]], axes: "Axes") -> None:
    axes.set_title("Dice coefficient")
    _draw_pair(axes, history, "dice_coeff")
    axes.set_ylim(0, 1)
    best = best_epoch(history)
    if best is None:
        return
    value = history["val_dice_coeff"][best - 1]
    _draw_best(axes, best)
    axes.plot([best], [value], "o", markersize=6, color=figures.SECOND, zorder=4)
    left = best > (_epochs(history) + 1) / 2
    low = value < _LOW
    axes.annotate(
        f"best {value:.3f}, epoch {best}",
        (best, 1 if low else 0),
        xytext=(-6 if left else 6, -13 if low else 7),
        textcoords="offset points",
        ha="right" if left else "left",
        color=figures.INK,
    )


def _draw_best(axes: "Axes", epoch: int) -> None:
    axes.axvline(epoch, color=figures.QUIET, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)


def _loss_range(history: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """Return the axis from 0 (or the lowest loss below it) to a little above the highest."""
    columns = (history.get(name, ()) for name in ("loss", "val_loss"))
    values = [value for column in columns for value in column if math.isfinite(value)]
    low, high = min([0.0, *values]), max([0.0, *values])
    return (1.06 * low, 1.06 * high) if low < high else (0.0, 1.0)


def _draw_pair(axes: "Axes", history: Mapping[str, Sequence[float]], name: str) -> None:
    """Draw a column and its validation twin over epochs 1, 2, ..."""
    from matplotlib.ticker import MaxNLocator

    epochs = _epochs(history)
    marker = "o" if epochs <= _MARKED else None
    pairs = ((name, "training", figures.FIRST), (f"val_{name}", "validation", figures.SECOND))
    for column, label, colour in pairs:
        values = list(history.get(column, ()))
        numbers = range(1, len(values) + 1)
        axes.plot(numbers, values, color=colour, label=label, marker=marker, markersize=3)
    axes.set_xlabel("epoch")
    margin = max(0.25, 0.03 * epochs)
    axes.set_xlim(1 - margin, epochs + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.3, borderpad=0)
