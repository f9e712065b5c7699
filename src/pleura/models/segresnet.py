"""MONAI's SegResNet: a deep residual encoder and a light decoder.

Source: Myronenko 2018, without its autoencoder branch.

Shapes: B batch, C channels, H rows, W columns.
"""

import math

from monai.networks.nets.segresnet import SegResNet as Body
from torch import Tensor, nn

from pleura.models.blocks import Head, Outputs, ScoreHead


class SegResNet(nn.Module):
    """`width` channels at full resolution, doubled at each of `depth` halvings without a bound.

    One residual block at full resolution, two below, four at the bottom, one per level upward.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.body = Body(
            spatial_dims=2,
            init_filters=width,
            in_channels=1,
            out_channels=1,
            norm=("group", {"num_groups": math.gcd(width, 8)}),
            blocks_down=(1, *(2,) * (depth - 1), 4),
            blocks_up=(1,) * depth,
        )
        norm, activation, _ = self.body.conv_final
        self.body.conv_final = nn.Sequential(norm, activation, Head(width))
        self.score = ScoreHead(width * 2**depth)

    def forward(self, x_B1HW: Tensor) -> Outputs:
        """Return the logits for normalised radiographs ``(B, 1, H, W)``."""
        features, levels = self.body.encode(x_B1HW)
        mask = self.body.decode(features, levels[::-1])
        return Outputs(mask, self.score(features, mask))
