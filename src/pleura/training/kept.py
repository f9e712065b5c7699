"""The files of a training's folder: which weights are kept, and where it can go on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pleura.config import Train
from pleura.errors import BundleError, UsageError
from pleura.models.bundle import Bundle, read_bundle, write_bundle
from pleura.models.weights import Arrays
from pleura.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pleura.training.history import History, best_epochs


class KeptModels:
    """``model.h5``, ``checkpoint.h5`` and, where their mean is wanted, one file of each best epoch.

    Args:
        out: The folder.
        settings: Which epochs are kept.
    """

    def __init__(self, out: Path, settings: Train) -> None:
        self._out, self._settings = out, settings
        self._checkpoint, self._model = out / "checkpoint.h5", out / "model.h5"

    def batch(self) -> int | None:
        """Return the batch of the training that the folder holds; None where it holds none."""
        if self._checkpoint.exists():
            return int(read_checkpoint(self._checkpoint).identity["train.batch"])
        if self._model.exists():
            return int(read_bundle(self._model).training["train.batch"])
        return None

    def begin(self, identity: dict[str, Any], *, resume: bool) -> Checkpoint | None:
        """Return where a training of this `identity` goes on; None: at its beginning.

        Raises:
            UsageError: There is a training and `resume` is false, or it is another one.
            BundleError: The checkpoint or the model is damaged.
        """
        if not resume:
            for found in (self._checkpoint, self._model):
                if found.exists():
                    raise UsageError(
                        f"{found}: there is a training in this folder already; go on with it by "
                        "`resume`, or choose another `out`"
                    )
        if self._checkpoint.exists():
            state = read_checkpoint(self._checkpoint)
            self._require_same(state.identity, identity)
            return state
        if self._model.exists() and not self._is_ours(identity):
            raise UsageError(
                f"{self._model}: is a finished training of other data or settings; choose "
                "another `out`"
            )
        return None

    def _is_ours(self, identity: dict[str, Any]) -> bool:
        """Return whether model.h5 came from this data and these settings (cut off early)."""
        try:
            training = read_bundle(self._model).training
        except BundleError as error:
            raise BundleError(f"{error}; remove it to train from the start") from error
        return all(training.get(name) == value for name, value in identity.items())

    def _require_same(self, found: dict[str, Any], wanted: dict[str, Any]) -> None:
        for name in sorted(wanted.keys() | found.keys()):
            if found.get(name) != wanted.get(name):
                raise UsageError(
                    f"{self._checkpoint}: was trained with {name} {found.get(name)}, now it is "
                    f"{wanted.get(name)}; resume with the same data and settings, or choose "
                    "another `out`"
                )

    def keep(self, history: History, make_bundle: Callable[[], Bundle]) -> None:
        """Write the newest epoch where it is to be kept, and remove what no longer is.

        Args:
            history: With the newest epoch.
            make_bundle: Makes a bundle of it.
        """
        values, newest = history["val_dice_coeff"], len(history["epoch"])
        if self._settings.keep == "last" or values[-1] >= max(values[:-1], default=-1.0):
            write_bundle(make_bundle(), self._model)
        if self._settings.average_best == 1:
            return
        wanted = best_epochs(history, self._settings.average_best)
        if newest in wanted:
            write_bundle(make_bundle(), self._best(newest))
        self._remove_best({self._best(epoch) for epoch in wanted})

    def best_weights(self, history: History) -> list[Arrays]:
        """Return the weights of the best epochs, so far as they were kept."""
        paths = map(self._best, best_epochs(history, self._settings.average_best))
        return [dict(read_bundle(path).weights) for path in paths if path.exists()]

    def read_model(self) -> Bundle:
        """Return the model that is kept so far."""
        return read_bundle(self._model)

    def write_model(self, bundle: Bundle) -> None:
        """Write the model that the training ends with."""
        write_bundle(bundle, self._model)
        self._remove_best(set())

    def write_checkpoint(self, state: Checkpoint) -> None:
        """Write where the training goes on."""
        write_checkpoint(state, self._checkpoint)

    def finish(self) -> None:
        """Remove the checkpoint."""
        self._checkpoint.unlink(missing_ok=True)

    def _best(self, epoch: int) -> Path:
        return self._out / f"best-{epoch:04d}.h5"

    def _remove_best(self, but: set[Path]) -> None:
        for path in self._out.glob("best-*.h5"):
            if path not in but:
                path.unlink()
