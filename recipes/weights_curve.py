r"""What more masks bring: the same training with few and with many of the challenge's radiographs.

    python -m recipes.weights_curve WORK --begin earlier.h5 --seen seen.json --share 0.5 --seed 71

WORK is what ``recipes.weights radiographs`` made, with the same list of seen patients. Each
training begins with EARLIER, sees the radiographs that EARLIER has seen and a share of the
patients of two folds, with NIH's beside them, and takes the same number of steps. It is judged on
the third fold's patients and on those set aside, none of whom EARLIER has seen. A smaller share is
part of each larger one. It writes one row, as JSON, to stdout.
"""

import argparse
import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.data.arrays import open_prepared
from pleura.engines.engine import Probabilities
from pleura.evaluation.intervals import auroc_samples, draw_patients
from pleura.evaluation.predictions import MASK_THRESHOLDS, Predictions, count_image, joined
from pleura.models.weights import Arrays
from recipes.weights import FOLDS, SIZE
from recipes.weights_data import Radiographs, patient_of, read_radiographs
from recipes.weights_further import first_network
from recipes.weights_training import BATCH, SMALL, Plan, build, count_epoch, predict, train

SIDE = 256
STEPS = 320
RATE = 6e-4
HELD = 0
"""The fold that judges."""


def main() -> None:
    """Train once, and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--begin", type=Path, required=True)
    parser.add_argument("--seen", type=Path, required=True, help="patients (JSON) that it saw")
    parser.add_argument("--share", type=float, required=True)
    parser.add_argument("--seed", type=int, default=71)
    asked = parser.parse_args()
    seen = np.array(json.loads(asked.seen.read_text()))
    radiographs = read_radiographs(asked.work, SIZE, FOLDS)
    judges = judging(asked.work, radiographs, seen)
    learns = learning(radiographs, seen, asked.share, judges)
    steps = count_epoch(learns, Plan((SIDE,), RATE, asked.seed)) // BATCH
    plan = Plan((SIDE,) * max(1, round(STEPS / steps)), RATE, asked.seed)
    out = asked.work / f"curve-{asked.share}-{asked.seed}"
    weights = train(learns, None, plan, first_network(asked.begin), out)
    print(json.dumps({**_told(learns), "steps": steps * len(plan.sizes), **judge(weights, judges)}))


def judging(work: Path, radiographs: Radiographs, seen: NDArray[np.int64]) -> Radiographs:
    """Return the radiographs that judge: a fold's new patients, and those set aside."""
    own = among(radiographs, (radiographs.fold == HELD) & ~np.isin(radiographs.patients, seen))
    aside = open_prepared(work / f"aside-{SIZE}")
    area = [(record.area_px or 0) / (record.rows * record.columns) for record in aside.train]
    return Radiographs(
        x=np.concatenate([own.x, aside.x_train]),
        y=np.concatenate([own.y, 255 * np.asarray(aside.y_train, np.uint8)]),
        known=np.concatenate([own.known, ["mask" if part else "empty" for part in area]]),
        challenge=np.ones(len(own.x) + len(area), bool),
        patients=np.concatenate([own.patients, [patient_of(r.image_id) for r in aside.train]]),
        fold=np.full(len(own.x) + len(area), HELD),
        area=np.concatenate([own.area, area]),
    )


def learning(
    radiographs: Radiographs, seen: NDArray[np.int64], share: float, judges: Radiographs
) -> Radiographs:
    """Return the radiographs that train, none of a patient who judges."""
    free = ~np.isin(radiographs.patients, judges.patients)
    before = np.isin(radiographs.patients, seen)
    drawn = np.array([_drawn(patient) < share for patient in radiographs.patients])
    own = (radiographs.fold >= 0) & (before | drawn)
    return among(radiographs, free & (own | ~radiographs.challenge))


def among(radiographs: Radiographs, rows: NDArray[np.bool_]) -> Radiographs:
    """Return some of the radiographs, by ``(n,)`` bool."""
    return replace(
        radiographs,
        **{one.name: getattr(radiographs, one.name)[rows] for one in fields(Radiographs)},
    )


def judge(weights: Arrays, judges: Radiographs) -> dict[str, str | float]:
    """Return what a network reaches; patients count the same.

    Its masks are judged at the mask threshold that is best for it.
    """
    maps, scores = predict(build(weights), judges, np.arange(len(judges.x)))
    counted = joined(
        count_image(Probabilities(maps[row : row + 1], scores[row : row + 1]), y > 127)
        for row, y in enumerate(judges.y)
    )
    small = (judges.area < SMALL) | ~counted.positive
    dice, threshold = _masks(counted, judges)
    return {
        "auroc": _auroc(counted, judges, np.ones_like(small)),
        "below 1 %": _auroc(counted, judges, small),
        "masks alone": dice,
        "mask threshold": threshold,
    }


def _told(learns: Radiographs) -> dict[str, int]:
    """Return how many of the challenge's radiographs train, and with how many masks."""
    own = learns.fold >= 0
    return {"radiographs": int(own.sum()), "masks": int((learns.known[own] == "mask").sum())}


def _auroc(counted: Predictions, judges: Radiographs, rows: NDArray[np.bool_]) -> str:
    draws = draw_patients([str(one) for one in judges.patients[rows]], weigh="patients")
    own = counted.among(rows)
    return str(draws.score(auroc_samples(own.positive, own.scores, draws)))


def _masks(counted: Predictions, judges: Radiographs) -> tuple[str, float]:
    ill = counted.positive
    draws = draw_patients([str(one) for one in judges.patients[ill]], weigh="patients")
    each = [draws.mean(dice) for dice in counted.dice[ill].T]
    best = int(np.argmax([samples[0] for samples in each]))
    return str(draws.score(each[best])), MASK_THRESHOLDS[best]


def _drawn(patient: int) -> float:
    """Return a number in 0..1 that is the patient's own."""
    return int.from_bytes(hashlib.sha256(b"curve %d" % patient).digest()[:4]) / 2**32


if __name__ == "__main__":
    main()
