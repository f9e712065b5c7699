"""The notebook of the tutorial: kept with the output of one run, and it runs."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import polars as pl
import pytest

import pleura
from tests.contracts.test_docs import ROOT

PATH = ROOT / "docs/tutorial/pneumothorax.ipynb"


def notebook() -> nbformat.NotebookNode:
    return nbformat.read(PATH, as_version=4)


def code() -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook().cells if cell.cell_type == "code"]


def test_its_output_is_of_one_run_from_top_to_bottom():
    assert [cell.execution_count for cell in code()] == list(range(1, len(code()) + 1))
    kinds = {output.output_type for cell in code() for output in cell.outputs}
    assert kinds == {"stream", "display_data", "execute_result"}


def test_its_output_names_no_place_of_the_machine_it_ran_on():
    said = "".join(str(cell.outputs) for cell in code())
    assert not re.search(r"/(?:home|root|tmp|work|usr)/|site-packages|Traceback", said)


def test_it_uses_the_public_names_alone():
    source = "\n".join(cell.source for cell in code())
    assert not re.search(r"^\s*(?:from pleura|import pleura\.)", source, re.MULTILINE)
    used = set(re.findall(r"\bpleura\.(\w+)", source))
    assert used
    assert used <= set(pleura.__all__)


def test_the_data_is_changed_in_one_line():
    first = code()[0].source
    assert len(re.findall(r"^DATA = ", first, re.MULTILINE)) == 1
    rest = "\n".join(cell.source for cell in code()[1:])
    assert "DATA =" not in rest
    assert "phantoms" not in rest


RUN = """
import sys
import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient

path, folder, sockets = sys.argv[1:]
notebook = nbformat.read(path, as_version=4)
kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=sockets + "/kernel")
resources = {"metadata": {"path": folder}}
NotebookClient(notebook, timeout=300, km=kernel, resources=resources).execute()
nbformat.write(notebook, path)
"""


@pytest.mark.slow
def test_it_runs(tmp_path: Path):
    """On fewer phantoms and for fewer epochs than it is kept with; all else is as it stands."""
    short = notebook()
    for cell in short.cells:
        cell.source = re.sub(r"^EPOCHS = \d+", "EPOCHS = 1", cell.source, flags=re.MULTILINE)
        cell.source = cell.source.replace("--train 160 --test 32", "--train 40 --test 6")
    copy, folder = tmp_path / "short.ipynb", tmp_path / "folder"
    nbformat.write(short, copy)
    folder.mkdir()
    with tempfile.TemporaryDirectory() as sockets:  # a socket's name has at most 107 letters
        command = [sys.executable, "-c", RUN, str(copy), str(folder), sockets]
        done = subprocess.run(command, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr
    submission = pl.read_csv(folder / "results" / "submission.csv", infer_schema=False)
    assert len(submission) == 6
    text = "".join(str(cell.get("outputs")) for cell in nbformat.read(copy, as_version=4).cells)
    assert "positive Dice" in text
