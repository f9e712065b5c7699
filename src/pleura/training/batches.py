"""Batches of prepared images, in an order that depends on seed and epoch alone.

Shapes: B batch, H rows, W columns.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, Sampler

from pleura.data.arrays import Prepared
from pleura.data.checked import CheckedArray
from pleura.data.prepare import prepare_boxes
from pleura.data.records import ImageRecord
from pleura.errors import UsageError
from pleura.training.losses import has_mask

Item = tuple[int, int]
"""A place in the epoch's order, and which image stands there."""


Rows = tuple[Prepared, NDArray[np.int64]]
"""A prepared folder, and ``(n,)`` rows of its ``X_train``."""


class Beliefs(NamedTuple):
    """How far what is said of the images of a batch is to be believed.

    Attributes:
        positive: ``(B,)`` float32, how likely each shows a pneumothorax.
        positive_weight: ``(B,)`` float32, how far that is believed, 0..1.
        mask_weight: ``(B,)`` float32, how far its mask is believed; 0: it is not known.
        annotated: ``(B,)`` float32, 1 where the mask was drawn by somebody, else 0.
        soft: ``(B,)`` float32, 1 where the mask is one of shares, else 0.
    """

    positive: Tensor
    positive_weight: Tensor
    mask_weight: Tensor
    annotated: Tensor
    soft: Tensor


class Batch(NamedTuple):
    """Prepared images, and what is known of each.

    Attributes:
        places: ``(B,)`` int64, places in the epoch's order.
        x: ``(B, 1, H, W)`` uint8 pixels.
        y: ``(B, 1, H, W)`` uint8, the mask in steps of 1/255, 0 where it is not known. Where an
            image has boxes ``(B, 2, H, W)``: beside it the number of the box that each pixel lies
            in, 0 for none.
        boxes: The highest number of a box, kept here so that nobody waits for a GPU to find it in
            `y`.
        beliefs: None where each mask is annotated.
    """

    places: Tensor
    x: Tensor
    y: Tensor
    boxes: int = 0
    beliefs: Beliefs | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What a batch of images is held to, as the losses take it.

    Attributes:
        planes: ``(B, 1, H, W)`` float32, the mask, 0 or 1 or shares; or ``(B, 2, H, W)``, with the
            numbers of boxes.
        boxes: As in :class:`Batch`.
        beliefs: As in :class:`Batch`.
    """

    planes: Tensor
    boxes: int = 0
    beliefs: Beliefs | None = None

    @classmethod
    def of(cls, batch: Batch) -> "Truth":
        """Return what `batch` says."""
        planes = batch.y.float()
        planes[:, :1] /= 255
        return cls(planes, batch.boxes, batch.beliefs)

    @property
    def mask(self) -> Tensor:
        """``(B, 1, H, W)``: the mask."""
        return self.planes[:, :1]

    @property
    def numbers(self) -> Tensor:
        """``(B, 1, H, W)``: the number of each pixel's box; only where there are boxes."""
        return self.planes[:, 1:]

    @property
    def mask_weight(self) -> Tensor | None:
        """``(B, 1, H, W)`` or ``(B, 1, 1, 1)``: how far each pixel of the mask is believed.

        Inside a box none is. None: all for certain.
        """
        if self.beliefs is None:
            return None
        weight = self.beliefs.mask_weight[:, None, None, None]
        return weight * (self.numbers == 0) if self.boxes else weight

    @property
    def annotated(self) -> Tensor | None:
        """``(B, 1, 1, 1)``: 1 where the mask was drawn by somebody, else 0; None: it always was."""
        return None if self.beliefs is None else self.beliefs.annotated[:, None, None, None]

    @property
    def positive(self) -> Tensor:
        """``(B,)``: how likely each image shows a pneumothorax.

        By an annotated mask, as long as some of it is in the picture: augmentation may move it out.
        """
        drawn = has_mask(self.mask)
        if self.beliefs is None:
            return drawn
        return torch.where(self.beliefs.annotated > 0, drawn, self.beliefs.positive)


class Images(Dataset[Batch]):
    """Batches straight from the arrays, which are memory-mapped or fetched.

    Args:
        parts: Folders of one size, and which of their rows are meant; they are counted through.
        empty_masks: How far an image that is labelled negative is taken for one with an empty mask,
            0..1, beside how far the label is believed.
    """

    def __init__(self, *parts: Rows, empty_masks: float = 1.0) -> None:
        self._arrays = [(prepared.x_train, prepared.y_train) for prepared, _ in parts]
        self._part = np.repeat(np.arange(len(parts)), [len(rows) for _, rows in parts])
        self._row = np.concatenate([rows for _, rows in parts])
        images = [(part, part.train[row]) for part, rows in parts for row in rows.tolist()]
        self._beliefs = np.array(
            [_beliefs(record, part.soft, empty_masks) for part, record in images], np.float32
        ).reshape(-1, len(Beliefs._fields))
        self._boxes = {
            image: _largest_first(prepare_boxes(record.boxes, record.frame(part.size)))
            for image, (part, record) in enumerate(images)
            if record.boxes and not record.mask_known and not part.soft
        }

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, item: Item) -> Batch:
        return self.__getitems__([item])

    def __getitems__(self, items: list[Item]) -> Batch:
        places = torch.tensor([place for place, _ in items])
        return self.read([image for _, image in items])._replace(places=places)

    def expect(self, images: Iterable[int]) -> None:
        """Say which images will be read, in order: of use where their arrays are elsewhere."""
        coming = list(images)
        annotated = self._beliefs[:, _ANNOTATED] + self._beliefs[:, _SOFT] > 0
        for part, (pixels, masks) in enumerate(self._arrays):
            rows = [image for image in coming if self._part[image] == part]
            for array, read in ((pixels, rows), (masks, [one for one in rows if annotated[one]])):
                if isinstance(array, CheckedArray):
                    array.expect(self._row[read].tolist())

    def read(self, images: list[int]) -> Batch:
        """Return some images, by their place among the rows, numbered from 0."""
        side = self._arrays[0][0].shape[-1]
        boxes = max((len(self._boxes.get(image, ())) for image in images), default=0)
        beliefs = self._beliefs[images]
        x = np.empty((len(images), 1, side, side), np.uint8)
        y = np.zeros((len(images), 2 if boxes else 1, side, side), np.uint8)
        for place, image in enumerate(images):
            pixels, masks = self._arrays[self._part[image]]
            x[place, 0] = pixels[self._row[image]]
            if beliefs[place, _SOFT]:
                y[place, 0] = masks[self._row[image]]
            elif beliefs[place, _ANNOTATED]:
                np.multiply(masks[self._row[image]], np.uint8(255), out=y[place, 0])
            for number, (top, left, bottom, right) in enumerate(self._boxes.get(image, ()), 1):
                y[place, 1, top:bottom, left:right] = number
        ordinary = bool((beliefs[:, _ANNOTATED] > 0).all())
        return Batch(
            torch.arange(len(images)),
            torch.from_numpy(x),
            torch.from_numpy(y),
            boxes,
            None if ordinary else Beliefs(*torch.from_numpy(beliefs.T.copy())),
        )


_ANNOTATED, _SOFT = (Beliefs._fields.index(name) for name in ("annotated", "soft"))


def _beliefs(record: ImageRecord, soft: bool, empty_masks: float) -> tuple[float, ...]:
    """Return the numbers of :class:`Beliefs` for one image."""
    label, weight = record.label or 0.0, record.label_weight
    if soft:
        return label, weight, weight, 0, 1
    if record.mask_known:
        return label, 1, 1, 1, 0
    empty = weight * max(0.0, 1 - 2 * label)
    return label, weight, weight if record.boxes else empty_masks * empty, 0, 0


def _largest_first(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return boxes in an order in which none covers a smaller one."""
    top, left, bottom, right = boxes.T
    return boxes[np.argsort(-(bottom - top) * (right - left), kind="stable")]


class Batches(Sampler[list[Item]]):
    """Batches of an epoch's images, each with its place; what fills no step is left out.

    Several processes take them in turn, as many each, so no image comes to two of them.

    Args:
        order: From an epoch to its images ``(images,)`` in their order.
        images: How many images each epoch has.
        batch: Images in a batch; fewer where there are fewer images.
        accumulate: Batches of a process in a step; where there are too few for one, all are a step.
        processes: How many take them in turn.

    Raises:
        UsageError: There are more processes than images.
    """

    def __init__(
        self,
        order: Callable[[int], NDArray[np.int64]],
        images: int,
        batch: int,
        accumulate: int = 1,
        processes: int = 1,
    ) -> None:
        if images < processes:
            raise UsageError(
                f"{processes} processes have {images} images to train on, so some have none; start "
                "no more processes than there are images"
            )
        self._order = order
        self.batch_size = min(batch, images // processes)
        turns = images // (self.batch_size * processes)
        self._batches = processes * (turns // accumulate * accumulate or turns)
        self.drop_last = True
        self.epoch = 0

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[Item]]:
        order: list[Item] = list(enumerate(self._order(self.epoch).tolist()))
        for number in range(len(self)):
            yield order[number * self.batch_size : (number + 1) * self.batch_size]


def shrink(x: Tensor, truth: Truth, size: int) -> tuple[Tensor, Truth]:
    """Return pixels and truth at another size, as the preparation would have made them.

    Args:
        x: ``(B, 1, S, S)`` float32.
        truth: At the same size.
        size: No larger than S; equal leaves both as they are.

    Returns:
        ``(B, 1, size, size)`` float32, averaged over areas, and the truth: a pixel of a mask is 1
        where half of its area or more is, or, in a mask of shares, their mean; one is in a box
        where any of it is.
    """
    if size == x.shape[-1]:
        return x, truth
    wanted = (size, size)
    small = functional.interpolate(x, wanted, mode="area")
    share = functional.interpolate(truth.mask, wanted, mode="area")
    mask = (share >= 0.5).to(share.dtype)
    if truth.beliefs is not None:
        mask = torch.where(truth.beliefs.soft[:, None, None, None] > 0, share, mask)
    if truth.boxes:
        mask = torch.cat([mask, functional.adaptive_max_pool2d(truth.numbers, wanted)], dim=1)
    return small, replace(truth, planes=mask)
