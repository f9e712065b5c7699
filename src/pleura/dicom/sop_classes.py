"""What kind of object a DICOM file is, and which kinds can be no radiograph whatever they hold.

A segmentation or a parametric map has rows, columns and grey values like a radiograph. Only its
storage class, its modality or its type of segmentation say that they are no picture of a patient.

Source: DICOM PS3.4 B.5 (storage classes), PS3.3 C.7.3.1.1.1 (modalities), C.8.20.2 (segmentation).
"""

import functools

from pydicom.config import IGNORE
from pydicom.uid import UID

UNKNOWN = "unknown"
_IMAGE = "Image Storage"
"""What the standard calls every class of pictures, and no other."""

_ROOT = "1.2.840.10008.5.1.4.1.1."
_CAPTURE = f"{_ROOT}7"
_OF_CAPTURES = ("", ".1", ".2", ".3", ".4")
# Branches of the storage classes without a picture, for classes that are newer than the dictionary.
_BRANCHES = {
    "9": "Waveform Storage",
    "11": "Presentation State Storage",
    "30": "Parametric Map Storage",
    "66": "Segmentation Storage",
    "67": "Real World Value Mapping Storage",
    "68": "Surface Scan Storage",
    "78": "Measurements Storage",
    "79": "Measurements Report Storage",
    "80": "Measurements Storage",
    "81": "Thickness Map Storage",
    "82": "Topography Map Storage",
    "88": "SR Storage",
    "90": "Content Assessment Results Storage",
    "91": "Annotations Storage",
    "104": "Encapsulated Document Storage",
    "200": "Procedure Protocol Storage",
    "201": "Inventory Storage",
}
_REASONS = (
    ("Presentation State", "says how another picture is shown"),
    ("Segmentation", "marks regions of another picture"),
    ("Mapping", "says what the values of another picture mean"),
    ("Map", "holds measurements or estimates, not the grey values of a radiograph"),
    ("SR Storage", "is a report"),
    ("Report", "is a report"),
    ("Key Object", "is a list of pictures"),
    ("Encapsulated", "is a document"),
    ("Waveform", "holds curves"),
    ("Curve", "holds curves"),
    ("RT ", "plans or records a treatment"),
    ("Registration", "says how other pictures lie to one another"),
    ("Directory", "lists the files of a medium"),
)
_MODALITIES = {
    "ANN": "annotations",
    "ASMT": "an assessment",
    "AU": "sound",
    "DOC": "a document",
    "ECG": "an electrocardiogram",
    "EEG": "an electroencephalogram",
    "EPS": "a study of the heart's currents",
    "FID": "marks of places in other pictures",
    "HD": "a waveform",
    "KO": "a list of pictures",
    "M3D": "a model for printing",
    "PLAN": "a plan",
    "PR": "a presentation state",
    "REG": "a registration of other pictures",
    "RESP": "a waveform",
    "RTDOSE": "a dose",
    "RTPLAN": "a plan of treatment",
    "RTRECORD": "a record of treatment",
    "RTSTRUCT": "outlines of organs",
    "RWV": "a mapping of values",
    "SEG": "a segmentation",
    "SR": "a report",
}


@functools.lru_cache(maxsize=256)
def uid_name(uid: str) -> str:
    """Return what the standard calls a UID; "unknown" where it does not list it."""
    known = UID(uid, IGNORE).name
    return UNKNOWN if known == uid else known


def is_capture(sop_class_uid: str) -> bool:
    """Return whether a storage class is that of secondary captures, which are of anything."""
    return sop_class_uid.startswith(_CAPTURE) and sop_class_uid[len(_CAPTURE) :] in _OF_CAPTURES


def other_object(sop_class_uid: str, modality: str, segmentation_type: str) -> str:
    """Return why a file can be no radiograph; "" where its kind does not rule one out.

    Every class that the standard calls an Image Storage passes, and so does one that nobody knows,
    which may be a vendor's own. Whether an image is a radiograph of a chest is another question.

    Args:
        sop_class_uid: Its storage class; "" where it has none.
        modality: Its modality, likewise.
        segmentation_type: What only a segmentation has.
    """
    kind = _class_name(sop_class_uid)
    if kind and _IMAGE not in kind:
        reason = next((why for word, why in _REASONS if word in kind), "holds no picture")
        return f"it is {kind} ({sop_class_uid}), which {reason}"
    if segmentation_type in ("BINARY", "FRACTIONAL", "LABELMAP"):
        return f"its (0062,0001) Segmentation Type {segmentation_type} is that of a segmentation"
    if modality.upper() in _MODALITIES:
        return f"its (0008,0060) Modality {modality!r} stands for {_MODALITIES[modality.upper()]}"
    return ""


def _class_name(uid: str) -> str:
    """Return the name of a standard's storage class; "" of another one, as vendors have."""
    known = uid_name(uid)
    if known != UNKNOWN:
        return known if "Storage" in known else ""
    branch = uid.removeprefix(_ROOT).split(".")[0] if uid.startswith(_ROOT) else ""
    return _BRANCHES.get(branch, "")
