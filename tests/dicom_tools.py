"""Programs of others that judge DICOM files; where one is missing the test skips and says so."""

import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = {
    "dciodvfy": "dicom3tools",
    "dcmdump": "dcmtk",
    "dsrdump": "dcmtk",
    "dcmp2pgm": "dcmtk",
    "dcmj2pnm": "dcmtk",
    "Orthanc": "orthanc orthanc-dicomweb",
}


def program(name: str) -> str:
    """The path of a program, or the test skips."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not here: apt-get install {PACKAGES[name]}")
    return found


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [program(name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120)


def faults(path: Path) -> list[str]:
    """The errors that dciodvfy finds in a file."""
    ran = run("dciodvfy", path)
    assert ran.returncode in (0, 1), ran.stderr
    lines = (ran.stdout + ran.stderr).splitlines()
    assert any(line and not line.startswith(("Error", "Warning")) for line in lines), "it ran"
    return [line for line in lines if line.startswith("Error")]
