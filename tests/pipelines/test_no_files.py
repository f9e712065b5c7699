"""Pipes, sockets, devices, folders and foreign content where pleura keeps files of its own.

A pipe is never waited for, and a device never read to an end that it does not have.
"""

import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from pleura.audit.report import read_findings
from pleura.data.arrays import STORE, open_prepared, write_prepared
from pleura.data.scan import scan_files
from pleura.engines import cache
from pleura.errors import OutputError
from pleura.inference import job_store
from pleura.models.bundle import read_bundle
from pleura.results import writer
from pleura.stages import run
from pleura.storage.database import Store
from tests.damage import refusals


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


NO_FILES = [pipe, listening, endless, Path.mkdir, loop, Path.touch]


@pytest.fixture
def short(tmp_path, monkeypatch):
    """A folder whose name is short enough for a socket in it."""
    monkeypatch.chdir(tmp_path)
    return Path()


@pytest.mark.parametrize("place", NO_FILES)
@pytest.mark.parametrize("name", ["X_train.npy", "Y_train.npy", "index.parquet", "manifest.json"])
def test_in_a_prepared_folder(small_prepared, short, name, place):
    folder = Path(shutil.copytree(small_prepared.path, short / "p"))
    (folder / name).unlink()
    place(folder / name)
    with refusals() as told:
        open_prepared(folder)
    assert told
    assert told[0].startswith((f"{folder / name}: ", f"{folder}: is not a finished prepared"))


def test_arrays_of_another_kind(small_prepared, tmp_path):
    """Of numpy's files one kind alone is read, and no pickle."""
    folder = Path(shutil.copytree(small_prepared.path, tmp_path / "p"))
    array, path = np.load(folder / "X_train.npy"), folder / "X_train.npy"
    for other in (
        np.asfortranarray(array),
        array.astype(">u2"),
        array.astype(np.float32),
        array[:-1],
        array[..., None],
        np.array([{"an": "object"}], object),
        np.zeros(0, np.uint8),
    ):
        np.save(path, other, allow_pickle=True)
        with refusals() as told:
            open_prepared(folder)
        assert told
        assert told[0].startswith(f"{path}: has ")
        assert told[0].endswith("; prepare the folder again")


@pytest.mark.parametrize("place", NO_FILES)
def test_as_findings(short, place):
    place(short / "findings.json")
    with refusals() as told:
        read_findings(short / "findings.json")
    assert told
    assert told[0].startswith("findings.json: ")


def scan(folder: Path) -> None:
    scan_files([], workers=1, journal=folder / ".audit.journal")


def store(folder: Path) -> None:
    Store(folder / job_store.NAME, "job").close()


def stamp(folder: Path) -> None:
    run._read_stamp(folder / "audit.json")


OWN = [
    (".audit.journal", scan),
    (job_store.NAME, store),
    (f"{job_store.NAME}-wal", store),
    (f"{job_store.NAME}-journal", store),
    ("audit.json", stamp),
    (writer._KEY_FILE, writer.job_key),
]


@pytest.mark.parametrize("place", [pipe, listening, endless, Path.mkdir, loop])
@pytest.mark.parametrize(("name", "opened"), OWN)
def test_where_a_job_keeps_its_own(short, name, opened, place):
    place(short / name)
    with refusals() as told:
        opened(short)
    assert told
    assert told[0].startswith(f"{name}: ")
    assert told[0].endswith("choose another place")


@pytest.mark.parametrize("place", [pipe, listening, endless, Path.mkdir, loop])
def test_where_a_preparation_keeps_its_own(small_index, short, place):
    def prepared() -> None:
        write_prepared(small_index.train[:2], [], short / "p", size=32, workers=1)

    (short / "p").mkdir()
    place(short / "p" / STORE)
    with pytest.raises(OutputError, match=r"p/\.prepare\.sqlite: .*; .*choose another place$"):
        prepared()


@pytest.mark.parametrize("place", [pipe, endless])
def test_an_array_that_was_begun(small_index, short, place, monkeypatch):
    train = small_index.train[:2]
    with monkeypatch.context() as changed:
        changed.setattr("pleura.data.arrays._taken", lambda *_: exec("raise KeyboardInterrupt"))
        with pytest.raises(KeyboardInterrupt):
            write_prepared(train, [], short / "p", size=32, workers=1)
    partial = next((short / "p").glob(".X_train*"))
    partial.unlink()
    place(partial)
    with refusals() as told:
        write_prepared(train, [], short / "p", size=32, workers=1)
    assert told
    assert told[0].startswith(f"{partial}: is a ")


@pytest.mark.parametrize("place", [pipe, endless])
def test_what_a_stage_wrote(short, place):
    place(short / "page.html")
    assert run._digests({"files": {"page": str(short / "page.html")}}) == {"page": None}


@pytest.mark.parametrize("place", [pipe, endless])
def test_a_kept_conversion(tiny_model, short, place, monkeypatch):
    """It is converted anew, and what lies in its place is replaced."""
    monkeypatch.setattr(cache, "folder", lambda: short)
    bundle = read_bundle(tiny_model)
    entry = short / f"{cache._key(bundle, 'onnx')}.onnx"
    place(entry)
    made = cache.Exported("onnx", b"graph", b"weights", "fp32", "0" * 64)
    assert cache.converted(bundle, "onnx", lambda _: made).exported == made
    assert entry.is_file()
