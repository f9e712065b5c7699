"""The state of an unfinished training, in one HDF5 file without pickle."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pleura.errors import BundleError
from pleura.formats.atomic import atomic_path
from pleura.models import weights as stored
from pleura.training.average import MovingAverage

_MAX_BYTES = 64 * 2**30


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything needed to go on after an epoch as if nothing had happened.

    Attributes:
        epoch: Finished epochs.
        identity: What the run is: settings and data fingerprint, plain values.
        history: Column -> one number per finished epoch.
        weights: The network's arrays by name.
        optimizer: The optimizer's arrays, named ``<parameter number>.<state>``.
        average: The moving average's arrays by name; empty where there is none.
        updates: How often that was updated.
        scaler: The state of a gradient scaler, plain numbers; empty where there is none.
    """

    epoch: int
    identity: dict[str, Any]
    history: dict[str, list[float]]
    weights: stored.Arrays
    optimizer: stored.Arrays
    average: stored.Arrays = field(default_factory=dict)
    updates: int = 0
    scaler: dict[str, float] = field(default_factory=dict)


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write `checkpoint` to `path`, whole or not at all.

    Raises:
        OutputError: The file could not be written.
    """
    with atomic_path(path) as partial, h5py.File(partial, "w") as file:
        file.attrs["epoch"] = checkpoint.epoch
        file.attrs["identity"] = json.dumps(checkpoint.identity)
        file.attrs["history"] = json.dumps(checkpoint.history)
        stored.write_arrays(file.create_group("weights"), checkpoint.weights)
        stored.write_arrays(file.create_group("optimizer"), checkpoint.optimizer)
        stored.write_arrays(file.create_group("average"), checkpoint.average)
        file.attrs["updates"] = checkpoint.updates
        file.attrs["scaler"] = json.dumps(checkpoint.scaler)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Return the checkpoint at `path`.

    Raises:
        BundleError: The file cannot be read as a checkpoint.
    """
    try:
        with h5py.File(path, "r") as file:
            return Checkpoint(
                epoch=int(file.attrs["epoch"]),
                identity=json.loads(file.attrs["identity"]),
                history=json.loads(file.attrs["history"]),
                weights=stored.read_arrays(file["weights"], _MAX_BYTES),
                optimizer=stored.read_arrays(file["optimizer"], _MAX_BYTES),
                average=stored.read_arrays(file["average"], _MAX_BYTES),
                updates=int(file.attrs["updates"]),
                scaler=json.loads(file.attrs["scaler"]),
            )
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, BundleError) as error:
        raise BundleError(
            f"{path}: cannot be read as a checkpoint ({error}); remove it to train from the start"
        ) from error


def network_arrays(network: nn.Module) -> stored.Arrays:
    """Return the parameters and buffers of `network` as arrays by name, copied."""
    return plain_arrays(network.state_dict())


def plain_arrays(values: Mapping[str, torch.Tensor]) -> stored.Arrays:
    """Return tensors as arrays by name, copied."""
    return {
        name: value.detach().cpu().contiguous().numpy().copy() for name, value in values.items()
    }


def restore_average(average: MovingAverage, arrays: stored.Arrays, updates: int) -> None:
    """Put back into `average` the values and the count that were taken out of one like it."""
    for name, value in average.values.items():
        value.copy_(_tensor(arrays[name]))
    average.updates = updates


def optimizer_arrays(optimizer: torch.optim.Optimizer) -> stored.Arrays:
    """Return the optimizer's state as arrays named ``<parameter number>.<state>``, copied."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value).detach().cpu().contiguous().numpy().copy()
        for number, values in state.items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, arrays: stored.Arrays) -> None:
    """Put back into `optimizer` what :func:`optimizer_arrays` took out of one like it."""
    whole = optimizer.state_dict()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, array in arrays.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = _laid_out_like(
            parameters[int(number)], _tensor(array)
        )
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})


def _laid_out_like(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return `value` in the memory order of `parameter`, which the fused optimizer relies on."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, device="cpu", requires_grad=False).copy_(value)


def restore_network(network: nn.Module, arrays: stored.Arrays) -> None:
    """Put back into `network` what :func:`network_arrays` took out of one like it."""
    network.load_state_dict({name: _tensor(array) for name, array in arrays.items()}, strict=True)


def _tensor(array: NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.array(array))
