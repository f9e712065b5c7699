"""The state of an unfinished training, in one sealed HDF5 file without pickle."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict
from torch import nn

from pleura.config import Count, parse
from pleura.errors import BundleError, ConfigError
from pleura.models import weights as stored
from pleura.models.bundle import version_of
from pleura.models.sealed_file import Columns, as_columns, as_history, read_sealed, write_sealed
from pleura.training.average import MovingAverage

FORMAT = 1
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
        threads: With how many it was trained on a CPU; 0: not known, or on a GPU.
    """

    epoch: int
    identity: dict[str, Any]
    history: dict[str, list[float]]
    weights: stored.Arrays
    optimizer: stored.Arrays
    average: stored.Arrays = field(default_factory=dict)
    updates: int = 0
    scaler: dict[str, float] = field(default_factory=dict)
    threads: int = 0


@dataclass(frozen=True, slots=True)
class _About:
    """The plain values of a :class:`Checkpoint`, as JSON holds them."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    epoch: Count
    identity: dict[str, Any]
    history: Columns
    updates: Count
    scaler: dict[str, int | float]
    threads: Count = 0


_GROUPS = ("weights", "optimizer", "average")


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write `checkpoint` to `path`, whole or not at all.

    Raises:
        OutputError: The file could not be written.
    """
    said = _About(
        checkpoint.epoch,
        checkpoint.identity,
        as_columns(checkpoint.history),
        checkpoint.updates,
        checkpoint.scaler,
        checkpoint.threads,
    )
    groups = {name: getattr(checkpoint, name) for name in _GROUPS}
    write_sealed(path, "checkpoint", (FORMAT, version_of("pleura")), asdict(said), groups)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Return the checkpoint at `path`.

    Raises:
        BundleError: The file cannot be read, or was changed since it was written.
    """
    try:
        contents = read_sealed(path, "checkpoint", FORMAT, _MAX_BYTES)
        said = parse(_About, contents.about, "its text")
    except (BundleError, ConfigError, RecursionError) as error:
        raise BundleError(
            f"{path}: {str(error)[:500]}; remove it to train from the start"
        ) from error
    return Checkpoint(
        epoch=said.epoch,
        identity=said.identity,
        history=as_history(said.history),
        updates=said.updates,
        scaler=said.scaler,
        threads=said.threads,
        **{name: contents.group(name) for name in _GROUPS},
    )


def network_arrays(network: nn.Module) -> stored.Arrays:
    """Return the parameters and buffers of `network` as arrays by name, in their shapes, copied."""
    return plain_arrays(network.state_dict())


def plain_arrays(values: Mapping[str, torch.Tensor]) -> stored.Arrays:
    """Return tensors as arrays by name, in their shapes, copied."""
    return {
        name: value.detach().cpu().contiguous().numpy().copy() for name, value in values.items()
    }


def restore_average(average: MovingAverage, arrays: stored.Arrays, updates: int) -> None:
    """Put back into `average` the values, in their shapes, and the count of one like it."""
    for name, value in average.values.items():
        value.copy_(_tensor(arrays[name]))
    average.updates = updates


def optimizer_arrays(optimizer: torch.optim.Optimizer) -> stored.Arrays:
    """Return the optimizer's state, in its shapes, by ``<parameter number>.<state>``, copied."""
    state = optimizer.state_dict()["state"]
    values = {f"{number}.{name}": own[name] for number, own in state.items() for name in own}
    return plain_arrays({name: torch.as_tensor(value) for name, value in values.items()})


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
