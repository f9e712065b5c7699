"""Writes the patient table of the SIIM-ACR set that pleura ships.

Run it with ``python -m recipes.siim_patients MAP.csv.gz`` where MAP.csv.gz has the columns
``ImageId`` and ``patient``; the same map gives the same file. It is the map from the challenge's
UIDs to file names of NIH ChestX-ray14 that was published with the challenge's fifth-place solution.
"""

import sys
from pathlib import Path

import numpy as np

from pleura.data.patients import SIIM_TABLE, read_patients, siim_columns
from pleura.storage.atomic import atomic_path


def write_table(source: Path, target: Path = SIIM_TABLE) -> int:
    """Write the table of the map `source` to `target`, and return the number of its images."""
    patients = read_patients(source)
    columns = siim_columns(patients)
    with atomic_path(target) as partial, partial.open("wb") as file:
        np.savez_compressed(file, gaps=columns["gaps"], patients=columns["patients"])
    return len(patients)


def main(arguments: list[str]) -> str | None:
    """Return what was wrong with the call, or None; print what was written."""
    if len(arguments) != 1:
        return "usage: python -m recipes.siim_patients MAP.csv.gz"
    images = write_table(Path(arguments[0]))
    print(f"wrote {SIIM_TABLE} ({images} images, {SIIM_TABLE.stat().st_size} bytes)")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
