"""The loop that trains a network on a prepared folder.

Shapes: B batch, H rows, W columns.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from pleura.config import Network, Train
from pleura.data.arrays import Prepared
from pleura.data.folds import assign_folds
from pleura.data.prepare import PREPARATION
from pleura.data.records import image_keys
from pleura.errors import DataError, UsageError
from pleura.inference.engine import uses_bf16
from pleura.models import zoo
from pleura.models.blocks import Outputs
from pleura.models.bundle import (
    Bundle,
    Preprocessing,
    current_versions,
    read_bundle,
    write_bundle,
)
from pleura.training import augment, checkpoint
from pleura.training.losses import LOSSES, image_bce

Batch = tuple[Tensor, Tensor, Tensor]
History = dict[str, list[float]]

COLUMNS = (
    "epoch",
    "learning_rate",
    "loss",
    "dice_coeff",
    "val_loss",
    "val_dice_coeff",
    "seconds",
)
"""Columns of the history. ``dice_coeff`` is taken over all pixels of the epoch together, as the
brief's metric does over a batch, so it depends neither on the batch nor on empty images."""


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
        finished: The history's newest row, at the end of an epoch only.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    dice_coeff: float
    finished: dict[str, float] | None = None


OnStep = Callable[[Step], None]


@dataclass(slots=True)
class _Sums:
    """Running sums over an epoch: loss times images, images, and the two halves of Dice."""

    values: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))

    def add(self, loss: Tensor, logits: Tensor, truth: Tensor) -> None:
        probability = torch.sigmoid(logits.detach())
        both, total = (probability * truth).sum(), probability.sum() + truth.sum()
        images = torch.tensor(float(len(truth)))
        self.values += torch.stack(
            [(loss.detach() * len(truth)).cpu(), images, both.cpu(), total.cpu()]
        )

    @property
    def loss(self) -> float:
        return float(self.values[0] / self.values[1].clamp(min=1))

    @property
    def dice_coeff(self) -> float:
        return float((2 * self.values[2] + 1) / (self.values[3] + 1))


class _Images(Dataset[Batch]):
    """Batches straight from the memory-mapped arrays: (row of the table, pixels, mask), uint8."""

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


class _Batches(Sampler[list[int]]):
    """Batches of positions in an order that depends on seed and epoch alone."""

    def __init__(self, images: int, batch: int, seed: int) -> None:
        self._images, self._seed = images, seed
        self.batch_size = min(batch, images)
        self.drop_last = True
        self.epoch = 0

    def __len__(self) -> int:
        return self._images // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self.epoch)
        order = torch.randperm(self._images, generator=generator).tolist()
        for number in range(len(self)):
            yield order[number * self.batch_size : (number + 1) * self.batch_size]


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of the prepared training arrays: which train and which validate."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]


def split(prepared: Prepared, folds: int, fold: int, seed: int) -> Split:
    """Return the rows of ``X_train`` that train and those of `fold`, which validate.

    Raises:
        DataError: There are fewer patients than folds.
    """
    assigned = assign_folds(prepared.train, folds, seed)
    return Split(np.flatnonzero(assigned != fold), np.flatnonzero(assigned == fold))


class Trainer:
    """One network, trained on one split of one prepared folder.

    Args:
        prepared: The data.
        out: Folder for ``checkpoint.h5`` and ``model.h5``.
        network: Name and settings.
        settings: How to train.

    Raises:
        ConfigError: The network cannot take images of the prepared size.
        DataError: The split leaves nothing to train or validate on.
    """

    def __init__(self, prepared: Prepared, out: Path, network: Network, settings: Train) -> None:
        self.network_settings = zoo.complete(network)
        zoo.check_size(self.network_settings, prepared.size)
        self.prepared, self.out, self._settings = prepared, out, settings
        self.split = split(prepared, settings.folds, settings.fold, settings.seed)
        if not len(self.split.train) or not len(self.split.validation):
            raise DataError(f"{prepared.path}: fold {settings.fold} leaves nothing on one side")
        self._loss = LOSSES[settings.loss]
        self._preprocessing = Preprocessing(prepared.size, PREPARATION)
        self._set_up()

    def _set_up(self) -> None:
        settings = self._settings
        device_type = "cuda" if torch.cuda.is_available() else "cpu"
        self.bf16 = uses_bf16(settings.precision, torch.device(device_type))
        AcceleratorState._reset_state()  # or it holds on to the precision of an earlier training
        self.accelerator = Accelerator(
            mixed_precision="bf16" if self.bf16 else "no", cpu=device_type == "cpu"
        )
        torch.manual_seed(settings.seed)
        network = zoo.begin(self.network_settings)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(_parameter_groups(network, settings.weight_decay), fused=True)
        self._batches = _Batches(len(self.split.train), settings.batch, settings.seed)
        loader = DataLoader(
            _Images(self.prepared, self.split.train),
            batch_sampler=self._batches,
            collate_fn=_as_is,  # type: ignore[arg-type]
        )
        self.network, self.optimizer, self.loader = self.accelerator.prepare(
            network, optimizer, loader
        )

    @property
    def device(self) -> str:
        """The device that trains, for people."""
        return str(self.accelerator.device)

    def run(self, *, resume: bool = False, on_step: OnStep | None = None) -> Bundle:
        """Train to the end, write ``model.h5`` at each best epoch, and return the best bundle.

        After each epoch ``checkpoint.h5`` is written. It stays until :meth:`finish` is called, so
        that a run cut off between the last epoch and its last file can be resumed.

        Args:
            resume: Go on from the checkpoint, where there is one.
            on_step: Told of every step and every epoch, in the main process.

        Raises:
            UsageError: There is a training in the folder and `resume` is false, or the checkpoint
                is of other settings or data.
            BundleError: The checkpoint is damaged.
            OutputError: A file could not be written.
        """
        history = self._begin(resume)
        best = _best(history)
        on_step = on_step if self.accelerator.is_main_process else None
        for epoch in range(len(history["epoch"]), self._settings.epochs):
            row = self._epoch(epoch, on_step)
            for name in COLUMNS:
                history[name].append(row[name])
            if self.accelerator.is_main_process:
                if row["val_dice_coeff"] >= best:
                    self._write_model(history)
                self._write_checkpoint(history)
            best = _best(history)
        return self._read_best(history)

    def finish(self) -> None:
        """Remove the checkpoint: everything that the training leaves is written."""
        self._checkpoint_path.unlink(missing_ok=True)

    @property
    def _checkpoint_path(self) -> Path:
        return self.out / "checkpoint.h5"

    @property
    def _model_path(self) -> Path:
        return self.out / "model.h5"

    def _begin(self, resume: bool) -> History:
        """Return the history so far, with network and optimizer as they were after it."""
        path = self._checkpoint_path
        if not resume:
            for found in (path, self._model_path):
                if found.exists():
                    raise UsageError(
                        f"{found}: there is a training in this folder already; go on with it by "
                        "--resume, or choose another --out"
                    )
        if not path.exists():
            if self._model_path.exists() and not self._is_ours():
                raise UsageError(
                    f"{self._model_path}: is a finished training of other data or settings; choose "
                    "another --out"
                )
            return {name: [] for name in COLUMNS}
        state = checkpoint.read_checkpoint(path)
        _check_identity(path, state.identity, self.identity)
        checkpoint.restore_network(self._bare(), state.weights)
        checkpoint.restore_optimizer(self.optimizer.optimizer, state.optimizer)
        return state.history

    def _is_ours(self) -> bool:
        """Return whether model.h5 came from this data and these settings (cut off early)."""
        training = read_bundle(self._model_path).training
        return all(training.get(name) == value for name, value in self.identity.items())

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two trainings the same: data, network and settings, plain values."""
        return {
            "fingerprint": self.prepared.fingerprint,
            "processes": self.accelerator.num_processes,
            **{f"network.{k}": v for k, v in asdict(self.network_settings).items()},
            **{f"train.{k}": v for k, v in asdict(self._settings).items()},
        }

    def _epoch(self, epoch: int, on_step: OnStep | None) -> dict[str, float]:
        begun = time.perf_counter()
        self._batches.epoch = epoch
        choices = augment.draw(len(self.prepared.train), self._settings.seed, epoch)
        sums, steps, rate = _Sums(), len(self.loader), 0.0
        self.network.train()
        for step, (rows, x, y) in enumerate(self.loader):
            rate = self._set_rate(epoch * steps + step, self._settings.epochs * steps)
            loss, logits, truth = self.step(x, y, choices[rows.cpu()])
            sums.add(loss, logits, truth)
            if on_step is not None:
                on_step(self._told(epoch, step, steps, sums))
        validation = self._validate()
        trained = self.accelerator.reduce(sums.values.to(self.accelerator.device)).cpu()
        row = {
            "epoch": float(epoch + 1),
            "learning_rate": rate,
            "loss": _Sums(trained).loss,
            "dice_coeff": _Sums(trained).dice_coeff,
            "val_loss": validation.loss,
            "val_dice_coeff": validation.dice_coeff,
            "seconds": time.perf_counter() - begun,
        }
        if on_step is not None:
            on_step(self._told(epoch, steps - 1, steps, sums, row))
        return row

    def step(self, x: Tensor, y: Tensor, choices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Make one optimisation step; return its loss, the mask's logits and (augmented) truth.

        Args:
            x: ``(B, 1, H, W)`` uint8 prepared pixels.
            y: ``(B, 1, H, W)`` uint8, 0 or 1.
            choices: Rows of :func:`pleura.training.augment.draw` for these images.
        """
        pixels, truth = augment.augment(x.float() / 255, y.float(), choices, self._settings.augment)
        outputs = self.network(self._normalised(pixels))
        loss = self._total_loss(outputs, truth)
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, outputs.mask, truth

    def _total_loss(self, outputs: Outputs, truth: Tensor) -> Tensor:
        image = image_bce(outputs.score, truth)
        return self._loss(outputs.mask, truth) + self._settings.image_loss * image

    @torch.no_grad()
    def _validate(self) -> _Sums:
        self.network.eval()
        sums = _Sums()
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        images = _Images(self.prepared, self.split.validation[rank::world])
        device = self.accelerator.device
        for start in range(0, len(images), self._settings.batch):
            stop = min(start + self._settings.batch, len(images))
            _, x, y = images.__getitems__(list(range(start, stop)))
            truth = y.to(device).float()
            outputs = self._bare()(self._normalised(x.to(device).float() / 255))
            sums.add(self._total_loss(outputs, truth), outputs.mask, truth)
        return _Sums(self.accelerator.reduce(sums.values.to(device)).cpu())

    def _normalised(self, pixels: Tensor) -> Tensor:
        """Return 0..1 pixels, changed in place, as the bundle's preprocessing makes them."""
        x = pixels.sub_(self._preprocessing.mean).div_(self._preprocessing.std)
        return x.contiguous(memory_format=torch.channels_last)

    def _set_rate(self, step: int, steps: int) -> float:
        rate = learning_rate(step, steps, self._settings.learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _told(
        self, epoch: int, step: int, steps: int, sums: _Sums, row: dict[str, float] | None = None
    ) -> Step:
        return Step(
            epoch + 1, self._settings.epochs, step + 1, steps, sums.loss, sums.dice_coeff, row
        )

    def _bare(self) -> nn.Module:
        network: nn.Module = self.accelerator.unwrap_model(self.network)
        return network

    def _write_checkpoint(self, history: History) -> None:
        state = checkpoint.Checkpoint(
            epoch=len(history["epoch"]),
            identity=self.identity,
            history=history,
            weights=checkpoint.network_arrays(self._bare()),
            optimizer=checkpoint.optimizer_arrays(self.optimizer.optimizer),
        )
        checkpoint.write_checkpoint(state, self._checkpoint_path)

    def _write_model(self, history: History) -> None:
        write_bundle(self._bundle(history), self._model_path)

    def _bundle(self, history: History) -> Bundle:
        return Bundle(
            network=self.network_settings,
            weights=checkpoint.network_arrays(self._bare()),
            preprocessing=self._preprocessing,
            training={
                **self.identity,
                "images": len(self.split.train),
                "validation_images": len(self.split.validation),
                "precision": "bf16" if self.bf16 else "fp32",
                "device": self.accelerator.device.type,
            },
            trained_on=image_keys([self.prepared.train[row] for row in self.split.train]),
            history={name: list(column) for name, column in history.items()},
            versions=current_versions(),
        )

    def _read_best(self, history: History) -> Bundle:
        """Return the best epoch's bundle with the whole history, and write it back like that."""
        self.accelerator.wait_for_everyone()
        bundle = replace(read_bundle(self._model_path), history=history)
        if self.accelerator.is_main_process:
            write_bundle(bundle, self._model_path)
        return bundle


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Return the rate of `step` of `steps`: a linear rise over a tenth, then a cosine to zero."""
    rise = max(1, steps // 10)
    if step < rise:
        return peak * (step + 1) / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return groups for the optimizer: biases and norms are not decayed."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _as_is(batch: Batch) -> Batch:
    return batch


def _best(history: History) -> float:
    return max(history["val_dice_coeff"], default=-1.0)


def _check_identity(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name in sorted(wanted.keys() | found.keys()):
        if found.get(name) != wanted.get(name):
            raise UsageError(
                f"{path}: was trained with {name} {found.get(name)}, now it is {wanted.get(name)}; "
                "resume with the same data and settings, or choose another --out"
            )
