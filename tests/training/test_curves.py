import math
import re
from pathlib import Path
from xml.etree import ElementTree

import cv2
import matplotlib
import pytest

from pleura.errors import OutputError, UsageError
from pleura.training.curves import best_epoch, curves_svg, draw_curves

HISTORY = {
    "epoch": [1.0, 2.0, 3.0],
    "loss": [0.9, 0.6, 0.5],
    "dice_coeff": [0.1, 0.4, 0.6],
    "val_loss": [0.8, 0.7, 0.75],
    "val_dice_coeff": [0.2, 0.45, 0.4],
    "seconds": [1.0, 1.0, 1.0],
}


def first(epochs: int) -> dict[str, list[float]]:
    return {name: column[:epochs] for name, column in HISTORY.items()}


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_the_picture_decodes_and_is_wider_than_high(tmp_path: Path, epochs: int) -> None:
    draw_curves(first(epochs), tmp_path / "new" / "curves.png")
    picture = cv2.imread(str(tmp_path / "new" / "curves.png"))
    assert picture.shape[1] > 1.8 * picture.shape[0]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["curves.png"]


def test_the_same_history_gives_the_same_bytes(tmp_path: Path) -> None:
    draw_curves(HISTORY, tmp_path / "a.png")
    draw_curves(HISTORY, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert curves_svg(HISTORY) == curves_svg(HISTORY)


def test_drawing_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    draw_curves(HISTORY, tmp_path / "a.png")
    curves_svg(HISTORY)
    assert dict(matplotlib.rcParams) == before


def test_the_svg_names_both_charts_and_the_best_epoch() -> None:
    charts = curves_svg(HISTORY).split("</svg>")[:2]
    texts = [
        " ".join(ElementTree.fromstring(chart + "</svg>").itertext()).split() for chart in charts
    ]
    assert "Loss" in texts[0]
    assert "Dice" in texts[1]
    assert all({"training", "validation", "epoch"} <= set(words) for words in texts)
    assert "best 0.450, epoch 2" in " ".join(texts[1])


@pytest.mark.parametrize(("best", "above"), [(0.45, False), (0.08, True)])
def test_the_best_value_is_written_where_no_curve_is(best: float, above: bool) -> None:
    history = {"dice_coeff": [best / 2, best], "val_dice_coeff": [best / 2, best]}
    _, dice = curves_svg(history).split("\n<svg")
    words = re.search(r"translate\(\S+ ([\d.]+)\)[^>]*>best ", dice) or re.search(
        r'y="([\d.]+)"[^>]*>best ', dice
    )
    assert words is not None
    assert (float(words[1]) < 100) == above  # of 194 from the top


def test_epochs_are_whole_numbers() -> None:
    for chart in curves_svg(first(2)).split("</svg>")[:1]:
        ticks = re.findall(r"text-anchor: middle[^>]*>([^<]*)<", chart)
        assert [tick for tick in ticks if tick != "epoch"] == ["1", "2"]


def test_the_best_epoch_is_the_one_whose_weights_are_kept() -> None:
    assert best_epoch(HISTORY) == 2
    assert best_epoch({"val_dice_coeff": [0.3, 0.5, 0.5]}) == 3
    assert best_epoch({"val_dice_coeff": [math.nan, 0.0]}) == 2
    assert best_epoch({"val_dice_coeff": [math.nan]}) is None
    assert best_epoch({}) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.5, 0.0])
def test_a_training_that_went_wrong_can_still_be_drawn(tmp_path: Path, value: float) -> None:
    history = HISTORY | {"loss": [0.9, value, value], "val_dice_coeff": [math.nan] * 3}
    draw_curves(history, tmp_path / "curves.png")
    assert "best" not in curves_svg(history)


def test_a_column_that_is_absent_is_left_out(tmp_path: Path) -> None:
    history = {"loss": [0.5, 0.4]}
    draw_curves(history, tmp_path / "curves.png")
    assert curves_svg(history).count("<svg") == 2


def test_no_epoch_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without an epoch has no curves; train for one epoch"):
        draw_curves(first(0), tmp_path / "curves.png")
    assert curves_svg({}) == curves_svg(first(0)) == ""


def test_a_picture_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"curves\.png: could not be written"):
        draw_curves(HISTORY, tmp_path / "file" / "curves.png")
