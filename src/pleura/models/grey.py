"""One-channel radiographs in encoders that were trained on three-channel photographs.

A grey picture in such an encoder would be three equal channels, each normalised with its own mean
and deviation. The first convolution is linear, so its three channels fold into one, and what the
means contribute into a second channel that is 1 everywhere. That second channel is padded with
zeros as the picture is; a bias could not tell the border from the middle, and the answer would
differ there.

Shapes: B batch, H rows, W columns, O output channels, K kernel.
"""

from typing import NamedTuple

import torch
from torch import Tensor

CHANNELS = 2
"""Channels of what :func:`with_ones` returns: the radiograph and its ones."""

INPUT_MEAN, INPUT_STD = 0.5, 0.25
"""What the network's input was normalised with: ``(pixels / 255 - 0.5) / 0.25``."""


class Colours(NamedTuple):
    """Mean and standard deviation of each colour (0..1) that an encoder was trained with."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Colours((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Red, green, blue over ImageNet: what nearly every photograph encoder expects."""


def with_ones(x_B1HW: Tensor) -> Tensor:
    """Return the radiographs with a channel of ones behind, ``(B, 2, H, W)``."""
    return torch.cat([x_B1HW, torch.ones_like(x_B1HW)], dim=1)


def fold(weight_O3KK: Tensor, colours: Colours) -> Tensor:
    """Return a stem's weight over three colours as one for :func:`with_ones`, ``(O, 2, K, K)``.

    On a normalised radiograph it gives what `weight_O3KK` gives on the same grey picture as RGB,
    normalised with `colours`, wherever the convolution pads with zeros or not at all.
    """
    mean = weight_O3KK.new_tensor(colours.mean)[:, None, None]
    std = weight_O3KK.new_tensor(colours.std)[:, None, None]
    picture = (weight_O3KK * (INPUT_STD / std)).sum(1)
    ones = (weight_O3KK * ((INPUT_MEAN - mean) / std)).sum(1)
    return torch.stack([picture, ones], dim=1)
