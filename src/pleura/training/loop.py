"""The loop that trains a network on a prepared folder.

Shapes: B batch, H rows, W columns.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pleura.config import Network, Train
from pleura.data.arrays import Prepared, open_prepared
from pleura.data.folds import assign_folds
from pleura.data.prepare import PREPARATION
from pleura.data.records import ImageRecord, image_keys
from pleura.errors import ConfigError, DataError, UsageError
from pleura.inference.torch_engine import uses_bf16
from pleura.models import zoo
from pleura.models.blocks import Outputs
from pleura.models.bundle import (
    Bundle,
    Preprocessing,
    current_versions,
    read_bundle,
    write_bundle,
)
from pleura.models.weights import Arrays
from pleura.training import augment, checkpoint, schedule
from pleura.training.average import MovingAverage, mean_of
from pleura.training.batches import Batch, Batches, Images, shrunk
from pleura.training.losses import LOSSES, deep_supervision, image_bce
from pleura.training.memory import (
    keep_freed_memory,
    largest_batch,
    memory_errors_as_usage,
)
from pleura.training.optimizer import encoder_scales, make_optimizer, set_rate
from pleura.training.sampling import epoch_rows, mixed_rows, positive_share
from pleura.training.tracking import Tracking

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
        whole: Train on all images and validate on none; ``settings.keep`` must be ``last``, and
            ``settings.fold`` is passed over.

    Raises:
        BundleError: The model to start with cannot be read.
        ConfigError: The network cannot take images of the prepared size, or is not that of the
            model to start with.
        DataError: The split leaves nothing to train or validate on, an extra folder does not go
            with this one, or images that validate trained the model to start with.
        UsageError: The device has no such precision, or not one image fits into its memory.
    """

    def __init__(
        self,
        prepared: Prepared,
        out: Path,
        network: Network,
        settings: Train,
        *,
        whole: bool = False,
    ) -> None:
        self.network_settings = zoo.complete(network)
        zoo.check_size(self.network_settings, prepared.size)
        schedule.check_growth(self.network_settings, settings, prepared.size)
        self.prepared, self.out, self.settings = prepared, out, settings
        self.whole = whole
        self.split = everything(prepared, settings) if whole else _split_in_two(prepared, settings)
        judges = image_keys([prepared.train[row] for row in self.split.validation])
        self.extra = tuple(_extra(path, prepared, judges) for path in settings.extra)
        self._start = _start(settings.start, self.network_settings, judges)
        self._loss = LOSSES[settings.loss]
        self._preprocessing = Preprocessing(prepared.size, PREPARATION)
        self._set_up()

    def _set_up(self) -> None:
        settings = self.settings
        device_type = "cuda" if torch.cuda.is_available() else "cpu"
        self.precision = _precision(settings, torch.device(device_type))
        if device_type == "cpu":
            keep_freed_memory()
        AcceleratorState._reset_state()  # or it holds on to the precision of an earlier training
        self.accelerator = Accelerator(
            mixed_precision="no" if self.precision == "fp32" else self.precision,
            cpu=device_type == "cpu",
            gradient_accumulation_steps=settings.accumulate,
        )
        self._batch = self._chosen_batch() if settings.batch == "auto" else settings.batch
        torch.manual_seed(settings.seed)
        network = self._begun_network()
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network = network.to(self.accelerator.device)
        scales = encoder_scales(network, settings.encoder_rate, settings.layer_decay)
        optimizer = make_optimizer(network, settings.weight_decay, scales)
        self._batches = Batches(self._order, self._images, self._batch, settings.accumulate)
        extra = [(other, np.arange(len(other.train))) for other in self.extra]
        loader = DataLoader(
            Images((self.prepared, self.split.train), *extra),
            batch_sampler=self._batches,
            collate_fn=_as_is,  # type: ignore[arg-type]
        )
        self.network, self.optimizer, self.loader = self.accelerator.prepare(
            network, optimizer, loader
        )
        self._average = MovingAverage(network, settings.ema) if settings.ema else None

    def _begun_network(self) -> nn.Module:
        if self._start is None:
            return zoo.begin(self.network_settings)
        network = zoo.build(self.network_settings)
        checkpoint.restore_network(network, dict(self._start.weights))
        return network

    @property
    def _images(self) -> int:
        """How many images an epoch has."""
        return len(self.split.train) + self._extra_images

    @property
    def _extra_images(self) -> int:
        share = self.settings.extra_share if self.extra else 0.0
        return round(len(self.split.train) * share / (1 - share))

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Return the images of an epoch, by their place among those that train, in order."""
        own = [self.prepared.train[row] for row in self.split.train]
        rows = self._drawn(own, len(own), epoch)
        if not self.extra:
            return rows
        others = [record for extra in self.extra for record in extra.train]
        extra = len(own) + self._drawn(others, self._extra_images, epoch)
        return mixed_rows(rows, extra, self.settings.seed, epoch)

    def _drawn(self, records: Sequence[ImageRecord], count: int, epoch: int) -> NDArray[np.int64]:
        """Return `count` places among `records`, with the wanted share of positives."""
        settings = self.settings
        positive = np.array([bool(record.positive) for record in records])
        shares = None
        if settings.positives:
            last = float(positive.mean())
            shares = [
                positive_share(number, settings.epochs, settings.positives, last)
                for number in range(epoch + 1)
            ]
        return epoch_rows(positive, shares, settings.seed, epoch, count)

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
        on_step = on_step if self.accelerator.is_main_process else None
        with self._tracking(history) as tracking:
            for epoch in range(len(history["epoch"]), self.settings.epochs):
                if schedule.is_over(history["val_dice_coeff"], self.settings.patience):
                    break
                best = _best(history)
                row = self._epoch(epoch, history, on_step)
                for name in COLUMNS:
                    history[name].append(row[name])
                if tracking is not None:  # the main process
                    if self.settings.keep == "last" or row["val_dice_coeff"] >= best:
                        self._write_model(history)
                    self._keep_best(history)
                    self._write_checkpoint(history)
                    tracking.tell(row)
        return self._finished(history)

    def _tracking(self, history: History) -> AbstractContextManager[Tracking | None]:
        """Return what is told of epochs, in the main process alone."""
        if not self.accelerator.is_main_process:
            return nullcontext()
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*history.values(), strict=True)]
        return Tracking(self.settings.track, self.out, self.identity, rows)

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
        if self._average is not None:
            checkpoint.restore_average(self._average, state.average, state.updates)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state.scaler)
        return state.history

    def _is_ours(self) -> bool:
        """Return whether model.h5 came from this data and these settings (cut off early)."""
        training = read_bundle(self._model_path).training
        return all(training.get(name) == value for name, value in self.identity.items())

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two trainings the same: data, network and settings, plain values.

        A model to start with and extra folders stand for what they hold, not for where they lie.
        """
        return {
            "fingerprint": self.prepared.fingerprint,
            "processes": self.accelerator.num_processes,
            **{f"network.{k}": v for k, v in asdict(self.network_settings).items()},
            **{f"train.{k}": v for k, v in asdict(self.settings).items() if k != "track"},
            "train.batch": self._batch,
            "train.start": "" if self._start is None else self._start.digest,
            "train.extra": [extra.fingerprint for extra in self.extra],
            **({"whole": True} if self.whole else {}),
        }

    def _epoch(self, epoch: int, history: History, on_step: OnStep | None) -> dict[str, float]:
        begun = time.perf_counter()
        self._batches.epoch = epoch
        choices = augment.draw(self._images, self.settings.seed, epoch)
        size = schedule.size_of(self.settings, self.prepared.size, epoch)
        falling = self.settings.schedule == "plateau"
        peak = schedule.plateau_factor(history["val_dice_coeff"]) if falling else 1.0
        sums, steps, rate = _Sums(), len(self.loader), 0.0
        moves = -(-steps // self.settings.accumulate)  # of the weights, in an epoch
        self.network.train()
        for step, (places, x, y) in enumerate(self.loader):
            move = epoch * moves + step // self.settings.accumulate
            rate = self._rate(move, self.settings.epochs * moves) * peak
            set_rate(self.optimizer, rate, frozen=epoch < self.settings.freeze)
            with memory_errors_as_usage(self._batch, size, self.accelerator.device):
                loss, logits, truth = self.step(x, y, choices[places.cpu()], size)
            sums.add(loss, logits, truth)
            if on_step is not None:
                on_step(self._told(epoch, step, steps, sums, time.perf_counter() - begun))
        trained_s = time.perf_counter() - begun
        validation = self._validate()
        trained = self.accelerator.reduce(sums.values.to(self.accelerator.device)).cpu()
        row = {
            "epoch": float(epoch + 1),
            "learning_rate": rate,
            "loss": _Sums(trained).loss,
            "dice_coeff": _Sums(trained).dice_coeff,
            "val_loss": math.nan if self.whole else validation.loss,
            "val_dice_coeff": math.nan if self.whole else validation.dice_coeff,
            "seconds": time.perf_counter() - begun,
        }
        if on_step is not None:
            on_step(self._told(epoch, steps - 1, steps, sums, trained_s, row))
        return row

    def step(
        self, x: Tensor, y: Tensor, choices: Tensor, size: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take in one batch; return its loss, the mask's logits and the (augmented) truth.

        The weights move once ``train.accumulate`` batches are taken in, and at an epoch's end.

        Args:
            x: ``(B, 1, S, S)`` uint8 prepared pixels.
            y: ``(B, 1, S, S)`` uint8, 0 or 1.
            choices: Rows of :func:`pleura.training.augment.draw` for these images.
            size: Side in pixels to train at, S or less; None means S.
        """
        pixels, truth = shrunk(x.float() / 255, y.float(), size or x.shape[-1])
        pixels, truth = augment.augment(pixels, truth, choices, self.settings.augment)
        with self.accelerator.accumulate(self.network):
            outputs = self.network(self._normalised(pixels))
            loss = self._total_loss(outputs, truth)
            self.accelerator.backward(loss)
            if self.settings.clip and self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.network.parameters(), self.settings.clip)
            self.optimizer.step()
            self.optimizer.zero_grad()
        if self._average is not None and self.accelerator.sync_gradients:
            self._average.update(self._bare())
        return loss, outputs.mask, truth

    def _total_loss(self, outputs: Outputs, truth: Tensor) -> Tensor:
        image = image_bce(outputs.score, truth)
        mask = deep_supervision(self._loss, [outputs.mask, *outputs.coarser], truth)
        return mask + self.settings.image_loss * image

    @torch.no_grad()
    def _validate(self) -> _Sums:
        sums = _Sums()
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        images = Images((self.prepared, self.split.validation[rank::world]))
        device = self.accelerator.device
        with self._averaged():
            self.network.eval()
            for start in range(0, len(images), self._batch):
                stop = min(start + self._batch, len(images))
                x, y = images.read(list(range(start, stop)))
                truth = y.to(device).float()
                outputs = self._bare()(self._normalised(x.to(device).float() / 255))
                sums.add(self._total_loss(outputs, truth), outputs.mask, truth)
        return _Sums(self.accelerator.reduce(sums.values.to(device)).cpu())

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the moving average of the weights, where there is one, into the network meanwhile."""
        if self._average is None:
            yield
            return
        self._average.swap(self._bare())
        try:
            yield
        finally:
            self._average.swap(self._bare())

    def _chosen_batch(self) -> int:
        """Return the batch that a training to be resumed was begun with, else what fits."""
        if self._checkpoint_path.exists():
            return int(checkpoint.read_checkpoint(self._checkpoint_path).identity["train.batch"])
        if self._model_path.exists():
            return int(read_bundle(self._model_path).training["train.batch"])
        return self._fitting_batch()

    def _fitting_batch(self) -> int:
        """Return the largest batch with which a step fits, the same in all processes."""
        network = zoo.build(self.network_settings).to(self.accelerator.device)
        optimizer = make_optimizer(network, 0.0)
        size = self.prepared.size

        def try_batch(batch: int) -> None:
            x = torch.zeros(batch, 1, size, size, device=self.accelerator.device)
            with self.accelerator.autocast():
                loss = self._total_loss(network(x), x)
            self.accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()

        most = max(1, len(self.split.train) // self.accelerator.num_processes)
        found = largest_batch(try_batch, most, self.accelerator.device)
        smallest = -self.accelerator.gather(
            torch.tensor([-found], device=self.accelerator.device)
        ).max()
        return int(smallest)

    def _normalised(self, pixels: Tensor) -> Tensor:
        """Return 0..1 pixels, changed in place, as the bundle's preprocessing makes them."""
        x = pixels.sub_(self._preprocessing.mean).div_(self._preprocessing.std)
        return x.contiguous(memory_format=torch.channels_last)

    def _rate(self, step: int, steps: int) -> float:
        settings = self.settings
        factor = schedule.rate_factor(settings.schedule, step, steps, settings.warmup)
        return settings.learning_rate * factor

    def _told(
        self,
        epoch: int,
        step: int,
        steps: int,
        sums: _Sums,
        seconds: float,
        row: dict[str, float] | None = None,
    ) -> Step:
        images = (step + 1) * self._batches.batch_size * self.accelerator.num_processes
        return Step(
            epoch=epoch + 1,
            epochs=self.settings.epochs,
            step=step + 1,
            steps=steps,
            loss=sums.loss,
            dice_coeff=sums.dice_coeff,
            images_per_second=images / seconds,
            finished=row,
        )

    def _bare(self) -> nn.Module:
        network: nn.Module = self.accelerator.unwrap_model(self.network)
        return network

    def _write_checkpoint(self, history: History) -> None:
        average, scaler = self._average, self.accelerator.scaler
        state = checkpoint.Checkpoint(
            epoch=len(history["epoch"]),
            identity=self.identity,
            history=history,
            weights=checkpoint.network_arrays(self._bare()),
            optimizer=checkpoint.optimizer_arrays(self.optimizer.optimizer),
            average={} if average is None else checkpoint.plain_arrays(average.values),
            updates=0 if average is None else average.updates,
            scaler={} if scaler is None else scaler.state_dict(),
        )
        checkpoint.write_checkpoint(state, self._checkpoint_path)

    def _write_model(self, history: History) -> None:
        write_bundle(self._bundle(history), self._model_path)

    def _bundle(self, history: History) -> Bundle:
        return Bundle(
            network=self.network_settings,
            weights=self._kept_weights(),
            preprocessing=self._preprocessing,
            training={
                **self.identity,
                "images": len(self.split.train),
                "validation_images": len(self.split.validation),
                "extra_images": sum(len(extra.train) for extra in self.extra),
                "precision": self.precision,
                "device": self.accelerator.device.type,
            },
            trained_on=self._trained_on(),
            history={name: list(column) for name, column in history.items()},
            versions=current_versions(),
        )

    def _trained_on(self) -> NDArray[np.uint64]:
        """Return the pictures that trained the network, those of the model it began with too."""
        own = [self.prepared.train[row] for row in self.split.train]
        extra = [record for folder in self.extra for record in folder.train]
        keys = image_keys([*own, *extra])
        return keys if self._start is None else np.union1d(keys, self._start.trained_on)

    def _kept_weights(self) -> Arrays:
        """Return what the model keeps: the average where there is one, else the weights."""
        with self._averaged():
            return checkpoint.network_arrays(self._bare())

    def _keep_best(self, history: History) -> None:
        """Keep the weights of the newest epoch if it is among the best, and no others."""
        if self.settings.best == 1:
            return
        wanted = _best_epochs(history, self.settings.best)
        newest = len(history["epoch"])
        if newest in wanted:
            write_bundle(self._bundle(history), self._best_path(newest))
        for path in self.out.glob("best-*.h5"):
            if path not in map(self._best_path, wanted):
                path.unlink()

    def _best_path(self, epoch: int) -> Path:
        return self.out / f"best-{epoch:04d}.h5"

    def _finished(self, history: History) -> Bundle:
        """Return the bundle that is kept, with the whole history, and write it back like that.

        It is the best epoch's, or the mean of the best ones' weights where that validates no worse.
        """
        self.accelerator.wait_for_everyone()
        bundle = replace(read_bundle(self._model_path), history=history)
        if self.settings.best > 1:
            bundle = self._averaged_bundle(bundle, history)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            write_bundle(bundle, self._model_path)
            for path in self.out.glob("best-*.h5"):
                path.unlink()
        return bundle

    def _averaged_bundle(self, bundle: Bundle, history: History) -> Bundle:
        paths = [self._best_path(epoch) for epoch in _best_epochs(history, self.settings.best)]
        several = [read_bundle(path).weights for path in paths if path.exists()]
        if len(several) < 2:
            return bundle
        mean = mean_of([dict(weights) for weights in several])
        self._average = None
        checkpoint.restore_network(self._bare(), mean)
        found = self._validate().dice_coeff
        no_worse = found >= _best(history)
        about = {"averaged_epochs": len(several), "averaged_val_dice_coeff": found}
        training = {**bundle.training, **about, "averaged": no_worse}
        return replace(bundle, training=training, weights=mean if no_worse else bundle.weights)


def _split_in_two(prepared: Prepared, settings: Train) -> Split:
    parts = split(prepared, settings.folds, settings.fold, settings.seed)
    if not len(parts.train) or not len(parts.validation):
        raise DataError(f"{prepared.path}: fold {settings.fold} leaves nothing on one side")
    return parts


def everything(prepared: Prepared, settings: Train) -> Split:
    """Return all rows of ``X_train`` as those that train.

    Raises:
        ConfigError: The settings choose by images that validate, of which there are none.
    """
    if settings.keep != "last" or settings.schedule == "plateau":
        raise ConfigError(
            f"train.keep is {settings.keep} and train.schedule {settings.schedule}; a training on "
            "all images has none to choose by: set keep to last, and schedule to cosine or onecycle"
        )
    return Split(np.arange(len(prepared.train)), np.empty(0, np.int64))


def _extra(path: str, prepared: Prepared, judges: NDArray[np.uint64]) -> Prepared:
    """Return a folder of further images to train on."""
    extra = open_prepared(path)
    if extra.size != prepared.size:
        raise DataError(
            f"{path}: is prepared at {extra.size} pixels, {prepared.path} at {prepared.size}; "
            "prepare both alike"
        )
    both = int(np.isin(image_keys(extra.train), judges).sum())
    if both:
        raise DataError(
            f"{path}: {both} of its images are among those of {prepared.path} that validate; "
            "leave those out, so that nothing is judged by what it was trained on"
        )
    return extra


def _start(path: str, network: Network, judges: NDArray[np.uint64]) -> Bundle | None:
    """Return the model that a training begins with, None for the network's own beginning."""
    if not path:
        return None
    bundle = read_bundle(path)
    found = replace(bundle.network, pretrained=network.pretrained)
    if found != network:
        different = [
            f"{name} {getattr(found, name)!r}, not {value!r}"
            for name, value in asdict(network).items()
            if getattr(found, name) != value
        ]
        raise ConfigError(
            f"train.start is {path}, a network with {', '.join(different)}; start with a model of "
            "the same network settings"
        )
    both = int(np.isin(bundle.trained_on, judges).sum())
    if both:
        raise DataError(
            f"train.start is {path}, which {both} of the images that validate have trained; start "
            "with a model that never saw them"
        )
    return bundle


def _precision(settings: Train, device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    """Return the precision that is trained in.

    Raises:
        UsageError: Half precision was asked for on a CPU.
    """
    if settings.precision == "fp16":
        if device.type == "cpu":
            raise UsageError("train.precision is fp16, which needs a GPU; take bf16, auto or fp32")
        return "fp16"
    return "bf16" if uses_bf16(settings.precision, device) else "fp32"


def _as_is(batch: Batch) -> Batch:
    return batch


def _best(history: History) -> float:
    return max(history["val_dice_coeff"], default=-1.0)


def _best_epochs(history: History, count: int) -> list[int]:
    """Return the numbers, from 1, of the best epochs; of equals the later."""
    values = history["val_dice_coeff"]
    ranked = sorted(range(1, len(values) + 1), key=lambda e: (values[e - 1], e), reverse=True)
    return ranked[:count]


def _check_identity(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name in sorted(wanted.keys() | found.keys()):
        if found.get(name) != wanted.get(name):
            raise UsageError(
                f"{path}: was trained with {name} {found.get(name)}, now it is {wanted.get(name)}; "
                "resume with the same data and settings, or choose another --out"
            )
