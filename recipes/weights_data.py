"""Which radiographs the shipped weights learn from, which judge them, and what is known of each.

Radiographs of the SIIM-ACR challenge have masks. Radiographs of NIH ChestX-ray14 that are not among
them have the word of a report, or of several radiologists, for the whole radiograph. Patients are
NIH's numbers in both, so no patient is ever on two sides.
"""

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pleura.config import Data
from pleura.data.arrays import open_prepared, write_prepared
from pleura.data.folds import assign_folds
from pleura.data.index import build_index
from pleura.data.patients import siim_patient
from pleura.data.prepare import prepare_mask, prepare_pixels
from pleura.data.radiographs import read_any_radiograph
from pleura.data.sources import find_sources
from pleura.formats.annotation_table import read_annotations
from pleura.storage.atomic import write_text

Known = Literal["mask", "empty", "positive", "doubtful"]
"""What is known of a radiograph: its mask; that it has none; that it is positive, from
radiologists; or only that its report says pneumothorax, which is wrong so often that it is believed
of nothing alone."""

ASIDE = "aside.json"


def set_aside(patient: int, seen: frozenset[int]) -> bool:
    """Return whether a patient is of the fixed fifth that chooses nothing and trains nothing.

    A quarter of the patients whom no earlier weights have seen, by a hash of the number: about a
    fifth of all. The rule stands for a list, and gives the same answer for radiographs that come
    later.
    """
    drawn = hashlib.sha256(b"pleura aside %d" % patient).digest()[0]
    return patient not in seen and drawn % 4 == 0


@dataclass(frozen=True, slots=True, eq=False)
class Radiographs:
    """Radiographs that train, as arrays.

    Attributes:
        x: ``(n, S, S)`` uint8 prepared pixels.
        y: ``(n, S, S)`` uint8: 255 inside the mask, shares of it where a teacher drew it.
        known: ``(n,)``, of :data:`Known`.
        challenge: ``(n,)`` bool: whether the challenge's radiologists judged it.
        patients: ``(n,)`` NIH's number.
        fold: ``(n,)``: of those with a challenge's file the fold, -1 for others.
        area: ``(n,)``: share of the radiograph that the mask covers.
    """

    x: NDArray[np.uint8]
    y: NDArray[np.uint8]
    known: NDArray[np.str_]
    challenge: NDArray[np.bool_]
    patients: NDArray[np.int64]
    fold: NDArray[np.int64]
    area: NDArray[np.float64]


def prepare_radiographs(
    siim: Path,
    nih: Sequence[Path],
    table: Path,
    seen: frozenset[int],
    out: Path,
    size: int,
    *,
    whole: bool = False,
) -> None:
    """Write ``aside-S`` and ``develop-S`` (prepared folders) and ``nih-S.npz`` into `out`.

    Args:
        siim: The challenge's files in Kaggle's layout.
        nih: Folders with ``images`` and ``labels.csv``; one with ``siim.csv`` names those of its
            radiographs that the challenge has too.
        table: The challenge's whole annotation table, for the masks of these.
        seen: Patients whom the weights to begin with have seen.
        out: Where to write.
        size: S.
        whole: Whether nobody is set aside: for a last training, which nothing here can judge.
    """
    index = build_index(find_sources(Data(path=str(siim))), workers=1)
    whom = {patient_of(record.image_id) for record in index.train}
    patients = {one for one in whom if set_aside(one, seen)} if not whole else set()
    aside = [record for record in index.train if patient_of(record.image_id) in patients]
    develop = [record for record in index.train if patient_of(record.image_id) not in patients]
    if aside:
        write_prepared(aside, [], out / f"aside-{size}", size=size, workers=1)
    write_prepared(develop, [], out / f"develop-{size}", size=size, workers=1)
    write_text(out / ASIDE, json.dumps(sorted(patients)))
    have = {record.image_id for record in index.train}
    _write_nih(nih, table, have, frozenset(patients), out / f"nih-{size}.npz", size)


def read_radiographs(out: Path, size: int, folds: int) -> Radiographs:
    """Return the radiographs that train: the challenge's first, in the order of ``develop-S``."""
    develop = open_prepared(out / f"develop-{size}")
    records = develop.train
    with np.load(out / f"nih-{size}.npz", allow_pickle=False) as nih:
        x, y, known, patients = nih["x"], nih["y"], nih["known"], nih["patients"]
        challenge = nih["challenge"]
    own = np.array(["mask" if record.positive else "empty" for record in records])
    area = [(record.area_px or 0) / (record.rows * record.columns) for record in records]
    return Radiographs(
        x=np.concatenate([develop.x_train, x]),
        y=255 * np.concatenate([develop.y_train, y]).astype(np.uint8),
        known=np.concatenate([own, known]),
        challenge=np.concatenate([np.ones(len(records), bool), challenge]),
        patients=np.concatenate([[patient_of(record.image_id) for record in records], patients]),
        fold=np.concatenate([assign_folds(records, folds), np.full(len(x), -1)]),
        area=np.concatenate([area, y.mean(axis=(1, 2))]),
    )


def _write_nih(
    folders: Sequence[Path],
    table: Path,
    have: set[str],
    aside: frozenset[int],
    path: Path,
    size: int,
) -> None:
    masks = read_annotations(table)
    x, y, known, patients, judged = [], [], [], [], []
    for folder in folders:
        twins = folder / "siim.csv"
        challenge = {row["image"]: row["ImageId"] for row in _rows(twins)} if twins.exists() else {}
        for row in _rows(folder / "labels.csv"):
            image_id = challenge.get(row["image"])
            if int(row["patient"]) in aside or image_id in have:
                continue
            pixels = read_any_radiograph(folder / "images" / row["image"]).pixels
            mask = np.zeros((size, size), bool)
            kind = _known(row)
            if image_id is not None:
                mask = prepare_mask(masks.mask(image_id, (1024, 1024)), size)
                kind = "mask" if mask.any() else "empty"
            x.append(prepare_pixels(pixels, size))
            y.append(mask)
            known.append(kind)
            patients.append(int(row["patient"]))
            judged.append(image_id is not None)
    np.savez(
        path,
        x=np.stack(x),
        y=np.stack(y),
        known=np.array(known),
        patients=np.array(patients),
        challenge=np.array(judged),
    )


def _known(row: dict[str, str]) -> Known:
    """Return what NIH's table says of one: several radiologists count before the report."""
    judged = row.get("adjudicated", "")
    if judged:
        return "positive" if judged == "1" else "empty"
    return "doubtful" if row["pneumothorax"] == "1" else "empty"


def patient_of(image_id: str) -> int:
    """Return NIH's number of a challenge's radiograph's patient."""
    found = siim_patient(image_id)
    if found is None:
        raise SystemExit(f"{image_id}: the patient map does not know this radiograph; leave it out")
    return int(found)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
