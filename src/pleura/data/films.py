"""Films of any file that pleura reads, DICOM or plain picture, and what a table says of them."""

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pleura.data.files import dicom_files, walk_files
from pleura.errors import DataError
from pleura.formats.annotations import ID_COLUMN, MASK_COLUMN, columns_of, read_annotations
from pleura.formats.dicom import read_header, read_radiograph
from pleura.formats.plain_picture import SUFFIXES, read_plain_picture

_IDS = ("image", ID_COLUMN, "Image Index", "image_id")
_TRUE, _FALSE = {"1", "true", "yes"}, {"0", "false", "no"}
_LONGEST_TABLE = 256 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """One picture and what is known of it.

    Attributes:
        pixels: (rows, columns), uint8 or uint16, 0 black.
        age: Years, or None.
        sex: "M", "F", "O" or "".
        view: "PA", "AP" or "".
        spacing_mm: Between rows, at the detector, or None.
    """

    pixels: NDArray[Any]
    age: int | None
    sex: str
    view: str
    spacing_mm: float | None


@dataclass(frozen=True, slots=True)
class Label:
    """What a table says of one image.

    Attributes:
        positive: Whether it shows a pneumothorax.
        patient: Who is on it; "" where the table does not say.
    """

    positive: bool
    patient: str = ""


def film_files(folder: Path) -> list[Path]:
    """Return the DICOM files, JPEGs and PNGs below `folder`, sorted.

    Raises:
        DataError: There is none.
    """
    pictures = {path for path in walk_files(folder) if path.suffix.lower() in SUFFIXES}
    found = sorted({*dicom_files(folder), *pictures})
    if not found:
        raise DataError(f"{folder}: holds no DICOM, JPEG or PNG file; name the folder of the films")
    return found


def is_picture(path: Path) -> bool:
    """Return whether a file is read as a plain picture, by its name."""
    return path.suffix.lower() in SUFFIXES


def read_film(path: Path) -> Film:
    """Return the film in a file.

    Raises:
        InputError: It cannot be read; the message names the path and the reason.
    """
    if is_picture(path):
        return Film(read_plain_picture(path), None, "", "", None)
    radiograph = read_radiograph(path)
    header = radiograph.header
    digits = header.age.strip().rstrip("Yy")
    age = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 3 else None
    return Film(
        pixels=radiograph.pixels,
        age=age,
        sex=header.sex if header.sex in ("M", "F", "O") else "",
        view=header.view_position if header.view_position in ("PA", "AP") else "",
        spacing_mm=header.spacing_mm[0] if header.spacing_mm else None,
    )


def film_id(path: Path) -> str:
    """Return what tables call a film: the SOP Instance UID, or the name without its suffix.

    Raises:
        InputError: The header cannot be read.
    """
    return path.stem if is_picture(path) else read_header(path).sop_instance_uid


def header_patient(path: Path) -> str:
    """Return the patient id in a film's header, "" in a plain picture; never to be written.

    Raises:
        InputError: The header cannot be read.
    """
    return "" if is_picture(path) else read_header(path).patient_id


def read_labels(path: str | os.PathLike[str]) -> Mapping[str, Label]:
    """Return image id -> label, from a run-length table or from one with a column of 0 and 1.

    A run-length table has the columns ``ImageId`` and ``EncodedPixels``. The other kind has one of
    ``image``, ``ImageId``, ``Image Index``, ``image_id`` (a file name; its suffix does not count)
    and ``pneumothorax``, and may have ``patient``.

    Raises:
        InputError: It is neither, or a value is not understood.
    """
    columns = columns_of(path) or set()
    if {ID_COLUMN, MASK_COLUMN} <= columns:
        masks = read_annotations(path).masks
        return {image_id: Label(bool(texts)) for image_id, texts in masks.items()}
    try:
        if Path(path).stat().st_size > _LONGEST_TABLE:
            raise DataError(f"{path}: has more than {_LONGEST_TABLE:,} bytes; is it a table?")
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a CSV ({type(error).__name__})") from error
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    name = next((name for name in _IDS if name in (rows.fieldnames or [])), None)
    if name is None or "pneumothorax" not in (rows.fieldnames or []):
        raise DataError(
            f"{path}: a table of labels needs the columns {ID_COLUMN} and {MASK_COLUMN}, or image "
            f"and pneumothorax; found {', '.join(rows.fieldnames or []) or 'none'}"
        )
    labels: dict[str, Label] = {}
    for row in rows:
        value = (row["pneumothorax"] or "").strip().lower()
        if value not in _TRUE | _FALSE:
            raise DataError(
                f"{path}: line {rows.line_num} has pneumothorax {value[:20]!r}; it must be 0 or 1"
            )
        image_id = (row[name] or "").strip()
        stem = Path(image_id).stem if Path(image_id).suffix.lower() in SUFFIXES else image_id
        labels[stem] = Label(value in _TRUE, (row.get("patient") or "").strip())
    return labels
