import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest

from pleura.data import scan as module
from pleura.data.scan import Failure, Scan, scan_files
from pleura.errors import OutputError
from pleura.storage.database import Store
from tests.dicom_files import make_dicom


@pytest.fixture
def radiographs(cohort):
    return sorted(cohort.rglob("*.dcm"))[:12]


def counted(monkeypatch):
    """Count the files that are read."""
    read = []
    before = module._texts

    def texts(names, *rest):
        read.extend(names)
        return before(names, *rest)

    monkeypatch.setattr(module, "_texts", texts)
    return read


def test_one_scan_per_file_in_order(radiographs):
    scans = scan_files(radiographs, workers=1)
    assert [scan.path for scan in scans] == [str(path) for path in radiographs]
    assert all(isinstance(scan, Scan) and scan.picture is not None for scan in scans)
    assert len({scan.pixel_hash for scan in scans}) > 8


def test_headers_alone(radiographs):
    whole, heads = (
        scan_files(radiographs, workers=1),
        scan_files(radiographs, pixels=False, workers=1),
    )
    assert [scan.picture for scan in heads] == [None] * len(radiographs)
    assert [scan.image_id for scan in heads] == [scan.image_id for scan in whole]
    assert {scan.pixel_hash for scan in heads} == {""}


def test_failures_are_of_a_kind(radiographs, tmp_path):
    torn, other, gone = tmp_path / "torn.dcm", tmp_path / "other.dcm", tmp_path / "gone.dcm"
    report, result = tmp_path / "report.dcm", tmp_path / "result.dcm"
    report.write_bytes(make_dicom(Modality="SR"))
    result.write_bytes(make_dicom(SeriesDescription="pleura: pneumothorax, picture"))
    torn.write_bytes(radiographs[0].read_bytes()[:3000])
    other.write_bytes(b"something else")
    scans = scan_files([torn, other, gone, report, result], workers=1)
    assert all(isinstance(scan, Failure) for scan in scans)
    codes = ["truncated", "not-dicom", "unreadable", "other-object", "own-result"]
    assert [scan.code for scan in scans] == codes
    assert scans[2].reason == f"{gone}: cannot be read (No such file or directory)"


def test_notes_are_kept_in_the_journal_too(tmp_path):
    radiograph, journal = tmp_path / "a.dcm", tmp_path / "journal"
    radiograph.write_bytes(make_dicom(SOPInstanceUID=None))
    for _ in range(2):
        (scan,) = scan_files([radiograph], workers=1, journal=journal)
        assert [note.kind for note in scan.notes] == ["id-elsewhere"]


def test_no_patient_id_is_kept_and_equal_ones_have_one_key(radiographs, tmp_path):
    journal = tmp_path / "journal"
    scans = scan_files(radiographs, workers=1, journal=journal)
    again = scan_files(radiographs, workers=1)
    assert scans[0].patient_key != again[0].patient_key
    import pydicom

    ids = [str(pydicom.dcmread(path, stop_before_pixels=True).PatientID) for path in radiographs]
    assert [ids.index(i) for i in ids] == [
        [s.patient_key for s in scans].index(s.patient_key) for s in scans
    ]
    assert not [i for i in ids if i.encode() in journal.read_bytes()]


def kept(journal):
    """Return the keys of what a journal holds; copied first, as whoever fills it may work on."""
    with tempfile.TemporaryDirectory() as folder:
        for path in journal.parent.glob(f"{journal.name}*"):
            shutil.copy(path, folder)
        with closing(sqlite3.connect(Path(folder) / journal.name)) as store:
            return [key for (key,) in store.execute("SELECT key FROM kept ORDER BY number")]


def test_a_journal_is_continued(radiographs, tmp_path, monkeypatch):
    journal = tmp_path / "out" / ".journal"
    begun = scan_files(radiographs[:5], workers=1, journal=journal)
    read, told = counted(monkeypatch), []
    again = scan_files(
        radiographs, workers=1, journal=journal, on_progress=lambda *n: told.append(n)
    )
    assert again[:5] == begun
    assert read == [str(path) for path in radiographs[5:]]
    assert told[-1] == (12, 12)
    assert len(kept(journal)) == 13
    assert scan_files(radiographs, workers=1, journal=journal) == again
    assert len(read) == 7
    assert journal.stat().st_mode & 0o077 == 0


def test_a_file_that_changed_is_read_again(radiographs, tmp_path, monkeypatch):
    copies = [tmp_path / path.name for path in radiographs[:3]]
    for path, copy in zip(radiographs, copies, strict=False):
        copy.write_bytes(path.read_bytes())
    journal = tmp_path / ".journal"
    scan_files(copies, workers=1, journal=journal)
    copies[1].write_bytes(radiographs[5].read_bytes())
    read = counted(monkeypatch)
    scans = scan_files(copies, workers=1, journal=journal)
    assert read == [str(copies[1])]
    assert scans[1].image_id == radiographs[5].stem


def test_a_journal_that_is_none_is_refused(radiographs, tmp_path):
    journal = tmp_path / ".journal"
    journal.write_text("precious")
    with pytest.raises(
        OutputError, match=r"\.journal: is no store of pleura; remove it, or choose"
    ):
        scan_files(radiographs[:2], workers=1, journal=journal)
    assert journal.read_text() == "precious"


def test_what_tells_of_no_scan_is_read_again(radiographs, tmp_path, monkeypatch):
    journal = tmp_path / ".journal"
    whole = scan_files(radiographs[:4], workers=1, journal=journal)
    with Store(journal, f"{module._JOURNAL} pictures") as store:
        for key, text in zip(kept(journal)[1:], ["{}", "[]", "7"], strict=False):
            store.put(key, text)
    read = counted(monkeypatch)
    assert scan_files(radiographs[:4], workers=1, journal=journal) == whole
    assert read == [str(path) for path in radiographs[:3]]


def test_a_journal_of_headers_is_not_taken_for_one_of_pictures(radiographs, tmp_path):
    journal = tmp_path / ".journal"
    scan_files(radiographs[:2], pixels=False, workers=1, journal=journal)
    assert all(scan.picture for scan in scan_files(radiographs[:2], workers=1, journal=journal))


def test_a_journal_that_cannot_be_written(radiographs, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(
        OutputError, match=r"out: results could not be written \(.+\); what is finished"
    ):
        scan_files(radiographs[:2], workers=1, journal=tmp_path / "out" / ".journal")


def in_a_moment(journal):
    """Return what a journal holds that another process fills; nothing where it just begins."""
    try:
        return kept(journal)
    except (sqlite3.Error, OSError):
        return []


def test_a_killed_scan_loses_nothing(radiographs, tmp_path, monkeypatch):
    journal = tmp_path / ".journal"
    code = (
        "import sys, time; from pathlib import Path\n"
        "from pleura.data import scan; from pleura.processes import workers\n"
        "one = scan._told\n"
        "def slow(*a):\n    time.sleep(0.15); return one(*a)\n"
        "scan._told = slow; workers.chunks.__defaults__ = (1,)\n"
        "scan.scan_files([Path(p) for p in sys.argv[2:]], workers=1, journal=Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", code, str(journal), *map(str, radiographs)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if journal.exists() and len(in_a_moment(journal)) >= 4:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = len(kept(journal)) - 1
    assert 3 <= finished < 12
    read = counted(monkeypatch)
    scans = scan_files(radiographs, workers=1, journal=journal)
    assert [scan.path for scan in scans] == [str(path) for path in radiographs]
    assert 12 - finished <= len(read) <= 13 - finished
