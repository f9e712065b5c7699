"""The stronger default: a residual U-Net that works from half the input's resolution.

Source: Ronneberger et al. 2015 (the U shape), He et al. 2016 (residual blocks). The first
convolution halves the picture and the last step brings it back with linear interpolation: the full
resolution costs most of a U-Net's time and adds little to regions that are blobs and bands.

Shapes: B batch, C channels, H rows, W columns.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from pleura.models.blocks import (
    CoarserHeads,
    ConvNormReLU,
    Head,
    Outputs,
    Residual,
    ScoreHead,
    UpResidual,
    channels,
)


class UNet(nn.Module):
    """A U-Net of residual blocks; `depth` counts all halvings, the first convolution's included."""

    def __init__(self, width: int, depth: int, deep_supervision: int = 0) -> None:
        super().__init__()
        sizes = channels(width, depth - 1)
        self.stem = ConvNormReLU(1, sizes[0], stride=2)
        self.encoders = nn.ModuleList(
            Residual(before, after) for before, after in pairwise([sizes[0], *sizes])
        )
        self.decoders = nn.ModuleList(
            UpResidual(large, small) for large, small in pairwise(reversed(sizes))
        )
        self.head = Head(sizes[0])
        self.score = ScoreHead(sizes[-1])
        self.coarser = CoarserHeads(sizes, deep_supervision)

    def forward(self, x_B1HW: Tensor) -> Outputs:
        """Return the logits for normalised radiographs ``(B, 1, H, W)``."""
        x = self.stem(x_B1HW)
        levels: list[Tensor] = []
        decoded: list[Tensor] = []
        for number, encoder in enumerate(self.encoders):
            x = encoder(functional.max_pool2d(x, 2) if number else x)
            levels.append(x)
        for skip, decoder in zip(levels[-2::-1], self.decoders, strict=True):
            x = decoder(x, skip)
            decoded.append(x)
        mask = functional.interpolate(self.head(x), scale_factor=2.0, mode="bilinear")
        return Outputs(mask, self.score(levels[-1], mask), self.coarser(decoded))
