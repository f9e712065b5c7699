"""Frozen descriptions of a run, read from and written to TOML strictly.

A run file has one table per stage; every key has a default, so an empty file is a whole run except
for the data::

    out = "results"
    [data]      path, images, test_images, annotations, test_annotations,
                patients, folds, rle
    [phantom]   train, test, seed, size, prevalence     (only to make data up)
    [prepare]   size, workers
    [network]   name, width, depth, pretrained, backbone
    [train]     epochs, batch, learning_rate, loss, ...
    [predict]   inputs, id, overlays, heatmaps, report, dicom, deidentify, at, tta,
                engine, device, precision, workers, max_seconds, max_memory
    [tune]      trials, warmup, seed, and what to try:
    [tune.space]    "train.loss" = ["bce", "bce_dice"]
                    "train.learning_rate" = {low = 1e-4, high = 1e-2, log = true}

An unknown key, a wrong type or a value out of range is refused with the key's full name, the value
and the rule; nothing is converted or guessed.
"""

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from pleura.errors import ConfigError, SettingError

_STRICT = ConfigDict(extra="forbid", strict=True)

NetworkName = Literal[
    "cnn",
    "unet_small",
    "unet",
    "unet_large",
    "dynunet",
    "segresnet",
    "attention_unet",
    "swin_unetr",
    "efficientnet",
    "backbone",
    "ensemble",
]
FittedCalibration = Literal["platt", "isotonic"]
LossName = Literal["bce", "bce_dice", "winner", "lovasz", "bce_lovasz"]
Precision = Literal["auto", "fp32", "bf16"]
TrainPrecision = Literal["auto", "fp32", "bf16", "fp16"]
Schedule = Literal["cosine", "onecycle", "plateau"]
Kept = Literal["best", "last"]
TrackerName = Literal["tensorboard", "mlflow"]
RleForm = Literal["relative", "absolute"]
IdSource = Literal["uid", "stem"]
EngineName = Literal["auto", "torch", "openvino", "onnx"]
ResultKind = Literal["seg", "map", "sr", "gsps", "sc"]

SIZE_STEP = 32
"""Prepared sizes are multiples of it, because most networks halve the picture five times."""

Size = Annotated[int, Field(ge=32, le=4096, multiple_of=SIZE_STEP)]
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True, config=_STRICT)
class Data:
    """Where the radiographs and their annotations are; empty text means "find it below path".

    `test_annotations` is the truth of the test images, where it is known: a run then scores its own
    submission. It and the fold table `folds` are only used when named.
    """

    path: str = ""
    images: str = ""
    test_images: str = ""
    annotations: str = ""
    test_annotations: str = ""
    patients: str = ""
    folds: str = ""
    rle: RleForm = "relative"


@dataclass(frozen=True, slots=True, config=_STRICT)
class Phantoms:
    """A made-up cohort: numbers of radiographs, side length in pixels, share with the finding."""

    train: Annotated[int, Field(ge=1)] = 200
    test: Count = 40
    seed: Count = 0
    size: Annotated[int, Field(ge=64, le=4096)] = 1024
    prevalence: Annotated[float, Field(ge=0, le=1)] = 0.35


@dataclass(frozen=True, slots=True, config=_STRICT)
class Prepare:
    """Side length in pixels of the prepared arrays; worker processes (0: one per core)."""

    size: Size = 512
    workers: Count = 0


@dataclass(frozen=True, slots=True, config=_STRICT)
class Network:
    """A network's name and size; a zero means the network's own default.

    `width` is the number of channels of the first block, or, where the encoder comes from
    elsewhere (efficientnet, backbone), of the decoder at half resolution. Each block down doubles
    it, up to 512 (segresnet and swin_unetr: without a bound; swin_unetr: a multiple of 12).

    `depth` is how often the picture is halved, so inputs must be divisible by ``2 ** depth``
    (unets and swin_unetr: 2 or more; efficientnet: 2 to 5; a backbone brings its own).

    With `pretrained`, efficientnet begins with ImageNet's weights and backbone with those of
    `backbone`: a model of the Hugging Face hub, or a folder with ``config.json`` and
    ``model.safetensors``. `backbone_config` is that model's configuration as JSON, filled in by
    pleura and stored in model.h5.

    `deep` coarser maps of the decoder are trained beside the mask (deep supervision; unets, dynunet
    and attention_unet): they help to learn and are not used afterwards.

    An ensemble is made of trained models by ``pleura ensemble``: the mean of its `members` and,
    with `flip`, over the picture and its mirror image.
    """

    name: NetworkName = "unet"
    width: Annotated[int, Field(ge=0, le=256)] = 0
    depth: Annotated[int, Field(ge=0, le=7)] = 0
    deep: Annotated[int, Field(ge=0, le=6)] = 0
    pretrained: bool = False
    backbone: str = ""
    backbone_config: str = ""
    members: list["Network"] = Field(default_factory=list)
    flip: bool = False


@dataclass(frozen=True, slots=True, config=_STRICT)
class Train:
    """How a network is trained.

    Of `folds` parts (by patient where patients are known) the one numbered `fold` validates and
    the others train.

    `batch` is a number of images or ``auto``, the most that fit. `accumulate` batches make one
    step. The learning rate follows `schedule`, its rise taking the share `warmup` of the steps;
    an encoder that can be pretrained stands still for `freeze` epochs, then follows at the share
    `encoder_rate`, each stage nearer to the picture at `layer_decay` times that of the next.
    `clip` is the largest norm of a gradient (0: any). `ema` is the decay of a moving average of the
    weights, which is then what is validated and kept (0: none).

    `positives` is the share of images with a pneumothorax in the first epoch, falling to their true
    share in the last (0: images as they are). `image_loss` is the weight of the image score's
    cross-entropy beside the mask's loss. `augment` is the strength of the augmentation, 0 for none,
    1 for the default. `grow` lists smaller sizes to begin with.

    A training begins with the weights of the model.h5 `start` (empty: with those of the network's
    own beginning). The images of the prepared folders `extra` train beside those of the folder and
    never validate; of the images of an epoch they are the share `extra_share`.

    Of its epochs the one that validates best is kept, or, with ``keep = "last"``, the last one:
    then nothing is chosen by the images that validate, and their figures are the more honest.

    A training ends early after `patience` epochs without a better one (0: never), and the average
    of the `best` best epochs replaces the best one where it is no worse. `calibration` makes a
    probability of the score (isotonic needs 50 images of either label, and is platt below). `track`
    names what is told of the epochs, beside the JSON lines that are always written.
    """

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 30
    batch: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = 16
    accumulate: Annotated[int, Field(ge=1, le=4096)] = 1
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-2
    schedule: Schedule = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    encoder_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    freeze: Count = 0
    clip: Annotated[float, Field(ge=0)] = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    loss: LossName = "bce_dice"
    image_loss: Annotated[float, Field(ge=0, le=100)] = 0.1
    positives: Annotated[float, Field(ge=0, le=1)] = 0.0
    augment: Annotated[float, Field(ge=0, le=2)] = 1.0
    grow: list[Size] = Field(default_factory=list)
    start: str = ""
    extra: list[str] = Field(default_factory=list)
    extra_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    keep: Kept = "best"
    patience: Count = 0
    best: Annotated[int, Field(ge=1, le=100)] = 1
    calibration: FittedCalibration = "platt"
    folds: Annotated[int, Field(ge=2, le=100)] = 5
    fold: Count = 0
    seed: Count = 0
    precision: TrainPrecision = "auto"
    track: list[TrackerName] = Field(default_factory=list)

    def __post_init__(self) -> None:
        """Check what concerns two settings at once."""
        if self.fold >= self.folds:
            raise ValueError(f"fold is {self.fold} but folds are numbered 0 to {self.folds - 1}")
        if self.keep == "last" and (self.patience or self.best > 1):
            raise ValueError("keep is last, so patience must be 0 and best 1: they choose epochs")


@dataclass(frozen=True, slots=True, config=_STRICT)
class Predict:
    """What to predict (nothing named: the test images of the data), how, and what to write.

    `dicom` names DICOM results, `deidentify` keeps the patient out of them. `at` is an operating
    point of the model; `tta` averages over the picture and its mirror image. `workers` processes
    (0: half the cores, 2 to 8) open the files, held to `max_seconds` and `max_memory` MiB a file.
    """

    inputs: list[str] = Field(default_factory=list)
    id: IdSource = "uid"
    overlays: bool = True
    heatmaps: bool = False
    report: bool = True
    dicom: list[ResultKind] = Field(default_factory=list)
    deidentify: bool = False
    at: str = "default"
    tta: bool = False
    engine: EngineName = "auto"
    device: str = "cpu"
    precision: Precision = "auto"
    workers: Count = 0
    max_seconds: Annotated[float, Field(ge=0.1)] = 60.0
    max_memory: Annotated[int, Field(ge=64)] = 2048

    def __post_init__(self) -> None:
        """Check what concerns two settings at once."""
        if self.deidentify and not self.dicom:
            raise ValueError("deidentify is for DICOM results; name them in dicom")


Scalar = bool | int | float | str


@dataclass(frozen=True, slots=True, config=_STRICT)
class Range:
    """Numbers to try, from `low` to `high`: whole ones where both are; `log`: evenly by factors."""

    low: int | float
    high: int | float
    step: Annotated[int | float, Field(gt=0)] = 1
    log: bool = False

    def __post_init__(self) -> None:
        """Check what concerns two settings at once."""
        if self.low >= self.high:
            raise ValueError(f"low is {self.low}, high is {self.high}; high must be above low")
        if self.log and (self.low <= 0 or self.step != 1):
            raise ValueError("a range by factors begins above 0 and has no step")


@dataclass(frozen=True, slots=True, config=_STRICT)
class Tune:
    """What a search tries: for ``section.key`` a list of values, or a range.

    It ends after `trials`. A trial may be pruned after `warmup` epochs.
    """

    trials: Annotated[int, Field(ge=1)] = 20
    warmup: Count = 3
    seed: Count = 0
    space: dict[str, list[Scalar] | Range] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, config=_STRICT)
class Run:
    """A whole run, from files to results."""

    out: str = "results"
    data: Data = Field(default_factory=Data)
    phantom: Phantoms | None = None
    prepare: Prepare = Field(default_factory=Prepare)
    network: Network = Field(default_factory=Network)
    train: Train = Field(default_factory=Train)
    predict: Predict = Field(default_factory=Predict)
    tune: Tune | None = None


T = TypeVar("T")


def load_run(path: str | os.PathLike[str], settings: Iterable[str] = ()) -> Run:
    """Return the run that a TOML file describes, with `settings` laid over it.

    Args:
        path: A TOML file as described at the top of this module.
        settings: Texts ``section.key=value`` with the value in TOML, as ``--set`` takes them.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or holds a wrong key, type or range.
        SettingError: One of `settings` does.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    run = parse(Run, table, str(path))  # a mistake in the file is named as the file's own
    return _parse_settings(table, settings, f"{path} with --set") if settings else run


def make_run(settings: Iterable[str] = ()) -> Run:
    """Return the default run with `settings` (``section.key=value``) laid over it.

    Raises:
        SettingError: A wrong key, type or range.
    """
    return _parse_settings({}, settings, "--set")


def parse(kind: type[T], table: Mapping[str, Any], origin: str) -> T:
    """Return `table` as the dataclass `kind`, strictly.

    Args:
        kind: One of this module's dataclasses.
        table: Nested plain values, as read from TOML or JSON.
        origin: What to name in a message: a file, or ``--set``.

    Raises:
        ConfigError: A wrong key, type or range.
    """
    try:
        # Strict validation takes plain tables only in their JSON form.
        return TypeAdapter(kind).validate_json(json.dumps(dict(table), default=str))
    except ValidationError as error:
        raise ConfigError("; ".join(_sentences(kind, error, origin))) from error


def as_table(run: object) -> dict[str, Any]:
    """Return a dataclass of this module as nested plain values; absent sections are left out."""
    if not is_dataclass(run) or isinstance(run, type):
        raise TypeError(f"not a dataclass instance: {run!r}")
    return {key: value for key, value in asdict(run).items() if value is not None}


def as_toml(run: Run) -> str:
    """Return `run` as TOML that :func:`load_run` reads back to an equal run."""
    import tomli_w

    return tomli_w.dumps(as_table(run))


def _parse_settings(table: Mapping[str, Any], settings: Iterable[str], origin: str) -> Run:
    try:
        return parse(Run, _with_settings(table, settings), origin)
    except ConfigError as error:
        raise SettingError(str(error)) from error


def _with_settings(table: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    merged = {k: dict(v) if isinstance(v, Mapping) else v for k, v in table.items()}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {setting}: write it as section.key=value")
        section, dot, name = key.strip().partition(".")
        if not dot:
            merged[section] = _toml_value(text)
            continue
        inner = merged.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {setting}: {section} is a value, not a section")
        inner[name] = _toml_value(text)
    return merged


def _toml_value(text: str) -> Any:
    """Return the TOML value of `text`; what is none is text, so ``network.name=cnn`` works."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _sentences(kind: type, error: ValidationError, origin: str) -> Iterable[str]:
    for problem in error.errors():
        location = [str(part) for part in problem["loc"]]
        name = ".".join(location)
        if problem["type"] == "unexpected_keyword_argument":
            yield f"{origin}: unknown key {name}{_suggestion(kind, location)}"
        else:
            rule = problem["msg"][0].lower() + problem["msg"][1:]
            found = "" if isinstance(problem["input"], Mapping) else f" is {problem['input']!r}"
            where = f"{name}{found}: " if name else ""
            yield f"{origin}: {where}{rule.removeprefix('value error, ')}"


def _suggestion(kind: type, location: list[str]) -> str:
    """Return "; did you mean ..." for the nearest key there is, or the keys to choose from."""
    *sections, wrong = location
    for section in sections:
        kind = _SECTIONS.get(section, kind)
    known = [field.name for field in fields(kind)]
    close = difflib.get_close_matches(wrong, known, n=1)
    if close:
        return f"; did you mean {'.'.join([*sections, close[0]])}?"
    return f"; the keys here are {', '.join(known)}"


_SECTIONS: dict[str, type] = {
    "data": Data,
    "phantom": Phantoms,
    "prepare": Prepare,
    "network": Network,
    "train": Train,
    "predict": Predict,
    "tune": Tune,
}
