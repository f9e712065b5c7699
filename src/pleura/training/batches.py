"""Batches of prepared images, in an order that depends on seed and epoch alone.

Shapes: B batch, H rows, W columns.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, Sampler

from pleura.data.arrays import Prepared

Batch = tuple[Tensor, Tensor, Tensor]
"""Places in the epoch's order (B,) int64, pixels (B, 1, H, W) uint8, masks likewise, 0 or 1."""

Item = tuple[int, int]
"""A place in the epoch's order, and which image stands there."""


Rows = tuple[Prepared, NDArray[np.int64]]
"""A prepared folder, and ``(n,)`` rows of its ``X_train``."""


class Images(Dataset[Batch]):
    """Batches straight from the memory-mapped arrays.

    Args:
        parts: Folders of one size, and which of their rows are meant; they are counted through.
    """

    def __init__(self, *parts: Rows) -> None:
        self._arrays = [(prepared.x_train, prepared.y_train) for prepared, _ in parts]
        self._part = np.repeat(np.arange(len(parts)), [len(rows) for _, rows in parts])
        self._row = np.concatenate([rows for _, rows in parts])

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, item: Item) -> Batch:
        return self.__getitems__([item])

    def __getitems__(self, items: list[Item]) -> Batch:
        places = torch.tensor([place for place, _ in items])
        return places, *self.read([image for _, image in items])

    def read(self, images: list[int]) -> tuple[Tensor, Tensor]:
        """Return pixels and masks of some images, by their place among the rows."""
        side = self._arrays[0][0].shape[-1]
        x, y = (np.empty((len(images), 1, side, side), np.uint8) for _ in range(2))
        for place, image in enumerate(images):
            pixels, masks = self._arrays[self._part[image]]
            x[place, 0], y[place, 0] = pixels[self._row[image]], masks[self._row[image]]
        return torch.from_numpy(x), torch.from_numpy(y)


class Batches(Sampler[list[Item]]):
    """Batches of an epoch's images, each with its place; what fills no step is left out.

    Args:
        order: From an epoch to its images in their order, as many in each epoch.
        images: How many that are.
        batch: Images in a batch; fewer where there are fewer images.
        accumulate: Batches in a step; where there are too few for one, all are a step.
    """

    def __init__(
        self,
        order: Callable[[int], NDArray[np.int64]],
        images: int,
        batch: int,
        accumulate: int = 1,
    ) -> None:
        self._order = order
        self.batch_size = min(batch, images)
        batches = images // self.batch_size
        self._batches = batches // accumulate * accumulate or batches
        self.drop_last = True
        self.epoch = 0

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[Item]]:
        order: list[Item] = list(enumerate(self._order(self.epoch).tolist()))
        for number in range(len(self)):
            yield order[number * self.batch_size : (number + 1) * self.batch_size]


def shrunk(x: Tensor, y: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return pixels and masks at another size, as the preparation would have made them.

    Args:
        x: ``(B, 1, S, S)`` float32.
        y: ``(B, 1, S, S)`` float32, 0 or 1.
        size: No larger than S; equal leaves both as they are.

    Returns:
        ``(B, 1, size, size)`` float32 each, averaged over areas; a pixel of the mask is 1 where
        half of its area or more is.
    """
    if size == x.shape[-1]:
        return x, y
    wanted = (size, size)
    small = functional.interpolate(x, wanted, mode="area")
    return small, (functional.interpolate(y, wanted, mode="area") >= 0.5).to(y.dtype)
