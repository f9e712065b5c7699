"""A network that learns: a step on a batch, what it says of images that validate, and its state.

Shapes: B batch, S side.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import Tensor, nn

from pleura.config import Train
from pleura.models.blocks import Outputs
from pleura.models.bundle import Preprocessing
from pleura.models.weights import Arrays
from pleura.training import augment, checkpoint
from pleura.training.average import MovingAverage
from pleura.training.batches import Batch, Images, Truth, shrink
from pleura.training.history import History, Sums
from pleura.training.optimizer import encoder_scales, make_optimizer, set_rate

LossOf = Callable[[Outputs, Truth], Tensor]


class Learner:
    """A network with its optimizer and the average of its weights, alike in every process.

    Args:
        network: With the weights that it begins with.
        settings: Of the optimizer, the augmentation and the average.
        loss_of: The loss of a batch.
        preprocessing: How the network takes pixels.
        accelerator: What trains.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: Train,
        loss_of: LossOf,
        preprocessing: Preprocessing,
        accelerator: Accelerator,
    ) -> None:
        self._settings, self._preprocessing = settings, preprocessing
        self.loss_of, self._accelerator = loss_of, accelerator
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network = network.to(accelerator.device)
        scales = encoder_scales(network, settings.encoder_rate, settings.layer_decay)
        optimizer = make_optimizer(network, settings.weight_decay, scales)
        self.network, self._optimizer = accelerator.prepare(network, optimizer)
        self.average = MovingAverage(network, settings.ema) if settings.ema else None

    @property
    def bare(self) -> nn.Module:
        """The network as it is without several processes."""
        network: nn.Module = self._accelerator.unwrap_model(self.network)
        return network

    def set_rate(self, rate: float, *, frozen: bool = False) -> None:
        """Set the learning rate of the next step; `frozen`: an encoder stands still."""
        set_rate(self._optimizer, rate, frozen=frozen)

    def step(
        self, batch: Batch, choices: Tensor, size: int | None = None
    ) -> tuple[Tensor, Tensor, Truth]:
        """Take in one batch; return its loss, the mask's logits and the (augmented) truth.

        The weights move once ``train.accumulate`` batches are taken in, and at an epoch's end.

        Args:
            batch: The images, ``(B, 1, S, S)``.
            choices: ``(B, columns)``: rows of :func:`pleura.training.augment.draw` for them.
            size: Side in pixels to train at, S or less; None means S.

        Returns:
            The loss, a scalar; logits ``(B, 1, size, size)``; and the truth of that size.
        """
        x = batch.x.float() / 255
        pixels, truth = shrink(x, Truth.of(batch), size or x.shape[-1])
        pixels, planes = augment.augment(pixels, truth.planes, choices, self._settings.augment)
        truth = replace(truth, planes=planes)
        accelerator = self._accelerator
        with accelerator.accumulate(self.network):
            outputs = self.network(self._normalised(pixels))
            loss = self.loss_of(outputs, truth)
            accelerator.backward(loss)
            if self._settings.clip and accelerator.sync_gradients:
                accelerator.clip_grad_norm_(self.network.parameters(), self._settings.clip)
            self._optimizer.step()
            self._optimizer.zero_grad()
        if self.average is not None and accelerator.sync_gradients:
            self.average.update(self.bare)
        return loss, outputs.mask, truth

    def _normalised(self, pixels: Tensor) -> Tensor:
        """Return 0..1 pixels, changed in place, as the bundle's preprocessing makes them."""
        x = pixels.sub_(self._preprocessing.mean).div_(self._preprocessing.std)
        return x.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def validate(self, images: Images, batch_size: int) -> Sums:
        """Return the sums over the `images` of all processes, by the averaged weights."""
        sums, device = Sums(), self._accelerator.device
        with self._averaged():
            self.network.eval()
            for start in range(0, len(images), batch_size):
                stop = min(start + batch_size, len(images))
                batch = send_to_device(images.read(list(range(start, stop))), device)
                truth = Truth.of(batch)
                outputs = self.bare(self._normalised(batch.x.float() / 255))
                sums.add(self.loss_of(outputs, truth), outputs.mask, truth)
        return self.of_all_processes(sums)

    def of_all_processes(self, sums: Sums) -> Sums:
        """Return the sums of all processes together."""
        values = self._accelerator.reduce(sums.values.to(self._accelerator.device))
        return Sums(values.cpu())

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the moving average of the weights, where there is one, into the network meanwhile."""
        if self.average is None:
            yield
            return
        self.average.swap(self.bare)
        try:
            yield
        finally:
            self.average.swap(self.bare)

    def kept_weights(self) -> Arrays:
        """Return what a model keeps: the average where there is one, else the weights."""
        with self._averaged():
            return checkpoint.network_arrays(self.bare)

    def take(self, weights: Arrays) -> None:
        """Put `weights` into the network, and forget the average."""
        self.average = None
        checkpoint.restore_network(self.bare, weights)

    def state(
        self, epoch: int, identity: dict[str, Any], history: History
    ) -> checkpoint.Checkpoint:
        """Return what is needed to go on after `epoch` finished epochs."""
        average, scaler = self.average, self._accelerator.scaler
        return checkpoint.Checkpoint(
            epoch=epoch,
            identity=identity,
            history=history,
            weights=checkpoint.network_arrays(self.bare),
            optimizer=checkpoint.optimizer_arrays(self._optimizer.optimizer),
            average={} if average is None else checkpoint.plain_arrays(average.values),
            updates=0 if average is None else average.updates,
            scaler={} if scaler is None else scaler.state_dict(),
        )

    def restore(self, state: checkpoint.Checkpoint) -> None:
        """Put back what :meth:`state` returned."""
        checkpoint.restore_network(self.bare, state.weights)
        checkpoint.restore_optimizer(self._optimizer.optimizer, state.optimizer)
        if self.average is not None:
            checkpoint.restore_average(self.average, state.average, state.updates)
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(state.scaler)
