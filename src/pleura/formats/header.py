"""What a DICOM image file says of itself, its pixels aside."""

import functools
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.config import IGNORE
from pydicom.uid import UID

from pleura.errors import DicomError
from pleura.formats.elements import PIXEL_DATA, DataSet
from pleura.formats.grayscale import Window
from pleura.formats.limits import MAX_PIXELS, MAX_SIDE_PX
from pleura.formats.values import decimal, decimals, integer, name, text

SOP_CLASS_UID = 0x00080016
MEDIA_STORAGE_SOP_CLASS_UID = 0x00020002
_SOP_INSTANCE_UID = 0x00080018
_SAMPLES, _PHOTOMETRIC, _FRAMES = 0x00280002, 0x00280004, 0x00280008
_ROWS, _COLUMNS = 0x00280010, 0x00280011
_BITS_ALLOCATED, _BITS_STORED, _HIGH_BIT, _REPRESENTATION = range(0x00280100, 0x00280104)
PIXEL_SPACING, IMAGER_PIXEL_SPACING = 0x00280030, 0x00181164
_CENTER, _WIDTH, _EXPLANATION = 0x00281050, 0x00281051, 0x00281055
_FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)

# Ids become file names and cells of a table, so letters beyond a UID's digits and dots are taken
# (the stage-2 files of SIIM-ACR are named ID_...), but nothing that a path or a CSV could mean.
_SAFE_ID = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Header:
    r"""Everything a reader wants to know of an image file before its pixels.

    Text is as the file has it, without padding; "" where it is absent. The patient's name and id
    are kept out of `repr`.

    Attributes:
        path: The file.
        sop_class_uid: What kind of object it is, and `sop_class_name` that in words.
        sop_instance_uid: The image's identity; letters, digits, dot, dash, underscore.
        transfer_syntax_uid: How it is written, and `transfer_syntax_name` that in words.
        age: As written: "038Y", or "38" in SIIM-ACR.
        view_position: "PA", "AP", "LL" or what the file says.
        rows: Height in pixels, 1 to `MAX_SIDE_PX`.
        columns: Width in pixels, 1 to `MAX_SIDE_PX`.
        frames: Number of frames, 1 where not stated.
        bits_allocated: Bits a pixel takes in the file.
        bits_stored: Bits that a pixel's value has.
        high_bit: The highest of these.
        pixel_representation: 0 unsigned, 1 signed.
        pixel_bytes: Length of the Pixel Data value in the file, as compressed.
        spacing_mm: Distance between (rows, columns) in mm, from Pixel Spacing, else from Imager
            Pixel Spacing (at the detector, so a little more than in the patient); None where
            neither holds two positive numbers.
        spacing_text: The first of the two that is there, as written.
        windows: Usable windows in the file's order; one that is not a number or has no width is
            left out.
        voi_lut_function: How to apply a window: "LINEAR", "LINEAR_EXACT" or "SIGMOID".
        presentation_lut_shape: "INVERSE", "IDENTITY" or "".
        patient_orientation: Directions of rows and columns, as "L\\F".
    """

    path: Path
    sop_class_uid: str
    sop_class_name: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    transfer_syntax_name: str
    patient_name: str = field(repr=False)
    patient_id: str = field(repr=False)
    age: str
    sex: str
    modality: str
    body_part: str
    view_position: str
    rows: int
    columns: int
    frames: int
    samples_per_pixel: int
    photometric_interpretation: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    pixel_bytes: int
    spacing_mm: tuple[float, float] | None
    spacing_text: str
    windows: tuple[Window, ...]
    voi_lut_function: str
    rescale_slope: float
    rescale_intercept: float
    presentation_lut_shape: str
    patient_orientation: str
    manufacturer: str
    study_date: str

    @property
    def signed(self) -> bool:
        """Whether stored values are two's complement."""
        return self.pixel_representation == 1


@functools.lru_cache(maxsize=256)
def uid_name(uid: str) -> str:
    """Return what the standard calls a UID; "unknown" where it does not list it."""
    known = UID(uid, IGNORE).name
    return "unknown" if known == uid else known


def build_header(
    path: Path, data: DataSet, transfer_syntax_uid: str, media_class_uid: str = ""
) -> Header:
    """Return the header of a data set that holds an image.

    Args:
        path: The file, for the header alone.
        data: The walked data set.
        transfer_syntax_uid: From the file meta information.
        media_class_uid: Its storage class, where the data set itself has none.

    Raises:
        DicomError: It is no image, it has no usable identity, or an attribute that its pixels
            depend on is missing, of a wrong type, or out of range. The message lacks the path.
    """
    sop_class_uid = text(data, SOP_CLASS_UID) or media_class_uid
    _require_image(data, sop_class_uid)
    pixels = data.elements[PIXEL_DATA]
    rows, columns = _side(data, _ROWS), _side(data, _COLUMNS)
    if rows * columns > MAX_PIXELS:
        raise DicomError(f"{rows} x {columns} is more than {MAX_PIXELS:,} pixels; refused")
    bits_stored = _required(data, _BITS_STORED)
    high_bit = integer(data, _HIGH_BIT)
    voi_lut_function = text(data, 0x00281056) or "LINEAR"
    return Header(
        path=path,
        sop_class_uid=sop_class_uid,
        sop_class_name=uid_name(sop_class_uid),
        sop_instance_uid=_identity(data),
        study_instance_uid=text(data, 0x0020000D),
        series_instance_uid=text(data, 0x0020000E),
        transfer_syntax_uid=transfer_syntax_uid,
        transfer_syntax_name=uid_name(transfer_syntax_uid),
        patient_name=text(data, 0x00100010),
        patient_id=text(data, 0x00100020),
        age=text(data, 0x00101010),
        sex=text(data, 0x00100040),
        modality=text(data, 0x00080060),
        body_part=text(data, 0x00180015),
        view_position=text(data, 0x00185101),
        rows=rows,
        columns=columns,
        frames=_frames(data),
        samples_per_pixel=_required(data, _SAMPLES),
        photometric_interpretation=_photometric(data),
        bits_allocated=_required(data, _BITS_ALLOCATED),
        bits_stored=bits_stored,
        high_bit=bits_stored - 1 if high_bit is None else high_bit,
        pixel_representation=_required(data, _REPRESENTATION),
        pixel_bytes=pixels.end - pixels.start,
        spacing_mm=spacing_of(data)[0],
        spacing_text=next(
            filter(None, (text(data, tag) for tag in (PIXEL_SPACING, IMAGER_PIXEL_SPACING))), ""
        ),
        windows=_windows(data, voi_lut_function),
        voi_lut_function=voi_lut_function,
        rescale_slope=decimal(data, 0x00281053, 1.0),
        rescale_intercept=decimal(data, 0x00281052, 0.0),
        presentation_lut_shape=text(data, 0x20500020),
        patient_orientation=text(data, 0x00200020),
        manufacturer=text(data, 0x00080070),
        study_date=text(data, 0x00080020),
    )


def _require_image(data: DataSet, sop_class_uid: str) -> None:
    if PIXEL_DATA in data:
        return
    if any(tag in data for tag in _FLOAT_PIXELS):
        raise DicomError("its pixels are floating-point numbers; only integer pixels are read")
    known = uid_name(sop_class_uid)
    what = known if known != "unknown" else "an object of unknown storage class"
    raise DicomError(
        f"it is {what} and has no (7FE0,0010) Pixel Data; only images are read (or the file ends"
        " too early)"
    )


def _required(data: DataSet, tag: int) -> int:
    value = integer(data, tag)
    if value is None:
        raise DicomError(f"{name(tag)} is missing or empty; an image cannot be read without it")
    return value


def _side(data: DataSet, tag: int) -> int:
    side = _required(data, tag)
    if not 1 <= side <= MAX_SIDE_PX:
        raise DicomError(f"{name(tag)} is {side}; it must be 1 to {MAX_SIDE_PX:,}")
    return side


def _frames(data: DataSet) -> int:
    found = text(data, _FRAMES)
    if not found:
        return 1
    if not re.fullmatch(r"\+?[0-9]{1,12}", found) or int(found) < 1:
        raise DicomError(f"{name(_FRAMES)} is {found[:40]!r}; it must be one positive integer")
    return int(found)


def _photometric(data: DataSet) -> str:
    found = text(data, _PHOTOMETRIC)
    if not found:
        raise DicomError(f"{name(_PHOTOMETRIC)} is missing or empty; black could be white")
    if "\\" in found:
        raise DicomError(f"{name(_PHOTOMETRIC)} is {found[:40]!r}; it must have one value")
    return found


def _identity(data: DataSet) -> str:
    found = text(data, _SOP_INSTANCE_UID)
    if not found:
        raise DicomError(f"{name(_SOP_INSTANCE_UID)} is missing or empty; an image needs an id")
    if not _SAFE_ID.fullmatch(found):
        raise DicomError(
            f"{name(_SOP_INSTANCE_UID)} has {len(found)} characters or some that are unsafe in a"
            " file name; it must be 1 to 64 letters, digits, dots, dashes or underscores"
        )
    return found


def spacing_of(data: DataSet) -> tuple[tuple[float, float] | None, int]:
    """Return the distance between (rows, columns) in mm and the element that says so.

    (None, 0) where neither Pixel Spacing nor Imager Pixel Spacing holds two positive numbers.
    """
    for tag in (PIXEL_SPACING, IMAGER_PIXEL_SPACING):
        try:
            found = decimals(data, tag)
        except DicomError:  # a spacing that is no number is no spacing; the picture stays whole
            continue
        if len(found) == 2 and min(found) > 0:
            return (found[0], found[1]), tag
    return None, 0


def _windows(data: DataSet, function: str) -> tuple[Window, ...]:
    try:
        centers, widths = decimals(data, _CENTER), decimals(data, _WIDTH)
    except DicomError:  # a window is a suggestion for display; the pixels do not depend on it
        return ()
    words = text(data, _EXPLANATION).split("\\")
    words += [""] * len(centers)
    least = 1.0 if function == "LINEAR" else math.ulp(1.0)
    return tuple(
        Window(center, width, word.strip())
        for center, width, word in zip(centers, widths, words, strict=False)
        if width >= least
    )
