"""Who trains and who validates: rows of a prepared folder, and of further ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pleura.config import Train
from pleura.data.arrays import Prepared, open_prepared
from pleura.data.folds import assign_folds
from pleura.data.records import ImageRecord, image_keys
from pleura.errors import ConfigError, DataError
from pleura.training.batches import Rows


@dataclass(frozen=True, slots=True)
class Split:
    """Rows ``(n,)`` of the prepared training arrays: which train and which validate."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]


def split(prepared: Prepared, folds: int, fold: int, seed: int) -> Split:
    """Return the rows of ``X_train`` that train and those of `fold`, which validate.

    Raises:
        DataError: There are fewer patients than folds.
    """
    assigned = assign_folds(prepared.train, folds, seed)
    return Split(np.flatnonzero(assigned != fold), np.flatnonzero(assigned == fold))


def split_for(prepared: Prepared, settings: Train) -> Split:
    """Return the split that `settings` ask for.

    Raises:
        ConfigError: An epoch is chosen by masks, and none that validates is annotated.
        DataError: There are fewer patients than folds, or nothing is left on one side.
    """
    parts = split(prepared, settings.folds, settings.fold, settings.seed)
    if not len(parts.train) or not len(parts.validation):
        raise DataError(f"{prepared.path}: fold {settings.fold} leaves nothing on one side")
    if not prepared.annotated[parts.validation].any():
        _require_no_choice(settings, "a training in which no annotated mask validates")
    return parts


def everything(prepared: Prepared, settings: Train) -> Split:
    """Return all rows of ``X_train`` as those that train.

    Raises:
        ConfigError: The settings choose by images that validate, of which there are none.
    """
    _require_no_choice(settings, "a training on all images")
    return Split(np.arange(len(prepared.train)), np.empty(0, np.int64))


def _require_no_choice(settings: Train, about: str) -> None:
    """Check that nothing is chosen by the Dice of what validates.

    Raises:
        ConfigError: Something is.
    """
    if settings.keep != "last" or settings.schedule == "plateau":
        raise ConfigError(
            f"train.keep is {settings.keep} and train.schedule {settings.schedule}; {about} has "
            "none to choose by: set keep to last, and schedule to cosine or onecycle"
        )


def further_rows(path: str, prepared: Prepared, judges: Sequence[ImageRecord]) -> Rows:
    """Return a folder of further images to train on, without those of patients that validate.

    Who is on an image of another folder is known of NIH's radiographs, and of what is drawn on
    them.

    Args:
        path: The further folder.
        prepared: The folder whose images validate.
        judges: Those images.

    Raises:
        DataError: The folder does not go with the other, nothing is left of it, or it holds a
            picture that validates, of a patient whom nobody knows.
    """
    extra = open_prepared(path)
    if extra.size != prepared.size:
        raise DataError(
            f"{path}: is prepared at {extra.size} pixels, {prepared.path} at {prepared.size}; "
            "prepare both alike"
        )
    validating = {record.nih_patient for record in judges} - {None}
    rows = np.flatnonzero([record.nih_patient not in validating for record in extra.train])
    if not rows.size:
        raise DataError(
            f"{path}: nothing of it can train, because patients of all its {len(extra.train):,} "
            f"images are among those of {prepared.path} that validate; leave it out"
        )
    both = int(np.isin(image_keys(extra.train)[rows], image_keys(judges)).sum())
    if both:
        raise DataError(
            f"{path}: {both} of its images are among those of {prepared.path} that validate; "
            "leave those out, so that nothing is judged by what it was trained on"
        )
    return extra, rows
