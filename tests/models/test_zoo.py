import pytest
import torch

from pleura.config import Network
from pleura.errors import ConfigError
from pleura.models import zoo

ALL = list(zoo.NETWORKS)


def small(name):
    return Network(name=name, width=4, depth=3)


@pytest.mark.parametrize("name", ALL)
def test_the_output_is_one_channel_of_the_inputs_size(name):
    network = zoo.build(small(name)).eval()
    for size in (32, 64):
        assert network(torch.randn(2, 1, size, size)).shape == (2, 1, size, size)


@pytest.mark.parametrize("name", ALL)
def test_gradients_reach_every_parameter(name):
    torch.manual_seed(0)
    network = zoo.build(small(name))
    network(torch.randn(2, 1, 32, 32)).square().mean().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", ALL)
def test_a_batch_equals_one_by_one(name):
    torch.manual_seed(0)
    network = zoo.build(small(name)).eval()
    x = torch.randn(3, 1, 32, 32)
    with torch.no_grad():
        together, alone = network(x), torch.cat([network(one[None]) for one in x])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_one_batch_is_learnt_by_heart(name):
    torch.manual_seed(0)
    network = zoo.build(Network(name=name, width=8, depth=3))
    x = torch.randn(2, 1, 32, 32)
    y = torch.zeros_like(x)
    y[0, 0, 8:20, 8:20] = 1
    x += 2 * y
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(120):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("name", ALL)
def test_the_first_answer_is_the_share_of_positive_pixels(name):
    network = zoo.build(small(name)).eval()
    with torch.no_grad():
        probability = torch.sigmoid(network(torch.randn(1, 1, 64, 64)))
    assert 0.005 < probability.mean().item() < 0.04


@pytest.mark.parametrize("name", ALL)
def test_width_and_depth_change_the_size(name):
    counts = [
        zoo.count_parameters(Network(name=name, width=width, depth=depth))
        for width, depth in ((4, 3), (8, 3), (8, 4))
    ]
    assert counts == sorted(set(counts))
    built = zoo.build(Network(name=name, width=8, depth=4))
    assert counts[-1] == sum(parameter.numel() for parameter in built.parameters())


def test_cost_grows_with_the_area():
    at_64, at_128 = (zoo.count_gflop(small("cnn"), size) for size in (64, 128))
    assert at_128 == pytest.approx(4 * at_64)


def test_zeros_become_the_networks_own_defaults():
    entry = zoo.NETWORKS["unet"]
    assert zoo.complete(Network()) == Network(name="unet", width=entry.width, depth=entry.depth)


def test_a_size_that_does_not_divide_is_refused_with_the_right_ones():
    with pytest.raises(ConfigError, match="divisible by 32, not 100; take 96 or 128"):
        zoo.check_size(Network(name="unet", depth=5), 100)


def test_a_unet_needs_two_halvings():
    with pytest.raises(ConfigError, match=r"network.depth is 1; unet needs 2 or more"):
        zoo.build(Network(name="unet", depth=1))
