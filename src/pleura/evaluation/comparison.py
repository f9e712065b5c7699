"""Two models on the same images: how much better one is, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.evaluation.intervals import Score, draw_patients
from pleura.evaluation.scores import FIGURES, Outcome, Table, as_plain, figure_samples

_ABOUT_POSITIVES = ("positive_dice", "positive_iou", "sensitivity", "lesion_sensitivity")


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of the one model less that of the other.

    Attributes:
        name: One of :data:`pleura.evaluation.scores.FIGURES`.
        ours: The one model's figure; NaN where undefined.
        theirs: The other's.
        difference: The first less the second, with its 95 % interval.
        above: Share of the resamples in which the difference is above 0; NaN where undefined.
    """

    name: str
    ours: float
    theirs: float
    difference: Score
    above: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models by paired bootstrap.

    Attributes:
        images: How many images both judged.
        positives: Of these, with a pneumothorax.
        patients: Of how many patients.
        differences: One for each figure.
    """

    images: int
    positives: int
    patients: int
    differences: tuple[Difference, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain values, None where a figure is undefined."""
        return as_plain(self)


def compare(ours: Sequence[Outcome], theirs: Sequence[Outcome], seed: int = 0) -> Comparison:
    """Return how the outcomes of one model differ from another's on the same images.

    Both figures of a difference are taken over the same resamples of patients, so what makes an
    image hard for both models cancels out.

    Args:
        ours: One per image.
        theirs: The other model's, of the same images in the same order.
        seed: Of the bootstrap.

    Raises:
        ValueError: The images differ.
    """
    if [item.image_id for item in ours] != [item.image_id for item in theirs]:
        raise ValueError(
            f"{len(ours)} outcomes of one model and {len(theirs)} of another are not of the same "
            "images in the same order; a paired comparison needs that"
        )
    first, second = Table.of(ours), Table.of(theirs)
    draws = draw_patients(first.patients, seed)
    one, other = figure_samples(first, draws), figure_samples(second, draws)
    differences = []
    for name in FIGURES:
        apart = one[name] - other[name]
        among = first.positive if name in _ABOUT_POSITIVES else None
        among = ~first.positive if name == "specificity" else among
        differences.append(
            Difference(
                name=name,
                ours=float(one[name][0]),
                theirs=float(other[name][0]),
                difference=draws.score(apart, among),
                above=_above(apart[1:]),
            )
        )
    return Comparison(
        images=len(ours),
        positives=int(first.positive.sum()),
        patients=len(set(first.patients)),
        differences=tuple(differences),
    )


def _above(resampled: NDArray[np.float64]) -> float:
    defined = resampled[~np.isnan(resampled)]
    return float((defined > 0).mean()) if defined.size else float("nan")
