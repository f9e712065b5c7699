"""Whether scores rank images as scores of a pneumothorax would: in words, where they do not."""

from collections.abc import Sequence

from pleura.evaluation.intervals import Score

_FEW = 10
"""Of fewer images two scores say nothing of where they come from."""


def ranking_doubts(auroc: Score, scores: Sequence[float]) -> list[str]:
    """Return what a reader of AUROC must know: that scores rank nothing, hardly, or backwards.

    Args:
        auroc: Of these scores.
        scores: One per image.

    Examples:
        >>> ranking_doubts(Score(0.2, 0.1, 0.3), [0.1, 0.5, 0.9])[0][:48]
        'AUROC is 0.200 (0.100 to 0.300), clearly below o'
    """
    said = []
    values = sorted(set(scores))
    if len(values) == 1 and len(scores) > 1:
        said.append(
            f"All scores are {values[0]:g}, so they rank no image before another, and AUROC is 0.5."
        )
    if len(values) == 2 and len(scores) >= _FEW:
        said.append(
            f"All scores are {values[0]:g} or {values[1]:g}, so they are calls and no scores: "
            "AUROC is the mean of one sensitivity and one specificity. Give the scores."
        )
    if auroc.high < 0.5:
        said.append(
            f"AUROC is {auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f}), clearly below one "
            "half: the scores may say that there is no pneumothorax, or the labels are exchanged. "
            "Look at some images; if it is the scores, give 1 - score."
        )
    return said
