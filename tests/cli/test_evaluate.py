import json

import pytest

from pleura.cli.app import execute
from pleura.data.arrays import write_prepared

FIGURES = ["mean_dice", "positive_dice", "mean_iou", "auroc", "sensitivity", "specificity"]


def test_figures_for_people(tiny_model, small_prepared, capsys):
    assert execute(["evaluate", str(tiny_model), str(small_prepared.path)]) == 0
    said = capsys.readouterr()
    for words in ("mean Dice", "positive Dice", "AUROC", "answering none to all", "35 ("):
        assert words in said.out
    assert "evaluating: 35 of 35 images" in said.err


def test_json_has_each_figure_with_its_interval(tiny_model, small_prepared, tmp_path, capsys):
    page = tmp_path / "new" / "report.html"
    command = ["evaluate", str(tiny_model), str(small_prepared.path), "--json"]
    assert execute([*command, "--report", str(page)]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["images"] == 35
    assert found["patients"] > 1
    for name in FIGURES:
        low, high = found[f"{name}_interval"]
        assert 0 <= low <= found[name] <= high <= 1
    assert isinstance(found["notes"], list)
    assert f"wrote {page}" in said.err
    assert page.read_text().startswith("<!doctype html>")


def test_another_size(tiny_model, small_index, tmp_path, capsys):
    write_prepared(small_index.train[:2], [], tmp_path / "p", size=32, workers=1)
    assert execute(["evaluate", str(tiny_model), str(tmp_path / "p")]) == 1
    said = capsys.readouterr()
    assert (
        "is prepared at 32 pixels, the model wants 64; prepare it again with --size 64" in said.err
    )
    assert said.out == ""


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--device", "cuda:99"], 2, "--device cuda:99: torch sees"),
        (["--device", "tpu!"], 2, "--device tpu!: is not a device"),
    ],
)
def test_wrong_options(tiny_model, small_prepared, arguments, status, message, capsys):
    command = ["evaluate", str(tiny_model), str(small_prepared.path), *arguments]
    assert execute(command) == status
    assert message in capsys.readouterr().err


def test_bad_places(tiny_model, tmp_path, capsys):
    assert execute(["evaluate", str(tmp_path / "none.h5"), str(tmp_path)]) == 1
    assert "there is no such file" in capsys.readouterr().err
    assert execute(["evaluate", str(tiny_model), str(tmp_path)]) == 1
    assert "is not a finished prepared folder" in capsys.readouterr().err
