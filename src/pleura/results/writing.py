"""Writes the DICOM results of one radiograph."""

import datetime
import io
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filereader import dcmread
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

from pleura.choices import ResultKind
from pleura.dicom.own_result import IMPLEMENTATION_NAME, IMPLEMENTATION_UID
from pleura.dicom.radiograph import Opened
from pleura.errors import UsageError
from pleura.formats.annotations import id_fault
from pleura.results.capture import picture_capture
from pleura.results.deidentify import deidentify, hidden_name, require_key
from pleura.results.detection import KINDS, Detection, require_detection
from pleura.results.identity import Identity, digest_of, identify
from pleura.results.presentation_state import contour_state
from pleura.results.segmentation import map_segmentation, mask_segmentation
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
    detection: Detection,
    folder: Path,
    image_id: str,
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
        detection: The answer, over the file's own pixels.
        folder: Is made where it is missing.
        image_id: Letters, digits, dots, dashes, underscores; the name of the files. De-identified
            files are named by what stands for it under the key.
        kinds: Any of ``seg map sr gsps sc``.
        moment: When the answer was given, in local time; for content date and time.
        deidentify_key: With a key the results are de-identified (see
            :func:`pleura.results.deidentify.deidentify`).

    Raises:
        DicomError: Nothing can refer to the source.
        UsageError: The answer does not fit the radiograph or itself; the id, a kind or the key is
            none; a map is asked for and the answer has none.
        OutputError: A file could not be written.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise UsageError(f"there is no result {unknown[0]!r}; take any of {', '.join(KINDS)}")
    fault = id_fault(image_id)
    if fault:
        raise UsageError(fault)
    name = image_id
    if deidentify_key is not None:
        require_key(deidentify_key)
        name = hidden_name(image_id, deidentify_key)
    read = source_of(source)
    require_detection(detection, read.pixels.shape)
    files: dict[ResultKind, Path] = {}
    # Notes may quote UIDs that follow from the source's own.
    said = read if deidentify_key is None else replace(read, notes=())
    for kind, dataset in _datasets(said, detection, kinds, moment).items():
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
    detection: Detection,
    kinds: Collection[ResultKind],
    moment: datetime.datetime,
) -> dict[ResultKind, Dataset]:
    """Return the results asked for, as far as the answer leaves something for them."""
    made: dict[ResultKind, Dataset] = {}
    digest = digest_of(source, detection)

    def identity(kind: ResultKind, *options: str) -> Identity:
        return identify(source, detection, digest, kind, moment, *options)

    outlined = detection.area_px > 0
    if "seg" in kinds and outlined:
        made["seg"] = mask_segmentation(source, detection, identity("seg"))
    if "map" in kinds and detection.assessed:
        made["map"] = map_segmentation(source, detection, identity("map"))
    if "sr" in kinds:
        segment = made.get("seg")
        option = "" if segment is None else str(segment.SOPInstanceUID)
        made["sr"] = measurement_report(source, detection, identity("sr", option), segment)
    if "gsps" in kinds and (outlined or not detection.assessed):
        made["gsps"] = contour_state(source, detection, identity("gsps"))
    if "sc" in kinds:
        made["sc"] = picture_capture(source, detection, identity("sc"))
    return made
