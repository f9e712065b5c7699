import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pleura.data import scan as module
from pleura.data.scan import Failure, Scan, age_years, scan_files
from pleura.errors import OutputError


@pytest.fixture
def films(cohort):
    return sorted(cohort.rglob("*.dcm"))[:12]


def counted(monkeypatch):
    """Count the files that are read."""
    read = []
    before = module._open

    def opened(path, pixels):
        read.append(path)
        return before(path, pixels)

    monkeypatch.setattr(module, "_open", opened)
    return read


def test_one_scan_per_file_in_order(films):
    scans = scan_files(films, workers=1)
    assert [scan.path for scan in scans] == [str(path) for path in films]
    assert all(isinstance(scan, Scan) and scan.picture is not None for scan in scans)
    assert len({scan.pixel_hash for scan in scans}) > 8


def test_headers_alone(films):
    whole, heads = scan_files(films, workers=1), scan_files(films, pixels=False, workers=1)
    assert [scan.picture for scan in heads] == [None] * len(films)
    assert [scan.image_id for scan in heads] == [scan.image_id for scan in whole]
    assert {scan.pixel_hash for scan in heads} == {""}


def test_failures_are_of_a_kind(films, tmp_path):
    torn, other, gone = tmp_path / "torn.dcm", tmp_path / "other.dcm", tmp_path / "gone.dcm"
    torn.write_bytes(films[0].read_bytes()[:3000])
    other.write_bytes(b"something else")
    scans = scan_files([torn, other, gone], workers=1)
    assert all(isinstance(scan, Failure) for scan in scans)
    assert [scan.code for scan in scans] == ["truncated", "not-dicom", "unreadable"]
    assert scans[2].reason == f"{gone}: cannot be read (No such file or directory)"


def test_no_patient_id_is_kept_and_equal_ones_have_one_key(films, tmp_path):
    journal = tmp_path / "journal"
    scans = scan_files(films, workers=1, journal=journal)
    again = scan_files(films, workers=1)
    assert scans[0].patient_key != again[0].patient_key
    import pydicom

    ids = [str(pydicom.dcmread(path, stop_before_pixels=True).PatientID) for path in films]
    assert [ids.index(i) for i in ids] == [
        [s.patient_key for s in scans].index(s.patient_key) for s in scans
    ]
    assert not [i for i in ids if i in journal.read_text()]


def test_a_journal_is_continued(films, tmp_path, monkeypatch):
    journal = tmp_path / "out" / ".journal"
    whole = scan_files(films, workers=1, journal=journal)
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:6]) + lines[6][:40])  # killed while writing
    read, told = counted(monkeypatch), []
    again = scan_files(films, workers=1, journal=journal, on_progress=lambda *n: told.append(n))
    assert again == whole
    assert read == [str(path) for path in films[5:]]
    assert told[-1] == (12, 12)
    assert len(journal.read_text().splitlines()) == 13


def test_a_file_that_changed_is_read_again(films, tmp_path, monkeypatch):
    copies = [tmp_path / path.name for path in films[:3]]
    for path, copy in zip(films, copies, strict=False):
        copy.write_bytes(path.read_bytes())
    journal = tmp_path / ".journal"
    scan_files(copies, workers=1, journal=journal)
    copies[1].write_bytes(films[5].read_bytes())
    read = counted(monkeypatch)
    scans = scan_files(copies, workers=1, journal=journal)
    assert read == [str(copies[1])]
    assert scans[1].image_id == films[5].stem


@pytest.mark.parametrize("content", ["", "{}", "nothing\n", '{"journal": "pleura.scan/0"}\n', "[]"])
def test_a_foreign_journal_is_begun_anew(films, tmp_path, content):
    journal = tmp_path / ".journal"
    journal.write_text(content)
    assert len(scan_files(films[:2], workers=1, journal=journal)) == 2
    assert json.loads(journal.read_text().splitlines()[0])["pixels"] is True


def test_a_journal_of_headers_is_not_taken_for_one_of_pictures(films, tmp_path):
    journal = tmp_path / ".journal"
    scan_files(films[:2], pixels=False, workers=1, journal=journal)
    assert all(scan.picture for scan in scan_files(films[:2], workers=1, journal=journal))


def test_a_journal_that_cannot_be_written(films, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match=r"\.journal: could not be written .* is kept"):
        scan_files(films[:2], workers=1, journal=tmp_path / "out" / ".journal")


def test_a_killed_scan_loses_nothing(films, tmp_path, monkeypatch):
    journal = tmp_path / ".journal"
    code = (
        "import sys, time; from pathlib import Path; from pleura.data import scan, workers\n"
        "one = scan._open\n"
        "def slow(*a):\n    time.sleep(0.15); return one(*a)\n"
        "scan._open = slow; workers.chunks.__defaults__ = (1,)\n"
        "scan.scan_files([Path(p) for p in sys.argv[2:]], workers=1, journal=Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", code, str(journal), *map(str, films)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if journal.exists() and len(journal.read_text().splitlines()) >= 4:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = len(journal.read_text().splitlines()) - 1
    assert 3 <= finished < 12
    read = counted(monkeypatch)
    scans = scan_files(films, workers=1, journal=journal)
    assert [scan.path for scan in scans] == [str(path) for path in films]
    assert 12 - finished <= len(read) <= 13 - finished


@pytest.mark.parametrize(
    ("text", "years"),
    [("038Y", 38), ("38", 38), ("018M", 1), ("060D", 0), ("", None), ("old", None), ("Y", None)],
)
def test_ages(text, years):
    assert age_years(text) == years
