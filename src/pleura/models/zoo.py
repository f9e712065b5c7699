"""A network's name and settings -> the network.

What can be said of a network without building it is said without torch, which takes seconds to
import.
"""

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from math import lcm
from typing import TYPE_CHECKING, NamedTuple

from pleura.choices import NetworkName
from pleura.config import SIZE_STEP, Network
from pleura.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

DEEPEST = 7


@dataclass(frozen=True, slots=True)
class Entry:
    """One network of the list.

    Attributes:
        width: Its default width.
        depth: Its default depth; 0 where it is not the user's to choose.
        about: One line for people.
        depths: The least and the largest depth.
        width_step: What the width must be a multiple of.
        bottom: The least side of its deepest map, in pixels: instance normalisation takes the
            variance over the map, and of one pixel there is none.
        coarser: Whether deep supervision can be asked for: the network's deepest halvings that
            have no output of their own, or None where it has no coarser outputs at all.
        pretrained: Whether there are trained weights for its encoder.
        needs: Packages that it imports beyond pleura's own, by the names they are imported by.
        extra: The extra of pleura that installs them.
    """

    width: int
    depth: int
    about: str
    depths: tuple[int, int] = (1, DEEPEST)
    width_step: int = 1
    bottom: int = 1
    coarser: int | None = None
    pretrained: bool = False
    needs: tuple[str, ...] = ()
    extra: str = ""


NETWORKS: dict[NetworkName, Entry] = {
    "cnn": Entry(16, 4, "the brief's: convolution, pooling, upsampling"),
    "unet_small": Entry(16, 5, "unet, narrower", depths=(2, 7), coarser=2),
    "unet": Entry(24, 5, "the default: residual U-Net", depths=(2, 7), coarser=2),
    "unet_large": Entry(48, 6, "unet, twice as wide, one level deeper", depths=(2, 7), coarser=2),
    "dynunet": Entry(32, 5, "nnU-Net's U-Net", bottom=2, coarser=1),
    "segresnet": Entry(16, 4, "deep residual encoder, light decoder"),
    "attention_unet": Entry(16, 5, "U-Net with gated connections", coarser=1),
    "swin_unetr": Entry(
        24, 5, "transformer of shifted windows", depths=(2, 7), width_step=12, bottom=2
    ),
    "efficientnet": Entry(16, 5, "U-Net on EfficientNet-Lite0", depths=(2, 5), pretrained=True),
    "efficientnet_lite2": Entry(
        16, 5, "U-Net on EfficientNet-Lite2, wider and deeper", depths=(2, 5), pretrained=True
    ),
    "backbone": Entry(
        16, 0, "U-Net on network.backbone", pretrained=True, needs=("transformers",), extra="hub"
    ),
}
"""The networks that can be trained. An ensemble is one of several of them, see `ENSEMBLE`."""

ENSEMBLE: NetworkName = "ensemble"
"""The name of several trained networks that answer as one; it has members in place of settings."""


def missing(name: NetworkName) -> str:
    """Return what must be installed before the network can be built, or nothing."""
    entry = NETWORKS[name]
    lacking = [package for package in entry.needs if find_spec(package) is None]
    return f"needs pip install 'pleura[{entry.extra}]'" if lacking else ""


def complete(network: Network) -> Network:
    """Return `network` with all that it needs to be built: defaults for zeros, the backbone's text.

    Only here is the configuration of a backbone read, from the hub or its folder; settings that
    are complete already, as those of a model.h5, are only checked.

    Raises:
        ConfigError: A setting does not suit the network, or its extra is not installed.
    """
    _check_members(network)
    if network.name == ENSEMBLE:
        return replace(network, members=[complete(member) for member in network.members])
    entry = NETWORKS[network.name]
    _check(network, entry)
    whole = replace(network, width=network.width or entry.width, depth=network.depth or entry.depth)
    _check_deep(whole, entry)
    if network.name == "backbone" and not network.backbone_config:
        from pleura.models.backbone import read_configuration

        return replace(whole, backbone_config=read_configuration(network.backbone))
    return whole


def _check_members(network: Network) -> None:
    if (network.name == ENSEMBLE) != bool(network.members):
        raise ConfigError(
            f"network.name is {network.name!r} and network.members has {len(network.members)}; an "
            "ensemble, and nothing else, has members: make one with pleura ensemble"
        )
    if network.closer and network.name != ENSEMBLE:
        raise ConfigError(
            f"network.closer is {network.closer} and network.name {network.name!r}; only an "
            "ensemble looks closer: make one with pleura ensemble --closer"
        )
    if network.sizes and len(network.sizes) != len(network.members):
        raise ConfigError(
            f"network.sizes has {len(network.sizes)} and network.members {len(network.members)}; "
            "name the sizes of each member, or none"
        )


def _check(network: Network, entry: Entry) -> None:
    name, (least, most) = network.name, entry.depths
    if not entry.depth and network.depth:
        raise ConfigError(
            f"network.depth is {network.depth}; {name} has its own depth, leave it out"
        )
    if network.depth and not least <= network.depth <= most:
        bound = f"{least} or more" if network.depth < least else f"{most} or less"
        raise ConfigError(f"network.depth is {network.depth}; {name} needs {bound}")
    if network.width % entry.width_step:
        raise ConfigError(
            f"network.width is {network.width}; {name} needs a multiple of {entry.width_step}"
        )
    if network.pretrained and not entry.pretrained:
        able = ", ".join(other for other, one in NETWORKS.items() if one.pretrained)
        raise ConfigError(
            f"network.pretrained is true, but there are no trained weights for {name}; leave it "
            f"out, or take one of {able}"
        )
    if missing(name):
        raise ConfigError(f"network.name is {name!r}: it {missing(name)}")
    if name == "backbone" and not (network.backbone or network.backbone_config):
        raise ConfigError(
            "network.backbone is empty; give a name of the Hugging Face hub "
            "(facebook/convnextv2-tiny-22k-224) or a folder with config.json"
        )
    if name != "backbone" and (network.backbone or network.backbone_config):
        raise ConfigError(
            f"network.backbone is {network.backbone!r}, but {name} has no backbone; leave it out, "
            "or set network.name to backbone"
        )


def _check_deep(whole: Network, entry: Entry) -> None:
    if not whole.deep_supervision:
        return
    if entry.coarser is None:
        able = ", ".join(name for name, one in NETWORKS.items() if one.coarser is not None)
        raise ConfigError(
            f"network.deep_supervision is {whole.deep_supervision}, but {whole.name} has no "
            f"coarser outputs to supervise; leave it out, or take one of {able}"
        )
    most = whole.depth - entry.coarser
    if whole.deep_supervision > most:
        raise ConfigError(
            f"network.deep_supervision is {whole.deep_supervision}; {whole.name} of depth "
            f"{whole.depth} has {most} coarser outputs"
        )


def build(network: Network) -> "nn.Module":
    """Return the network, freshly initialised from torch's current seed.

    It takes normalised radiographs ``(batch, 1, size, size)`` float32 and returns
    :class:`pleura.models.blocks.Outputs`. It can be built on torch's meta device, and then holds
    nothing but what ``state_dict`` names.

    Raises:
        ConfigError: As for :func:`complete`.
    """
    whole = complete(network)
    if whole.name == ENSEMBLE:
        from pleura.models.ensemble import Ensemble

        return Ensemble(
            [build(member) for member in whole.members], whole.tta, whole.sizes, whole.closer
        )
    return _built(whole)


def _built(network: Network) -> "nn.Module":
    """Return a network of complete settings; what takes seconds to import is imported here."""
    width, depth, coarser = network.width, network.depth, network.deep_supervision
    match network.name:
        case "cnn":
            from pleura.models.cnn import CNN

            return CNN(width, depth)
        case "dynunet":
            from pleura.models.dynunet import DynUNet

            return DynUNet(width, depth, coarser)
        case "segresnet":
            from pleura.models.segresnet import SegResNet

            return SegResNet(width, depth)
        case "attention_unet":
            from pleura.models.attention_unet import AttentionUNet

            return AttentionUNet(width, depth, coarser)
        case "swin_unetr":
            from pleura.models.swin_unetr import SwinUNETR

            return SwinUNETR(width, depth)
        case "efficientnet" | "efficientnet_lite2":
            from pleura.models import efficientnet

            lite2 = network.name == "efficientnet_lite2"
            variant = efficientnet.LITE2 if lite2 else efficientnet.LITE0
            return efficientnet.build(variant, width, depth)
        case "backbone":
            from pleura.models import backbone

            return backbone.build(width, network.backbone_config)
        case _:
            from pleura.models.unet import UNet

            return UNet(width, depth, coarser)


def begin(network: Network) -> "nn.Module":
    """Return the network as training begins: as :func:`build`, its encoder pretrained if wanted.

    Raises:
        ConfigError: As for :func:`complete`, or the trained weights cannot be had.
    """
    from pleura.models.encoder_unet import EncoderUNet

    whole = complete(network)
    if whole.name == ENSEMBLE:
        raise ConfigError("an ensemble is not trained; train its members, then pleura ensemble")
    built = build(whole)
    if whole.pretrained and isinstance(built, EncoderUNet):
        built.encoder.load_pretrained(whole.backbone)
    return built


def encoder_parameters(network: "nn.Module") -> "list[list[nn.Parameter]]":
    """Return the parameters of an encoder that can be pretrained, by depth, each once.

    The first entry is the stem, next to the picture, the last the deepest stage (for a plain
    vision transformer, layer). A trainer freezes the encoder by switching off the gradients of all
    of them, or scales the rate of entry ``i`` of ``n`` by ``decay ** (n - i)``. What is not in any
    entry, decoder and heads, is new and learns at the full rate.

    Args:
        network: What :func:`build` or :func:`begin` returned, not yet wrapped for several
            processes.

    Returns:
        An empty list for a network without such an encoder.
    """
    from pleura.models.encoder_unet import EncoderUNet

    return network.encoder.by_depth() if isinstance(network, EncoderUNet) else []


def stride(network: Network) -> int:
    """Return how many pixels of the picture one of the deepest map spans.

    Raises:
        ConfigError: As for :func:`complete`.
    """
    whole = complete(network)
    if whole.name == ENSEMBLE:
        return lcm(*(stride(member) for member in whole.members))
    if whole.name != "backbone":
        return 1 << whole.depth
    from pleura.models.backbone import maps

    return lcm(*(one.stride for one in maps(whole.backbone_config)))


def check_size(network: Network, size: int) -> None:
    """Raise ConfigError with the right sizes where `network` cannot take images of `size`."""
    whole = complete(network)
    for member, own in zip(
        whole.members, whole.sizes or [[size]] * len(whole.members), strict=True
    ):
        for side in [*own, *([whole.closer] if whole.closer else [])]:
            check_size(member, side)
    if whole.closer and whole.closer >= size:
        raise ConfigError(
            f"network.closer is {whole.closer} and the picture {size} pixels; a square is closer "
            "only where it is smaller than the picture"
        )
    if whole.name == ENSEMBLE:
        return
    step = stride(whole)
    bottom = NETWORKS[whole.name].bottom
    least = step * bottom
    if size % step == 0 and size >= least:
        return
    good = lcm(step, SIZE_STEP)  # what prepare.size can be as well
    below = max(size // good * good, -(-least // good) * good)
    of_depth = f" of depth {whole.depth}" if whole.depth else ""
    from_on = f" from {least} on" if bottom > 1 else ""
    raise ConfigError(
        f"{whole.name}{of_depth} needs a size divisible by {step}{from_on}, not {size}; take "
        f"{below} or {below + good}"
    )


class Counts(NamedTuple):
    """How large a network is.

    Attributes:
        parameters: Trainable numbers.
        gflop_512: Cost of one image of 512 pixels, as :func:`count_gflop` counts it.
    """

    parameters: int
    gflop_512: float


def known_counts(network: Network) -> Counts | None:
    """Return how large a network is where that is known without building it, else None.

    Raises:
        ConfigError: As for :func:`complete`.
    """
    if network.name in _counted() and complete(network) == complete(Network(name=network.name)):
        return _counted()[network.name]
    return None


@cache
def _counted() -> dict[str, Counts]:
    """Return what ``counts.toml`` holds: what was counted of the default settings."""
    text = files("pleura.models").joinpath("counts.toml").read_text(encoding="utf-8")
    return {name: Counts(**found) for name, found in tomllib.loads(text).items()}


def count_parameters(network: Network) -> int:
    """Return how many trainable numbers the network has, without allocating them."""
    import torch

    with torch.device("meta"):
        parameters = build(network).parameters()
    return sum(parameter.numel() for parameter in parameters if parameter.requires_grad)


def count_gflop(network: Network, size: int) -> float:
    """Return the cost of one image of `size` in GFLOP (a multiply-add counts two).

    Raises:
        ConfigError: The network cannot take that size.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    check_size(network, size)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        build(network).eval()(torch.zeros(1, 1, size, size))
    return float(counter.get_total_flops()) / 1e9
