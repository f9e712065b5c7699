"""Export as a stage: a model.h5 -> a file for another engine, if it answers alike.

Nothing is written before the file's own content, read back and run by its engine, has been held
against torch.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pleura import metrics
from pleura.data.arrays import open_prepared
from pleura.data.files import expand
from pleura.data.prepare import Frame, prepare_pixels
from pleura.data.unchanged import read_shown
from pleura.engines.choice import open_engine
from pleura.engines.convert import to_onnx, to_openvino
from pleura.engines.engine import Engine, Probabilities
from pleura.engines.quantise import quantise
from pleura.errors import BundleError, DataError, UsageError
from pleura.inference.prediction import finish
from pleura.models.bundle import Bundle, version_of
from pleura.models.model_file import read_model
from pleura.models.onnx_file import onnx_bytes, parse_onnx
from pleura.models.openvino_file import openvino_bytes, parse_openvino
from pleura.storage.atomic import write_bytes
from pleura.synthesis.phantom import draw_phantom

Kind = Literal["onnx", "openvino"]
Masks = NDArray[np.bool_]
"""``(n, S, S)``."""

TOLERANCE = 5e-4
"""What a probability in float32 may be off torch's; rounding gives 1e-6 to 1e-4, by network."""

SUFFIX: dict[Kind, str] = {"onnx": ".onnx", "openvino": ".xml"}

PHANTOMS = 8
"""Made-up radiographs that are drawn where none are given."""

CHECKED = 32
"""Radiographs of a folder that a float file is held against torch on, evenly spread over it."""

CALIBRATED = 300
"""Radiographs of a folder that int8 is calibrated on, and that its loss is measured on."""

MAX_DICE_LOSS = 0.01
"""What int8 may lose of Dice by default."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """What two engines are compared on.

    Attributes:
        pixels: ``(n, S, S)`` uint8, prepared.
        masks: ``(n, S, S)`` bool, annotated; None where nobody annotated them.
        source: What they are, in words.
    """

    pixels: NDArray[np.uint8]
    masks: NDArray[np.bool_] | None
    source: str

    def rows(self, which: NDArray[np.bool_] | slice, note: str = "") -> "Pictures":
        """Return those of `which`, ``(n,)`` bool or a slice, with `note` behind their source."""
        masks = None if self.masks is None else self.masks[which]
        return Pictures(self.pixels[which], masks, self.source + note)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the exported network answers beside torch in float32.

    Attributes:
        images: How many radiographs.
        source: What they are, in words.
        largest: Largest difference of a probability, of maps and image scores.
        calls_changed: Images that are called otherwise at the default operating point.
        pixels_changed: Pixels of all masks that are decided otherwise.
    """

    images: int
    source: str
    largest: float
    calls_changed: int
    pixels_changed: int


@dataclass(frozen=True, slots=True)
class Int8:
    """What 8-bit integers cost.

    Attributes:
        calibrated_on: What the ranges were measured on, in words.
        against: ``annotations``, or ``float mask`` where there are none.
        images: How many radiographs the loss was measured on, none of them calibrated on.
        float_dice: Mean Dice of torch's masks; 1 against itself.
        int8_dice: Mean Dice of the int8 masks against the same.
        float_positive_dice: The same over images with a mask; None where there is none.
        int8_positive_dice: The same of the int8 masks.
    """

    calibrated_on: str
    against: Literal["annotations", "float mask"]
    images: int
    float_dice: float
    int8_dice: float
    float_positive_dice: float | None
    int8_positive_dice: float | None

    @property
    def loss(self) -> float:
        """What is lost of mean or of positive Dice, whichever is more."""
        loss = self.float_dice - self.int8_dice
        if self.float_positive_dice is None or self.int8_positive_dice is None:
            return loss
        return max(loss, self.float_positive_dice - self.int8_positive_dice)


@dataclass(frozen=True, slots=True)
class ExportCheck:
    """What an export found.

    Attributes:
        files: What was written.
        engine: What runs it, as in :attr:`Engine.name`.
        agreement: Beside torch.
        int8: What it costs, where asked for.
    """

    files: tuple[Path, ...]
    engine: str
    agreement: Agreement
    int8: Int8 | None = None


def export_model(
    bundle: Bundle,
    kind: Kind,
    out: Path,
    *,
    check: Path | None = None,
    calibration: Path | None = None,
    max_dice_loss: float = MAX_DICE_LOSS,
) -> ExportCheck:
    """Write `bundle` as a file for another engine, unless it answers otherwise than torch.

    Args:
        bundle: A model with weights.
        kind: For which engine.
        out: The file, ``.onnx`` or ``.xml`` (beside which a ``.bin`` is written).
        check: Radiographs to compare on: a prepared folder, or DICOM files. Phantoms are drawn
            where it is None.
        calibration: The same, for int8, which is not made where it is None. The loss is measured on
            those of `check` that are not among them, or without `check` on every third of these,
            which is then not calibrated on.
        max_dice_loss: What int8 may lose of mean or positive Dice.

    Raises:
        UsageError: The file's name does not fit, or the extra is not installed.
        DataError: There are no radiographs, or they are prepared at another size.
        BundleError: The network cannot be converted, or it does not answer as torch does.
        OutputError: The file could not be written.
    """
    if out.suffix != SUFFIX[kind]:
        raise UsageError(f"`out` {out}: a file for {kind} ends in {SUFFIX[kind]}")
    made = (to_onnx if kind == "onnx" else to_openvino)(bundle)
    bundle = replace(bundle, versions={**bundle.versions, kind: version_of(kind)})
    size = bundle.preprocessing.size
    reference = open_engine(bundle, "torch", precision="fp32")
    if calibration is None:
        engine = _reopened(replace(bundle, exported=made), out)
        agreement = _compare(bundle, reference, engine, take_pictures(check, size, CHECKED))[0]
        _require_agreement(agreement, out)
        return ExportCheck(_write(replace(bundle, exported=made), out), engine.name, agreement)
    chosen, held_apart = _apart(calibration, check, size)
    made = quantise(made, list(chosen.pixels))
    engine = _reopened(replace(bundle, exported=made), out)
    agreement, ours, theirs = _compare(bundle, reference, engine, held_apart)
    int8 = _cost(chosen.source, held_apart, ours, theirs)
    if int8.loss > max_dice_loss:
        raise BundleError(
            f"{out}: not written; int8 loses {int8.loss:.4f} of Dice (measured against the "
            f"{int8.against} of {int8.images} images), more than `max_dice_loss` {max_dice_loss}; "
            "calibrate on more images, or export without `int8`"
        )
    return ExportCheck(_write(replace(bundle, exported=made), out), engine.name, agreement, int8)


def take_pictures(path: Path | None, size: int, most: int) -> Pictures:
    """Return prepared radiographs, at most so many, evenly spread over what `path` holds.

    Args:
        path: A prepared folder, a folder or glob of DICOM files, or None for phantoms drawn now.
        size: Side length in pixels.
        most: How many at most.

    Raises:
        DataError: There are none, or the folder is prepared at another size.
        DicomError: A file cannot be read.
    """
    if path is None:
        rng = np.random.default_rng(0)
        drawn = [
            draw_phantom(rng, size=512, pneumothorax=bool(number % 2)) for number in range(PHANTOMS)
        ]
        pixels = np.stack([prepare_pixels(one.pixels, size) for one in drawn])
        return Pictures(pixels, None, f"{PHANTOMS} phantoms drawn for it, no real radiographs")
    if not (path / "manifest.json").is_file():
        files = expand([str(path)]).files
        chosen = [files[number] for number in _spread(len(files), most)]
        pixels = np.stack([read_shown(one, size).pixels for one in chosen])
        return Pictures(pixels, None, f"{len(chosen)} radiographs of {path}")
    prepared = open_prepared(path)
    prepared.require_size(size)
    if not len(prepared.x_train):
        raise DataError(f"{path}: holds no labelled radiograph; name another folder")
    annotated = np.flatnonzero(prepared.annotated)
    if not annotated.size:
        rows = _spread(len(prepared.x_train), most)
        source = f"{len(rows)} radiographs of {path}, without masks"
        return Pictures(prepared.x_train[rows], None, source)
    rows = annotated[_spread(annotated.size, most)]
    source = f"{len(rows)} annotated radiographs of {path}"
    return Pictures(prepared.x_train[rows], prepared.y_train[rows].astype(np.bool_), source)


def _spread(count: int, most: int) -> NDArray[np.int64]:
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def _apart(calibration: Path, check: Path | None, size: int) -> tuple[Pictures, Pictures]:
    """Return what int8 is calibrated on, and what its loss is measured on: no picture is in both.

    Raises:
        DataError: Nothing is left of one of them.
    """
    found = take_pictures(calibration, size, CALIBRATED)
    if check is None:
        third = np.arange(len(found.pixels)) % 3 == 2
        chosen, judged = found.rows(~third), found.rows(third)
    else:
        chosen, judged = found, take_pictures(check, size, CALIBRATED)
    known = {one.tobytes() for one in chosen.pixels}
    new = np.array([one.tobytes() not in known for one in judged.pixels], np.bool_)
    if not new.any():
        raise DataError(
            f"{check or calibration}: no image is left to measure the loss on that int8 was not "
            "calibrated on; give more, or others with `check`"
        )
    note = f" ({len(known)} of them, all others than the loss is measured on)"
    return chosen.rows(slice(None), note), judged.rows(new, f" ({new.sum()} of them)")


def _reopened(bundle: Bundle, path: Path) -> Engine:
    """Return the engine that runs what would be written, read back from it."""
    content = _content(bundle, path)
    if len(content) == 1:
        return open_engine(parse_onnx(content[path], path), precision="fp32")
    weights = content[path.with_suffix(".bin")]
    return open_engine(parse_openvino(content[path], weights, path), precision="fp32")


def _content(bundle: Bundle, path: Path) -> dict[Path, bytes]:
    """Return what stands in each file, in the order in which they are written."""
    exported = bundle.exported
    if exported is None:
        raise AssertionError("nothing was exported")
    if exported.kind == "onnx":
        return {path: onnx_bytes(bundle, exported)}
    return {path.with_suffix(".bin"): exported.weights, path: openvino_bytes(bundle, exported)}


def _write(bundle: Bundle, path: Path) -> tuple[Path, ...]:
    content = _content(bundle, path)
    for file, part in content.items():
        write_bytes(file, part)
    read_model(path)  # its digests are those just computed, or this raises
    return tuple(reversed(content))


def _compare(
    bundle: Bundle, reference: Engine, engine: Engine, pictures: Pictures
) -> tuple[Agreement, Masks, Masks]:
    """Return how the two engines agree, and the masks ``(n, S, S)`` of either."""
    masks = tuple(np.empty(pictures.pixels.shape, np.bool_) for _ in range(2))
    distances = [0.0]
    for number, pixels in enumerate(pictures.pixels):
        both = [one.probabilities(pixels[None]) for one in (reference, engine)]
        distances += [float(np.abs(one - other).max()) for one, other in zip(*both, strict=True)]
        for kept, found in zip(masks, both, strict=True):
            kept[number] = _mask(bundle, found)
    ours, theirs = masks
    agreement = Agreement(
        images=len(pictures.pixels),
        source=pictures.source,
        largest=float(np.max(distances)),  # NaN, if there is one
        calls_changed=int(np.count_nonzero(ours.any((1, 2)) != theirs.any((1, 2)))),
        pixels_changed=int(np.count_nonzero(ours != theirs)),
    )
    return agreement, ours, theirs


def _mask(bundle: Bundle, found: Probabilities) -> NDArray[np.bool_]:
    size = bundle.preprocessing.size
    if not (np.isfinite(found.maps).all() and np.isfinite(found.scores).all()):
        return np.zeros((size, size), np.bool_)  # the distance, which is NaN then, refuses it
    prediction = finish(
        "",
        found.maps[0],
        float(found.scores[0]),
        Frame(size, size, size),
        bundle.operating_point,
        calibration=bundle.calibration,
    )
    return prediction.mask


def _require_agreement(agreement: Agreement, out: Path) -> None:
    # NaN is within no bound.
    if not agreement.largest <= TOLERANCE or agreement.calls_changed:
        raise BundleError(
            f"{out}: not written; on {agreement.source} it differs from torch by up to "
            f"{agreement.largest:.2g} (at most {TOLERANCE:g} is rounding) and calls "
            f"{agreement.calls_changed} of {agreement.images} images otherwise; the engine "
            "computes something else, use the model.h5 with `engine` torch"
        )


def _cost(source: str, pictures: Pictures, ours: Masks, theirs: Masks) -> Int8:
    truth = ours if pictures.masks is None else pictures.masks
    positive = truth.any((1, 2))
    dices = [
        np.array([metrics.dice_coeff(*pair, smooth=0) for pair in zip(truth, masks, strict=True)])
        for masks in (ours, theirs)
    ]
    means = [float(dice.mean()) for dice in dices]
    over = [float(dice[positive].mean()) if positive.any() else None for dice in dices]
    return Int8(
        calibrated_on=source,
        against="float mask" if pictures.masks is None else "annotations",
        images=len(truth),
        float_dice=means[0],
        int8_dice=means[1],
        float_positive_dice=over[0],
        int8_positive_dice=over[1],
    )
