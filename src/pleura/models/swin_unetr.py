"""Swin UNETR in two dimensions: a shifted-window transformer with a convolutional decoder.

Source: Hatamizadeh et al. 2022, from MONAI's blocks. MONAI's own class is fixed at five halvings
and cannot be built without allocating its weights, so the stages are put together here.

Shapes: B batch, C channels, H rows, W columns.
"""

from itertools import pairwise

from monai.networks.blocks import PatchEmbed, UnetrBasicBlock, UnetrUpBlock
from monai.networks.nets.swin_unetr import BasicLayer, PatchMerging
from torch import Tensor, nn
from torch.nn import functional

from pleura.models.blocks import Head, Outputs, ScoreHead

_WINDOW, _HEADS, _BLOCKS = 7, 3, 2


class SwinUNETR(nn.Module):
    """`width` channels per patch of 2 x 2 pixels, doubled at each of the other halvings."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        sizes = [width * 2**level for level in range(depth)]
        self.patches = PatchEmbed(patch_size=2, in_chans=1, embed_dim=width, spatial_dims=2)
        self.stages = nn.ModuleList(
            BasicLayer(
                dim=size,
                depth=_BLOCKS,
                num_heads=_HEADS * 2**level,
                window_size=(_WINDOW, _WINDOW),
                drop_path=[0.0] * _BLOCKS,
                qkv_bias=True,
                downsample=PatchMerging,
            )
            for level, size in enumerate(sizes[:-1])
        )
        # As in the paper: the picture and each map are convolved before they cross, but for the
        # last map above the bottom.
        inner = [nn.Identity() if size == sizes[-2] else _block(size, size) for size in sizes[:-1]]
        self.skips = nn.ModuleList([_block(1, width), *inner])
        self.bottom = _block(sizes[-1], sizes[-1])
        self.decoders = nn.ModuleList(
            UnetrUpBlock(2, large, small, 3, 2, "instance", res_block=True)
            for large, small in pairwise([*reversed(sizes), width])
        )
        self.head = Head(width)
        self.score = ScoreHead(sizes[-1])

    def forward(self, x_B1HW: Tensor) -> Outputs:
        """Return the logits for normalised radiographs ``(B, 1, H, W)``."""
        x = self.patches(x_B1HW)
        levels = [_normalised(x)]
        for stage in self.stages:
            x = stage(x.contiguous())
            levels.append(_normalised(x))
        bottom = x = self.bottom(levels.pop())
        crossing = [skip(level) for skip, level in zip(self.skips, [x_B1HW, *levels], strict=True)]
        for skip, decoder in zip(reversed(crossing), self.decoders, strict=True):
            x = decoder(x, skip)
        mask: Tensor = self.head(x)
        return Outputs(mask, self.score(bottom, mask))


def _block(in_channels: int, out_channels: int) -> nn.Module:
    block: nn.Module = UnetrBasicBlock(2, in_channels, out_channels, 3, 1, "instance", True)
    return block


def _normalised(x_BCHW: Tensor) -> Tensor:
    """Return each pixel's channels with mean 0 and variance 1."""
    x_BHWC = x_BCHW.permute(0, 2, 3, 1)
    return functional.layer_norm(x_BHWC, x_BHWC.shape[-1:]).permute(0, 3, 1, 2)
