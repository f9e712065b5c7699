"""How fast radiographs are simulated, and whether one can tell that a radiograph was edited.

Run it with ``python -m recipes.simulate RADIOGRAPHS [--labels CSV]``: real radiographs without a
pneumothorax, or with a table that says which show one. Without RADIOGRAPHS it takes phantoms.

A network that trains on simulated radiographs must not win by seeing that a radiograph was edited.
So radiographs are drawn with and without a pneumothorax, the lung drawn in (or that would have
been) is blanked alike in both, and classifiers learn from the rest which is which: a linear one
over statistics of small cells, and trees. They are also asked with the air alone blanked, where the
lung that is left, denser and more crowded, may tell a little. Which radiographs got which class is
chance, and some hundred radiographs are
few: so the same is asked of the radiographs before anything was drawn. What the two differ by is
    the
edit's. Folds keep the radiographs of one patient together. An AUROC near 0.5 says that nothing is
given away. To show that the classifiers could see an edit if it were there, they are also asked
about radiographs of which one half was filtered as a whole, a little.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pleura.data.prepare import prepare_pixels
from pleura.errors import DataError
from pleura.processes.workers import ordered_map
from pleura.synthesis.lungs import find_lungs
from pleura.synthesis.phantom import draw_phantom
from pleura.synthesis.simulate import Simulated, find_radiographs, simulate
from pleura.synthesis.simulate.cohort import SourceRadiograph, draw

CELLS = 8
NEAR = 24 / 512
"""What is blanked around the air, as a share of the radiograph's width."""

FILTER_PX = 0.8
"""How much the radiographs are blurred that the classifiers must tell apart, pixels."""


class Seen(NamedTuple):
    """What is kept of one radiograph.

    Attributes:
        beside: What is seen of it without the air and what is near.
        outside: Without the whole lung that was drawn in.
        original: The same as `outside` of the radiograph before anything was drawn.
        filtered: The same as `outside`, if the radiograph is blurred a little.
        positive: Whether it shows a pneumothorax.
        group: Who is on it.
        seconds: Time of a core that it took.
    """

    beside: NDArray[np.float32]
    outside: NDArray[np.float32]
    original: NDArray[np.float32]
    filtered: NDArray[np.float32]
    positive: bool
    group: str
    seconds: float


def seen_from_afar(pixels: NDArray[np.uint8], region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return statistics of a radiograph's cells without what lies near `region`.

    Of each of 8 x 8 cells: the mean grey, and the logarithm of the mean size of its structure at
    three scales; then the same of all that is seen, and the share of grey levels that occur. A cell
    that is partly blanked takes the value of all that is seen.
    """
    size = pixels.shape[0]
    wide = 2 * round(NEAR * size) + 1
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (wide, wide))
    far = (cv2.dilate(region.astype(np.uint8), ball) == 0).astype(np.float32)
    grey = pixels.astype(np.float32)
    edge = size // CELLS
    parts = []
    for values in (grey / 64, *_structure(grey)):
        seen = float((values * far).sum() / far.sum())
        cells = _cells(values * far, edge)
        cells = np.where(_cells(far, edge) > 0.999, cells, seen)
        both = np.append(cells.ravel(), seen)
        parts.append(np.log(both + 1e-3) if parts else both)
    used = np.bincount(pixels[far > 0], minlength=256) > 0
    return np.concatenate([*parts, [used.mean()]]).astype(np.float32)


def _structure(grey: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the size of structure at three scales."""
    blurs = [grey, *(cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (0.7, 1.4, 2.8))]
    return [np.abs(fine - rough) for fine, rough in itertools.pairwise(blurs)]


def _cells(values: NDArray[np.float32], edge: int) -> NDArray[np.float32]:
    whole = values[: edge * CELLS, : edge * CELLS]
    return np.asarray(whole.reshape(CELLS, edge, CELLS, edge).mean(axis=(1, 3)))


def aurocs(
    features: NDArray[np.float32], labels: NDArray[np.bool_], groups: Sequence[str]
) -> dict[str, float]:
    """Return the AUROC of each classifier on radiographs that it did not learn from."""
    codes = np.unique(groups, return_inverse=True)[1]
    folds = GroupKFold(5)
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.02, max_iter=2000))
    trees = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    found = {}
    for name, model in (("linear", linear), ("trees", trees)):
        score = cross_val_predict(
            model, features, labels, groups=codes, cv=folds, method="predict_proba"
        )[:, 1]
        found[name] = float(roc_auc_score(labels, score))
    return found


def standard_error(labels: NDArray[np.bool_]) -> float:
    """Return the standard error of an AUROC of 0.5.

    SourceRadiograph: Hanley and McNeil 1982, with Q1 = Q2 = 1/3.
    """
    positive, well = int(labels.sum()), int((~labels).sum())
    return float(np.sqrt((positive + well + 1) / (12 * positive * well)))


def measure(
    radiographs: Sequence[SourceRadiograph], count: int, size: int, workers: int
) -> list[dict[str, Any]]:
    """Return one row per figure: ``name``, ``value``, and its ``error`` where it has one."""
    rows = list(ordered_map(partial(_drawn, radiographs, size), range(count), workers))
    return judged(rows)


def judged(rows: Sequence[Seen]) -> list[dict[str, Any]]:
    """Return the figures of radiographs drawn, see :func:`measure`."""
    labels = np.array([row.positive for row in rows])
    groups = [row.group for row in rows]
    error = standard_error(labels)
    out = [
        {
            "name": "seconds of a core per radiograph",
            "value": float(np.mean([row.seconds for row in rows])),
        }
    ]
    for name, features in (
        ("without the lung", [row.outside for row in rows]),
        ("of the originals without the lung", [row.original for row in rows]),
        ("without the air", [row.beside for row in rows]),
        ("if filtered", [row.filtered if row.positive else row.outside for row in rows]),
    ):
        for model, value in aurocs(np.stack(features), labels, groups).items():
            out.append({"name": f"AUROC {name}, {model}", "value": value, "error": error})
    return out


def row_of(original: NDArray[np.uint8], made: Simulated, group: str, seconds: float) -> Seen:
    """Return what is kept of one: as it is, as if filtered, its label, its group, its time."""
    filtered = cv2.GaussianBlur(made.pixels, (0, 0), FILTER_PX)
    return Seen(
        beside=seen_from_afar(made.pixels, made.region),
        outside=seen_from_afar(made.pixels, made.lung),
        original=seen_from_afar(original, made.lung),
        filtered=seen_from_afar(np.asarray(filtered, dtype=np.uint8), made.lung),
        positive=made.parameters.kind == "pneumothorax",
        group=group,
        seconds=seconds,
    )


def _drawn(radiographs: Sequence[SourceRadiograph], size: int, number: int) -> Seen:
    start = time.process_time()
    source, radiograph, made = draw(radiographs, 7, number, size=size, prevalence=0.5)
    return row_of(
        prepare_pixels(radiograph.pixels, size), made, source.patient, time.process_time() - start
    )


def phantom_row(size: int, number: int) -> Seen:
    """Return the same of a phantom; its fields are known, and found as those of others are."""
    for attempt in range(20):
        rng = np.random.default_rng([number, attempt])
        phantom = draw_phantom(rng, size=size, pneumothorax=False)
        start = time.process_time()
        try:
            made = simulate(phantom.pixels, find_lungs(phantom.pixels), rng)
        except DataError:
            continue
        return row_of(phantom.pixels, made, str(number), time.process_time() - start)
    raise DataError(f"none of 20 phantoms of number {number} could be drawn on")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("radiographs", type=Path, nargs="?")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()
    count, size, workers = arguments.count, arguments.size, arguments.workers
    if arguments.radiographs is None:
        of_phantom: Callable[[int], Seen] = partial(phantom_row, size)
        rows = judged(list(ordered_map(of_phantom, range(count), workers)))
    else:
        sources = find_radiographs(
            arguments.radiographs, arguments.labels, size=size, workers=workers
        )
        rows = measure(sources.radiographs, count, size, workers)
    for row in rows:
        error = f" +- {row['error']:.3f}" if "error" in row else ""
        print(f"{row['name']}: {row['value']:.3f}{error}")


if __name__ == "__main__":
    main()
