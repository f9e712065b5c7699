"""Masks and radiographs as NIfTI, as nnU-Net and ITK-SNAP write them.

The first axis of a NIfTI file runs along the columns of the radiograph, the second down its rows:
so ITK writes a picture. A file whose axes are turned or mirrored is refused, because the
radiograph itself has no place in space that it could be turned back to.

Source: NIfTI-1; ITK's NiftiImageIO, which negates the first two axes (LPS to RAS).
"""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from pleura.dicom.geometry import believed_mm
from pleura.dicom.inflating import gunzip
from pleura.dicom.limits import MAX_PIXELS
from pleura.dicom.signature import is_gzip
from pleura.errors import AnnotationError, DicomError, PictureError
from pleura.formats.text_file import read_bytes
from pleura.storage.atomic import atomic_path

SUFFIXES = (".nii", ".nii.gz")
"""What names of such files end in, in small letters."""

MAX_FILE_BYTES = 512 << 20
_NIFTI_2 = (540).to_bytes(4, "little")  # how the second version begins: bytes of its header


def read_nifti(path: Path) -> tuple[NDArray[Any], tuple[float, float] | None]:
    """Return the numbers in a NIfTI file, ``(rows, columns)`` of its dtype, and its spacing.

    The spacing is the distance between (rows, columns) in mm; None where it cannot be that of a
    radiograph, such as the 1 x 1 mm of writers that know none.

    Raises:
        AnnotationError: It cannot be read, is no single picture, or is turned.
    """
    try:
        image = _opened(read_bytes(path, AnnotationError, MAX_FILE_BYTES))
        values = _slice(image)
        across, down = np.linalg.norm(np.asarray(image.affine)[:3, :2], axis=0).tolist()
        return values, believed_mm((down, across), *values.shape)
    except AnnotationError:
        raise
    except (PictureError, DicomError) as error:
        raise AnnotationError(f"{path}: {error}") from error
    except Exception as error:  # nibabel raises many kinds of its own and of numpy's
        raise AnnotationError(
            f"{path}: cannot be read as NIfTI ({type(error).__name__}); copy it again from its "
            "source"
        ) from error


def slice_of(content: bytes) -> NDArray[Any]:
    """Return the one slice in the bytes of a NIfTI file, ``(rows, columns)`` of its dtype.

    Raises:
        PictureError: It is corrupt, no single picture, or turned; the message lacks the name.
    """
    try:
        return _slice(_opened(content))
    except PictureError:
        raise
    except Exception as error:  # as above
        raise PictureError(
            f"is corrupt or breaks off ({type(error).__name__} while reading it); copy it again "
            "from its source"
        ) from error


def write_nifti_mask(
    path: Path, mask: NDArray[np.bool_], spacing_mm: tuple[float, float] | None = None
) -> None:
    """Write a mask ``(rows, columns)`` as NIfTI of one slice, 0 outside and 1 inside.

    The slice lies as ITK lays a picture: ``(columns, rows, 1)``, x and y turned round. Where the
    distance between (rows, columns) is not known, it is 1 x 1 mm, for NIfTI has to say one.

    Raises:
        OutputError: The file could not be written.
    """
    values = np.ascontiguousarray(mask.T[:, :, None].astype(np.uint8))
    down, across = spacing_mm or (1.0, 1.0)
    image = nibabel.Nifti1Image(values, np.diag([-across, -down, 1.0, 1.0]))
    suffix = ".nii.gz" if path.name.lower().endswith(".gz") else ".nii"
    with atomic_path(path) as partial:
        named = partial.with_name(partial.name + suffix)  # nibabel goes by the suffix
        try:
            nibabel.save(image, named)
            named.replace(partial)
        finally:
            named.unlink(missing_ok=True)


def _opened(content: bytes) -> Any:
    """Return the bytes of a NIfTI file, or a gzip of it, as an image: version 1, or 2."""
    content = gunzip(content) if is_gzip(content) else content
    sizes = content[:4] in (_NIFTI_2, _NIFTI_2[::-1])
    return (nibabel.Nifti2Image if sizes else nibabel.Nifti1Image).from_bytes(content)


def _slice(image: Any) -> NDArray[Any]:
    shape, affine = tuple(image.shape), np.asarray(image.affine)
    _check(shape, affine)
    if (stored := image.get_data_dtype()).kind not in "biuf":
        what = "in colour" if stored.fields else f"of {stored} numbers"
        raise PictureError(f"is {what}; grey NIfTI of one slice is read: convert it")
    return np.ascontiguousarray(np.asarray(image.dataobj).reshape(shape[:2]).T)


def _check(shape: tuple[int, ...], affine: NDArray[np.float64]) -> None:
    if len(shape) < 2 or any(side != 1 for side in shape[2:]):
        raise PictureError(
            f"has the shape {' x '.join(map(str, shape))}, but a radiograph is one picture "
            "(columns x rows x 1); save the slice that is meant"
        )
    if not 0 < shape[0] * shape[1] <= MAX_PIXELS:
        raise PictureError(
            f"states {shape[0]:,} x {shape[1]:,} pixels; from 1 to {MAX_PIXELS:,} are read"
        )
    plane = affine[:2, :2]
    alike = plane[0, 0] * plane[1, 1] > 0
    if not alike or np.abs([plane[0, 1], plane[1, 0]]).max() > 1e-3 * np.abs(plane).max():
        raise PictureError(
            f"its axes are turned or mirrored against each other (affine "
            f"{np.round(plane, 3).tolist()}), so which pixel it means is unknown; save it in the "
            "order of the radiograph's own pixels"
        )
