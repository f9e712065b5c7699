"""Writes the patient table of the SIIM-ACR set that pleura ships.

Run it with ``python -m recipes.siim_patients MAP.csv.gz`` where MAP.csv.gz has the columns
``ImageId`` and ``patient``; the same map gives the same file. It is the map from the challenge's
UIDs to file names of NIH ChestX-ray14 that was published with the challenge's fifth-place solution.
"""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.data import patients as table
from pleura.data.patients import SIIM_TABLE, read_patients
from pleura.errors import DataError
from pleura.storage.atomic import atomic_path


def write_table(source: Path, target: Path = SIIM_TABLE) -> int:
    """Write the table of the map `source` to `target`, and return the number of its images."""
    patients = read_patients(source)
    columns = siim_columns(patients)
    with atomic_path(target) as partial, partial.open("wb") as file:
        np.savez_compressed(file, gaps=columns["gaps"], patients=columns["patients"])
    return len(patients)


def siim_columns(patients: Mapping[str, str]) -> dict[str, NDArray[np.uint8]]:
    """Return the columns of the shipped table for a map of image id -> patient number.

    The images stand in the order of their keys. Kept are the ``gaps`` between the keys (from 0 to
    the first, from the first to the second, ...) and the ``patients``, each as planes of bytes, the
    lowest first, because so they pack best.

    Returns:
        ``gaps`` ``(4, images)`` and ``patients`` ``(2, images)``, uint8.

    Raises:
        DataError: A patient is no number up to 65,535, or two images have the same key.
    """
    for image_id, patient in patients.items():
        if not (patient.isascii() and patient.isdecimal() and str(int(patient)) == patient):
            raise DataError(f"image {image_id}: patient {patient[:40]!r} is not a plain number")
        if int(patient) >= 1 << 16:
            raise DataError(f"image {image_id}: patient {patient} is above {(1 << 16) - 1}")
    numbers = {table.siim_key(image_id): int(patient) for image_id, patient in patients.items()}
    keys = sorted(numbers)
    gaps = np.diff(np.array(keys, np.int64), prepend=0)
    if len(keys) < len(patients) or gaps.max(initial=0) >= 1 << 32:
        raise DataError(
            f"the {len(patients)} images cannot be told apart by gaps of 32 bits between keys of "
            f"{table.KEY_BITS}; choose another length for the keys"
        )
    return {"gaps": _planes(gaps, 4), "patients": _planes([numbers[key] for key in keys], 2)}


def _planes(values: Iterable[int], count: int) -> NDArray[np.uint8]:
    wide = np.array(list(values), "<i8").view(np.uint8).reshape(-1, 8)
    return np.ascontiguousarray(wide[:, :count].T)


def main(arguments: list[str]) -> str | None:
    """Return what was wrong with the call, or None; print what was written."""
    if len(arguments) != 1:
        return "usage: python -m recipes.siim_patients MAP.csv.gz"
    images = write_table(Path(arguments[0]))
    print(f"wrote {SIIM_TABLE} ({images} images, {SIIM_TABLE.stat().st_size} bytes)")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
