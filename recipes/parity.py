"""How far each network's exported files are from torch: the table in docs/reference/engines.md.

    python -m recipes.parity [--size 256]

Every network of the list in its default size, with random weights whose logits are spread over
about -4 to 4 on four phantoms (fresh ones answer the same everywhere, and would agree too easily).
What is compared is what the file's own engine answers in float32 after the file was read back.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pleura.config import Network
from pleura.data.prepare import PREPARATION
from pleura.engines.choice import open_engine
from pleura.engines.convert import to_onnx, to_openvino
from pleura.models import zoo
from pleura.models.blocks import Head
from pleura.models.bundle import Bundle, Preprocessing
from pleura.models.onnx_file import onnx_bytes, parse_onnx
from pleura.models.openvino_file import openvino_bytes, parse_openvino
from pleura.stages.export import take_pictures
from pleura.training.checkpoint import network_arrays

IMAGES = 4


def main() -> None:
    """Print the table, a row per network and engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    size = parser.parse_args().size
    pixels = take_pictures(None, size, IMAGES).pixels[:IMAGES]
    print("| network | engine | largest difference | decisions changed |")
    print("| --- | --- | --- | --- |", flush=True)
    for bundle in _bundles(pixels):
        for kind, largest, changed in _compared(bundle, pixels):
            print(f"| {bundle.network.name} | {kind} | {largest:.1e} | {changed} |", flush=True)


def _compared(bundle: Bundle, pixels: NDArray[np.uint8]) -> Iterator[tuple[str, float, int]]:
    """Yield engine, largest difference of a probability, pixels on the other side of 0.5."""
    expected = open_engine(bundle, "torch", precision="fp32").probabilities(pixels)
    for convert in (to_openvino, to_onnx):
        whole = replace(bundle, exported=convert(bundle))
        exported = whole.exported
        if exported.kind == "onnx":
            found = parse_onnx(onnx_bytes(whole, exported), Path("m.onnx"))
        else:
            xml = openvino_bytes(whole, exported)
            found = parse_openvino(xml, exported.weights, Path("m.xml"))
        answers = open_engine(found, precision="fp32").probabilities(pixels)
        largest = max(
            float(np.abs(ours - theirs).max())
            for ours, theirs in zip(expected, answers, strict=True)
        )
        changed = np.count_nonzero((answers.maps > 0.5) != (expected.maps > 0.5))
        yield exported.kind, largest, int(changed)


def _bundles(pixels: NDArray[np.uint8]) -> Iterator[Bundle]:
    small = []
    with tempfile.TemporaryDirectory() as folder:
        for name in zoo.NETWORKS:
            network = Network(name=name, backbone=folder if name == "backbone" else "")
            if name == "backbone":
                _write_backbone(folder)
            bundle = _bundle(zoo.complete(network), pixels)
            if name in ("cnn", "unet_small"):
                small.append(bundle)
            yield bundle
    members = [bundle.network for bundle in small]
    weights = {
        f"members.{number}.{name}": array
        for number, bundle in enumerate(small)
        for name, array in bundle.weights.items()
    }
    whole = zoo.complete(Network(name=zoo.ENSEMBLE, members=members, tta=True))
    yield replace(small[0], network=whole, weights=weights)


def _bundle(network: Network, pixels: NDArray[np.uint8]) -> Bundle:
    torch.manual_seed(0)
    built = zoo.build(network).eval()
    preprocessing = Preprocessing(pixels.shape[1], PREPARATION)
    (head,) = [module for module in built.modules() if isinstance(module, Head)]
    with torch.inference_mode():
        logits = built(torch.from_numpy(preprocessing.normalise(pixels))[:, None]).mask
    low, high = np.quantile(logits.numpy(), [0.01, 0.99])
    scale = 8 / float(high - low)
    with torch.no_grad():
        head.weight.mul_(scale)
        head.bias.copy_((head.bias - float(low + high) / 2) * scale)
    return Bundle(network, network_arrays(built), preprocessing)


def _write_backbone(folder: str) -> None:
    """Write a ConvNeXt V2 of the published "atto" size, without its weights."""
    from transformers import ConvNextV2Config

    ConvNextV2Config(depths=[2, 2, 6, 2], hidden_sizes=[40, 80, 160, 320]).save_pretrained(folder)


if __name__ == "__main__":
    main()
