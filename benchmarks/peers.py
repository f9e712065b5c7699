"""The models that come with pleura beside what else a user would run over the same files.

Each is a command of its own, in turn, on the same radiographs and cores: pleura as it comes, and
three others as their users run them, in torch's or ONNX Runtime's float32 with its own threads: a
DenseNet-121 of 224 px, the network of torchxrayvision's classifiers, which gives no mask; MONAI's
U-Net of 512 px; a U-Net on a ResNet-34 of 512 px in ONNX Runtime. Their weights are random, which
changes no time. They read with pydicom, resize with OpenCV, and write their answers as a CSV.

    python -m benchmarks.peers SYSTEM MODEL OUT RADIOGRAPH...   runs one of the others
"""

import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.prepare_memory import peak_of

FILES, ROUNDS, GOAL = 41, 3, 1.0
OURS = ("pleura:fast", "pleura:best")
OTHERS = {"densenet": 224, "unet": 512, "resnet34-onnx": 512}

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def measure(paths: list[Path]) -> list[dict[str, Any]]:
    """Return rows (name, ratio, goal, met): each other system against each model of pleura's.

    Args:
        paths: Radiographs as DICOM files.
    """
    from benchmarks.predict_memory import linked

    with tempfile.TemporaryDirectory() as place:
        model = Path(place, "resnet34.onnx")
        _export(model)
        files = sorted(linked(paths, FILES, Path(place, "radiographs")).iterdir())
        figures: dict[str, list[tuple[float, float, float]]] = {s: [] for s in (*OURS, *OTHERS)}
        for number in range(ROUNDS):
            for system, measured in figures.items():
                measured.append(_measured(system, model, Path(place, f"{number}-{system}"), files))
    names = ("seconds a radiograph", "cold start with one radiograph", "peak memory")
    rows = []
    for ours in OURS:
        for other, size in OTHERS.items():
            for at, name in enumerate(names):
                pairs = zip(figures[other], figures[ours], strict=True)
                ratio = statistics.median(theirs[at] / own[at] for theirs, own in pairs)
                title = f"{other} {size} px / {ours}: {name}"
                rows.append({"name": title, "ratio": ratio, "goal": GOAL, "met": ratio >= GOAL})
    return rows


def _measured(system: str, model: Path, out: Path, files: list[Path]) -> tuple[float, float, float]:
    """Return seconds a radiograph once warm, seconds for one cold, and the peak of all in bytes."""
    out.mkdir()
    begun = time.perf_counter()
    peak_of(_command(system, model, out / "one", files[:1]))
    one = time.perf_counter() - begun
    begun = time.perf_counter()
    peak = peak_of(_command(system, model, out / "all", files))
    return (time.perf_counter() - begun - one) / (len(files) - 1), one, peak


def _command(system: str, model: Path, out: Path, files: list[Path]) -> list[object]:
    if system in OTHERS:
        return [sys.executable, "-m", "benchmarks.peers", system, model, out, *files]
    run = "from pleura.cli.app import main; main()"
    return [sys.executable, "-c", run, "predict", system, *files, "--out", out, "--id", "stem"]


def _export(path: Path) -> None:
    import torch
    from monai.networks.nets import FlexibleUNet

    size = OTHERS["resnet34-onnx"]
    network = FlexibleUNet(3, 1, "resnet34").eval()
    torch.onnx.export(network, (torch.zeros(1, 3, size, size),), path, dynamo=False)


def main(system: str, model: str, out: str, *files: str) -> None:
    """Answer files as the users of `system` do, and write ``answers.csv`` into `out`."""
    import cv2
    import pydicom

    run, size = _network(system, model), OTHERS[system]
    Path(out).mkdir()
    with Path(out, "answers.csv").open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        for file in files:
            pixels = pydicom.dcmread(file).pixel_array
            small = cv2.resize(pixels, (size, size)).astype(np.float32) / 255
            answer = run(small)
            if answer.ndim == 2:
                mask = cv2.resize(answer, pixels.shape[::-1]) > 0.5
                ends = np.flatnonzero(np.diff(np.pad(mask.T.ravel().astype(np.int8), 1)))
                writer.writerow([Path(file).stem, " ".join(map(str, ends))])
            else:
                writer.writerow([Path(file).stem, *answer])


def _network(system: str, model: str) -> Run:
    """Return what takes an image (S, S) float32 in 0..1 to its answer: scores, or a map (S, S)."""
    if system == "resnet34-onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name

        def by_onnx(image: NDArray[np.float32]) -> NDArray[np.float32]:
            batch = np.repeat(image[None, None], 3, axis=1)
            logits: NDArray[np.float32] = session.run(None, {name: batch})[0][0, 0]
            return 1 / (1 + np.exp(-logits))

        return by_onnx
    import torch
    from monai.networks.nets import DenseNet121, UNet

    network: Any = (
        DenseNet121(spatial_dims=2, in_channels=1, out_channels=18)
        if system == "densenet"
        else UNet(2, 1, 1, channels=(32, 64, 128, 256, 512), strides=(2,) * 4, num_res_units=2)
    ).eval()

    def by_torch(image: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            answer = torch.sigmoid(network(torch.from_numpy(image)[None, None]))[0]
        found: NDArray[np.float32] = (answer[0] if answer.ndim == 3 else answer).numpy()
        return found

    return by_torch


if __name__ == "__main__":
    main(*sys.argv[1:])
