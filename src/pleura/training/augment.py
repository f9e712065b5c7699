"""Random changes of a batch that move image and mask alike.

All random numbers of an epoch are drawn at once, one row per image of the data set, from a
generator seeded by (seed, epoch). What happens to an image therefore does not depend on the batch
or the process it falls into, and a resumed run repeats an unbroken one.

Shapes: B batch, H rows, W columns.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

_COLUMNS = 7  # flip, angle, zoom, shift in x and y, gamma, contrast


def draw(images: int, seed: int, epoch: int) -> Tensor:
    """Return ``(images, 7)`` float32, uniform in -1..1: one row of choices per image."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.rand(images, _COLUMNS, generator=generator) * 2 - 1


def augment(x: Tensor, y: Tensor, choices: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Return a batch and its masks, changed by `choices`.

    Half of the images are mirrored; each is turned by up to 10 degrees, zoomed by up to 15 %,
    shifted by up to 6 % and changed in gamma and contrast by up to 30 %, all times `strength`.

    Args:
        x: ``(B, 1, H, W)`` float32 in 0..1.
        y: ``(B, 1, H, W)`` float32, 0 or 1.
        choices: ``(B, 7)`` from :func:`draw`.
        strength: 0 returns the batch as it is.

    Returns:
        Tensors like `x` and `y`; the mask is still 0 or 1, pixels from outside are 0.
    """
    if strength == 0:
        return x, y
    grid = _grid(_affine(choices, strength).to(x.device), x.shape[2], x.shape[3])
    moved_x = functional.grid_sample(x, grid, mode="bilinear", align_corners=False)
    moved_y = functional.grid_sample(y, grid, mode="nearest", align_corners=False)
    return _exposure(moved_x, choices.to(x.device), strength), moved_y


def _affine(choices: Tensor, strength: float) -> Tensor:
    """Return ``(B, 2, 3)`` matrices from output to input coordinates."""
    flip = torch.where(choices[:, 0] < 0, -1.0, 1.0)
    angle = choices[:, 1] * math.radians(10) * strength
    zoom = 1 + choices[:, 2] * 0.15 * strength
    shift = choices[:, 3:5] * 0.12 * strength  # grid coordinates span 2
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = [
        torch.stack([cos * flip, -sin, shift[:, 0]], 1),
        torch.stack([sin * flip, cos, shift[:, 1]], 1),
    ]
    return torch.stack(rows, 1)


def _grid(affine: Tensor, rows: int, columns: int) -> Tensor:
    """Return ``(B, rows, columns, 2)`` sampling positions, torch's affine_grid made faster.

    Args:
        affine: ``(B, 2, 3)``.
        rows: Height of the picture.
        columns: Width of the picture.
    """
    x = (torch.arange(columns, device=affine.device) * 2 + 1) / columns - 1
    y = (torch.arange(rows, device=affine.device) * 2 + 1) / rows - 1
    grid = affine.new_empty(len(affine), rows, columns, 2)
    for axis in (0, 1):
        a, b, shift = (affine[:, axis, place, None, None] for place in range(3))
        torch.add(a * x[None, None, :], b * y[None, :, None] + shift, out=grid[..., axis])
    return grid


def _exposure(x: Tensor, choices: Tensor, strength: float) -> Tensor:
    gamma = torch.exp(choices[:, 5] * 0.3 * strength)[:, None, None, None]
    contrast = torch.exp(choices[:, 6] * 0.3 * strength)[:, None, None, None]
    bright = x.clamp(1e-4, 1).pow_(gamma)
    mean = bright.mean(dim=(2, 3), keepdim=True)
    return bright.sub_(mean).mul_(contrast).add_(mean).clamp_(0, 1)
