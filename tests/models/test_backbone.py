import json
import re
import shutil
import sys

import pytest
import torch

from pleura.config import Network
from pleura.errors import ConfigError
from pleura.models import backbone, zoo
from pleura.models.grey import IMAGENET, INPUT_MEAN, INPUT_STD, with_ones
from tests.models.conftest import BACKBONES


def named(folder, **settings):
    return Network(name="backbone", width=4, backbone=str(folder), **settings)


@pytest.fixture
def folder(backbones, tmp_path):
    """A copy of the small ResNet's folder, to be spoilt."""
    return shutil.copytree(backbones / "resnet", tmp_path / "resnet")


def rewrite(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("colours", [None, ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3))])
def test_it_answers_as_the_library_does_to_the_grey_picture(kind, colours, backbones, tmp_path):
    source = shutil.copytree(backbones / kind, tmp_path / kind)
    if colours:
        table = {"image_mean": colours[0], "image_std": colours[1]}
        (source / "preprocessor_config.json").write_text(json.dumps(table))
    torch.manual_seed(0)
    network = zoo.begin(named(source, pretrained=True)).eval()
    library = type(network.encoder.body).from_pretrained(source)
    library.out_indices = network.encoder.body.out_indices
    library = type(network.encoder.body).from_pretrained(source, config=library.config).eval()
    pixels = torch.rand(2, 1, 64, 64)
    mean, std = (torch.tensor(values)[:, None, None] for values in colours or IMAGENET)
    with torch.no_grad():
        expected = library((pixels.expand(-1, 3, -1, -1) - mean) / std).feature_maps
        found = network.encoder(with_ones((pixels - INPUT_MEAN) / INPUT_STD))
    assert len(found) == 4
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_the_strides_are_found_and_a_plain_transformer_has_one(backbones):
    strides = {
        kind: [
            one.stride for one in backbone.maps(backbone.read_configuration(str(backbones / kind)))
        ]
        for kind in BACKBONES
    }
    assert strides.pop("dinov2") == [16, 16, 16, 16]
    assert all(found == [4, 8, 16, 32] for found in strides.values())


def test_of_a_plain_transformer_four_layers_are_taken_evenly(backbones):
    table = json.loads(backbone.read_configuration(str(backbones / "dinov2")))
    assert table["out_indices"] == [1, 3, 4, 6]


def test_a_stride_that_is_no_power_of_two_names_sizes_that_can_be_prepared(backbones, tmp_path):
    source = shutil.copytree(backbones / "dinov2", tmp_path / "fourteen")
    rewrite(source, patch_size=14, image_size=56)
    whole = zoo.complete(named(source))
    assert zoo.stride(whole) == 14
    with pytest.raises(
        ConfigError, match="backbone needs a size divisible by 14, not 512; take 448"
    ):
        zoo.check_size(whole, 512)
    network = zoo.build(whole).eval()
    assert network(torch.zeros(1, 1, 56, 56)).mask.shape == (1, 1, 56, 56)


def test_the_text_stands_for_itself(folder):
    rewrite(
        folder,
        id2label={str(n): f"label {n}" for n in range(1000)},
        hidden_dropout_prob=0.5,
        dtype="float16",
        auto_map={"AutoBackbone": "evil.Evil"},
        attn_implementation="some/kernels",
    )
    whole = zoo.complete(named(folder))
    table = json.loads(whole.backbone_config)
    assert len(whole.backbone_config) < 4000
    assert str(folder) not in whole.backbone_config
    assert table["num_channels"] == 2
    assert table["hidden_dropout_prob"] == 0
    assert not table.keys() & {"id2label", "dtype", "auto_map", "attn_implementation"}
    shutil.rmtree(folder)
    assert zoo.build(whole)(torch.zeros(2, 1, 64, 64)).score.shape == (2,)


def test_code_beside_a_model_is_never_run(folder, tmp_path):
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: ...\n")
    rewrite(folder, auto_map={"AutoConfig": "evil.Evil", "AutoBackbone": "evil.Evil"})
    zoo.begin(named(folder, pretrained=True))
    rewrite(folder, model_type="evil")
    with pytest.raises(ConfigError, match=r"network.backbone is '.*': it is no folder with a "):
        zoo.build(named(folder))
    assert not (tmp_path / "ran").exists()


def test_a_hub_name_without_a_network_says_where_to_put_the_folder():
    with pytest.raises(ConfigError) as caught:
        zoo.build(named("someone/no-such-backbone"))
    said = str(caught.value)
    assert said.startswith("network.backbone is 'someone/no-such-backbone': it is no folder with a")
    assert "Put config.json and model.safetensors of the model into a folder" in said


def test_a_folder_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(
        ConfigError, match=re.escape("nowhere': there is no such folder. Put config")
    ):
        zoo.build(named(tmp_path / "nowhere"))


def test_a_folder_without_a_configuration_is_said_so(tmp_path):
    with pytest.raises(ConfigError, match=r"it is no folder with a config.json"):
        zoo.build(named(tmp_path))


@pytest.mark.parametrize("kind", ["bert", "timm_backbone"])
def test_a_model_that_is_no_backbone_is_refused(folder, kind):
    rewrite(folder, model_type=kind)
    with pytest.raises(
        ConfigError, match=f"is of type '{kind}', which is no backbone; beit, bit, "
    ):
        zoo.build(named(folder))


def test_a_configuration_that_cannot_be_built_is_refused(folder):
    rewrite(folder, layer_type="basic", hidden_act="no such function")
    with pytest.raises(ConfigError, match=r"network.backbone of type resnet cannot be built: "):
        zoo.build(named(folder))


def test_wrong_settings_are_refused(folder, small):
    rewrite(folder, hidden_sizes="many")
    with pytest.raises(ConfigError, match=r"it is no folder with a config.json, .*hidden_sizes"):
        zoo.build(named(folder))
    table = json.loads(small("backbone-resnet").backbone_config)
    text = json.dumps({**table, "hidden_sizes": "many"})
    with pytest.raises(ConfigError, match=r"network.backbone of type resnet has wrong settings: "):
        zoo.build(Network(name="backbone", backbone_config=text))


@pytest.mark.parametrize("text", ["{", "[]", "3", "{}"])
def test_a_damaged_text_is_refused(text):
    with pytest.raises(ConfigError, match=r"network.backbone_config is .*: it is filled in by"):
        zoo.build(Network(name="backbone", backbone_config=text))


def test_weights_in_a_pickle_are_not_read(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"x": torch.zeros(1)}, folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"the weights of .* cannot be read .*model.safetensors"):
        zoo.begin(named(folder, pretrained=True))
    zoo.build(named(folder, pretrained=True))


def test_damaged_weights_are_said_so(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"the weights of .* cannot be read "):
        zoo.begin(named(folder, pretrained=True))


def test_weights_of_another_model_are_refused(folder, backbones):
    shutil.copy(backbones / "convnextv2" / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(
        ConfigError, match=r"the weights of .* lack \d+ arrays, the first is embedder"
    ):
        zoo.begin(named(folder, pretrained=True))


def test_weights_of_another_width_are_refused(folder):
    rewrite(folder, hidden_sizes=[8, 12, 16, 24])
    with pytest.raises(ConfigError, match=r"the weights of .* cannot be read "):
        zoo.begin(named(folder, pretrained=True))


def test_weights_need_a_source(small):
    settings = small("backbone-resnet")
    alone = Network(name="backbone", backbone_config=settings.backbone_config, pretrained=True)
    with pytest.raises(
        ConfigError, match=r"network.pretrained is true, but network.backbone is em"
    ):
        zoo.begin(alone)


def test_other_than_three_colours_are_refused(folder):
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5], "image_std": [0.5]}')
    with pytest.raises(ConfigError, match=r"image_mean has 1 and image_std 1 values; pleura folds"):
        zoo.begin(named(folder, pretrained=True))


def test_reading_weights_says_nothing_of_its_own(backbones, capfd):
    zoo.begin(named(backbones / "swin", pretrained=True))
    assert capfd.readouterr() == ("", "")


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'pleura[hub]'")):
        backbone.read_configuration("x")


def test_a_parameter_the_maps_do_not_depend_on_is_not_trained(backbones):
    network = zoo.build(named(backbones / "swin"))
    idle = [name for name, p in network.named_parameters() if not p.requires_grad]
    assert idle == ["encoder.body.swin.layernorm.weight", "encoder.body.swin.layernorm.bias"]


def test_a_rehearsal_leaves_the_generator_alone(backbones):
    configuration = backbone.read_configuration(str(backbones / "dinov2"))
    states = []
    for _ in range(2):
        backbone._rehearse.cache_clear()
        torch.manual_seed(3)
        backbone.maps(configuration)
        states.append(torch.rand(1).item())
    torch.manual_seed(3)
    assert states == [torch.rand(1).item()] * 2
