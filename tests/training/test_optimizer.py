import pytest
import torch
from torch import nn

from pleura.training import optimizer as module
from pleura.training.optimizer import encoder_scales, make_optimizer, set_rate


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2))


def steps(net, optimizer, **options):
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    set_rate(optimizer, 0.1, **options)
    net(torch.randn(2, 1, 8, 8)).square().sum().backward()
    optimizer.step()
    return {
        name: (value - before[name]).abs().max().item() for name, value in net.named_parameters()
    }


def test_biases_and_norms_are_not_decayed():
    optimizer = make_optimizer(network(), 0.3)
    decays = {p.ndim > 1: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decays == {True: 0.3, False: 0.0}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 6


def test_an_encoder_learns_at_its_share_and_stands_still_when_frozen():
    net = network()
    optimizer = make_optimizer(net, 0.0, {"0.weight": 0.1, "0.bias": 1.0})
    moved = steps(net, optimizer)
    assert moved["0.weight"] == pytest.approx(0.01, rel=0.05)
    assert moved["0.bias"] == pytest.approx(0.1, rel=0.05)
    assert moved["1.weight"] == pytest.approx(0.1, rel=0.05)
    frozen = steps(net, optimizer, frozen=True)
    assert frozen["0.weight"] == frozen["0.bias"] == 0
    assert frozen["1.weight"] > 0


def test_stages_nearer_to_the_picture_learn_more_slowly(monkeypatch):
    net = network()
    stages = [list(net[0].parameters()), list(net[1].parameters())]
    monkeypatch.setattr(module, "encoder_parameters", lambda _: stages)
    assert encoder_scales(net, 0.5, 0.1) == {
        "0.weight": pytest.approx(0.05),
        "0.bias": pytest.approx(0.05),
        "1.weight": 0.5,
        "1.bias": 0.5,
    }
