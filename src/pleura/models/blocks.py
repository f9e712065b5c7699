"""The pieces that more than one network is made of.

Shapes: B batch, C channels, H rows, W columns.
"""

import math

import torch
from torch import Tensor, nn

MAX_CHANNELS = 512


def channels(width: int, depth: int) -> list[int]:
    """Return the channels of the levels 0 to `depth`: `width` doubling, at most MAX_CHANNELS."""
    return [min(width * 2**level, MAX_CHANNELS) for level in range(depth + 1)]


class Head(nn.Conv2d):
    """A 1 x 1 convolution to one channel of logits, begun at the share of positive pixels.

    About 1 pixel in 70 belongs to a pneumothorax. With the bias there from the start, the first
    steps are not spent on learning that most of every film is empty.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels, 1, kernel_size=1)
        nn.init.constant_(_bias(self), math.log(1 / 69))


class ConvNormReLU(nn.Sequential):
    """3 x 3 "same" convolution, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """Two 3 x 3 convolutions with a shortcut around them."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = ConvNormReLU(in_channels, out_channels)
        self.second = nn.Sequential(
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, 1, bias=False)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the block's output, the size of its input."""
        return torch.relu(self.second(self.first(x_BCHW)) + self.shortcut(x_BCHW))


def _bias(layer: nn.Conv2d) -> Tensor:
    if layer.bias is None:
        raise AssertionError("the head has a bias")
    return layer.bias
