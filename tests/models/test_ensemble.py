import pytest
import torch

from pleura.config import Network
from pleura.errors import ConfigError
from pleura.models import zoo
from pleura.models.ensemble import Ensemble


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
    found = probabilities(Ensemble(two, flip=False)(x))
    alone = [probabilities(member(x)) for member in two]
    for place in (0, 1):
        assert torch.allclose(found[place], (alone[0][place] + alone[1][place]) / 2, atol=1e-5)


@torch.no_grad()
def test_flipping_looks_at_the_mirror_image_too():
    (member,), x = members(1), torch.randn(2, 1, 32, 32)
    flipped = Ensemble([member], flip=True)
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
    alone, one = member(x), Ensemble([member], flip=False)(x)
    assert torch.sigmoid(one.mask) == pytest.approx(torch.sigmoid(alone.mask).numpy(), abs=1e-5)


@torch.no_grad()
def test_members_that_are_sure_give_finite_logits():
    (member,) = members(1)
    torch.nn.init.constant_(member.head.bias, 500.0)
    outputs = Ensemble([member], flip=False)(torch.zeros(1, 1, 32, 32))
    assert torch.isfinite(outputs.mask).all()
    assert torch.isfinite(outputs.score).all()


TWO = [Network(name="unet", width=4, depth=3), Network(name="cnn", width=4, depth=4)]


def test_an_ensemble_is_a_network_of_the_list():
    network = Network(name="ensemble", members=TWO, flip=True)
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
