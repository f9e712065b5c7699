"""Cohorts as large as the challenge's, of pictures that all differ, made in a minute or two."""

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray

from pleura.dicom.secondary import write_secondary_capture
from pleura.processes.workers import ordered_map
from pleura.storage.atomic import write_text
from pleura.synthesis.phantom import draw_phantom

SIDE = 1024
_DRAWN = 512
_BASES = 160
_BEND = 0.008  # of the side
_PREVALENCE = 0.22


def write_large_cohort(folder: Path, count: int, *, first: int = 0) -> Path:
    """Write `count` radiographs of 1024 x 1024 pixels with their table into `folder`; return it.

    Each is a mixture of two phantoms, turned and shifted at random: as large in its file and as
    slow to decode as a real one, and like no other.

    Args:
        folder: A new folder.
        count: How many.
        first: Number of the first, so that a cohort can be added to.
    """
    bases = folder.with_name(folder.name + "-bases.npy")
    if not bases.exists():
        rng = np.random.default_rng(0)
        radiographs = [draw_phantom(rng, size=_DRAWN, pneumothorax=False) for _ in range(_BASES)]
        bases.parent.mkdir(parents=True, exist_ok=True)
        np.save(bases, np.stack([radiograph.pixels for radiograph in radiographs]))
    numbers = range(first, first + count)
    rows = list(ordered_map(partial(_write, folder, bases), numbers))
    write_text(folder / "train-rle.csv", "\n".join(["ImageId, EncodedPixels", *rows]) + "\n")
    return folder


def write_reidentified(folder: Path, radiographs: Sequence[Path], count: int) -> Path:
    """Write `count` copies of `radiographs` into `folder`, each with its own ids; return it."""
    warnings.filterwarnings("ignore", "Invalid value for VR", UserWarning)  # stage 2's ID_...
    for number in range(count):
        data = pydicom.dcmread(radiographs[number % len(radiographs)])
        uid = f"1.2.276.0.7230010.3.1.4.8323329.{number}.1517875166.1"
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid
        data.PatientID = f"patient-{number // 2}"
        path = folder / "dicom-images-train" / f"{uid}.1" / f"{uid}.dcm"
        path.parent.mkdir(parents=True)
        data.save_as(path)
    rows = [f"1.2.276.0.7230010.3.1.4.8323329.{n}.1517875166.1, -1" for n in range(count)]
    write_text(folder / "train-rle.csv", "\n".join(["ImageId, EncodedPixels", *rows]) + "\n")
    return folder


def _write(folder: Path, bases: Path, number: int) -> str:
    rng = np.random.default_rng([1, number])
    radiographs = np.load(bases, mmap_mode="r", allow_pickle=False)
    one, other = (
        _turned(radiographs[place], rng) for place in rng.choice(_BASES, 2, replace=False)
    )
    share = rng.uniform(0.35, 0.65)
    pixels = cv2.addWeighted(one, share, other, 1 - share, 0)
    noise = rng.integers(0, 12, (SIDE // 2, SIDE // 2), np.uint8)
    pixels = cv2.add(pixels, cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))
    uid = f"1.2.276.0.7230010.3.1.4.8323329.{number}.1517875165.1"
    write_secondary_capture(
        folder / "dicom-images-train" / f"{uid}.1" / f"{uid}.2" / f"{uid}.dcm",
        np.asarray(pixels, np.uint8),
        sop_uid=uid,
        study_uid=f"{uid}.1",
        series_uid=f"{uid}.2",
        patient_id=f"patient-{number // 2}",
        patient_name="",
        age=20 + number % 70,
        sex="FM"[number % 2],
        view=("PA", "AP")[number % 3 == 0],
        spacing_mm=0.35,
        quality=90,
    )
    return f"{uid}, {'300000 90 934 90 934 90' if rng.random() < _PREVALENCE else '-1'}"


def _turned(radiograph: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a radiograph turned, shifted, scaled and and bent, at full size."""
    side = len(radiograph)
    turn, scale = rng.uniform(-6, 6), rng.uniform(0.95, 1.3)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), turn, scale)
    matrix[:, 2] += rng.uniform(-0.09, 0.09, 2) * side
    turned = cv2.warpAffine(radiograph, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    bend = rng.normal(0, _BEND * side, (2, 6, 6)).astype(np.float32)
    across, down = (cv2.resize(b, (side, side), interpolation=cv2.INTER_CUBIC) for b in bend)
    grid = np.mgrid[0:side, 0:side].astype(np.float32)
    bent = cv2.remap(turned, grid[1] + across, grid[0] + down, cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(bent, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.uint8)
