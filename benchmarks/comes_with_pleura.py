"""The model that comes with pleura: what a radiograph takes, and how that is beside a large U-Net.

Ours is all of it: reading, network, tables. The other's is the network's time alone: a U-Net on a
ResNet-34 at 1024 px, as leaderboard solutions mostly are, in torch's float32 as it comes.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import FlexibleUNet

from benchmarks.predict_memory import linked
from pleura.inference.job import JobSettings, predict_files
from pleura.inference.predictor import load

FILES, ROUNDS, LARGE = 200, 3, 1024
RADIOGRAPH_S, FASTER = 0.25, 25


def measure(paths: list[Path]) -> list[dict[str, Any]]:
    """Return two rows: name, ratio, goal, met.

    Args:
        paths: Radiographs as DICOM files.
    """
    predictor = load()
    large = FlexibleUNet(3, 1, "resnet34").eval()
    x = torch.rand(1, 3, LARGE, LARGE)
    radiograph_s, large_s = [], []
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        radiographs = sorted(linked(paths, FILES, Path(place, "radiographs")).iterdir())
        predict_files(predictor, radiographs[:8], JobSettings(Path(place, "warm"), "stem"))
        large(x)
        for number in range(ROUNDS):
            begun = time.perf_counter()
            predict_files(predictor, radiographs, JobSettings(Path(place, f"out-{number}"), "stem"))
            radiograph_s.append((time.perf_counter() - begun) / FILES)
            begun = time.perf_counter()
            large(x)
            large_s.append(time.perf_counter() - begun)
    ours = statistics.median(radiograph_s)
    faster = statistics.median(
        one / other for one, other in zip(large_s, radiograph_s, strict=True)
    )
    return [
        {
            "name": f"the model that comes with pleura, {FILES} files: seconds a radiograph",
            "ratio": ours,
            "goal": RADIOGRAPH_S,
            "met": ours <= RADIOGRAPH_S,
        },
        {
            "name": f"ResNet-34 U-Net, {LARGE} px / the model that comes with pleura",
            "ratio": faster,
            "goal": FASTER,
            "met": faster >= FASTER,
        },
    ]
