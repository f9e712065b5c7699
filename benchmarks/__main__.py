"""`make bench`: every benchmark, as a table, latest.json and docs/images/benchmarks.png."""

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import (
    busy,
    comes_with_pleura,
    engines,
    peers,
    predict_folder,
    predict_memory,
    prepare_memory,
    run_lengths,
    table_picture,
    train_step,
)
from pleura.data.files import dicom_files
from pleura.models.bundle import current_versions
from pleura.models.loading import uses_bf16
from pleura.storage.atomic import write_bytes, write_text
from pleura.synthesis.phantom import write_cohort

LATEST = Path(__file__).parent / "latest.json"
PICTURE = Path(__file__).parents[1] / "docs/images/benchmarks.png"
REAL = Path(__file__).parents[2] / "shared/data/siim"


def main() -> None:
    """Run everything, print a line per ratio, and write them all."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        published, paths = _radiographs(Path(folder, "cohort"))
        rows += _shown(_in_a_fresh_process(published))
        rows += _shown(run_lengths.measure())
        rows += _shown(train_step.measure())
        rows += _shown(busy.measure())
        rows += _shown(engines.measure(paths[0]))
        rows += _shown(predict_folder.measure(paths))
        rows += _shown(comes_with_pleura.measure(paths))
        rows += _shown(peers.measure(paths))
    rows += _shown(prepare_memory.measure())
    rows += _shown(predict_memory.measure())
    report = {"machine": machine(), "benchmarks": rows}
    write_text(LATEST, json.dumps(report, indent=2) + "\n")
    write_bytes(PICTURE, table_picture.draw(report))
    print(f"wrote {LATEST} and {PICTURE}")


def _in_a_fresh_process(paths: list[Path]) -> list[dict[str, Any]]:
    """Return what read_dicom measures where nothing else, torch above all, was loaded before."""
    code = "import sys; from benchmarks import read_dicom as b; b.print_json(sys.argv[1:])"
    command = [sys.executable, "-c", code, *map(str, paths)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads_of_torch": torch.get_num_threads(),
        "system": platform.platform(),
        "bf16": uses_bf16("auto", torch.device("cpu")),
        "versions": current_versions(),
    }


def _radiographs(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return ten files as the challenge published them, and 40 of the same kind.

    Where the real ones are not at hand, both are phantoms, which are encoded alike.
    """
    if REAL.is_dir():
        return dicom_files(REAL / "dicom-images-test"), dicom_files(REAL / "dicom-images-train")[
            :40
        ]
    write_cohort(folder, train=40, test=0, seed=0)
    phantoms = dicom_files(folder / "dicom-images-train")[:40]
    return phantoms[:10], phantoms


def _shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        verdict = "met" if row["met"] else "MISSED"
        print(f"{row['name']:<72} {row['ratio']:6.2f}  goal {row['goal']:<5} {verdict}", flush=True)
    return rows


if __name__ == "__main__":
    main()
