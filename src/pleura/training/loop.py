"""The loop that trains a network on a prepared folder."""

import itertools
import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pleura.config import Network, Train
from pleura.data.arrays import Prepared
from pleura.data.folds import one_sided
from pleura.data.prepare import PREPARATION
from pleura.data.records import image_keys
from pleura.engines.threads import share_cores
from pleura.errors import DivergedError
from pleura.models import zoo
from pleura.models.bundle import Bundle, Preprocessing, current_versions
from pleura.training import augment, schedule, setup
from pleura.training.average import mean_of
from pleura.training.batches import Batch, Batches
from pleura.training.history import COLUMNS, EpochProgress, History, OnStep, Sums, best_value
from pleura.training.kept import KeptModels
from pleura.training.learner import Learner
from pleura.training.material import Material
from pleura.training.memory import memory_errors_as_usage
from pleura.training.objective import Objective
from pleura.training.split import everything, split_for
from pleura.training.tracking import Tracking

_HOW = ("track", "threads")
"""Settings of how a training is done and watched, not of what it is."""


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
            model to start with; or an epoch is chosen by masks, and none that validates is
            annotated.
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
        self.split = (everything if whole else split_for)(prepared, settings)
        self.material = Material(prepared, self.split, settings)
        judges = image_keys(self.material.validating)
        self._start = setup.read_start(settings.init_from, self.network_settings, judges)
        self._kept = KeptModels(out, settings)
        self._preprocessing = Preprocessing(prepared.size, PREPARATION)
        self._set_up()

    def _set_up(self) -> None:
        settings, material = self.settings, self.material
        self.precision = setup.choose_precision(settings)
        self.accelerator = setup.make_accelerator(
            self.precision, settings.accumulate, settings.threads
        )
        objective = Objective(settings)
        self._batch = settings.batch if settings.batch != "auto" else self._fitting(objective)
        torch.manual_seed(settings.seed)
        network = setup.begin_network(self.network_settings, self._start)
        self.learner = Learner(network, settings, objective, self._preprocessing, self.accelerator)
        self._batches = Batches(
            material.order,
            material.images,
            self._batch,
            settings.accumulate,
            self.accelerator.num_processes,
        )
        self._images = material.that_train()
        self.loader = self.accelerator.prepare(
            DataLoader(
                self._images,
                batch_sampler=self._batches,
                collate_fn=_as_is,  # type: ignore[arg-type]
            )
        )

    def _fitting(self, objective: Objective) -> int:
        """Return the batch that a training to be resumed was begun with, else what fits."""
        begun_with = self._kept.batch()
        if begun_with is not None:
            return begun_with
        most = max(1, len(self.split.train) // self.accelerator.num_processes)
        return setup.fitting_batch(
            self.network_settings, self.prepared.size, most, objective, self.accelerator
        )

    @property
    def about(self) -> str:
        """What trains, on how much and with what, in one line."""
        threads = f", threads: {self.threads}" if self.threads else ""
        return (
            f"{self.network_settings.name} on {len(self.split.train)} images, "
            f"{len(self.split.validation) or 'none'} to validate, "
            f"epochs: {self.settings.epochs}, {self.precision} on {self.device}{threads}"
        )

    @property
    def note(self) -> str:
        """Which further radiographs do not train, as their patients validate, and who does."""
        return "; ".join(filter(None, (self.material.note, self.caution)))

    @property
    def caution(self) -> str:
        """That most positives that validate are of one patient, in words; "" where they are not."""
        return one_sided([self.prepared.train[row] for row in self.split.validation])

    @property
    def device(self) -> str:
        """The device that trains, for people."""
        return str(self.accelerator.device)

    @property
    def threads(self) -> int:
        """How many threads train on a CPU; 0 on a GPU."""
        return torch.get_num_threads() if self.accelerator.device.type == "cpu" else 0

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two trainings the same: data, network and settings, plain values.

        A model to start with and extra folders stand for what they hold, not for where they lie.
        """
        return {
            "fingerprint": self.prepared.fingerprint,
            "processes": self.accelerator.num_processes,
            **{f"network.{k}": v for k, v in asdict(self.network_settings).items()},
            **{f"train.{k}": v for k, v in asdict(self.settings).items() if k not in _HOW},
            "train.batch": self._batch,
            "train.init_from": "" if self._start is None else self._start.digest,
            "train.extra": [folder.fingerprint for folder, _ in self.material.extra],
            **({"whole": True} if self.whole else {}),
        }

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
            DivergedError: The loss or the weights became infinite, or no numbers.
            OutputError: A file could not be written.
        """
        history = self._begin(resume)
        on_step = on_step if self.accelerator.is_main_process else None
        with self._tracking(history) as tracking:
            for epoch in range(len(history["epoch"]), self.settings.epochs):
                if schedule.is_over(history["val_dice_coeff"], self.settings.patience):
                    break
                row = self._epoch(epoch, history, on_step)
                for name in COLUMNS:
                    history[name].append(row[name])
                if tracking is not None:  # the main process
                    self._kept.keep(history, lambda: self._bundle(history))
                    self._kept.write_checkpoint(
                        replace(
                            self.learner.state(epoch + 1, self.identity, history),
                            threads=self.threads,
                        )
                    )
                    tracking.tell(row)
        return self._finished(history)

    def finish(self) -> None:
        """Remove the checkpoint: everything that the training leaves is written."""
        self._kept.finish()

    def _begin(self, resume: bool) -> History:
        """Return the history so far, with network and optimizer as they were after it."""
        state = self._kept.begin(self.identity, resume=resume)
        if state is None:
            return {name: [] for name in COLUMNS}
        self.learner.restore(state)
        if self.threads and not self.settings.threads:
            share_cores(state.threads)
        return state.history

    def _tracking(self, history: History) -> AbstractContextManager[Tracking | None]:
        """Return what is told of epochs, in the main process alone."""
        if not self.accelerator.is_main_process:
            return nullcontext()
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*history.values(), strict=True)]
        return Tracking(self.settings.track, self.out, self.identity, rows)

    def _epoch(self, epoch: int, history: History, on_step: OnStep | None) -> dict[str, float]:
        """Train and validate `epoch`, from 0; return its row of the history."""
        steps = len(self.loader)
        together = self._batches.batch_size * self.accelerator.num_processes
        progress = EpochProgress(on_step, epoch, self.settings.epochs, steps, together)
        rate = self._train(progress, history)
        validation = self._validate()
        self._require_finite(epoch, "loss of what validates", validation.loss)
        self._require_finite(epoch, "weights", *self.learner.bare.parameters())
        trained = self.learner.of_all_processes(progress.sums)
        row = {
            "epoch": float(epoch + 1),
            "learning_rate": rate,
            "loss": trained.loss,
            "dice_coeff": trained.dice_coeff,
            "val_loss": math.nan if self.whole else validation.loss,
            "val_dice_coeff": math.nan if self.whole else validation.dice_coeff,
            "seconds": progress.elapsed,
        }
        progress.tell(steps - 1, row)
        return row

    def _train(self, progress: EpochProgress, history: History) -> float:
        """Take the steps of an epoch; return the learning rate of the last one."""
        epoch, settings, rate = progress.epoch, self.settings, 0.0
        self._batches.epoch = epoch
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        mine = itertools.islice(self._batches, rank, None, world)
        self._images.expect(image for batch in mine for _, image in batch)
        choices = augment.draw(self.material.images, settings.seed, epoch)
        size = schedule.size_of(settings, self.prepared.size, epoch)
        moves = -(-progress.steps // settings.accumulate)  # of the weights, in an epoch
        self.learner.network.train()
        for step, batch in enumerate(self.loader):
            move = epoch * moves + step // settings.accumulate
            rate = schedule.learning_rate(
                settings, move, settings.epochs * moves, history["val_dice_coeff"]
            )
            self.learner.set_rate(rate, frozen=epoch < settings.freeze)
            with memory_errors_as_usage(self._batch, size, self.accelerator.device):
                taken = self.learner.step(batch, choices[batch.places.cpu()], size)
            progress.sums.add(*taken)
            self._require_finite(epoch, "loss", progress.sums.loss)
            progress.tell(step)
        return rate

    def _validate(self) -> Sums:
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        return self.learner.validate(self.material.that_validate(rank, world), self._batch)

    def _require_finite(self, epoch: int, what: str, *values: float | Tensor) -> None:
        """Raise DivergedError where there is a value that is not finite."""
        if all(bool(torch.isfinite(torch.as_tensor(value)).all()) for value in values):
            return
        kept = f"epochs 1 to {epoch} are kept in {self.out}" if epoch else "no epoch is kept"
        raise DivergedError(
            f"{self.out}: in epoch {epoch + 1} the {what} became infinite or no number at all, so "
            f"the training came to nothing ({kept}); train anew, in another `out`, with a smaller "
            "train.learning_rate, with train.clip, or with train.precision=fp32"
        )

    def _bundle(self, history: History) -> Bundle:
        keys = self.material.keys()  # and those of the network that this one began with
        return Bundle(
            network=self.network_settings,
            weights=self.learner.kept_weights(),
            preprocessing=self._preprocessing,
            training={
                **self.identity,
                "images": len(self.split.train),
                "validation_images": len(self.split.validation),
                "extra_images": self.material.further_images,
                "precision": self.precision,
                "device": self.accelerator.device.type,
            },
            trained_on=keys if self._start is None else np.union1d(keys, self._start.trained_on),
            history={name: list(column) for name, column in history.items()},
            versions=current_versions(),
        )

    def _finished(self, history: History) -> Bundle:
        """Return the bundle that is kept, with the whole history, and write it back like that.

        It is the best epoch's, or the mean of the best ones' weights where that validates no worse.
        """
        self.accelerator.wait_for_everyone()
        bundle = replace(self._kept.read_model(), history=history)
        if self.settings.average_best > 1:
            bundle = self._averaged(bundle, history)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self._kept.write_model(bundle)
        return bundle

    def _averaged(self, bundle: Bundle, history: History) -> Bundle:
        several = self._kept.best_weights(history)
        if len(several) < 2:
            return bundle
        mean = mean_of(several)
        self.learner.take(mean)
        found = self._validate().dice_coeff
        no_worse = found >= best_value(history)
        about = {"averaged_epochs": len(several), "averaged_val_dice_coeff": found}
        training = {**bundle.training, **about, "averaged": no_worse}
        return replace(bundle, training=training, weights=mean if no_worse else bundle.weights)


def _as_is(batch: Batch) -> Batch:
    return batch
