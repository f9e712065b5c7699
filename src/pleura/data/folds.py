"""Splits that keep a patient on one side."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from pleura.data.index import ImageRecord
from pleura.errors import DataError


def assign_folds(records: Sequence[ImageRecord], folds: int, seed: int = 0) -> NDArray[np.int64]:
    """Return the fold of each record: balanced by label, all images of a patient in one fold.

    An image of no known patient counts as a patient of its own.

    Args:
        records: Labelled records.
        folds: Number of folds.
        seed: The same seed gives the same folds.

    Returns:
        ``(len(records),)`` int64 in 0..folds-1.

    Raises:
        DataError: There are fewer patients than folds, or an unlabelled record.
    """
    unlabelled = [record.image_id for record in records if not record.labelled]
    if unlabelled:
        raise DataError(f"{unlabelled[0]}: an unlabelled image cannot be put into a fold")
    groups = [f"patient {r.patient}" if r.patient else f"image {r.image_id}" for r in records]
    if len(set(groups)) < folds:
        raise DataError(
            f"{len(set(groups))} patients cannot make {folds} folds; set train.folds lower"
        )
    labels = np.array([bool(record.positive) for record in records])
    result = np.zeros(len(records), np.int64)
    # Too few of one label for a fold each is not an error here: that fold has none of it.
    strata = labels if min(labels.sum(), (~labels).sum()) >= folds else np.zeros_like(labels)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, chosen) in enumerate(splitter.split(strata, strata, groups)):
        result[chosen] = fold
    return result
