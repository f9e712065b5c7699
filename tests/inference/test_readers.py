import json
import os
import struct
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from pleura.config import Predict
from pleura.data.prepare import prepare_pixels
from pleura.dicom.radiograph import read_radiograph
from pleura.dicom.square import squared
from pleura.errors import ChangedError, DicomError, LimitError, OutputError
from pleura.inference import readers as readers_module
from pleura.inference.prediction import Prediction
from pleura.inference.readers import Failed, Frame, Readers, Ready, open_readers
from pleura.inference.reading import read
from pleura.inference.row import Wrote
from pleura.pictures.flags import judge
from pleura.processes.isolation import Limits, Reply
from tests.dicom_files import make_dicom

J2K, RLE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"


@pytest.fixture(scope="module")
def radiograph(tmp_path_factory):
    path = tmp_path_factory.mktemp("radiograph") / "radiograph.dcm"
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

    def write(self, opened, prediction, out):
        what = [
            str(opened.radiograph.header.path),
            prediction.image_id,
            prediction.score,
            prediction.area_px,
            prediction.rle,
        ]
        Path(out, f"{prediction.image_id}.json").write_text(json.dumps(what), encoding="utf-8")
        return Wrote(notes="odd, but written")

    def finish(self, answers, out):
        pass


@dataclass(frozen=True)
class Fails:
    """A writer that cannot."""

    error: str
    name: str = "fails"

    def write(self, opened, prediction, out):
        if self.error == "dicom":
            raise DicomError(f"{opened.radiograph.header.path}: has no orientation")
        if self.error == "output":
            raise OutputError(f"{out}: could not be written (disk full)")
        if self.error == "memory":
            bytearray(64 << 30)
        raise AssertionError("Jane")

    def finish(self, answers, out):
        pass


def test_another_process_reads_what_this_one_would(readers, radiograph):
    one, other = readers.read(radiograph, 32), read(radiograph, 32)
    assert np.array_equal(one.pixels, other.pixels)
    assert np.array_equal(one.pixels, prepare_pixels(read_radiograph(radiograph).pixels, 32))
    assert (one.path, one.image_id, one.frame) == (radiograph, "1.2.3", Frame(50, 70, 32))
    assert (
        one.notes
        == other.notes
        == "the preamble holds a Windows program where zeros or TIFF belong"
    )
    radiograph = read_radiograph(radiograph)
    judged = judge(radiograph.pixels, radiograph.header, 32)
    assert judged.flagged
    assert (one.guard, one.flags) == (other.guard, other.flags)
    assert (one.guard, one.flags) == (judged.score, judged.flags)


def test_pixels_that_are_not_square_are_made_so_for_the_network_alone(readers, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90)).astype(np.uint8)
    path = tmp_path / "long.dcm"
    path.write_bytes(make_dicom(pixels, PixelAspectRatio="3\\2"))
    for ready in (readers.read(path, 32), read(path, 32)):
        assert ready.frame == Frame(60, 90, 32, 1.5)
        assert np.array_equal(ready.pixels, prepare_pixels(squared(pixels, 1.5), 32))
        assert ready.pixels.all(axis=None) or ready.pixels[0].any()  # it fills the square


def test_what_cannot_be_read_comes_with_its_reason(readers, tmp_path):
    assert readers.read(tmp_path / "none.dcm", 32) == Failed(
        tmp_path / "none.dcm", f"{tmp_path}/none.dcm: cannot be read (No such file or directory)"
    )


def ready(path: Path) -> Ready:
    found = read(path, 32)
    assert isinstance(found, Ready)
    return found


def test_writers_get_what_was_answered_or_nothing_is_written(
    readers, radiograph, prediction, tmp_path
):
    path = tmp_path / "radiograph.dcm"
    path.write_bytes(radiograph.read_bytes())
    answered = ready(path)
    os.utime(path, ns=(0, 0))
    assert (
        readers.write([Writes()], answered, replace(prediction, image_id="a"), tmp_path).trouble
        == ""
    )
    path.write_bytes(make_dicom(SOPInstanceUID="9.9"))
    message = f"{path}: holds another content than a moment ago, when it was answered; predict it"
    with pytest.raises(ChangedError, match=message):
        readers.write([Writes()], answered, replace(prediction, image_id="b"), tmp_path)
    path.unlink()
    wrote = readers.write([Writes()], answered, replace(prediction, image_id="b"), tmp_path)
    assert wrote == Wrote(f"{path}: cannot be read (No such file or directory)")
    assert not (tmp_path / "b.json").exists()


def test_a_file_that_takes_too_long(tmp_path, radiograph):
    noise = np.random.default_rng(1).integers(65536, size=(1200, 1200), dtype=np.uint16)
    slow = tmp_path / "slow.dcm"
    frame = imagecodecs.jpeg2k_encode(noise, codecformat="j2k", level=0)
    slow.write_bytes(make_dicom(noise, transfer_syntax=J2K, frame=frame))
    with Readers(1, Limits(seconds=0.03)) as held:
        found = held.read(slow, 32)
        assert isinstance(found, Failed)
        assert found.reason == (
            f"{slow}: took more than 0.03 seconds and was given up; if it is sound, allow more "
            "with `max_seconds`"
        )


def test_a_file_that_takes_too_much(tmp_path, radiograph):
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
            "`max_memory`"
        )
        assert held.read(radiograph, 32).image_id == "1.2.3", "others go on"


def test_writers_write_in_another_process(readers, radiograph, prediction, tmp_path):
    assert readers.write(
        [Writes()], ready(radiograph), replace(prediction, image_id="id-1"), tmp_path
    ) == Wrote("", "odd, but written")
    written = json.loads((tmp_path / "id-1.json").read_text())
    assert written == [str(radiograph), "id-1", 0.7, 3500, prediction.rle]


def test_what_a_writer_cannot_is_told(readers, radiograph, prediction, tmp_path):
    def tried(error):
        wrote = readers.write(
            [Fails(error), Writes()],
            ready(radiograph),
            replace(prediction, image_id="id-2"),
            tmp_path,
        )
        assert bool(wrote.notes) == (error == "dicom"), "the other writer writes nevertheless"
        return wrote.trouble

    assert tried("dicom") == f"{radiograph}: has no orientation"
    assert tried("memory") == (
        f"{radiograph}: needs more memory than a file may take; if it is sound, allow more with "
        "`max_memory`"
    )
    assert tried("other") == (
        f"{radiograph}: internal error (AssertionError); PLEURA_DEBUG=1 shows where it happened"
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
        {"stamp": [1, 2]},
        {"stamp": None},
        {"aspect": 0.0},
        {"aspect": float("nan")},
        {"aspect": "wide"},
    ],
)
def test_a_process_is_not_believed(change):
    fields = {"image_id": "1", "rows": 9, "columns": 9, "guard": None, "flags": [], "notes": ""}
    fields |= {"fingerprint": "f", "stamp": [1, 2, 3, 4], "aspect": 1.0}
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
    engines = "torch openvino onnxruntime pyarrow h5py scipy matplotlib typer pydantic"
    assert imported("pleura.inference.reading", engines) == "[]"


def test_the_one_that_asks_imports_nothing_that_decodes():
    asks = "pleura.inference.job, pleura.inference.predictor"
    assert imported(asks, "pydicom imagecodecs PIL pyarrow torch scipy") == "[]"


def test_they_are_held_to_the_settings(monkeypatch):
    told = []
    monkeypatch.setattr(
        readers_module, "Readers", lambda *given, **named: told.append((given, named))
    )
    open_readers(Predict(workers=3, max_seconds=20.0, max_memory=512), 7)
    assert told == [((3, Limits(20.0, 512)), {"files": 7})]
