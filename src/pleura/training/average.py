"""Averages of weights: along a training, and over its best epochs."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pleura.models.weights import Arrays


class MovingAverage:
    """An exponential moving average of a network's parameters and buffers.

    The decay grows from 1/10 to its full value, as (1 + n) / (10 + n) after n updates, so that the
    first steps do not linger. Buffers that are no floats (counters) are copied.

    Args:
        network: The network that trains.
        decay: 0 to 1: how much of the average an update keeps.

    Source: Polyak and Juditsky 1992; the growing decay as in Tan and Le 2019's training code.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self.updates = 0
        self.values = {name: value.detach().clone() for name, value in _state(network).items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the network as it is now."""
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        state = _state(network)
        floats = [name for name, value in self.values.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.values[name] for name in floats], [state[name] for name in floats], 1 - decay
        )
        for name in self.values.keys() - set(floats):
            self.values[name].copy_(state[name])

    @torch.no_grad()
    def swap(self, network: nn.Module) -> None:
        """Exchange the network's values with the average's; a second call changes them back."""
        for name, value in _state(network).items():
            kept = value.clone()
            value.copy_(self.values[name])
            self.values[name].copy_(kept)


def mean_of(several: Sequence[Arrays]) -> Arrays:
    """Return the mean of arrays of the same names and shapes; of counters the first one's.

    Source: Izmailov et al. 2018 (averages of weights generalise better).
    """
    mean: Arrays = {}
    for name, first in several[0].items():
        stack = np.stack([own[name] for own in several])
        floats = np.issubdtype(first.dtype, np.floating)
        mean[name] = stack.astype(np.float64).mean(0).astype(first.dtype) if floats else first
    return mean


def _state(network: nn.Module) -> dict[str, Tensor]:
    return dict(network.state_dict(keep_vars=False))
