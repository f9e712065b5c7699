"""Grey levels as attenuation, and back."""

import numpy as np
import pytest

from pleura.synthesis.simulate.response import Response, find_response


@pytest.mark.parametrize(("top", "step"), [(263.0, 2.0), (210.0, 0.5)])
def test_back_and_forth_gives_the_same_grey(top, step):
    grey = np.arange(0, int(top) - 8, dtype=np.uint8)[None]
    response = Response(top, step)
    attenuation = response.attenuation(grey)
    np.testing.assert_allclose(response.grey(attenuation), grey, atol=0.01)
    assert (np.diff(attenuation) > 0).all()


def test_the_same_tissue_is_the_same_step_at_any_exposure(canvases):
    """A plate developed otherwise shows one change of attenuation as another change of grey."""
    canvas = canvases[0]
    lung = canvas.lungs.mask.any(axis=0)
    steps = []
    for gain, shift in ((1.0, 0.0), (0.6, -0.5), (1.3, 0.4)):
        share = np.clip((canvas.pixels + 0.5) / 264, 1e-3, 1 - 1e-3)
        logit = gain * np.log(share / (1 - share)) + shift
        radiograph = np.clip(264 / (1 + np.exp(-logit)) - 0.5, 0, 255).astype(np.uint8)
        response = find_response(radiograph, canvas.lungs.mask)
        attenuation = response.attenuation(radiograph)
        steps.append(float(np.quantile(attenuation[lung], 0.8) - np.median(attenuation[lung])))
    assert np.ptp(steps) < 0.3 * np.mean(steps)
