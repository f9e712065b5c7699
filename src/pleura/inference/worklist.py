"""The worklist of a job: a page on which its answers are read, sorted and decided anew.

::

    worklist.html         the list, and how every answer would fall at other thresholds
    worklist/<name>.js    one image: radiograph, map of probabilities, areas; loaded when it is
    looked at

The page works from a disk, without a server. It shows ids, scores, areas and what was found
unusual; of the patient age and sex, with view and date, never name or id. What it decides is what
:func:`pleura.inference.prediction.decide` decides: the area of each mask was counted, at the file's
own size and in full precision, for every threshold that the page offers. Only what is drawn,
outline, tint and colours, comes from a map stored in 8 bits.

What its reader marks and notes stays in the browser.
"""

import base64
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.dicom.square import squared
from pleura.dicom.values import age_years
from pleura.errors import OutputError
from pleura.inference.prediction import Prediction
from pleura.inference.row import Row, Wrote
from pleura.inference.tables import WORKLIST
from pleura.models.bundle import OperatingPoint
from pleura.pictures.flags import in_words
from pleura.rendering.heat import HEAT_OPACITY, heat_colours
from pleura.rendering.overlay import shrink
from pleura.rendering.page import json_block, picture_source, render
from pleura.storage.atomic import write_text

if TYPE_CHECKING:
    from pleura.dicom.radiograph import Header, Opened
    from pleura.inference.predictor import Predictor

FOLDER = "worklist"

THRESHOLDS = tuple(step / 100 for step in range(1, 100))
"""The thresholds of the mask that the page offers, beside the operating point's own."""

RADIOGRAPH_SIDE = 768
"""Longest side of a radiograph on the page, in pixels."""

MAP_SIDE = 512
"""Longest side of a stored map; a larger one is averaged down."""

THUMB_SIDE = 96

_RADIOGRAPH_QUALITY, _THUMB_QUALITY = 80, 70
_HEAD = 'pleura({"about":'
_MIDDLE = ',\n"pictures":'
_COLUMNS = ("id", "name", "assessed", "score", "area", "size", "areas", "flags", "notes", "error")


@dataclass(frozen=True, slots=True)
class Worklist:
    """Writes the worklist of a job; a :class:`pleura.inference.writers.Writer`.

    Attributes:
        model: How the model is called, such as the name of its file.
        digest: The model's digest.
        point: The thresholds in use.
        point_name: How these are called.
    """

    model: str
    digest: str
    point: OperatingPoint
    point_name: str = "default"

    @classmethod
    def of(cls, predictor: "Predictor", point_name: str = "default") -> "Worklist":
        """Return the writer for a job of a model, whose operating point in use has that name."""
        point = predictor.bundle.operating_point
        return cls(predictor.title, predictor.digest, point, point_name)

    @property
    def name(self) -> str:
        """What is written and every setting that it depends on."""
        return f"worklist 3 {self.digest} {asdict(self.point)}"

    def write(self, opened: "Opened", prediction: Prediction, out: Path) -> Wrote:
        """Write the data of one image: 60 to 120 KB.

        Of one that is not assessed they hold the radiograph alone, so that nothing can be drawn on
        it.

        Args:
            opened: The radiograph.
            prediction: Its answer, under the id that it has in this job.
            out: Folder of the job.

        Raises:
            OutputError: The file could not be written.
        """
        name = data_name(prediction.image_id)
        assessed = prediction.assessed
        stored = stored_map(prediction.prepared_map)
        counted = areas(prediction.probability, self.point) if assessed else []
        frame = prediction.frame
        radiograph = shrink(squared(opened.radiograph.pixels, frame.aspect), RADIOGRAPH_SIDE)
        rows, columns = frame.shown
        about = {"name": name, "areas": counted}
        pictures = {
            "rows": rows,
            "columns": columns,
            "size": len(stored),
            "map": packed(stored) if assessed else None,
            "facts": _facts(opened.radiograph.header),
            "radiograph": picture_source(radiograph, _RADIOGRAPH_QUALITY),
            "thumb": picture_source(shrink(radiograph, THUMB_SIDE), _THUMB_QUALITY),
        }
        text = f"{_HEAD}{json_block(about)}{_MIDDLE}{json_block(pictures)}}});\n"
        write_text(out / FOLDER / f"{name}.js", text)
        return Wrote(areas=tuple(counted))

    def finish(self, answers: Iterable[Row], out: Path) -> None:
        """Write the page for a whole job.

        Args:
            answers: Every answer, in the inputs' order; one that failed or was not assessed gets a
                row too, and so does one of which something else could not be written.
            out: Folder of the job.

        Raises:
            OutputError: The page could not be written, or the data of an image is missing.
        """
        write_text(out / WORKLIST, self._page(_columns(answers, out), datetime.now(UTC)))

    def _page(self, images: Mapping[str, Sequence[Any]], made: datetime) -> str:
        files, has = len(images["id"]), [counted is not None for counted in images["areas"]]
        not_assessed = files - sum(images["assessed"])
        failed = sum(one and not there for one, there in zip(images["assessed"], has, strict=True))
        called = sum(bool(area) and one for area, one in zip(images["area"], has, strict=True))
        negative = files - called - not_assessed - failed
        data = {
            "point": asdict(self.point),
            "thresholds": list(_thresholds(self.point)),
            "heat": heat_colours()[:, [2, 1, 0, 3]].tolist(),
            "images": images,
            "job": hashlib.blake2b(json.dumps(images["name"]).encode(), digest_size=8).hexdigest(),
        }
        facts = {
            "Model": self.model,
            "Digest": self.digest[:16],
            "Operating point": f"{self.point_name}: score {self.point.score:.3g}, mask "
            f"{self.point.mask:.3g}, smallest area {100 * self.point.min_area:.3g} %",
            "Made": f"{made:%Y-%m-%d %H:%M} UTC",
            "Files": f"{files:,}: {called:,} called positive, "
            f"{negative:,} negative, {not_assessed:,} not assessed, {failed:,} failed",
        }
        return render(
            "pleura.inference",
            "worklist",
            loads=True,
            facts=facts,
            data=json_block(data),
            heat_opacity=round(100 * HEAT_OPACITY),
        )


def _facts(header: "Header") -> dict[str, str]:
    """Return what the header says of the radiograph, for people; "" where it does not."""
    years, date = age_years(header.age), header.study_date
    known = len(date) == 8 and date.isdecimal()
    return {
        "Age": "" if years is None else f"{years} years",
        "Sex": header.sex[:16],
        "View": (header.view_position or header.view_code)[:32],
        "Date": f"{date[:4]}-{date[4:6]}-{date[6:]}" if known else "",
    }


def data_name(image_id: str) -> str:
    """Return the name of an image's data: 32 hexadecimal digits, whatever the id holds."""
    return hashlib.blake2b(image_id.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def areas(probability: NDArray[np.float32], point: OperatingPoint) -> list[int]:
    """Return the area of the mask at each threshold that the page offers.

    Args:
        probability: ``(rows, columns)`` float32 in 0..1, at the file's own size.
        point: Its threshold of the mask comes first, those of :data:`THRESHOLDS` follow.

    Returns:
        Pixels whose probability exceeds each threshold; zeros at the end are left out.
    """
    wanted = np.array(_thresholds(point), np.float32)  # as in decide: compared in float32
    order = np.argsort(wanted, kind="stable")
    rising = wanted[order]
    inside = probability[probability > rising[0]]
    passed = np.bincount(np.searchsorted(rising, inside, side="left"), minlength=len(rising) + 1)
    counts = np.empty(len(rising), np.int64)
    counts[order] = passed[::-1].cumsum()[::-1][1:]
    return [int(count) for count in np.trim_zeros(counts, "b")]


def stored_map(prepared_map: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a map over the prepared square as the page draws it.

    Args:
        prepared_map: ``(S, S)`` float32 in 0..1.

    Returns:
        ``(s, s)`` uint8, s at most :data:`MAP_SIDE`: the probability in steps of 1/255, so that an
        outline is that of a probability which is off by 1/510 at most.
    """
    if len(prepared_map) > MAP_SIDE:
        shape = (MAP_SIDE, MAP_SIDE)
        prepared_map = np.asarray(cv2.resize(prepared_map, shape, interpolation=cv2.INTER_AREA))
    return np.rint(np.clip(prepared_map, 0, 1) * 255).astype(np.uint8)


def packed(stored: NDArray[np.uint8]) -> str:
    """Return a map ``(rows, columns)`` as base64 of its deflated (zlib) bytes.

    Each row is stored less the one above, modulo 256.

    It is no PNG, because browsers that guard against fingerprinting change the pixels a page reads.
    """
    steps = np.diff(stored, axis=0, prepend=np.zeros((1, stored.shape[1]), np.uint8))
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode("ascii")


def _thresholds(point: OperatingPoint) -> tuple[float, ...]:
    return (point.mask, *THRESHOLDS)


def _columns(answers: Iterable[Row], out: Path) -> dict[str, list[Any]]:
    """Return what the page knows of the answers, a list per column; masks are not kept."""
    found: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    folders = set()
    for answer in answers:
        folders.add(answer.path.removesuffix(PurePath(answer.path).name))
        row = (
            answer.image_id or PurePath(answer.path).name,
            data_name(answer.image_id),
            answer.assessed,
            answer.score,
            answer.area_px,
            (answer.rows or 0) * (answer.columns or 0),
            _areas_of(answer, out),
            in_words(filter(None, answer.flags.split(";"))),
            answer.notes,
            answer.error.replace(answer.path, PurePath(answer.path).name),
        )
        for column, value in zip(found.values(), row, strict=True):
            column.append(value)
    # Names of folders may be those of patients, and the reader knows where the files are.
    found["error"] = [_without_folders(error, folders) for error in found["error"]]
    return found


def _without_folders(text: str, folders: Iterable[str]) -> str:
    for folder in folders if os.sep in text else ():
        text = text.replace(folder, "")
    return text


def _areas_of(row: Row, out: Path) -> list[int] | None:
    """Return the areas that `write` counted; None where an error tells why there is no picture."""
    if row.called is None:
        return None
    path = out / FOLDER / f"{data_name(row.image_id)}.js"
    if row.areas is not None and path.exists():
        return list(row.areas)
    if row.error:
        return None
    raise OutputError(
        f"{path}: the data of image {row.image_id} is missing; predict into an empty folder"
    )
