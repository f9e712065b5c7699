"""The pieces that more than one network is made of.

Shapes: B batch, C channels, H rows, W columns.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

MAX_CHANNELS = 512

_POSITIVE_PIXELS = 1 / 70
_TOP_SHARE = 1 / 400
_POOLING = 4


class Outputs(NamedTuple):
    """What every network returns, all as logits: their sigmoid is the probability.

    Attributes:
        mask: ``(B, 1, H, W)``, for each pixel.
        score: ``(B,)``, for the image: whether there is a pneumothorax at all.
        coarser: The mask at falling resolutions, each ``(B, 1, h, w)``, for deep supervision: only
            in training, and only where the network was asked for it.
    """

    mask: Tensor
    score: Tensor
    coarser: tuple[Tensor, ...] = ()


def channels(width: int, depth: int) -> list[int]:
    """Return the channels of the levels 0 to `depth`: `width` doubling, at most MAX_CHANNELS."""
    return [min(width * 2**level, MAX_CHANNELS) for level in range(depth + 1)]


class Head(nn.Conv2d):
    """A 1 x 1 convolution to one channel of logits, begun at the share of positive pixels.

    About 1 pixel in 70 belongs to a pneumothorax. With the bias there from the start, the first
    steps are not spent on learning that most of every radiograph is empty.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels, 1, kernel_size=1)
        nn.init.constant_(_bias(self), _logit(_POSITIVE_PIXELS))


class CoarserHeads(nn.ModuleList):
    """Heads on the decoder's maps above the finest, for deep supervision; silent but in training.

    Args:
        sizes: Channels of the decoder's maps, finest first.
        count: How many of them are supervised, beginning with the one next to the finest.
    """

    def __init__(self, sizes: Sequence[int], count: int) -> None:
        super().__init__(Head(size) for size in sizes[1 : count + 1])

    def forward(self, decoded: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return logits ``(B, 1, h, w)``, finest first, from the decoder's maps, coarsest first."""
        if not self.training:
            return ()
        return tuple(head(x) for head, x in zip(self, decoded[-2::-1], strict=False))


class ScoreHead(nn.Module):
    """The image's logit, from the deepest features and from the mask's own logits.

    The mask says where, and how sure it is there: the mean logit of its most likely four-hundredth
    (six in seven annotated pneumothoraces of the SIIM-ACR set are larger). The features say what
    else there is to see, from their mean and their largest value. The two are added, so that the
    score begins as the mask's own and learns how far to trust it.

    No gradient of the score flows into the mask, so that it cannot pull the mask's logits to where
    they would make a good score.
    """

    def __init__(self, in_channels: int, hidden: int = 64) -> None:
        super().__init__()
        last = nn.Linear(hidden, 1)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)
        self.features = nn.Sequential(nn.Linear(2 * in_channels, hidden), nn.ReLU(), last)
        self.trust = nn.Parameter(torch.ones(1))

    def forward(self, features_BCHW: Tensor, mask_B1HW: Tensor) -> Tensor:
        """Return logits ``(B,)``."""
        pooled_BC = torch.cat([features_BCHW.mean((2, 3)), features_BCHW.amax((2, 3))], dim=1)
        top_B1 = top_logit(mask_B1HW.detach())[:, None]
        score_B1: Tensor = self.features(pooled_BC) + self.trust * top_B1
        return score_B1[:, 0]


def top_logit(mask_B1HW: Tensor) -> Tensor:
    """Return the mean of the largest four-hundredth of the logits, ``(B,)``, after pooling by 4."""
    flat_BN = functional.avg_pool2d(mask_B1HW, _POOLING).flatten(1)
    count = max(1, round(flat_BN.shape[1] * _TOP_SHARE))
    return flat_BN.topk(count, dim=1).values.mean(1)


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
        """Return the block's output, ``(B, out_channels, H, W)``."""
        return torch.relu(self.second(self.first(x_BCHW)) + self.shortcut(x_BCHW))


class UpResidual(Residual):
    """A residual block over what lies below, enlarged by repeating pixels, and the skip beside it.

    Args:
        below_channels: Channels of what lies below.
        skip_channels: Channels of the skip; those of the output too.
        doubles: Whether the skip is always twice as large, either way.
    """

    def __init__(self, below_channels: int, skip_channels: int, doubles: bool = True) -> None:
        super().__init__(below_channels + skip_channels, skip_channels)
        self.below_channels, self.doubles = below_channels, doubles

    def forward(self, below_BCHW: Tensor, skip_BCHW: Tensor) -> Tensor:  # type: ignore[override]
        """Return the block's output, in the shape of the skip."""
        size = skip_BCHW.shape[-2:]
        enlarged = functional.interpolate(below_BCHW, size=size, mode="nearest")
        return super().forward(torch.cat([enlarged, skip_BCHW], dim=1))


class Levels(nn.Module):
    """A U-Net from the full resolution down: one encoder a level, one decoder back up to each.

    A network of this shape makes its parts; how they are walked through is said here.
    """

    encoders: nn.ModuleList
    decoders: nn.ModuleList
    head: Head
    score: ScoreHead
    coarser: CoarserHeads

    def forward(self, x_B1HW: Tensor) -> Outputs:
        """Return the logits for normalised radiographs ``(B, 1, H, W)``."""
        x, levels, decoded = x_B1HW, [], []
        for encoder in self.encoders:
            x = encoder(x)
            levels.append(x)
        for skip, decoder in zip(levels[-2::-1], self.decoders, strict=True):
            x = decoder(x, skip)
            decoded.append(x)
        mask: Tensor = self.head(x)
        return Outputs(mask, self.score(levels[-1], mask), self.coarser(decoded))


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


def _bias(layer: nn.Conv2d) -> Tensor:
    if layer.bias is None:
        raise AssertionError("the head has a bias")
    return layer.bias
