"""A U-Net whose encoder was made, and perhaps trained, elsewhere.

Source: Ronneberger et al. 2015 (the U shape), Lin et al. 2017 (every map of the encoder is first
brought to the decoder's channels by a 1 x 1 convolution, so that wide encoders stay cheap).

Shapes: B batch, C channels, H rows, W columns.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pleura.models.blocks import MAX_CHANNELS, ConvNormReLU, Head, Outputs, ScoreHead, UpResidual
from pleura.models.grey import with_ones


class Map(NamedTuple):
    """One map of features: its channels, and how many pixels of the picture one of its spans."""

    channels: int
    stride: int


class Encoder(nn.Module, ABC):
    """What an encoder must be: pictures with ones, ``(B, 2, H, W)``, in; one map per `maps` out.

    Attributes:
        maps: What it returns, finest first.
    """

    maps: tuple[Map, ...]

    @abstractmethod
    def forward(self, x_B2HW: Tensor) -> list[Tensor]:
        """Return the maps of features, each ``(B, C, h, w)``, finest first."""

    @abstractmethod
    def by_depth(self) -> list[list[nn.Parameter]]:
        """Return the encoder's parameters, each once, by depth: the stem's first."""

    @abstractmethod
    def load_pretrained(self, source: str) -> None:
        """Replace the weights by trained ones.

        Args:
            source: Where they are; an encoder that knows its only source ignores it.

        Raises:
            ConfigError: They cannot be had, or do not fit.
        """


class EncoderUNet(nn.Module):
    """An encoder, a decoder and the two heads.

    Args:
        encoder: Where the features come from.
        width: Channels of the decoder at half the picture's resolution; each level down doubles
            them, up to 512.
    """

    def __init__(self, encoder: Encoder, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = Decoder(encoder.maps, width)
        self.head = Head(self.decoder.out_channels)
        self.score = ScoreHead(encoder.maps[-1].channels)

    def forward(self, x_B1HW: Tensor) -> Outputs:
        """Return the logits for normalised radiographs ``(B, 1, H, W)``."""
        features = self.encoder(with_ones(x_B1HW))
        rough = self.head(self.decoder(features))
        mask = functional.interpolate(rough, size=x_B1HW.shape[-2:], mode="bilinear")
        return Outputs(mask, self.score(features[-1], mask))


class Decoder(nn.Module):
    """From the deepest map to half the picture's resolution or nearly so.

    Maps of one stride are merged. Where the encoder has no finer map, as above the only stride of
    a plain vision transformer, the decoder doubles the resolution by itself.
    """

    def __init__(self, maps: Sequence[Map], width: int) -> None:
        super().__init__()
        self._groups = [len(list(group)) for _, group in groupby(maps, lambda m: m.stride)]
        strides: list[float] = sorted({m.stride for m in maps})
        inputs = [sum(m.channels for m in maps if m.stride == stride) for stride in strides]
        sizes = [_width_at(stride, width) for stride in strides]
        self.laterals = nn.ModuleList(map(_projection, inputs, sizes))
        self.blocks = nn.ModuleList(
            UpResidual(large, small, doubles=coarse == 2 * fine)
            for (large, coarse), (small, fine) in pairwise(
                zip(reversed(sizes), reversed(strides), strict=True)
            )
        )
        own, stride = [sizes[0]], strides[0]
        while stride >= 4:
            stride /= 2
            own.append(_width_at(stride, width))
        self.tail = nn.ModuleList(ConvNormReLU(before, after) for before, after in pairwise(own))
        self.out_channels = own[-1]

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return features ``(B, out_channels, h, w)``, about half as high as the picture."""
        levels: list[Tensor] = []
        start = 0
        for count, lateral in zip(self._groups, self.laterals, strict=True):
            levels.append(lateral(torch.cat(features[start : start + count], dim=1)))
            start += count
        x = levels[-1]
        for skip, block in zip(levels[-2::-1], self.blocks, strict=True):
            x = block(x, skip)
        for block in self.tail:
            x = block(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x


def _projection(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _width_at(stride: float, width: int) -> int:
    level = max(0, round(math.log2(stride)) - 1)
    return min(width << level, MAX_CHANNELS)
