"""The simulation behind docs/explanation/scale.md keeps its laws."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_simulated_cluster_keeps_its_laws():
    command = [sys.executable, "-m", "benchmarks.scale", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
