"""What training minimises.

Shapes: B batch, H rows, W columns; tensors are (B, 1, H, W) where nothing else is said.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pleura.config import LossName

Loss = Callable[[Tensor, Tensor], Tensor]


def bce(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean binary cross-entropy over all pixels: the brief's loss.

    Args:
        logits: Float; their sigmoid is the probability. Working on logits keeps it exact where a
            sigmoid would round to 0 or 1.
        truth: Float, 0 or 1. Empty masks are ordinary: every pixel counts.
    """
    return functional.binary_cross_entropy_with_logits(logits, truth)


def soft_dice(logits: Tensor, truth: Tensor, smooth: float = 1.0) -> Tensor:
    """Return 1 minus the soft Dice coefficient, averaged over the images that have a mask.

    Images with an empty mask take no part (their Dice says nothing about how wrong a probability
    is); where the whole batch is empty the loss is 0 and has no gradient.

    Args:
        logits: Float.
        truth: Float, 0 or 1.
        smooth: As in :func:`pleura.metrics.dice_coeff`.
    """
    truth_B = truth.flatten(1)
    probability_B = torch.sigmoid(logits).flatten(1)
    both = (truth_B * probability_B).sum(1)
    total = truth_B.sum(1) + probability_B.sum(1)
    positive = (truth_B.sum(1) > 0).to(logits.dtype)
    loss = (1 - (2 * both + smooth) / (total + smooth)) * positive
    return loss.sum() / positive.sum().clamp(min=1)


def image_bce(score: Tensor, truth: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of the image scores.

    Args:
        score: ``(B,)`` float, logits.
        truth: ``(B, 1, H, W)`` float, 0 or 1: an image is positive where its mask is not empty.
    """
    positive = truth.flatten(1).amax(1)
    return functional.binary_cross_entropy_with_logits(score, positive.to(score.dtype))


def bce_dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Return cross-entropy plus half of the soft Dice loss on positives."""
    return bce(logits, truth) + 0.5 * soft_dice(logits, truth)


LOSSES: dict[LossName, Loss] = {"bce": bce, "bce_dice": bce_dice}
