import cv2
import numpy as np
import pytest
import torch

from pleura.config import Network
from pleura.errors import ConfigError
from pleura.models import zoo
from pleura.models.ensemble import Ensemble, reduced


def members(count=2):
    torch.manual_seed(0)
    built = [zoo.build(Network(name="unet", width=4, depth=3)).eval() for _ in range(count)]
    for member in built:
        torch.nn.init.normal_(member.head.weight, std=2.0)
    return built


def probabilities(outputs):
    return torch.sigmoid(outputs.mask), torch.sigmoid(outputs.score)


@torch.no_grad()
def test_an_ensemble_answers_with_the_mean_of_probabilities():
    two, x = members(), torch.randn(3, 1, 32, 32)
    found = probabilities(Ensemble(two, tta=False)(x))
    alone = [probabilities(member(x)) for member in two]
    for place in (0, 1):
        assert torch.allclose(found[place], (alone[0][place] + alone[1][place]) / 2, atol=1e-5)


@torch.no_grad()
def test_flipping_looks_at_the_mirror_image_too():
    (member,), x = members(1), torch.randn(2, 1, 32, 32)
    flipped = Ensemble([member], tta=True)
    mask, score = probabilities(flipped(x))
    mirrored_mask, mirrored_score = probabilities(flipped(x.flip(3)))
    assert torch.allclose(mask, mirrored_mask.flip(3), atol=1e-5)
    assert torch.allclose(score, mirrored_score, atol=1e-5)
    plain, mirror = member(x), member(x.flip(3))
    expected = (torch.sigmoid(plain.mask) + torch.sigmoid(mirror.mask).flip(3)) / 2
    assert torch.allclose(mask, expected, atol=1e-5)


@torch.no_grad()
def test_one_member_alone_is_that_member():
    (member,), x = members(1), torch.randn(2, 1, 32, 32)
    alone, one = member(x), Ensemble([member], tta=False)(x)
    assert torch.sigmoid(one.mask) == pytest.approx(torch.sigmoid(alone.mask).numpy(), abs=1e-5)


@torch.no_grad()
def test_members_that_are_sure_give_finite_logits():
    (member,) = members(1)
    torch.nn.init.constant_(member.head.bias, 500.0)
    outputs = Ensemble([member], tta=False)(torch.zeros(1, 1, 32, 32))
    assert torch.isfinite(outputs.mask).all()
    assert torch.isfinite(outputs.score).all()


@torch.no_grad()
def test_each_member_sees_its_own_size():
    two, x = members(), torch.randn(2, 1, 64, 64)
    mask, score = probabilities(Ensemble(two, tta=False, sizes=[[64], [32]])(x))
    large, small = probabilities(two[0](x)), probabilities(two[1](reduced(x, 32)))
    enlarged = torch.nn.functional.interpolate(small[0], size=(64, 64), mode="bilinear")
    assert torch.allclose(mask, (large[0] + enlarged) / 2, atol=1e-5)
    assert torch.allclose(score, (large[1] + small[1]) / 2, atol=1e-5)


@torch.no_grad()
def test_a_member_sees_several_sizes_and_each_mirrored():
    (member,), x = members(1), torch.randn(2, 1, 64, 64)
    _, score = probabilities(Ensemble([member], tta=True, sizes=[[32, 64]])(x))
    seen = [
        turned for side in (32, 64) for one in [reduced(x, side)] for turned in (one, one.flip(3))
    ]
    alone = torch.stack([probabilities(member(one))[1] for one in seen])
    assert torch.allclose(score, alone.mean(0), atol=1e-5)


@torch.no_grad()
def test_a_closer_look_adds_the_upper_corners():
    two, x = members(), torch.randn(2, 1, 96, 96)
    mask, score = probabilities(Ensemble(two, tta=True, sizes=[[64], [64]], closer=64)(x))
    whole_mask, whole_score = probabilities(Ensemble(two, tta=True, sizes=[[64], [64]])(x))
    plain = Ensemble(two, tta=True)
    left, right = (probabilities(plain(x[:, :, 4:68, start : start + 64]))[1] for start in (0, 32))
    logits = torch.logit(whole_score) + torch.logit(torch.maximum(left, right))
    assert torch.allclose(score, torch.sigmoid(logits / 2), atol=1e-4)
    assert torch.allclose(mask, whole_mask, atol=1e-5)


@pytest.mark.parametrize(("side", "size"), [(64, 48), (512, 384), (48, 16), (50, 50)])
def test_a_smaller_picture_is_the_mean_of_areas(side, size):
    x = np.random.default_rng(0).random((side, side), dtype=np.float32)
    expected = cv2.resize(x, (size, size), interpolation=cv2.INTER_AREA)
    found = reduced(torch.from_numpy(x)[None, None], size)
    assert found[0, 0].numpy() == pytest.approx(expected, abs=1e-5)


TWO = [Network(name="unet", width=4, depth=3), Network(name="cnn", width=4, depth=4)]


def test_an_ensemble_is_a_network_of_the_list():
    network = Network(name="ensemble", members=TWO, tta=True)
    assert zoo.stride(network) == 16
    assert zoo.count_parameters(network) == sum(map(zoo.count_parameters, TWO))
    assert zoo.count_gflop(network, 64) == pytest.approx(
        2 * sum(zoo.count_gflop(member, 64) for member in TWO), rel=0.01
    )
    assert zoo.complete(network).members == [zoo.complete(member) for member in TWO]
    with pytest.raises(ConfigError, match="cnn of depth 4 needs a size divisible by 16, not 40"):
        zoo.check_size(network, 40)
    with pytest.raises(ConfigError, match="an ensemble is not trained; train its members, then"):
        zoo.begin(network)


@pytest.mark.parametrize("network", [Network(name="ensemble"), Network(name="cnn", members=TWO)])
def test_an_ensemble_and_nothing_else_has_members(network):
    with pytest.raises(ConfigError, match="an ensemble, and nothing else, has members: make one"):
        zoo.complete(network)


def test_a_closer_look_is_an_ensembles_at_a_size_that_its_members_take():
    network = Network(name="ensemble", members=TWO, closer=64)
    zoo.check_size(network, 96)
    with pytest.raises(ConfigError, match=r"network.closer is 64 and the picture 64 pixels; a squ"):
        zoo.check_size(network, 64)
    deep = Network(name="ensemble", members=[Network(name="cnn", width=4, depth=6)], closer=96)
    with pytest.raises(ConfigError, match="cnn of depth 6 needs a size divisible by 64, not 96"):
        zoo.check_size(deep, 128)
    with pytest.raises(
        ConfigError, match=r"network.closer is 64 and network.name 'cnn'; only an e"
    ):
        zoo.complete(Network(name="cnn", closer=64))


def test_sizes_are_checked_member_by_member():
    deep = [TWO[0], Network(name="cnn", width=4, depth=6)]
    zoo.check_size(Network(name="ensemble", members=deep, sizes=[[96, 64], [64]]), 96)
    with pytest.raises(ConfigError, match="cnn of depth 6 needs a size divisible by 64, not 96"):
        zoo.check_size(Network(name="ensemble", members=deep, sizes=[[64], [64, 96]]), 96)
    with pytest.raises(ConfigError, match=r"network.sizes has 1 and network.members 2; name t"):
        zoo.complete(Network(name="ensemble", members=TWO, sizes=[[64]]))
