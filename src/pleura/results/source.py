"""What results take over from their source: a fixed list of values, each made valid.

The source is a stranger's file. Its elements come from pleura's own bounded walk, never from
`pydicom.dcmread`, and nothing is taken that is not named here: no private element, no sequence, no
overlay, no comment.
"""

import re
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    SecondaryCaptureImageStorage,
)

from pleura.dicom.elements import DataSet
from pleura.dicom.file import reasons
from pleura.dicom.geometry import Geometry
from pleura.dicom.grayscale import Grayscale
from pleura.dicom.header import Header
from pleura.dicom.radiograph import Opened
from pleura.dicom.uids import derive_uid
from pleura.dicom.values import name, text
from pleura.errors import DicomError
from pleura.results.cleaning import clean

# Type 2 of the modules Patient and General Study, and of what references an image: always
# written, empty where the source has no valid value.
_ALWAYS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
_IF_THERE = ("IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "StudyDescription")
# Said of the image itself, not of its patient and study.
_OF_IMAGE = ("Modality", "BodyPartExamined", "ViewPosition")
STUDY = (*_ALWAYS, *_IF_THERE, "StudyInstanceUID")
"""What every result takes over."""

_ORIENTATION, _FRAME_OF_REFERENCE = 0x00200020, 0x00200052
_SEX = {"M", "F", "O"}
_DIRECTIONS = re.compile(r"(?:A|P|R|L|H|F){1,3}")
_LOSSY, _LOSSY_RATIO, _LOSSY_METHOD = 0x00282110, 0x00282112, 0x00282114
_BURNED_IN = 0x00280301
RADIOGRAPHS = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
    DigitalXRayImageStorageForProcessing,
)
"""What results can refer to: others want frame numbers, or a place in space, in a reference."""

_ALWAYS_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit)
_METHODS = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEG2000: "ISO_15444_1",
    JPEGLSNearLossless: "ISO_14495_1",
}


@dataclass(frozen=True, slots=True, eq=False)
class SourceImage:
    """A radiograph that results refer to.

    Attributes:
        dataset: Valid values only; what highdicom wants of a source image.
        pixels: ``(rows, columns)``, the picture as a viewer shows it, from `Radiograph.pixels`.
        rules: How its stored values become that picture.
        geometry: How large its pixels are.
        burned_in: What the file says of burned-in text: "YES", "NO" or "".
        notes: What was mended or left out, for the reader of a log; no value of the file.
    """

    dataset: Dataset
    pixels: NDArray[Any]
    rules: Grayscale
    geometry: Geometry
    burned_in: str
    notes: tuple[str, ...]

    def nameless(self) -> Dataset:
        """Return a copy without the patient's name, for a library whose warnings quote names."""
        copy = deepcopy(self.dataset)
        copy.PatientName = None
        return copy

    @property
    def uid(self) -> str:
        """The UID by which results refer to the radiograph."""
        return str(self.dataset.SOPInstanceUID)


def source_of(opened: Opened) -> SourceImage:
    """Return what the results of a radiograph take over.

    Raises:
        DicomError: Its storage class is none of `RADIOGRAPHS`.
    """
    header, data = opened.radiograph.header, opened.data
    with reasons(header.path):
        notes: list[str] = []
        dataset = Dataset()
        _copy_values(data, dataset, notes)
        _copy_identity(header, dataset, notes)
        _copy_image(header, data, dataset, notes)
        dataset.SpecificCharacterSet = _character_set(dataset)
        if header.geometry.doubt:
            notes.append(f"no area in mm2 is given: {header.geometry.doubt}")
        burned_in = clean("CS", text(data, _BURNED_IN))
    return SourceImage(
        dataset=dataset,
        pixels=opened.radiograph.pixels,
        rules=opened.rules,
        geometry=header.geometry,
        burned_in=burned_in if burned_in in ("YES", "NO") else "",
        notes=tuple(notes),
    )


def _copy_values(data: DataSet, dataset: Dataset, notes: list[str]) -> None:
    for keyword in (*_ALWAYS, *_IF_THERE, *_OF_IMAGE):
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise AssertionError(f"{keyword} is in the dictionary")
        found = text(data, tag)
        value = clean(dictionary_VR(tag), found)
        if keyword == "PatientSex" and value not in _SEX:
            value = ""
        if found.strip() != value and found.strip():
            notes.append(f"{name(tag)} is not valid and was {'mended' if value else 'left out'}")
        if value or keyword in (*_ALWAYS, "Modality"):
            setattr(dataset, keyword, value)


def require_referable(header: Header) -> None:
    """Check that DICOM results can refer to a radiograph.

    Raises:
        DicomError: It is a picture, or its storage class is none of `RADIOGRAPHS`; the message
            lacks its name.
    """
    if any(note.kind == "plain-picture" for note in header.notes):
        raise DicomError(
            "is a picture without a header, and DICOM results refer to a DICOM file; leave them "
            "out, or name the DICOM file that the picture was made from"
        )
    if header.sop_class_uid not in RADIOGRAPHS:
        known = ", ".join(uid.name for uid in RADIOGRAPHS)
        raise DicomError(
            f"(0008,0016) SOP Class UID is {header.sop_class_uid[:64]!r}; DICOM results refer to"
            f" radiographs of one frame ({known}): export the image as one of these"
        )


def _copy_identity(header: Header, dataset: Dataset, notes: list[str]) -> None:
    """Set the UIDs; one that is not valid is replaced by one that follows from it."""
    require_referable(header)
    dataset.SOPClassUID = UID(header.sop_class_uid)
    image = header.sop_instance_uid
    found = {
        "SOPInstanceUID": image,
        "StudyInstanceUID": header.study_instance_uid,
        "SeriesInstanceUID": header.series_instance_uid,
    }
    for keyword, uid in found.items():
        valid = clean("UI", uid)
        if not valid:
            # From the invalid text itself, so that images of one study stay together.
            valid = derive_uid("source", keyword, uid or image)
            notes.append(
                f"{name(tag_for_keyword(keyword) or 0)} is {'not valid' if uid else 'empty'}: the"
                f" results refer to {valid} in its place, which a PACS knows only if it stored the"
                " image so"
            )
        setattr(dataset, keyword, valid)


def _copy_image(header: Header, data: DataSet, dataset: Dataset, notes: list[str]) -> None:
    dataset.Rows, dataset.Columns = header.rows, header.columns
    dataset.SamplesPerPixel = 1
    # Type 2C of General Image; empty says that it is not known.
    directions = [clean("CS", part) for part in text(data, _ORIENTATION).split("\\")]
    whole = len(directions) == 2 and all(_DIRECTIONS.fullmatch(part) for part in directions)
    dataset.PatientOrientation = directions if whole else None
    frame_of_reference = clean("UI", text(data, _FRAME_OF_REFERENCE))
    if frame_of_reference:
        dataset.FrameOfReferenceUID = frame_of_reference
    _copy_loss(header, data, dataset, notes)


def _copy_loss(header: Header, data: DataSet, dataset: Dataset, notes: list[str]) -> None:
    """Say whether the picture was ever compressed with loss, as derived images must."""
    says = text(data, _LOSSY)
    uid = UID(header.transfer_syntax_uid)
    method = _METHODS.get(uid, "")
    # JPEG 2000 and JPEG-LS near-lossless may hold a picture without loss, if the file says so.
    if says != "01" and (not method or (says == "00" and uid not in _ALWAYS_LOSSY)):
        dataset.LossyImageCompression = "00"
        return
    dataset.LossyImageCompression = "01"
    stated = text(data, _LOSSY_RATIO)
    ratio = clean("DS", stated)
    if stated and not ratio:
        notes.append(f"{name(_LOSSY_RATIO)} is not one number and was left out")
    if method and not ratio:
        raw = header.rows * header.columns * header.bits_allocated / 8
        ratio = f"{raw / max(1, header.pixel_bytes):.2f}"
    method = method or clean("CS", text(data, _LOSSY_METHOD))
    if ratio and method:
        dataset.LossyImageCompressionRatio = ratio
        dataset.LossyImageCompressionMethod = method


def _character_set(dataset: Dataset) -> str:
    """Return the smallest character set that writes every value: Latin-1 or UTF-8."""
    written = "".join(str(element.value) for element in dataset)
    try:
        written.encode("latin-1")
    except UnicodeEncodeError:
        return "ISO_IR 192"
    return "ISO_IR 100"
