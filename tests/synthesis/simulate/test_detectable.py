"""Whether one can tell from afar that a radiograph was edited: see recipes/simulate.py."""

from functools import partial

import numpy as np
import pytest
from recipes.simulate import aurocs, judged, measure, phantom_row, standard_error

from pleura.processes.workers import ordered_map
from pleura.synthesis.simulate import find_radiographs


def require_nothing_given_away(rows):
    found = {row["name"]: row["value"] for row in rows}
    error = max(row.get("error", 0) for row in rows)
    for name in ("linear", "trees"):
        chance = found[f"AUROC of the originals without the lung, {name}"]
        assert abs(found[f"AUROC without the lung, {name}"] - chance) < 2.5 * error
        for part in ("lung", "air"):
            assert abs(found[f"AUROC without the {part}, {name}"] - 0.5) < 5 * error
        assert found[f"AUROC if filtered, {name}"] > 0.5 + 5 * error


@pytest.mark.slow
def test_on_phantoms_nothing_gives_the_edit_away():
    rows = list(ordered_map(partial(phantom_row, 256), range(240)))
    require_nothing_given_away(judged(rows))


@pytest.mark.slow
def test_on_real_radiographs_nothing_gives_the_edit_away(real_data):
    radiographs = find_radiographs(
        real_data / "nih/images", real_data / "nih/labels.csv"
    ).radiographs
    require_nothing_given_away(measure(radiographs, 400, 512, 0))


def test_a_classifier_that_sees_a_difference_says_so():
    rng = np.random.default_rng(0)
    labels = rng.random(120) < 0.5
    features = rng.standard_normal((120, 8)).astype(np.float32)
    groups = [str(number) for number in range(120)]
    blind = aurocs(features, labels, groups)["linear"]
    features[:, 3] += 2 * labels
    seeing = aurocs(features, labels, groups)["linear"]
    assert abs(blind - 0.5) < 3 * standard_error(labels)
    assert seeing > 0.85
