"""Several networks as one, which answers with the mean of their probabilities.

Shapes: B batch, H rows, W columns.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional

from pleura.models.blocks import Outputs

_ABOVE = 0.04  # of the picture, above the upper squares: little lung lies there
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
        closer: The side in pixels of a square in each upper corner that every member sees too, not
            reduced, and that counts for the score; 0: none. Most lesions are small and lie there.
    """

    def __init__(
        self,
        members: Iterable[nn.Module],
        tta: bool,
        sizes: Sequence[Sequence[int]] = (),
        closer: int = 0,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.tta = tta
        self.sizes = [list(own) for own in sizes]
        self.closer = closer

    def forward(self, x_B1HW: Tensor) -> Outputs:
        """Return the logits for normalised radiographs ``(B, 1, H, W)``."""
        side = x_B1HW.shape[3]
        seen = self.sizes or [[side]] * len(self.members)
        pictures = {size: reduced(x_B1HW, size) for size in sorted({*chain(*seen)})}
        masks, scores = [], []
        for member, sizes in zip(self.members, seen, strict=True):
            for size in sizes:
                mask, score = self._ask(member, pictures[size])
                if size != side:
                    mask = functional.interpolate(mask, size=(side, side), mode="bilinear")
                masks.append(mask)
                scores.append(score)
        mask, score = torch.stack(masks).mean(0), torch.stack(scores).mean(0)
        if self.closer:
            score = self._look_closer(x_B1HW, score)
        return Outputs(_logit(mask), _logit(score))

    def _ask(self, member: nn.Module, x_B1HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return a member's probabilities, by the mirror image too where that is wanted.

        Both are one batch: a compiled network holds a copy of the member for each call of it.
        """
        if not self.tta:
            outputs = member(x_B1HW)
            return torch.sigmoid(outputs.mask.float()), torch.sigmoid(outputs.score.float())
        outputs = member(torch.cat([x_B1HW, x_B1HW.flip(3)]))
        mask, mirrored = _halves(torch.sigmoid(outputs.mask.float()))
        score, score_mirrored = _halves(torch.sigmoid(outputs.score.float()))
        return (mask + mirrored.flip(3)) / 2, (score + score_mirrored) / 2

    def _look_closer(self, x_B1HW: Tensor, score_B: Tensor) -> Tensor:
        """Return the score with that of the upper corners.

        Its logit is the mean of the whole picture's and of the likelier square's.
        """
        side = x_B1HW.shape[3]
        top = min(round(_ABOVE * side), side - self.closer)
        squares = torch.cat(
            [
                x_B1HW[:, :, top : top + self.closer, left : left + self.closer]
                for left in (0, side - self.closer)
            ]
        )
        scores = torch.stack([self._ask(member, squares)[1] for member in self.members]).mean(0)
        likelier_B = _logit(torch.maximum(*_halves(scores)))
        return torch.sigmoid((_logit(score_B) + likelier_B) / 2)


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


def _halves(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Return both halves of a batch, whose size exporters do not know."""
    both = batch.reshape(2, -1, *batch.shape[1:])
    return both[0], both[1]


def _logit(probability: Tensor) -> Tensor:
    return torch.logit(probability, eps=_LEAST)
