"""The reference engine, on torch.

Shapes: N images, S side length in pixels.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from pleura.config import Precision
from pleura.errors import BundleError, UsageError
from pleura.inference.engine import Probabilities
from pleura.models import zoo
from pleura.models.bundle import Bundle


class TorchEngine:
    """The reference engine: torch in evaluation mode, channels last.

    Args:
        bundle: The model.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` takes bf16 where the device has it.

    Raises:
        UsageError: The device is not there.
        BundleError: The weights do not fit the network that the bundle names.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu", precision: Precision = "auto") -> None:
        self._device = checked_device(device)
        self._dtype = torch.bfloat16 if uses_bf16(precision, self._device) else None
        self._preprocessing = bundle.preprocessing
        network = load_network(bundle).to(self._device)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def name(self) -> str:
        """The engine and its precision, such as ``torch fp32`` or ``torch cuda bf16``."""
        device = "" if self._device.type == "cpu" else f"{self._device.type} "
        return f"torch {device}{'bf16' if self._dtype else 'fp32'}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def probabilities(self, pixels: NDArray[np.uint8]) -> Probabilities:
        """Return the probabilities for ``(N, S, S)`` uint8 prepared pixels."""
        x = torch.from_numpy(self._preprocessing.normalise(pixels)[:, None]).to(self._device)
        x = x.contiguous(memory_format=torch.channels_last)
        with (
            torch.inference_mode(),
            torch.autocast(
                self._device.type, dtype=self._dtype or torch.bfloat16, enabled=bool(self._dtype)
            ),
        ):
            logits = self._network(x)
        maps = torch.sigmoid(logits.mask.float())[:, 0].cpu().numpy()
        return Probabilities(maps, torch.sigmoid(logits.score.float()).cpu().numpy())


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
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: array.shape for name, array in bundle.weights.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))[0]
        raise BundleError(
            f"{bundle.path or 'model'}: its weights do not fit {bundle.network}; {wrong[0]} with "
            f"shape {wrong[1]} has no counterpart"
        )
    state = {name: torch.from_numpy(np.array(array)) for name, array in bundle.weights.items()}
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval()


def checked_device(name: str) -> torch.device:
    """Return the torch device `name`; raise UsageError where it is not there."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name}: is not a device; take cpu, cuda or cuda:0") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: pleura runs on cpu and cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name}: torch sees {torch.cuda.device_count()} GPUs here; take cpu, or "
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
