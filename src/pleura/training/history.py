"""What is counted over the steps of an epoch, and kept of each epoch."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pleura.training.batches import Truth

History = dict[str, list[float]]

COLUMNS = ("epoch", "learning_rate", "loss", "dice_coeff", "val_loss", "val_dice_coeff", "seconds")
"""Columns of the history. ``dice_coeff`` is taken over all pixels of the epoch together, as the
brief's metric does over a batch, so it depends neither on the batch nor on empty images. Images of
which no mask is annotated have no part in it; NaN where that is so of all."""


def best_value(history: History) -> float:
    """Return the best Dice that validated; -1 before the first epoch."""
    return max(history["val_dice_coeff"], default=-1.0)


def best_epochs(history: History, count: int) -> list[int]:
    """Return the numbers, from 1, of the best epochs; of equals the later."""
    values = history["val_dice_coeff"]
    ranked = sorted(range(1, len(values) + 1), key=lambda e: (values[e - 1], e), reverse=True)
    return ranked[:count]


@dataclass(slots=True)
class Sums:
    """Running sums of an epoch, ``(4,)``: loss times images, images, and Dice's two halves."""

    values: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))

    def add(self, loss: Tensor, logits: Tensor, truth: Truth) -> None:
        """Take in a batch: its mean loss, its ``(B, 1, H, W)`` logits, and what they should be."""
        probability, mask, annotated = torch.sigmoid(logits.detach()), truth.mask, truth.annotated
        if annotated is not None:
            probability, mask = probability * annotated, mask * annotated
        both, total = (probability * mask).sum(), probability.sum() + mask.sum()
        images = torch.tensor(float(len(mask)))
        self.values += torch.stack(
            [(loss.detach() * len(mask)).cpu(), images, both.cpu(), total.cpu()]
        )

    @property
    def loss(self) -> float:
        """The mean loss of the images."""
        return float(self.values[0] / self.values[1].clamp(min=1))

    @property
    def dice_coeff(self) -> float:
        """Soft Dice over all pixels; NaN where no mask is annotated."""
        if not self.values[3]:  # no sigmoid is 0 everywhere
            return math.nan
        return float((2 * self.values[2] + 1) / (self.values[3] + 1))


@dataclass(frozen=True, slots=True)
class Step:
    """What a listener learns after each step and each epoch.

    Attributes:
        epoch: From 1.
        epochs: Number of epochs.
        step: Step within the epoch, from 1.
        steps: Steps in an epoch.
        loss: Mean loss of the epoch so far.
        dice_coeff: Over the epoch so far.
        images_per_second: That were trained on, in all processes together, in the epoch so far.
        finished: The history's newest row, at the end of an epoch only.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    dice_coeff: float
    images_per_second: float
    finished: dict[str, float] | None = None


OnStep = Callable[[Step], None]


@dataclass(slots=True)
class EpochProgress:
    """Tells a listener, where there is one, how far an epoch is.

    Attributes:
        on_step: Who is told.
        epoch: From 0.
        epochs: Number of epochs.
        steps: Steps in the epoch.
        images: In a step, of all processes together.
        sums: Over the steps so far.
        seconds: That the steps so far took.
    """

    on_step: OnStep | None
    epoch: int
    epochs: int
    steps: int
    images: int
    sums: Sums = field(default_factory=Sums)
    seconds: float = 0.0
    _begun: float = field(default_factory=time.perf_counter)

    @property
    def elapsed(self) -> float:
        """Seconds since the epoch began."""
        return time.perf_counter() - self._begun

    def tell(self, step: int, row: dict[str, float] | None = None) -> None:
        """Tell of `step`, from 0; with the finished epoch's `row` of its end."""
        if row is None:
            self.seconds = self.elapsed
        if self.on_step is None:
            return
        self.on_step(
            Step(
                epoch=self.epoch + 1,
                epochs=self.epochs,
                step=step + 1,
                steps=self.steps,
                loss=self.sums.loss,
                dice_coeff=self.sums.dice_coeff,
                images_per_second=(step + 1) * self.images / self.seconds,
                finished=row,
            )
        )
