"""How long a file takes to become pixels, next to what people use today.

    python benchmarks/read_dicom.py FILE.dcm ...

Two ratios, both for JPEG Baseline files and one core, resizing to 512 x 512 included:

- pleura against libjpeg-turbo's bare decoding of the same frame (goal: at most 1.4);
- pleura against `pydicom.dcmread(path).pixel_array` with the Pillow plugin (goal: at most 0.5).
"""

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGBaseline8Bit

from pleura.data.prepare import prepare_pixels
from pleura.dicom.radiograph import read_radiograph

SIDE_PX = 512
ROUNDS = 15
GOALS = {
    "file to prepared 512 px / bare libjpeg-turbo decoding": 1.4,
    "file to prepared 512 px / pydicom with Pillow, resized": 0.5,
}


def measure(paths: list[Path], rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Return one row per ratio: name, ratio, goal, met.

    The three ways are timed in turn on each file, so that a slow moment of the machine meets all
    of them; a file's time is the median of its rounds, a way's time the sum over the files.
    """
    cv2.setNumThreads(1)
    pleura_s = bare_s = pydicom_s = 0.0
    for path in paths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame = get_frame(pydicom.dcmread(path).PixelData, 0, number_of_frames=1)
            ways: tuple[Callable[[], object], ...] = (
                lambda path=path: prepare_pixels(read_radiograph(path).pixels, SIDE_PX),
                lambda frame=frame: imagecodecs.jpeg8_decode(frame),
                lambda path=path: _resized(_pydicom_pixels(path)),
            )
            times = _medians(ways, rounds)
        pleura_s, bare_s, pydicom_s = pleura_s + times[0], bare_s + times[1], pydicom_s + times[2]
    ratios = dict(zip(GOALS, (pleura_s / bare_s, pleura_s / pydicom_s), strict=True))
    return [
        {"name": name, "ratio": ratio, "goal": GOALS[name], "met": ratio <= GOALS[name]}
        for name, ratio in ratios.items()
    ]


def _pydicom_pixels(path: Path) -> np.ndarray:
    """Return `dcmread(path).pixel_array`, decoded by Pillow and nothing else."""
    data = pydicom.dcmread(path)
    data.pixel_array_options(decoding_plugin="pillow")
    return data.pixel_array


def _resized(pixels: np.ndarray) -> np.ndarray:
    return cv2.resize(pixels, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)


def _medians(ways: tuple[Callable[[], object], ...], rounds: int) -> list[float]:
    times: list[list[float]] = [[] for _ in ways]
    for turn in range(rounds):
        for offset in range(len(ways)):  # each way comes first in turn, and after each other one
            index = (turn + offset) % len(ways)
            start = time.perf_counter()
            ways[index]()
            times[index].append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def print_json(arguments: list[str]) -> None:
    """Print what :func:`measure` returns for these files as JSON."""
    print(json.dumps(measure([Path(argument) for argument in arguments])))


def main(arguments: list[str]) -> int:
    paths = [Path(argument) for argument in arguments]
    if not paths or "pillow" not in get_decoder(JPEGBaseline8Bit).available_plugins:
        print("usage: python benchmarks/read_dicom.py FILE.dcm ... (Pillow must be installed)")
        return 2
    for row in measure(paths):
        verdict = "met" if row["met"] else "MISSED"
        print(f"{row['name']:<60} {row['ratio']:.2f}  goal <= {row['goal']}  {verdict}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
