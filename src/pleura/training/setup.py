"""What a training is set up with: the device, the precision, the first weights, the batch."""

import os
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from pleura.config import Network, Train
from pleura.engines.threads import share_cores
from pleura.errors import ConfigError, DataError, UsageError
from pleura.models import zoo
from pleura.models.bundle import Bundle, read_bundle
from pleura.models.loading import uses_bf16
from pleura.training import checkpoint
from pleura.training.batches import Truth
from pleura.training.learner import LossOf
from pleura.training.memory import keep_freed_memory, largest_batch
from pleura.training.optimizer import make_optimizer

TrainedIn = Literal["fp32", "bf16", "fp16"]


def device_type() -> str:
    """Return the kind of device that trains: cuda where there is a GPU, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def is_main_process() -> bool:
    """Return whether this is the one process of a training that writes; a lone process is."""
    return bool(_joined().is_main_process)


def _joined() -> PartialState:
    """Return where this process stands among those of its training, once all of them are there."""
    _require_new_stores()
    return PartialState(cpu=device_type() == "cpu", **_store_of_restart())


def _require_new_stores() -> None:
    """Raise UsageError where processes of several machines would not find each other a second time.

    torchrun keeps the address of the store that it had at first. So a machine that comes back waits
    for one that nobody tells it, and all others look for the one that died with its machine.
    """
    told = os.environ
    if (
        told.get("GROUP_WORLD_SIZE", "1") != "1"
        and told.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
        and told.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    ):
        raise UsageError(
            "torchrun restarts the processes of all machines where one dies, and started so they "
            "would not find each other; on each machine, give it the rendezvous backend c10d and "
            "export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
        )


def _store_of_restart() -> dict[str, Any]:
    """Return how processes that torchrun started again on one machine find each other.

    torchrun keeps one store for all attempts, so that a process could be sent to the address where
    another listened before it died, and wait there: each attempt has names of its own.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if attempt == "0" or os.environ.get("GROUP_WORLD_SIZE") != "1":
        return {}  # several machines count apart, and have a new store each time
    store, rank, processes = next(rendezvous("env://"))
    return {
        "store": PrefixStore(f"attempt {attempt}", store),
        "rank": rank,
        "world_size": processes,
    }


def choose_precision(settings: Train) -> TrainedIn:
    """Return the precision that is trained in.

    Raises:
        UsageError: Half precision was asked for on a CPU.
    """
    device = torch.device(device_type())
    if settings.precision == "fp16":
        if device.type == "cpu":
            raise UsageError("train.precision is fp16, which needs a GPU; take bf16, auto or fp32")
        return "fp16"
    return "bf16" if uses_bf16(settings.precision, device) else "fp32"


def make_accelerator(precision: TrainedIn, accumulate: int, threads: int = 0) -> Accelerator:
    """Return what spreads a training over devices and processes, with memory and cores set up.

    Args:
        precision: What is trained in.
        accumulate: Batches of a step.
        threads: Of each process on a CPU; 0: chosen.
    """
    on_cpu = device_type() == "cpu"
    if on_cpu:
        keep_freed_memory()
        share_cores(threads)
    _joined()
    AcceleratorState._reset_state()  # or it holds on to the precision of an earlier training
    return Accelerator(
        mixed_precision="no" if precision == "fp32" else precision,
        cpu=on_cpu,
        gradient_accumulation_steps=accumulate,
    )


def read_start(path: str, network: Network, judges: NDArray[np.uint64]) -> Bundle | None:
    """Return the model that a training begins with, None for the network's own beginning.

    Args:
        path: Of the model; empty for none.
        network: What is trained.
        judges: ``(n,)``: keys of the pictures that validate.

    Raises:
        BundleError: The model cannot be read.
        ConfigError: It is another network.
        DataError: It was trained on images that validate.
    """
    if not path:
        return None
    bundle = read_bundle(path)
    found = replace(_alone(bundle).network, pretrained=network.pretrained)
    if found != network:
        different = [
            f"{name} {getattr(found, name)!r}, not {value!r}"
            for name, value in asdict(network).items()
            if getattr(found, name) != value
        ]
        raise ConfigError(
            f"train.init_from is {path}, a network with {', '.join(different)}; begin with a model "
            "of the same network settings"
        )
    both = int(np.isin(bundle.trained_on, judges).sum())
    if both:
        raise DataError(
            f"train.init_from is {path}, which {both} of the images that validate have trained; "
            "begin with a model that never saw them"
        )
    return bundle


def _alone(bundle: Bundle) -> Bundle:
    """Return an ensemble of one network as that network, such as ``pleura:fast``; others as is."""
    if len(bundle.network.members) != 1:
        return bundle
    weights = {name.removeprefix("members.0."): value for name, value in bundle.weights.items()}
    return replace(bundle, network=bundle.network.members[0], weights=weights)


def begin_network(settings: Network, start: Bundle | None) -> nn.Module:
    """Return the network with the weights that it begins with."""
    if start is None:
        return zoo.begin(settings)
    network = zoo.build(settings)
    checkpoint.restore_network(network, dict(_alone(start).weights))
    return network


def fitting_batch(
    settings: Network, size: int, most: int, loss_of: LossOf, accelerator: Accelerator
) -> int:
    """Return the largest batch with which a step fits, the same in all processes.

    Args:
        settings: Of the network.
        size: Side of the images in pixels.
        most: The most that is of use.
        loss_of: The loss of a batch.
        accelerator: What trains.
    """
    network = zoo.build(settings).to(accelerator.device)
    optimizer = make_optimizer(network, 0.0)

    def try_batch(batch: int) -> None:
        x = torch.zeros(batch, 1, size, size, device=accelerator.device)
        with accelerator.autocast():
            loss = loss_of(network(x), Truth(x))
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()

    found = largest_batch(try_batch, most, accelerator.device)
    smallest = -accelerator.gather(torch.tensor([-found], device=accelerator.device)).max()
    return int(smallest)
