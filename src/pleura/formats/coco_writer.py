"""Masks as a COCO file: polygons, or run lengths as COCO packs them."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from pleura.formats.coco import NAME, box_of, drawn_pixels


class CocoMask(NamedTuple):
    """One image to be written.

    Attributes:
        name: Its file name.
        mask: The union of its lesions, ``(rows, columns)`` bool.
        score: Its score, if there is one.
        lesions: Each as it was drawn, ``(rows, columns)`` bool; none: the parts of the mask.
    """

    name: str
    mask: NDArray[np.bool_]
    score: float | None = None
    lesions: tuple[NDArray[np.bool_], ...] = ()


def coco_text(items: Iterable[CocoMask], *, polygons: bool) -> tuple[str, list[str]]:
    """Return masks as a COCO file, one annotation for each lesion, and what was lost.

    Args:
        items: The masks, ``(rows, columns)`` each.
        polygons: Whether as polygons, else as packed run lengths, which lose nothing.

    Returns:
        The file's text, and a sentence for each image whose polygons cover other pixels than its
        mask.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    lost = []
    for number, (name, mask, score, own) in enumerate(items, 1):
        rows, columns = mask.shape
        images.append({"id": number, "file_name": name, "height": rows, "width": columns})
        covered = np.zeros(mask.shape, np.bool_)
        for lesion in own or lesions_of(mask):
            drawn: Any = outlines(lesion) if polygons else packed(lesion)
            if polygons:
                covered |= drawn_pixels(drawn, mask.shape)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "segmentation": drawn,
                    "area": int(np.count_nonzero(lesion)),
                    "bbox": box_of(lesion),
                    "iscrowd": 0,
                    **({} if score is None else {"score": score}),
                }
            )
        other = int(np.count_nonzero(covered != mask)) if polygons else 0
        if other:
            lost.append(f"{name}: its polygons cover {other:,} pixels otherwise than its mask")
    told = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": NAME}]}
    return json.dumps(told, separators=(",", ":")) + "\n", lost


def lesions_of(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return the parts of a mask, each ``(rows, columns)``; pixels with a common corner connect."""
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return [parts == number for number in range(1, count)]


def packed(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return a mask ``(rows, columns)`` as COCO's packed run lengths: its size and their text."""
    found = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": found["counts"].decode("ascii")}


def outlines(mask: NDArray[np.bool_]) -> list[list[float]]:
    """Return the outer outlines of a mask ``(rows, columns)`` as COCO polygons; holes are lost.

    A polygon is x and y in turn, in pixels, 0 at the outer border of the first one. It runs along
    the borders of pixels, so that filling it gives the same pixels.
    """
    twice = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(twice, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found = []
    for contour in contours:
        # In the doubled picture pixel n is 2 n and 2 n + 1: its borders lie at n and n + 1.
        corners = np.ceil(contour[:, 0, :] / 2)
        kept = (corners != np.roll(corners, 1, axis=0)).any(axis=1)
        found.append(corners[kept].reshape(-1).tolist())
    return found
