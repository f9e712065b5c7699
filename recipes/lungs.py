"""Trains the small network that finds the lung fields, and compares it with fields made elsewhere.

``python -m recipes.lungs train --write`` draws phantoms, whose lungs are known, disturbs them,
and trains the network of :mod:`pleura.synthesis.lungs` on nothing else; the same seed on the same
machine gives the same weights. ``python -m recipes.lungs compare RADIOGRAPHS LUNGS`` prints the
Dice against lung fields ``NAME.png`` of the radiographs ``NAME.*``, and how many radiographs the
quality check refuses. No radiograph of a real person and no field of one takes part in the
training.
"""

import argparse
import itertools
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from pleura.data.radiographs import radiograph_files, read_any_radiograph
from pleura.processes.workers import ordered_map
from pleura.storage.atomic import atomic_path
from pleura.synthesis import lungs
from pleura.synthesis.phantom import draw_phantom

PHANTOMS = 1600
DRAWN_AT = 192
STEPS = 800
BATCH = 16
RATE = 6e-3
SEED = 0

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Network(nn.Module):
    """The network of :mod:`pleura.synthesis.lungs`, with batch normalisation, to train."""

    def __init__(self) -> None:
        super().__init__()
        widths = lungs.WIDTHS
        self.down = nn.ModuleList(
            nn.Sequential(_conv(before, width), _conv(width, width))
            for before, width in zip((1, *widths[:-1]), widths, strict=True)
        )
        self.up = nn.ModuleList(
            _conv(deep + width, width) for width, deep in itertools.pairwise(widths)
        )
        self.head = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of the two fields."""
        kept = []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for level in reversed(range(len(self.up))):
            larger = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = self.up[level](torch.cat([kept[level], larger], dim=1))
        return self.head(x)

    def arrays(self) -> dict[str, NDArray[np.float16]]:
        """Return the weights with the normalisation folded in, as the package reads them."""
        convs = [conv for block in self.down for conv in block] + list(reversed(self.up))
        out = {}
        for number, (conv, norm, _) in enumerate(convs):
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            out[f"weight{number}"] = conv.weight * scale[:, None, None, None]
            out[f"bias{number}"] = norm.bias - norm.running_mean * scale
        out["head_weight"], out["head_bias"] = self.head.weight, self.head.bias
        return {name: value.detach().numpy().astype(np.float16) for name, value in out.items()}


def draw(number: int) -> Pair:
    """Return one phantom and its two lung fields, (size, size) and (size, size, 2) uint8."""
    rng = np.random.default_rng([SEED, number])
    phantom = draw_phantom(rng, size=DRAWN_AT, pneumothorax=bool(rng.random() < 0.15))
    return phantom.pixels, np.moveaxis(phantom.lungs, 0, -1).astype(np.uint8) * 255


def disturbed(rng: np.random.Generator, pair: Pair) -> tuple[NDArray[np.float32], ...]:
    """Return a phantom as the network sees it, moved and made unlike itself, and its fields."""
    pixels, fields = pair
    size = pixels.shape[0]
    grey = pixels.astype(np.float32) / 255
    for _ in range(rng.integers(0, 4)):  # opacities, in the lungs or anywhere
        centre = rng.uniform(0.1, 0.9, 2) * size
        radii = rng.uniform(0.03, 0.22, 2) * size
        y, x = np.mgrid[:size, :size].astype(np.float32)
        spot = np.exp(-(((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2))
        grey += (rng.uniform(-0.12, 0.4) * spot * (1 - grey)).astype(np.float32)
    if rng.random() < 0.3:  # something solid
        at, wide = rng.uniform(0.1, 0.9, 2) * size, rng.uniform(0.01, 0.05, 2) * size
        start, stop = (at - wide).astype(int), (at + wide).astype(int)
        cv2.rectangle(grey, start.tolist(), stop.tolist(), float(rng.uniform(0.6, 1)), -1)
    matrix = cv2.getRotationMatrix2D(
        (size / 2, size / 2), rng.normal(0, 4), float(rng.uniform(0.78, 1.25))
    )
    matrix[0, 2] += rng.normal(0, 0.04) * size
    matrix[1, 2] += rng.normal(0, 0.05) * size
    matrix[0, :2] *= rng.uniform(0.9, 1.1)
    border = cv2.BORDER_REPLICATE if rng.random() < 0.6 else cv2.BORDER_CONSTANT
    grey = cv2.warpAffine(grey, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)
    fields = cv2.warpAffine(fields, matrix, (size, size), flags=cv2.INTER_LINEAR)
    bias = cv2.resize(rng.normal(0, 1, (4, 4)).astype(np.float32), (size, size), interpolation=2)
    grey = np.clip(grey, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.35)))
    grey = grey + np.float32(rng.uniform(0, 0.07)) * bias
    grey = cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.3, 1.4))
    grey += rng.normal(0, rng.uniform(0, 0.04), grey.shape).astype(np.float32)
    if rng.random() < 0.3:
        for edge in range(4):
            view = np.rot90(grey, edge)
            view[: round(max(rng.uniform(-0.1, 0.1), 0) * size)] = rng.choice((0.0, 1.0))
    seen = lungs.equalise(np.clip(grey * 255, 0, 255).astype(np.uint8))
    fields = cv2.resize(fields, (lungs.SIDE, lungs.SIDE), interpolation=cv2.INTER_AREA)
    truth = np.moveaxis(fields.astype(np.float32) / 255, -1, 0)
    if rng.random() < 0.3:
        return np.ascontiguousarray(seen[:, ::-1]), np.ascontiguousarray(truth[::-1, :, ::-1])
    return seen, truth


def train(pairs: list[Pair]) -> Network:
    """Return the network trained on disturbed phantoms."""
    torch.manual_seed(SEED)
    rng = np.random.default_rng([SEED, 1 << 20])
    network = Network().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for step in range(STEPS):
        chosen = rng.integers(len(pairs), size=BATCH)
        seen, truth = zip(*(disturbed(rng, pairs[index]) for index in chosen), strict=True)
        x = torch.from_numpy(np.stack(seen))[:, None].contiguous(memory_format=torch.channels_last)
        y = torch.from_numpy(np.stack(truth))
        logits = network(x)
        shares = torch.sigmoid(logits)
        overlap = (2 * (shares * y).sum((2, 3)) + 1) / (shares.sum((2, 3)) + y.sum((2, 3)) + 1)
        loss = functional.binary_cross_entropy_with_logits(logits, y) + 0.3 * (1 - overlap.mean())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)
    return network.eval()


def write(network: Network) -> None:
    """Write the weights beside the module that reads them."""
    with atomic_path(lungs.WEIGHTS) as partial_path, partial_path.open("wb") as file:
        np.savez_compressed(file, **network.arrays())
    print(f"wrote {lungs.WEIGHTS} ({lungs.WEIGHTS.stat().st_size} bytes)")


def _compared(fields: Path, radiograph: Path) -> tuple[str, float, str]:
    known = cv2.imread(str(fields / f"{radiograph.stem}.png"), cv2.IMREAD_GRAYSCALE)
    if known is None:
        return radiograph.stem, float("nan"), ""
    found = lungs.find_lungs(read_any_radiograph(radiograph).pixels)
    mask = found.mask.any(axis=0).astype(np.uint8)
    mask = cv2.resize(mask, known.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    truth = known > 127
    return (
        radiograph.stem,
        float(2 * (mask & truth).sum() / (mask.sum() + truth.sum())),
        found.doubt,
    )


def compare(radiographs: Path, fields: Path) -> None:
    """Print how well the fields of real radiographs agree, those refused and those kept apart."""
    rows = [
        row
        for row in ordered_map(partial(_compared, fields), radiograph_files(radiographs))
        if row[1] >= 0
    ]
    for name, chosen in (
        ("all", rows),
        ("kept", [row for row in rows if not row[2]]),
        ("refused", [row for row in rows if row[2]]),
    ):
        dice = np.array([row[1] for row in chosen])
        if len(dice):
            quantiles = np.quantile(dice, (0, 0.01, 0.05, 0.25, 0.5, 0.75)).round(3)
            print(
                f"{name}: {len(dice)} radiographs, mean Dice {dice.mean():.4f}, "
                f"quantiles {quantiles}"
            )
    for name, dice, doubt in sorted(rows, key=lambda row: row[1])[:12]:
        print(f"  {name}: {dice:.3f} {doubt}")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("train").add_argument("--write", action="store_true")
    comparison = verbs.add_parser("compare")
    comparison.add_argument("radiographs", type=Path)
    comparison.add_argument("lungs", type=Path)
    arguments = parser.parse_args()
    if arguments.verb == "compare":
        compare(arguments.radiographs, arguments.lungs)
        return
    network = train(list(ordered_map(draw, range(PHANTOMS))))
    if arguments.write:
        write(network)


if __name__ == "__main__":
    main()
