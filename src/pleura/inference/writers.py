"""What is written for each answered file beside the tables: one protocol, a module per product."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pleura.dicom.square import squared
from pleura.inference.prediction import Prediction
from pleura.inference.row import Row, Wrote
from pleura.rendering.heat import heat
from pleura.rendering.overlay import overlay, write_png
from pleura.storage.atomic import remove

if TYPE_CHECKING:
    from pleura.dicom.radiograph import Opened


class Writer(Protocol):
    """Writes something for one answered file into the folder of its job.

    A writer is made of plain settings, so that it can be sent to another process: `write` is given
    what is in a stranger's file, so it runs where such files are opened, under their limits. It
    opens no file of its own accord: what lies at the path by then may be another patient's. A
    second call for the same file writes the same again: a job that was cut off may ask twice.

    One whose results refer to a radiograph by its SOP Instance UID says so by a true attribute
    `refers`: then of files that have the same UID and other content only the first is answered.
    """

    @property
    def name(self) -> str:
        """What it writes and every setting that this depends on; a part of a job's identity."""

    def write(self, opened: "Opened", prediction: Prediction, out: Path) -> Wrote:
        """Write for a file that was answered, into the job's folder `out`.

        Args:
            opened: What is in the file, of the same bytes that were answered. Writers share it, so
                its pixels are read-only.
            prediction: The answer, under the id that the image has in this job.
            out: The job's folder.

        Returns:
            What is to be kept of it; mostly nothing.

        Raises:
            DicomError: The file cannot carry what is to be written; its answer is kept, with this
                as its error.
            OutputError: It could not be written; this ends the job.
        """

    def finish(self, answers: Iterable[Row], out: Path) -> None:
        """Write what concerns all files, once they are answered; this runs in the job's process.

        Args:
            answers: One per input, in their order; each is read from disk when it is asked for,
                and they can be iterated over again.
            out: The job's folder.

        Raises:
            OutputError: It could not be written.
        """


class PerFile:
    """A part of writers that have nothing to do once all files are answered."""

    __slots__ = ()

    def finish(self, answers: Iterable[Row], out: Path) -> None:
        """Write nothing more."""


@dataclass(frozen=True, slots=True)
class Overlays(PerFile):
    """``overlays/<id>.png``: the radiograph with the mask laid over; none if not assessed.

    A radiograph without a mask would say that nothing was found.
    """

    name: str = "overlays"

    def write(self, opened: "Opened", prediction: Prediction, out: Path) -> Wrote:
        """Write the picture."""
        return _written(out / self.name, opened, prediction, overlay, prediction.mask)


@dataclass(frozen=True, slots=True)
class Heatmaps(PerFile):
    """``heatmaps/<id>.png``: the radiograph with the map of probabilities laid over in colours.

    None where it is not assessed: the map counts for nothing there.
    """

    name: str = "heatmaps"

    def write(self, opened: "Opened", prediction: Prediction, out: Path) -> Wrote:
        """Write the picture."""
        return _written(out / self.name, opened, prediction, heat, prediction.probability)


def _written(
    folder: Path,
    opened: "Opened",
    prediction: Prediction,
    lay: Callable[[NDArray[Any], NDArray[Any]], NDArray[np.uint8]],
    over: NDArray[Any],
) -> Wrote:
    """Write a radiograph with a mask or map laid over it; where it is not assessed remove it."""
    path = folder / f"{prediction.image_id}.png"
    if prediction.assessed:
        aspect = prediction.frame.aspect
        write_png(path, lay(squared(opened.radiograph.pixels, aspect), squared(over, aspect)))
    else:
        remove(path)
    return Wrote()
