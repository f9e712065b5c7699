"""Random changes of a batch that move image and mask alike.

All random numbers of an epoch are drawn at once, one row per image, from a generator seeded by
(seed, epoch). What happens to an image therefore does not depend on the batch or the process it
falls into, and a resumed run repeats an unbroken one. The rows stay on the CPU and decide there
what is done; of the pictures no value is ever looked at, so a GPU is never waited for.

In order: one resampling (mirroring, turning, zooming, shifting and an elastic deformation in the
same grid), gamma, contrast, noise, cutout.

Shapes: B batch, H rows, W columns, K control points along a side. Grid coordinates are torch's: a
picture spans -1 to 1.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

_SPANS = 3  # of the control grid along a side: deformations as wide as a lung, as Ronneberger's
_CONTROL = _SPANS + 3  # both ends, and a point beyond either, as a cubic spline needs
_RECTANGLES = 3
_SHIFTS = 256  # places along a side where an image's window into the noise field may begin

# Columns of the table of choices.
_FLIP, _ANGLE, _ZOOM = 0, 1, 2
_SHIFT = slice(3, 5)  # in x and y
_GAMMA, _CONTRAST = 5, 6
_NOISE = slice(7, 11)  # whether, how strong, first row and column in the field
_ELASTIC = 11  # whether
_CUTOUT = slice(12, 12 + 5 * _RECTANGLES)  # each: whether, center y and x, height, width
_DISPLACEMENT = slice(_CUTOUT.stop, _CUTOUT.stop + 2 * _CONTROL**2)  # of points, x then y


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How strong each change may be, at strength 1.

    A change is drawn uniformly from minus to plus its limit unless another range is said; 0 is
    none. Probabilities are those of an image, and strength does not scale them.

    The defaults of the last three are modest on purpose. Elastic: a pneumothorax is often a band a
    few pixels wide along the chest wall, which must stay one; at 3 % the standard deviation of a
    displacement is 0.8 % of the side, two fifths of that of Ronneberger et al. (2015). Noise: at
    512 px the challenge's radiographs have a noise of their own of 0.0036 (median of 71; 90 % lie
    in 0.002 to 0.005), so 0.01 is up to three times as much. Cutout: three small rectangles, each
    present in one image of ten and each at most 4 % of the radiograph (1 % on average), so that
    seldom a whole lesion is hidden.

    Attributes:
        mirror: Probability of mirroring left and right.
        rotation_degrees: Turning.
        zoom: Relative change of scale.
        shift: Share of the side.
        gamma: Change of the logarithm of the exponent.
        contrast: Change of the logarithm of contrast about the image's mean.
        elastic: Displacement of a control point, as a share of the side, in x and in y (Simard et
            al. 2003; a cubic spline over control points a third of the side apart). As long as it
            times strength is below 0.16, a deformation by itself folds nowhere (Choi & Lee 2000:
            0.48 of the distance of control points).
        elastic_probability: Of a deformation.
        noise: Standard deviation of the noise, drawn from 0 to this; pixels are 0..1.
        noise_probability: Of noise.
        cutout: Sides of a rectangle, each drawn from 0 to this share of the image's.
        cutout_probability: Of each of the three rectangles.
    """

    mirror: float = 0.5
    rotation_degrees: float = 10.0
    zoom: float = 0.15
    shift: float = 0.06
    gamma: float = 0.3
    contrast: float = 0.3
    elastic: float = 0.03
    elastic_probability: float = 0.5
    noise: float = 0.01
    noise_probability: float = 0.5
    cutout: float = 0.2
    cutout_probability: float = 0.1


DEFAULT = Augmentation()


def draw(images: int, seed: int, epoch: int) -> Tensor:
    """Return ``(images, columns)`` float32 in -1..1, uniform: one row of choices per image.

    Which image a row is for is the caller's to say, by the row of the data set or, where an epoch
    takes an image more than once, by its place in the epoch's order. A row depends on seed, epoch
    and its own number alone, not on `images`.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.rand(images, _DISPLACEMENT.stop, generator=generator) * 2 - 1


def augment(
    x: Tensor, y: Tensor, choices: Tensor, strength: float, limits: Augmentation = DEFAULT
) -> tuple[Tensor, Tensor]:
    """Return a batch and its masks, changed by `choices`.

    Args:
        x: ``(B, 1, H, W)`` float32 in 0..1.
        y: ``(B, any, H, W)`` float32, masks and what else moves with them, on the device of `x`.
        choices: ``(B, columns)``: rows of :func:`draw`, on the CPU.
        strength: Multiplies every limit; 0 returns the batch as it is.
        limits: How far each change may go.

    Returns:
        Tensors like `x` and `y`; masks have no other values than before, and pixels from outside
        are 0.
    """
    if strength == 0:
        return x, y
    affine = _sent(_affine(choices, strength, limits), x.device)
    points = _sent(_points(choices, strength, limits), x.device)
    grid = _grid(affine, points, x.shape[2], x.shape[3])
    moved_x = functional.grid_sample(x, grid, mode="bilinear", align_corners=False)
    moved_y = functional.grid_sample(y, grid, mode="nearest", align_corners=False)
    mean = _expose(moved_x, choices, strength, limits)
    _add_noise(moved_x, choices, strength, limits)
    moved_x.clamp_(0, 1)
    _cut_out(moved_x, mean, choices, strength, limits)
    return moved_x, moved_y


def _happens(choice: Tensor, probability: float) -> Tensor:
    """Return bool: a choice, uniform in -1..1, as an event of that probability."""
    return (choice + 1) / 2 < probability


def _points(choices: Tensor, strength: float, limits: Augmentation) -> Tensor:
    """Return ``(B, 2, K, K)``: displacements of the control points in x and y."""
    happens = _happens(choices[:, _ELASTIC], limits.elastic_probability)
    points = choices[:, _DISPLACEMENT] * happens[:, None] * (2 * limits.elastic * strength)
    return points.reshape(-1, 2, _CONTROL, _CONTROL)


def _affine(choices: Tensor, strength: float, limits: Augmentation) -> Tensor:
    """Return ``(B, 2, 3)`` matrices from output to input coordinates."""
    side = torch.where(_happens(choices[:, _FLIP], limits.mirror), -1.0, 1.0)
    angle = choices[:, _ANGLE] * math.radians(limits.rotation_degrees) * strength
    zoom = 1 + choices[:, _ZOOM] * limits.zoom * strength
    shift = choices[:, _SHIFT] * 2 * limits.shift * strength
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = [
        torch.stack([cos * side, -sin, shift[:, 0]], 1),
        torch.stack([sin * side, cos, shift[:, 1]], 1),
    ]
    return torch.stack(rows, 1)


def _grid(affine: Tensor, points: Tensor, height: int, width: int) -> Tensor:
    """Return ``(B, H, W, 2)`` sampling positions: affine map plus the spline of displacements.

    A spline of two variables is splines of the rows times control points times splines of the
    columns: two products of small matrices, faster than enlarging a field of displacements. The
    affine part is added and not multiplied in, because users may let a GPU multiply matrices in
    TF32, and 11 bits are a tenth of a pixel. The two coordinates lie in planes of their own, as
    grid_sample reads them fastest.

    Args:
        affine: ``(B, 2, 3)``.
        points: ``(B, 2, K, K)``, on the same device.
        height: H.
        width: W.
    """
    y, splines_y = _along(height, affine.device)
    x, splines_x = _along(width, affine.device)
    grid = (splines_y @ points @ splines_x.T).float()  # (B, 2, H, W)
    grid.addcmul_(affine[:, :, 0, None, None], x)
    grid.add_((affine[:, :, 1, None] * y + affine[:, :, 2, None])[..., None])
    return grid.permute(0, 2, 3, 1)


@lru_cache(maxsize=8)
def _along(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the coordinate, ``(size,)``, and the cubic B-splines, ``(size, K)``, of each pixel.

    Source: Rueckert et al., Nonrigid registration using free-form deformations (1999), equation 1.
    """
    coordinate = (torch.arange(size) * 2 + 1) / size - 1
    place = (coordinate + 1) / 2 * _SPANS + 1  # in control points; number 1 is on the border
    distance = (place[:, None] - torch.arange(_CONTROL)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp(min=0) ** 3 / 6
    splines = torch.where(distance < 1, near, far)
    return _sent(coordinate, device), _sent(splines, device)


def _sent(values: Tensor, device: torch.device) -> Tensor:
    """Return `values` from the CPU on `device`, without waiting for what the device is doing."""
    return values.to(device, non_blocking=True)


def _expose(x: Tensor, choices: Tensor, strength: float, limits: Augmentation) -> Tensor:
    """Change gamma and contrast of `x` in place; return each image's mean, ``(B, 1, 1, 1)``."""
    factors = torch.stack(
        [choices[:, _GAMMA] * limits.gamma, choices[:, _CONTRAST] * limits.contrast]
    )
    factors = _sent(torch.exp(factors * strength), x.device)
    gamma, contrast = factors[:, :, None, None, None]
    # x ** gamma; torch's pow takes three times as long.
    x.clamp_(1e-4, 1).log_().mul_(gamma).exp_()
    mean = x.mean(dim=(2, 3), keepdim=True)
    x.mul_(contrast).add_(mean * (1 - contrast))
    return mean


def _add_noise(x: Tensor, choices: Tensor, strength: float, limits: Augmentation) -> None:
    """Add to each image of `x`, in place, its own window into one field of white noise.

    Drawing normal numbers for each image from its own seed would take longer than all the rest and
    differ between devices; a hash of every pixel's number is a dozen passes over the batch. Reading
    at a random place of a fixed field is one pass. Windows of two images overlap, but no image is
    compared with another, and of the 65,536 places and either sign one image meets a few hundred.
    """
    happens = _happens(choices[:, _NOISE.start], limits.noise_probability)
    _, strong, row, column = choices[:, _NOISE].unbind(1)
    deviation = strong * limits.noise * strength * happens  # with a sign, which noise may have
    starts = ((torch.stack([row, column], 1) + 1) / 2 * _SHIFTS).long().clamp_(max=_SHIFTS - 1)
    height, width = x.shape[2:]
    for number, (alpha, (top, left)) in enumerate(
        zip(deviation.tolist(), starts.tolist(), strict=True)
    ):
        if alpha:
            field = _field(height + _SHIFTS, width + _SHIFTS, x.device)
            window = field[top : top + height, left : left + width]
            x[number, 0].add_(window, alpha=alpha)


@lru_cache(maxsize=2)
def _field(rows: int, columns: int, device: torch.device) -> Tensor:
    """Return ``(rows, columns)`` float32 white noise of deviation 1, the same on every machine."""
    noise = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    return _sent(noise, device)


def _cut_out(
    x: Tensor, mean: Tensor, choices: Tensor, strength: float, limits: Augmentation
) -> None:
    """Set rectangles of `x`, in place, to the image's mean.

    The mask keeps its pixels there. A rectangle hides a part of the radiograph as a lead, a label
    or an arm does; the collapsed lung under it is still one, and its extent is to be told from what
    is seen around. Erasing the mask too would teach that a lesion ends where something lies on it.

    Source: DeVries & Taylor, Improved regularization of convolutional networks with cutout (2017).
    """
    size = x.shape[2:]
    rectangles = choices[:, _CUTOUT].reshape(-1, _RECTANGLES, 5)
    happens = _happens(rectangles[:, :, 0], limits.cutout_probability)
    scale = torch.tensor(size)
    center = (rectangles[:, :, 1:3] + 1) / 2 * scale
    half = (rectangles[:, :, 3:5] + 1) / 4 * (limits.cutout * strength) * scale
    first = (center - half).round().long().clamp_(min=0)
    last = (center + half).round().long().clamp_(min=0)
    for number, rectangle in happens.nonzero().tolist():
        top, left = first[number, rectangle].tolist()
        bottom, right = last[number, rectangle].tolist()
        x[number, 0, top:bottom, left:right] = mean[number, 0]
