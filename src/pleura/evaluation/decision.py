"""What is chosen on predictions: the score's calibration and the thresholds; and nested choices.

A threshold that is judged by the very images that chose it looks better than it is. So whoever
judges deals the images into parts by patient, and judges each part by what the other parts chose.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pleura.choices import FittedCalibration
from pleura.evaluation.calibration import fit_calibration
from pleura.evaluation.operating_point import Choice, choose_operating_point
from pleura.evaluation.predictions import Predictions
from pleura.models.bundle import Bundle, Calibration

PARTS = 5
"""Into how many parts the images of one network are dealt, where there are as many patients."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is chosen on predictions: the score's calibration, and the thresholds.

    Attributes:
        calibration: From the network's score to a probability.
        choice: The operating points.
    """

    calibration: Calibration
    choice: Choice

    def applied(self, bundle: Bundle) -> Bundle:
        """Return `bundle` with it."""
        return replace(
            bundle,
            calibration=self.calibration,
            operating_point=self.choice.default,
            presets=self.choice.presets,
        )


def fit_decision(predictions: Predictions, calibration: FittedCalibration = "platt") -> Decision:
    """Return calibration and operating points for what networks say of images they never saw.

    Images whose mask is annotated alone choose them, as long as some are positive and some
    negative; else images that have a label alone help.
    """
    annotated = predictions.among(predictions.annotated)
    if annotated.positive.any() and not annotated.positive.all():
        predictions = annotated
    fitted = fit_calibration(predictions.scores, predictions.positive, calibration)
    return Decision(fitted, choose_operating_point(predictions.calibrated(fitted)))


def fit_nested(
    predictions: Predictions, parts: NDArray[np.int64], calibration: FittedCalibration = "platt"
) -> tuple[Decision, ...]:
    """Return for each part what is chosen on the images of all other parts.

    Args:
        predictions: Of images that did not train the networks, ``(n,)``.
        parts: ``(n,)``: the part of each image, from 0; no patient may be in two.
        calibration: How the score is calibrated.

    Raises:
        ValueError: There is only one part.
    """
    count = int(parts.max(initial=0)) + 1
    if count < 2:
        raise ValueError(
            "thresholds are chosen on the other parts, and there is one part alone; make two "
            "or more"
        )
    return tuple(
        fit_decision(predictions.among(parts != part), calibration) for part in range(count)
    )


def deal(
    groups: Sequence[str], positive: NDArray[np.bool_], parts: int = PARTS
) -> NDArray[np.int64]:
    """Return a part for each image, the same for all images of a group.

    Groups are dealt out in turn, those with a positive first and large ones first, so that parts
    are alike. Nothing is random.

    Args:
        groups: The patient of each image.
        positive: ``(n,)`` bool.
        parts: How many; fewer where there are fewer groups.

    Returns:
        ``(n,)`` int64 from 0.
    """
    rows: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    order = sorted(
        rows, key=lambda group: (not positive[rows[group]].any(), -len(rows[group]), group)
    )
    dealt = np.zeros(len(groups), np.int64)
    for number, group in enumerate(order):
        dealt[rows[group]] = number % max(1, min(parts, len(order)))
    return dealt
