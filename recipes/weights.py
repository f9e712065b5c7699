"""How the weights that come with pleura were made.

    python -m recipes.weights radiographs SIIM --nih NIH NIH-MORE --table stage_2_train.csv --out
    WORK python -m recipes.weights folds WORK --begin EARLIER.h5
    python -m recipes.weights teach WORK
    python -m recipes.weights students WORK
    python -m recipes.weights assemble WORK --begin EARLIER.h5
    python -m recipes.weights look WORK fast

``radiographs`` sets the fixed fifth aside and prepares the others. ``folds`` trains two networks,
each on the radiographs of two thirds of the patients. ``teach`` lets them speak of every radiograph
that they have not seen. ``students`` trains two networks on all radiographs, from the mean of the
two and from one of them, with what they said mixed in. ``assemble`` chooses calibration and
thresholds on what the two networks of the folds said of radiographs that neither they nor the
weights they began with had seen, and writes ``fast.h5`` (one student) and ``best.h5`` (both, and
the first network of the folds). ``look`` judges one of them on the fifth, and writes that down in
docs/explanation/looks.csv: each look at it is one too many for the next.
"""

import argparse
import csv
import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pleura.data.arrays import Prepared, open_prepared
from pleura.data.prepare import PREPARATION
from pleura.data.records import image_keys
from pleura.engines.engine import Probabilities
from pleura.engines.openvino_engine import OpenVINOEngine
from pleura.evaluation.decision import Decision, deal, fit_decision
from pleura.evaluation.mix import SIIM
from pleura.evaluation.predictions import MASK_THRESHOLDS, Predictions
from pleura.evaluation.scores import summarise
from pleura.formats.image_table import read_image_table
from pleura.models import zoo
from pleura.models.bundle import (
    Bundle,
    OperatingPoint,
    Preprocessing,
    current_versions,
    read_bundle,
    write_bundle,
)
from pleura.models.card import write_card
from pleura.models.weights import Arrays
from pleura.stages.ensemble import combine
from pleura.stages.evaluate import count_predictions, evaluate_model, outcome_of
from pleura.storage.atomic import write_text
from pleura.training.average import mean_of
from recipes.weights_data import Radiographs, patient_of, prepare_radiographs, read_radiographs
from recipes.weights_training import NETWORK, Plan, Said, build, predict, train

SIZE = 384
FOLDS = 3
TEACHERS = (0, 1)
"""The folds that are held out; the radiographs of the third train both networks."""

FOLD_SIZES = (256,) * 8 + (384,) * 5
STUDENTS = {
    "a": ("mean", Plan((384,) * 7, 4e-4)),
    "b": ("fold-1", Plan((320,) * 3 + (384,) * 5, 5e-4, seed=7)),
}
"""What each student begins with, and how it is trained."""

EXTRA = (
    "radiographs of NIH ChestX-ray14 (Wang et al. 2017, free to use with attribution): 70 with a "
    "challenge's mask, the others with what a report or several radiologists said of all of it"
)
HELD_BACK = (
    "A fifth of the patients trained and chose nothing, see the figures below. Thresholds and "
    "calibration were chosen on what two networks, trained alike on two thirds of the patients, "
    "said of radiographs that neither they nor the weights they began with had seen."
)

LOOKS = Path(__file__).parents[1] / "docs/explanation/looks.csv"


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    radiographs = commands.add_parser("radiographs")
    radiographs.add_argument("siim", type=Path)
    radiographs.add_argument("--nih", type=Path, nargs="+", required=True)
    radiographs.add_argument("--table", type=Path, required=True)
    radiographs.add_argument(
        "--seen", type=Path, help="a list of patients (JSON) that EARLIER.h5 saw"
    )
    radiographs.add_argument("--size", type=int, default=SIZE)
    radiographs.add_argument("--whole", action="store_true", help="set nobody aside")
    radiographs.add_argument("--out", type=Path, required=True)
    for name in ("folds", "teach", "students", "assemble", "look"):
        command = commands.add_parser(name)
        command.add_argument("work", type=Path)
        if name in ("folds", "assemble"):
            command.add_argument("--begin", type=Path, required=True)
        if name == "look":
            command.add_argument("name")
            command.add_argument("--size", type=int, default=SIZE)
            command.add_argument("--negatives", type=Path, help="a table of kinds of negatives")
    asked = parser.parse_args()
    if asked.command == "radiographs":
        seen = frozenset(json.loads(asked.seen.read_text())) if asked.seen else frozenset()
        prepare_radiographs(
            asked.siim, asked.nih, asked.table, seen, asked.out, asked.size, whole=asked.whole
        )
    elif asked.command == "folds":
        train_folds(asked.work, asked.begin)
    elif asked.command == "teach":
        teach(asked.work)
    elif asked.command == "students":
        train_students(asked.work)
    elif asked.command == "assemble":
        assemble(asked.work, asked.begin)
    else:
        kinds = read_image_table(asked.negatives, "kind") if asked.negatives else {}
        look(asked.work, asked.name, asked.size, kinds)


def train_folds(work: Path, begin: Path) -> None:
    """Train the two networks of the folds."""
    radiographs, weights = read_radiographs(work, SIZE, FOLDS), read_bundle(begin).weights
    for fold in TEACHERS:
        plan = Plan(FOLD_SIZES, 6e-4, held=fold)
        train(radiographs, None, plan, dict(weights), work / f"fold-{fold}")


def teach(work: Path) -> None:
    """Write what the networks say: of a fold the one that never saw it, else the mean of both."""
    radiographs = read_radiographs(work, SIZE, FOLDS)
    rows = np.flatnonzero(
        (radiographs.fold >= 0) | np.isin(radiographs.known, ["positive", "doubtful"])
    )
    maps, scores = np.zeros((len(rows), SIZE, SIZE), np.float32), np.zeros(len(rows))
    held = np.isin(radiographs.fold[rows], TEACHERS)
    for fold in TEACHERS:
        share = np.where(held, radiographs.fold[rows] == fold, 0.5)
        own, score = predict(build(_weights(work / f"fold-{fold}")), radiographs, rows)
        maps += share[:, None, None].astype(np.float32) * own
        scores += share * score
    np.savez(work / "said.npz", rows=rows, maps=np.rint(255 * maps).astype(np.uint8), scores=scores)


def train_students(work: Path) -> None:
    """Train the students on all radiographs."""
    radiographs, said = read_radiographs(work, SIZE, FOLDS), read_said(work)
    for name, (begin, plan) in STUDENTS.items():
        if begin == "mean":
            weights = mean_of([_weights(work / f"fold-{fold}") for fold in TEACHERS])
        else:
            weights = _weights(work / begin)
        train(radiographs, said, plan, weights, work / f"student-{name}")


def assemble(work: Path, begin: Path) -> None:
    """Write the bundles, with what is chosen on the folds."""
    radiographs, prepared = (
        read_radiographs(work, SIZE, FOLDS),
        open_prepared(work / f"develop-{SIZE}"),
    )
    earlier = read_bundle(begin)
    decision, evaluation = _decided(work, radiographs, prepared, earlier)
    members = {
        name: decision.applied(_bundle(work / name, radiographs, prepared, earlier, evaluation))
        for name in ("student-a", "student-b", "fold-0")
    }
    fast = combine([members["student-a"]], tta=True)
    best = combine(list(members.values()), tta=True)
    for name, bundle in (("fast", fast), ("best", best)):
        told = replace(bundle, evaluation=evaluation)
        write_bundle(replace(told, card=write_card(told)), work / f"{name}.h5")


def look(work: Path, name: str, size: int, kinds: Mapping[str, str]) -> None:
    """Judge a bundle on the radiographs that were set aside; write down the figures, and the look.

    The figures become those of the bundle's card.
    """
    bundle = read_bundle(work / f"{name}.h5")
    path = work / f"aside-{bundle.digest[:16]}.json"
    if not path.exists():
        prepared = open_prepared(work / f"aside-{size}")
        write_text(path, json.dumps(_looked(prepared, name, bundle, kinds), indent=1))
    told = replace(bundle, evaluation=json.loads(path.read_text()))
    write_bundle(replace(told, card=write_card(told)), work / f"{name}.h5")


def _looked(
    prepared: Prepared, name: str, bundle: Bundle, kinds: Mapping[str, str]
) -> dict[str, Any]:
    """Return the figures on what was set aside, for the first and only time of this model."""
    engine = OpenVINOEngine(bundle, precision="fp32")
    found = evaluate_model(bundle, prepared, engine=engine, mixes=[SIIM], negatives=kinds)
    row = [datetime.date.today().isoformat(), name, bundle.digest[:16]]
    for figure in ("auroc", "positive_dice", "mean_dice", "sensitivity", "specificity"):
        row.append(str(getattr(found.evaluation, figure)))
    with LOOKS.open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(row)
    print(", ".join(row))
    return {
        **found.evaluation.as_json(),
        "measured_on": f"{len(found.rows)} radiographs of the fifth of the patients that was set "
        "aside from the beginning, and chose and trained nothing",
        "notes": [],
    }


def balanced(counted: Predictions) -> Decision:
    """Return what pleura chooses on predictions, but with a default point that is made to find.

    Mean Dice hardly sees whether a pneumothorax is found where most radiographs have none or where
    masks are hard to draw: a threshold that calls next to nothing scores as well. The default here
        is the
    middle of the score thresholds whose sensitivity and specificity together come within 0.02 of
    the best (Youden 1950), and the highest mask threshold whose Dice over the positives comes
    within 0.005 of the best.
    """
    decision = fit_decision(counted)
    scores = counted.calibrated(decision.calibration).scores
    limits = np.linspace(0.02, 0.98, 97)
    called = scores[None] >= limits[:, None]
    youden = called[:, counted.positive].mean(1) - called[:, ~counted.positive].mean(1)
    score = float(np.mean(limits[youden >= youden.max() - 0.02]))
    dice = counted.dice[counted.positive].mean(0)
    mask = MASK_THRESHOLDS[int(np.flatnonzero(dice >= dice.max() - 0.005)[-1])]
    default = OperatingPoint(score, mask, 0.0002)
    return replace(decision, choice=replace(decision.choice, default=default))


def _decided(
    work: Path, radiographs: Radiographs, prepared: Prepared, earlier: Bundle
) -> tuple[Decision, dict[str, Any]]:
    """Return what is chosen on the folds' radiographs of new patients; their figures."""
    said, keys = read_said(work), image_keys(prepared.train)
    known = {
        patient_of(r.image_id)
        for r, key in zip(prepared.train, keys, strict=True)
        if key in set(earlier.trained_on.tolist())
    }
    rows = [
        place
        for place, row in enumerate(said.rows)
        if radiographs.fold[row] in TEACHERS and radiographs.patients[row] not in known
    ]

    def told() -> Iterator[tuple[int, Probabilities]]:
        for place in rows:
            maps = said.maps[place][None].astype(np.float32) / 255
            yield int(said.rows[place]), Probabilities(maps, said.scores[place : place + 1])

    counted = count_predictions(prepared, told())
    decision = balanced(counted)
    patients = [str(radiographs.patients[said.rows[place]]) for place in rows]
    parts = deal(patients, counted.positive)
    base = Bundle(
        network=zoo.complete(NETWORK), weights={}, preprocessing=Preprocessing(SIZE, PREPARATION)
    )
    judges = [
        one.applied(base)
        for one in [balanced(counted.among(parts != part)) for part in range(parts.max() + 1)]
    ]
    outcomes = [
        outcome_of(prepared.train[row], one, judges[part], chosen_elsewhere=True)
        for (row, one), part in zip(told(), parts, strict=True)
    ]
    evaluation = summarise(outcomes, decision.applied(base).points, mixes=[SIIM])
    told = f"{len(rows)} radiographs of two folds, each by the network that never saw its patient"
    print(f"folds: AUROC {evaluation.auroc}, positive Dice {evaluation.positive_dice}")
    return decision, {**evaluation.as_json(), "measured_on": told, "notes": []}


def _bundle(
    folder: Path,
    radiographs: Radiographs,
    prepared: Prepared,
    earlier: Bundle,
    evaluation: dict[str, Any],
) -> Bundle:
    """Return a bundle of weights, with what its card must say of what trained it."""
    fold = int(folder.name[-1]) if folder.name.startswith("fold") else None
    plan = Plan(FOLD_SIZES, 6e-4) if fold is not None else STUDENTS[folder.name[-1]][1]
    return trained_bundle(
        replace(plan, held=fold),
        radiographs,
        prepared,
        _weights(folder),
        earlier,
        evaluation,
        HELD_BACK,
    )


def trained_bundle(
    plan: Plan,
    radiographs: Radiographs,
    prepared: Prepared,
    weights: Arrays,
    earlier: Bundle,
    evaluation: dict[str, Any],
    held_back: str,
) -> Bundle:
    """Return a bundle of weights, with what its card must say of what trained it.

    Args:
        plan: How it was trained.
        radiographs: The radiographs that did.
        prepared: The challenge's among them.
        weights: The weights.
        earlier: What it began with.
        evaluation: Its figures.
        held_back: What the card says of the radiographs that were held back.
    """
    fold = plan.held
    own = [r for r, part in zip(prepared.train, radiographs.fold, strict=False) if part != fold]
    training = {
        "fingerprint": prepared.fingerprint,
        "images": len(own),
        "positives": sum(bool(record.positive) for record in own),
        "patients": len({patient_of(record.image_id) for record in own}),
        "images_without_patient": 0,
        "validation_images": 0 if fold is None else int((radiographs.fold == fold).sum()),
        "whole": fold is None,
        "extra_images": int((radiographs.fold < 0).sum()),
        "extra_about": EXTRA,
        "held_back_about": held_back,
        "train.folds": FOLDS,
        "train.fold": fold or 0,
        "train.keep": "last",
        "train.loss": "bce_dice",
        "train.batch": 16,
        "train.learning_rate": plan.rate,
        "train.seed": plan.seed,
        "train.init_from": earlier.digest,
        "precision": "bf16",
        "device": "cpu",
    }
    return Bundle(
        network=zoo.complete(plan.network),
        weights=weights,
        preprocessing=Preprocessing(prepared.size, PREPARATION),
        training=training,
        history={"epoch": [float(number + 1) for number in range(len(plan.sizes))]},
        trained_on=np.unique(np.concatenate([image_keys(own), earlier.trained_on])),
        versions=current_versions(),
        evaluation=evaluation,
    )


def _weights(folder: Path) -> Arrays:
    with np.load(folder / "weights.npz", allow_pickle=False) as stored:
        return dict(stored)


def read_said(work: Path) -> Said:
    """Return what the teachers said."""
    with np.load(work / "said.npz", allow_pickle=False) as stored:
        return Said(stored["rows"], stored["maps"], stored["scores"])


if __name__ == "__main__":
    main()
