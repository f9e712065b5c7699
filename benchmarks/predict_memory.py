"""Peak memory of `pleura predict` on 5,000 files against that on 100.

The files are links to a few phantoms, predicted by a tiny network: what is compared is what piles
up. Counted is the resident memory of the command and its processes together.
"""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.prepare_memory import peak_bytes
from pleura.config import Network
from pleura.data.files import dicom_files
from pleura.data.prepare import PREPARATION
from pleura.models import zoo
from pleura.models.bundle import Bundle, OperatingPoint, Preprocessing, write_bundle
from pleura.synthesis.phantom import write_cohort
from pleura.training.checkpoint import network_arrays

FEW, MANY, KINDS, GOAL = 100, 5000, 20, 1.05


def measure() -> list[dict[str, Any]]:
    """Return one row: name, ratio, goal, met."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = folder / "model.h5"
        write_tiny_model(model)
        write_cohort(folder / "cohort", train=KINDS, test=0, seed=0)
        kinds = dicom_files(folder / "cohort" / "dicom-images-train")[:KINDS]
        peaks = []
        for count in (FEW, MANY):
            radiographs = linked(kinds, count, folder / f"radiographs-{count}")
            out = folder / f"out-{count}"
            peaks.append(peak_bytes("predict", model, radiographs, "--out", out, "--id", "stem"))
    ratio = peaks[1] / peaks[0]
    name = f"peak memory of predict, {MANY} files / {FEW}"
    return [{"name": name, "ratio": ratio, "goal": GOAL, "met": ratio <= GOAL}]


def write_tiny_model(path: Path) -> None:
    """Write a model of a tiny network that learned nothing, and answers fast."""
    network = zoo.complete(Network(name="cnn", width=4, depth=2))
    weights = network_arrays(zoo.build(network))
    # Everything is called positive, so that every answer has a mask to be kept.
    point = OperatingPoint(score=0.0, mask=0.0)
    write_bundle(
        Bundle(network, weights, Preprocessing(64, PREPARATION), operating_point=point), path
    )


def linked(files: list[Path], count: int, folder: Path) -> Path:
    """Make a folder of `count` links to `files`, each under a name of its own; return it."""
    folder.mkdir()
    for number in range(count):
        (folder / f"radiograph-{number:05d}.dcm").symlink_to(files[number % len(files)].resolve())
    return folder
