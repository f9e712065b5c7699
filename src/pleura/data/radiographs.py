"""Radiographs of any file that pleura reads, DICOM or plain picture."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.data.files import passed_over
from pleura.data.prepare import prepare_pixels
from pleura.dicom.elements import DataSet
from pleura.dicom.encoding import EXPLICIT_LITTLE
from pleura.dicom.grayscale import Grayscale
from pleura.dicom.inflating import gunzip
from pleura.dicom.radiograph import (
    CHANGED,
    Header,
    Note,
    Opened,
    Radiograph,
    open_radiograph,
    parse_header,
    parse_radiograph,
    read_header,
)
from pleura.dicom.radiograph import read_radiograph as read_dicom
from pleura.dicom.signature import data_start, head_of, is_gzip
from pleura.dicom.sop_classes import UNKNOWN
from pleura.dicom.square import squared
from pleura.dicom.suffixes import PICTURES, is_picture, stem_of
from pleura.errors import ChangedError, DataError
from pleura.formats.plain_picture import (
    PlainPicture,
    is_plain_picture,
    open_plain_picture,
    parse_plain_picture,
)
from pleura.storage.archive import walk_files

NO_HEADER = (
    "the file is a picture without a header: spacing, view, patient, age and sex are unknown, and "
    "0 is taken for black"
)


@dataclass(frozen=True, slots=True, eq=False)
class AnyRadiograph:
    """One picture and what is known of it.

    Attributes:
        pixels: ``(rows, columns)``, uint8 or uint16, 0 black.
        age: Years, or None.
        sex: "M", "F", "O" or "".
        view: "PA", "AP" or "".
        spacing_mm: Between rows, at the detector, or None.
        aspect: Height of a pixel divided by its width.
    """

    pixels: NDArray[Any]
    age: int | None
    sex: str
    view: str
    spacing_mm: float | None
    aspect: float = 1.0

    def prepared(self, size: int) -> NDArray[np.uint8]:
        """Return the radiograph as a network of `size` pixels sees it: ``(size, size)`` uint8."""
        return prepare_pixels(self.pixels, size, self.aspect)

    def squared(self, mask: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the pixels and a mask over them as screens show them: with square pixels.

        Args:
            mask: ``(rows, columns)`` bool, the shape of the pixels.

        Returns:
            Both in one shape, dtypes as they were.
        """
        return squared(self.pixels, self.aspect), squared(mask, self.aspect)


def radiograph_files(folder: Path) -> list[Path]:
    """Return the DICOM files and plain pictures below `folder`, sorted.

    Raises:
        DataError: There is none.
    """
    found = sorted(path for path in walk_files(folder) if passed_over(path) in {"", *PICTURES})
    if not found:
        raise DataError(
            f"{folder}: holds no DICOM file and no picture; name the folder of the radiographs"
        )
    return found


def is_plain(path: Path) -> bool:
    """Return whether a file is read as a plain picture: by its name, unless it begins as DICOM."""
    if not is_picture(path):
        return False
    try:
        return data_start(head_of(path)) is None
    except (OSError, ValueError):  # reading it will say why
        return True


def open_any_radiograph(path: Path, expected: str = "") -> Opened:
    """Return the radiograph in a file, and the bytes that it came from.

    A plain picture has a header that says nothing, and a note of what is unknown therefore.

    Args:
        path: A DICOM file, or a plain picture (:mod:`pleura.formats.plain_picture`).
        expected: The fingerprint that its bytes must have; left out, any.

    Raises:
        ChangedError: It holds other bytes than expected.
        InputError: It cannot be read; the message names the path and the reason.
    """
    opened = _open_picture(path)
    if opened is None:
        return open_radiograph(path, expected)
    if expected and opened.fingerprint != expected:
        raise ChangedError(f"{path}: {CHANGED}")
    return opened


def parse_any_radiograph(content: bytes, name: str = "the bytes", path: Path = Path()) -> Opened:
    """Return the radiograph in the bytes of a file, as :func:`open_any_radiograph` does.

    Args:
        content: The whole file, DICOM or a plain picture, or a gzip of it.
        name: What messages call it.
        path: Its name as a file, where it has one: it names a picture, which has no id.

    Raises:
        InputError: As for :func:`open_any_radiograph`.
    """
    if (picture := _picture_in(content)) is not None:
        return _of_picture(path, parse_plain_picture(picture, name))
    return parse_radiograph(content, name)


def read_any_header(path: Path) -> Header:
    """Return what a file says of itself; a plain picture has to be decoded for its size.

    Raises:
        InputError: As for :func:`open_any_radiograph`.
    """
    opened = _open_picture(path)
    return read_header(path) if opened is None else opened.radiograph.header


def parse_any_header(content: bytes, name: str, path: Path) -> Header:
    """Return what the bytes of a file say of it, as :func:`read_any_header` does.

    Args:
        content: As for :func:`parse_any_radiograph`, and `name` and `path`.
        name: What messages call it.
        path: Its name as a file.

    Raises:
        InputError: As for :func:`open_any_radiograph`.
    """
    if (picture := _picture_in(content)) is not None:
        return _of_picture(path, parse_plain_picture(picture, name)).radiograph.header
    return parse_header(content, name)


def _open_picture(path: Path) -> Opened | None:
    """Return the plain picture in a file; None where the file is read as DICOM."""
    return _of_picture(path, open_plain_picture(path)) if is_plain(path) else None


def _picture_in(content: bytes) -> bytes | None:
    """Return the bytes of a plain picture, unpacked; None where these are of none."""
    unpacked = gunzip(content) if is_gzip(content) else content
    return unpacked if data_start(unpacked) is None and is_plain_picture(unpacked) else None


def _of_picture(path: Path, picture: PlainPicture) -> Opened:
    pixels = picture.pixels
    bits = 8 * pixels.dtype.itemsize
    header = Header(
        path=path,
        sop_class_name=UNKNOWN,
        sop_instance_uid=stem_of(path),
        transfer_syntax_name=picture.kind,
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        photometric_interpretation="MONOCHROME2",
        bits_allocated=bits,
        bits_stored=bits,
        high_bit=bits - 1,
        pixel_bytes=pixels.nbytes,
        notes=(Note("plain-picture", NO_HEADER),),
    )
    data = DataSet(b"", {}, EXPLICIT_LITTLE)
    rules = Grayscale(bits_stored=bits)
    return Opened(Radiograph(header, pixels), data, rules, picture.content, picture.stamp)


def read_radiograph(path: str | os.PathLike[str]) -> Radiograph:
    """Return the picture in a file: one monochrome frame, air black and bone white.

    A plain picture has a header that says nothing, and a note of what is unknown therefore.

    Args:
        path: A DICOM file, plain or gzipped, or a plain picture (PNG, JPEG, TIFF, NIfTI).

    Raises:
        InputError: It cannot be read faithfully; the message names the path, the value found,
            the rule and what to do.
    """
    opened = _open_picture(Path(path))
    return read_dicom(path) if opened is None else opened.radiograph


def read_any_radiograph(path: Path) -> AnyRadiograph:
    """Return the radiograph in a file.

    Raises:
        InputError: It cannot be read; the message names the path and the reason.
    """
    radiograph = read_radiograph(path)
    header = radiograph.header
    digits = header.age.strip().rstrip("Yy")
    age = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 3 else None
    return AnyRadiograph(
        pixels=radiograph.pixels,
        age=age,
        sex=header.sex if header.sex in ("M", "F", "O") else "",
        view=header.view_position if header.view_position in ("PA", "AP") else "",
        spacing_mm=header.spacing_mm[0] if header.spacing_mm else None,
        aspect=header.geometry.aspect,
    )


def radiograph_id(path: Path) -> str:
    """Return what tables call a radiograph: the SOP Instance UID, or the name without its suffix.

    Raises:
        InputError: The header cannot be read.
    """
    return stem_of(path) if is_plain(path) else read_header(path).sop_instance_uid


def header_patient(path: Path) -> str:
    """Return the patient id in a radiograph's header, "" in a plain picture; never to be written.

    Raises:
        InputError: The header cannot be read.
    """
    return "" if is_plain(path) else read_header(path).patient_id
