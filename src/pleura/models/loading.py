"""A model's network in torch: loaded, on which device, in which number format."""

import numpy as np
import torch

from pleura.choices import Precision
from pleura.errors import BundleError, UsageError
from pleura.models import zoo
from pleura.models.bundle import Bundle


def load_network(bundle: Bundle) -> torch.nn.Module:
    """Return the bundle's network with its weights, in evaluation mode, on the CPU.

    Raises:
        BundleError: The weights do not fit the network.
        UsageError: The bundle was read from an exported file, which holds a graph in place of them.
    """
    if bundle.exported is not None:
        raise UsageError(
            f"{bundle.path or 'model'}: is exported for {bundle.exported.kind}; take the model.h5 "
            "it was made from"
        )
    zoo.check_size(bundle.network, bundle.preprocessing.size)
    with torch.device("meta"):
        network = zoo.build(bundle.network)
    expected = {
        name: f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
        for name, value in network.state_dict().items()
    }
    found = {name: f"{one.dtype.name} of shape {one.shape}" for name, one in bundle.weights.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))[0]
        raise BundleError(
            f"{bundle.path or 'model'}: its weights do not fit {bundle.network}; {wrong[0]}, "
            f"{wrong[1]}, has no counterpart"
        )
    state = {name: torch.from_numpy(np.array(array)) for name, array in bundle.weights.items()}
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval()


def checked_device(name: str) -> torch.device:
    """Return the torch device `name`; raise UsageError where it is not there."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"`device` {name}: is not a device; take cpu, cuda or cuda:0") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"`device` {name}: pleura runs on cpu and cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"`device` {name}: torch sees {torch.cuda.device_count()} GPUs here; take cpu, or "
            "install a CUDA build of torch"
        )
    return device


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Return whether bfloat16 is used: always for ``bf16``, for ``auto`` where it is native."""
    if precision == "auto":
        if device.type == "cuda":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        # Where the processor only has AVX-512, oneDNN emulates bfloat16 at a third of the speed.
        has = torch.cpu.get_capabilities()
        return any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return precision == "bf16"
