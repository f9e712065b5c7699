r"""How the shipped weights went on from those that `recipes.weights` makes.

    python -m recipes.weights_further ask WORK best.h5
    python -m recipes.weights_further train WORK judged --begin fast.h5
    python -m recipes.weights_further assemble WORK judged fast.h5 best.h5
    python -m recipes.weights look WORK fast

WORK is what ``recipes.weights data`` made. ``ask`` keeps what the earlier ``best.h5`` says of the
radiographs that teach. ``train`` trains one network, and goes on where it was cut off. ``assemble``
writes ``fast.h5`` (this network) and ``best.h5`` (with two of the earlier ones) into WORK.

``train WORK lite2`` trains an EfficientNet-Lite2 that begins with ImageNet's weights. It did not
ship.

What ships is trained a last time by the same steps, as ``last``, in a folder that ``data --whole``
made: the fifth of the patients that judged is among those that train. Nobody can judge it by the
radiographs at hand, so its card tells the figures of the other one (``--told``).
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pleura.config import Network
from pleura.data.arrays import open_prepared
from pleura.data.prepare import prepare_pixels
from pleura.engines.openvino_engine import OpenVINOEngine
from pleura.evaluation.mix import SIIM
from pleura.models import zoo
from pleura.models.bundle import (
    Bundle,
    Calibration,
    OperatingPoint,
    read_bundle,
    score_logit,
    write_bundle,
)
from pleura.models.card import write_card
from pleura.models.weights import Arrays
from pleura.stages.ensemble import combine
from pleura.training.checkpoint import network_arrays
from recipes.weights import FOLDS, SIZE, read_said, trained_bundle
from recipes.weights_data import Radiographs, read_radiographs
from recipes.weights_training import Plan, train

PLANS = {
    "judged": Plan((SIZE,) * 2, 2e-4, seed=21),
    "last": Plan((SIZE,) * 2, 2e-4, seed=21),
    "lite2": Plan(
        (256,) * 12 + (SIZE,) * 10,
        1e-3,
        seed=31,
        network=Network(name="efficientnet_lite2", width=16),
    ),
}

CHOSEN_ON = 0.4
"""Share of positives among the radiographs on which the earlier models were calibrated."""

CARRIED = (
    "Calibration and thresholds were carried over from the model before, so that those whose label "
    "nobody told either get alike scores; the probabilities are for the challenge's share of "
    "positives, 22 %."
)
HELD_BACK = {
    "judged": "A fifth of the patients trained nothing and chose no threshold, see below. "
    + CARRIED,
    "last": "Nothing was held back: the figures below are those of a network made by the same "
    f"steps without a fifth of the patients, and measured on these. {CARRIED}",
}

TOLD = (
    "the radiographs of a fifth of the patients, by a model made by the same steps without them "
    "(this one has learned from them, and nobody has measured it); they chose no threshold, but "
    "one of two ways to train"
)


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    asking = commands.add_parser("ask")
    training = commands.add_parser("train")
    assembling = commands.add_parser("assemble")
    for command in (asking, training, assembling):
        command.add_argument("work", type=Path)
    for command in (training, assembling):
        command.add_argument("name", choices=PLANS)
    assembling.add_argument("fast", type=Path)
    for command in (asking, assembling):
        command.add_argument("best", type=Path)
    training.add_argument("--begin", type=Path, help="a model; without: ImageNet's weights")
    assembling.add_argument("--told", type=Path, help="a folder whose models' figures are told")
    asked = parser.parse_args()
    radiographs = read_radiographs(asked.work, SIZE, FOLDS)
    if asked.command == "ask":
        ask(radiographs, read_bundle(asked.best), asked.work)
    elif asked.command == "train":
        plan, out = PLANS[asked.name], asked.work / asked.name
        begin = first_network(asked.begin) if asked.begin else imagenet_network(plan)
        train(radiographs, read_said(asked.work), plan, begin, out)
    else:
        assemble(asked.work, radiographs, asked.name, asked.fast, asked.best, asked.told)


def ask(radiographs: Radiographs, best: Bundle, work: Path) -> None:
    """Write what `best` says of all radiographs but NIH's negatives."""
    teaches = radiographs.challenge | np.isin(radiographs.known, ["positive", "doubtful"])
    rows = np.flatnonzero(teaches)
    maps, scores = answers(best, radiographs, rows)
    np.savez(work / "said.npz", rows=rows, maps=maps, scores=scores)


def first_network(path: Path) -> Arrays:
    """Return a network's weights: those of an npz, or of a model's first member."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    return members_of(read_bundle(path))[0].weights


def imagenet_network(plan: Plan) -> Arrays:
    """Return a network whose encoder has ImageNet's weights, and whose decoder has none."""
    torch.manual_seed(plan.seed)
    return network_arrays(zoo.begin(replace(plan.network, pretrained=True)))


def assemble(
    work: Path, radiographs: Radiographs, name: str, fast: Path, best: Path, told: Path | None
) -> None:
    """Write ``fast.h5`` and ``best.h5``, each with the decisions of the model before."""
    prepared, plan = open_prepared(work / f"develop-{SIZE}"), PLANS[name]
    earlier = read_bundle(fast)
    weights = first_network(work / name / "weights.npz")
    own = trained_bundle(plan, radiographs, prepared, weights, earlier, {}, HELD_BACK[name])
    unlabelled = np.flatnonzero(radiographs.known == "doubtful")
    for kind, before, others in (
        ("fast", earlier, []),
        ("best", read_bundle(best), members_of(read_bundle(best))[1:]),
    ):
        whole = combine([with_decisions(own, before), *others], tta=True)
        bundle = carried_over(before, whole, radiographs, unlabelled)
        if told is not None:
            evaluation = {**read_bundle(told / f"{kind}.h5").evaluation, "measured_on": TOLD}
            bundle = replace(bundle, evaluation=evaluation)
        write_bundle(replace(bundle, card=write_card(bundle)), work / f"{kind}.h5")


def with_decisions(bundle: Bundle, before: Bundle) -> Bundle:
    """Return `bundle` with the calibration and the thresholds of the model `before`, as they are.

    Those of :func:`combine` are its members', which have to have some.
    """
    return replace(
        bundle,
        calibration=before.calibration,
        operating_point=before.operating_point,
        presets=before.presets,
    )


def carried_over(
    before: Bundle,
    bundle: Bundle,
    radiographs: Radiographs,
    rows: NDArray[np.int64],
    share: float = CHOSEN_ON,
) -> Bundle:
    """Return `bundle` with the calibration and the thresholds of the model `before`.

    A line takes the logits of its scores to those of the other's probabilities, mean and deviation
    over `rows` alike (linear equating): the same share of such radiographs reaches a threshold.
    Then probabilities and thresholds are brought from the share of positives that the other's are
    for to the challenge's (Saerens et al. 2002), which changes no call.

    Args:
        before: A model with Platt's calibration.
        bundle: The new one.
        radiographs: The radiographs.
        rows: Radiographs whose label trained neither.
        share: Of positives, that the probabilities of `before` are for.
    """
    theirs = score_logit(before.calibration.apply(answers(before, radiographs, rows)[1]))
    ours = score_logit(answers(bundle, radiographs, rows)[1])
    shift = float(score_logit(SIIM.prevalence) - score_logit(share))
    slope, intercept = equated(ours, theirs)
    return replace(
        bundle,
        calibration=Calibration("platt", slope=slope, intercept=intercept + shift),
        operating_point=_shifted(before.operating_point, shift),
        presets={name: _shifted(point, shift) for name, point in before.presets.items()},
    )


def equated(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[float, float]:
    """Return slope and intercept of the line that gives `ours` the mean and deviation of `theirs`.

    Source: Kolen and Brennan, Test equating (2014), chapter 2.
    """
    slope = float(theirs.std() / ours.std())
    return slope, float(theirs.mean() - slope * ours.mean())


def members_of(whole: Bundle) -> list[Bundle]:
    """Return the models that an ensemble was made of."""
    size = whole.preprocessing.size
    sizes = whole.network.sizes or [[size]] * len(whole.network.members)
    members = []
    for number, (network, own) in enumerate(zip(whole.network.members, sizes, strict=True)):
        record, prefix = whole.training["members"][number], f"members.{number}."
        members.append(
            replace(
                whole,
                network=network,
                weights={
                    name.removeprefix(prefix): array
                    for name, array in whole.weights.items()
                    if name.startswith(prefix)
                },
                preprocessing=replace(whole.preprocessing, size=own[0]),
                training=record["training"],
                history={"epoch": record["epochs"]},
                path=None,
            )
        )
    return members


def _shifted(point: OperatingPoint, shift: float) -> OperatingPoint:
    moved = float(score_logit(point.score)) + shift
    return replace(point, score=1 / (1 + np.exp(-moved)))


def answers(
    bundle: Bundle, radiographs: Radiographs, rows: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return maps ``(n, S, S)``, in steps of 1/255, and scores ``(n,)``."""
    engine, side = OpenVINOEngine(bundle), radiographs.x.shape[-1]
    maps, scores = np.empty((len(rows), side, side), np.uint8), np.empty(len(rows))
    for place, row in enumerate(rows):
        found = engine.probabilities(
            prepare_pixels(radiographs.x[row], bundle.preprocessing.size)[None]
        )
        large = cv2.resize(found.maps[0], (side, side), interpolation=cv2.INTER_LINEAR)
        maps[place], scores[place] = np.rint(255 * large), found.scores[0]
    return maps, scores


if __name__ == "__main__":
    main()
