"""Which images are of the same patient: from a CSV, and of public radiographs from their names.

The files of the SIIM-ACR set carry a random PatientID each, so nothing in them groups the images of
one patient. The table ``siim_patients.npz`` beside this module does. All of them are pictures of
NIH ChestX-ray14, whose file names begin with the patient's number; so a patient of either set, and
of radiographs drawn on theirs, is known by one number in every folder.
"""

import functools
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.data.matching import bare_name, is_rounded
from pleura.errors import DataError
from pleura.formats.csv_cells import text_of
from pleura.formats.csv_table import patient_of, rows_with, shown, whole_number

KEY_BITS = 40

NIH_PATIENTS = 30_805
"""Patients of NIH ChestX-ray14, numbered from 1."""

_NIH_NAME = re.compile("([0-9]{8})_[0-9]{3}")
SIIM_TABLE = Path(__file__).with_name("siim_patients.npz")


def read_patients(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return image id -> patient from a CSV with columns ``ImageId`` and ``patient``.

    An image whose patient is empty, or a word for nobody such as ``nan`` or ``unknown``, is not in
    it.

    Args:
        path: A ``.csv`` or ``.csv.gz``; other columns are ignored.

    Raises:
        DataError: The file cannot be read, lacks a column, or gives an image two patients.
    """
    patients: dict[str, str] = {}
    for line, row, _ in rows_with(path, ("ImageId", "patient"), "a patient map"):
        image_id, patient = row["ImageId"], patient_of(row["patient"])
        if image_id and patient and patients.setdefault(image_id, patient) != patient:
            raise DataError(
                f"{path}: line {line} gives image {shown(image_id)} another patient than an "
                "earlier line; keep one of them"
            )
    return patients


def joined_maps(maps: Mapping[Path, Mapping[str, str]]) -> dict[str, str]:
    """Return several patient maps as one.

    Args:
        maps: Image id -> patient of each, by its path. One name in two maps is one patient.

    Raises:
        DataError: Two of them give an image two patients.
    """
    joined: dict[str, str] = {}
    first: dict[str, Path] = {}
    for path, table in maps.items():
        for image_id, patient in table.items():
            if joined.setdefault(image_id, patient) != patient:
                raise DataError(
                    f"{path}: gives image {shown(image_id)} another patient than {first[image_id]} "
                    "does; mend one of them, or name the right one with `patients`"
                )
            first.setdefault(image_id, path)
    return joined


def patient_doubts(patients: Mapping[str, str]) -> list[str]:
    """Return what is to be said of patients that are likely one, or several under one name.

    It is only said, for nobody but the owner of a table knows; and no name of a patient is told.

    Args:
        patients: Image id -> patient.
    """
    spelled: dict[str, dict[str, str]] = defaultdict(dict)
    for image_id, name in patients.items():
        spelled[bare_name(name)].setdefault(name, image_id)
    alike = [[*images.values()] for images in spelled.values() if len(images) > 1]
    said = []
    if alike:
        more = f", and {len(alike) - 1:,} more are so" if len(alike) > 1 else ""
        said.append(
            f"the patients of images {shown(alike[0][0])} and {shown(alike[0][1])} differ by "
            f"leading zeros, decimals, capital letters or the form of accents alone{more}: they "
            "count as several; if they are one, write them alike"
        )
    rounded = [image_id for image_id, name in patients.items() if is_rounded(name)]
    if rounded:
        said.append(
            f"the patients of {len(rounded):,} images, such as {shown(rounded[0])}, are numbers "
            "that a spreadsheet rounded, so several may have become one: write them as text"
        )
    return said


def nih_patient(name: str) -> int | None:
    """Return the patient of a picture of NIH ChestX-ray14, or None for any other picture.

    Args:
        name: Its file name there without a suffix, such as ``00002563_000``, or its SOP Instance
            UID in the SIIM-ACR set, which is made of the same pictures.
    """
    found = _NIH_NAME.fullmatch(name)
    if found is not None and 1 <= int(found[1]) <= NIH_PATIENTS:
        return int(found[1])
    number = siim_patient(name)
    return None if number is None else int(number)


def read_drawn_on(path: str | os.PathLike[str]) -> dict[str, int]:
    """Return image id -> NIH patient of the radiograph it was drawn on, from what simulate wrote.

    Args:
        path: ``simulate.csv``, with the columns ``ImageId``, ``source`` (a file) and, where it is
            of this version, ``nih_patient``. Images drawn on other radiographs are left out.

    Raises:
        DataError: The file cannot be read or lacks a column.
    """
    drawn: dict[str, int] = {}
    what = "what pleura simulate tells of its radiographs"
    for _, row, _ in rows_with(path, ("ImageId", "source"), what):
        known = whole_number(row.get("nih_patient", ""), NIH_PATIENTS)
        known = known or nih_patient(Path(text_of(row["source"])).stem)
        if known is not None:
            drawn[row["ImageId"]] = known
    return drawn


def siim_patient(image_id: str) -> str | None:
    """Return the NIH patient of an image of the SIIM-ACR set, or None for any other image.

    The answer is the patient's number without leading zeros, as in the map's own column: ``2563``
    for ``00002563_000.png``. Known are the 12,047 images that stage 2 annotates, of 6,171 patients;
    the test images of stage 2 and the few that nobody annotated are not among them. The table keeps
    a 40-bit key per image instead of its id, so another image is mistaken for one of them with a
    probability of 12,047 / 2**40, about 1 in 91 million.

    Args:
        image_id: The SOP Instance UID.

    Source:
        The map from the challenge's UIDs to file names of NIH ChestX-ray14 that was published with
        the challenge's fifth-place solution. The numbers are that public set's own pseudonyms.
    """
    number = _siim_table().get(siim_key(image_id))
    return None if number is None else str(number)


@functools.cache
def _siim_table() -> dict[int, int]:
    with np.load(SIIM_TABLE, allow_pickle=False) as columns:
        keys = np.cumsum(_values(columns["gaps"]))
        return dict(zip(keys.tolist(), _values(columns["patients"]).tolist(), strict=True))


def siim_key(image_id: str) -> int:
    """Return what stands in the shipped table for an image's id."""
    name = image_id.encode(errors="backslashreplace")
    return int.from_bytes(blake2b(name, digest_size=KEY_BITS // 8).digest(), "big")


def _values(planes: NDArray[np.uint8]) -> NDArray[np.int64]:
    shifts = 8 * np.arange(len(planes), dtype=np.int64)
    values: NDArray[np.int64] = (planes.astype(np.int64) << shifts[:, None]).sum(axis=0)
    return values
