"""Writes the DICOM results of one radiograph."""

import datetime
import io
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

from pleura.choices import RESULT_KINDS, ResultKind
from pleura.dicom.own_result import IMPLEMENTATION_NAME, IMPLEMENTATION_UID
from pleura.dicom.radiograph import Opened
from pleura.errors import UsageError
from pleura.formats.annotations import id_fault
from pleura.inference.prediction import Prediction
from pleura.inference.tables import Provenance
from pleura.results.capture import picture_capture
from pleura.results.deidentify import deidentify, hidden_name, require_key
from pleura.results.identity import Identity, digest_of, identify, identify_drawn
from pleura.results.presentation_state import contour_state
from pleura.results.segmentation import drawn_segmentation, map_segmentation, mask_segmentation
from pleura.results.source import SourceImage, source_of
from pleura.results.structured_report import measurement_report
from pleura.storage.atomic import remove, write_bytes


@dataclass(frozen=True, slots=True)
class WrittenResults:
    """What was written for one radiograph.

    Attributes:
        files: The file of each kind; one that the answer leaves nothing for is missing.
        notes: What of the source was not valid and how the results tell it; no value of the
            patient.
    """

    files: dict[ResultKind, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def write_results(
    source: Opened,
    prediction: Prediction,
    made_with: Provenance,
    folder: Path,
    kinds: Collection[ResultKind],
    *,
    moment: datetime.datetime,
    deidentify_key: bytes | None = None,
) -> WrittenResults:
    """Write the answer for one radiograph as DICOM files ``folder/IMAGE_ID.KIND.dcm``.

    The same source, answer, kinds, moment and key give the same bytes, and UIDs do not depend on
    the moment. An empty mask gives no ``seg`` and no ``gsps``. What was not assessed gives no
    ``seg`` and no ``map``, and a ``gsps`` that says so. Files of these names from another run are
    removed, so that the folder never contradicts itself. Arguments can be pickled.

    Args:
        source: The radiograph, as :func:`pleura.dicom.radiograph.open_radiograph` gives it: results
            say whose it is from the bytes that were answered, not from what lies at its path now.
        prediction: The answer for it. Its id names the files: letters, digits, dots, dashes,
            underscores. De-identified files are named by what stands for it under the key.
        made_with: What it was made with.
        folder: Is made where it is missing.
        kinds: Any of ``seg map sr gsps sc``.
        moment: When the answer was given, in local time; for content date and time.
        deidentify_key: With a key the results are de-identified (see
            :func:`pleura.results.deidentify.deidentify`).

    Raises:
        DicomError: Nothing can refer to the source.
        UsageError: The answer does not fit the radiograph or itself; the id, a kind or the key is
            none.
        OutputError: A file could not be written.
    """
    unknown = sorted(set(kinds) - set(RESULT_KINDS))
    if unknown:
        raise UsageError(
            f"there is no result {unknown[0]!r}; take any of {', '.join(RESULT_KINDS)}"
        )
    fault = id_fault(prediction.image_id)
    if fault:
        raise UsageError(fault)
    name = prediction.image_id
    if deidentify_key is not None:
        require_key(deidentify_key)
        name = hidden_name(prediction.image_id, deidentify_key)
    read = source_of(source)
    _require_fitting(prediction, read.pixels.shape)
    files: dict[ResultKind, Path] = {}
    # Notes may quote UIDs that follow from the source's own.
    said = read if deidentify_key is None else replace(read, notes=())
    for kind, dataset in _datasets(said, prediction, made_with, kinds, moment).items():
        if deidentify_key is not None:
            # Read back, because highdicom puts one item into two sequences: each must be cleaned
            # once, or a UID would be replaced twice.
            dataset = dcmread(io.BytesIO(encoded(dataset)))
            deidentify(dataset, deidentify_key)
        files[kind] = folder / f"{name}.{kind}.dcm"
        write_bytes(files[kind], encoded(dataset))
    for kind in set(kinds) - set(files):
        remove(folder / f"{name}.{kind}.dcm")
    return WrittenResults(files, read.notes)


def write_drawn(
    source: Opened,
    mask: NDArray[np.bool_],
    path: Path,
    *,
    made_with: Provenance | None = None,
    algorithm: tuple[str, str] = ("", ""),
    version: str,
    moment: datetime.datetime,
) -> None:
    """Write a mask that came in another form as a DICOM Segmentation of its radiograph.

    Args:
        source: The radiograph.
        mask: ``(rows, columns)`` of its pixels; an empty one is written too.
        path: The file.
        made_with: What made it, where pleura answered it.
        algorithm: How another segmentation says that it was made, and by what.
        version: Of the program that writes it.
        moment: When, in local time.

    Raises:
        DicomError: Nothing can refer to the source.
        OutputError: The file could not be written.
    """
    read = source_of(source)
    identity = identify_drawn(read, mask, made_with, version, moment)
    answered = made_with is not None
    dataset = drawn_segmentation(read, mask, identity, automatic=answered, algorithm=algorithm)
    write_bytes(path, encoded(dataset))


def encoded(dataset: Dataset) -> bytes:
    """Return a data set as the bytes of a file that pleura signs for."""
    meta = dataset.file_meta
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_NAME
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _datasets(
    source: SourceImage,
    prediction: Prediction,
    made_with: Provenance,
    kinds: Collection[ResultKind],
    moment: datetime.datetime,
) -> dict[ResultKind, Dataset]:
    """Return the results asked for, as far as the answer leaves something for them."""
    made: dict[ResultKind, Dataset] = {}
    probability = prediction.probability if "map" in kinds and prediction.assessed else None
    digest = digest_of(source, prediction, made_with, probability)

    def identity(kind: ResultKind, *options: str) -> Identity:
        return identify(source, prediction, made_with, digest, kind, moment, *options)

    outlined = prediction.area_px > 0
    if "seg" in kinds and outlined:
        made["seg"] = mask_segmentation(source, prediction, identity("seg"))
    if probability is not None:
        made["map"] = map_segmentation(source, probability, identity("map"))
    if "sr" in kinds:
        segment = made.get("seg")
        option = "" if segment is None else str(segment.SOPInstanceUID)
        made["sr"] = measurement_report(source, prediction, identity("sr", option), segment)
    if "gsps" in kinds and (outlined or not prediction.assessed):
        made["gsps"] = contour_state(source, prediction, identity("gsps"))
    if "sc" in kinds:
        made["sc"] = picture_capture(source, prediction, identity("sc"))
    return made


def _require_fitting(prediction: Prediction, shape: tuple[int, int]) -> None:
    """Require an answer that is of a picture of `shape` and does not contradict itself."""
    frame = prediction.frame
    for own in (prediction.mask.shape, (frame.rows, frame.columns)):
        if own != shape:
            raise UsageError(f"the prediction is of a picture {own} but the radiograph is {shape}")
    if prediction.mask.dtype != np.bool_:
        raise UsageError(f"the mask is {prediction.mask.dtype}; it must be bool")
    values = np.append(prediction.prepared_map, prediction.score)
    if not ((values >= 0) & (values <= 1)).all():
        raise UsageError("a score or a probability is not between 0 and 1; results need 0..1")
    if prediction.area_px and not prediction.assessed:
        raise UsageError(
            f"the image is not assessed but its mask has {prediction.area_px:,} pixels; empty it"
        )
    if not prediction.assessed and not prediction.flags:
        raise UsageError("the image is not assessed and nothing says why; give its flags")
