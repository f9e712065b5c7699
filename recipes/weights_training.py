"""One training of the shipped weights: by masks, by labels, and by what a teacher said.

Shapes: B batch, S side.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pleura.config import Network, Train
from pleura.data.prepare import PREPARATION
from pleura.models import zoo
from pleura.models.blocks import Outputs
from pleura.models.bundle import Preprocessing
from pleura.models.weights import Arrays
from pleura.training import augment, checkpoint, schedule
from pleura.training.batches import Batch, Beliefs, Truth
from pleura.training.learner import Learner
from pleura.training.losses import bce, soft_dice
from pleura.training.setup import make_accelerator
from recipes.weights_data import Radiographs

NETWORK = Network(name="efficientnet", width=16)
BATCH = 16
SMALL = 0.01
IMAGE_LOSS = 0.2
SETTINGS = Train(weight_decay=2e-2, encoder_rate=0.5, clip=1.0, ema=0.99)
PREPROCESSING = Preprocessing(256, PREPARATION)
STATE = "state.h5"


@dataclass(frozen=True, slots=True)
class Plan:
    """How one network is trained.

    Attributes:
        sizes: Side in pixels, of each epoch.
        rate: Largest learning rate; a cosine with a rise over the first 8 % of the steps.
        seed: Of order and augmentation.
        held: The fold that does not train; None: all radiographs of the challenge do.
        network: What is trained.
    """

    sizes: tuple[int, ...]
    rate: float
    seed: int = 0
    held: int | None = None
    network: Network = NETWORK


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What a teacher says of some radiographs.

    Attributes:
        rows: ``(n,)`` rows of the radiographs.
        maps: ``(n, S, S)`` uint8: probabilities in steps of 1/255.
        scores: ``(n,)`` float: image scores in 0..1.
    """

    rows: NDArray[np.int64]
    maps: NDArray[np.uint8]
    scores: NDArray[np.float64]


def taught(
    radiographs: Radiographs, said: Said | None
) -> tuple[Radiographs, NDArray[np.float64], NDArray[np.bool_]]:
    """Return radiographs with a teacher's masks mixed in; labels; whose masks count.

    A quarter of a challenge's mask is the teacher's, and all of a mask that nobody drew. A label is
    the challenge's or NIH's to 85 %, a doubtful one the teacher's alone, a radiologists' one to 70
    %.
    """
    from dataclasses import replace

    label = np.isin(radiographs.known, ["mask", "positive"]).astype(float)
    drawn = np.isin(radiographs.known, ["mask", "empty"])
    if said is None:
        return radiographs, label, drawn
    y = radiographs.y.copy()
    for row, own, score in zip(said.rows, said.maps, said.scores, strict=True):
        if radiographs.known[row] in ("mask", "empty"):
            y[row] = np.round(0.75 * y[row] + 0.25 * own).astype(np.uint8)
            label[row] = 0.85 * label[row] + 0.15 * score
        else:
            sure = radiographs.known[row] == "positive"
            y[row], drawn[row] = own, True
            label[row] = 0.7 + 0.3 * score if sure else score
    return replace(radiographs, y=y), label, drawn


def train(
    radiographs: Radiographs, said: Said | None, plan: Plan, begin: Arrays, out: Path
) -> Arrays:
    """Train a network that begins with `begin`; return the moving average of its weights.

    An epoch takes each of the challenge's radiographs once, half of those with a small lesion once
    more, half of the radiographs that only have a label, and half as many of NIH's negatives as the
    challenge has radiographs. A training that was cut off goes on after its last epoch.

    Args:
        radiographs: The radiographs.
        said: What a teacher says of some.
        plan: How to train.
        begin: The weights to begin with.
        out: Where ``weights.npz`` and the state after each epoch are written.
    """
    radiographs, label, drawn = taught(radiographs, said)
    belief = np.where((radiographs.known == "positive") & (said is None), 0.6, 1.0)
    beliefs = _beliefs(label, belief, drawn, soft=said is not None)
    learner = _learner(begin, plan.network)
    orders = _orders(radiographs, plan, whether_doubtful=said is not None)
    out.mkdir(parents=True, exist_ok=True)
    done = _resume(out / STATE, learner)
    begun = time.monotonic()
    for epoch, side in enumerate(plan.sizes):
        rows = next(orders)
        if epoch < done:
            continue
        steps = len(rows) // BATCH
        choices = augment.draw(steps * BATCH, plan.seed, epoch)
        learner.network.train()
        losses = []
        for step in range(steps):
            part = slice(step * BATCH, (step + 1) * BATCH)
            factor = schedule.rate_factor(
                "cosine", epoch * steps + step, len(plan.sizes) * steps, 0.08
            )
            learner.set_rate(plan.rate * factor)
            loss, _, _ = learner.step(_batch(radiographs, rows[part], beliefs), choices[part], side)
            losses.append(float(loss.detach()))
        told = f"epoch {epoch + 1} of {len(plan.sizes)}, {side} px: loss {np.mean(losses):.4f}"
        print(f"{out.name}: {told}, {time.monotonic() - begun:.0f} s", flush=True)
        _keep(out / STATE, epoch + 1, learner)
    weights = learner.kept_weights()
    np.savez(out / "weights.npz", **weights)
    return weights


def _learner(begin: Arrays, network: Network) -> Learner:
    accelerator = make_accelerator("bf16", accumulate=1)
    torch.set_num_threads(1)
    return Learner(build(begin, network), SETTINGS, _loss, PREPROCESSING, accelerator)


def _keep(path: Path, epoch: int, learner: Learner) -> None:
    """Write the state after `epoch` epochs."""
    checkpoint.write_checkpoint(learner.state(epoch, {}, {}), path)


def _resume(path: Path, learner: Learner) -> int:
    """Put back what :func:`_keep` wrote, if it did; return the finished epochs."""
    if not path.exists():
        return 0
    state = checkpoint.read_checkpoint(path)
    learner.restore(state)
    return state.epoch


def build(weights: Arrays, settings: Network = NETWORK) -> nn.Module:
    """Return the network with these weights."""
    network = zoo.build(zoo.complete(settings))
    floats = {
        name: np.asarray(array, np.float32) if array.dtype.kind == "f" else array
        for name, array in weights.items()
    }
    checkpoint.restore_network(network, floats)
    return network.to(memory_format=torch.channels_last)  # type: ignore


@torch.no_grad()
def predict(
    network: nn.Module, radiographs: Radiographs, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return maps ``(n, S, S)`` and scores ``(n,)``, means over picture and mirror image."""
    network.eval()
    maps, scores = [], []
    for start in range(0, len(rows), BATCH):
        x = torch.from_numpy(radiographs.x[rows[start : start + BATCH]]).float()[:, None] / 255
        both = [_answer(network, x), _answer(network, x.flip(-1))]
        maps.append((both[0][0] + both[1][0].flip(-1)).numpy() / 2)
        scores.append((both[0][1] + both[1][1]).numpy() / 2)
    return np.concatenate(maps), np.concatenate(scores)


def _answer(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = (x - PREPROCESSING.mean) / PREPROCESSING.std
    outputs = network(x.contiguous(memory_format=torch.channels_last))
    return torch.sigmoid(outputs.mask[:, 0].float()), torch.sigmoid(outputs.score.float())


def _beliefs(
    label: NDArray[np.float64], belief: NDArray[np.float64], drawn: NDArray[np.bool_], *, soft: bool
) -> NDArray[np.float32]:
    """Return ``(n, 5)``: what is believed of each radiograph, as :class:`Beliefs` holds it.

    A mask of shares says less than its label whether there is a pneumothorax.
    """
    shares = np.full(len(label), soft)
    return np.stack([label, belief, drawn, drawn & ~shares, shares], axis=1).astype(np.float32)


def _batch(
    radiographs: Radiographs, rows: NDArray[np.int64], beliefs: NDArray[np.float32]
) -> Batch:
    return Batch(
        torch.arange(len(rows)),
        torch.from_numpy(radiographs.x[rows])[:, None],
        torch.from_numpy(radiographs.y[rows])[:, None],
        beliefs=Beliefs(*torch.from_numpy(beliefs[rows].T.copy())),
    )


def _loss(outputs: Outputs, truth: Truth) -> Tensor:
    """Return the loss of a batch; a mask that nobody drew takes no part in it."""
    assert truth.beliefs is not None
    annotated, drawn = truth.beliefs.annotated > 0, truth.beliefs.mask_weight > 0
    # What the augmentation moved out of the radiograph is not on it.
    gone = annotated & (truth.mask.flatten(1).amax(1) < 0.5)
    label = truth.beliefs.positive.where(~gone, torch.zeros(()))
    image = functional.binary_cross_entropy_with_logits(outputs.score, label, reduction="none")
    loss = IMAGE_LOSS * (image * truth.beliefs.positive_weight).mean()
    if drawn.any():
        mask, y = outputs.mask[drawn], truth.mask[drawn]
        loss = loss + (bce(mask, y) + 0.5 * soft_dice(mask, y)) * drawn.float().mean()
    return loss


def count_epoch(radiographs: Radiographs, plan: Plan) -> int:
    """Return how many radiographs an epoch without a teacher takes."""
    return len(next(_orders(radiographs, plan, whether_doubtful=False)))


def _orders(
    radiographs: Radiographs, plan: Plan, *, whether_doubtful: bool
) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each epoch."""
    rng = np.random.default_rng(plan.seed)
    held = (
        set(radiographs.patients[radiographs.fold == plan.held].tolist())
        if plan.held is not None
        else set()
    )
    free = ~np.isin(radiographs.patients, list(held))
    own = np.flatnonzero(free & radiographs.challenge)
    small = own[
        (radiographs.fold[own] >= 0) & (radiographs.area[own] > 0) & (radiographs.area[own] < SMALL)
    ]
    kinds = ["positive", "doubtful"] if whether_doubtful else ["positive"]
    labels = np.flatnonzero(free & np.isin(radiographs.known, kinds))
    negative = np.flatnonzero(free & ~radiographs.challenge & (radiographs.known == "empty"))
    streams = [_stream(rng, part) for part in (small, labels, negative)]
    counts = [len(small) // 2, len(labels) // 2, len(own) // 2]
    while True:
        drawn = [
            next(stream)
            for stream, count in zip(streams, counts, strict=True)
            for _ in range(count)
        ]
        yield rng.permutation(np.concatenate([own, np.array(drawn, np.int64)]))


def _stream(rng: np.random.Generator, items: NDArray[np.int64]) -> Iterator[int]:
    while True:
        yield from rng.permutation(items).tolist()
