"""Teaching as a stage: what a model says of images, kept as masks for another to learn from."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.data.arrays import Prepared
from pleura.data.soft_masks import write_soft
from pleura.engines.engine import Engine
from pleura.engines.torch_engine import TorchEngine
from pleura.models.bundle import Bundle
from pleura.stages.evaluate import said_of


def teach(
    bundle: Bundle,
    prepared: Prepared,
    out: Path,
    *,
    weight: float = 1.0,
    engine: Engine | None = None,
) -> Prepared:
    """Write a folder of `prepared`'s training images with what a model says of them; return it.

    Args:
        bundle: The model; an ensemble (``pleura ensemble``) teaches better than one of its members.
        prepared: The images, with or without masks. Judge the student on no patient that trained
            the teacher: what the teacher knows of one it passes on.
        out: The folder to write, for ``train.extra``.
        weight: How far the model is believed, 0..1.
        engine: What runs the network; torch on the CPU by default.

    Raises:
        DataError: The folder has another size than the model.
        UsageError, OutputError: As for :func:`pleura.data.soft_masks.write_soft`.
    """
    prepared.require_size(bundle.preprocessing.size)
    return write_soft(prepared, out, _said(bundle, prepared, engine), weight=weight)


def _said(
    bundle: Bundle, prepared: Prepared, engine: Engine | None
) -> Iterator[tuple[NDArray[np.float32], float]]:
    engine = engine or TorchEngine(bundle)
    for said in said_of(engine, prepared, np.arange(len(prepared.train))):
        yield said.maps[0], float(bundle.calibration.apply(said.scores)[0])
