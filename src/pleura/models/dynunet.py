"""The U-Net of nnU-Net, from MONAI's blocks.

Source: Isensee et al. 2021 (nnU-Net). Strided convolutions, instance normalisation and leaky ReLU,
transposed convolutions on the way up. The blocks are put together here, because MONAI's own
DynUNet registers each of them twice and would be stored twice.

Shapes: B batch, C channels, H rows, W columns.
"""

from itertools import pairwise

from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetUpBlock
from torch import nn

from pleura.models.blocks import CoarserHeads, Head, Levels, ScoreHead, channels

_NORM = ("instance", {"affine": True})


class DynUNet(Levels):
    """`width` channels at full resolution, doubled at each of `depth` halvings, at most 512."""

    def __init__(self, width: int, depth: int, deep_supervision: int = 0) -> None:
        super().__init__()
        sizes = channels(width, depth)
        self.encoders = nn.ModuleList(
            UnetBasicBlock(2, before, after, 3, 1 if number == 0 else 2, _NORM)
            for number, (before, after) in enumerate(pairwise([1, *sizes]))
        )
        self.decoders = nn.ModuleList(
            UnetUpBlock(2, large, small, 3, 1, 2, _NORM)
            for large, small in pairwise(reversed(sizes))
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, a=0.01)
        self.head = Head(sizes[0])
        self.score = ScoreHead(sizes[-1])
        self.coarser = CoarserHeads(sizes, deep_supervision)
