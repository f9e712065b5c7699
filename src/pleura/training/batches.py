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
"""Rows of the table (B,), pixels (B, 1, H, W) uint8, masks (B, 1, H, W) uint8, 0 or 1."""


class Images(Dataset[Batch]):
    """Batches straight from the memory-mapped arrays.

    Args:
        prepared: The arrays.
        rows: ``(n,)`` int64: the rows of ``X_train`` that are meant.
    """

    def __init__(self, prepared: Prepared, rows: NDArray[np.int64]) -> None:
        self._x, self._y = prepared.x_train, prepared.y_train
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        rows = self._rows[indices]
        x = torch.from_numpy(np.ascontiguousarray(self._x[rows]))[:, None]
        y = torch.from_numpy(np.ascontiguousarray(self._y[rows]).view(np.uint8))[:, None]
        return torch.from_numpy(rows), x, y


class Batches(Sampler[list[int]]):
    """Batches of positions; the last ones that do not fill a step are left out.

    Args:
        order: From an epoch to the positions in their order, as many in each epoch.
        images: How many positions that are.
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

    def __iter__(self) -> Iterator[list[int]]:
        order = self._order(self.epoch).tolist()
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
