import os

import pytest

from pleura.inference.job_store import JobStore
from pleura.inference.left_over import begun_ns, left_over
from pleura.inference.row import Row
from pleura.inference.tables import Provenance, write_tables
from pleura.models.bundle import OperatingPoint

OLD = Provenance("old", "torch fp32", OperatingPoint(), "1.0")
NEW = Provenance("new", "torch fp32", OperatingPoint(), "1.0")


def write(path, ago_s=0):
    path.parent.mkdir(exist_ok=True)
    path.write_text("written")
    if ago_s:
        os.utime(path, (path.stat().st_mtime - ago_s,) * 2)


@pytest.fixture
def earlier(tmp_path):
    """The folder of a job that is done: tables, a page, and pictures of two images."""
    write_tables([Row("a.dcm", "1.2", 0.5, 0, rle="-1")], tmp_path, OLD)
    for name in ("overlays/a.png", "overlays/b.png", "worklist.html", "mine.txt"):
        write(tmp_path / name, ago_s=60)
    return tmp_path


@pytest.mark.parametrize(("made_with", "found"), [(OLD, {}), (NEW, {"overlays": 1})])
def test_what_another_model_made_and_nobody_wrote_anew(earlier, made_with, found):
    with JobStore(earlier, "job"):
        since = begun_ns(earlier, made_with, goes_on=False)
        write(earlier / "overlays/a.png")
        write(earlier / "worklist.html")
    assert left_over(earlier, since) == found


def test_a_job_that_goes_on_knows_its_own_from_those_before(earlier):
    os.utime(earlier / "predictions.parquet", (earlier.stat().st_mtime - 30,) * 2)
    write(earlier / "overlays/b.png", ago_s=10)  # before the job was cut off
    assert left_over(earlier, begun_ns(earlier, NEW, goes_on=True)) == {
        "overlays": 1,
        "worklist.html": 1,
    }


def test_a_job_that_was_cut_off_leaves_no_tables(tmp_path):
    write(tmp_path / "dicom/a.seg.dcm", ago_s=60)
    with JobStore(tmp_path, "job"):
        assert left_over(tmp_path, begun_ns(tmp_path, NEW, goes_on=False)) == {"dicom": 1}
    assert begun_ns(tmp_path, NEW, goes_on=True) == 0
