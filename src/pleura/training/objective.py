"""What a training makes small: the loss of the masks, of the image scores and of the boxes."""

from torch import Tensor

from pleura.config import Train
from pleura.models.blocks import Outputs
from pleura.training.batches import Truth
from pleura.training.losses import LOSSES, box_bce, deep_supervision, image_bce


class Objective:
    """The loss of a batch, as `settings` weigh its parts."""

    def __init__(self, settings: Train) -> None:
        self._mask_loss, self._settings = LOSSES[settings.loss], settings

    def __call__(self, outputs: Outputs, truth: Truth) -> Tensor:
        """Return the loss of a batch, a scalar."""
        weight = None if truth.beliefs is None else truth.beliefs.positive_weight
        image = image_bce(outputs.score, truth.positive, weight)
        maps = [outputs.mask, *outputs.coarser]
        mask = deep_supervision(self._mask_loss, maps, truth.mask, truth.mask_weight)
        total = mask + self._settings.image_loss * image
        if not truth.boxes:
            return total
        boxes = box_bce(outputs.mask, truth.numbers, truth.boxes, weight)
        return total + self._settings.box_loss * boxes
