"""What changes over a training: the learning rate, the size of the images, and when to stop."""

import math
from collections.abc import Sequence

from pleura.choices import Schedule
from pleura.config import Network, Train
from pleura.errors import ConfigError
from pleura.models import zoo

PLATEAU_EPOCHS = 5
"""Epochs without a better validation after which ``plateau`` halves the rate."""

_START, _END = 1 / 25, 1 / 10_000


def learning_rate(settings: Train, step: int, steps: int, values: Sequence[float]) -> float:
    """Return the rate of `step` of `steps`, after epochs with these validation figures."""
    falling = plateau_factor(values) if settings.schedule == "plateau" else 1.0
    factor = rate_factor(settings.schedule, step, steps, settings.warmup)
    return settings.learning_rate * factor * falling


def rate_factor(schedule: Schedule, step: int, steps: int, warmup: float) -> float:
    """Return the share of the peak learning rate that `step` of `steps` trains with.

    ``cosine`` rises in a straight line over the warm-up, then falls along a cosine to zero.
    ``onecycle`` rises from 1/25 of the peak along a cosine, then falls along one to 1/10,000.
    ``plateau`` rises likewise and stays; see :func:`plateau_factor`.

    Args:
        schedule: Its name.
        step: From 0.
        steps: Of the whole training.
        warmup: Share of the steps over which the rate rises.

    Source: Loshchilov and Hutter 2017 (cosine); Smith and Topin 2018 (one cycle).
    """
    rise = max(1, int(steps * warmup))
    if schedule == "onecycle":
        if step < rise:
            return _between(_START, 1.0, step / rise)
        return _between(1.0, _END, (step - rise) / max(1, steps - 1 - rise))
    if step < rise:
        return (step + 1) / rise
    if schedule == "plateau":
        return 1.0
    return _between(1.0, 0.0, (step - rise) / max(1, steps - rise))


def plateau_factor(values: Sequence[float]) -> float:
    """Return by what the rate is multiplied after epochs with these validation figures.

    It is halved each time `PLATEAU_EPOCHS` epochs have not beaten the best one before them. The
    figures alone decide, so a resumed training repeats an unbroken one.
    """
    factor, best, waited = 1.0, -math.inf, 0
    for value in values:
        if value > best:
            best, waited = value, 0
        else:
            waited += 1
        if waited == PLATEAU_EPOCHS:
            factor, waited = factor / 2, 0
    return factor


def is_over(values: Sequence[float], patience: int) -> bool:
    """Return whether the last `patience` epochs have not beaten those before; never where it is 0.

    Args:
        values: Validation figures by epoch, higher being better.
        patience: Epochs to wait.
    """
    if not patience or len(values) <= patience:
        return False
    return max(values[-patience:]) <= max(values[:-patience])


def size_of(settings: Train, size: int, epoch: int) -> int:
    """Return the side length in pixels that `epoch`, from 0, trains at.

    The epochs are divided evenly among the sizes of ``train.progressive_sizes``, small to large,
    and the prepared `size`, which gets the last ones and what is left over.
    """
    share = settings.epochs // (len(settings.progressive_sizes) + 1)
    place = epoch // share if share else len(settings.progressive_sizes)
    return (
        sorted(settings.progressive_sizes)[place]
        if place < len(settings.progressive_sizes)
        else size
    )


def check_growth(network: Network, settings: Train, size: int) -> None:
    """Check the sizes of ``train.progressive_sizes``.

    Raises:
        ConfigError: The network cannot take one of them, or it is not below the prepared size.
    """
    for small in settings.progressive_sizes:
        zoo.check_size(network, small)
        if small >= size:
            raise ConfigError(
                f"train.progressive_sizes has {small}, but the images are prepared at {size}; name "
                "smaller sizes"
            )


def _between(first: float, last: float, share: float) -> float:
    """Return the value at `share` of the way along a half cosine."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
