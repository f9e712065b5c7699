"""Predicting a folder of files against the network's own time on ready arrays.

The folder's time has everything in it: reading, decoding, preparing, the network, the map brought
back to the file's size, thresholds, run-length text and both tables on disk.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from pleura.config import Network
from pleura.data.prepare import PREPARATION, prepare_pixels
from pleura.formats.dicom import read_radiograph
from pleura.inference.folder import predict_files
from pleura.inference.predictor import Predictor
from pleura.models import zoo
from pleura.models.bundle import Bundle, Preprocessing
from pleura.training.checkpoint import network_arrays

SIZE, BATCH, ROUNDS, GOAL = 512, 4, 5, 1.15


def measure(paths: list[Path]) -> list[dict[str, Any]]:
    """Return one row: name, ratio, goal, met."""
    network = zoo.complete(Network())
    weights = network_arrays(zoo.build(network))
    predictor = Predictor(Bundle(network, weights, Preprocessing(SIZE, PREPARATION)))
    ready = np.stack([prepare_pixels(read_radiograph(path).pixels, SIZE) for path in paths])
    folder_s, network_s = [], []
    predictor.engine.probabilities(ready[:BATCH])  # the first call compiles
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as out:
            begun = time.perf_counter()
            predict_files(predictor, paths, Path(out), batch=BATCH)
            folder_s.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        for start in range(0, len(ready), BATCH):
            predictor.engine.probabilities(ready[start : start + BATCH])
        network_s.append(time.perf_counter() - begun)
    ratio = statistics.median(folder_s) / statistics.median(network_s)
    name = f"predicting {len(paths)} files, unet at {SIZE} px / the network on ready arrays"
    return [{"name": name, "ratio": ratio, "goal": GOAL, "met": ratio <= GOAL}]
