r"""How the shipped ``fast`` came to be the mean of several trainings' weights.

    python -m recipes.weights_soup ask WORK best.h5 --members 1 2
    python -m recipes.weights_soup train WORK best.h5 --members 1 2
    python -m recipes.weights_soup assemble WORK LARGE fast.h5 LARGE/fast.h5
    python -m recipes.weights look LARGE fast --size 448

WORK is what ``recipes.weights radiographs`` made, LARGE the same with ``--size 448``. The mean of
some members of ``best.h5`` is where two short trainings begin, which the same members teach. The
mean of these two and of their beginning is the network (a soup: Wortsman et al. 2022). ``assemble``
carries the decisions of the model before over.

Members 1 and 2 of the ``best`` that ships have not met the fifth of the patients that judges. What
ships is made by the same steps from all three, in a folder that ``radiographs --whole`` made.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pleura.data.arrays import open_prepared
from pleura.data.records import image_keys
from pleura.evaluation.mix import SIIM
from pleura.models.bundle import Bundle, read_bundle, write_bundle
from pleura.models.card import write_card
from pleura.models.weights import Arrays
from pleura.stages.ensemble import combine
from pleura.training.average import mean_of
from recipes.weights import FOLDS, SIZE, read_said, trained_bundle
from recipes.weights_data import Radiographs, read_radiographs
from recipes.weights_further import (
    HELD_BACK,
    ask,
    carried_over,
    first_network,
    members_of,
    with_decisions,
)
from recipes.weights_sizes import SIZES
from recipes.weights_training import Plan, train

PLANS = {name: Plan((SIZE,) * 4, 4e-4, seed=seed) for name, seed in (("one", 41), ("two", 42))}

TOLD = (
    "the radiographs of a fifth of the patients, which chose no threshold, only that weights are "
    "averaged, by a model made by the same steps without them (from two networks in place of "
    "three; the model in this file has learned from them, and nobody has measured it)"
)


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("ask", "train"):
        command = commands.add_parser(name)
        command.add_argument("work", type=Path)
        command.add_argument("best", type=Path)
        command.add_argument("--members", type=int, nargs="+", required=True)
    command = commands.add_parser("assemble")
    command.add_argument("work", type=Path)
    command.add_argument("large", type=Path)
    command.add_argument("before", type=Path)
    command.add_argument("out", type=Path)
    command.add_argument("--told", type=Path, help="a model whose figures the card tells")
    asked = parser.parse_args()
    if asked.command == "assemble":
        bundle = assemble(asked.work, asked.large, asked.before, asked.told)
        write_bundle(replace(bundle, card=write_card(bundle)), asked.out)
        return
    radiographs = read_radiographs(asked.work, SIZE, FOLDS)
    members = members_of(read_bundle(asked.best))
    chosen = [members[number] for number in asked.members]
    if asked.command == "ask":
        ask(radiographs, combine(chosen, tta=True), asked.work)
    else:
        train_soup(asked.work, radiographs, [member.weights for member in chosen])


def train_soup(work: Path, radiographs: Radiographs, members: Sequence[Arrays]) -> None:
    """Write the mean of the members' weights, and train from it twice."""
    begin, said = mean_of(members), read_said(work)
    np.savez(work / "begin.npz", **begin)
    for name, plan in PLANS.items():
        train(radiographs, said, plan, begin, work / name)


def assemble(work: Path, large: Path, before: Path, told: Path | None) -> Bundle:
    """Return the network with the decisions of the model `before`, at both sizes.

    Args:
        work: With the trained networks.
        large: With the radiographs at the larger size, whose doubtful ones equate the scores.
        before: The model before.
        told: A model whose figures are told; None where this one is to be looked at.
    """
    parts = [work / "begin.npz", *(work / name / "weights.npz" for name in PLANS)]
    soup = mean_of([first_network(part) for part in parts])
    radiographs, prepared = (
        read_radiographs(work, SIZE, FOLDS),
        open_prepared(work / f"develop-{SIZE}"),
    )
    earlier, plan, held_back = (
        read_bundle(before),
        PLANS["one"],
        HELD_BACK["judged" if told is None else "last"],
    )
    begun = earlier if told is not None else without(earlier, large / f"aside-{max(SIZES)}")
    own = trained_bundle(plan, radiographs, prepared, soup, begun, {}, held_back)
    judged = read_radiographs(large, max(SIZES), FOLDS)
    unlabelled = np.flatnonzero(judged.known == "doubtful")
    whole = combine([with_decisions(own, earlier)], tta=True, sizes=SIZES)
    bundle = carried_over(earlier, whole, judged, unlabelled, SIIM.prevalence)
    if told is None:
        return bundle
    return replace(bundle, evaluation={**read_bundle(told).evaluation, "measured_on": TOLD})


def without(bundle: Bundle, aside: Path) -> Bundle:
    """Return `bundle` as one that has not met the radiographs set aside, as its parts have not."""
    met = np.setdiff1d(bundle.trained_on, image_keys(open_prepared(aside).train))
    return replace(bundle, trained_on=met)


if __name__ == "__main__":
    main()
