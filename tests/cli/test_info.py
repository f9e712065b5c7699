import json

import pytest

from pleura.cli.app import execute
from pleura.models import zoo
from pleura.models.bundle import current_versions, read_bundle


def test_versions(capsys):
    assert execute(["info"]) == 0
    shown = capsys.readouterr()
    for name, number in current_versions().items():
        assert name in shown.out
        assert number in shown.out
    assert shown.err == ""
    assert execute(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == current_versions()


def test_the_list_of_networks(capsys):
    assert execute(["info", "--models"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in zoo.NETWORKS)
    assert execute(["info", "--models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in listed] == list(zoo.NETWORKS)
    for item in listed:
        assert item["parameters"] > 0
        assert item["gflop_512"] > 0


def test_settings_change_the_list(capsys):
    def parameters(*arguments):
        assert execute(["info", "--models", "--json", *arguments]) == 0
        return [item["parameters"] for item in json.loads(capsys.readouterr().out)]

    small = parameters("--set", "network.width=4", "--set", "network.depth=3")
    assert all(one < other for one, other in zip(small, parameters(), strict=True))


def test_settings_out_of_range(capsys):
    assert execute(["info", "--models", "--set", "network.depth=99"]) == 2
    assert "network.depth is 99" in capsys.readouterr().err


def test_a_model_and_its_card(tiny_model, capsys):
    assert execute(["info", str(tiny_model)]) == 0
    assert capsys.readouterr().out == "# A tiny model\n\n"
    assert execute(["info", str(tiny_model), "--json"]) == 0
    found, bundle = json.loads(capsys.readouterr().out), read_bundle(tiny_model)
    assert found["digest"] == bundle.digest
    assert found["network"] == {"name": "cnn", "width": 4, "depth": 2}
    assert found["preprocessing"]["size"] == 64
    assert found["operating_point"]["mask"] == bundle.operating_point.mask
    assert found.keys() == {
        "network",
        "preprocessing",
        "operating_point",
        "training",
        "versions",
        "digest",
    }


@pytest.mark.parametrize("content", [None, b"", b"\x89HDF\r\n\x1a\n"])
def test_no_model(tmp_path, content, capsys):
    path = tmp_path / "model.h5"
    if content is not None:
        path.write_bytes(content)
    assert execute(["info", str(path)]) == 1
    said = capsys.readouterr()
    assert "model.h5: " in said.err
    assert said.err.count("\n") == 1
