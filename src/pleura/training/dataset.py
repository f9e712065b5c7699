"""A torch data set of prepared radiographs, for people who bring their own loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils import data

from pleura.data.arrays import open_prepared
from pleura.errors import UsageError
from pleura.training.split import split

DatasetPart = Literal["train", "validation", "all", "test"]


class Dataset(data.Dataset[Any]):
    """The images of a prepared folder, as ``pleura prepare`` writes it.

    An item is a dict:

    - ``image``: tensor ``(1, size, size)`` float32, 0..1;
    - ``mask``: tensor ``(1, size, size)`` float32, 0..1, zeros where it is not known;
    - ``label``: scalar tensor float32, how likely the image shows a pneumothorax, NaN where nobody
      said;
    - ``annotated``: bool, whether the mask is known;
    - ``image_id``: str.

    Items of test images are ``image`` and ``image_id`` alone. A ``DataLoader`` may have workers:
    each opens the folder itself.

    Args:
        folder: The prepared folder.
        part: ``train``, or ``validation``: one fold, of whose patients none is in ``train``;
            ``all``: both; or ``test``.
        transform: Takes an item and returns what stands in its place: a transform of MONAI for
            dicts, for example.
        fold: Which fold validates, from 0. The folds are those that ``pleura train`` takes.
        folds: How many there are.

    Raises:
        DataError: There is no such folder, it is damaged, or it has fewer patients than folds.
        UsageError: There is no such part or fold.
    """

    def __init__(
        self,
        folder: str | Path,
        part: DatasetPart = "train",
        *,
        transform: Callable[[Any], Any] | None = None,
        fold: int = 0,
        folds: int = 5,
    ) -> None:
        if part not in ("train", "validation", "all", "test"):
            raise UsageError(f"part is {part!r}; take train, validation, all or test")
        if not 0 <= fold < folds:
            raise UsageError(f"fold is {fold} of {folds}; take one from 0 to {folds - 1}")
        self.folder, self.part, self.transform = Path(folder), part, transform
        self._prepared = open_prepared(folder)
        if part in ("train", "validation"):
            sides = split(self._prepared, folds, fold, seed=0)
            self._rows = sides.train if part == "train" else sides.validation
        else:
            self._rows = np.arange(len(self._records))

    @property
    def _records(self) -> Any:
        return self._prepared.test if self.part == "test" else self._prepared.train

    def __repr__(self) -> str:
        side = self._prepared.size
        return f"Dataset({str(self.folder)!r}, {self.part!r}, {len(self)} images, {side}x{side})"

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Any:
        row = int(self._rows[index])
        record = self._records[row]
        known = self.part != "test"
        arrays = self._prepared.x_train if known else self._prepared.x_test
        item: dict[str, Any] = {"image": _plane(arrays[row], 255), "image_id": record.image_id}
        if known:
            most = 255 if self._prepared.soft else 1
            item["mask"] = _plane(self._prepared.y_train[row], most)
            label = np.nan if record.label is None else record.label
            item["label"] = torch.tensor(label, dtype=torch.float32)
            item["annotated"] = not self._prepared.soft and record.mask_known
        return item if self.transform is None else self.transform(item)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_prepared"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepared = open_prepared(self.folder)


def _plane(values: Any, most: int) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values)[None].astype(np.float32) / most)
