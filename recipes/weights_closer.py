r"""How the shipped ``best`` came to look closer at the upper corners of a radiograph.

    python -m recipes.weights radiographs siim --nih nih --table stage_2_train.csv --seen seen.json
        --size 608 --out closer
    python -m recipes.weights_closer closer fast.h5 best.h5 closer/best.h5
    python -m recipes.weights look closer best --size 608 --negatives kinds.csv
    python -m recipes.weights_closer closer fast.h5 best.h5 last/best.h5 --told closer/best.h5

Nothing is trained. ``best`` is ``fast`` and the second student of the ``best`` before. ``fast`` has
learned from the fifth of the patients that judges. So the first command puts the beginning of the
trainings of ``fast`` in its place: the mean of the weights of the student and of the first fold's
network, neither of which has met the fifth. Calibration and thresholds are carried over.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from pleura.evaluation.mix import SIIM
from pleura.models.bundle import Bundle, read_bundle, write_bundle
from pleura.models.card import write_card
from pleura.stages.ensemble import combine
from pleura.training.average import mean_of
from recipes.weights import FOLDS
from recipes.weights_data import read_radiographs
from recipes.weights_further import carried_over, members_of, with_decisions
from recipes.weights_sizes import SIZES
from recipes.weights_soup import without

CLOSER = 384
SIDE = 608

TOLD = (
    "the radiographs of a fifth of the patients, which chose no threshold, but which networks are "
    "asked and that they look closer. Of the two networks one is in this file. In place of the "
    "other stood the one that it began with, which has not learned from these radiographs (the one "
    "in this file has, and nobody has measured it)"
)


def main() -> None:
    """Write the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("fast", type=Path)
    parser.add_argument("before", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--told", type=Path, help="a model whose figures the card tells")
    asked = parser.parse_args()
    before = read_bundle(asked.before)
    if asked.told is None:
        bundle = looking_closer(before, before_fast(before), asked.work)
        bundle = without(bundle, asked.work / f"aside-{SIDE}")
    else:
        bundle = looking_closer(before, members_of(read_bundle(asked.fast))[0], asked.work)
        told = {**read_bundle(asked.told).evaluation, "measured_on": TOLD}
        bundle = replace(bundle, evaluation=told)
    write_bundle(replace(bundle, card=write_card(bundle)), asked.out)


def before_fast(before: Bundle) -> Bundle:
    """Return the network that the trainings of ``fast`` begin with, of two of `before`."""
    _, student, fold = members_of(before)
    return replace(fold, weights=mean_of([student.weights, fold.weights]))


def looking_closer(before: Bundle, fast: Bundle, work: Path) -> Bundle:
    """Return `fast` and the student of `before` as one, with the decisions of `before`."""
    members = [with_decisions(one, before) for one in (fast, members_of(before)[1])]
    whole = combine(members, tta=True, sizes=SIZES, closer=CLOSER)
    radiographs = read_radiographs(work, SIDE, FOLDS)
    unlabelled = np.flatnonzero(radiographs.known == "doubtful")
    return carried_over(before, whole, radiographs, unlabelled, SIIM.prevalence)


if __name__ == "__main__":
    main()
