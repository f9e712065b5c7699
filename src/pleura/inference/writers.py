"""What is written for each answered file beside the tables: one protocol, a module per product."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pleura.data.gallery import heat, write_png
from pleura.formats.dicom import read_radiograph
from pleura.formats.overlay import overlay
from pleura.inference.answer import Answer
from pleura.inference.prediction import Prediction


class Writer(Protocol):
    """Writes something for one answered file into the folder of its job.

    A writer is made of plain settings, so that it can be sent to another process: `write` reads the
    stranger's file once more, so it runs where such files may be opened, under their limits. A
    second call for the same file writes the same again: a job that was cut off may ask twice.
    """

    @property
    def name(self) -> str:
        """What it writes and every setting that this depends on; a part of a job's identity."""

    def write(self, path: Path, image_id: str, prediction: Prediction, out: Path) -> str:
        """Write for the file at `path`, answered as `image_id`, into the job's folder `out`.

        Returns:
            What the reader of the answer should know, for its notes; mostly nothing.

        Raises:
            DicomError: The file cannot carry what is to be written; its answer is kept, with this
                as its error.
            OutputError: It could not be written; this ends the job.
        """

    def finish(self, answers: Iterable[Answer], out: Path) -> None:
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

    def finish(self, answers: Iterable[Answer], out: Path) -> None:
        """Write nothing more."""


@dataclass(frozen=True, slots=True)
class Overlays(PerFile):
    """``overlays/<id>.png``: the radiograph with the mask laid over."""

    name: str = "overlays"

    def write(self, path: Path, image_id: str, prediction: Prediction, out: Path) -> str:
        """Write the picture."""
        pixels = read_radiograph(path).pixels
        write_png(out / "overlays" / f"{image_id}.png", overlay(pixels, prediction.mask))
        return ""


@dataclass(frozen=True, slots=True)
class Heatmaps(PerFile):
    """``heatmaps/<id>.png``: the radiograph with the map of probabilities laid over in colours."""

    name: str = "heatmaps"

    def write(self, path: Path, image_id: str, prediction: Prediction, out: Path) -> str:
        """Write the picture."""
        pixels = read_radiograph(path).pixels
        write_png(out / "heatmaps" / f"{image_id}.png", heat(pixels, prediction.probability))
        return ""
