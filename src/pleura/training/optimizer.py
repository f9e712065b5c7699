"""The optimizer: which parameters train, at what rate, and with how much weight decay."""

from collections.abc import Mapping

import torch
from torch import nn


def make_optimizer(
    network: nn.Module, weight_decay: float, scales: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """Return AdamW over the network's parameters; biases and norms are not decayed.

    Args:
        network: On its device, in its memory format.
        weight_decay: Of all other parameters.
        scales: Parameter name -> its learning rate as a share of the others'; 1 where absent.

    Returns:
        Groups that carry their share as ``scale``, for :func:`set_rate`.

    Source: Loshchilov and Hutter 2019 (AdamW).
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        key = (scales or {}).get(name, 1.0), parameter.ndim > 1
        groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": own, "scale": scale, "weight_decay": weight_decay if decayed else 0.0}
            for (scale, decayed), own in groups.items()
        ],
        fused=True,
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float, frozen: bool = False) -> None:
    """Give each group its rate; with `frozen`, groups of a smaller scale than 1 stand still.

    AdamW's decay is multiplied by the rate, so a rate of 0 leaves parameters exactly as they are.
    """
    for group in optimizer.param_groups:
        scale = group["scale"]
        group["lr"] = 0.0 if frozen and scale < 1 else rate * scale
