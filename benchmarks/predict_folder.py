"""Predicting a folder of files against the network's own time on ready arrays.

The folder's time has everything in it: reading, decoding, preparing, the network, the map brought
back to the file's size, thresholds, run-length text and both tables on disk.
"""

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.config import Network
from pleura.data.prepare import PREPARATION, prepare_pixels
from pleura.formats.dicom import read_radiograph
from pleura.inference.folder import predict_files
from pleura.inference.predictor import Predictor
from pleura.models import zoo
from pleura.models.bundle import Bundle, OperatingPoint, Preprocessing
from pleura.training.checkpoint import network_arrays

SIZE, BATCH, ROUNDS, GOAL = 512, 4, 5, 1.15


def measure(paths: list[Path]) -> list[dict[str, Any]]:
    """Return one row: name, ratio, goal, met."""
    network = zoo.complete(Network())
    weights = network_arrays(zoo.build(network))
    ready = np.stack([prepare_pixels(read_radiograph(path).pixels, SIZE) for path in paths])
    bundle = Bundle(network, weights, Preprocessing(SIZE, PREPARATION))
    predictor = Predictor(replace(bundle, operating_point=_half_positive(bundle, ready[:8])))
    folder_s, network_s = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as out:
            begun = time.perf_counter()
            answers = predict_files(predictor, paths, Path(out), batch=BATCH)
            folder_s.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        for start in range(0, len(ready), BATCH):
            predictor.engine.probabilities(ready[start : start + BATCH])
        network_s.append(time.perf_counter() - begun)
    ratio = statistics.median(folder_s) / statistics.median(network_s)
    positive = sum(answer.rle not in (None, "-1") for answer in answers)
    name = f"predicting {len(paths)} files ({positive} positive), unet, {SIZE} px / network alone"
    return [{"name": name, "ratio": ratio, "goal": GOAL, "met": ratio <= GOAL}]


def _half_positive(bundle: Bundle, ready: NDArray[np.uint8]) -> OperatingPoint:
    """Return thresholds that call about half of the files positive, with masks of 1 % of a film."""
    maps, scores = Predictor(bundle).engine.probabilities(ready)
    return OperatingPoint(score=float(np.median(scores)), mask=float(np.quantile(maps, 0.99)))
