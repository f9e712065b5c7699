"""The audit at the size of the challenge: headers against pydicom, and what a whole audit costs.

``python -m benchmarks.audit`` makes 10,712 radiographs (about 1.5 GB in the temporary folder) and
takes some minutes; ``--files 1000`` makes fewer, ``--cohort FOLDER`` keeps them for another time.
``--real SIIM`` measures the share of the decoder on re-identified copies of real radiographs too.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import imagecodecs

from benchmarks.cohorts import write_large_cohort, write_reidentified
from pleura.data.files import dicom_files

FILES = 10_712
ROUNDS = 3


def measure(folder: Path, files: int = FILES) -> list[dict[str, Any]]:
    """Return the ratios: headers, share of the decoder, linearity, memory."""
    if not (folder / "train-rle.csv").exists():
        write_large_cohort(folder, files)
    few = max(64, files // 10)
    share = in_process("share", folder, files)
    small, large = in_process("whole", folder, few), in_process("whole", folder, files)
    per_file = large["seconds"] / files / (small["seconds"] / few)
    return [
        row(
            "header index, files found and records made, against pydicom's headers",
            headers(folder),
            "<=",
            1.5,
        ),
        row("share of the JPEG decoder in a whole audit, 1 process", share["share"], ">=", 0.6),
        row(f"audit: seconds per file, {files:,} files against {few:,}", per_file, "<=", 1.15),
        row(
            f"audit: peak memory, {files:,} files against {few:,}",
            large["peak_bytes"] / small["peak_bytes"],
            "<=",
            1.5,
        ),
    ]


def measure_real(folder: Path, radiographs: Path, files: int) -> dict[str, Any]:
    """Return the share of the decoder in an audit of re-identified copies of real radiographs."""
    write_reidentified(folder, dicom_files(radiographs), files)
    share = in_process("share", folder, files)["share"]
    return row(
        "share of the JPEG decoder, re-identified real radiographs, 1 process", share, ">=", 0.6
    )


def row(name: str, ratio: float, relation: str, goal: float) -> dict[str, Any]:
    """Return one line of the report."""
    met = ratio <= goal if relation == "<=" else ratio >= goal
    return {"name": name, "ratio": ratio, "goal": f"{relation} {goal}", "met": met}


def headers(folder: Path) -> float:
    """Return the time of a header index over that of pydicom reading the same headers."""
    files = dicom_files(folder)
    seconds: dict[str, list[float]] = {"pleura": [], "pydicom": []}
    for _ in range(ROUNDS):
        seconds["pydicom"].append(timed(lambda: _pydicom_headers(files)))
        seconds["pleura"].append(in_process("headers", folder, len(files))["seconds"])
    return min(seconds["pleura"]) / min(seconds["pydicom"])


def _pydicom_headers(files: list[Path]) -> None:
    """Read all headers the plain way, in as many processes as pleura starts."""
    pieces = [
        [str(path) for path in files[start : start + 16]] for start in range(0, len(files), 16)
    ]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        read = sum(pool.map(_read_headers, pieces))
    if read != len(files):
        raise RuntimeError(f"pydicom read {read} of {len(files)} headers")


def _read_headers(paths: list[str]) -> int:
    import pydicom

    return len([pydicom.dcmread(path, stop_before_pixels=True) for path in paths])


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def in_process(what: str, folder: Path, count: int) -> dict[str, Any]:
    """Return what a fresh process measures; see :func:`main`."""
    command = [sys.executable, "-m", "benchmarks.audit", "--inside", what, str(folder), str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _inside(what: str, folder: Path, count: int) -> dict[str, Any]:
    from pleura import config
    from pleura.audit.pages import write_audit
    from pleura.audit.report import audit_folder
    from pleura.data.index import make_index, read_tables
    from pleura.data.scan import scan_files
    from pleura.data.sources import find_sources

    begun = time.perf_counter()
    sources = find_sources(config.Data(path=str(folder)))
    sources = replace(sources, train=sources.train[:count])
    decoding = _watch_decoder() if what == "share" else [0.0]
    if what == "headers":
        tables = read_tables(sources)
        make_index(sources, tables, scan_files(sources.train, pixels=False))
    else:
        workers = 1 if what == "share" else 0
        with tempfile.TemporaryDirectory() as out:
            journal = Path(out, ".audit.journal")
            audit, index = audit_folder(sources, workers=workers, journal=journal)
            write_audit(audit, index, Path(out), workers=workers)
    seconds = time.perf_counter() - begun
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {"seconds": seconds, "share": decoding[0] / seconds, "peak_bytes": 1024 * peak}


def _watch_decoder() -> list[float]:
    """Return a list whose only number grows by the seconds that libjpeg-turbo works."""
    seconds, decode = [0.0], imagecodecs.jpeg8_decode

    def watched(*arguments: Any, **options: Any) -> Any:
        begun = time.perf_counter()
        pixels = decode(*arguments, **options)
        seconds[0] += time.perf_counter() - begun
        return pixels

    imagecodecs.jpeg8_decode = watched
    return seconds


def main() -> None:
    """Run everything and print a line per ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--cohort", type=Path)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--inside", nargs=3, metavar=("WHAT", "FOLDER", "COUNT"))
    wanted = parser.parse_args()
    if wanted.inside:
        what, folder, count = wanted.inside
        print(json.dumps(_inside(what, Path(folder), int(count))))
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = measure(wanted.cohort or Path(folder, "cohort"), wanted.files)
        if wanted.real:
            lines.append(measure_real(Path(folder, "real"), wanted.real, wanted.files))
        for line in lines:
            verdict = "met" if line["met"] else "MISSED"
            print(f"{line['name']:<72} {line['ratio']:6.2f}  goal {line['goal']:<7} {verdict}")


if __name__ == "__main__":
    main()
