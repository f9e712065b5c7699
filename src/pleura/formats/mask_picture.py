"""Masks as pictures: PNG, TIFF, BMP or GIF, one file for each radiograph.

A mask has a background of 0 and one other value. Where a file holds more values, as a label map of
several structures does, the one that is the pneumothorax has to be named: a guess would be a wrong
mask. A JPEG is refused, because its edges are blurred.
"""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pleura.dicom.limits import MAX_PIXELS
from pleura.errors import AnnotationError
from pleura.formats.text_file import open_regular
from pleura.formats.turned import RULE, orientation_of
from pleura.storage.atomic import atomic_path

SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp", ".gif"})
"""What names of such files end in, in small letters."""

_FORMATS = ("PNG", "TIFF", "BMP", "GIF")
_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "F", "RGB", "RGBA", "LA")


def read_mask_picture(path: str | os.PathLike[str], label: str = "") -> NDArray[np.bool_]:
    """Return the mask in a picture.

    Args:
        path: The file.
        label: The value that is the pneumothorax, where the picture holds several.

    Returns:
        (rows, columns) bool.

    Raises:
        AnnotationError: It cannot be read, has several pages or colours, or is no mask.
    """
    path = Path(path)
    try:
        quiet = warnings.catch_warnings(action="ignore")  # of metadata, which nobody asks for
        opened = open_regular(path, AnnotationError)
        with quiet, opened as file, Image.open(file, formats=_FORMATS) as picture:
            columns, rows = picture.size
            if rows * columns > MAX_PIXELS:
                raise AnnotationError(
                    f"{path}: states {rows:,} x {columns:,} pixels; at most {MAX_PIXELS:,} are read"
                )
            pages = getattr(picture, "n_frames", 1)
            if pages != 1:
                raise AnnotationError(
                    f"{path}: holds {pages} pages; write one mask to a file, the union of them"
                )
            if picture.mode not in _MODES:
                raise AnnotationError(
                    f"{path}: is a picture of mode {picture.mode}; save the mask in grey, 8 bits"
                )
            if turned := orientation_of(picture):
                raise AnnotationError(f"{path}: {RULE.format(turned)}")
            values = np.asarray(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise AnnotationError(
            f"{path}: cannot be read as a mask (PNG, TIFF, BMP or GIF); save it again as PNG"
        ) from error
    return labelled_pixels(_plane(path, values), path, label)


def write_mask_picture(path: Path, mask: NDArray[np.bool_]) -> None:
    """Write a mask as PNG or TIFF, 0 outside and 255 inside.

    Raises:
        OutputError: The file could not be written.
    """
    kind = "TIFF" if path.suffix.lower() in (".tif", ".tiff") else "PNG"
    options = {"compression": "tiff_deflate"} if kind == "TIFF" else {}
    picture = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))
    with atomic_path(path) as partial:
        picture.save(partial, format=kind, **options)


def labelled_pixels(values: NDArray[Any], path: Path, label: str) -> NDArray[np.bool_]:
    """Return where a map of labels holds the one that is the pneumothorax.

    Args:
        values: (rows, columns) numbers, 0 outside.
        path: The file they are from, for messages.
        label: The value that is wanted; empty: the only one beside 0.

    Raises:
        AnnotationError: It holds several values and none is named, or no background.
    """
    if values.dtype == bool:
        values = values.astype(np.uint8)
    if label:
        wanted = _number(path, label)
        return np.asarray(values == wanted, np.bool_)
    found = np.unique(values)
    if not np.isfinite(found).all():
        raise AnnotationError(f"{path}: holds values that are no numbers; write 0 and 1")
    if len(found) > 2:
        some = ", ".join(f"{value:g}" for value in found[:5].tolist())
        raise AnnotationError(
            f"{path}: holds {len(found)} values ({some}{', ...' * (len(found) > 5)}), but a mask "
            "holds 0 and one other; name the one that is the pneumothorax with `mask_label`"
        )
    if found[0] != 0:
        raise AnnotationError(
            f"{path}: its smallest value is {found[0]:g}, but the background of a mask is 0; is it "
            "inverted?"
        )
    return np.asarray(values != 0, np.bool_)


def _number(path: Path, label: str) -> float:
    try:
        return float(label)
    except ValueError:
        raise AnnotationError(
            f"{path}: `mask_label` {label[:40]!r} is no number, but this file holds numbers"
        ) from None


def _plane(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    """Return the one plane of a picture whose colours are equal, without its even opacity."""
    if values.ndim == 2:
        return values
    colours = values[..., :3] if values.shape[2] >= 3 else values[..., :1]
    opacity = values[..., colours.shape[2] :]
    if (opacity != opacity[:1, :1]).any():
        raise AnnotationError(
            f"{path}: its opacity differs from pixel to pixel, so the mask may be in it or in the "
            "grey; save it in grey without opacity (0 outside, one other value inside)"
        )
    if (colours != colours[..., :1]).any():
        raise AnnotationError(
            f"{path}: is in colour; a mask is grey (0 outside, one other value inside): save it so"
        )
    return np.ascontiguousarray(colours[..., 0])
