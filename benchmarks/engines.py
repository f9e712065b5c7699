"""The default CPU engine: against torch, against the processor, and from a cold start.

Three rows, on `unet` in its default size at 512 px:

- torch's float32 without further ado (what a script gets from ``network(x)``) over the default
  engine, image by image;
- what the default engine gets out of the processor, in operations a second, over a large matrix
  product of torch in the same precision; operations are those of the network's convolutions, also
  where the engine saves some of them;
- what ``pleura predict one.dcm`` takes from the shell beyond the network's own time: imports, the
  converted network out of the cache, compiling it, reading and writing.

The first two alternate, so that a slow moment of the machine meets both.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from pleura.config import Network
from pleura.data.prepare import PREPARATION
from pleura.engines.choice import open_engine
from pleura.models import zoo
from pleura.models.bundle import Bundle, Preprocessing, write_bundle
from pleura.models.loading import load_network
from pleura.models.served import as_served
from pleura.training.checkpoint import network_arrays

SIZE, IMAGES, ROUNDS = 512, 4, 5
FASTER, OF_PEAK, COLD_S = 2.5, 0.85, 2.0


def measure(radiograph: Path) -> list[dict[str, Any]]:
    """Return three rows: name, ratio, goal, met.

    Args:
        radiograph: A DICOM file to predict.
    """
    network = zoo.complete(Network())
    bundle = Bundle(network, network_arrays(zoo.build(network)), Preprocessing(SIZE, PREPARATION))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model.h5")
        write_bundle(bundle, model)
        # A cache of its own: what is measured is never what an earlier pleura left behind.
        before = os.environ.get("XDG_CACHE_HOME")
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            engine = open_engine(bundle)
            rows = _rows(bundle, engine.name, engine.probabilities)
            return [*rows, _cold(model, radiograph, Path(folder, "out"), engine.probabilities)]
        finally:
            os.environ.pop("XDG_CACHE_HOME")
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


def _rows(bundle: Bundle, name: str, run: Callable[[Any], Any]) -> list[dict[str, Any]]:
    pixels = np.random.default_rng(0).integers(256, size=(IMAGES, SIZE, SIZE), dtype=np.uint8)
    eager = load_network(bundle)
    x = torch.from_numpy(bundle.preprocessing.normalise(pixels))[:, None]
    product = _Product("bf16" in name)

    def plain() -> None:
        with torch.inference_mode():
            for one in x:
                eager(one[None])

    for warm in (plain, lambda: run(pixels), product):
        warm()
    times = [[_timed(one) for one in (plain, lambda: run(pixels), product)] for _ in range(ROUNDS)]
    ours = statistics.median(one[1] for one in times) / IMAGES
    faster = statistics.median(one[0] / one[1] for one in times)
    gflop = _gflop_served(bundle)
    achieved = gflop / ours
    of_peak = statistics.median(gflop * IMAGES / one[1] / (product.gflop / one[2]) for one in times)
    return [
        {
            "name": f"unet, {SIZE} px: torch float32 / {name} ({1000 * ours:.0f} ms)",
            "ratio": faster,
            "goal": FASTER,
            "met": faster >= FASTER,
        },
        {
            "name": f"unet: {name} ({achieved:.0f} GFLOP/s) / a matrix product of torch",
            "ratio": of_peak,
            "goal": OF_PEAK,
            "met": of_peak >= OF_PEAK,
        },
    ]


def _gflop_served(bundle: Bundle) -> float:
    """Return what an image costs in the form that engines run, which is less than in training."""
    network = as_served(load_network(bundle))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, SIZE, SIZE))
    return float(counter.get_total_flops()) / 1e9


class _Product:
    """A matrix product in bfloat16 or float32, large enough to keep every core busy."""

    side = 2048
    gflop = 2 * side**3 / 1e9

    def __init__(self, bf16: bool) -> None:
        kind = torch.bfloat16 if bf16 else torch.float32
        self._a, self._b = (torch.randn(self.side, self.side).to(kind) for _ in range(2))

    def __call__(self) -> None:
        with torch.inference_mode():
            torch.mm(self._a, self._b)


def _cold(model: Path, radiograph: Path, out: Path, run: Callable[[Any], Any]) -> dict[str, Any]:
    """Return the row of the cold start: seconds beyond what a warm network takes for one image."""
    code = (
        "import sys; from pleura.cli.app import execute; status = execute(sys.argv[1:]);"
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "predict",
        str(model),
        str(radiograph),
        "--out",
        str(out),
    ]
    one = np.zeros((1, SIZE, SIZE), np.uint8)
    beyond = []
    for _ in range(ROUNDS):
        whole = _timed(lambda: subprocess.run(command, check=True, capture_output=True))
        beyond.append(whole - _timed(lambda: run(one)))
    taken = statistics.median(beyond)
    return {
        "name": "pleura predict one.dcm, cold, without torch: seconds beyond the network's own",
        "ratio": taken,
        "goal": COLD_S,
        "met": taken <= COLD_S,
    }


def _timed(function: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun
