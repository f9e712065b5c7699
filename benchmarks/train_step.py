"""One training step of `unet` against the same network, loss and optimiser in a bare loop.

The bare loop takes ready, normalised tensors and does nothing but forward, loss, backward and the
optimiser's step, in the same precision and memory order. pleura's step also fetches the batch from
the memory-mapped arrays, augments it, keeps the running loss and Dice, and goes through accelerate.
Steps alternate, so that a slow moment of the machine meets both.

Where the processor has bf16, a bare loop in bf16 with channels-last memory is also held against one
in float32 with contiguous memory, at 256 px.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pleura.config import Network, Train
from pleura.data.arrays import Prepared
from pleura.data.records import ImageRecord
from pleura.models import zoo
from pleura.models.loading import uses_bf16
from pleura.training import augment
from pleura.training.history import Sums
from pleura.training.loop import Trainer
from pleura.training.losses import bce_dice, has_mask, image_bce

SIZE, BATCH, STEPS, GOAL = 512, 8, 12, 1.05
BF16_SIZE, BF16_GOAL = 256, 2.0


def measure() -> list[dict[str, Any]]:
    """Return rows (name, ratio, goal, met): the same work, augmentation on top, bf16 if native."""
    rows = [_row("", augmentation=0.0), _row(" and augmentation", augmentation=1.0)]
    return [*rows, _bf16_row()] if uses_bf16("auto", torch.device("cpu")) else rows


def _bf16_row() -> dict[str, Any]:
    half = _bare(True, BF16_SIZE)
    full = _bare(False, BF16_SIZE, torch.contiguous_format)
    for _ in range(2):
        next(half)
        next(full)
    times = [(_timed(full), _timed(half)) for _ in range(STEPS)]
    ratio = statistics.median(a for a, _ in times) / statistics.median(b for _, b in times)
    name = f"float32 contiguous / bf16 channels-last training step, {BF16_SIZE} px"
    return {"name": name, "ratio": ratio, "goal": BF16_GOAL, "met": ratio >= BF16_GOAL}


def _row(also: str, augmentation: float) -> dict[str, Any]:
    settings = Train(batch=BATCH, folds=2, augment=augmentation)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(_prepared(), Path(folder), Network(), settings)
        ours, bare = _ours(trainer), _bare(trainer.precision == "bf16")
        for _ in range(2):  # first steps compile and allocate
            next(ours)
            next(bare)
        times = [(_timed(ours), _timed(bare)) for _ in range(STEPS)]
    ratio = statistics.median(a for a, _ in times) / statistics.median(b for _, b in times)
    name = f"training step of unet{also}, {SIZE} px, batch {BATCH} / bare PyTorch loop"
    return {"name": name, "ratio": ratio, "goal": GOAL, "met": ratio <= GOAL}


def _timed(steps: Iterator[None]) -> float:
    begun = time.perf_counter()
    next(steps)
    return time.perf_counter() - begun


def _ours(trainer: Trainer) -> Iterator[None]:
    choices = augment.draw(4 * BATCH, seed=0, epoch=0)
    trainer.learner.network.train()
    sums = Sums()
    while True:
        for batch in trainer.loader:
            sums.add(*trainer.learner.step(batch, choices[batch.places]))
            yield


def _bare(
    bf16: bool, size: int = SIZE, memory: torch.memory_format = torch.channels_last
) -> Iterator[None]:
    network = zoo.build(Network()).to(memory_format=memory)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    x = torch.randn(BATCH, 1, size, size).contiguous(memory_format=memory)
    y = (torch.rand(BATCH, 1, size, size) > 0.98).float()
    while True:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            outputs = network(x)
        loss = bce_dice(outputs.mask.float(), y) + 0.1 * image_bce(
            outputs.score.float(), has_mask(y)
        )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        yield


def _prepared() -> Prepared:
    images = 4 * BATCH
    rng = np.random.default_rng(0)
    records = [
        ImageRecord(
            image_id=str(number),
            path="",
            part="train",
            rows=SIZE,
            columns=SIZE,
            sex="",
            age_years=None,
            view="",
            modality="",
            photometric_interpretation="",
            transfer_syntax="",
            patient=None,
            pixel_hash=f"{number:032x}",
            labelled=True,
            positive=True,
            encoded_pixels="0 1",
            label=1.0,
            label_weight=1.0,
        )
        for number in range(images)
    ]
    x = rng.integers(0, 255, (images, SIZE, SIZE), dtype=np.uint8)
    y = rng.random((images, SIZE, SIZE)) > 0.98
    return Prepared(Path(), SIZE, x, y, x[:0], tuple(records), (), "benchmark")


if __name__ == "__main__":
    print(measure())
