"""What the reading processes do, called in this one."""

import os
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from pleura.data.prepare import Frame
from pleura.inference import reading
from pleura.inference.prediction import Prediction
from pleura.inference.readers import ReadRequest, Version, WriteRequest
from pleura.inference.row import Wrote
from pleura.storage.content import Stamp
from pleura.synthesis.phantom import draw_phantom
from tests.dicom_files import make_dicom

PREDICTION = Prediction(
    "1.2.3", 0.7, np.ones((50, 70), bool), np.ones((32, 32), np.float32), Frame(50, 70, 32)
)
PLENTY = 1 << 20


@dataclass(frozen=True)
class Says:
    """A writer that keeps what it is told to."""

    wrote: Wrote
    name: str = "says"

    def write(self, opened, prediction, out):
        return self.wrote

    def finish(self, rows, out):
        pass


@pytest.fixture
def opened(monkeypatch):
    """The paths that are opened, in order, while nothing is held open from before."""
    seen, real = [], reading.open_any_radiograph

    def counting(path, expected=""):
        seen.append(path)
        return real(path, expected)

    monkeypatch.setattr(reading, "open_any_radiograph", counting)
    reading._kept.drop()
    yield seen
    reading._kept.drop()


@pytest.fixture
def path(tmp_path):
    place = tmp_path / "radiograph.dcm"
    place.write_bytes(made("1.2.3"))
    return place


def made(uid: str) -> bytes:
    pixels = np.random.default_rng(0).integers(256, size=(50, 70), dtype=np.uint8)
    return make_dicom(pixels, SOPInstanceUID=uid)


def read(path: Path, keep_bytes: int) -> Version:
    fields = reading.handle(ReadRequest(path, 32, keep_bytes)).fields
    return Version(fields["fingerprint"], Stamp(*fields["stamp"]))


def write(path: Path, version: Version, *writers: Says) -> dict[str, object]:
    request = WriteRequest(writers, path, version, PREDICTION, path.parent)
    return reading.handle(request).fields


@pytest.mark.parametrize(("keep_bytes", "times"), [(PLENTY, 1), (0, 2), (100, 2)])
def test_a_file_is_opened_once_for_the_network_and_all_writers(opened, path, keep_bytes, times):
    version = read(path, keep_bytes)
    notes = [Says(Wrote(notes="one")), Says(Wrote()), Says(Wrote(notes="two", areas=(3, 1)))]
    assert write(path, version, *notes) == {"trouble": "", "notes": "one; two", "areas": (3, 1)}
    assert opened == [path] * times


def test_what_is_held_open_has_so_many_bytes_at_most(opened, tmp_path):
    paths = [tmp_path / f"{number}.dcm" for number in range(4)]
    for number, path in enumerate(paths):
        path.write_bytes(made(f"1.2.{number}"))
    size = paths[0].stat().st_size + 50 * 70
    versions = [read(path, 2 * size + 9) for path in paths]
    for path, version in zip(paths, versions, strict=True):
        assert write(path, version)["trouble"] == ""
    assert opened == [*paths, *paths[2:]], "there was room for two"


def test_what_nobody_comes_back_for_is_not_held_for_ever(opened, path, monkeypatch):
    monkeypatch.setattr(reading, "_MOST_KEPT", 1)
    other = path.with_name("other.dcm")
    other.write_bytes(made("1.2.4"))
    version = read(path, PLENTY)
    read(other, PLENTY)
    write(path, version)
    assert opened == [path, other, path]


def test_a_file_to_which_something_happened_is_opened_again_and_compared(opened, path):
    version = read(path, PLENTY)
    os.utime(path, ns=(0, 0))
    assert write(path, version, Says(Wrote(notes="written")))["notes"] == "written"
    assert opened == [path, path]
    version = read(path, PLENTY)
    path.write_bytes(made("9.9"))
    found = write(path, version, Says(Wrote(notes="written")))
    assert found == {
        "changed": f"{path}: holds another content than a moment ago, when it was answered; "
        "predict it again"
    }


def test_a_file_that_fills_the_memory_is_tried_once_more_with_all_of_it(opened, path, monkeypatch):
    version = read(path, PLENTY)
    real, room = reading.open_any_radiograph, []

    def narrow(found, expected=""):
        room.append(not reading._kept._opened)
        if not room[-1]:
            raise MemoryError
        return real(found, expected)

    monkeypatch.setattr(reading, "open_any_radiograph", narrow)
    other = path.with_name("other.dcm")
    other.write_bytes(made("1.2.4"))
    assert read(other, 0).fingerprint
    assert room == [False, True]
    assert write(path, version)["trouble"] == ""
    monkeypatch.setattr(
        reading, "open_any_radiograph", lambda *_: (_ for _ in ()).throw(MemoryError())
    )
    assert reading.handle(ReadRequest(path, 32, 0)).fields == {"memory": True}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".nii.gz"])
def test_a_picture_of_an_inverted_radiograph_is_flagged_as_the_radiograph_is(suffix, tmp_path):
    pixels = 255 - draw_phantom(np.random.default_rng(0), size=256, pneumothorax=False).pixels
    (tmp_path / "a.dcm").write_bytes(make_dicom(pixels))
    picture = tmp_path / f"a{suffix}"
    if suffix == ".nii.gz":
        values = np.ascontiguousarray(pixels.T[:, :, None])
        nibabel.save(nibabel.Nifti1Image(values, np.diag([-1.0, -1.0, 1.0, 1.0])), picture)
    else:
        Image.fromarray(pixels).save(picture, quality=95)
    film, drawn = (reading.read(path, 64) for path in (tmp_path / "a.dcm", picture))
    assert "inverted" in " ".join(film.flags)
    assert drawn.flags == film.flags
    assert drawn.guard == pytest.approx(film.guard, abs=0.05)
