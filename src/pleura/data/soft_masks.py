"""A prepared folder whose masks are maps of probability, such as a teacher gives."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.data.arrays import (
    Prepared,
    allocate,
    finish,
    hold_folder,
    open_prepared,
    partials_of,
    write_at,
)
from pleura.data.checked import piece_digests, piece_of
from pleura.data.manifest import NAME, SHARES
from pleura.errors import UsageError
from pleura.processes.workers import CHUNK


def write_soft(
    prepared: Prepared,
    out: Path,
    answers: Iterable[tuple[NDArray[np.float32], float]],
    *,
    weight: float = 1.0,
) -> Prepared:
    """Write the training images of a folder with maps of probability for masks; return it opened.

    So a network learns from what others say: name the folder in ``train.extra``. The test images
    are not taken along.

    Args:
        prepared: The folder whose images these are.
        out: The folder to write.
        answers: For each row of ``x_train`` in order, a map ``(size, size)`` in 0..1, kept in steps
            of 1/255, and how likely the image shows a pneumothorax.
        weight: How far all of it is believed, 0..1.

    Raises:
        DataError: An image of `prepared` was changed since it was prepared.
        UsageError: The weight is none, or there are more or fewer answers than images.
        OutputError: The folder could not be written, or another process writes it.
    """
    if not 0 < weight <= 1:
        raise UsageError(f"the weight of soft masks is {weight}; it must be above 0 and up to 1")
    with hold_folder(out):
        out.mkdir(parents=True, exist_ok=True)
        (out / NAME).unlink(missing_ok=True)
        _write_soft(prepared, out, answers, weight)
        return open_prepared(out)


def _write_soft(
    prepared: Prepared,
    out: Path,
    answers: Iterable[tuple[NDArray[np.float32], float]],
    weight: float,
) -> None:
    count, size, pixel = len(prepared.train), prepared.size, np.dtype(np.uint8)
    partials = partials_of(out, prepared.fingerprint)
    offset = allocate(partials["X_train"], (count, size, size), pixel)
    allocate(partials["Y_train"], (count, size, size), pixel)
    allocate(partials["X_test"], (0, size, size), pixel)
    total = hashlib.sha256(f"{prepared.fingerprint} {weight}".encode())
    digests: dict[str, list[str]] = {"x_train": [], "y_train": [], "x_test": []}
    scores: list[float] = []
    coming = iter(answers)
    for first in range(0, count, CHUNK):
        pixels = prepared.x_train[first : first + CHUNK]
        piece = list(islice(coming, len(pixels)))
        scores += [score for _, score in piece]
        if len(piece) < len(pixels):
            raise UsageError(
                f"{out}: {len(scores)} answers for the {count} images of {prepared.path}"
            )
        maps = np.stack([np.clip(probability, 0, 1) for probability, _ in piece])
        shares = np.rint(255 * maps).astype(np.uint8).reshape(pixels.shape)
        for name, block in (("X_train", pixels), ("Y_train", shares)):
            write_at(str(partials[name]), offset, first, block)
            digests[name.lower()] += piece_digests(block, piece_of(count))
        total.update(shares.tobytes())
    if next(coming, None) is not None:
        raise UsageError(f"{out}: more answers than the {count} images of {prepared.path}")
    total.update(json.dumps(scores).encode())
    records = [
        replace(
            record, labelled=True, positive=score > 0.5, label=score, label_weight=weight, boxes=""
        )
        for record, score in zip(prepared.train, scores, strict=True)
    ]
    for name, partial in partials.items():
        partial.replace(out / f"{name}.npy")
    finish(out, records, (), size, total.hexdigest(), SHARES, digests)
