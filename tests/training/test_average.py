import numpy as np
import pytest
import torch
from torch import nn

from pleura.training.average import MovingAverage, mean_of


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def test_an_average_moves_by_what_the_decay_leaves_and_copies_counters():
    net = network()
    average = MovingAverage(net, decay=0.5)
    average.updates = 1000
    before = net[0].weight.detach().clone()
    with torch.no_grad():
        net[0].weight.add_(1)
        net[1].num_batches_tracked.fill_(7)
    average.update(net)
    assert torch.allclose(average.values["0.weight"], before + 0.5)
    assert average.values["1.num_batches_tracked"] == 7


def test_the_first_updates_count_more():
    net = network()
    average = MovingAverage(net, decay=0.999)
    before = net[0].weight.detach().clone()
    with torch.no_grad():
        net[0].weight.add_(1)
    average.update(net)  # decay (1 + 0) / (10 + 0)
    assert torch.allclose(average.values["0.weight"], before + 0.9)


def test_swapping_twice_changes_nothing():
    net = network()
    average = MovingAverage(net, decay=0.9)
    with torch.no_grad():
        net[0].weight.add_(1)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    average.swap(net)
    assert not torch.equal(net[0].weight, state["0.weight"])
    average.swap(net)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_a_mean_of_weights_keeps_types_and_counters():
    one = {"a": np.array([1, 3], np.float32), "n": np.array(4)}
    other = {"a": np.array([2, 5], np.float32), "n": np.array(9)}
    mean = mean_of([one, other])
    assert mean["a"].tolist() == pytest.approx([1.5, 4])
    assert mean["a"].dtype == np.float32
    assert mean["n"] == 4
    assert mean_of([one])["a"].tolist() == [1, 3]
