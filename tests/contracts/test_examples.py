"""The Python examples of README and docs run, one after the other, as a reader would type them."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from pleura.data.arrays import Prepared
from tests.contracts.test_docs import PAGES, fences, named
from tests.dicom_files import make_dicom

WITH_EXAMPLES = [page for page in PAGES if fences(page, "python")]
MARKED = [
    pytest.param(page, marks=[pytest.mark.slow] if "tutorial" in named(page) else [])
    for page in WITH_EXAMPLES
]


@pytest.fixture
def desk(
    tiny_model: Path,
    cohort: Path,
    small_prepared: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder with what the pages speak of: a model, radiographs, and the table of masks."""
    shutil.copy(tiny_model, tmp_path / "model.h5")
    shutil.copy(cohort / "train-rle.csv", tmp_path)
    shutil.copytree(small_prepared.path, tmp_path / "prepared")
    ramp = np.tile(np.arange(256, dtype=np.uint8), (1024, 4))
    (tmp_path / "radiograph.dcm").write_bytes(make_dicom(ramp, SOPInstanceUID="1.2.3"))
    (tmp_path / "radiographs").mkdir()
    for path in sorted(cohort.rglob("*.dcm"))[:3]:
        shutil.copy(path, tmp_path / "radiographs")
    (tmp_path / "radiographs" / "torn.dcm").write_bytes(b"torn")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_pages_have_examples() -> None:
    assert {page.name for page in WITH_EXAMPLES} >= {"README.md", "python.md"}


@pytest.mark.parametrize("page", MARKED, ids=named)
def test_every_example_runs(page: Path, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = {"__name__": "__main__"}
    for number, code in enumerate(fences(page, "python")):
        exec(compile(code, f"{named(page)} example {number}", "exec"), script)
    if page.name == "python.md" and page.parent.name == "how-to":
        said = capsys.readouterr().out
        assert "radiographs/torn.dcm: is not DICOM" in said
        assert "train-rle.csv: is not DICOM" in said
        assert "no-such-model.h5: there is no such file" in said
        assert {"overlay.png", "heat.png"} <= {path.name for path in desk.iterdir()}
        assert (desk / "reading" / "worklist.html").is_file()
        assert len((desk / "predictions" / "submission.csv").read_text().splitlines()) == 4
