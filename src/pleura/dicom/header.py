"""What a DICOM image file says of itself, its pixels aside."""

import math
import re
from dataclasses import dataclass, field
from itertools import zip_longest
from operator import itemgetter
from pathlib import Path

from pleura.dicom.elements import PIXEL_DATA, DataSet
from pleura.dicom.geometry import SPACINGS, Geometry, geometry_of
from pleura.dicom.grayscale import Window
from pleura.dicom.limits import MAX_PIXELS, MAX_SIDE_PX
from pleura.dicom.notes import Note
from pleura.dicom.own_result import written_by_pleura
from pleura.dicom.sop_classes import UNKNOWN, is_capture, other_object, uid_name
from pleura.dicom.suffixes import stem_of
from pleura.dicom.values import SHOWN, WAY_OUT, counts, decimal, integer, name, numbers, text
from pleura.errors import DicomError, OtherObjectError, OwnResultError

_SOP_CLASS_UID, _MEDIA_STORAGE_SOP_CLASS_UID = 0x00080016, 0x00020002
_MODALITY, _SEGMENTATION_TYPE = 0x00080060, 0x00620001
_MEDIA_STORAGE_SOP_INSTANCE_UID, _SOP_INSTANCE_UID = 0x00020003, 0x00080018
_IMAGE_TYPE, _SOURCE_IMAGES, _REFERENCED_CLASS = 0x00080008, 0x00082112, 0x00081150
_SAMPLES, _PHOTOMETRIC, _FRAMES = 0x00280002, 0x00280004, 0x00280008
_ROWS, _COLUMNS = 0x00280010, 0x00280011
_BITS_ALLOCATED, _BITS_STORED, _HIGH_BIT, _REPRESENTATION = range(0x00280100, 0x00280104)
_VOI_LUT_FUNCTION, _PRESENTATION_LUT_SHAPE = 0x00281056, 0x20500020
_CENTER, _WIDTH, _EXPLANATION = 0x00281050, 0x00281051, 0x00281055
_OF_WINDOWS = frozenset({_CENTER, _WIDTH, _EXPLANATION})
_INTERCEPT, _SLOPE = 0x00281052, 0x00281053
_VIEW_CODES, _REGIONS, _CODE_MEANING = 0x00540220, 0x00082218, 0x00080104
_INTENT, _FOR_PROCESSING = 0x00080068, "FOR PROCESSING"
_SERIES_DESCRIPTION, _PROCESSING_DESCRIPTION = 0x0008103E, 0x00181400
_TOLD_OF = (_IMAGE_TYPE, _SERIES_DESCRIPTION, _PROCESSING_DESCRIPTION)
_BETWEEN_WORDS = re.compile(r"[\W_]+")
_TELLING = ("BONE", "RIB", "SOFT")
"""One of these is in all that tells what a picture shows alone."""

_SOFT_TISSUE = re.compile(r"\b(SOFT ?TISSUE|(BONE|RIB)S? ?(SUPPRESS|SUBTRACT|REMOV)\w*)\b")
_BONES = re.compile(r"\bBONES?\b")
_BONE_IMAGE = re.compile(r"\bBONES? ?(IMAGE|ONLY)\b|\bENERGY ?SUB\w* BONES?\b")
_FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)

# Ids become file names and cells of a table, so letters beyond a UID's digits and dots are taken
# (the stage-2 files of SIIM-ACR are named ID_...), but nothing that a path or a CSV could mean.
_SAFE_ID = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    r"""Everything a reader wants to know of an image file before its pixels.

    Text is as the file has it, without padding; "" where it is absent. The patient's name and id
    are kept out of `repr`.

    Attributes:
        path: The file.
        sop_class_uid: What kind of object it is, and `sop_class_name` that in words.
        other_object: Why it can be no radiograph, by its kind alone; "" where it may be one.
        own_result: Whether pleura wrote it as a result.
        sop_instance_uid: The image's identity; letters, digits, dot, dash, underscore.
        study_instance_uid: The study's identity.
        series_instance_uid: The series' identity.
        transfer_syntax_uid: How it is written, and `transfer_syntax_name` that in words: as the
            file says, where it was not found to be otherwise.
        patient_name: The patient's name.
        patient_id: The patient's id in the hospital.
        age: As written: "038Y", or "38" in SIIM-ACR.
        sex: "M", "F", "O" or what the file says.
        modality: "CR", "DX" or what the file says.
        body_part: "CHEST" or what the file says.
        intent: "FOR PROCESSING" (raw values of a detector, not to be looked at), by its element or
            else by the storage class; else "FOR PRESENTATION" or "".
        view_position: "PA", "AP", "LL" or what the file says.
        view_code: The view in words, by its code (View Code Sequence, which digital radiographs
            have in place of a view position); "" where there is none.
        region: Likewise the part of the body (Anatomic Region Sequence).
        rows: Height in pixels, 1 to `MAX_SIDE_PX`.
        columns: Width in pixels, 1 to `MAX_SIDE_PX`.
        frames: Number of frames, 1 where not stated.
        samples_per_pixel: 1 in grey, 3 in colour.
        photometric_interpretation: "MONOCHROME1" (the lowest value is white), "MONOCHROME2" (it is
            black), or a kind of colour.
        bits_allocated: Bits a pixel takes in the file.
        bits_stored: Bits that a pixel's value has.
        high_bit: The highest of these.
        pixel_representation: 0 unsigned, 1 signed.
        pixel_bytes: Length of the Pixel Data value in the file, as compressed.
        geometry: How large a pixel is, and what to believe of it.
        spacing_text: The first spacing that is there, as written.
        windows: Usable windows in the file's order; one that is not a number or has no width is
            left out.
        voi_lut_function: How to apply a window: "LINEAR", "LINEAR_EXACT" or "SIGMOID".
        rescale_slope: What stored values are multiplied by, before a window.
        rescale_intercept: What is added then.
        presentation_lut_shape: "INVERSE", "IDENTITY" or "".
        patient_orientation: Directions of rows and columns, as "L\\F".
        manufacturer: Who made the device.
        study_date: As written: "20190628".
        made_from: Of a secondary capture that says so, the kind of image that it was made from, in
            words; "" where it was not, or from another capture.
        left_in: "BONE" or "SOFT TISSUE" where the picture shows that alone, as those of two
            energies and of bone suppression do; "" where nothing says so.
        notes: What is wrong with the file and was put up with; of its pixels only where they were
            decoded.
    """

    path: Path
    sop_class_uid: str = ""
    sop_class_name: str = ""
    other_object: str = ""
    own_result: bool = False
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    transfer_syntax_uid: str = ""
    transfer_syntax_name: str = ""
    patient_name: str = field(default="", repr=False)
    patient_id: str = field(default="", repr=False)
    age: str = ""
    sex: str = ""
    modality: str = ""
    body_part: str = ""
    intent: str = ""
    view_position: str = ""
    view_code: str = ""
    region: str = ""
    rows: int
    columns: int
    frames: int = 1
    samples_per_pixel: int = 1
    photometric_interpretation: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int = 0
    pixel_bytes: int
    geometry: Geometry = field(default_factory=Geometry)
    spacing_text: str = ""
    windows: tuple[Window, ...] = ()
    voi_lut_function: str = "LINEAR"
    rescale_slope: float = 1.0
    rescale_intercept: float = 0.0
    presentation_lut_shape: str = ""
    patient_orientation: str = ""
    manufacturer: str = ""
    study_date: str = ""
    made_from: str = ""
    left_in: str = ""
    notes: tuple[Note, ...] = ()

    @property
    def signed(self) -> bool:
        """Whether stored values are two's complement."""
        return self.pixel_representation == 1

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Distance between (rows, columns) in mm, as the file says it; None where it does not."""
        return self.geometry.spacing_mm


def build_header(path: Path, data: DataSet, meta: DataSet, transfer_syntax_uid: str) -> Header:
    """Return the header of a data set that holds an image.

    Args:
        path: The file; its name names the image where nothing else does.
        data: The walked data set.
        meta: The file meta information: class and id where the data set itself has none.
        transfer_syntax_uid: How the data set is written.

    Raises:
        OtherObjectError: It holds no picture, as its kind says.
        DicomError: It is no image, it has no usable identity, or an attribute that its pixels
            depend on is missing, of a wrong type, or out of range. The message lacks the path.
    """
    sop_class_uid = text(data, _SOP_CLASS_UID) or text(meta, _MEDIA_STORAGE_SOP_CLASS_UID)
    modality = text(data, _MODALITY)
    other = other_object(sop_class_uid, modality, text(data, _SEGMENTATION_TYPE))
    own = written_by_pleura(meta, data)
    if PIXEL_DATA not in data:
        require_picture(other, own)
        _require_pixels(data, sop_class_uid)
    pixels = data.elements[PIXEL_DATA]
    rows, columns = _side(data, _ROWS), _side(data, _COLUMNS)
    if rows * columns > MAX_PIXELS:
        raise DicomError(f"{rows} x {columns} is more than {MAX_PIXELS:,} pixels; refused")
    bits_stored = _required(data, _BITS_STORED)
    high_bit = integer(data, _HIGH_BIT)
    there = data.elements  # what is not there is not asked for: most of what follows
    voi_lut_function = (_VOI_LUT_FUNCTION in there and _term(data, _VOI_LUT_FUNCTION)) or "LINEAR"
    return Header(
        path=path,
        sop_class_uid=sop_class_uid,
        sop_class_name=uid_name(sop_class_uid),
        other_object=other,
        own_result=own,
        sop_instance_uid=_identity(path, data, meta),
        study_instance_uid=text(data, 0x0020000D),
        series_instance_uid=text(data, 0x0020000E),
        transfer_syntax_uid=transfer_syntax_uid,
        transfer_syntax_name=uid_name(transfer_syntax_uid),
        patient_name=text(data, 0x00100010),
        patient_id=text(data, 0x00100020),
        age=text(data, 0x00101010),
        sex=text(data, 0x00100040),
        modality=modality,
        body_part=text(data, 0x00180015),
        intent=_intent(data, sop_class_uid),
        view_position=text(data, 0x00185101),
        view_code=_meaning(data, _VIEW_CODES) if _VIEW_CODES in there else "",
        region=_meaning(data, _REGIONS) if _REGIONS in there else "",
        rows=rows,
        columns=columns,
        frames=_frames(data) if _FRAMES in there else 1,
        samples_per_pixel=_required(data, _SAMPLES),
        photometric_interpretation=_photometric(data),
        bits_allocated=_required(data, _BITS_ALLOCATED),
        bits_stored=bits_stored,
        high_bit=bits_stored - 1 if high_bit is None else high_bit,
        pixel_representation=_required(data, _REPRESENTATION),
        pixel_bytes=pixels.end - pixels.start,
        geometry=geometry_of(data, rows, columns),
        spacing_text=next(filter(None, (text(data, tag) for tag in SPACINGS)), ""),
        windows=_windows(data, voi_lut_function) if not _OF_WINDOWS.isdisjoint(there) else (),
        voi_lut_function=voi_lut_function,
        rescale_slope=decimal(data, _SLOPE, 1.0) if _SLOPE in there else 1.0,
        rescale_intercept=decimal(data, _INTERCEPT, 0.0) if _INTERCEPT in there else 0.0,
        presentation_lut_shape=(
            _presentation_lut_shape(data) if _PRESENTATION_LUT_SHAPE in there else ""
        ),
        patient_orientation=text(data, 0x00200020),
        manufacturer=text(data, 0x00080070),
        study_date=text(data, 0x00080020),
        made_from=_made_from(data, sop_class_uid),
        left_in=_left_in(data),
        notes=tuple(data.notes),  # the last, for reading the others may add some
    )


def require_picture(other: str, own_result: bool) -> None:
    """Check that an object's kind does not rule out a radiograph.

    Args:
        other: As in :class:`Header`, and so is `own_result`.
        own_result: Whether pleura wrote it.

    Raises:
        OwnResultError: It is a result of pleura.
        OtherObjectError: It is another object. The messages lack the path.
    """
    if own_result:
        raise OwnResultError(
            "is a result that pleura wrote, and results are never inputs; name the radiograph"
            " itself"
        )
    if other:
        raise OtherObjectError(f"{other}; only radiographs are read: name the radiograph itself")


def _require_pixels(data: DataSet, sop_class_uid: str) -> None:
    if any(tag in data for tag in _FLOAT_PIXELS):
        raise DicomError("its pixels are floating-point numbers; only integer pixels are read")
    known = uid_name(sop_class_uid)
    what = known if known != UNKNOWN else "an object of unknown storage class"
    raise DicomError(
        f"it is {what} and has no (7FE0,0010) Pixel Data; only images are read (or the file ends"
        " too early)"
    )


def _required(data: DataSet, tag: int) -> int:
    value = integer(data, tag)
    if value is None:
        raise DicomError(
            f"{name(tag)} is missing or empty; an image cannot be read without it{WAY_OUT}"
        )
    return value


def _side(data: DataSet, tag: int) -> int:
    side = _required(data, tag)
    if not 1 <= side <= MAX_SIDE_PX:
        raise DicomError(f"{name(tag)} is {side}; it must be 1 to {MAX_SIDE_PX:,}{WAY_OUT}")
    return side


def _frames(data: DataSet) -> int:
    if numbers(data, _FRAMES) == (0,):
        data.note("unreadable-value", f"{name(_FRAMES)} is 0; it is taken for 1, as others do")
        return 1
    found = counts(data, _FRAMES)
    if len(found) > 1:
        raise DicomError(f"{name(_FRAMES)} has {len(found)} values; it must have one{WAY_OUT}")
    return found[0] if found else 1


def _meaning(data: DataSet, sequence: int) -> str:
    """Return the meaning of the code in a sequence's first item; "" where it cannot be told."""
    try:
        item = data.first_item(sequence)
    except DicomError:  # no picture depends on it
        return ""
    return "" if item is None else text(item, _CODE_MEANING)


def _intent(data: DataSet, sop_class_uid: str) -> str:
    """Return what a picture is for.

    Source: DICOM PS3.3 C.8.11.1.1.1 (Presentation Intent Type), A.26.1 (its two storage classes).
    """
    found = text(data, _INTENT).upper()
    if not found and uid_name(sop_class_uid).upper().endswith(_FOR_PROCESSING):
        return _FOR_PROCESSING
    return found


def _made_from(data: DataSet, sop_class_uid: str) -> str:
    """Return what kind of image a secondary capture was made from.

    A radiograph that was scanned, or compressed with loss as a capture, was made from no other
    kind; a picture of a viewer's window, or another program's result, was.

    Source: DICOM PS3.3 C.7.6.1.1.2 (Image Type), C.12.4.1.1 (Source Image Sequence).
    """
    if not is_capture(sop_class_uid) or not text(data, _IMAGE_TYPE).startswith("DERIVED"):
        return ""
    try:
        sources = [text(item, _REFERENCED_CLASS) for item in data.items(_SOURCE_IMAGES)]
    except DicomError:  # no picture depends on it
        return ""
    known = (uid_name(source) for source in sources if source and not is_capture(source))
    return next((found for found in known if found != UNKNOWN), "")


def _left_in(data: DataSet) -> str:
    """Return what a picture shows alone, of bones and soft tissue.

    Source: DICOM PS3.3 C.7.6.1.1.2 (Image Type, the third value and those behind it are the
    maker's), C.8.11.3 (Acquisition Device Processing Description).
    """
    told = [text(data, tag).upper() for tag in _TOLD_OF]
    if not any(word in one for one in told for word in _TELLING):
        return ""
    told[0] = " ".join(told[0].split("\\")[2:])
    words = [_BETWEEN_WORDS.sub(" ", one) for one in told]
    if any(map(_SOFT_TISSUE.search, words)):
        return "SOFT TISSUE"
    return "BONE" if _BONES.search(words[0]) or any(map(_BONE_IMAGE.search, words)) else ""


def _term(data: DataSet, tag: int) -> str:
    """Return a defined term; small letters, which terms never have, are read as capitals.

    A term that is repeated, as by files that give each of several windows its own, is read as one.

    Source: DICOM PS3.5 6.2 (CS).
    """
    found = text(data, tag)
    parts = {part.strip() for part in found.split("\\")}
    if "\\" in found and len(parts) == 1:
        data.note("number-form", f"{name(tag)} {found[:SHOWN]!r} is read as one term")
        found = parts.pop()
    if found != found.upper():
        data.note("number-form", f"{name(tag)} {found[:SHOWN]!r} is read in capital letters")
    return found.upper()


def _presentation_lut_shape(data: DataSet) -> str:
    """Return "INVERSE", "IDENTITY" or ""; another term is noted.

    Source: DICOM PS3.3 C.11.6.1.2.
    """
    found = _term(data, _PRESENTATION_LUT_SHAPE)
    if found in ("INVERSE", "IDENTITY", ""):
        return found
    data.note(
        "unreadable-value",
        f"{name(_PRESENTATION_LUT_SHAPE)} is {found[:SHOWN]!r}, and not INVERSE or IDENTITY; it is"
        " left out",
    )
    return ""


def _photometric(data: DataSet) -> str:
    found = _term(data, _PHOTOMETRIC)
    if not found:
        raise DicomError(f"{name(_PHOTOMETRIC)} is missing or empty; black could be white{WAY_OUT}")
    if "\\" in found:
        raise DicomError(f"{name(_PHOTOMETRIC)} is {found[:40]!r}; it must have one value{WAY_OUT}")
    return found


def _identity(path: Path, data: DataSet, meta: DataSet) -> str:
    """Return the image's id.

    Source: DICOM PS3.10 7.1: (0002,0003) is the SOP Instance UID of the data set.
    """
    own, of_meta = text(data, _SOP_INSTANCE_UID), text(meta, _MEDIA_STORAGE_SOP_INSTANCE_UID)
    if _SAFE_ID.fullmatch(own):  # as in nearly all files
        return own
    candidates = (
        (name(_SOP_INSTANCE_UID), own),
        (name(_MEDIA_STORAGE_SOP_INSTANCE_UID), of_meta),
        ("the file's name", stem_of(path)),
    )
    source, found = next(filter(itemgetter(1), candidates))
    missing = "" if source == candidates[0][0] else f"{candidates[0][0]} is missing or empty; "
    if not _SAFE_ID.fullmatch(found):
        raise DicomError(
            f"{missing}{source} has {len(found)} characters or some that are unsafe in a file"
            " name; it must be 1 to 64 letters, digits, dots, dashes or underscores"
        )
    if missing:
        data.note("id-elsewhere", f"{missing}{source} is the image's id")
    return found


def _windows(data: DataSet, function: str) -> tuple[Window, ...]:
    """Return the usable windows; what else the two elements hold is noted.

    A window is a suggestion for display, so one that cannot be read does not keep the picture from
    being read.
    """
    least = 1.0 if function == "LINEAR" else math.ulp(1.0)
    windows = []
    found = list(zip_longest(numbers(data, _CENTER), numbers(data, _WIDTH)))
    texts = (text(data, tag).split("\\") for tag in (_CENTER, _WIDTH, _EXPLANATION))
    shown = list(zip_longest(*texts, fillvalue=""))
    shown += [("", "", "")] * (len(found) - len(shown))  # of binary numbers there is no text
    for (center, width), words in zip(found, shown, strict=False):
        written, of_width, explanation = (word.strip() for word in words)
        if center is not None and width is not None and width >= least:
            windows.append(Window(center, width, explanation))
        elif written or of_width:
            data.note(
                "unreadable-value",
                f"{name(_CENTER)} {written[:SHOWN]!r} with {name(_WIDTH)} {of_width[:SHOWN]!r} is"
                " no window, which takes two numbers, a width of at least 1; it is left out",
            )
    return tuple(windows)
