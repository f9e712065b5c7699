import pytest
import torch

from pleura.config import Network
from pleura.errors import ConfigError
from pleura.models import zoo
from pleura.models.blocks import top_logit
from pleura.training.losses import bce, image_bce

ALL = list(zoo.NETWORKS)


def small(name):
    return Network(name=name, width=4, depth=3)


@pytest.mark.parametrize("name", ALL)
def test_the_outputs_are_a_map_of_the_inputs_size_and_a_score(name):
    network = zoo.build(small(name)).eval()
    for size in (32, 64):
        outputs = network(torch.randn(2, 1, size, size))
        assert outputs.mask.shape == (2, 1, size, size)
        assert outputs.score.shape == (2,)


@pytest.mark.parametrize("name", ALL)
def test_gradients_reach_every_parameter(name):
    torch.manual_seed(0)
    network = zoo.build(small(name))
    outputs = network(torch.randn(2, 1, 32, 32))
    (outputs.mask.square().mean() + outputs.score.square().mean()).backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", ALL)
def test_a_batch_equals_one_by_one(name):
    torch.manual_seed(0)
    network = zoo.build(small(name)).eval()
    x = torch.randn(3, 1, 32, 32)
    with torch.no_grad():
        together, alone = network(x), [network(one[None]) for one in x]
    for name, values in together._asdict().items():
        expected = torch.cat([getattr(one, name) for one in alone])
        assert torch.allclose(values, expected, atol=1e-5)


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
        outputs = network(x)
        loss = bce(outputs.mask, y) + 0.1 * image_bce(outputs.score, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert (outputs.score > 0).tolist() == [True, False]


@pytest.mark.parametrize("name", ALL)
def test_the_first_answer_is_the_share_of_positive_pixels(name):
    network = zoo.build(small(name)).eval()
    with torch.no_grad():
        outputs = network(torch.randn(1, 1, 64, 64))
    assert 0.005 < torch.sigmoid(outputs.mask).mean().item() < 0.04
    assert outputs.score.item() == pytest.approx(top_logit(outputs.mask).item(), abs=0.5)


@pytest.mark.parametrize("name", ALL)
def test_the_score_does_not_pull_at_the_mask(name):
    network = zoo.build(small(name))
    network(torch.randn(2, 1, 32, 32)).score.sum().backward()
    assert network.head.weight.grad is None


@pytest.mark.parametrize("name", ALL)
def test_width_and_depth_change_the_size(name):
    counts = [
        zoo.count_parameters(Network(name=name, width=width, depth=depth))
        for width, depth in ((4, 3), (8, 3), (8, 4))
    ]
    assert counts == sorted(set(counts))
    built = zoo.build(Network(name=name, width=8, depth=4))
    assert counts[-1] == sum(parameter.numel() for parameter in built.parameters())


def test_the_top_logit_is_the_mean_of_the_most_likely_four_hundredth():
    mask = torch.full((2, 1, 80, 80), -3.0)
    mask[0, 0, 4:8, 40:44] = 2.0  # one block of 4 x 4; 400 blocks, so one counts
    assert top_logit(mask).tolist() == pytest.approx([2.0, -3.0])


def test_cost_grows_with_the_area():
    at_64, at_128 = (zoo.count_gflop(small("cnn"), size) for size in (64, 128))
    assert at_128 == pytest.approx(4 * at_64, rel=0.01)


def test_zeros_become_the_networks_own_defaults():
    entry = zoo.NETWORKS["unet"]
    assert zoo.complete(Network()) == Network(name="unet", width=entry.width, depth=entry.depth)


def test_a_size_that_does_not_divide_is_refused_with_the_right_ones():
    with pytest.raises(ConfigError, match="divisible by 32, not 100; take 96 or 128"):
        zoo.check_size(Network(name="unet", depth=5), 100)


def test_a_unet_needs_two_halvings():
    with pytest.raises(ConfigError, match=r"network.depth is 1; unet needs 2 or more"):
        zoo.build(Network(name="unet", depth=1))
