import numpy as np
import pytest

from pleura.evaluation.predictions import Judged
from pleura.stages.train import decide


def said(images=120):
    """Yield what a network could say: score and label go together, though not always."""
    rng = np.random.default_rng(3)
    for _ in range(images):
        truth = np.zeros((16, 16), np.bool_)
        truth[:4] = rng.random() < 0.5
        score = float(rng.beta(4, 2) if truth.any() else rng.beta(2, 4))
        yield Judged(truth.astype(np.float32) * 0.8, score, truth)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_the_calibration_is_the_one_asked_for(method):
    assert decide(said(), method).calibration.method == method
