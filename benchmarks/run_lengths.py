"""How much faster pleura reads and writes run-length masks than the code people use today.

Run it with ``python benchmarks/run_lengths.py``. The masks are 200 rows of SIIM-ACR's stage-2 table
where ``../shared/data`` has it, else made-up ellipses of the same sizes. Each side is timed in turn
on each mask, so that a busy machine slows both, and its best of three times counts; a ratio is the
median over the masks for the usual code, divided by that for pleura's.

The usual code is what is published with and for the data set. Its decoder fills an array of float64
and looks every number up in a numpy array; the same loop over Python's own numbers into bytes takes
less than half as long, and is printed too, without a goal.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.formats.annotation_table import read_annotations
from pleura.formats.rle import mask2rle, rle2mask

SIDE = 1024
TABLE = Path(__file__).parents[2] / "shared/data/annotations/train-rle-stage2.csv.gz"


def measure(masks: int = 200, rounds: int = 3) -> list[dict[str, Any]]:
    """Return one row per comparison: ``name``, ``ratio``, ``goal`` and ``met``.

    Args:
        masks: How many masks of 1024 x 1024 to time.
        rounds: How often each of them.
    """
    texts = sample(masks)
    pictures = [np.ascontiguousarray(decode_ours(text)) for text in texts]
    for text, picture in zip(texts, pictures, strict=True):
        if usual_encode(picture) != text or not np.array_equal(usual_decode(text), picture):
            raise AssertionError("the two sides disagree, so their times mean nothing")
    decode = ratio(usual_decode, decode_ours, texts, rounds)
    encode = ratio(usual_encode, mask2rle, pictures, rounds)
    return [
        row("run lengths to mask, against a loop over the pairs", decode, 5.0),
        row("mask to run lengths, against np.diff of a copied transpose", encode, 8.0),
    ]


def decode_ours(text: str) -> NDArray[np.bool_]:
    return rle2mask(text, (SIDE, SIDE))


def sample(count: int) -> list[str]:
    return real_texts(count) or made_up_texts(count)


def row(name: str, ratio: float, goal: float) -> dict[str, Any]:
    return {"name": name, "ratio": round(ratio, 2), "goal": goal, "met": ratio >= goal}


def ratio(
    usual: Callable[[Any], Any], ours: Callable[[Any], Any], inputs: Sequence[Any], rounds: int
) -> float:
    """Return the median over the inputs of `usual`'s best time / that of `ours`'s."""
    best = np.full((len(inputs), 2), np.inf)
    for _ in range(rounds):
        for value, times in zip(inputs, best, strict=True):
            for side, function in enumerate((usual, ours)):
                start = time.perf_counter()
                function(value)
                times[side] = min(times[side], time.perf_counter() - start)
    medians = np.median(best, axis=0)
    return float(medians[0] / medians[1])


def usual_decode(text: str) -> NDArray[np.float64]:
    """The usual decoder: numbers into an array, one slice of a flat picture per pair."""
    flat = np.zeros(SIDE * SIDE)
    numbers = np.asarray([int(word) for word in text.split()])
    gaps, lengths = numbers[0::2], numbers[1::2]
    position = 0
    for index, gap in enumerate(gaps):
        position += gap
        flat[position : position + lengths[index]] = 1
        position += lengths[index]
    return flat.reshape(SIDE, SIDE).T


def lean_decode(text: str) -> NDArray[np.uint8]:
    """The same loop at its leanest: Python's own numbers, one byte per pixel."""
    flat = np.zeros(SIDE * SIDE, np.uint8)
    numbers = [int(word) for word in text.split()]
    position = 0
    for gap, length in zip(numbers[0::2], numbers[1::2], strict=True):
        position += gap
        flat[position : position + length] = 1
        position += length
    return flat.reshape(SIDE, SIDE).T


def usual_encode(mask: NDArray[np.bool_]) -> str:
    """The usual encoder: a padded copy of the transpose, compared with itself one pixel on."""
    pixels = np.concatenate([[0], mask.T.flatten(), [0]])
    edges = np.where(pixels[1:] != pixels[:-1])[0]
    return " ".join(str(number) for number in np.diff(edges, prepend=0))


def real_texts(count: int) -> list[str]:
    """Return texts spread over the stage-2 table, or none where it is absent."""
    if not TABLE.is_file():
        return []
    texts = [text for own in read_annotations(TABLE).masks.values() for text in own]
    return spread(texts, count)


def made_up_texts(count: int) -> list[str]:
    """Return ellipses whose areas and counts of runs are spread as those of the real rows."""
    rng = np.random.default_rng(0)
    y, x = np.ogrid[:SIDE, :SIDE]
    widths = rng.normal(190, 75, count).clip(40, 400)
    areas = rng.lognormal(np.log(6_664), 0.9, count).clip(55, 90_000)
    texts = []
    for width, height in zip(widths, areas / widths * 4 / np.pi, strict=True):
        top, left = rng.uniform(300, 724, 2)
        ellipse = ((x - left) / (width / 2)) ** 2 + ((y - top) / (height / 2)) ** 2 <= 1
        texts.append(mask2rle(ellipse))
    return texts


def spread(values: Sequence[str], count: int) -> list[str]:
    return list(values[:: max(1, len(values) // count)][:count])


def line(row: dict[str, Any]) -> str:
    verdict = "met" if row["met"] else "MISSED"
    return f"{row['ratio']:6.1f} times (goal {row['goal']:.0f}, {verdict})  {row['name']}"


if __name__ == "__main__":
    print("\n".join(line(row) for row in measure()))
    leanest = ratio(lean_decode, decode_ours, sample(200), 3)
    print(f"{leanest:6.1f} times (no goal)      run lengths to mask, against the leanest loop")
