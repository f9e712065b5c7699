"""Put a trained model into the package, its weights in 16 bits, if it then calls all films alike.

    python -m benchmarks.ship RUN/whole/model.h5 siim --check PREPARED --films FOLDER...

The scores of the films are kept beside the tests, which hold later versions to them.
docs/weights.md says what is trained for it. What the card of such a model says beside what every
training records (the terms of the data, where the model is known to fail) stands here.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pleura.data.arrays import open_prepared
from pleura.data.files import expand
from pleura.formats.atomic import atomic_path, write_text
from pleura.inference.predictor import load
from pleura.inference.torch_engine import TorchEngine
from pleura.models import shipped
from pleura.models.bundle import Bundle, read_bundle, write_bundle
from pleura.models.card import write_card
from pleura.models.weights import rounded
from pleura.stages.evaluate import judged, outcome_of

MOST_BYTES = 20_000_000
ANSWERS = Path(__file__).parents[1] / "tests/models/shipped_answers"

NOTES: dict[str, dict[str, Any]] = {
    "siim": {
        "licence": "masks of the SIIM-ACR Pneumothorax Segmentation challenge (2019) on films of "
        "NIH ChestX-ray14: use this model for research and education.",
        "extra_about": "films of NIH ChestX-ray14 (Wang et al. 2017, free to use with attribution) "
        "whose reports mention no pneumothorax, and simulated pneumothoraces drawn on them; their "
        "patients are not on the films that it was judged by",
    },
}

LIMITS = (
    "Small pneumothoraces and AP films fare worse, as the table above shows. Air at the base, "
    "beside the mediastinum or in a pocket is rare in what it learned from; of the films looked at "
    "where the mask was wrong, several are of that kind.",
    "False alarms that were looked at are mostly thin caps over the apex, often on both sides; gas "
    "in the stomach or bowel and the edge of an arm were marked too. Skin folds, tubes and lines "
    "may be taken for a pleural line.",
)


def main() -> None:
    """Write the file, or say why not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("name", choices=sorted(NOTES))
    parser.add_argument("--check", type=Path, required=True, help="a prepared folder")
    parser.add_argument("--films", nargs="+", required=True, help="radiographs to keep scores of")
    arguments = parser.parse_args()
    bundle = read_bundle(arguments.model)
    small = replace(bundle, weights=rounded(bundle.weights))
    print(_agreement(bundle, small, arguments.check))
    training = {**bundle.training, **NOTES[arguments.name], "limits": list(LIMITS)}
    small = replace(small, training=training)
    small = replace(small, card=write_card(small))
    path = shipped.FOLDER / f"{arguments.name}{shipped.SUFFIX}"
    with atomic_path(path) as partial:
        write_bundle(small, partial, half=True)
        size = partial.stat().st_size
        if size > MOST_BYTES:
            raise SystemExit(f"{path}: {size:,} bytes are more than {MOST_BYTES:,}; not written")
    print(f"{path}: {size:,} bytes, digest {small.digest}")
    write_text(ANSWERS / f"{arguments.name}.json", _answers(arguments.name, arguments.films))


def _answers(name: str, films: list[str]) -> str:
    """Return the score of each film by its id, as JSON."""
    predictor = load(name)
    found = [predictor.predict(path) for path in expand(films)]
    scores = {one.image_id: round(float(one.score), 4) for one in found}
    return json.dumps(scores, indent=1) + "\n"


def _agreement(bundle: Bundle, small: Bundle, folder: Path) -> str:
    """Return how far the rounded model is from the other.

    Raises:
        SystemExit: They call a film differently.
    """
    prepared = open_prepared(folder)
    rows = np.arange(len(prepared.train))
    answers = [
        [
            outcome_of(prepared.train[row], said, one)
            for row, said in zip(rows, judged(TorchEngine(one), prepared, rows), strict=True)
        ]
        for one in (bundle, small)
    ]
    pairs = list(zip(*answers, strict=True))
    changed = sum(before.called != after.called for before, after in pairs)
    largest = max(abs(before.score - after.score) for before, after in pairs)
    dice = max(abs(before.dice - after.dice) for before, after in pairs)
    if changed:
        raise SystemExit(f"{changed} of {len(rows)} films are called otherwise in 16 bits")
    return (
        f"{len(rows)} films called alike; largest difference of a score {largest:.1e}, of a film's "
        f"Dice {dice:.1e}"
    )


if __name__ == "__main__":
    main()
