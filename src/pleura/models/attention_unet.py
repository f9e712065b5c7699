"""A U-Net whose skip connections are gated by what lies below, from MONAI's blocks.

Source: Oktay et al. 2018. MONAI's own AttentionUnet nests its levels in one another, so that its
bottleneck cannot be had; its blocks are put together here level by level.

Shapes: B batch, C channels, H rows, W columns.
"""

from itertools import pairwise

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets.attentionunet import AttentionBlock, ConvBlock, UpConv
from torch import Tensor, nn

from pleura.models.blocks import CoarserHeads, Head, Levels, ScoreHead, channels


class AttentionUNet(Levels):
    """`width` channels at full resolution, doubled at each of `depth` halvings, at most 512."""

    def __init__(self, width: int, depth: int, deep_supervision: int = 0) -> None:
        super().__init__()
        sizes = channels(width, depth)
        self.encoders = nn.ModuleList(
            ConvBlock(2, before, after, strides=1 if number == 0 else 2)
            for number, (before, after) in enumerate(pairwise([1, *sizes]))
        )
        self.decoders = nn.ModuleList(
            _Level(large, small) for large, small in pairwise(reversed(sizes))
        )
        self.head = Head(sizes[0])
        self.score = ScoreHead(sizes[-1])
        self.coarser = CoarserHeads(sizes, deep_supervision)


class _Level(nn.Module):
    """Upsampling, the gate on the skip connection, and a convolution over both."""

    def __init__(self, large: int, small: int) -> None:
        super().__init__()
        self.up = UpConv(2, large, small)
        self.gate = AttentionBlock(2, f_int=max(1, small // 2), f_g=small, f_l=small)
        self.merge = Convolution(2, 2 * small, small, act="relu", norm="batch", bias=False)

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        x = self.up(below)
        merged: Tensor = self.merge(torch.cat([self.gate(x, skip), x], dim=1))
        return merged
