"""Several networks as one, which answers with the mean of their probabilities.

Shapes: B batch, H rows, W columns.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pleura.models.blocks import Outputs

_LEAST = 1e-6  # probabilities are kept so far from 0 and 1, where a logit is infinite


class Ensemble(nn.Module):
    """The mean over members and, where wanted, over the picture and its mirror image.

    It is a network like any other: its weights are those of its members, named ``members.0.`` and
    so on, and its outputs are logits, of mean probabilities.

    Args:
        members: Networks of the list.
        flip: Whether each sees the picture mirrored left to right too.
    """

    def __init__(self, members: Iterable[nn.Module], flip: bool) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.flip = flip

    def forward(self, x_B1HW: Tensor) -> Outputs:
        """Return the logits for normalised radiographs (B, 1, H, W)."""
        masks, scores = [], []
        for member in self.members:
            for mirrored in (False, True) if self.flip else (False,):
                outputs = member(x_B1HW.flip(3) if mirrored else x_B1HW)
                mask = torch.sigmoid(outputs.mask.float())
                masks.append(mask.flip(3) if mirrored else mask)
                scores.append(torch.sigmoid(outputs.score.float()))
        return Outputs(_logit(torch.stack(masks).mean(0)), _logit(torch.stack(scores).mean(0)))


def _logit(probability: Tensor) -> Tensor:
    return torch.logit(probability, eps=_LEAST)
