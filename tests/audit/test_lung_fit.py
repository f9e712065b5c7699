from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from pleura.audit import lung_fit
from pleura.audit.lung_fit import FEWEST, LungFit, fit_findings
from pleura.audit.lung_fit import lung_fit as fitted
from pleura.config import Data
from pleura.data.index import build_index
from pleura.data.sources import find_sources
from pleura.formats.rle import mask2rle
from pleura.synthesis import lungs
from pleura.synthesis.lungs import SIDE, lung_shares

COUNT = 48


def made(count, seed=1):
    """Lungs of many shapes, and masks along the outer edge of the upper part of one of them."""
    rng = np.random.default_rng(seed)
    masks, shares = [], np.zeros((count, 2, SIDE, SIDE), np.float32)
    for number in range(count):
        top, high, wide = rng.integers(28, 52), rng.integers(22, 36), rng.integers(11, 17)
        middle, side = rng.integers(43, 53), rng.integers(0, 2)
        mask = np.zeros((SIDE, SIDE), np.float32)
        for lung in (0, 1):
            centre = (int(middle + (2 * lung - 1) * rng.integers(17, 25)), int(top + high // 2))
            cv2.ellipse(shares[number, lung], centre, (int(wide), int(high)), 0, 0, 360, 1, -1)
        rows, columns = np.nonzero(shares[number, side])
        near = rows < rows.min() + rng.integers(8, 20)
        mask[rows[near], columns[near]] = 1
        masks.append(cv2.resize(mask, (32, 32), interpolation=cv2.INTER_AREA))
    return np.array(masks, np.float64), shares


@pytest.mark.parametrize(
    ("spoiled", "code"),
    [
        (lambda masks: masks, ""),
        (lambda masks: np.roll(masks, 1, axis=0), "masks-of-others"),
        (lambda masks: masks[::-1], "masks-of-others"),
        (lambda masks: masks[:, :, ::-1], "mirrored-masks"),
        (lambda masks: masks[: FEWEST - 1][::-1], ""),
    ],
    ids=["sound", "shifted", "in another order", "mirrored", "few"],
)
def test_masks_are_held_against_lungs(spoiled, code):
    masks, shares = made(COUNT)
    masks = spoiled(masks)
    assert fitted(masks, shares[: len(masks)]).code == code


def test_what_are_no_two_lungs_is_passed_over():
    masks, shares = made(COUNT)
    shares[::2, 1] = 0
    assert fitted(masks, shares) == LungFit(COUNT // 2, 0.0, 0.0, 0.0)
    assert not LungFit(COUNT // 2, 0.0, 0.0, 0.0).code


def reference(seen):
    """The network of the recipe, with its normalisation folded in."""
    arrays = [torch.from_numpy(array) for array in lungs._weights().values()]
    *convolutions, head = zip(arrays[::2], arrays[1::2], strict=True)
    layers, kept = iter(convolutions), []

    def convolved(x):
        return functional.relu(functional.conv2d(x, *next(layers), padding=1))

    x = torch.from_numpy(seen)[None, None]
    for level in range(len(lungs.WIDTHS)):
        x = convolved(convolved(functional.max_pool2d(x, 2) if level else x))
        kept.append(x)
    for finer in kept[-2::-1]:
        x = convolved(torch.cat([finer, functional.interpolate(x, scale_factor=2)], 1))
    return functional.conv2d(x, *head).sigmoid()[0].numpy()


def test_many_radiographs_at_once_are_as_each_alone():
    rng = np.random.default_rng(2)
    thumbs = [rng.integers(0, 255, (SIDE, SIDE)).astype(np.uint8) for _ in range(3)]
    together = lung_shares(thumbs)
    for thumb, shares in zip(thumbs, together, strict=True):
        assert np.allclose(reference(lungs.equalise(thumb)), shares, atol=1e-4)


def test_few_masks_open_no_file(monkeypatch):
    monkeypatch.setattr(lung_fit, "measured_fit", None)
    record = SimpleNamespace(positive=True, mask_known=True, path="a")
    scans = {"a": SimpleNamespace(picture=None)}
    assert not [*fit_findings(SimpleNamespace(train=[record] * (FEWEST - 1), scans=scans))]
    assert not [*fit_findings(SimpleNamespace(train=[record] * FEWEST, scans=scans))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoiled", "codes"),
    [
        (lambda masks: masks, []),
        (lambda masks: masks[-1:] + masks[:-1], ["masks-of-others"]),
        (lambda masks: [mask[:, ::-1] for mask in masks], ["mirrored-masks"]),
    ],
    ids=["sound", "shifted", "mirrored"],
)
def test_masks_of_real_radiographs(real_data, tmp_path, spoiled, codes):
    source = Data(
        path=str(real_data / "siim-more"),
        annotations=str(real_data / "siim-more" / "train-rle.csv"),
    )
    index = build_index(find_sources(source))
    drawn = [record for record in index.train if record.positive]
    masks = spoiled([lung_fit.rle.rle2mask(r.encoded_pixels, (1024, 1024)) for r in drawn])
    texts = [mask2rle(np.ascontiguousarray(mask)) for mask in masks]
    table = tmp_path / "masks.csv"
    rows = (f"{r.image_id},{text}\n" for r, text in zip(drawn, texts, strict=True))
    table.write_text("ImageId,EncodedPixels\n" + "".join(rows))
    spoiled_index = build_index(
        find_sources(Data(path=str(real_data / "siim-more"), annotations=str(table)))
    )
    found = [*fit_findings(spoiled_index)]
    assert [finding.code for finding in found] == codes
    assert all(finding.count == len(drawn) for finding in found)
