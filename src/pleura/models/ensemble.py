"""Several networks as one, which answers with the mean of their probabilities.

Shapes: B batch, H rows, W columns.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, product

import torch
from torch import Tensor, nn
from torch.nn import functional

from pleura.models.blocks import Outputs

_LEAST = 1e-6  # probabilities are kept so far from 0 and 1, where a logit is infinite


class Ensemble(nn.Module):
    """The mean over members and, where wanted, over sizes and over the mirror image.

    It is a network like any other: its weights are those of its members, named ``members.0.`` and
    so on, and its outputs are logits, of mean probabilities.

    Args:
        members: Networks of the list.
        tta: Whether each sees the picture mirrored left to right too.
        sizes: The sides in pixels at which each member sees the picture, at most its own; empty:
            as it comes.
    """

    def __init__(
        self, members: Iterable[nn.Module], tta: bool, sizes: Sequence[Sequence[int]] = ()
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.tta = tta
        self.sizes = [list(own) for own in sizes]

    def forward(self, x_B1HW: Tensor) -> Outputs:
        """Return the logits for normalised radiographs ``(B, 1, H, W)``."""
        side = x_B1HW.shape[3]
        seen = self.sizes or [[side]] * len(self.members)
        pictures = {size: reduced(x_B1HW, size) for size in sorted({*chain(*seen)})}
        masks, scores = [], []
        for member, sizes in zip(self.members, seen, strict=True):
            for size, mirrored in product(sizes, (False, True) if self.tta else (False,)):
                x = pictures[size]
                outputs = member(x.flip(3) if mirrored else x)
                mask = torch.sigmoid(outputs.mask.float())
                if size != side:
                    mask = functional.interpolate(mask, size=(side, side), mode="bilinear")
                masks.append(mask.flip(3) if mirrored else mask)
                scores.append(torch.sigmoid(outputs.score.float()))
        return Outputs(_logit(torch.stack(masks).mean(0)), _logit(torch.stack(scores).mean(0)))


def reduced(x_BCHW: Tensor, size: int) -> Tensor:
    """Return square pictures as ``(B, C, size, size)``, `size` being smaller.

    Each pixel is the mean of the area that it covers. That is what preparation does to a
    radiograph, written as a product with a matrix from either side, which every engine knows.
    """
    side = x_BCHW.shape[3]
    if size == side:
        return x_BCHW
    # In units of a pixel's side / (side * size), in which all edges are whole numbers.
    rows = torch.arange(size, device=x_BCHW.device)[:, None] * side
    columns = torch.arange(side, device=x_BCHW.device) * size
    last, first = torch.minimum(rows + side, columns + size), torch.maximum(rows, columns)
    share = (last - first).clamp(min=0).to(x_BCHW.dtype) / side
    return share @ x_BCHW @ share.T


def _logit(probability: Tensor) -> Tensor:
    return torch.logit(probability, eps=_LEAST)
