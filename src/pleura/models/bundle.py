"""model.h5: one HDF5 file with all that a prediction needs, and no code in it.

::

    /                    attributes: format, pleura, network, preprocessing, operating_point,
                         presets, calibration, training, versions (JSON texts), card (text),
                         weights_digest
    /weights/<name>      one plain array for each parameter and buffer of the network
    /history/<column>    one number per epoch
    /training/trained_on the images that trained it, as 64 bits of their pixel hash each
    /calibration/        scores and values: the knots of an isotonic calibration, else empty
    /evaluation/json     the figures measured when it was trained, a JSON text as UTF-8 bytes

Reading needs no torch: an engine turns the arrays into whatever it runs.
"""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from pleura.config import Network, Size, parse
from pleura.errors import BundleError, ConfigError, UsageError
from pleura.formats.atomic import atomic_path
from pleura.models import shipped
from pleura.models import weights as stored

FORMAT = 3
"""Raised when a bundle of this version could be misread by an earlier pleura; 3: calibrated."""

_MAX_BYTES = 4 * 2**30
_KNOTS = ("scores", "values")

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a radiograph becomes network input.

    Attributes:
        size: Side length in pixels.
        preparation: Name of the rule in :mod:`pleura.data.prepare`; prediction checks it.
        mean: Subtracted from pixels in 0..1.
        std: What the difference is divided by.
    """

    size: Size
    preparation: str
    mean: float = 0.5
    std: Annotated[float, Field(gt=0)] = 0.25

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

    score: Share = 0.5
    mask: Share = 0.5
    min_area: Share = 0.0


PointName = Literal["default", "sensitive", "specific", "rule"]
"""The operating points that a bundle may hold, see :attr:`Bundle.points`."""

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

    method: CalibrationMethod = "identity"
    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    intercept: Annotated[float, Field(allow_inf_nan=False)] = 0.0
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
    """Return ``log(p / (1 - p))`` of scores in 0..1, float64, finite also for 0 and 1."""
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
        weights: Parameter and buffer arrays by name.
        preprocessing: How its input is made.
        operating_point: The thresholds in use.
        presets: Other thresholds by name: ``sensitive`` and ``specific`` reach 0.95 of either on
            the images they were chosen on, ``rule`` calls positive where that raises the expected
            Dice. One that could not be reached is absent.
        calibration: From the network's image score to the probability that thresholds are held
            against.
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
        parts = (self.network, self.preprocessing, self.calibration)
        points = {name: asdict(point) for name, point in self.points.items()}
        settings = [*(asdict(part) for part in parts), points]
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


def write_bundle(bundle: Bundle, path: str | os.PathLike[str], *, half: bool = False) -> None:
    """Write `bundle` to `path`, whole or not at all.

    Args:
        bundle: The model.
        path: The file.
        half: Store the weights that :func:`pleura.models.weights.rounded` rounded in 16 bits.

    Raises:
        OutputError: The file could not be written.
    """
    attributes = {
        "pleura_format": FORMAT,
        "pleura_version": version_of("pleura"),
        "network": json.dumps(asdict(bundle.network)),
        "preprocessing": json.dumps(asdict(bundle.preprocessing)),
        "operating_point": json.dumps(asdict(bundle.operating_point)),
        "presets": json.dumps({name: asdict(point) for name, point in bundle.presets.items()}),
        "calibration": json.dumps(
            {
                "method": bundle.calibration.method,
                "slope": bundle.calibration.slope,
                "intercept": bundle.calibration.intercept,
            }
        ),
        "training": json.dumps(dict(bundle.training)),
        "versions": json.dumps(dict(bundle.versions) or current_versions()),
        "card": bundle.card,
        "weights_digest": stored.digest(bundle.weights),
    }
    with atomic_path(path) as partial, h5py.File(partial, "w") as file:
        file.attrs.update(attributes)
        weights = stored.halved(bundle.weights) if half else bundle.weights
        stored.write_arrays(file.create_group("weights"), weights)
        columns = {name: np.asarray(column, float) for name, column in bundle.history.items()}
        stored.write_arrays(file.create_group("history"), columns)
        stored.write_arrays(file.create_group("training"), {"trained_on": bundle.trained_on})
        knots = {name: np.array(getattr(bundle.calibration, name), float) for name in _KNOTS}
        stored.write_arrays(file.create_group("calibration"), knots)
        # An attribute holds 64 KiB at most, and the figures of many strata may be more.
        text = json.dumps(dict(bundle.evaluation), allow_nan=False).encode()
        measured = {"json": np.frombuffer(text, np.uint8)}
        stored.write_arrays(file.create_group("evaluation"), measured)


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Return the bundle in the file at `path`, or the one of that name that comes with pleura.

    Raises:
        BundleError: The file is missing, truncated, corrupt, not a pleura model, or needs a later
            pleura.
    """
    file_path = shipped.file_of(path)
    if not file_path.is_file():
        raise BundleError(
            f"{path}: there is no such file; train a model with pleura train, or take one that "
            f"comes with pleura: {', '.join(shipped.names())}"
        )
    try:
        with h5py.File(file_path, "r") as file:
            return _read(file, file_path)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
    except ConfigError as error:
        raise BundleError(f"{path}: damaged settings: {error}") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise BundleError(
            f"{path}: cannot be read as a model.h5, it is truncated, damaged or something else "
            f"({type(error).__name__}: {_first_line(error)}); get the file again"
        ) from error


def current_versions() -> dict[str, str]:
    """Return the versions of Python, pleura and the libraries that numbers depend on."""
    names = ["pleura", "torch", "numpy", "pydicom", "imagecodecs", "opencv-python-headless", "h5py"]
    return {"python": platform.python_version(), **{name: version_of(name) for name in names}}


def _read(file: h5py.File, path: Path) -> Bundle:
    found = file.attrs.get("pleura_format")
    if found is None:
        raise BundleError(
            "is HDF5 but not a model of pleura (no pleura_format); models of other programs cannot "
            "be loaded"
        )
    if int(found) < FORMAT:
        raise BundleError(
            f"has format {int(found)}, of a pleura before its first release; train the model again"
        )
    if int(found) > FORMAT:
        raise BundleError(
            f"has format {int(found)}, written by pleura {_text(file, 'pleura_version')}; this "
            f"pleura reads up to {FORMAT}: install that version or a later one"
        )
    weights = stored.widened(stored.read_arrays(file["weights"], _MAX_BYTES))
    if stored.digest(weights) != _text(file, "weights_digest"):
        raise BundleError("its weights do not match their digest, it is damaged; get it again")
    history = stored.read_arrays(file["history"], _MAX_BYTES)
    trained_on = stored.read_arrays(file["training"], _MAX_BYTES)["trained_on"]
    measured = stored.read_arrays(file["evaluation"], _MAX_BYTES)["json"]
    return Bundle(
        network=_parsed(Network, file, "network"),
        weights=weights,
        preprocessing=_parsed(Preprocessing, file, "preprocessing"),
        operating_point=_parsed(OperatingPoint, file, "operating_point"),
        presets=_presets(file),
        calibration=_calibration(file),
        evaluation=dict(json.loads(measured.tobytes())),
        training=json.loads(_text(file, "training")),
        trained_on=trained_on.astype(np.uint64),
        history={name: column.tolist() for name, column in history.items()},
        card=_text(file, "card"),
        versions=json.loads(_text(file, "versions")),
        path=path,
    )


def _presets(file: h5py.File) -> dict[PointName, OperatingPoint]:
    found = json.loads(_text(file, "presets"))
    names = [name for name in get_args(PointName) if name in found]
    return {name: parse(OperatingPoint, found[name], f"presets.{name}") for name in names}


def _calibration(file: h5py.File) -> Calibration:
    knots = stored.read_arrays(file["calibration"], _MAX_BYTES)
    columns = {name: np.asarray(knots[name], float).tolist() for name in _KNOTS}
    plain = json.loads(_text(file, "calibration"))
    return parse(Calibration, {**plain, **columns}, "calibration")


T = TypeVar("T")


def _parsed(kind: type[T], file: h5py.File, name: str) -> T:
    return parse(kind, json.loads(_text(file, name)), name)


def _text(file: h5py.File, name: str) -> str:
    value = file.attrs[name]
    if not isinstance(value, str):
        raise BundleError(f"its attribute {name} is not a text")
    return value


def version_of(package: str) -> str:
    """Return the version of an installed package, or that it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
