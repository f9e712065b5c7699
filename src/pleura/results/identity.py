"""The identity of a result: its UIDs, its time, its maker, and the study that it belongs to."""

import datetime
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pleura.choices import RESULT_KINDS, ResultKind
from pleura.dicom.own_result import MAKER, SERIES
from pleura.dicom.uids import derive_uid
from pleura.inference.prediction import Prediction
from pleura.inference.tables import Provenance
from pleura.models.bundle import OperatingPoint
from pleura.pictures.flags import in_words
from pleura.results.source import STUDY, SourceImage

SERIES_NUMBER = 9001
"""Of the first kind; the others follow, behind whatever a modality numbers."""

_CHEST = "CHEST"

_WHAT: dict[ResultKind, str] = {
    "seg": "outline",
    "map": "probability map",
    "sr": "report",
    "gsps": "contour",
    "sc": "picture",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one result from every other.

    Attributes:
        kind: What it is.
        uid: Its SOP Instance UID, and `series_uid` its Series Instance UID: each result is a
            series of its own in the source's study. Both follow from the source's UID and pixels,
            the answer, model and thresholds.
        description: Of its series, as a PACS lists it.
        made_with: The model, the thresholds, and the version of the program.
        moment: When the result was made, in local time.
    """

    kind: ResultKind
    uid: str
    series_uid: str
    description: str
    made_with: Provenance
    moment: datetime.datetime

    @property
    def serial(self) -> str:
        """The model's digest, short, as the serial number of the device."""
        return self.made_with.model[:16]

    @property
    def series_number(self) -> int:
        """Of the series that it is."""
        return SERIES_NUMBER + RESULT_KINDS.index(self.kind)

    @property
    def parameters(self) -> dict[str, str]:
        """What decided the answer, as far as it is known, to identify the algorithm."""
        if not self.made_with.engine:  # of a table of answers alone
            return {}
        score, mask, min_area = self.made_with.thresholds
        return {
            "model digest": self.made_with.model,
            "score threshold": f"{score:.6g}",
            "mask threshold": f"{mask:.6g}",
            "smallest area, share of the image": f"{min_area:.6g}",
        }

    def other(self, part: str) -> str:
        """Return a UID for a part of this result."""
        return derive_uid("part", self.uid, part)

    @property
    def device_uid(self) -> str:
        """The UID of this program with this model, as the observer of a report."""
        return derive_uid("device", MAKER, self.made_with.pleura, self.serial)

    def arguments(self) -> dict[str, Any]:
        """Return what every constructor of highdicom takes."""
        return {
            "sop_instance_uid": self.uid,
            "series_instance_uid": self.series_uid,
            "series_number": self.series_number,
            "instance_number": 1,
            "manufacturer": MAKER,
            "manufacturer_model_name": MAKER,
            "software_versions": self.made_with.pleura,
            "device_serial_number": self.serial,
            "series_description": self.description,
        }


def identify(
    source: SourceImage,
    prediction: Prediction,
    made_with: Provenance,
    digest: str,
    kind: ResultKind,
    moment: datetime.datetime,
    *options: str,
) -> Identity:
    """Return the identity of one result.

    Args:
        source: The radiograph.
        prediction: The answer.
        made_with: What it was made with.
        digest: Of all three, from :func:`digest_of`.
        kind: What shall be written.
        moment: When.
        options: What else its content depends on.
    """
    parts = (source.uid, digest, kind, *options)
    about = SERIES if prediction.assessed else f"{SERIES} not assessed"
    return Identity(
        kind=kind,
        uid=derive_uid("result", *parts),
        series_uid=derive_uid("series", *parts),
        description=f"{about}, {_WHAT[kind]}",
        made_with=made_with,
        moment=moment.replace(tzinfo=None),
    )


def identify_drawn(
    source: SourceImage,
    mask: NDArray[np.bool_],
    made_with: Provenance | None,
    version: str,
    moment: datetime.datetime,
) -> Identity:
    """Return the identity of a segmentation of a mask that came in another form.

    Args:
        source: The radiograph.
        mask: ``(rows, columns)``.
        made_with: What made it, where pleura answered it.
        version: Of the program that writes it.
        moment: When it is written.
    """
    digest = hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()
    model = () if made_with is None else ("of a prediction", made_with.model)
    return Identity(
        kind="seg",
        uid=derive_uid("drawn", source.uid, digest, *model),
        series_uid=derive_uid("drawn series", source.uid, digest, *model),
        description=f"{SERIES}, converted outline",
        made_with=made_with or Provenance("no model", "", OperatingPoint(), version),
        moment=moment.replace(tzinfo=None),
    )


def digest_of(
    source: SourceImage,
    prediction: Prediction,
    made_with: Provenance,
    probability: NDArray[np.float32] | None,
) -> str:
    """Return a digest over picture, answer, model and thresholds: all that UIDs depend on.

    Args:
        source: The radiograph.
        prediction: The answer.
        made_with: What it was made with.
        probability: ``(rows, columns)`` float32, 0..1: the map, where one is written.
    """
    values = [
        prediction.score,
        prediction.called,
        made_with.model,
        made_with.pleura,
        *made_with.thresholds,
        MAKER,
        in_words(prediction.flags),
    ]
    content = hashlib.sha256(repr(values).encode())
    for array in (source.pixels, prediction.mask, probability):
        content.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    return content.hexdigest()


def settle(dataset: Dataset, source: SourceImage, identity: Identity) -> None:
    """Put a result into its source's study, and give it its own time in place of the clock's."""
    dataset.SpecificCharacterSet = source.dataset.SpecificCharacterSet
    for keyword in STUDY:
        if keyword in source.dataset:
            setattr(dataset, keyword, source.dataset[keyword].value)  # an element of its own
    date = f"{identity.moment:%Y%m%d}"
    time = f"{identity.moment:%H%M%S}"
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date, time
    dataset.SeriesDate, dataset.SeriesTime = date, time
    others = dataset.get("ContributingEquipmentSequence", [])  # highdicom names itself there
    dataset.ContributingEquipmentSequence = [*others, _contribution(identity)]
    for item in dataset.ContributingEquipmentSequence:
        item.ContributionDateTime = date + time
    if identity.kind == "gsps":
        dataset.PresentationCreationDate, dataset.PresentationCreationTime = date, time
    else:
        dataset.ContentDate, dataset.ContentTime = date, time


def _contribution(identity: Identity) -> Dataset:
    """Return what made a result, in the list that others who change a file add to."""
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "109102", "DCM"
    purpose.CodeMeaning = "Processing Equipment"
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [purpose]
    item.Manufacturer = item.ManufacturerModelName = MAKER
    item.SoftwareVersions = identity.made_with.pleura
    return item


def say_where(dataset: Dataset, source: SourceImage) -> None:
    """Say which part of the body a result shows, in the form that its General Series wants.

    Laterality is wanted of a paired part, must be missing for any other, and is empty where the
    part is not known (type 2C).
    """
    if source.dataset.get("BodyPartExamined") == _CHEST:
        dataset.BodyPartExamined = _CHEST
    else:
        dataset.Laterality = ""


def say(dataset: Dataset, notes: tuple[str, ...]) -> None:
    """Write what was mended into a result that has a place for comments."""
    if notes:
        dataset.ImageComments = "; ".join(notes)[:10240]
