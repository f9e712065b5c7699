"""Writes a radiograph as the SIIM-ACR files are: Secondary Capture, JPEG Baseline, 8 bit."""

import os
from io import BytesIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import UID, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from pleura.errors import UsageError
from pleura.storage.atomic import write_bytes

_PATIENT_AGE = Tag(0x0010, 0x1010)


def write_secondary_capture(
    path: str | os.PathLike[str],
    pixels: NDArray[np.uint8],
    *,
    sop_uid: str,
    study_uid: str,
    series_uid: str,
    patient_id: str,
    patient_name: str,
    age: int | None,
    sex: str,
    view: str,
    spacing_mm: float | None,
    quality: int = 93,
    age_with_unit: bool = False,
) -> None:
    """Write one frontal chest radiograph as DICOM, whole or not at all.

    The same arguments give the same bytes. As in the SIIM-ACR set, the age is written without its
    unit (``38``, where DICOM asks for ``038Y``), so readers meet what they will meet there.

    Args:
        path: The file; its folders are made.
        pixels: ``(rows, columns)`` uint8, MONOCHROME2 (low is dark).
        sop_uid: SOP Instance UID, at most 64 characters.
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        patient_id: Patient ID, at most 64 characters.
        patient_name: Patient's Name.
        age: Years, 0 or more; None where nobody knows.
        sex: "M", "F", "O", or "" where nobody knows.
        view: "PA", "AP", or "" where nobody knows.
        spacing_mm: Side of a pixel at the detector; None where nobody knows.
        quality: JPEG quality, 1 to 100.
        age_with_unit: Whether to write the age as DICOM asks for it.

    Raises:
        UsageError: The pixels are not a 2-D uint8 array, or a UID is not valid.
        OutputError: The file could not be written.

    Source: DICOM PS3.3 A.8.1 (Secondary Capture Image), PS3.5 A.4.1 (JPEG).
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise UsageError(
            f"a secondary capture holds one 8-bit plane, but these pixels are {pixels.dtype} of "
            f"shape {pixels.shape}; window them to uint8 first"
        )
    for name, uid in (("SOP", sop_uid), ("study", study_uid), ("series", series_uid)):
        if not UID(uid, validation_mode=IGNORE).is_valid:
            raise UsageError(
                f"{name} instance UID {uid!r} is not valid; "
                "a UID has up to 64 digits and points, without leading zeros"
            )
    dataset = _dataset(pixels, quality)
    dataset.SOPInstanceUID = sop_uid
    dataset.StudyInstanceUID = study_uid
    dataset.SeriesInstanceUID = series_uid
    dataset.PatientID = patient_id
    dataset.PatientName = patient_name
    dataset.PatientSex = sex
    written = "" if age is None else f"{age:03d}Y" if age_with_unit else str(age)
    dataset[_PATIENT_AGE] = DataElement(_PATIENT_AGE, "AS", written, validation_mode=IGNORE)
    dataset.ViewPosition = view
    dataset.SeriesDescription = f"view: {view}"
    if spacing_mm is not None:
        dataset.PixelSpacing = [f"{spacing_mm:.6g}"] * 2
    write_bytes(path, _encoded(dataset))


def _dataset(pixels: NDArray[np.uint8], quality: int) -> Dataset:
    """Return what all these files share, with `pixels` as one JPEG frame."""
    rows, columns = pixels.shape
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.StudyDate = "19010101"
    dataset.StudyTime = "000000.00"
    dataset.AccessionNumber = ""
    dataset.Modality = "CR"
    dataset.ConversionType = "WSD"
    dataset.ReferringPhysicianName = ""
    dataset.PatientBirthDate = ""
    dataset.BodyPartExamined = "CHEST"
    dataset.StudyID = ""
    dataset.SeriesNumber = "1"
    dataset.InstanceNumber = "1"
    dataset.PatientOrientation = ""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    frame = bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(pixels), level=quality))
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def _encoded(dataset: Dataset) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
