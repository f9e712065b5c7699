"""What a table of any kind says of images: with a pneumothorax or not."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pleura.config import Labels
from pleura.errors import DataError
from pleura.formats.labels import read_labels
from pleura.formats.masks import MaskReading, is_mask_table, read_masks
from pleura.storage.elsewhere import path_at


@dataclass(frozen=True, slots=True)
class Label:
    """What a table says of one image.

    Attributes:
        positive: Whether it shows a pneumothorax.
        patient: Who is on it; "" where the table does not say.
    """

    positive: bool
    patient: str = ""


def known_labels(path: str | os.PathLike[str]) -> Mapping[str, Label]:
    """Return image id -> label, from masks in any form or from a table of image labels.

    An image of which nobody is certain is left out; a label above one half is positive.

    Args:
        path: As :func:`pleura.formats.masks.read_masks` takes it, or a table that
            :func:`pleura.formats.labels.read_labels` finds the columns of by their names.

    Raises:
        InputError: It is neither, or a value is not understood.
    """
    path = path_at(path)
    if is_mask_table(path, MaskReading()):
        masks = read_masks(path).masks
        return {image_id: Label(bool(texts)) for image_id, texts in masks.items()}
    table = read_labels(Labels(table=str(path)))
    if table.problems:
        raise DataError(f"{path}: {table.problems[0]}")
    return {
        image_id: Label(label.probability > 0.5, label.patient)
        for image_id, label in table.labels.items()
        if label.probability is not None
    }
