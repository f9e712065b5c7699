"""A network's name and settings -> the network."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from pleura.config import Network, NetworkName
from pleura.errors import ConfigError
from pleura.models.cnn import CNN
from pleura.models.unet import UNet


@dataclass(frozen=True, slots=True)
class Entry:
    """One network of the list.

    Attributes:
        build: (width, depth) -> the network.
        width: Its default width.
        depth: Its default depth.
        about: One line for people.
    """

    build: Callable[[int, int], nn.Module]
    width: int
    depth: int
    about: str


NETWORKS: dict[NetworkName, Entry] = {
    "cnn": Entry(CNN, 16, 4, "the brief's: plain convolution, pooling and upsampling"),
    "unet": Entry(UNet, 24, 5, "residual U-Net from half resolution; the default"),
}


def complete(network: Network) -> Network:
    """Return `network` with the defaults in place of zeros.

    Raises:
        ConfigError: The width or depth does not suit the network.
    """
    entry = NETWORKS[network.name]
    width, depth = network.width or entry.width, network.depth or entry.depth
    if network.name == "unet" and depth < 2:
        raise ConfigError(f"network.depth is {depth}; unet needs 2 or more")
    return replace(network, width=width, depth=depth)


def build(network: Network) -> nn.Module:
    """Return the network, freshly initialised from torch's current seed.

    It takes normalised radiographs ``(batch, 1, size, size)`` float32 and returns
    :class:`pleura.models.blocks.Outputs`.

    Raises:
        ConfigError: As for :func:`complete`.
    """
    whole = complete(network)
    return NETWORKS[whole.name].build(whole.width, whole.depth)


def check_size(network: Network, size: int) -> None:
    """Raise ConfigError with the right sizes where `network` cannot take images of `size`."""
    step = 2 ** complete(network).depth
    if size % step:
        below = max(size // step * step, step)
        raise ConfigError(
            f"{network.name} of depth {complete(network).depth} needs a size divisible by {step}, "
            f"not {size}; take {below} or {below + step}"
        )


def count_parameters(network: Network) -> int:
    """Return how many trainable numbers the network has, without allocating them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(network).parameters())


def count_gflop(network: Network, size: int) -> float:
    """Return the cost of one image of `size` in GFLOP (a multiply-add counts two).

    Raises:
        ConfigError: The network cannot take that size.
    """
    from torch.utils.flop_counter import FlopCounterMode

    check_size(network, size)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        build(network).eval()(torch.zeros(1, 1, size, size))
    return float(counter.get_total_flops()) / 1e9
