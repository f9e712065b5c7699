"""Files with masks: pictures, NIfTI files, DICOM Segmentations.

Whoever drew them is a stranger, and four libraries take part. So they are opened, a few at a time,
in processes that may be killed, and whose answer is text.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pleura.dicom.limits import MAX_PIXELS
from pleura.dicom.segmentation import SegmentedMask, is_segmentation, read_segmentation
from pleura.dicom.suffixes import DICOM_SUFFIXES, suffix_of
from pleura.errors import AnnotationError, InputError, LimitError, is_about_memory
from pleura.formats import mask_picture, nifti
from pleura.formats.annotations import ProblemCode
from pleura.formats.mask_doubts import why_impossible
from pleura.formats.mask_picture import labelled_pixels, picture_values
from pleura.formats.nifti import read_nifti
from pleura.formats.rle import EMPTY, mask2rle
from pleura.processes.guarded import guarded_list
from pleura.processes.isolation import next_file


class FoundMask(NamedTuple):
    """One mask in a file, or why there is none.

    Attributes:
        image_id: The radiograph that the file itself says it is of; "" where it says none.
        shape: ``(rows, columns)``; None where only a fault is known.
        runs: Where it is, as :func:`pleura.formats.rle.mask2rle` writes it.
        value: What the file has inside; 0 where that is nothing, or a SEG.
        algorithm: How it was made (AUTOMATIC, SEMIAUTOMATIC), and by what; empty where nobody says.
        spacing_mm: Distance between (rows, columns) in mm; None where the file says none that can
            be believed.
        place: Where it stands: a path below the folder, or the name of an image.
        fault: Why it is not used; empty where it is.
        code: What kind of problem that is.
    """

    image_id: str
    shape: tuple[int, int] | None = None
    runs: str = EMPTY
    value: float = 0.0
    algorithm: tuple[str, str] = ("", "")
    spacing_mm: tuple[float, float] | None = None
    place: str = ""
    fault: str = ""
    code: ProblemCode = "malformed-rows"

    def tried(self, file: str) -> "FoundMask":
        """Return it, with a fault where no pneumothorax can look so; `file` is what it is in."""
        why = "" if self.fault or self.shape is None else why_impossible(self.runs, self.shape)
        return self._replace(fault=f"{file}{why}", code="impossible-mask") if why else self


def is_mask_file(path: Path) -> bool:
    """Return whether a file may hold masks, by its suffix and, of DICOM, by its beginning."""
    suffix = suffix_of(path)
    if suffix in mask_picture.SUFFIXES or suffix in nifti.SUFFIXES:
        return True
    return suffix.removesuffix(".gz") in {"", *DICOM_SUFFIXES} and is_segmentation(path)


def read_mask_files(
    paths: Sequence[Path], label: str = ""
) -> Iterator[list[FoundMask] | AnnotationError]:
    """Yield the masks in each file, run lengths with their shapes, or why there are none.

    A map of probabilities holds none.

    Args:
        paths: The files.
        label: Which value or segment is the pneumothorax, where there are several.

    Raises:
        PleuraError: A process that reads could not be started.
    """
    found = guarded_list(partial(_found, label=label), paths, name=str)
    for path, masks in zip(paths, found, strict=True):
        if isinstance(masks, LimitError | str):
            yield AnnotationError(str(masks))
            continue
        try:
            yield [_checked(*mask) for mask in masks]
        except (TypeError, ValueError):
            yield AnnotationError(f"{path}: cannot be read as a mask (no answer); save it again")


def _found(paths: Sequence[Path], label: str) -> list[list[FoundMask] | str]:
    """Return the masks in each file, or why there are none; this runs in the other process."""
    found = []
    for path in paths:
        found.append(_found_in(path, label))
        next_file()
    return found


def _found_in(path: Path, label: str) -> list[FoundMask] | str:
    try:
        masks = _masks(path, label)
    except InputError as error:
        if error.__cause__ is not None and is_about_memory(error.__cause__):
            raise  # alone it has all the memory for itself
        return str(error)
    except OSError as error:
        return f"{path}: cannot be read as a mask ({error.strerror or error}); save it again"
    return [
        FoundMask(
            one.image_id,
            (one.mask.shape[0], one.mask.shape[1]),
            mask2rle(one.mask),
            value,
            one.algorithm,
            one.spacing_mm,
        )
        for one, value in masks
    ]


def _masks(path: Path, label: str) -> list[tuple[SegmentedMask, float]]:
    """Return each mask and the value that is written inside."""
    suffix = suffix_of(path)
    spacing = None
    if suffix in nifti.SUFFIXES:
        values, spacing = read_nifti(path)
    elif suffix in mask_picture.SUFFIXES:
        values = picture_values(path)
    else:
        return [(found, 0.0) for found in read_segmentation(path, label)]
    mask = labelled_pixels(values, path, label)
    found = SegmentedMask("", mask, spacing_mm=spacing)
    return [(found, float(values[mask][0]) if mask.any() else 0.0)]


def _checked(
    image_id: Any, shape: Any, runs: Any, value: Any, algorithm: Any, spacing: Any, *_: Any
) -> FoundMask:
    rows, columns = map(int, shape)
    if not (0 < rows * columns <= MAX_PIXELS and isinstance(runs, str)):
        raise ValueError("beyond what is read")
    kind, called = map(str, algorithm)
    spacing_mm = None
    if spacing is not None:
        down, across = map(float, spacing)
        spacing_mm = (down, across)
    return FoundMask(str(image_id), (rows, columns), runs, float(value), (kind, called), spacing_mm)
