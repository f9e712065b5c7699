"""A loaded model that predicts files and streams of files."""

import functools
import os
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from operator import length_hint
from pathlib import Path
from typing import Any, NoReturn, overload

import numpy as np
from numpy.typing import NDArray

from pleura.choices import EngineName, Precision
from pleura.data.prepare import PREPARATION, Frame, prepare_pixels
from pleura.engines.choice import open_engine
from pleura.engines.engine import Engine, Probabilities
from pleura.errors import AnswerError, BundleError, PictureError, UsageError
from pleura.inference.averaging import Averaged, require_alike
from pleura.inference.line import Ran, open_line, run_network
from pleura.inference.prediction import Prediction, finish
from pleura.inference.readers import Failed, Readers, Ready
from pleura.inference.tables import Provenance
from pleura.models.bundle import Bundle, current_versions
from pleura.models.model_file import read_model
from pleura.models.shipped import DEFAULT

_FEW_BITS = 14
"""Pixels of 16 bits that take no more are of fewer bits: a picture to look at has its white."""

_MODES = ("1", "L", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX", "I", "F", "I;16", "I;16L", "I;16B")
"""Pictures of Pillow whose values are grey, or channels of it."""


class Predictor:
    """A model ready to predict. Make one with :func:`load`.

    Args:
        bundle: The model.
        engine: What runs its network; by default what :func:`open_engine` takes for the CPU.
        others: Further models that the engine averages with, alike in all but their weights.
        answer_flagged: Whether radiographs that are flagged are answered all the same; else they
            are not assessed.

    Raises:
        BundleError: The bundle prepares images in a way that this pleura does not know.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine | None = None,
        others: Sequence[Bundle] = (),
        *,
        answer_flagged: bool = False,
    ) -> None:
        if bundle.preprocessing.preparation != PREPARATION:
            raise BundleError(
                f"{bundle.path or 'model'}: prepares images by "
                f"{bundle.preprocessing.preparation!r}, this pleura by {PREPARATION!r}; use the "
                f"pleura that wrote it ({bundle.versions.get('pleura', 'unknown version')})"
            )
        self.bundle = bundle
        self.engine = engine or open_engine(bundle)
        self.answer_flagged = answer_flagged
        self._others = tuple(others)

    @property
    def title(self) -> str:
        """What the models are called, for people: their files and their network."""
        files = [bundle.path.name for bundle in (self.bundle, *self._others) if bundle.path]
        network = f"{self.bundle.network.name} at {self.bundle.preprocessing.size} px"
        return f"{' + '.join(files)} ({network})" if files else network

    @functools.cached_property
    def digest(self) -> str:
        """The model's digest; of several models, one over all of theirs in their order."""
        digests = [bundle.digest for bundle in (self.bundle, *self._others)]
        return sha256(" ".join(digests).encode()).hexdigest() if self._others else digests[0]

    @functools.cached_property
    def provenance(self) -> Provenance:
        """What its answers are made with."""
        return Provenance(
            model=self.digest,
            engine=self.engine.name,
            point=self.bundle.operating_point,
            pleura=current_versions()["pleura"],
        )

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            "a loaded model cannot be copied or sent to another process; call pleura.load there"
        )

    def __repr__(self) -> str:
        return f"Predictor({self.title}, {self.engine.name})"

    @overload
    def predict(self, radiograph: list[Any]) -> list[Prediction]: ...

    @overload
    def predict(self, radiograph: Any) -> Prediction: ...

    def predict(self, radiograph: Any) -> Prediction | list[Prediction]:
        """Return the prediction for a radiograph; for a list, the predictions in its order.

        Args:
            radiograph: The path of a DICOM file or a plain picture (PNG, JPEG, TIFF, NIfTI), or its
                bytes; a :class:`pleura.Radiograph`; a data set of pydicom; or pixels as for
                :meth:`predict_pixels`, as an array or a picture of PIL, where equal channels count
                as one. Or a list of any of these.

        Raises:
            InputError: It is not a radiograph that pleura can read.
            UsageError: It is none of these, or pixels of another shape or dtype.
            AnswerError: The network's answer for it is not a finite number.
        """
        from pleura.dicom.radiograph import Radiograph  # elsewhere other processes do it
        from pleura.inference import reading

        if isinstance(radiograph, list):
            return list(map(self.predict, radiograph))
        size = self.bundle.preprocessing.size
        if isinstance(radiograph, (str, os.PathLike)):
            ready = reading.read(Path(radiograph), size)
        elif isinstance(radiograph, (bytes, bytearray, memoryview)):
            ready = reading.read_bytes(bytes(radiograph), size)
        elif isinstance(radiograph, Radiograph):
            ready = reading.prepare(radiograph, size)
        elif hasattr(radiograph, "save_as"):  # pydicom need not be imported to know its data sets
            ready = reading.read_bytes(reading.dataset_bytes(radiograph), size)
        elif hasattr(radiograph, "__array__") or hasattr(radiograph, "__array_interface__"):
            return self.predict_pixels(_plane(_shown(radiograph)))
        else:
            raise UsageError(
                f"{type(radiograph).__name__} is no radiograph; give a path, the bytes of a "
                "file, a Radiograph, a data set of pydicom, an array (rows, columns), a picture, or"
                " a list of these"
            )
        return self._alone(ready)

    def predict_pixels(self, pixels: NDArray[Any], image_id: str = "") -> Prediction:
        """Return the prediction for pixels that are ready to look at, whatever they came from.

        Only the picture is judged; what a file's header says is not known here.

        Args:
            pixels: ``(rows, columns)`` uint8 or uint16, 0 black, the dtype's largest value white,
                as in :class:`pleura.dicom.radiograph.Radiograph`. Windowed and not inverted: the
                network learned from pictures as a viewer shows them. Values of uint16 that take 14
                bits or fewer are stretched by these, as those of a plain picture are, with a note.
            image_id: What the prediction is to be called.

        Raises:
            UsageError: The pixels are of another shape or dtype.
            AnswerError: The network's answer for them is not a finite number.
        """
        pixels = np.asarray(pixels, pixels.dtype.newbyteorder("="))
        if pixels.ndim != 2 or not pixels.size or pixels.dtype not in (np.uint8, np.uint16):
            raise UsageError(
                f"pixels are {pixels.dtype} of shape {pixels.shape}; a radiograph is one plane of "
                "uint8 or uint16, (rows, columns)"
            )
        from pleura.pictures.flags import judge  # elsewhere other processes do it

        pixels, note = _stretched(pixels)
        rows, columns = pixels.shape
        size = self.bundle.preprocessing.size
        prepared, frame = prepare_pixels(pixels, size), Frame(rows, columns, size)
        judged = judge(pixels, size=size)
        ready = Ready(Path(), image_id, prepared, frame, judged.score, judged.flags, note)
        return self._alone(ready)

    def predict_many(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        batch: int = 4,
        readers: Readers | None = None,
        progress: bool = False,
    ) -> Generator[Prediction | Failed]:
        """Yield the prediction for each file, in order, or a :class:`Failed` that says why not.

        Files are read in other processes, which are killed where a file takes too long or too much
        memory. Only a few files are in memory at a time, however many there are.

        Args:
            paths: DICOM files or plain pictures.
            batch: Images that go through the network together.
            readers: The processes that read; by default they are started here, and ended.
            progress: Whether a bar is shown: in a notebook one of its own, else on stderr.

        Raises:
            UsageError: The batch is less than 1.
            PleuraError: A reading process could not be started.
        """
        with open_line(readers, batch) as line:
            sources = ((Path(path), None) for path in paths)
            read = line.read(sources, self.bundle.preprocessing.size)
            answers = line.beside(self._to_be_shown, line.run(read, self.engine))
            yield from _with_bar(answers, length_hint(paths)) if progress else answers

    def decided(self, ran: Ran | Failed) -> Prediction | Failed:
        """Return what the thresholds make of the network's answer, or why there is none."""
        if isinstance(ran, Failed):
            return ran
        try:
            return self._decide(*ran)
        except AnswerError as error:
            return Failed(ran[0].path, str(error))

    def _to_be_shown(self, ran: Ran | Failed) -> Prediction | Failed:
        found = self.decided(ran)
        if isinstance(ran, Failed) or isinstance(found, Failed):
            return found
        return replace(found, prepared=ran[0].pixels)

    def _alone(self, ready: Ready) -> Prediction:
        return replace(
            self._decide(ready, next(run_network([ready], self.engine))), prepared=ready.pixels
        )

    def _decide(self, ready: Ready, said: Probabilities) -> Prediction:
        prediction = finish(
            ready.image_id,
            said.maps[0],
            float(said.scores[0]),
            ready.frame,
            self.bundle.operating_point,
            said.seconds,
            self.bundle.calibration,
            ready.flags,
            self.answer_flagged,
        )
        return replace(prediction, guard=ready.guard, notes=ready.notes)


def _with_bar(answers: Iterable[Prediction | Failed], total: int) -> Iterable[Prediction | Failed]:
    """Return the answers with a bar of how many of them there were; `total` 0 is not known."""
    from tqdm.auto import tqdm

    bar: Iterable[Prediction | Failed] = tqdm(answers, total=total or None, unit="radiographs")
    return bar


def _shown(picture: Any) -> NDArray[Any]:
    """Return the values of an array, or of a picture of Pillow as they are to be looked at.

    Raises:
        UsageError: They are colours of other channels, or say that they are to be turned first.
    """
    mode = getattr(picture, "mode", None)
    if not (isinstance(mode, str) and hasattr(picture, "getexif")):
        return np.asarray(picture)
    from pleura.formats.turned import RULE, orientation_of

    if mode in ("P", "PA"):
        picture = picture.convert("RGB")  # its values are places in a table of colours
    elif mode not in _MODES:
        raise UsageError(
            f"the picture has the mode {mode[:16]}; give one of L, RGB or I;16: convert it"
        )
    if turned := orientation_of(picture):
        raise UsageError(f"the picture {RULE.format(turned)}")
    return np.asarray(picture)


def _stretched(pixels: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """Return pixels whose white is that of their type, and a note where they had fewer bits."""
    bits = int(pixels.max()).bit_length()
    if pixels.dtype != np.uint16 or bits > _FEW_BITS:
        return pixels, ""
    from pleura.formats.plain_picture import stretched  # it takes its time

    bits = max(bits, 8)
    note = f"the pixels are of {bits} bits in 16: white is {2**bits - 1}"
    return stretched(pixels), note


def _plane(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the one plane of equal channels, which a grey picture may be kept in."""
    if pixels.ndim != 3 or pixels.shape[2] not in (2, 3, 4):
        return pixels
    from pleura.formats.plain_picture import grey  # it takes its time

    try:
        return grey(pixels, pixels.shape[2])
    except PictureError as error:
        raise UsageError(f"the picture {error}") from error


def averaged(members: Sequence[Predictor], *, tta: bool = False) -> Predictor:
    """Return one predictor of several, with the calibration and thresholds they share.

    Args:
        members: One or more.
        tta: Whether each also sees the picture mirrored left to right. The thresholds stay those
            that were chosen without it.

    Raises:
        BundleError: They prepare images in different ways.
        UsageError: Their calibration or thresholds differ.
    """
    if len(members) == 1 and not tta:
        return members[0]
    bundles = [member.bundle for member in members]
    require_alike(bundles)
    answer_flagged = all(member.answer_flagged for member in members)
    engine = Averaged([member.engine for member in members], tta)
    return Predictor(bundles[0], engine, bundles[1:], answer_flagged=answer_flagged)


def load(
    path: str | os.PathLike[str] = DEFAULT,
    *,
    ensemble: Sequence[str | os.PathLike[str]] = (),
    tta: bool = False,
    engine: EngineName = "auto",
    device: str = "cpu",
    precision: Precision = "auto",
    operating_point: str = "default",
    answer_flagged: bool = False,
) -> Predictor:
    """Return the model in the file at `path`, ready to predict.

    Not a medical device: for research and education, not for diagnosis.

    The first load of a model on a CPU converts it for the processor, which takes up to a minute.
    The result is kept in the user's cache folder, and later loads take about a second.

    Args:
        path: A ``model.h5``, an ``.onnx`` or ``.xml`` that ``pleura export`` wrote, or the name of
            a model that comes with pleura, such as ``pleura:fast``, the default.
        ensemble: More models of these kinds, to average with.
        tta: Whether to average over the picture and its mirror image.
        engine: What runs it: ``torch``, ``openvino``, ``onnx``, or ``auto``, the fastest there is;
            see :func:`pleura.engines.choice.open_engine`.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` takes bf16 where the device has it; ``fp32`` is the reference.
        operating_point: Which of the model's thresholds are used: ``default``, ``sensitive`` (fewer
            pneumothoraces missed), ``specific`` (fewer false alarms) or ``rule`` (highest expected
            mean Dice).
        answer_flagged: Whether what is flagged as no frontal chest radiograph is answered all the
            same. Left out, it is called "not assessed".

    Raises:
        BundleError: A file is missing, truncated, corrupt, foreign, or needs a later pleura; or
            several models do not go together.
        UsageError: The engine, the device or the operating point is not there.
    """
    bundles = [read_model(one).at(operating_point) for one in (path, *ensemble)]
    members = [
        Predictor(one, open_engine(one, engine, device, precision), answer_flagged=answer_flagged)
        for one in bundles
    ]
    return averaged(members, tta=tta)
