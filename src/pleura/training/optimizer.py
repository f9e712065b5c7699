"""The optimizer: which parameters train, at what rate, and with how much weight decay."""

from collections.abc import Mapping

import torch
from torch import nn

from pleura.models.zoo import encoder_parameters


def make_optimizer(
    network: nn.Module, weight_decay: float, scales: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """Return AdamW over the network's parameters; biases and norms are not decayed.

    Args:
        network: On its device, in its memory format.
        weight_decay: Of all other parameters.
        scales: Parameter name -> its learning rate as a share of the others'; 1 where absent.

    Returns:
        Groups that carry their share as ``scale``, and whether it was given as ``encoder``, for
        :func:`set_rate`.

    Source: Loshchilov and Hutter 2019 (AdamW).
    """
    scales = scales or {}
    groups: dict[tuple[float, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        key = scales.get(name, 1.0), name in scales, parameter.ndim > 1
        groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": own,
                "scale": scale,
                "encoder": encoder,
                "weight_decay": weight_decay if decayed else 0.0,
            }
            for (scale, encoder, decayed), own in groups.items()
        ],
        fused=True,
    )


def encoder_scales(network: nn.Module, rate: float, decay: float) -> dict[str, float]:
    """Return the learning rate of each encoder parameter, as a share of the others'.

    The deepest stage of an encoder that can be pretrained has `rate`, and each stage nearer to the
    picture `decay` times that of the next: what was learnt from photographs is most general there.

    Args:
        network: Of the list, not yet wrapped for several processes.
        rate: 0 to 1.
        decay: 0 to 1.

    Source: Howard and Ruder 2018 (discriminative fine-tuning).
    """
    stages = encoder_parameters(network)
    scale = {
        id(parameter): rate * decay ** (len(stages) - 1 - number)
        for number, own in enumerate(stages)
        for parameter in own
    }
    return {n: scale[id(p)] for n, p in network.named_parameters() if id(p) in scale}


def set_rate(optimizer: torch.optim.Optimizer, rate: float, *, frozen: bool = False) -> None:
    """Give each group its rate; with `frozen`, the encoder's stand still.

    AdamW's decay is multiplied by the rate, so a rate of 0 leaves parameters exactly as they are.
    """
    for group in optimizer.param_groups:
        group["lr"] = 0.0 if frozen and group["encoder"] else rate * group["scale"]
