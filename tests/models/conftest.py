"""Every network of the list, small enough for laws that run over all of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pleura.config import Network
from pleura.models import zoo

BACKBONES = ("resnet", "convnextv2", "swin", "dinov2")
PLAIN = [name for name in zoo.NETWORKS if name != "backbone"]

Small = Callable[..., Network]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `case` on every network, and on a backbone of each family."""
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", [*PLAIN, *(f"backbone-{kind}" for kind in BACKBONES)])


@pytest.fixture(scope="session")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per family of backbones: config.json and a model.safetensors of random weights."""
    from transformers import AutoBackbone, ConvNextV2Config, Dinov2Config, ResNetConfig, SwinConfig

    sizes = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
    configs = {
        "resnet": ResNetConfig(embedding_size=8, layer_type="basic", **sizes),
        "convnextv2": ConvNextV2Config(**sizes),
        "swin": SwinConfig(
            image_size=64, embed_dim=8, depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4], window_size=4
        ),
        "dinov2": Dinov2Config(
            image_size=64, patch_size=16, hidden_size=16, num_hidden_layers=6, num_attention_heads=2
        ),
    }
    root = tmp_path_factory.mktemp("backbones")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        for kind, config in configs.items():
            AutoBackbone.from_config(config).save_pretrained(root / kind)
    return root


@pytest.fixture(scope="session")
def small(backbones: Path) -> Small:
    """A function from a case to small, complete settings."""

    def settings(case: str, width: int = 4, depth: int = 3, pretrained: bool = False) -> Network:
        name, _, kind = case.partition("-")
        step = zoo.NETWORKS[name].width_step
        return zoo.complete(
            Network(
                name=name,
                width=-(-width // step) * step,
                depth=0 if kind else depth,
                backbone=str(backbones / kind) if kind else "",
                pretrained=pretrained,
            )
        )

    return settings
