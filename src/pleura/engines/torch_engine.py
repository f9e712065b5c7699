"""The reference engine, on torch.

Shapes: N images, S side length in pixels.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from pleura.choices import Precision
from pleura.engines.engine import Probabilities
from pleura.engines.threads import OwnThreads
from pleura.models.bundle import Bundle
from pleura.models.loading import checked_device, load_network, uses_bf16


class TorchEngine:
    """The reference engine: torch in evaluation mode, channels last.

    Attributes:
        name: The engine and its precision, such as ``torch fp32`` or ``torch cuda bf16``.
        notes: Nothing.

    Args:
        bundle: The model.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` takes bf16 where the device has it.

    Raises:
        UsageError: The device is not there.
        BundleError: The weights do not fit the network that the bundle names.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, bundle: Bundle, device: str = "cpu", precision: Precision = "auto") -> None:
        self._device = checked_device(device)
        self._dtype = torch.bfloat16 if uses_bf16(precision, self._device) else None
        kind = "" if self._device.type == "cpu" else f"{self._device.type} "
        self.name = f"torch {kind}{'bf16' if self._dtype else 'fp32'}"
        self._preprocessing = bundle.preprocessing
        self._threads = OwnThreads()
        self._threads.begin()
        network = load_network(bundle).to(self._device)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def probabilities(self, pixels: NDArray[np.uint8]) -> Probabilities:
        """Return the probabilities for ``(N, S, S)`` uint8 prepared pixels."""
        if self._device.type != "cpu" or torch.get_num_threads() > 1:
            self._threads.begin()
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
