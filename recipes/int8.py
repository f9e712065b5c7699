"""What 8-bit integers cost and gain a model: a table in docs/explanation/experiments.md.

    python -m recipes.int8 CALIBRATION JUDGED [--model pleura:fast]

Both are prepared folders at the model's size. NNCF calibrates on all annotated radiographs of the
first. All engines answer those of the second in turn, a few at a time, so that a slow moment of the
machine meets all of them.
"""

import argparse
import itertools
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.choices import Precision
from pleura.data.prepare import Frame
from pleura.engines.choice import open_engine
from pleura.engines.convert import to_openvino
from pleura.engines.quantise import quantise
from pleura.inference.prediction import finish
from pleura.metrics import auroc, dice_coeff
from pleura.models.model_file import read_model
from pleura.stages.export import take_pictures

AT_ONCE, MOST = 16, 10_000
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


def main() -> None:
    """Print the table, a row per engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("calibration", type=Path)
    parser.add_argument("judged", type=Path)
    parser.add_argument("--model", default="pleura:fast")
    asked = parser.parse_args()
    bundle = read_model(asked.model)
    size = bundle.preprocessing.size
    made = to_openvino(bundle)
    small = quantise(made, list(take_pictures(asked.calibration, size, MOST).pixels))
    engines = [
        open_engine(replace(bundle, exported=graph), precision=precision)
        for graph, precision in itertools.product((made, small), PRECISIONS)
    ]
    judged = take_pictures(asked.judged, size, MOST)
    if judged.masks is None:
        raise SystemExit(f"{asked.judged}: nobody annotated these; name others")
    positive, frame = np.array([mask.any() for mask in judged.masks]), Frame(size, size, size)
    seconds: list[list[float]] = [[] for _ in engines]
    scores: list[list[float]] = [[] for _ in engines]
    masks: list[list[NDArray[np.bool_]]] = [[] for _ in engines]
    for engine in engines:
        engine.probabilities(judged.pixels[:4])
    for first in range(0, len(judged.pixels), AT_ONCE):
        pixels = judged.pixels[first : first + AT_ONCE]
        for number, engine in enumerate(engines):
            begun = time.perf_counter()
            found = engine.probabilities(pixels)
            seconds[number].append((time.perf_counter() - begun) / len(pixels))
            for one, score in zip(found.maps, found.scores, strict=True):
                answer = finish(
                    "",
                    one,
                    float(score),
                    frame,
                    bundle.operating_point,
                    calibration=bundle.calibration,
                )
                scores[number].append(float(score))
                masks[number].append(answer.mask)
    print("| engine | AUROC | mean Dice | positive Dice | called otherwise | time, bf16 = 1 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for number, engine in enumerate(engines):
        dices = [
            dice_coeff(truth, mask, smooth=0)
            for truth, mask in zip(judged.masks, masks[number], strict=True)
        ]
        otherwise = sum(
            one.any() != other.any() for one, other in zip(masks[0], masks[number], strict=True)
        )
        time_of_bf16 = statistics.median(
            own / bf16 for bf16, own in zip(seconds[1], seconds[number], strict=True)
        )
        print(
            f"| {engine.name} | {auroc(positive, np.array(scores[number])):.3f} "
            f"| {np.mean(dices):.3f} | {np.mean(np.array(dices)[positive]):.3f} "
            f"| {otherwise} of {len(positive)} | {time_of_bf16:.2f} |"
        )


if __name__ == "__main__":
    main()
