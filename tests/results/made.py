"""Sources and answers for the tests of the results."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np

from pleura.dicom.radiograph import open_radiograph, read_radiograph
from pleura.results import writing
from pleura.results.detection import Detection
from tests.dicom_files import make_dicom

MOMENT = datetime.datetime(2026, 3, 4, 5, 6, 7)
KEY = bytes(range(32))
DIGEST = "0123456789abcdef" * 4
CR = "1.2.840.10008.5.1.4.1.1.1"


def source_file(path: Path, pixels: np.ndarray | None = None, **attributes: Any) -> Path:
    """A radiograph of a hospital: 40 x 50 pixels, 12 bits, everything valid."""
    if pixels is None:
        pixels = (np.arange(40 * 50, dtype=np.uint16) * 2).reshape(40, 50)
    known = {
        "SOPClassUID": CR,
        "SOPInstanceUID": "1.2.3.4.5",
        "StudyInstanceUID": "1.2.3.4",
        "SeriesInstanceUID": "1.2.3.4.1",
        "BitsStored": 12 if pixels.dtype == np.uint16 else 8,
        "StudyDate": "20260101",
        "StudyTime": "101112",
        "PatientName": "Doe^Jane",
        "PatientID": "4711",
        "PatientBirthDate": "19700102",
        "PatientSex": "F",
        "PatientAge": "056Y",
        "AccessionNumber": "A1",
        "StudyID": "S1",
        "ReferringPhysicianName": "Who^Doctor",
        "StudyDescription": "Thorax pa",
        "BodyPartExamined": "CHEST",
        "PatientOrientation": "L\\F",
        "ImagerPixelSpacing": "6\\7.5",
    }
    path.write_bytes(make_dicom(pixels, **known | attributes))
    return path


def write_results(path: Path, *given: Any, **options: Any) -> writing.WrittenResults:
    """Write the results of the radiograph that lies at `path` now."""
    return writing.write_results(open_radiograph(path), *given, **options)


def answer(path: Path, *, empty: bool = False, **changes: Any) -> Detection:
    """An answer for a file: two parts, one with a hole, or none."""
    rows, columns = read_radiograph(path).pixels.shape
    mask = np.zeros((rows, columns), np.bool_)
    if not empty:
        mask[rows // 8 : rows // 2, columns // 8 : columns // 3] = True
        mask[rows // 4 : rows // 4 + 2, columns // 5 : columns // 5 + 3] = False
        mask[-2, -1] = True
    probability = np.linspace(0, 1, rows * columns, dtype=np.float32).reshape(rows, columns)
    known: dict[str, Any] = {
        "mask": mask,
        "probability": probability,
        "score": 0.03 if empty else 0.93,
        "called": "negative" if empty else "positive",
        "model_digest": DIGEST,
        "version": "0.1.0",
        "score_threshold": 0.5,
        "mask_threshold": 0.4,
        "min_area": 0.001,
    }
    return Detection(**known | changes)
