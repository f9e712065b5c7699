"""Results without the patient: the basic confidentiality profile, for what leaves the site.

It is applied to the data sets that pleura wrote, which hold nothing but the values of a fixed list
(:mod:`pleura.results.source`) and what pleura says itself. So the profile's options Clean
Structured Content and Clean Graphics hold by construction, and the report and the contour stay.
Pixels are not cleaned: a Secondary Capture shows the radiograph as it is.

Source: DICOM PS3.15 annex E, table E.1-1.
"""

import hashlib
import hmac

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from pleura.dicom.uids import STANDARD_ROOT, hidden_uid
from pleura.errors import UsageError

LEAST_KEY_BYTES = 16

_EMPTY = frozenset(  # Z
    {
        "AccessionNumber",
        "ContentCreatorName",
        "PatientBirthDate",
        "PatientSex",
        "ReferringPhysicianName",
        "StudyDate",
        "StudyID",
        "StudyTime",
    }
)
_REMOVED = frozenset(  # X
    {
        "ContributionDescription",
        "ContributionDateTime",
        "DerivationDescription",
        "ImageComments",
        "InstanceCreationDate",
        "InstanceCreationTime",
        "IssuerOfPatientID",
        "ObservationDateTime",
        "PatientAge",
        "PatientSize",
        "PatientWeight",
        "SeriesDate",
        "SeriesDescription",
        "SeriesTime",
        "StudyDescription",
        "TimezoneOffsetFromUTC",
    }
)
_DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}  # D, where a value must be
_SERIAL = "0"

_PROFILE = Code("113100", "DCM", "Basic Application Confidentiality Profile")
_CLEAN_CONTENT = Code("113104", "DCM", "Clean Structured Content Option")
_CLEAN_GRAPHICS = Code("113103", "DCM", "Clean Graphics Option")
METHOD = "DICOM PS3.15 Basic Application Confidentiality Profile"


def deidentify(dataset: Dataset, key: bytes) -> None:
    """Take the patient's identity out of a result, in place.

    Every UID is replaced by one that follows from it and the key, so that the results of one job
    still refer to one another; name and id become a pseudonym, dates are removed or made 1900.

    Args:
        dataset: As pleura wrote it, read back: no item may be in two places.
        key: The secret of one job, at least 16 random bytes. Who has it can tell whether a result
            belongs to a given UID or patient id, so it is not kept with the results.

    Raises:
        UsageError: The key is too short to be a secret.
    """
    require_key(key)
    pseudonym = _pseudonym(dataset, key)
    _clean(dataset, key)
    dataset.PatientName, dataset.PatientID = f"Anonymous^{pseudonym}", pseudonym
    if "DeviceSerialNumber" in dataset:
        dataset.DeviceSerialNumber = _SERIAL
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    dataset.DeidentificationMethodCodeSequence = [_item(code) for code in _options(dataset)]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)


def require_key(key: bytes) -> None:
    """Check that a key can be a secret.

    Raises:
        UsageError: It is too short.
    """
    if len(key) < LEAST_KEY_BYTES:
        raise UsageError(
            f"the key for de-identification has {len(key)} bytes; a secret needs at least"
            f" {LEAST_KEY_BYTES} random ones, such as secrets.token_bytes(32) gives"
        )


def hidden_name(image_id: str, key: bytes) -> str:
    """Return what stands for an image's id in the name of a de-identified file."""
    return hmac.new(key, b"file:" + image_id.encode(), hashlib.sha256).hexdigest()[:32]


def _pseudonym(dataset: Dataset, key: bytes) -> str:
    # Without an id, images are known to show one person only where they share a study.
    told = [str(dataset.get("PatientID", "")), str(dataset.get("IssuerOfPatientID", ""))]
    who = "\\".join(told) if told[0] else str(dataset.StudyInstanceUID)
    return hmac.new(key, b"patient:" + who.encode(), hashlib.sha256).hexdigest()[:16].upper()


def _clean(dataset: Dataset, key: bytes) -> None:
    for element in list(dataset):
        if element.tag.is_private or element.keyword in _REMOVED:
            del dataset[element.tag]
        elif element.keyword in _EMPTY:
            element.value = ""
        elif element.VR == "SQ":
            for item in element.value:
                _clean(item, key)
        elif element.VR == "UI":
            _hide(element, key)
        elif element.VR in _DUMMIES and element.value:
            element.value = _DUMMIES[element.VR]


def _hide(element: DataElement, key: bytes) -> None:
    uids = element.value if element.VM > 1 else [element.value]
    hidden = [
        str(uid) if str(uid).startswith(STANDARD_ROOT) else hidden_uid(str(uid), key)
        for uid in uids
        if uid
    ]
    element.value = hidden if element.VM > 1 else "".join(hidden)


def _options(dataset: Dataset) -> list[Code]:
    options = [_PROFILE]
    if "ContentSequence" in dataset:
        options.append(_CLEAN_CONTENT)
    if "GraphicAnnotationSequence" in dataset:
        options.append(_CLEAN_GRAPHICS)
    return options


def _item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
    item.CodeMeaning = code.meaning
    return item
