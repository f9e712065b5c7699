"""Put a trained model into the package in 16 bits, if it then calls all radiographs alike.

    python -m recipes.ship WORK/fast.h5 fast --check WORK/aside-384 --radiographs FOLDER...

The scores of the radiographs are kept beside the tests, which hold later versions to them.
docs/explanation/weights.md says what is trained for it. What the card of such a model says beside
what every training records (the terms of the data, where the model is known to fail) stands here.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from pleura.data.arrays import open_prepared
from pleura.data.files import expand
from pleura.engines.torch_engine import TorchEngine
from pleura.inference.predictor import load
from pleura.models import shipped
from pleura.models.bundle import Bundle, read_bundle, write_bundle
from pleura.models.card import write_card
from pleura.models.weights import rounded
from pleura.stages.evaluate import outcome_of, said_of
from pleura.storage.atomic import atomic_path, write_text

MOST_BYTES = 40_000_000
"""Of all that ship together."""

ANSWERS = Path(__file__).parents[1] / "tests/models/shipped_answers"
NAMES = ("fast", "best")

LICENCE = (
    "masks of the SIIM-ACR Pneumothorax Segmentation challenge (2019) on radiographs of NIH "
    "ChestX-ray14: use this model for research and education."
)

LIMITS = (
    "Small pneumothoraces fare far worse, as the table above shows. Air at the base, beside the "
    "mediastinum or in a pocket is rare in what it learned from.",
    "Skin folds, tubes and lines, the edge of an arm, and gas in the stomach or bowel may be taken "
    "for a pleural line.",
    "All radiographs are of one hospital. Of other machines and other countries nothing is known.",
)


def main() -> None:
    """Write the file, or say why not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--check", type=Path, required=True, help="a prepared folder")
    parser.add_argument(
        "--radiographs", nargs="+", required=True, help="radiographs to keep scores of"
    )
    arguments = parser.parse_args()
    bundle = read_bundle(arguments.model)
    small = replace(bundle, weights=rounded(bundle.weights))
    if all(np.array_equal(bundle.weights[name], own) for name, own in small.weights.items()):
        print("the weights are in 16 bits already")
    else:
        print(_agreement(bundle, small, arguments.check))
    training = {**bundle.training, "licence": LICENCE, "limits": list(LIMITS)}
    small = replace(small, training=training)
    small = replace(small, card=write_card(small))
    path = shipped.FOLDER / f"{arguments.name}{shipped.SUFFIX}"
    with atomic_path(path) as partial:
        write_bundle(small, partial, half=True)
        others = [shipped.FOLDER / f"{name}{shipped.SUFFIX}" for name in NAMES]
        size = partial.stat().st_size
        beside = sum(own.stat().st_size for own in others if own.exists() and own != path)
        if size + beside > MOST_BYTES:
            raise SystemExit(f"{path}: {size + beside:,} bytes in all are more than {MOST_BYTES:,}")
    print(f"{path}: {size:,} bytes, digest {small.digest}")
    write_text(
        ANSWERS / f"{arguments.name}.json",
        _answers(f"{shipped.PREFIX}{arguments.name}", arguments.radiographs),
    )


def _answers(name: str, radiographs: list[str]) -> str:
    """Return the score of each radiograph by its id, as JSON."""
    predictor = load(name, precision="fp32")
    found = [predictor.predict(path) for path in expand(radiographs).files]
    scores = {one.image_id: round(float(one.score), 4) for one in found}
    return json.dumps(scores, indent=1) + "\n"


def _agreement(bundle: Bundle, small: Bundle, folder: Path) -> str:
    """Return how far the rounded model is from the other.

    Raises:
        SystemExit: They call a radiograph differently.
    """
    prepared = open_prepared(folder)
    rows = np.arange(len(prepared.train))
    answers = [
        [
            outcome_of(prepared.train[row], said, one)
            for row, said in zip(
                rows, said_of(TorchEngine(one, precision="fp32"), prepared, rows), strict=True
            )
        ]
        for one in (bundle, small)
    ]
    pairs = list(zip(*answers, strict=True))
    changed = sum(before.called != after.called for before, after in pairs)
    largest = max(abs(before.score - after.score) for before, after in pairs)
    dice = max(abs(before.dice - after.dice) for before, after in pairs)
    if changed:
        raise SystemExit(f"{changed} of {len(rows)} radiographs are called otherwise in 16 bits")
    return (
        f"{len(rows)} radiographs called alike; largest difference of a score {largest:.1e}, of a "
        f"Dice {dice:.1e}"
    )


if __name__ == "__main__":
    main()
