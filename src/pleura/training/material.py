"""What a training looks at: the images of each epoch, in their order, and those that validate."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pleura.config import Train
from pleura.data.arrays import Prepared
from pleura.data.records import ImageRecord, image_keys
from pleura.training.batches import Images
from pleura.training.sampling import epoch_rows, mixed_rows, positive_share
from pleura.training.split import Split, further_rows


class Material:
    """The images of a training: own ones, which are split, and further ones, which only train.

    Attributes:
        prepared: The folder of the own ones.
        split: Which of its rows train and which validate.
        extra: Further folders, each with the rows of it that train.
        validating: What is known of the images that validate.

    Raises:
        DataError: A further folder does not go with this one.
    """

    def __init__(self, prepared: Prepared, split: Split, settings: Train) -> None:
        self.prepared, self.split, self._settings = prepared, split, settings
        self.validating = [prepared.train[row] for row in split.validation]
        self.extra = tuple(further_rows(path, prepared, self.validating) for path in settings.extra)
        self._own = [prepared.train[row] for row in split.train]
        self._further = [folder.train[row] for folder, rows in self.extra for row in rows]

    @property
    def images(self) -> int:
        """How many images an epoch has."""
        return len(self._own) + self._further_in_epoch

    @property
    def further_images(self) -> int:
        """How many further images there are to draw from."""
        return len(self._further)

    @property
    def _further_in_epoch(self) -> int:
        share = self._settings.extra_share if self.extra else 0.0
        return round(len(self._own) * share / (1 - share))

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return an epoch's images in order, ``(images,)`` places among those that train."""
        rows = self._drawn(self._own, len(self._own), epoch)
        if not self.extra:
            return rows
        further = len(self._own) + self._drawn(self._further, self._further_in_epoch, epoch)
        return mixed_rows(rows, further, self._settings.seed, epoch)

    def _drawn(self, records: Sequence[ImageRecord], count: int, epoch: int) -> NDArray[np.int64]:
        """Return `count` places among `records`, with the wanted share of positives."""
        settings = self._settings
        positive = np.array([bool(record.positive) for record in records])
        shares = None
        if settings.positive_fraction:
            last = float(positive.mean())
            shares = [
                positive_share(number, settings.epochs, settings.positive_fraction, last)
                for number in range(epoch + 1)
            ]
        return epoch_rows(positive, shares, settings.seed, epoch, count)

    def that_train(self) -> Images:
        """Return the images that train, own ones first."""
        own = (self.prepared, self.split.train)
        return Images(own, *self.extra, empty_masks=self._settings.empty_masks)

    def that_validate(self, rank: int, world: int) -> Images:
        """Return the part of the images that validate which process `rank` of `world` looks at."""
        rows = self.split.validation[rank::world]
        images = Images((self.prepared, rows), empty_masks=self._settings.empty_masks)
        images.expect(range(len(images)))
        return images

    def keys(self) -> NDArray[np.uint64]:
        """Return the keys ``(n,)`` of all pictures that train, see :func:`image_keys`."""
        return image_keys([*self._own, *self._further])

    @property
    def note(self) -> str:
        """Which further radiographs do not train, as their patients validate; or nothing."""
        left_out = [
            f"{len(folder.train) - len(rows):,} of {len(folder.train):,} in {folder.path}"
            for folder, rows in self.extra
            if len(rows) < len(folder.train)
        ]
        if not left_out:
            return ""
        return f"left out, because radiographs of the same patients validate: {', '.join(left_out)}"
