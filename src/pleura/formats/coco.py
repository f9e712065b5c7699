"""Masks as COCO JSON: polygons, run lengths, and run lengths as COCO packs them.

A file lists its images with their size, so an image that it lists without an annotation has no
pneumothorax, and one that it does not list is unlabelled. COCO's run lengths begin with the length
of the background, and run down the columns; packed ones are the same numbers as text.

Results of a detector are COCO too: a list of annotations alone, of images known by number. They
need the images of a truth, so they are read only as a whole file with its images.

Source: the COCO data format; its masks by pycocotools, so that polygons cover the same pixels as
for everybody else.
"""

import base64
import json
import math
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from pleura.dicom.limits import MAX_PIXELS
from pleura.dicom.structures import names_another, names_pneumothorax
from pleura.dicom.suffixes import stem_of
from pleura.errors import AnnotationError
from pleura.formats.mask_doubts import MANY
from pleura.formats.mask_size import exchanged
from pleura.formats.text_file import open_regular

MAX_BYTES = 1 << 28
"""A larger file is refused."""

MAX_PARTS = 5_000_000
"""A file with more lists and objects is refused: each takes twenty times its text in memory."""

_BOX_SLACK_PX, _BOX_SLACK = 2, 0.02
"""How far a box may lie off its segmentation: in pixels, and as a share of the longer side."""

_NEAR_THE_CORNER = ((3, 0.2), (5, 0.3), (9, 0.4), (20, 0.45), (40, 0.5), (80, 0.6))
"""So many masks that all reach no further than this share of their images were drawn in another
scale. Of SIIM-ACR's 2,669 none reaches no further than 0.2, 0.5 % no further than 0.3, 5 % than
0.4, 15 % than 0.45, 33 % than 0.5 and 41 % than 0.6."""

_OUTSIDE = (3, 3)
"""So many images whose outlines leave them, and one of so many: all are of pictures of another
size."""

_LEAVES = "a polygon reaches to"
"""How the fault of an outline that leaves its image begins."""

_HOLE = (0.01, 0.9)
"""A polygon within another one is a hole from this share of it on, and the same one from there."""

_SCATTERED = 4
"""So many times the pieces that a mask has when its counts run along the rows."""

NAME = "pneumothorax"
"""The category that is meant where there are several."""


@dataclass(frozen=True, slots=True)
class CocoImage:
    """What a file says of one image.

    Attributes:
        name: Its file name as written.
        shape: ``(rows, columns)``.
        masks: One for each annotation, ``(rows, columns)`` bool; none: no pneumothorax.
        fault: Why its annotations cannot be trusted; empty where they can.
        score: The highest score of its annotations, where they have any.
    """

    name: str
    shape: tuple[int, int]
    masks: tuple[NDArray[np.bool_], ...] = ()
    fault: str = ""
    score: float | None = None


class _Fault(Exception):  # noqa: N818
    """Carries what is wrong with one annotation."""


def read_coco(path: str | os.PathLike[str], label: str = "") -> Iterator[CocoImage]:
    """Yield what a COCO file says of each image that it lists, in its order.

    Args:
        path: The file.
        label: Name or number of the category that is the pneumothorax, where there are several
            and none is called so.

    Raises:
        AnnotationError: It cannot be read, is no such file, or does not say which category it is.
    """
    path = Path(path)
    content = _loaded(path)
    images: dict[str, dict[str, Any]] = {}  # ids are told apart as text: some tools quote them
    for item in _dicts(path, content, "images"):
        key = item.get("id")
        if isinstance(key, bool) or not isinstance(key, int | str) or str(key) in images:
            raise AnnotationError(f"{path}: images have an id each; {str(key)[:40]!r} is none")
        images[str(key)] = item
    own, doubted = _annotations(path, content, images, label)
    doubted |= _named_twice(images, own)
    reaches: list[float] = []
    outside = 0
    for key, item in images.items():
        image = _image(path, item, own[key])
        image = replace(image, masks=(), fault=doubted[key]) if key in doubted else image
        reaches += map(_reach, image.masks)
        outside += image.fault.startswith(_LEAVES)
        yield image
    _check_scale(path, reaches, outside, sum(map(bool, own.values())))


def _annotations(
    path: Path, content: dict[str, Any], images: Collection[str], label: str
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Return the annotations of each image that are a pneumothorax, and what is to be doubted.

    Raises:
        AnnotationError: As for :func:`read_coco`.
    """
    categories = _dicts(path, content, "categories")
    listed = [str(one.get("id")) for one in categories]
    category = _category(path, categories, label)
    alike = _alike(categories, category)
    own: dict[str, list[dict[str, Any]]] = {key: [] for key in images}
    doubted: dict[str, str] = {}
    found = {str(item.get("category_id")) for item in _dicts(path, content, "annotations")}
    if category is None and len(found) > 1:
        raise AnnotationError(
            f"{path}: lists no categories, and its annotations are of {len(found)} "
            f"({', '.join(sorted(found)[:5])}); name the one that is the pneumothorax with "
            "`mask_label`"
        )
    for item in _dicts(path, content, "annotations"):
        own_category, key = item.get("category_id"), str(item.get("image_id"))
        if listed and str(own_category) not in listed:
            raise AnnotationError(
                f"{path}: an annotation has the category_id {own_category!r:.40}, which is none of "
                "the file's categories; give it the id of one, or it would count for nothing"
            )
        named = alike.get(str(own_category))
        if not named and category is not None and str(own_category) != str(category):
            continue
        if key not in own:
            raise AnnotationError(
                f"{path}: an annotation is of image {key[:40]!r}, which the file does not list"
            )
        if named:
            doubted[key] = (
                f"an annotation is of the category {named[:40]!r}, which may be a pneumothorax "
                "too; give it the category of one, or remove it"
            )
        else:
            own[key].append(item)
    _refuse_boxes(path, own)
    return own, doubted


def _refuse_boxes(path: Path, own: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    drawn = [item.get("segmentation") for items in own.values() for item in items]
    if len(drawn) >= MANY and all(map(_is_box, drawn)):
        raise AnnotationError(
            f"{path}: all of its {len(drawn):,} segmentations are upright rectangles, so they are "
            "boxes, and no masks; give them with `labels` and `label_boxes`"
        )


def _check_scale(path: Path, reaches: Sequence[float], outside: int, drawn: int) -> None:
    """Check that outlines are in pixels of the images that are listed, as far as many of them tell.

    Args:
        path: The file.
        reaches: How far each mask lies from the upper left corner, as a share of the sides.
        outside: How many images their outlines leave.
        drawn: How many images have annotations.
    """
    if outside >= _OUTSIDE[0] and _OUTSIDE[1] * outside >= drawn:
        raise AnnotationError(
            f"{path}: the outlines of {outside:,} of its images leave them, so all may be of "
            "pictures of another size; write them in pixels of the images that the file lists"
        )
    far = max(reaches, default=1.0)
    if any(len(reaches) >= count and far <= share for count, share in _NEAR_THE_CORNER):
        raise AnnotationError(
            f"{path}: all of its {len(reaches):,} segmentations lie in the upper left corner of "
            f"their images, up to {far:.0%} of the sides, so their numbers may be per cent, or of "
            "smaller pictures; write them in pixels of the images that the file lists"
        )


def key_of_image(name: str) -> str:
    """Return what an image is called: its file name without suffix, with the folders above it."""
    path = Path(name)
    return path.with_name(stem_of(path)).as_posix() if path.name else name


def _named_twice(
    images: Mapping[str, dict[str, Any]], own: Mapping[str, Sequence[Any]]
) -> dict[str, str]:
    """Return what is wrong with images whose name others have too, if one of them has a mask."""
    alike: dict[str, list[str]] = {}
    for key, item in images.items():
        alike.setdefault(key_of_image(str(item.get("file_name", "")).strip()), []).append(key)
    several = [keys for keys in alike.values() if len(keys) > 1 and any(own[key] for key in keys)]
    return {
        key: f"the file lists {len(keys)} images of this name; keep one, or write their folders"
        for keys in several
        for key in keys
    }


def _alike(categories: Sequence[dict[str, Any]], category: Any) -> dict[str, str]:
    """Return the categories that may be a pneumothorax beside the one that is: id -> name."""
    named = {str(one.get("id")): str(one.get("name", "")) for one in categories}
    own = str(category)
    return {key: name for key, name in named.items() if key != own and names_pneumothorax(name)}


def image_names(path: Path) -> list[str]:
    """Return the file names that a COCO file lists, as written.

    Raises:
        AnnotationError: It cannot be read, or is no such file.
    """
    return [str(item.get("file_name", "")) for item in _dicts(path, _loaded(path), "images")]


def _loaded(path: Path) -> dict[str, Any]:
    with open_regular(path, AnnotationError) as stream:
        raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise AnnotationError(f"{path}: has more than {MAX_BYTES:,} bytes; at most these are read")
    parts = raw.count(b"[") + raw.count(b"{")
    if parts > MAX_PARTS:
        raise AnnotationError(
            f"{path}: holds {parts:,} lists and objects; at most {MAX_PARTS:,} are read: split it"
        )
    try:
        content = json.loads(raw)
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f"{path}: byte {error.start + 1:,} is no UTF-8, which JSON is written in; save it as "
            "UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path}: is no JSON; copy it again from its source") from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(
            f"{path}: holds a number of too many digits, or lists in lists without end; is it a "
            "COCO file?"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise AnnotationError(
            f"{path}: is no COCO file with its images; it is an object with the lists images, "
            "annotations and categories"
        )
    if not isinstance(content.get("annotations"), list):
        raise AnnotationError(
            f"{path}: lists images and no annotations, as COCO files of test images do, so nobody "
            "says which ones have a pneumothorax; where none has, give it an empty list of them"
        )
    return content


def _dicts(path: Path, content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = content.get(name) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise AnnotationError(f"{path}: {name} is no list of objects; is it a COCO file?")
    return found


def _category(path: Path, categories: Sequence[dict[str, Any]], label: str) -> Any:
    """Return the id of the category that is the pneumothorax; None: all there is."""
    named = [(str(item.get("name", "")), item.get("id")) for item in categories]
    numbers = Counter(str(number) for _, number in named)
    repeated = next((number for number, count in numbers.items() if count > 1), "")
    if repeated:
        raise AnnotationError(
            f"{path}: two of its categories have the id {repeated[:40]!r}; give each one of its own"
        )
    if label and not named:
        return label
    if label:
        meant = [number for name, number in named if label == name]
        meant = meant or [number for _, number in named if label == str(number)]
    elif len(named) <= 1:
        meant = [number for name, number in named if not names_another(name)]
        meant = meant if named else [None]
    else:
        meant = [number for name, number in named if name.strip().lower() == NAME]
    if len(meant) == 1:
        return meant[0]
    shown = ", ".join(f"{number} {name[:40]}" for name, number in named[:12])
    some = "none" if not meant else f"{len(meant)}"
    raise AnnotationError(
        f"{path}: its categories are {shown or 'none'}"
        + (f", and {label[:40]!r} is {some} of them" if label else "")
        + "; name the one that is the pneumothorax with `mask_label`"
    )


def _image(path: Path, item: dict[str, Any], own: Sequence[dict[str, Any]]) -> CocoImage:
    name = str(item.get("file_name", "")).strip()
    rows, columns = _whole(item.get("height")), _whole(item.get("width"))
    if not name or not 0 < rows <= 65_535 or not 0 < columns <= 65_535:
        raise AnnotationError(
            f"{path}: image {str(item.get('id'))[:40]!r} lacks its file_name, height or width"
        )
    if rows * columns > MAX_PIXELS:
        raise AnnotationError(
            f"{path}: image {str(item.get('id'))[:40]!r} has {rows:,} x {columns:,} pixels; at "
            f"most {MAX_PIXELS:,} are read"
        )
    if PurePosixPath(name).name in ("", ".."):
        raise AnnotationError(
            f"{path}: image {str(item.get('id'))[:40]!r} has the file_name {name[:40]!r}, which "
            "names no file; write that of its radiograph"
        )
    try:
        masks = tuple(_annotated(one, (rows, columns)) for one in own)
    except _Fault as fault:
        return CocoImage(name, (rows, columns), fault=str(fault))
    if not all(mask.any() for mask in masks):
        why = "an annotation covers no pixel; its numbers are to be pixels, and its outline closed"
        return CocoImage(name, (rows, columns), fault=why)
    scores = [float(one["score"]) for one in own if isinstance(one.get("score"), int | float)]
    if not all(map(math.isfinite, scores)):
        return CocoImage(name, (rows, columns), fault="a score is no finite number")
    return CocoImage(name, (rows, columns), masks, score=max(scores, default=None))


def _whole(value: Any) -> int:
    """Return a side as a whole number, also where a table made a fraction or text of it; else 0."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value) if len(value) < 10 else 0
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1:
        return 0
    return int(value)


def _annotated(item: dict[str, Any], shape: tuple[int, int]) -> NDArray[np.bool_]:
    mask = _mask(item.get("segmentation"), shape)
    _check_holes(item.get("segmentation"), item.get("area"), mask)
    stated = item.get("bbox")
    listed = isinstance(stated, list) and len(stated) == 4 and mask.any()
    numbers = listed and all(isinstance(n, int | float) and abs(n) < 1e6 for n in stated or ())
    if stated and numbers and not _is_box_of(mask, stated):
        raise _Fault(
            f"its bbox is {stated}, but its segmentation lies in {box_of(mask)} (x, y, width, "
            "height); one of them is of another picture or order of pixels: keep the right one"
        )
    return mask


def _is_box(drawn: Any) -> bool:
    """Return whether a segmentation is one polygon, and that an upright rectangle."""
    polygon = drawn[0] if isinstance(drawn, list) and len(drawn) == 1 else None
    if not isinstance(polygon, list) or len(polygon) not in (8, 10):  # closed or not
        return False
    sides = (polygon[::2], polygon[1::2])
    return all(isinstance(n, int | float) for n in polygon) and all(len(set(s)) == 2 for s in sides)


def _is_box_of(mask: NDArray[np.bool_], stated: Sequence[float]) -> bool:
    """Return whether a box is that of a mask, as x, y, width, height or as two corners."""
    if not any(stated[2:]):  # as tools write that leave boxes out
        return True
    rows, columns = mask.shape
    x, y, width, height = box_of(mask)
    lies = np.array([x, y, x + width, y + height])
    first = np.array(stated, np.float64)
    slack = _BOX_SLACK_PX + _BOX_SLACK * max(rows, columns)
    for corners in (first, first + np.array([0, 0, first[0], first[1]])):
        within = np.clip(corners, 0, [columns, rows, columns, rows])
        if (np.abs(within - lies) <= slack).all():
            return True
    return False


def _mask(drawn: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    if isinstance(drawn, list):
        return _of_polygons(drawn, shape)
    if not isinstance(drawn, dict) or list(drawn.get("size") or []) != list(shape):
        size = drawn.get("size") if isinstance(drawn, dict) else None
        raise _Fault(
            f"a segmentation has the size {str(size)[:40]}, but its image has "
            f"{shape[0]} x {shape[1]} (rows x columns)" + exchanged(size, shape)
            if size
            else "an annotation has no segmentation; a box alone is no mask: give it with `labels`"
        )
    counts = drawn.get("counts")
    numbers = _unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
        raise _Fault("its counts are neither whole numbers nor packed ones")
    if sum(numbers) != shape[0] * shape[1]:
        raise _Fault(
            f"its counts add up to {sum(numbers):,} pixels, but its image has "
            f"{shape[0] * shape[1]:,}"
        )
    mask = _of_counts(numbers, shape)
    if numbers is counts:  # no library packed them: they are of somebody's own loop
        _check_order(mask)
    return mask


def _check_holes(drawn: Any, area: Any, mask: NDArray[np.bool_]) -> None:
    """Check that no polygon is meant as a hole in another one, which COCO does not have.

    Outlines of all contours, as of ``cv2.findContours``, hold those of the holes too. The area that
    the file states tells where polygons lie within others and are no holes.
    """
    if not isinstance(drawn, list) or len(drawn) < 2:
        return
    long = [one for one in drawn if len(one) >= 6]
    parts = coco_mask.frPyObjects(long, *mask.shape) if long else []
    stated, covered = area if isinstance(area, int | float) else 0, int(mask.sum())
    sizes = np.array([int(coco_mask.area(part)) for part in parts])
    for inner, size in zip(parts, sizes.tolist(), strict=True):
        a_hole = abs(stated - covered) >= abs(stated - (covered - size))
        if not size or not a_hole:
            continue
        share = size / np.maximum(sizes, 1)
        within = coco_mask.iou([inner], parts, [1] * len(parts))[0] == 1  # of the inner one alone
        if (within & (_HOLE[0] <= share) & (share <= _HOLE[1])).any():
            raise _Fault(
                "a polygon lies within another one of its annotation, so it is most likely a "
                "hole, and COCO's polygons have none: write it as run lengths"
            )


def _check_order(mask: NDArray[np.bool_]) -> None:
    """Check that counts run down the columns, as far as they tell."""
    if _pieces(mask) >= _SCATTERED * max(1, _pieces(mask.T.reshape(mask.shape))):
        raise _Fault(
            "its counts give scattered pieces, and a whole mask if they run along the rows; COCO's "
            "run down the columns: write them so"
        )


def _pieces(mask: NDArray[np.bool_]) -> int:
    return int(cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0]) - 1


def _of_polygons(drawn: list[Any], shape: tuple[int, int]) -> NDArray[np.bool_]:
    flat = [n for polygon in drawn if isinstance(polygon, list) for n in polygon]
    shares = all(isinstance(n, int | float) and 0 <= n <= 1 for n in flat)
    if shares and any(n % 1 for n in flat):
        raise _Fault(
            "the numbers of a polygon lie between 0 and 1; they are to be pixels: multiply x by "
            "the width and y by the height"
        )
    for polygon in drawn:
        numbers = isinstance(polygon, list) and all(
            isinstance(n, int | float) and abs(n) < 1e6 for n in polygon
        )
        if not numbers or len(polygon) < 6 or len(polygon) % 2:
            raise _Fault("a polygon is no list of x and y in turn, of three points or more")
        corners = np.array(polygon, np.float64).reshape(-1, 2)
        if corners.min() < -1 or (corners > np.array(shape[::-1]) + 1).any():
            raise _Fault(
                f"{_LEAVES} {corners.max(axis=0).round(1).tolist()} (x, y), outside its "
                f"image of {shape[0]} x {shape[1]} (rows x columns)"
            )
    if not drawn:
        raise _Fault("an annotation has no segmentation; a box alone is no mask")
    return drawn_pixels(drawn, shape)


def drawn_pixels(polygons: list[list[float]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels that polygons cover: `shape` is ``(rows, columns)``."""
    rows, columns = shape
    long = [polygon for polygon in polygons if len(polygon) >= 6]
    if not long:
        return np.zeros(shape, np.bool_)
    runs = coco_mask.merge(coco_mask.frPyObjects(long, rows, columns))
    return _of_counts(_unpacked(runs["counts"].decode("ascii")), shape)


def _of_counts(numbers: list[int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of lengths of background and inside in turn, which fill the shape."""
    inside = np.arange(len(numbers)) % 2 == 1
    return np.repeat(inside, numbers).reshape(shape[::-1]).T


def _unpacked(text: str) -> list[int]:
    """Return the numbers of packed run lengths: 5 bits a character, from the third a difference.

    pycocotools does this too, but trusts the text.
    """
    numbers: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or shift > 30:
            raise _Fault(
                "its packed counts hold a character that packed counts never have"
                + ("; they are packed a second time: undo that" if _wrapped(text) else "")
            )
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
        value = shift = 0
    if shift:
        raise _Fault("its packed counts break off")
    return numbers


def _wrapped(text: str) -> bool:
    """Return whether a text is base64, or bytes as Python prints them."""
    if text.startswith(("b'", 'b"')):
        return True
    try:
        return bool(base64.b64decode(text, validate=True))
    except ValueError:
        return False


def _reach(mask: NDArray[np.bool_]) -> float:
    """Return how far a mask lies from the upper left corner, as a share of the sides."""
    rows, columns = mask.shape
    left, top, width, height = box_of(mask)
    return float(max((left + width) / columns, (top + height) / rows))


def box_of(mask: NDArray[np.bool_]) -> list[int]:
    """Return x, y, width and height of a mask ``(rows, columns)`` that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]
