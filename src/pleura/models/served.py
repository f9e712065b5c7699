"""A trained network in a form that does less work for the same answer.

A 3 x 3 convolution over a picture that was doubled by repeating each pixel multiplies most pixels
by several weights and adds up. Adding the weights first gives the same sums: a transposed
convolution of 4 x 4 with stride 2, which needs 4 of 9 multiplications and no doubled picture. What
comes over the skip connection is convolved by itself and added, so nothing is put side by side
either; a 1 x 1 convolution is taken before doubling, not after.

Equal but for rounding, and in evaluation mode only: batch normalisation is folded into the weights.

Shapes: B batch, C channels, H rows, W columns.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pleura.models.blocks import UpResidual


def as_served(network: nn.Module) -> nn.Module:
    """Return `network`, changed in place, with every block of the kind replaced that can be.

    Args:
        network: In evaluation mode; it cannot be trained or stored any more.
    """
    for name, part in list(network.named_children()):
        if isinstance(part, UpResidual) and part.doubles:
            setattr(network, name, ServedUpResidual(part))
        else:
            as_served(part)
    return network


class ServedUpResidual(nn.Module):
    """What an :class:`UpResidual` computes in evaluation mode, without enlarging its input."""

    def __init__(self, block: UpResidual) -> None:
        super().__init__()
        below = block.below_channels
        weight, bias = _folded(block.first)
        self.below = _transposed(weight[:, :below])
        self.skip = _convolution(weight[:, below:], bias)
        self.second = block.second
        beside = _weight(block.shortcut)
        self.shortcut_below = _convolution(beside[:, :below])
        self.shortcut_skip = _convolution(beside[:, below:])

    def forward(self, below_BCHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        """Return the block's output, in the shape of the skip: twice as large as what is below."""
        x = torch.relu(self.below(below_BCHW) + self.skip(skip_BCHW))
        near = functional.interpolate(
            self.shortcut_below(below_BCHW), scale_factor=2.0, mode="nearest"
        )
        return torch.relu(self.second(x) + near + self.shortcut_skip(skip_BCHW))


def _folded(block: nn.Sequential) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution with its batch normalisation folded in."""
    convolution, norm = block[0], block[1]
    if (
        not isinstance(norm, nn.BatchNorm2d)
        or norm.running_mean is None
        or norm.running_var is None
    ):
        raise AssertionError("batch normalisation with running statistics follows a convolution")
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = _weight(convolution) * scale[:, None, None, None]
    return weight.detach(), (norm.bias - norm.running_mean * scale).detach()


def _weight(convolution: nn.Module) -> Tensor:
    if not isinstance(convolution, nn.Conv2d):
        raise AssertionError(f"a convolution was expected, not {type(convolution).__name__}")
    return convolution.weight


def _transposed(weight: Tensor) -> nn.ConvTranspose2d:
    """Return what a 3 x 3 convolution is over a doubled picture, as one over the picture itself.

    With weights a, b, c along a row p p q q of doubled pixels, the output at the second p is
    (a + b) p + c q, and that at the first q is a p + (b + c) q: two inputs each, never three.
    """
    wide = _along(_along(weight, 2), 3).transpose(0, 1).contiguous()
    layer = nn.ConvTranspose2d(wide.shape[0], wide.shape[1], 4, stride=2, padding=1, bias=False)
    layer.weight = nn.Parameter(wide, requires_grad=False)
    return layer


def _along(weight: Tensor, dim: int) -> Tensor:
    a, b, c = weight.unbind(dim)
    return torch.stack([c, b + c, a + b, a], dim)


def _convolution(weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    side = weight.shape[2]
    layer = nn.Conv2d(
        weight.shape[1], weight.shape[0], side, padding=side // 2, bias=bias is not None
    )
    layer.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer
