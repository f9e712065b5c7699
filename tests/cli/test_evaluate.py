import json
from dataclasses import replace

import pytest

from pleura.cli.app import execute
from pleura.data.arrays import write_prepared
from pleura.evaluation.figures import FIGURES
from pleura.models.bundle import OperatingPoint, read_bundle, write_bundle


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
        assert 0 <= low <= high
        if name != "calibration_error":  # resampling adds to it, as to any distance
            assert low <= found[name] <= high
    assert [item["name"] for item in found["points"]] == ["default"]
    assert {item["by"] for item in found["strata"]} == {"size", "sex", "age", "view"}
    assert [item["prevalence"] for item in found["predictive_values"]] == [0.01, 0.05, 0.2]
    assert isinstance(found["notes"], list)
    assert f"wrote {page}" in said.err
    assert page.read_text().startswith("<!doctype html>")


@pytest.fixture
def other_model(tiny_model, tmp_path):
    """The tiny model with a mask threshold that nothing exceeds, and a preset."""
    bundle = read_bundle(tiny_model)
    point = replace(bundle.operating_point, mask=1.0)
    presets = {"sensitive": OperatingPoint(score=0.01)}
    write_bundle(replace(bundle, operating_point=point, presets=presets), tmp_path / "other.h5")
    return tmp_path / "other.h5"


def test_two_models(tiny_model, other_model, small_prepared, tmp_path, capsys):
    page = tmp_path / "evaluation.html"
    command = ["evaluate", str(tiny_model), str(small_prepared.path), "--against", str(other_model)]
    assert execute([*command, "--json", "--report", str(page)]) == 0
    said = capsys.readouterr()
    against = json.loads(said.out)["against"]
    assert against["model"] == str(other_model)
    assert against["images"] == 35
    found = {item["name"]: item for item in against["differences"]}
    assert list(found) == list(FIGURES)
    assert found["auroc"]["difference"] == 0
    assert found["sensitivity"]["theirs"] == 0
    assert found["sensitivity"]["difference_interval"][0] > 0
    assert found["sensitivity"]["above"] == 1
    assert "evaluating: 70 of 70 images" in said.err
    assert "Against the other" in page.read_text()
    assert execute(command) == 0
    shown = capsys.readouterr().out
    assert "Against the other" in shown
    assert "above 0 in 100.0 % of the resamples" in shown


def test_presets_and_parts_for_people(other_model, small_prepared, capsys):
    assert execute(["evaluate", str(other_model), str(small_prepared.path)]) == 0
    shown = capsys.readouterr().out
    for words in (
        "at sensitive",
        "at 5 % prevalence",
        "size below 0.5 %",
        "sex F",
        "age 18-39",
        "view",
    ):
        assert words in shown


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
    command = ["evaluate", str(tiny_model), str(tmp_path), "--against", str(tmp_path / "no.h5")]
    assert execute(command) == 1
    assert "no.h5: there is no such file" in capsys.readouterr().err
    assert execute(["evaluate", str(tiny_model), str(tmp_path)]) == 1
    assert "is not a finished prepared folder" in capsys.readouterr().err
