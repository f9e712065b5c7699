"""Masks as pictures: PNG, TIFF, BMP or GIF, one file for each radiograph.

A mask has a background of 0 and one other value. Where a file holds more values, as a label map of
several structures does, the one that is the pneumothorax has to be named: a guess would be a wrong
mask. A JPEG is refused, because its edges are blurred.
"""

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
_WHOLE = frozenset({1.0, 255.0, 65535.0})
"""What a mask writes inside, where its value says nothing more than that."""

_MOST_LABELS = 32
"""A file with more values is no map of labels, if none of them is named."""

_SHARP = 0.8
"""Share of the pixels that have the least or the largest value in a mask with blurred edges."""

WHICH_LABEL = "name the one that is the pneumothorax with `mask_label`"
"""How the message on a file that holds several values ends."""

_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "F", "RGB", "RGBA", "LA")


def picture_values(path: Path) -> NDArray[Any]:
    """Return the numbers in a picture of a mask, ``(rows, columns)`` of the file's dtype.

    Raises:
        AnnotationError: It cannot be read, or has several pages or colours.
    """
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
            values = np.asarray(_by_colour(picture))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if _is_jpeg(path):
            raise AnnotationError(
                f"{path}: is a JPEG, whose edges are blurred; write the mask "
                "again from its source as PNG"
            ) from error
        raise AnnotationError(
            f"{path}: cannot be read as a mask (PNG, TIFF, BMP or GIF); save it again as PNG"
        ) from error
    return _plane(path, values)


def write_mask_picture(path: Path, mask: NDArray[np.bool_]) -> None:
    """Write a mask ``(rows, columns)`` as PNG, or TIFF by its suffix: 0 outside, 255 inside.

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
        values: ``(rows, columns)`` of any dtype, 0 outside.
        path: The file they are from, for messages.
        label: The value that is wanted; empty: the only one beside 0.

    Returns:
        ``(rows, columns)`` bool.

    Raises:
        AnnotationError: It holds several values and none is named, or no background.
    """
    if values.dtype == bool:
        values = values.astype(np.uint8)
    found = np.unique(values)
    if not np.isfinite(found).all():
        raise AnnotationError(f"{path}: holds values that are no numbers; write 0 and 1")
    many = len(found) > _MOST_LABELS and (not label or found[-1] in _WHOLE)
    if len(found) > 2 and (many or (found != np.rint(found)).any()):
        raise AnnotationError(f"{path}: {_why_no_labels(values, found)}")
    if label:
        return _named(values, found, path, label)
    if len(found) > 2:
        some = ", ".join(f"{value:g}" for value in found[:5].tolist())
        raise AnnotationError(
            f"{path}: holds {len(found)} values ({some}{', ...' * (len(found) > 5)}), but a mask "
            f"holds 0 and one other; {WHICH_LABEL}"
        )
    if found[0] != 0:
        raise AnnotationError(
            f"{path}: its smallest value is {found[0]:g}, but the background of a mask is 0; is it "
            "inverted?"
        )
    return np.asarray(values != 0, np.bool_)


def is_whole(value: float) -> bool:
    """Return whether a value inside a mask is one that says nothing more than that: 1, 255."""
    return value in _WHOLE


def _why_no_labels(values: NDArray[Any], found: NDArray[Any]) -> str:
    """Return what a file seems to hold in place of labels, and the way out."""
    least, most = found[0], found[-1]
    said = f"holds {len(found)} values from {least:g} to {most:g}, "
    if least >= 0 and most <= 1:
        return said + "as a map of probabilities does; threshold it first (0 outside, 1 inside)"
    if np.isin(values, (least, most)).mean() >= _SHARP:
        return said + (
            "as blurred edges do, which JPEG and resizing leave; write it again from its source, "
            "or threshold it at the middle (0 outside, 255 inside)"
        )
    return said + "as a radiograph does; a mask holds 0 outside and one other value inside"


def _named(values: NDArray[Any], found: NDArray[Any], path: Path, label: str) -> NDArray[np.bool_]:
    """Return where a map holds the value that is named."""
    wanted, inside = _number(path, label), found[found != 0].tolist()
    alone = len(inside) == 1 and inside[0] in _WHOLE - {wanted}
    if alone and (wanted in _WHOLE or inside[0] > 1):  # 1 may be another structure
        raise AnnotationError(
            f"{path}: holds {inside[0]:g} inside, and not the {wanted:g} of `mask_label`; leave "
            "`mask_label` out, for this mask has one value alone"
        )
    return np.asarray(values == wanted, np.bool_)


def _by_colour(picture: Image.Image) -> Image.Image:
    """Return a picture whose values go by its palette's colours where black is not the first one.

    Else the number of a colour is a label, as in maps of several structures.
    """
    palette = picture.getpalette() if picture.mode == "P" else None
    if palette is None or not any(palette[:3]):
        return picture
    used = np.unique(np.asarray(picture)).tolist()
    has_black = any(not any(palette[3 * n : 3 * n + 3]) for n in used)
    return picture.convert("RGB") if has_black else picture


def _is_jpeg(path: Path) -> bool:
    with open_regular(path, AnnotationError) as file:
        return file.read(3) == b"\xff\xd8\xff"


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
