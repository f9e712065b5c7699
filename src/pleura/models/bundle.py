"""model.h5: one file with all that a prediction needs, and no code in it.

It is HDF5 for whoever opens it with another program, see :mod:`pleura.models.sealed_file`::

    /                    attributes: pleura_format, pleura_version
    /about               all but the weights, a JSON text: the fields of :class:`About`
    /weights/<name>      one plain array for each parameter and buffer of the network

Reading needs neither torch nor HDF5: an engine turns the arrays into whatever it runs.
"""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field

from pleura.choices import PointName
from pleura.config import Network, Size, parse
from pleura.errors import BundleError, ConfigError, UsageError
from pleura.models import shipped
from pleura.models import weights as stored
from pleura.models.sealed_file import (
    Columns,
    Finite,
    as_columns,
    as_history,
    read_sealed,
    write_sealed,
)

FORMAT = 5
"""Raised when a bundle of this version could be misread by an earlier pleura; 4: sealed."""

_MAX_BYTES = 4 * 2**30

_STRICT = ConfigDict(extra="forbid", strict=True)
"""What is read from a file: an unknown key is refused, and nothing is converted."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a radiograph becomes network input.

    Attributes:
        size: Side length in pixels.
        preparation: Name of the rule in :mod:`pleura.data.prepare`; prediction checks it.
        mean: Subtracted from pixels in 0..1.
        std: What the difference is divided by.
    """

    __pydantic_config__ = _STRICT

    size: Size
    preparation: str
    mean: Finite = 0.5
    std: Positive = 0.25

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return uint8 pixels of any shape as float32 network input: ``(x / 255 - mean) / std``."""
        scale, shift = np.float32(1 / (255 * self.std)), np.float32(self.mean / self.std)
        return pixels.astype(np.float32) * scale - shift


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The thresholds in use.

    An image is called positive when its score reaches `score` and its mask has at least `min_area`;
    the mask is where the probability exceeds `mask`.

    Attributes:
        score: Threshold on the calibrated image score, 0..1.
        mask: Threshold on a pixel's probability, 0..1.
        min_area: Smallest mask that is kept, as a share of the image's pixels.
    """

    __pydantic_config__ = _STRICT

    score: Share = 0.5
    mask: Share = 0.5
    min_area: Share = 0.0

    @property
    def in_words(self) -> str:
        """The thresholds as people read them."""
        return (
            f"score at least {self.score:.3f}, mask where the probability exceeds {self.mask:.2f}, "
            f"smallest area {100 * self.min_area:.3g} % of the image"
        )


CalibrationMethod = Literal["identity", "platt", "isotonic"]

_SMALLEST = 1e-15
"""Scores are kept so far from 0 and 1, where a logit is infinite."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """From the network's image score to a probability; never decreasing, so ranks stay.

    ``platt`` gives ``sigmoid(slope * logit(score) + intercept)``, strictly increasing: no ranking,
    and so no AUROC, changes. ``isotonic`` interpolates between knots, and scores may become equal.
    ``identity`` leaves the score as it is.

    Attributes:
        method: Which of the three.
        slope: Of ``platt``, above 0; its inverse is the temperature.
        intercept: Of ``platt``.
        scores: Of ``isotonic``: the knots' scores, rising.
        values: Of ``isotonic``: the knots' probabilities, never falling.

    Raises:
        ValueError: The knots are not such.
    """

    __pydantic_config__ = _STRICT

    method: CalibrationMethod = "identity"
    slope: Positive = 1.0
    intercept: Finite = 0.0
    scores: tuple[Share, ...] = ()
    values: tuple[Share, ...] = ()

    def __post_init__(self) -> None:
        """Check what interpolation relies on."""
        rising = bool(np.all(np.diff(self.scores) > 0) and np.all(np.diff(self.values) >= 0))
        inside = all(0 <= number <= 1 for number in (*self.scores, *self.values))
        known = bool(self.scores) == (self.method == "isotonic")
        if not (rising and inside and known and len(self.scores) == len(self.values)):
            raise ValueError(
                f"a {self.method} calibration with {len(self.scores)} scores and "
                f"{len(self.values)} values; isotonic alone has knots, with rising scores and "
                "values that never fall, all in 0..1"
            )

    @property
    def in_words(self) -> str:
        """What a calibrated score is, as people read it."""
        if self.method == "platt":
            return (
                f"calibrated by Platt's line on its logit (slope {self.slope:.3f}, intercept "
                f"{self.intercept:.3f})"
            )
        if self.method == "isotonic":
            return f"calibrated by isotonic regression ({len(self.scores)} knots)"
        return "the network's own, not calibrated"

    def apply(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Return the calibrated scores, float64 in 0..1, for image scores of any shape in 0..1."""
        raw = np.asarray(scores, np.float64)
        if self.method == "identity":
            return raw
        if self.method == "isotonic":
            return np.asarray(np.interp(raw, self.scores, self.values), np.float64)
        line = self.slope * score_logit(raw) + self.intercept
        return np.asarray(np.exp(-np.logaddexp(0, -line)), np.float64)  # the sigmoid


def score_logit(scores: ArrayLike) -> NDArray[np.float64]:
    """Return ``log(p / (1 - p))`` of scores of any shape, 0..1, as float64, finite for all."""
    inside = np.clip(np.asarray(scores, np.float64), _SMALLEST, 1 - _SMALLEST)
    return np.asarray(np.log(inside) - np.log1p(-inside), np.float64)


@dataclass(frozen=True, slots=True)
class Exported:
    """A network as a graph that another program runs, in place of weights.

    It takes ``pixels`` ``(N, S, S)`` uint8 as they are prepared, and gives ``maps`` ``(N, S, S)``
    and ``scores`` ``(N,)``, float32 probabilities.

    Attributes:
        kind: The engine that runs it.
        graph: The ONNX file without its metadata, or the text of OpenVINO's .xml without them.
        weights: Of openvino: the content of the .bin.
        precision: ``int8`` where it was quantised.
        model_digest: :attr:`Bundle.digest` of the model.h5 it was made from.
    """

    kind: Literal["openvino", "onnx"]
    graph: bytes
    weights: bytes = b""
    precision: Literal["fp32", "int8"] = "fp32"
    model_digest: str = ""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A trained network with everything a prediction needs.

    Attributes:
        network: Its name and settings, defaults filled in.
        weights: Parameters and buffers by name, each of a shape and dtype of its own.
        preprocessing: How its input is made.
        operating_point: The thresholds in use.
        presets: Other thresholds by name. On the images they were chosen on, ``sensitive`` reaches
            a sensitivity of 0.95 and ``specific`` a specificity of 0.95; ``rule`` calls positive
            where that raises the expected Dice. One that could not be reached is absent.
        calibration: Makes of the network's image score the probability that is compared with the
            thresholds.
        evaluation: The figures measured when it was trained, as in ``pleura evaluate --json``;
            empty where nobody measured any.
        training: What it was trained on and how: plain values, ``fingerprint`` among them.
        trained_on: ``(n,)`` uint64, the first 64 bits of the pixel hash of each image that trained
            it, so that evaluation never counts one of them.
        history: One list of numbers per column, an entry per epoch.
        card: The model card, Markdown.
        versions: Versions of pleura and of what it was made with.
        path: Where it was read from, or None.
        exported: The network as a graph, where the file is one that ``pleura export`` wrote; the
            weights are then empty.
    """

    network: Network
    weights: Mapping[str, NDArray[np.generic]]
    preprocessing: Preprocessing
    operating_point: OperatingPoint = OperatingPoint()
    presets: Mapping[PointName, OperatingPoint] = field(default_factory=dict)
    calibration: Calibration = Calibration()
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    trained_on: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    history: Mapping[str, list[float]] = field(default_factory=dict)
    card: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    path: Path | None = None
    exported: Exported | None = None

    @property
    def digest(self) -> str:
        """SHA-256 over weights, network, preprocessing, calibration and thresholds.

        It is what a result depends on.
        """
        parts = (self.preprocessing, self.calibration)
        points = {name: asdict(point) for name, point in self.points.items()}
        settings = [_used(self.network), *(asdict(part) for part in parts), points]
        arrays = {" settings": json.dumps(settings).encode()}
        if self.exported is not None:
            arrays |= {" graph": self.exported.graph, " weights": self.exported.weights}
        return stored.digest(
            {
                **self.weights,
                **{name: np.frombuffer(content, np.uint8) for name, content in arrays.items()},
            }
        )

    @property
    def points(self) -> dict[PointName, OperatingPoint]:
        """Every operating point by name, ``default`` first."""
        return {"default": self.operating_point, **self.presets}

    def at(self, name: str) -> "Bundle":
        """Return the bundle with the operating point of that name in use.

        Raises:
            UsageError: It holds none of that name.
        """
        for known, point in self.points.items():
            if known == name:
                return replace(self, operating_point=point)
        raise UsageError(
            f"{self.path or 'the model'}: holds no operating point {name}; it has "
            f"{', '.join(self.points)}"
        )


@dataclass(frozen=True, slots=True)
class About:
    """All that a file says of a model but its network's weights or graph, as JSON holds it.

    The fields are those of :class:`Bundle`.

    Attributes:
        trained_on: As plain numbers.
        history: None is what was not measured.
    """

    __pydantic_config__ = _STRICT

    network: Network
    preprocessing: Preprocessing
    operating_point: OperatingPoint
    presets: dict[PointName, OperatingPoint]
    calibration: Calibration
    evaluation: dict[str, Any]
    training: dict[str, Any]
    trained_on: list[Annotated[int, Field(ge=0, lt=2**64)]]
    history: Columns
    card: str
    versions: dict[str, str]

    @classmethod
    def of(cls, bundle: Bundle) -> "About":
        """Return what there is to say of `bundle`."""
        return cls(
            network=bundle.network,
            preprocessing=bundle.preprocessing,
            operating_point=bundle.operating_point,
            presets=dict(bundle.presets),
            calibration=bundle.calibration,
            evaluation=dict(bundle.evaluation),
            training=dict(bundle.training),
            trained_on=bundle.trained_on.tolist(),
            history=as_columns(bundle.history),
            card=bundle.card,
            versions=dict(bundle.versions) or current_versions(),
        )

    def bundle(
        self, weights: stored.Arrays, path: Path, exported: Exported | None = None
    ) -> Bundle:
        """Return the bundle with these weights or this graph, read from `path`."""
        return Bundle(
            network=self.network,
            weights=weights,
            preprocessing=self.preprocessing,
            operating_point=self.operating_point,
            presets=self.presets,
            calibration=self.calibration,
            evaluation=self.evaluation,
            training=self.training,
            trained_on=np.array(self.trained_on, np.uint64),
            history=as_history(self.history),
            card=self.card,
            versions=self.versions,
            path=path,
            exported=exported,
        )


def _used(network: Network) -> dict[str, Any]:
    """Return a network's settings for a digest.

    One that came later and is at its default is left out, so that models keep their digests.
    """
    settings = asdict(replace(network, members=[]))
    if not network.closer:
        del settings["closer"]
    return {**settings, "members": [_used(member) for member in network.members]}


def write_bundle(bundle: Bundle, path: str | os.PathLike[str], *, half: bool = False) -> None:
    """Write `bundle` to `path`, whole or not at all.

    Args:
        bundle: The model.
        path: The file.
        half: Store the weights that :func:`pleura.models.weights.rounded` rounded in 16 bits.

    Raises:
        BundleError: The weights are not finite.
        OutputError: The file could not be written.
    """
    try:
        stored.check_finite(bundle.weights)
    except BundleError as error:
        raise BundleError(
            f"{path}: is not written: {error}; the training went astray, lower "
            "train.learning_rate or set train.clip"
        ) from error
    weights = stored.halve(bundle.weights) if half else bundle.weights
    about = asdict(About.of(bundle))
    write_sealed(path, "model", (FORMAT, version_of("pleura")), about, {"weights": weights})


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Return the bundle in the file at `path`, or the one of that name that comes with pleura.

    Raises:
        BundleError: The file is missing, truncated, changed since it was written, not a pleura
            model, or needs a later pleura.
    """
    file = shipped.file_of(path)
    missing = (
        "there is no such file; train a model with pleura train, or take one that comes with "
        f"pleura: {', '.join(shipped.names())}"
    )
    try:
        contents = read_sealed(file, "model", FORMAT, _MAX_BYTES, missing)
        weights = stored.widen(contents.group("weights"))
        stored.check_finite(weights)
        return parse(About, contents.about, "its text").bundle(weights, file)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
    except (ConfigError, RecursionError) as error:
        raise BundleError(f"{path}: damaged: {str(error)[:300]}") from error


def current_versions() -> dict[str, str]:
    """Return the versions of Python, pleura and the libraries that numbers depend on."""
    names = ["pleura", "torch", "numpy", "pydicom", "imagecodecs", "opencv-python-headless", "h5py"]
    return {"python": platform.python_version(), **{name: version_of(name) for name in names}}


def version_of(package: str) -> str:
    """Return the version of an installed package, or that it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
