"""The settings of a run, read from TOML and written to it, strictly.

A run file has one table per stage; every key has a default, so an empty file is a whole run except
for the data::

    out = "results"
    [data]      path, images, test_images, annotations, test_annotations,
                patients, fold_table, rle
    [phantom]   train, test, seed, size, prevalence     (only to make data up)
    [prepare]   size, workers
    [network]   name, width, depth, pretrained, backbone
    [train]     epochs, batch, learning_rate, loss, ...
    [predict]   inputs, id, overlays, heatmaps, worklist, dicom, deidentify, operating_point, tta,
                engine, device, precision, workers, max_seconds, max_memory
    [tune]      trials, warmup, seed, and what to try:
    [tune.space]    "train.loss" = ["bce", "bce_dice"]
                    "train.learning_rate" = {low = 1e-4, high = 1e-2, log = true}

An unknown key, a wrong type or a value out of range is refused with the key's full name, the value
and the rule; nothing is converted or guessed.
"""

import copy
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from pleura.choices import (
    EngineName,
    FittedCalibration,
    IdSource,
    Kept,
    LossName,
    MaskReaders,
    Match,
    NetworkName,
    PointName,
    Precision,
    ResultKind,
    RleForm,
    Schedule,
    TrackerName,
    TrainPrecision,
)
from pleura.errors import ConfigError, SettingError
from pleura.wrong_settings import brief, say_what_is_wrong

_MOST_BYTES = 1 << 20
_MOST_DOTS = 1000
_STRICT = ConfigDict(extra="forbid", strict=True)

SIZE_STEP = 32
"""Prepared sizes are multiples of it, because most networks halve the picture five times."""

MAX_SIZE = 4096

Size = Annotated[int, Field(ge=SIZE_STEP, le=MAX_SIZE, multiple_of=SIZE_STEP)]
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True, config=_STRICT)
class Labels:
    """A table that says whether images show a pneumothorax, where nobody drew a mask.

    Attributes:
        table: The CSV; none where it is empty.
        id: Its column of ids; empty: found by its name.
        columns: Its columns of labels, each ``NAME`` or ``NAME:WEIGHT``. The first that is not
            empty counts: 0, 1 or a probability between them. The weight, 0 to 1, says how far it is
            believed.
        weight: Its column of how far a label is believed, 0 to 1; multiplied by the weight of
            `columns`.
        boxes: Its column of rectangles in which a pneumothorax lies, ``NAME`` or ``NAME:WEIGHT``.
        boxes_side: Longer side in pixels of the picture the boxes were drawn in; 0: the file's.
        patient: Its column that says who is on it; empty: the one of that name, if there is one.
        reader: Its column that says whose label a row is; the label of an image is then the share
            of its readers.
    """

    table: str = ""
    id: str = ""
    columns: Annotated[list[str], Field(min_length=1)] = Field(
        default_factory=lambda: ["pneumothorax"]
    )
    weight: str = ""
    boxes: str = ""
    boxes_side: Annotated[float, Field(ge=0)] = 0.0
    patient: str = ""
    reader: str = ""


@dataclass(frozen=True, slots=True, config=_STRICT)
class Data:
    """Where the radiographs and their annotations are; empty text means "find it below path".

    Attributes:
        path: The folder with radiographs and table, a ZIP or tar file of them, or a glob.
        also: Further folders, archives and globs, or single files.
        images: The folder of the training radiographs.
        test_images: The folder of the test radiographs.
        annotations: The masks: a table of run lengths, a COCO file, or a folder of masks.
        image_column: The table's column of ids; empty: ``ImageId``.
        mask_column: Its column of run lengths; empty: ``EncodedPixels``.
        mask_label: Which value, category or segment is the pneumothorax, where masks hold several.
        reader_column: Its column that says who drew a mask; empty: found by its name.
        readers: Which pixels count of an image that several readers drew on: union: those that any
            of them drew; majority: those that more than half of them did.
        match: What a table calls an image by: ``uid``, ``stem`` (its file's name) or ``path``;
            empty: any of them.
        test_annotations: The truth of the test images, used only when named: a run then scores its
            own submission.
        patients: A table of image ids and patients.
        fold_table: A fold table, as ``pleura folds`` writes it, used only when named; `train.folds`
            is then the number of its folds.
        labels: A table of labels for images without masks.
        rle: How the table writes run lengths: from the end of the run before, as SIIM-ACR does, or
            absolute.
    """

    path: str = ""
    also: list[str] = Field(default_factory=list)
    images: str = ""
    test_images: str = ""
    annotations: str = ""
    image_column: str = ""
    mask_column: str = ""
    mask_label: str = ""
    reader_column: str = ""
    readers: MaskReaders = "union"
    match: Match = ""
    test_annotations: str = ""
    patients: str = ""
    fold_table: str = ""
    labels: Labels = Field(default_factory=Labels)
    rle: RleForm = "relative"


@dataclass(frozen=True, slots=True, config=_STRICT)
class Phantoms:
    """A made-up cohort, in place of data.

    Attributes:
        train: Number of radiographs to train on.
        test: Number of radiographs to test on.
        seed: The same seed gives the same bytes.
        size: Side in pixels.
        prevalence: Share of the radiographs that show a pneumothorax.
    """

    train: Annotated[int, Field(ge=1)] = 200
    test: Count = 40
    seed: Count = 0
    size: Annotated[int, Field(ge=64, le=4096)] = 1024
    prevalence: Annotated[float, Field(ge=0, le=1)] = 0.35


@dataclass(frozen=True, slots=True, config=_STRICT)
class Prepare:
    """How files become arrays.

    Attributes:
        size: Side of the prepared arrays in pixels.
        workers: Processes; 0: one per core.
    """

    size: Size = 512
    workers: Count = 0


@dataclass(frozen=True, slots=True, config=_STRICT)
class Network:
    """A network's name and size; a zero means the network's own default.

    Attributes:
        name: Which network.
        width: Channels of the first block or, where the encoder comes from elsewhere
            (efficientnets, backbone), of the decoder at half resolution. Each block down doubles
            it, up to 512 (segresnet and swin_unetr: without a bound; swin_unetr: a multiple of
            12).
        depth: How often the picture is halved, so that sizes must be divisible by ``2 ** depth``
            (unets and swin_unetr: 2 or more; efficientnets: 2 to 5; a backbone brings its own).
        deep_supervision: How many coarser maps of the decoder are trained beside the mask, each
            with half the weight of the one before (unets, dynunet and attention_unet). They are not
            used afterwards.
        pretrained: Begin with trained weights: ImageNet's for efficientnets, those of `backbone`
            for backbone.
        backbone: For the network of that name: a model of the Hugging Face hub, or a folder with
            ``config.json`` and, for `pretrained`, ``model.safetensors``.
        backbone_config: That model's configuration as JSON, filled in by pleura.
        members: The trained models of an ensemble; ``pleura ensemble`` fills in this, `sizes`,
            `closer` and `tta`.
        sizes: The sides in pixels at which each member sees the picture; none: as it comes.
        closer: The side in pixels of a square in each upper corner of the picture that an
            ensemble's members see too, not reduced, for the score; 0: none.
        tta: Whether an ensemble averages over the picture and its mirror image.
    """

    name: NetworkName = "unet"
    width: Annotated[int, Field(ge=0, le=256)] = 0
    depth: Annotated[int, Field(ge=0, le=7)] = 0
    deep_supervision: Annotated[int, Field(ge=0, le=6)] = 0
    pretrained: bool = False
    backbone: str = ""
    backbone_config: str = ""
    members: list["Network"] = Field(default_factory=list)
    sizes: list[Annotated[list[Size], Field(min_length=1)]] = Field(default_factory=list)
    closer: Size | Literal[0] = 0
    tta: bool = False


@dataclass(frozen=True, slots=True, config=_STRICT)
class Train:
    """How a network is trained.

    Attributes:
        epochs: Passes over the images that train.
        batch: Images in a batch, or ``auto``: the largest power of two that fits into memory.
        accumulate: Batches whose gradients are averaged for one step of the weights.
        learning_rate: The highest learning rate.
        weight_decay: Decay of the weights; biases and norms are not decayed.
        schedule: How the learning rate changes; plateau: halved after 5 epochs that were no better.
        warmup: Share of the steps in which the learning rate rises.
        encoder_rate: Learning rate of the deepest stage of an encoder that can be pretrained, as a
            share of `learning_rate`.
        layer_decay: Each stage of such an encoder learns at this share of the rate of the next
            deeper one; 1: all alike.
        freeze: Epochs at the beginning in which such an encoder is not trained.
        clip: Largest norm of a step's gradient; 0: any.
        ema: Decay of a moving average of the weights, which is then what is validated and kept,
            such as 0.99; 0: none.
        loss: The loss of the mask.
        image_loss: Weight of the image score's cross-entropy beside the mask's loss.
        empty_masks: An image that is labelled negative, and of which nobody drew a mask, counts as
            one with an empty mask, with this weight times how far its label is believed; 0: it does
            not.
        box_loss: Weight of the loss that asks for some pixel of a pneumothorax in each box.
        positive_fraction: Share of positives in the first epoch, falling to the true share in the
            last, such as 0.8; 0: images as they are.
        augment: Strength of the augmentation; 0: none.
        progressive_sizes: Smaller sizes to begin with, such as ``[256]``: the epochs are divided
            evenly among them and `prepare.size`.
        init_from: A model.h5 of the same network whose weights a training begins with, or
            ``pleura:fast`` (``network.name = "efficientnet"``, ``network.width = 16``).
        extra: Further prepared folders whose images train and never validate. A picture that
            validates may not be among them. Images of patients who validate are left out where
            patients are known in both folders; otherwise leave them out when you make the folder
            (``pleura simulate --exclude``).
        extra_share: Share of an epoch's images that come from `extra`.
        keep: Which epoch is kept: the one that validates best, or the last, so that nothing is
            chosen by the images that validate.
        patience: End after so many epochs that were no better; 0: never.
        average_best: Keep the mean of the weights of so many best epochs, where it validates no
            worse than the best of them.
        calibration: What makes a probability of the score; isotonic needs 50 images of either label
            and is platt below.
        folds: Parts into which the images are split, by patient where patients are known.
        fold: The one that validates, from 0.
        seed: The same seed gives the same numbers on one machine with as many threads.
        threads: Threads of a training on a CPU; 0: what OMP_NUM_THREADS says, else as many as cores
            are free when it begins. ``run.json`` tells how many there were.
        precision: Of the numbers computed with; auto: bf16 where the processor has it; fp16 is for
            a GPU.
        track: Where the figures of each epoch go as well: to event files for TensorBoard in the
            training's folder, or to MLflow (extra ``pleura[mlflow]``).
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
    empty_masks: Annotated[float, Field(ge=0, le=1)] = 1.0
    box_loss: Annotated[float, Field(ge=0, le=100)] = 0.1
    positive_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    augment: Annotated[float, Field(ge=0, le=2)] = 1.0
    progressive_sizes: list[Size] = Field(default_factory=list)
    init_from: str = ""
    extra: list[str] = Field(default_factory=list)
    extra_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    keep: Kept = "best"
    patience: Count = 0
    average_best: Annotated[int, Field(ge=1, le=100)] = 1
    calibration: FittedCalibration = "platt"
    folds: Annotated[int, Field(ge=2, le=100)] = 5
    fold: Count = 0
    seed: Count = 0
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    precision: TrainPrecision = "auto"
    track: list[TrackerName] = Field(default_factory=list)

    def __post_init__(self) -> None:
        """Check what concerns two settings at once."""
        if self.fold >= self.folds:
            raise ValueError(f"fold is {self.fold} but folds are numbered 0 to {self.folds - 1}")
        if self.keep == "last" and (self.patience or self.average_best > 1):
            raise ValueError(
                "keep is last, so patience must be 0 and average_best 1: they choose epochs"
            )


@dataclass(frozen=True, slots=True, config=_STRICT)
class Predict:
    """What to predict, how, and what to write.

    Attributes:
        inputs: Files, folders and globs; none: the test images of the data.
        id: Images are named by their SOP Instance UID, or by their file.
        overlays: Write a picture of each with its mask.
        heatmaps: Write a picture of each with its map of probabilities.
        worklist: Write the worklist.
        dicom: DICOM results to write.
        deidentify: Keep the patient out of them.
        operating_point: Which of the model's thresholds are used; sensitive: fewer pneumothoraces
            missed; specific: fewer false alarms; rule: highest expected mean Dice.
        tta: Average over the picture and its mirror image.
        answer_flagged: Answer what is flagged as no frontal chest radiograph too.
        engine: What runs the network.
        device: cpu, cuda or cuda:N.
        precision: Of the numbers computed with; auto: bf16 where the processor has it.
        workers: Processes that open files; 0: half the cores, 2 to 8.
        max_seconds: Time that one file may take.
        max_memory: Memory in MiB that one file may take.
    """

    inputs: list[str] = Field(default_factory=list)
    id: IdSource = "uid"
    overlays: bool = True
    heatmaps: bool = False
    worklist: bool = True
    dicom: list[ResultKind] = Field(default_factory=list)
    deidentify: bool = False
    operating_point: PointName = "default"
    tta: bool = False
    answer_flagged: bool = False
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
    """What a search over settings tries.

    Attributes:
        trials: How many trainings it tries.
        warmup: Epochs before a trial may be pruned.
        seed: Of the search.
        space: For each ``section.key`` a list of values, or a range: a table with `low` and `high`,
            and `step`, or ``log = true`` for even steps by factors.
    """

    trials: Annotated[int, Field(ge=1)] = 20
    warmup: Count = 3
    seed: Count = 0
    space: dict[str, list[Scalar] | Range] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, config=_STRICT)
class Run:
    """A whole run, from files to results.

    Attributes:
        out: The folder for everything.
        data: Where the data is.
        phantom: Make the data up.
        prepare: How files become arrays.
        network: Which network.
        train: How it is trained.
        predict: What is predicted.
        tune: What a search tries.
    """

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
        if Path(path).exists() and not Path(path).is_file():  # a device may never end
            raise ConfigError(f"{path}: is not a regular file; name a TOML file")
        if Path(path).stat().st_size > _MOST_BYTES:
            raise ConfigError(f"{path}: has more than {_MOST_BYTES:,} bytes; is it a TOML file?")
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # a null byte in the name
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    return run_in(content, str(path), settings)


def run_in(content: bytes, name: str, settings: Iterable[str] = ()) -> Run:
    """Return the run that the content of a TOML file describes, as :func:`load_run` does.

    Args:
        content: Of the file.
        name: What messages call it.
        settings: As there.

    Raises:
        ConfigError: As there.
        SettingError: As there.
    """
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{name}: has more than {_MOST_BYTES:,} bytes; is it a TOML file?")
    try:
        table = _parsed(content.decode("utf-8-sig"))  # Notepad marks its files
    except (ValueError, RecursionError) as error:  # also for a number of thousands of digits
        raise ConfigError(f"{name}: is not TOML: {brief(str(error))}") from error
    run = parse(Run, table, name)  # a mistake in the file is named as the file's own
    return _parse_settings(table, settings, f"{name} with `set`") if settings else run


def make_run(settings: Iterable[str] = ()) -> Run:
    """Return the default run with `settings` (``section.key=value``) laid over it.

    Raises:
        SettingError: A wrong key, type or range.
    """
    return _parse_settings({}, settings, "`set`")


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
        raise ConfigError(say_what_is_wrong(error, kind, _SECTIONS, origin)) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, in base 16
        raise ConfigError(
            f"{origin}: contains a value that no setting can have ({error})"
        ) from error


def as_table(run: object) -> dict[str, Any]:
    """Return a dataclass of this module as nested plain values; absent sections are left out."""
    if not is_dataclass(run) or isinstance(run, type):
        raise TypeError(f"not a dataclass instance: {run!r}")
    return {key: value for key, value in asdict(run).items() if value is not None}


def as_toml(run: Run) -> str:
    """Return `run` as TOML that :func:`load_run` reads back to an equal run."""
    import tomli_w

    return tomli_w.dumps(as_table(run))


def _parsed(text: str) -> dict[str, Any]:
    """Return TOML as tables; a key of thousands of parts would take the parser for ever."""
    if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
        raise ValueError(f"a line has more than {_MOST_DOTS:,} dots")
    return tomllib.loads(text)


def _parse_settings(table: Mapping[str, Any], settings: Iterable[str], origin: str) -> Run:
    try:
        return parse(Run, _with_settings(table, settings), origin)
    except ConfigError as error:
        raise SettingError(str(error)) from error


def _with_settings(table: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    merged = copy.deepcopy(dict(table))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"`set` {setting}: write it as section.key=value")
        *sections, name = key.strip().split(".")
        inner = merged
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"`set` {setting}: {section} is a value, not a section")
        inner[name] = _toml_value(text)
    return merged


def _toml_value(text: str) -> Any:
    """Return the TOML value of `text`; what is none is text, so ``network.name=cnn`` works."""
    try:
        return _parsed(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text.strip()


_SECTIONS: dict[str, type] = {
    "data": Data,
    "labels": Labels,
    "phantom": Phantoms,
    "prepare": Prepare,
    "network": Network,
    "train": Train,
    "predict": Predict,
    "tune": Tune,
}
