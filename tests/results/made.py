"""Sources and answers for the tests of the results."""

import datetime
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pleura.choices import ResultKind
from pleura.data.prepare import Frame
from pleura.dicom.radiograph import open_radiograph, read_radiograph
from pleura.inference.prediction import Prediction
from pleura.inference.tables import Provenance
from pleura.models.bundle import OperatingPoint
from pleura.results import writing
from tests.dicom_files import make_dicom

MOMENT = datetime.datetime(2026, 3, 4, 5, 6, 7)
KEY = bytes(range(32))
DIGEST = "0123456789abcdef" * 4
MADE_WITH = Provenance(DIGEST, "test", OperatingPoint(0.5, 0.4, 0.001), "0.1.0")
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


def write_results(
    path: Path,
    found: Prediction,
    folder: Path,
    image_id: str,
    kinds: Collection[ResultKind],
    **options: Any,
) -> writing.WrittenResults:
    """Write the results of the radiograph that lies at `path` now."""
    made_with = options.pop("made_with", MADE_WITH)
    named = replace(found, image_id=image_id)
    return writing.write_results(open_radiograph(path), named, made_with, folder, kinds, **options)


def answer(path: Path, *, empty: bool = False, **changes: Any) -> Prediction:
    """An answer for a file: two parts, one with a hole, or none; `probability` at its own size."""
    rows, columns = read_radiograph(path).pixels.shape
    mask = np.zeros((rows, columns), np.bool_)
    if not empty:
        mask[rows // 8 : rows // 2, columns // 8 : columns // 3] = True
        mask[rows // 4 : rows // 4 + 2, columns // 5 : columns // 5 + 3] = False
        mask[-2, -1] = True
    ramp = np.linspace(0, 1, rows * columns, dtype=np.float32).reshape(rows, columns)
    frame = Frame(rows, columns, max(rows, columns))
    prepared_map = np.zeros((frame.size, frame.size), np.float32)
    inside = prepared_map[frame.top : frame.top + rows, frame.left : frame.left + columns]
    inside[:] = changes.pop("probability", ramp)
    known = Prediction("x", 0.03 if empty else 0.93, mask, prepared_map, frame)
    return replace(known, **changes)
