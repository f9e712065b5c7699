"""Predicting a folder of files against the network alone, and against the usual way.

The folder's time has everything in it: starting the processes that read, reading, decoding,
preparing, the network, the map brought back to the file's size, thresholds, run-length text, the
journal and the tables on disk. The usual way is what published solutions do with the same files and
the same network: pydicom's pixel array, cv2.resize, torch in float32 as it comes, the map resized,
and the run lengths found by a loop over the pixels.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import torch
from numpy.typing import NDArray

from benchmarks.predict_memory import linked
from pleura.config import Network
from pleura.data.prepare import PREPARATION, prepare_pixels
from pleura.dicom.radiograph import read_radiograph
from pleura.inference.job import JobSettings, predict_files
from pleura.inference.predictor import Predictor
from pleura.models import zoo
from pleura.models.bundle import Bundle, OperatingPoint, Preprocessing
from pleura.models.loading import load_network
from pleura.training.checkpoint import network_arrays

SIZE, BATCH, FILES, ROUNDS, USUAL_FILES = 512, 4, 500, 3, 60
OVERHEAD_GOAL, USUAL_GOAL = 1.10, 1 / 3


def measure(paths: list[Path], files: int = FILES, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Return two rows: name, ratio, goal, met."""
    network = zoo.complete(Network())
    weights = network_arrays(zoo.build(network))
    kinds = np.stack([prepare_pixels(read_radiograph(path).pixels, SIZE) for path in paths])
    bundle = Bundle(network, weights, Preprocessing(SIZE, PREPARATION))
    predictor = Predictor(replace(bundle, operating_point=_half_positive(bundle, kinds[:8])))
    with tempfile.TemporaryDirectory() as place:
        radiographs = sorted(linked(paths, files, Path(place, "radiographs")).iterdir())
        folder_s, network_s = [], []
        for number in range(rounds):
            begun = time.perf_counter()
            out = Path(place, f"out-{number}")
            answers = predict_files(predictor, radiographs, JobSettings(out, "stem", batch=BATCH))
            folder_s.append(time.perf_counter() - begun)
            network_s.append(_network_alone(predictor, kinds, files))
        positive = sum(answer.rle not in (None, "-1") for answer in answers)
        usual_s = _usual_way(predictor.bundle, radiographs[:USUAL_FILES]) / min(USUAL_FILES, files)
    folder_each = statistics.median(folder_s) / files
    overhead = folder_each / (statistics.median(network_s) / files)
    usual = folder_each / usual_s
    name = f"predicting {files} files ({positive} positive), unet, {SIZE} px"
    return [
        {
            "name": f"{name} / network alone",
            "ratio": overhead,
            "goal": OVERHEAD_GOAL,
            "met": overhead <= OVERHEAD_GOAL,
        },
        {
            "name": f"{name} / the usual way",
            "ratio": usual,
            "goal": round(USUAL_GOAL, 2),
            "met": usual <= USUAL_GOAL,
        },
    ]


def _half_positive(bundle: Bundle, ready: NDArray[np.uint8]) -> OperatingPoint:
    """Return thresholds that call about half of the files positive, with masks of 1 % of each."""
    maps, scores, _ = Predictor(bundle).engine.probabilities(ready)
    return OperatingPoint(score=float(np.median(scores)), mask=float(np.quantile(maps, 0.99)))


def _network_alone(predictor: Predictor, kinds: NDArray[np.uint8], files: int) -> float:
    order = np.arange(files) % len(kinds)
    begun = time.perf_counter()
    for start in range(0, files, BATCH):
        predictor.engine.probabilities(kinds[order[start : start + BATCH]])
    return time.perf_counter() - begun


def _usual_way(bundle: Bundle, radiographs: list[Path]) -> float:
    network = load_network(bundle)
    point, preprocessing = bundle.operating_point, bundle.preprocessing
    begun = time.perf_counter()
    rows = []
    with torch.no_grad():
        for start in range(0, len(radiographs), BATCH):
            group = radiographs[start : start + BATCH]
            pictures = [pydicom.dcmread(path).pixel_array for path in group]
            resized = np.stack([cv2.resize(one, (SIZE, SIZE)) for one in pictures])
            x = (resized[:, None].astype(np.float32) / 255 - preprocessing.mean) / preprocessing.std
            logits = network(torch.from_numpy(x.astype(np.float32)))
            for number, path in enumerate(group):
                score = float(torch.sigmoid(logits.score[number]))
                chances = torch.sigmoid(logits.mask[number, 0]).numpy()
                rows_px, columns_px = pictures[number].shape
                mask = cv2.resize(chances, (columns_px, rows_px)) > point.mask
                rle = " ".join(_runs(mask)) if score >= point.score else "-1"
                rows.append(f"{path.stem},{rle}")
    return time.perf_counter() - begun


def _runs(mask: NDArray[np.bool_]) -> Iterator[str]:
    """Yield gaps and lengths as the loop over pixels finds them, down the columns."""
    gap = length = 0
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if mask[row, column]:
                length += 1
            elif length:
                yield from (str(gap), str(length))
                gap, length = 1, 0
            else:
                gap += 1
    if length:
        yield from (str(gap), str(length))
