import json
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from pleura.config import Predict
from pleura.data.guard import assess
from pleura.data.isolation import Limits, Reply
from pleura.data.prepare import prepare_pixels
from pleura.errors import DicomError, LimitError, OutputError
from pleura.formats.dicom import read_radiograph
from pleura.inference import readers as readers_module
from pleura.inference.prediction import Prediction
from pleura.inference.readers import Failed, Frame, Readers, Ready, Wrote, open_readers
from pleura.inference.reading import read
from tests.dicom_files import make_dicom

J2K, RLE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.dcm"
    pixels = np.random.default_rng(0).integers(4000, size=(50, 70), dtype=np.uint16)
    preamble = b"MZ".ljust(128, b"\1") + b"DICM"
    path.write_bytes(make_dicom(pixels, BitsStored=12, SOPInstanceUID="1.2.3", preamble=preamble))
    return path


@pytest.fixture(scope="module")
def prediction():
    return Prediction(
        "1.2.3", 0.7, np.ones((50, 70), bool), np.ones((32, 32), np.float32), Frame(50, 70, 32)
    )


@dataclass(frozen=True)
class Writes:
    """A writer that says what it was given."""

    name: str = "writes"

    def write(self, path, image_id, prediction, out):
        what = [str(path), image_id, prediction.score, prediction.area_px, prediction.rle]
        Path(out, f"{image_id}.json").write_text(json.dumps(what))
        return "odd, but written"

    def finish(self, answers, out):
        pass


@dataclass(frozen=True)
class Fails:
    """A writer that cannot."""

    error: str
    name: str = "fails"

    def write(self, path, image_id, prediction, out):
        if self.error == "dicom":
            raise DicomError(f"{path}: has no orientation")
        if self.error == "output":
            raise OutputError(f"{out}: could not be written (disk full)")
        if self.error == "memory":
            bytearray(64 << 30)
        raise AssertionError("Jane")

    def finish(self, answers, out):
        pass


def test_another_process_reads_what_this_one_would(readers, film):
    one, other = readers.read(film, 32), read(film, 32)
    assert np.array_equal(one.pixels, other.pixels)
    assert np.array_equal(one.pixels, prepare_pixels(read_radiograph(film).pixels, 32))
    assert (one.path, one.image_id, one.frame) == (film, "1.2.3", Frame(50, 70, 32))
    assert (
        one.notes
        == other.notes
        == "the preamble holds a Windows program where zeros or TIFF belong"
    )
    judged = assess(read_radiograph(film).pixels)
    assert judged.flagged
    assert (one.guard, one.flags) == (other.guard, other.flags)
    assert (one.guard, one.flags) == (judged.score, ";".join(judged.flags))


def test_what_cannot_be_read_comes_with_its_reason(readers, tmp_path):
    assert readers.read(tmp_path / "none.dcm", 32) == Failed(
        tmp_path / "none.dcm", f"{tmp_path}/none.dcm: cannot be read (No such file or directory)"
    )


def test_a_file_that_takes_too_long(tmp_path, film):
    noise = np.random.default_rng(1).integers(65536, size=(1200, 1200), dtype=np.uint16)
    slow = tmp_path / "slow.dcm"
    frame = imagecodecs.jpeg2k_encode(noise, codecformat="j2k", level=0)
    slow.write_bytes(make_dicom(noise, transfer_syntax=J2K, frame=frame))
    with Readers(1, Limits(seconds=0.03)) as held:
        found = held.read(slow, 32)
        assert isinstance(found, Failed)
        assert found.reason == (
            f"{slow}: took more than 0.03 seconds and was given up; if it is sound, allow more "
            "with --max-seconds"
        )


def test_a_file_that_takes_too_much(tmp_path, film):
    side = 9600
    frame = struct.pack("<LL14L", 1, 64, *[0] * 14) + b"\x81\x00" * (side * side // 128)
    large = tmp_path / "large.dcm"
    large.write_bytes(make_dicom(transfer_syntax=RLE, frame=frame, Rows=side, Columns=side))
    assert isinstance(read(large, 32), Ready), "it is sound"
    with Readers(1, Limits(memory_mib=64)) as held:
        found = held.read(large, 32)
        assert isinstance(found, Failed)
        assert found.reason == (
            f"{large}: needs more memory than a file may take; if it is sound, allow more with "
            "--max-memory"
        )
        assert held.read(film, 32).image_id == "1.2.3", "others go on"


def test_writers_write_in_another_process(readers, film, prediction, tmp_path):
    assert readers.write([Writes()], film, "id-1", prediction, tmp_path) == Wrote(
        "", "odd, but written"
    )
    written = json.loads((tmp_path / "id-1.json").read_text())
    assert written == [str(film), "id-1", 0.7, 3500, prediction.rle]


def test_what_a_writer_cannot_is_told(readers, film, prediction, tmp_path):
    def tried(error):
        wrote = readers.write([Fails(error), Writes()], film, "id-2", prediction, tmp_path)
        assert bool(wrote.notes) == (error == "dicom"), "the other writer writes nevertheless"
        return wrote.trouble

    assert tried("dicom") == f"{film}: has no orientation"
    assert tried("memory") == (
        f"{film}: needs more memory than a file may take; if it is sound, allow more with "
        "--max-memory"
    )
    assert tried("other") == (
        f"{film}: internal error (AssertionError); PLEURA_DEBUG=1 shows where it happened"
    )
    with pytest.raises(OutputError, match=r"could not be written \(disk full\)"):
        tried("output")


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 0},
        {"rows": 10**9},
        {"rows": 16_000, "columns": 16_000},
        {"columns": "many"},
        {"guard": float("inf")},
        {"image_id": None, "blob": bytes(1023)},
        {"blob": b""},
    ],
)
def test_a_process_is_not_believed(change):
    fields = {"image_id": "1", "rows": 9, "columns": 9, "guard": None, "flags": "", "notes": ""}
    sound = Reply(fields, bytes(1024))
    assert readers_module._ready(Path("x"), 32, sound).frame == Frame(9, 9, 32)
    blob = change.pop("blob", bytes(1024))
    with pytest.raises(LimitError, match="x: the process that read it answered nonsense"):
        readers_module._ready(Path("x"), 32, Reply(fields | change, blob))


def test_no_more_processes_than_files():
    with Readers(files=1) as one:
        assert one.workers == 1
    with Readers(workers=3, files=100) as three:
        assert three.workers == 3
    with Readers(workers=1, files=0) as none:
        assert none.workers == 1


def imported(modules, names):
    """Return which of `names` a new process has once it imported `modules`."""
    code = (
        f"import sys, {modules}; print([name for name in {names.split()} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_reading_process_imports_no_engine():
    engines = "torch openvino onnxruntime polars h5py scipy matplotlib typer pydantic"
    assert imported("pleura.inference.reading", engines) == "[]"


def test_the_one_that_asks_imports_nothing_that_decodes():
    asks = "pleura.inference.folder, pleura.inference.predictor"
    assert imported(asks, "pydicom imagecodecs PIL polars torch scipy") == "[]"


def test_they_are_held_to_the_settings(monkeypatch):
    told = []
    monkeypatch.setattr(
        readers_module, "Readers", lambda *given, **named: told.append((given, named))
    )
    open_readers(Predict(workers=3, max_seconds=20.0, max_memory=512), 7)
    assert told == [((3, Limits(20.0, 512)), {"files": 7})]
