r"""How the shipped weights came to see each radiograph at two sizes.

    python -m recipes.weights_sizes WORK earlier.h5 WORK/fast.h5 --share 0.4
    python -m recipes.weights look WORK fast --size 448
    python -m recipes.weights_sizes WORK before.h5 last.h5 --told WORK/fast.h5

WORK is what ``recipes.weights radiographs --size 448`` made. Nothing is trained: calibration and
thresholds are carried over, on radiographs whose label trained nothing. The weights that ship have
learned from the fifth of the patients that judges. So the first two commands judge what is known of
this step, on the weights before, which have not; and the card of what ships tells these figures.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pleura.evaluation.mix import SIIM
from pleura.models.bundle import Bundle, read_bundle, write_bundle
from pleura.models.card import write_card
from pleura.stages.ensemble import combine
from recipes.weights import FOLDS
from recipes.weights_data import Radiographs, read_radiographs
from recipes.weights_further import carried_over, members_of

SIZES = (384, 448)

TOLD = (
    "the radiographs of a fifth of the patients, which chose no threshold, only that a radiograph "
    "is seen at 448 pixels too, by the weights of two epochs before (the weights in this file "
    "have learned from them, and nobody has measured them)"
)


def main() -> None:
    """Write the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("before", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--share",
        type=float,
        default=SIIM.prevalence,
        help="of positives, that the probabilities of the model before are for",
    )
    parser.add_argument("--told", type=Path, help="a model whose figures the card tells")
    asked = parser.parse_args()
    radiographs = read_radiographs(asked.work, max(SIZES), FOLDS)
    bundle = at_sizes(read_bundle(asked.before), radiographs, asked.share)
    if asked.told is not None:
        bundle = replace(
            bundle, evaluation={**read_bundle(asked.told).evaluation, "measured_on": TOLD}
        )
    write_bundle(replace(bundle, card=write_card(bundle)), asked.out)


def at_sizes(
    before: Bundle, radiographs: Radiographs, share: float, sizes: Sequence[int] = SIZES
) -> Bundle:
    """Return the networks of `before` at several sizes, with its decisions carried over."""
    whole = combine(members_of(before), tta=before.network.tta, sizes=sizes)
    unlabelled = np.flatnonzero(radiographs.known == "doubtful")
    return carried_over(before, whole, radiographs, unlabelled, share)


if __name__ == "__main__":
    main()
