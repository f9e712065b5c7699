"""The models that come with pleura beside what else a user would run over the same files.

Each is a command of its own, in turn, on the same radiographs and cores: pleura as it comes, and
four others, in float32 with their runtime's own threads:

- torchxrayvision's DenseNet-121 of 224 px, run by the package itself as its script for pictures
  does: its reader of DICOM, its crop, its resizing by scikit-image, its network. It gives no mask;
- the same network from MONAI, fed by OpenCV, as somebody would who wants that one fast;
- MONAI's U-Net of 512 px;
- a U-Net on a ResNet-34 of 512 px in ONNX Runtime.

Their weights are random, which changes no time. The last three read with pydicom and resize with
OpenCV. All write their answers as a CSV. torchxrayvision needs torchvision, which has no build for
torch's build for the CPU that a registry would give. So both lie in a folder of their own, where
nothing else sees them, and torchvision's compiled operators, none of which is called here, are
declared by name alone.

    make build/peers                                         brings torchxrayvision
    python -m benchmarks.peers SYSTEM MODEL OUT RADIOGRAPH...   runs one of the others
"""

import csv
import importlib
import resource
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
OTHERS = {
    "torchxrayvision": "torchxrayvision's DenseNet-121 at 224 px",
    "densenet": "DenseNet-121 at 224 px with OpenCV's resize",
    "unet": "MONAI's U-Net at 512 px",
    "resnet34-onnx": "ResNet-34 U-Net at 512 px in ONNX Runtime",
}
SIDES_PX = {"densenet": 224, "unet": 512, "resnet34-onnx": 512}
PACKAGES = Path(__file__).parents[1] / "build" / "peers"
NAMES = (
    "seconds a radiograph",
    "cold start with one",
    "peak memory",
    "processor's time a radiograph",
)

Figures = tuple[float, float, float, float]
Answer = Callable[[str], list[Any]]
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def measure(paths: list[Path]) -> list[dict[str, Any]]:
    """Return rows (name, ratio, goal, met): each other system against each model of pleura's.

    Args:
        paths: Radiographs as DICOM files.
    """
    from benchmarks.predict_memory import linked

    others = dict(OTHERS)
    if not PACKAGES.is_dir():
        del others["torchxrayvision"]
        print(f"no row for torchxrayvision: it is not in {PACKAGES}; `make build/peers` brings it")
    with tempfile.TemporaryDirectory() as place:
        model = Path(place, "resnet34.onnx")
        _export(model)
        files = sorted(linked(paths, FILES, Path(place, "radiographs")).iterdir())
        figures: dict[str, list[Figures]] = {system: [] for system in (*OURS, *others)}
        for number in range(ROUNDS):
            for system, measured in figures.items():
                measured.append(_measured(system, model, Path(place, f"{number}-{system}"), files))
    rows = []
    for ours in OURS:
        for other, title in others.items():
            for at, name in enumerate(NAMES):
                pairs = zip(figures[other], figures[ours], strict=True)
                ratio = statistics.median(theirs[at] / own[at] for theirs, own in pairs)
                row = {"name": f"{title} / {ours}: {name}", "ratio": ratio, "goal": GOAL}
                rows.append({**row, "met": ratio >= GOAL})
    return rows


def _measured(system: str, model: Path, out: Path, files: list[Path]) -> Figures:
    """Return what `NAMES` says: s a radiograph once warm, s of a first one, bytes, s of CPUs."""
    out.mkdir()
    begun, used = time.perf_counter(), _used()
    peak_of(_command(system, model, out / "one", files[:1]))
    one, one_used = time.perf_counter() - begun, _used() - used
    begun, used = time.perf_counter(), _used()
    peak = peak_of(_command(system, model, out / "all", files))
    more = len(files) - 1
    each = (time.perf_counter() - begun - one) / more
    return each, one, peak, (_used() - used - one_used) / more


def _used() -> float:
    """Return how long processors have worked for processes that this one began, in s."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _command(system: str, model: Path, out: Path, files: list[Path]) -> list[object]:
    if system in OTHERS:
        return [sys.executable, "-m", "benchmarks.peers", system, model, out, *files]
    run = "from pleura.cli.app import main; main()"
    return [sys.executable, "-c", run, "predict", system, *files, "--out", out, "--id", "stem"]


def _export(path: Path) -> None:
    import torch
    from monai.networks.nets import FlexibleUNet

    size = SIDES_PX["resnet34-onnx"]
    network = FlexibleUNet(3, 1, "resnet34").eval()
    torch.onnx.export(network, (torch.zeros(1, 3, size, size),), path, dynamo=False)


def main(system: str, model: str, out: str, *files: str) -> None:
    """Answer files as the users of `system` do, and write ``answers.csv`` into `out`."""
    answer = _by_torchxrayvision() if system == "torchxrayvision" else _by_opencv(system, model)
    Path(out).mkdir()
    with Path(out, "answers.csv").open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        for file in files:
            writer.writerow([Path(file).stem, *answer(file)])


def _by_torchxrayvision() -> Answer:
    """Return what gives a file's scores as torchxrayvision's ``process_image.py`` does."""
    import torch

    sys.path.append(str(PACKAGES))  # the last, so that all else is pleura's own
    if torch.version.cuda is None:
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor boxes, Tensor scores, float least) -> Tensor")
    xrv, torchvision = map(importlib.import_module, ("torchxrayvision", "torchvision"))
    model = xrv.models.DenseNet(weights=None).eval()
    transform = torchvision.transforms.Compose(
        [xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(224)]
    )

    def answer(file: str) -> list[Any]:
        image = transform(xrv.utils.load_image(file))
        with torch.no_grad():
            scores: NDArray[np.float32] = model(torch.from_numpy(image)[None])[0].numpy()
        return list(scores)

    return answer


def _by_opencv(system: str, model: str) -> Answer:
    """Return what gives a file's scores, or its mask in run lengths."""
    import cv2
    import pydicom

    run, side = _network(system, model), SIDES_PX[system]

    def answer(file: str) -> list[Any]:
        pixels = pydicom.dcmread(file).pixel_array
        found = run(cv2.resize(pixels, (side, side)).astype(np.float32) / 255)
        if found.ndim == 1:
            return list(found)
        mask = cv2.resize(found, pixels.shape[::-1]) > 0.5
        ends = np.flatnonzero(np.diff(np.pad(mask.T.ravel().astype(np.int8), 1)))
        return [" ".join(map(str, ends))]

    return answer


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
