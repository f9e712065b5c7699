"""One file with masks: a picture, a NIfTI file, a DICOM Segmentation.

Whoever drew it is a stranger, and four libraries take part. So it is opened in a process of its
own, which may be killed, and whose answer is text.
"""

import atexit
import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pleura.dicom.limits import MAX_PIXELS
from pleura.dicom.segmentation import is_segmentation, read_segmentation
from pleura.dicom.suffixes import DICOM_SUFFIXES, suffix_of
from pleura.errors import AnnotationError, LimitError
from pleura.formats import mask_picture, nifti
from pleura.formats.mask_picture import read_mask_picture
from pleura.formats.nifti import read_nifti_mask
from pleura.formats.rle import mask2rle
from pleura.processes.isolation import Isolated, Limits, Reply

_LIMITS = Limits(seconds=120.0, memory_mib=4096)


class FoundMask(NamedTuple):
    """One mask in a file.

    Attributes:
        image_id: The radiograph that the file itself says it is of; "" where it says none.
        shape: (rows, columns).
        runs: Where it is, as :func:`pleura.formats.rle.mask2rle` writes it.
    """

    image_id: str
    shape: tuple[int, int]
    runs: str


def is_mask_file(path: Path) -> bool:
    """Return whether a file may hold masks, by its suffix and, of DICOM, by its beginning."""
    suffix = suffix_of(path)
    if suffix in mask_picture.SUFFIXES or suffix in nifti.SUFFIXES:
        return True
    return suffix.removesuffix(".gz") in {"", *DICOM_SUFFIXES} and is_segmentation(path)


def read_mask_file(path: Path, label: str = "") -> list[FoundMask]:
    """Return the masks in a file; none in a map of probabilities.

    Args:
        path: The file.
        label: Which value or segment is the pneumothorax, where there are several.

    Raises:
        AnnotationError: It cannot be read, or holds no mask.
        PleuraError: A process that reads could not be started.
    """
    try:
        reply = _reader().call((path, label), path)
    except LimitError as error:
        raise AnnotationError(str(error)) from error
    if "refused" in reply.fields:
        raise AnnotationError(str(reply.fields["refused"]))
    try:
        return [_checked(*found) for found in reply.fields["masks"]]
    except (LookupError, TypeError, ValueError) as error:
        raise AnnotationError(
            f"{path}: cannot be read as a mask ({reply.fields.get('internal', 'no answer')}); save "
            "it again"
        ) from error


def handle(request: tuple[Path, str]) -> Reply:
    """Read one file; this is what runs in the other process."""
    path, label = request
    try:
        found = [
            FoundMask(image_id, (mask.shape[0], mask.shape[1]), mask2rle(mask))
            for image_id, mask in _masks(path, label)
        ]
        return Reply({"masks": found})
    except AnnotationError as error:
        return Reply({"refused": str(error)})
    except MemoryError:
        return Reply({"refused": f"{path}: takes more memory than a mask may; save it again"})


@functools.cache
def _reader() -> Isolated:
    """Return the process, which is started by the first file and ends with this one."""
    started = Isolated("pleura.formats.mask_file:handle", 1, _LIMITS)
    atexit.register(started.close)
    return started


def _masks(path: Path, label: str) -> list[tuple[str, NDArray[np.bool_]]]:
    suffix = suffix_of(path)
    if suffix in nifti.SUFFIXES:
        return [("", read_nifti_mask(path, label))]
    if suffix in mask_picture.SUFFIXES:
        return [("", read_mask_picture(path, label))]
    return [(found.image_id, found.mask) for found in read_segmentation(path, label)]


def _checked(image_id: Any, shape: Any, runs: Any) -> FoundMask:
    rows, columns = map(int, shape)
    if not (0 < rows * columns <= MAX_PIXELS and isinstance(runs, str)):
        raise ValueError("beyond what is read")
    return FoundMask(str(image_id), (rows, columns), runs)
