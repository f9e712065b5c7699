"""A U-Net on any backbone of the transformers library (extra ``pleura[hub]``).

``network.backbone`` names a model of the Hugging Face hub or a local folder. Its configuration is
read once, when the settings are completed, and goes as text into the settings, so that a model.h5
is rebuilt from itself alone. Its weights are read once, when training begins, from safetensors
files only. Code that comes with a model is never run.

Shapes: B batch, C channels, H rows, W columns.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pleura.errors import ConfigError, first_line
from pleura.models.encoder_unet import Encoder, EncoderUNet, Map
from pleura.models.grey import CHANNELS, IMAGENET, Colours, fold

_MERGED = 4
"""So many layers of a plain vision transformer, evenly spaced, give the decoder its features."""

_LEFT_OUT = (
    # Where it came from and what it answered: of no use, and a thousand labels fill an attribute.
    *("_name_or_path", "architectures", "id2label", "label2id", "num_labels", "problem_type"),
    *("transformers_version", "dtype", "torch_dtype", "out_features"),
    # What could make the library fetch or run something else than its own classes.
    *("auto_map", "quantization_config", "_attn_implementation", "attn_implementation"),
    *("_experts_implementation", "experts_implementation"),
)

_MAYBE_STORED = "hidden_states_norms"
"""The norms of the maps, which an image classifier does not have: they begin as the identity."""


class BackboneEncoder(Encoder):
    """A backbone of transformers that sees the radiograph and its ones."""

    def __init__(self, configuration: str) -> None:
        super().__init__()
        rehearsal = _rehearse(configuration)
        self.maps, self._idle = rehearsal.maps, rehearsal.idle
        self.body = _model(_config(configuration))
        for name, parameter in self.body.named_parameters():
            parameter.requires_grad_(name not in self._idle)
        # Buffers that are computed when a model is built (Swin's position index) are stored all
        # the same: a network that is built without memory and then filled has nothing else.
        for module in self.body.modules():
            for name, buffer in list(module.named_buffers(recurse=False)):
                module.register_buffer(name, buffer, persistent=True)

    def forward(self, x_B2HW: Tensor) -> list[Tensor]:
        """Return the maps of features, each ``(B, C, h, w)``, finest first."""
        return list(self.body(x_B2HW).feature_maps)

    def by_depth(self) -> list[list[nn.Parameter]]:
        """Return the parameters of the stem, then of each stage (or layer), norms with the last."""
        numbered = [
            (_stage(name), parameter)
            for name, parameter in self.body.named_parameters()
            if name not in self._idle
        ]
        deepest = max((stage for stage, _ in numbered if stage is not None), default=0)
        depths: list[list[nn.Parameter]] = [[] for _ in range(deepest + 1)]
        for stage, parameter in numbered:
            depths[deepest if stage is None else stage].append(parameter)
        return depths

    def load_pretrained(self, source: str) -> None:
        """Replace the weights by those of the hub's model or of the folder `source`.

        Raises:
            ConfigError: They cannot be had, or do not fit.
        """
        if not source:
            raise ConfigError(
                "network.pretrained is true, but network.backbone is empty; name the model of the "
                "hub or the folder that holds the weights"
            )
        theirs = _read_weights(self.body, source)
        colours = read_colours(source)
        for name, value in self.body.state_dict().items():
            if name not in theirs:
                continue  # a computed buffer
            stem = value.ndim == 4 and theirs[name].shape[1] != value.shape[1]
            value.copy_(fold(theirs[name], colours) if stem else theirs[name])


def build(width: int, configuration: str) -> EncoderUNet:
    """Return the network with random weights; `width` is the decoder's, see EncoderUNet."""
    return EncoderUNet(BackboneEncoder(configuration), width)


def read_configuration(source: str) -> str:
    """Return the backbone's configuration as a JSON text that stands for itself.

    Args:
        source: A name of the hub (which needs the network, unless it is in the hub's cache), or a
            folder with a ``config.json``.

    Raises:
        ConfigError: There is none, or not of a backbone.
    """
    transformers = _transformers()
    if source.startswith(("/", ".", "~")) and not Path(source).is_dir():
        raise ConfigError(f"network.backbone is {source!r}: there is no such folder. {_WAY_OUT}")
    try:
        config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # the library raises a dozen kinds over a wrong configuration
        raise ConfigError(
            f"network.backbone is {source!r}: it is no folder with a config.json, and the hub does "
            f"not give it ({first_line(error)}). {_WAY_OUT}"
        ) from error
    return _with_all_maps(json.dumps(_plain(config.to_dict()), sort_keys=True))


def maps(configuration: str) -> tuple[Map, ...]:
    """Return what maps a backbone gives, finest first.

    Raises:
        ConfigError: It is not a backbone that pleura can use.
    """
    return _rehearse(configuration).maps


def read_colours(source: str) -> Colours:
    """Return the means and deviations that a model was trained with: ImageNet's, if it is silent.

    Raises:
        ConfigError: Its preprocessor_config.json has other than three colours.
    """
    from transformers.utils import cached_file

    path = cached_file(
        source, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False
    )
    table = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    mean, std = table.get("image_mean"), table.get("image_std")
    if mean is None or std is None:
        return IMAGENET
    if len(mean) != 3 or len(std) != 3:
        raise ConfigError(
            f"{path}: image_mean has {len(mean)} and image_std {len(std)} values; pleura folds "
            "three colours into one"
        )
    return Colours(tuple(mean), tuple(std))


_WAY_OUT = (
    "Put config.json and model.safetensors of the model into a folder and give its path, or go "
    "where there is a network"
)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(
            "network.name is 'backbone': the package transformers is not installed; "
            "pip install 'pleura[hub]'"
        ) from error
    return transformers


def _read_weights(model: Any, source: str) -> Mapping[str, Tensor]:
    """Return the arrays of `source` for a model like `model`, but of three colours."""
    config = type(model.config).from_dict({**model.config.to_dict(), "num_channels": 3})
    try:
        with _quiet():
            theirs, report = type(model).from_pretrained(
                source,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            f"network.backbone: the weights of {source} cannot be read ({first_line(error)}); "
            f"pleura reads a model.safetensors of this very model. {_WAY_OUT}"
        ) from error
    lacking = [name for name in sorted(report["missing_keys"]) if _MAYBE_STORED not in name]
    if lacking:
        raise ConfigError(
            f"network.backbone: the weights of {source} lack {len(lacking)} arrays, the first is "
            f"{lacking[0]}; they are of another model than its config.json says"
        )
    state: Mapping[str, Tensor] = theirs.state_dict()
    return state


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library from reporting; what matters of its report is checked here."""
    logging = _transformers().utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


class _Rehearsal(NamedTuple):
    """What one pass without memory tells: the maps, and parameters that they do not depend on."""

    maps: tuple[Map, ...]
    idle: frozenset[str]


@lru_cache(maxsize=16)
def _rehearse(configuration: str) -> _Rehearsal:
    config = _config(configuration)
    patch = getattr(config, "patch_size", 1)
    size = 64 * (patch if isinstance(patch, int) else math.lcm(*patch))
    with torch.device("meta"), torch.enable_grad():
        model = _model(config)
        found = model(torch.zeros(1, CHANNELS, size, size)).feature_maps
        sum(one.sum() for one in found).backward()
    idle = (name for name, parameter in model.named_parameters() if parameter.grad is None)
    return _Rehearsal(
        tuple(Map(int(one.shape[1]), size // int(one.shape[2])) for one in found), frozenset(idle)
    )


def _plain(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that count, with the radiograph's channels and without any dropout.

    Dropout draws from a generator whose state no checkpoint holds, so that a resumed training would
    differ from an unbroken one.
    """
    kept = {name: value for name, value in table.items() if name not in _LEFT_OUT}
    for name in kept:
        if name.endswith(("dropout_prob", "drop_path_rate", "dropout")):
            kept[name] = 0.0
    if "use_mask_token" in kept:
        kept["use_mask_token"] = False
    return {**kept, "num_channels": CHANNELS}


def _with_all_maps(configuration: str) -> str:
    """Return the configuration set to give a map per stage, or some layers of a plain ViT."""
    table = json.loads(configuration)
    stages = len(_config(configuration).stage_names)
    table["out_indices"] = list(range(1, stages))  # 0 is the stem
    wide = json.dumps(table, sort_keys=True)
    if len({one.stride for one in maps(wide)}) > 1:
        return wide
    layers, count = stages - 1, min(_MERGED, stages - 1)
    table["out_indices"] = [layers * (number + 1) // count for number in range(count)]
    return json.dumps(table, sort_keys=True)


def _config(configuration: str) -> Any:
    transformers = _transformers()
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES

    try:
        table = _plain(json.loads(configuration))
        kind = table.pop("model_type")
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ConfigError(
            f"network.backbone_config is {configuration[:60]!r}: it is filled in by pleura; leave "
            "it out and give network.backbone"
        ) from error
    if kind not in MODEL_FOR_BACKBONE_MAPPING_NAMES or "timm" in kind:
        known = ", ".join(name for name in MODEL_FOR_BACKBONE_MAPPING_NAMES if "timm" not in name)
        raise ConfigError(
            f"network.backbone is of type {kind!r}, which is no backbone; {known} are"
        )
    try:
        return transformers.AutoConfig.for_model(kind, **table)
    except Exception as error:  # the library raises a dozen kinds over a wrong configuration
        raise ConfigError(
            f"network.backbone of type {kind} has wrong settings: {first_line(error)}"
        ) from error


def _model(config: Any) -> Any:
    try:
        return _transformers().AutoBackbone.from_config(config)
    except Exception as error:  # the library raises a dozen kinds over a wrong configuration
        raise ConfigError(
            f"network.backbone of type {config.model_type} cannot be built: {first_line(error)}"
        ) from error


def _stage(name: str) -> int | None:
    """Return a parameter's depth: 0 for the stem, n + 1 for stage n, None for what stands aside."""
    number = re.search(r"\.(\d+)\.", name)
    if number:
        return int(number[1]) + 1
    return 0 if "embed" in name else None
