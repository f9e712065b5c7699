import copy

import pytest
import torch
from torch import nn

from pleura.models import zoo
from pleura.models.blocks import UpResidual
from pleura.models.served import ServedUpResidual, as_served


def settled(network):
    """Return the network in evaluation mode, its running statistics and norms not the first."""
    torch.manual_seed(1)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.3)
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8)])
def test_a_block_is_the_same_function_borders_included(shape):
    block = settled(UpResidual(6, 4))
    below = torch.randn(2, 6, *shape)
    skip = torch.randn(2, 4, 2 * shape[0], 2 * shape[1])
    with torch.no_grad():
        expected, found = block(below, skip), ServedUpResidual(block)(below, skip)
    assert torch.allclose(found, expected, atol=1e-5)


def test_every_network_answers_as_before(case, small):
    torch.manual_seed(0)
    network = settled(zoo.build(small(case)))
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected, found = network(x), as_served(copy.deepcopy(network))(x)
    assert torch.allclose(found.mask, expected.mask, atol=1e-4)
    assert torch.allclose(found.score, expected.score, atol=1e-4)


@pytest.mark.parametrize("name", ["unet", "efficientnet"])
def test_every_block_that_can_be_is_replaced(name, small):
    network = as_served(zoo.build(small(name)).eval())
    parts = [type(part) for part in network.modules()]
    assert ServedUpResidual in parts
    assert UpResidual not in parts


def test_only_doublings_are_replaced():
    network = as_served(nn.Sequential(UpResidual(4, 4, doubles=False)))
    assert isinstance(network[0], UpResidual)
