import pytest

from pleura.evaluation.intervals import Score
from pleura.evaluation.ranking import ranking_doubts


@pytest.mark.parametrize(
    ("auroc", "scores", "said"),
    [
        (Score(0.9, 0.8, 0.95), [0.1, 0.2, 0.3], ""),
        (Score(0.4, 0.2, 0.55), [0.1, 0.2, 0.3], ""),
        (Score(0.5, 0.2, 0.8), [0.0, 1.0], ""),
        (Score(0.5, 0.2, 0.8), [0.25] * 3, "All scores are 0.25, so they rank no image before"),
        (Score(0.8, 0.6, 0.9), [0.0, 1.0] * 5, "All scores are 0 or 1, so they are calls and no"),
        (Score(0.1, 0.0, 0.3), [0.1, 0.2, 0.3], "AUROC is 0.100 (0.000 to 0.300), clearly below"),
    ],
)
def test_what_is_said_of_a_ranking(auroc, scores, said):
    found = ranking_doubts(auroc, scores)
    assert len(found) == bool(said)
    assert not said or found[0].startswith(said)
