"""What training minimises.

Every loss takes logits and truth in any float type and computes in float32, because the sum over an
image of bfloat16 numbers is wrong in the second digit. Values and gradients stay finite for logits
of 10,000 and far beyond. The loss of each image is averaged over the batch, so that equal shards of
a batch average to the loss of the whole; :func:`soft_dice`, which leaves images out, and all losses
where masks are unknown do so only where the shards hold equally many of the images that count.

Where a mask is not known, or not to be believed for certain, a loss takes `weight`: how far each
pixel of the truth is believed, 0..1, where 0 is not known. A pixel counts as far as it is believed,
and the mean is over the images that have a pixel to be believed, each by its most believed one: a
batch of which most masks are unknown trains the mask by the others as strongly as a batch of these.
The sum of these weights counts as 1 where it is less, so what is hardly believed stays small.

Shapes: B batch, H rows, W columns, N = H x W pixels; tensors are ``(B, 1, H, W)`` where nothing
else is said; a weight is ``(B, 1, H, W)`` or ``(B, 1, 1, 1)``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pleura.choices import LossName

POOLING = 5.0
"""How near :func:`box_bce` is to the largest logit of a box (0: their mean; without bound: it)."""


class Loss(Protocol):
    """What every loss over masks is."""

    def __call__(self, logits: Tensor, truth: Tensor, weight: Tensor | None = None, /) -> Tensor:
        """Return the loss, a scalar."""


def bce(logits: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean binary cross-entropy over all pixels: the brief's loss.

    An empty mask is ordinary: every pixel of every image counts.

    Args:
        logits: ``(B, 1, H, W)`` float; their sigmoid is the probability. Working on logits keeps it
            exact where a sigmoid would round to 0 or 1.
        truth: 0 or 1, or a share between them.
        weight: How far each pixel of it is believed; None: for certain.
    """
    z, t = logits.float(), truth.float()
    if weight is None:
        return functional.binary_cross_entropy_with_logits(z, t)
    lost = functional.binary_cross_entropy_with_logits(z, t, reduction="none")
    return _mean_of_pixels(lost, weight)


def soft_dice(
    logits: Tensor, truth: Tensor, weight: Tensor | None = None, smooth: float = 1.0
) -> Tensor:
    """Return 1 minus the soft Dice coefficient, averaged over the images that have a mask.

    Images with an empty mask take no part (their Dice says nothing about how wrong a probability
    is); where the whole batch is empty the loss is 0 and has no gradient. A mask of shares takes
    part as far as its largest one.

    This is MONAI's ``DiceLoss(sigmoid=True, smooth_nr=1, smooth_dr=1)`` where every image has a
    mask. MONAI averages over empty masks too, and there its loss is near 1 until the last
    probability is gone. And where the truth is a share, a product of both would be best served by
    probabilities of 0 and 1; the smaller of both, which is the product where the truth is 0 or 1,
    is best served by the share itself.

    Source of the latter: Wang et al., Dice semimetric losses (2023), equation 5.

    Args:
        logits: ``(B, 1, H, W)`` float.
        truth: 0 or 1, or a share between them.
        weight: How far each pixel of it is believed; None: for certain.
        smooth: As in :func:`pleura.metrics.dice_coeff`.
    """
    truth_BN = truth.float().flatten(1)
    probability_BN = torch.sigmoid(logits.float()).flatten(1)
    counts_B = truth_BN.amax(1)
    both_BN = torch.minimum(truth_BN, probability_BN)
    total_BN = truth_BN + probability_BN
    if weight is not None:
        believed_B = weight.flatten(1).amax(1)
        share_BN = weight.flatten(1) / believed_B.clamp(min=1e-6)[:, None]
        both_BN, total_BN = both_BN * share_BN, total_BN * share_BN
        counts_B = counts_B * believed_B
    loss_B = 1 - (2 * both_BN.sum(1) + smooth) / (total_BN.sum(1) + smooth)
    return (loss_B * counts_B).sum() / counts_B.sum().clamp(min=1)


def focal(
    logits: Tensor,
    truth: Tensor,
    weight: Tensor | None = None,
    gamma: float = 2.0,
    alpha: float | None = None,
) -> Tensor:
    """Return the mean focal loss over all pixels: cross-entropy times (1 - p_t) ** gamma.

    p_t is the probability given to the right answer, so what is right already counts little and
    the sea of easy background pixels does not drown the rest. An empty mask is ordinary: every
    pixel of every image counts. Equals MONAI's ``FocalLoss`` with the same gamma and alpha.

    Source: Lin et al., Focal Loss for Dense Object Detection (2017), equations 4 and 5.

    Args:
        logits: ``(B, 1, H, W)`` float.
        truth: 0 or 1. A share t between them weighs the losses of 1 and 0 by t and 1 - t.
        weight: How far each pixel of it is believed; None: for certain.
        gamma: At least 0; 0 is cross-entropy.
        alpha: Weight of the foreground in 0..1, 1 - alpha being that of the background. None
            weighs both by 1, as the winners of the challenge do.
    """
    z, t = logits.float(), truth.float()
    foreground, background = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    # log p and log(1 - p), each exact where the other probability rounds to 1.
    log_p, log_q = functional.logsigmoid(z), functional.logsigmoid(-z)
    present = foreground * torch.exp(gamma * log_q) * log_p
    absent = background * torch.exp(gamma * log_p) * log_q
    lost = -(t * present + (1 - t) * absent)
    return lost.mean() if weight is None else _mean_of_pixels(lost, weight)


def symmetric_lovasz(logits: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the Lovasz hinge on the logits and on the negated task, halved and averaged over B.

    The Lovasz hinge of one image is a convex surface over 1 - IoU: its pixels' hinge errors,
    weighted by how much IoU falls as the worst pixel, the two worst, the three worst ... are got
    wrong. The negated task (logits and truth turned round) does the same for the IoU of the
    background.

    An empty mask: IoU of the foreground is lost with the first wrong pixel, so that half is the
    hinge error of the worst pixel alone; the IoU of the background falls by 1 / N with each wrong
    pixel, so the other half is the mean hinge error. The gradient is finite and is 0 once every
    logit is at most -1. (A full mask is the same, turned round.)

    Source: Berman et al., The Lovasz-Softmax loss (2018), equations 8 and 9, per image. The weights
    are the differences of equation 9 in closed form; subtracting neighbouring values of IoU as is
    usual loses most digits of a weight near 1 / N.

    Args:
        logits: ``(B, 1, H, W)`` float.
        truth: 0 or 1; a share of at least 1/2 counts as 1.
        weight: How far each pixel of it is believed; None: for certain. Pixels that are not known
            are in neither region; of the others those of an image count as its most believed one.
    """
    right = truth.flatten(1) >= 0.5
    signs = right.float() * 2 - 1
    # Negating logits and truth leaves the hinge error as it is: one sort serves both halves.
    hinge = functional.relu(1 - logits.float().flatten(1) * signs)
    if weight is None:
        return (hinge * _lovasz_weights(hinge.detach(), right)).sum(1).mean()
    weight_BN = weight.flatten(1).expand_as(right)
    known = weight_BN > 0
    hinge = hinge * known
    lost_B = (hinge * _lovasz_weights(hinge.detach(), right & known, known.sum(1))).sum(1)
    believed_B = weight_BN.amax(1)
    return (lost_B * believed_B).sum() / believed_B.sum().clamp(min=1)


def has_mask(truth: Tensor) -> Tensor:
    """Return ``(B,)`` float32: 1 for each image of which the mask is not empty, else 0."""
    return (truth.flatten(1).amax(1) > 0).float()


def image_bce(score: Tensor, positive: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean binary cross-entropy of the image scores.

    Args:
        score: ``(B,)`` float, logits.
        positive: ``(B,)`` float: 1 for an image with a pneumothorax, 0 for one without, or how
            likely it shows one.
        weight: ``(B,)``: how far that is believed, 0..1; the mean is over what is believed. None:
            for certain.
    """
    z, t = score.float(), positive.float()
    if weight is None:
        return functional.binary_cross_entropy_with_logits(z, t)
    lost = functional.binary_cross_entropy_with_logits(z, t, weight, reduction="sum")
    return lost / weight.sum().clamp(min=1)


def box_bce(logits: Tensor, numbers: Tensor, boxes: int, weight: Tensor | None = None) -> Tensor:
    """Return the cross-entropy of "some pixel of this box shows a pneumothorax", over the boxes.

    What is asked of a box is a soft maximum of its logits: ``log(mean(exp(r z))) / r`` with r of
    :data:`POOLING`. One pixel in a thousand that is surely positive is enough, and nothing is said
    of the others.

    Source: Pinheiro and Collobert, From image-level to pixel-level labeling with convolutional
    networks (2015), equation 6.

    Args:
        logits: ``(B, 1, H, W)`` float.
        numbers: The number of the box that each pixel lies in, from 1; 0 for none. A box that
            augmentation moved out of the picture has no pixel, and is passed over.
        boxes: The highest number.
        weight: ``(B,)``: how far the boxes of an image are believed; None: for certain.

    Returns:
        The mean over the boxes in sight, each as it is believed (their sum counts as 1 where it is
        less); 0 where there is none.
    """
    z_BN, numbers_BN = POOLING * logits.float().flatten(1), numbers.flatten(1)
    lost = z_BN.new_zeros(())
    believed = z_BN.new_zeros(())
    for number in range(1, boxes + 1):
        inside_BN = numbers_BN == number
        count_B = inside_BN.sum(1)
        seen_B = (count_B > 0).float() if weight is None else (count_B > 0) * weight
        # Where no pixel is inside, any finite number will do: it counts nothing.
        within_BN = torch.where(inside_BN | (count_B == 0)[:, None], z_BN, -torch.inf)
        pooled_B = (within_BN.logsumexp(1) - count_B.clamp(min=1).log()) / POOLING
        lost = lost + (functional.softplus(-pooled_B) * seen_B).sum()
        believed = believed + seen_B.sum()
    return lost / believed.clamp(min=1)


def deep_supervision(
    loss: Loss, logits: Sequence[Tensor], truth: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Return the weighted mean of `loss` over outputs of falling resolution.

    The weights are 1, 1/2, 1/4 ... divided by their sum, so that the result is as large as `loss`
    of one output. As in nnU-Net (Isensee et al. 2021), with two differences: the truth of a coarse
    output is the share of foreground in each of its pixels and not the nearest pixel, so that a
    band thinner than that pixel does not vanish; and no output is left out: the caller chooses
    those that it hands over.

    Empty masks are as `loss` has them: a mask is empty at every resolution or at none, but for
    :func:`symmetric_lovasz`, which rounds the share.

    Args:
        loss: One of this module, or a preset of :data:`LOSSES`.
        logits: Finest first, each ``(B, 1, h, w)`` with h at most H and w at most W.
        truth: ``(B, 1, H, W)``, 0 or 1, or a share between them.
        weight: How far each pixel of it is believed; None: for certain. A coarse pixel is believed
            as the mean of those that it covers.

    Raises:
        ValueError: `logits` is empty.
    """
    if not logits:
        raise ValueError("deep supervision: 0 outputs were given; hand over at least the finest")
    weights = [0.5**level for level in range(len(logits))]
    losses = [
        loss(output, _reduced(truth, output), _reduced_weight(weight, output)) for output in logits
    ]
    total = torch.stack([weight * value for weight, value in zip(weights, losses, strict=True)])
    return total.sum() / sum(weights)


@dataclass(frozen=True, slots=True)
class Combination:
    """A weighted sum of losses, itself a loss; empty masks are as each part has them.

    Attributes:
        parts: Pairs of weight and loss. The weights are taken as they are, not normalised.
    """

    parts: tuple[tuple[float, Loss], ...]

    def __call__(self, logits: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the weighted sum, a scalar."""
        return torch.stack(
            [share * loss(logits, truth, weight) for share, loss in self.parts]
        ).sum()


bce_dice = Combination(((1.0, bce), (0.5, soft_dice)))
"""Cross-entropy plus half of the soft Dice loss on positives."""

winner = Combination(((3 / 8, bce), (1 / 8, soft_dice), (4 / 8, focal)))
"""The challenge winner's 3 BCE + 1 Dice + 4 focal, divided by 8: only the proportions matter to
AdamW, and so ``image_loss`` and a limit on gradients mean about the same under every preset. The
winner's Dice counts empty masks too; this one is on positives."""

bce_lovasz = Combination(((0.5, bce), (0.5, symmetric_lovasz)))
"""The mean of cross-entropy, which keeps probabilities meaningful, and the symmetric Lovasz hinge,
which alone leaves them at the hinge."""

LOSSES: dict[LossName, Loss] = {
    "bce": bce,
    "bce_dice": bce_dice,
    "winner": winner,
    "lovasz": symmetric_lovasz,
    "bce_lovasz": bce_lovasz,
}


def _mean_of_pixels(lost: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of ``(B, 1, H, W)`` losses over pixels, then over images as believed."""
    believed_B = weight.flatten(1).amax(1)
    return (lost * weight).flatten(1).mean(1).sum() / believed_B.sum().clamp(min=1)


@torch.no_grad()
def _lovasz_weights(hinge: Tensor, right: Tensor, known: Tensor | None = None) -> Tensor:
    """Return what each pixel's hinge error weighs, foreground and background averaged.

    Args:
        hinge: ``(B, N)`` float32, not negative; 0 where the truth is not known.
        right: ``(B, N)`` bool, the truth; False where it is not known.
        known: ``(B,)``: how many pixels are known; None: all.

    Returns:
        ``(B, N)`` float32 that sums to 1 in each image.
    """
    order = _descending(hinge)
    foreground = right.gather(1, order)
    rank = torch.arange(1, hinge.shape[1] + 1, dtype=torch.int32, device=hinge.device)
    i = foreground.cumsum(1, dtype=torch.int32)  # foreground among the worst `rank` pixels
    j = rank - i  # background among them
    positives = i[:, -1:]
    negatives = (len(rank) if known is None else known[:, None]) - positives
    on, off = _iou_steps(positives, i, j), _iou_steps(negatives, j, i)
    sorted_weights = torch.where(foreground, on[0] + off[1], on[1] + off[0]) / 2
    return torch.empty_like(hinge).scatter_(1, order, sorted_weights)


def _iou_steps(size: Tensor, missed: Tensor, false: Tensor) -> tuple[Tensor, Tensor]:
    """Return by how much IoU falls with a pixel that is missed, and with one falsely found.

    With `missed` pixels of a region of `size` lost and `false` ones added, IoU is
    (size - missed) / (size + false); the counts include the pixel in question.

    Args:
        size: ``(B, 1)`` int32.
        missed: ``(B, N)`` int32.
        false: ``(B, N)`` int32.
    """
    union = (size + false).float()
    kept = (size - missed).float()
    falsely = kept / (union * (union - 1).clamp(min=1))
    # Of an empty region IoU is 1 until the first false pixel, and 0 from then on.
    first = (size == 0) & (false == 1)
    return 1 / union.clamp(min=1), torch.where(first, 1.0, falsely)


def _descending(values: Tensor) -> Tensor:
    """Return the order of each row of ``(B, N)`` float32, largest first, int64.

    On the CPU it is NumPy's, which has vector instructions for it and takes a fifth of the time.
    """
    if values.device.type == "cpu":
        return torch.from_numpy(np.argsort(-values.numpy(), axis=1))
    return values.argsort(1, descending=True)


def _reduced(truth: Tensor, like: Tensor) -> Tensor:
    """Return the share of foreground in each pixel of `like`; `truth` itself at equal size."""
    if truth.shape[2:] == like.shape[2:]:
        return truth
    return functional.adaptive_avg_pool2d(truth.float(), (like.shape[2], like.shape[3]))


def _reduced_weight(weight: Tensor | None, like: Tensor) -> Tensor | None:
    """Return how far each pixel of `like` is believed; what is the same everywhere stays so."""
    return weight if weight is None or weight.shape[2] == 1 else _reduced(weight, like)
