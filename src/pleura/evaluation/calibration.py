"""The image score made a probability: fitted on images that did not train the network."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from pleura.choices import FittedCalibration
from pleura.models.bundle import Calibration, score_logit

ISOTONIC_LEAST = 50
"""Images of either label that a step function wants; with fewer Platt's line is fitted."""


def fit_calibration(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], method: FittedCalibration = "platt"
) -> Calibration:
    """Return the calibration of `scores`, best fitted out of fold.

    ``platt`` fits slope and intercept on the logit by likelihood, with two safeguards for few
    images and for scores that separate the labels perfectly, where the likelihood alone has no
    maximum. The targets are Platt's, (P + 1) / (P + 2) and 1 / (N + 2) for P positives and N
    negatives. And the slope's logarithm has a standard normal prior: about 1 until the images say
    otherwise, and always above 0, so that even a score that ranks the wrong way keeps its ranks.

    ``isotonic`` is the rising step function nearest to the labels, linear between its steps; it is
    fitted where there are :data:`ISOTONIC_LEAST` images of either label, and Platt's elsewhere.

    Args:
        scores: ``(n,)`` image scores in 0..1, as the network gives them.
        positive: ``(n,)`` bool.
        method: Which of the two.

    Returns:
        The identity where only one label occurs, or no image: nothing can be learned there.

    Sources: Platt 1999 (the targets); Zadrozny and Elkan 2002 (isotonic); Guo et al. 2017
    (temperature, which is Platt's with the intercept 0).
    """
    positives = int(np.count_nonzero(positive))
    negatives = positive.size - positives
    if not positives or not negatives:
        return Calibration()
    if method == "isotonic" and min(positives, negatives) >= ISOTONIC_LEAST:
        return _isotonic(scores, positive)
    return _platt(score_logit(scores), positive, positives, negatives)


def _platt(
    logits: NDArray[np.float64], positive: NDArray[np.bool_], positives: int, negatives: int
) -> Calibration:
    target = np.where(positive, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def cost(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the negative log posterior of (log slope, intercept), and its gradient."""
        slope = np.exp(parameters[0])
        line = slope * logits + parameters[1]
        value = np.logaddexp(0, line).sum() - (target * line).sum() + parameters[0] ** 2 / 2
        beside = expit(line) - target
        gradient = np.array([slope * (beside * logits).sum() + parameters[0], beside.sum()])
        return float(value), gradient

    found = minimize(
        cost, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-5, 5), (None, None)]
    ).x
    return Calibration("platt", slope=float(np.exp(found[0])), intercept=float(found[1]))


def _isotonic(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Calibration:
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    fitted.fit(scores, positive.astype(np.float64))
    # Its own rounding may take a step by a hair below the one before.
    values = np.maximum.accumulate(np.clip(fitted.y_thresholds_, 0, 1))
    return Calibration(
        "isotonic", scores=tuple(map(float, fitted.X_thresholds_)), values=tuple(map(float, values))
    )
