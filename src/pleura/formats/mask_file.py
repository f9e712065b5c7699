"""One file with masks: a picture, a NIfTI file, a DICOM Segmentation.

Whoever drew it is a stranger, and four libraries take part. So it is opened in a process of its
own, which may be killed, and whose answer is text.
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pleura.dicom.limits import MAX_PIXELS
from pleura.dicom.segmentation import is_segmentation, read_segmentation
from pleura.dicom.suffixes import DICOM_SUFFIXES, suffix_of
from pleura.errors import AnnotationError, InputError
from pleura.formats import mask_picture, nifti
from pleura.formats.mask_picture import is_inverted, labelled_pixels, picture_values
from pleura.formats.nifti import nifti_values
from pleura.formats.rle import mask2rle
from pleura.processes.guarded import guarded
from pleura.processes.isolation import Reply


class FoundMask(NamedTuple):
    """One mask in a file.

    Attributes:
        image_id: The radiograph that the file itself says it is of; "" where it says none.
        shape: ``(rows, columns)``.
        runs: Where it is, as :func:`pleura.formats.rle.mask2rle` writes it.
        value: What the file has inside; 0 where that is nothing, or a SEG.
    """

    image_id: str
    shape: tuple[int, int]
    runs: str
    value: float = 0.0


def is_mask_file(path: Path) -> bool:
    """Return whether a file may hold masks, by its suffix and, of DICOM, by its beginning."""
    suffix = suffix_of(path)
    if suffix in mask_picture.SUFFIXES or suffix in nifti.SUFFIXES:
        return True
    return suffix.removesuffix(".gz") in {"", *DICOM_SUFFIXES} and is_segmentation(path)


def read_mask_file(path: Path, label: str = "") -> list[FoundMask]:
    """Return the masks in a file, as run lengths with their shapes; none in a probability map.

    Args:
        path: The file.
        label: Which value or segment is the pneumothorax, where there are several.

    Raises:
        AnnotationError: It cannot be read, or holds no mask.
        PleuraError: A process that reads could not be started.
    """
    try:
        reply = guarded(partial(_found, label=label), path, path)
    except InputError as error:
        raise AnnotationError(str(error)) from error
    except OSError as error:
        raise AnnotationError(
            f"{path}: cannot be read as a mask ({error.strerror or error}); save it again"
        ) from error
    try:
        return [_checked(*found) for found in reply.fields["masks"]]
    except (LookupError, TypeError, ValueError) as error:
        raise AnnotationError(
            f"{path}: cannot be read as a mask (no answer); save it again"
        ) from error


def _found(path: Path, label: str) -> Reply:
    """Return the masks in a file; this is what runs in the other process."""
    masks = _masks(path, label)
    if any(is_inverted(mask) for _, mask, _ in masks):
        raise AnnotationError(
            f"{path}: its mask holds more than half of the picture, with all corners; is it "
            "inverted? The background is 0, which is black"
        )
    found = [
        FoundMask(image_id, (mask.shape[0], mask.shape[1]), mask2rle(mask), value)
        for image_id, mask, value in masks
    ]
    return Reply({"masks": found})


def _masks(path: Path, label: str) -> list[tuple[str, NDArray[np.bool_], float]]:
    """Return each mask with its radiograph's id and the value that is written inside."""
    suffix = suffix_of(path)
    if suffix in nifti.SUFFIXES:
        values = nifti_values(path)
    elif suffix in mask_picture.SUFFIXES:
        values = picture_values(path)
    else:
        return [(found.image_id, found.mask, 0.0) for found in read_segmentation(path, label)]
    mask = labelled_pixels(values, path, label)
    return [("", mask, float(values[mask][0]) if mask.any() else 0.0)]


def _checked(image_id: Any, shape: Any, runs: Any, value: Any) -> FoundMask:
    rows, columns = map(int, shape)
    if not (0 < rows * columns <= MAX_PIXELS and isinstance(runs, str)):
        raise ValueError("beyond what is read")
    return FoundMask(str(image_id), (rows, columns), runs, float(value))
