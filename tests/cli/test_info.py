import json
import re
import sys
from dataclasses import asdict

import pytest

from pleura.cli.app import execute
from pleura.config import Network
from pleura.models import shipped, zoo
from pleura.models.bundle import current_versions, read_bundle
from pleura.printable import rounded


def test_versions(capsys):
    assert execute(["info"]) == 0
    shown = capsys.readouterr()
    for name, number in current_versions().items():
        assert name in shown.out
        assert number in shown.out
    assert shown.err == ""
    assert execute(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.pop("models") == list(shipped.names())
    assert found == current_versions()


def test_the_models_that_come_with_pleura_are_listed_with_their_figures(capsys):
    assert execute(["info", "--models"]) == 0
    listed = " ".join(capsys.readouterr().out.split())
    assert execute(["info"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{shown} ".endswith(listed.partition("Networks to train")[0])
    fast = "pleura:fast efficientnet, mirror image too, at 384 and 448 pixels, input 448 x 448 "
    assert re.search(fast + r"pixels; AUROC 0\.\d\d \(0\.\d\d to ", shown)


def listed(capsys, *arguments):
    assert execute(["info", "--models", "--json", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["models"] == list(shipped.names())
    return found["networks"]


def test_the_list_of_networks(capsys):
    assert execute(["info", "--models"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in zoo.NETWORKS)
    assert "backbone: network.backbone is empty; give a name of the" in shown
    items = listed(capsys)
    assert [item["name"] for item in items] == list(zoo.NETWORKS)
    assert items.pop()["note"].startswith("network.backbone is empty; give a name of the")
    for item in items:
        assert item["parameters"] > 0
        assert item["gflop_512"] > 0
        assert item["stride"] == 2 ** item["depth"]
        assert item["note"] == ""


def test_settings_change_the_list(capsys):
    small = listed(capsys, "--set", "network.width=12", "--set", "network.depth=3")
    for one, other in zip(small[:-1], listed(capsys)[:-1], strict=True):
        assert one["parameters"] < other["parameters"]


def test_a_backbone_is_listed_with_its_own_stride(tmp_path, capsys):
    from transformers import Dinov2Config

    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, patch_size=14)
    config.save_pretrained(tmp_path)
    item = listed(capsys, "--set", f"network.backbone={tmp_path}")[-1]
    assert (item["name"], item["depth"], item["stride"]) == ("backbone", None, 14)
    assert item["parameters"] > 0
    assert item["gflop_512"] is None
    assert "divisible by 14, not 512; take 448 or 672" in item["note"]


def test_a_network_that_the_settings_do_not_suit_says_so(capsys):
    items = {item["name"]: item for item in listed(capsys, "--set", "network.width=4")}
    assert items["swin_unetr"]["note"].endswith("swin_unetr needs a multiple of 12")
    assert items["swin_unetr"]["parameters"] is None
    assert items["dynunet"]["note"] == ""


def test_pretrained_weights_concern_only_the_networks_that_have_them(capsys):
    items = {item["name"]: item for item in listed(capsys, "--set", "network.pretrained=true")}
    assert items["unet"]["note"] == ""
    assert items["efficientnet"]["note"] == ""


def test_a_network_whose_extra_is_missing_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "transformers", None)
    items = {item["name"]: item for item in listed(capsys)}
    assert items["backbone"]["note"] == "needs pip install 'pleura[hub]'"
    assert items["backbone"]["parameters"] is None


def test_settings_out_of_range(capsys):
    assert execute(["info", "--models", "--set", "network.depth=99"]) == 2
    assert "network.depth is 99" in capsys.readouterr().err


def test_a_model_and_its_card(tiny_model, capsys):
    assert execute(["info", str(tiny_model)]) == 0
    assert capsys.readouterr().out == "# A tiny model\n"
    assert execute(["info", str(tiny_model), "--json"]) == 0
    found, bundle = json.loads(capsys.readouterr().out), read_bundle(tiny_model)
    assert found["digest"] == bundle.digest
    assert found["network"] == asdict(Network(name="cnn", width=4, depth=2))
    assert found["preprocessing"]["size"] == 64
    assert found["operating_points"]["default"]["mask"] == rounded(bundle.operating_point.mask)
    assert found.keys() == {
        "network",
        "preprocessing",
        "operating_points",
        "calibration",
        "training",
        "versions",
        "digest",
        "exported",
    }


def test_a_name_that_no_model_has(capsys):
    assert execute(["info", "pleura:bset"]) == 1
    told = capsys.readouterr().err
    assert "pleura:bset: no model of that name comes with pleura; there is pleura:fast" in told


@pytest.mark.parametrize("content", [None, b"", b"\x89HDF\r\n\x1a\n"])
def test_no_model(tmp_path, content, capsys):
    path = tmp_path / "model.h5"
    if content is not None:
        path.write_bytes(content)
    assert execute(["info", str(path)]) == 1
    said = capsys.readouterr()
    assert "model.h5: " in said.err
    assert said.err.count("\n") == 1
