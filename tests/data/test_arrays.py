import json
from dataclasses import replace

import numpy as np
import pytest

from pleura.data import arrays
from pleura.data.arrays import open_prepared, write_prepared
from pleura.data.prepare import prepare_mask, prepare_pixels
from pleura.errors import DataError, OutputError
from pleura.formats.dicom import read_radiograph
from pleura.formats.rle import rle2mask


def write(index, out, **options):
    return write_prepared(index.train, index.test, out, size=32, workers=1, **options)


def test_the_arrays_hold_what_the_files_show(small_index, tmp_path):
    prepared = write(small_index, tmp_path / "p")
    assert prepared.train == small_index.train
    assert prepared.test == small_index.test
    for row, record in enumerate(prepared.train):
        pixels = read_radiograph(record.path).pixels
        mask = rle2mask(record.encoded_pixels, pixels.shape)
        assert np.array_equal(prepared.x_train[row], prepare_pixels(pixels, 32))
        assert np.array_equal(prepared.y_train[row], prepare_mask(mask, 32))
    for row, record in enumerate(prepared.test):
        pixels = read_radiograph(record.path).pixels
        assert np.array_equal(prepared.x_test[row], prepare_pixels(pixels, 32))


def test_the_arrays_are_memory_mapped_and_read_only(small_index, tmp_path):
    prepared = write(small_index, tmp_path / "p")
    assert isinstance(prepared.x_train, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        prepared.x_train[0] = 0


def test_only_finished_files_stay(small_index, tmp_path):
    write(small_index, tmp_path / "p")
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
        "X_test.npy",
        "X_train.npy",
        "Y_train.npy",
        "index.parquet",
        "manifest.json",
    ]


def test_the_number_of_workers_changes_nothing(small_index, tmp_path):
    one = write(small_index, tmp_path / "one")
    two = write_prepared(small_index.train, small_index.test, tmp_path / "two", size=32, workers=2)
    for name in ("X_train.npy", "Y_train.npy", "X_test.npy", "manifest.json"):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()


def test_a_killed_run_goes_on_where_it_was(small_index, tmp_path, monkeypatch):
    whole = write(small_index, tmp_path / "whole")
    real, calls = arrays._fill, []

    def killed_at_the_second(chunk):
        calls.append(chunk.number)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(chunk)

    monkeypatch.setattr(arrays, "_fill", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        write(small_index, tmp_path / "p")
    with pytest.raises(DataError, match="is not a finished prepared folder"):
        open_prepared(tmp_path / "p")
    told = []
    write(small_index, tmp_path / "p", on_progress=lambda *seen: told.append(seen))
    assert calls.count(calls[0]) == 1, "the finished chunk was not done again"
    assert told[0][0] > arrays.CHUNK, "progress counts what was finished before"
    for name in ("X_train.npy", "Y_train.npy", "X_test.npy"):
        assert (tmp_path / "p" / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_finished_folder_is_reused_and_another_size_is_not(small_index, tmp_path, monkeypatch):
    first = write(small_index, tmp_path / "p")
    monkeypatch.setattr(arrays, "_fill", lambda chunk: "was called")
    again = write(small_index, tmp_path / "p")
    assert again.fingerprint == first.fingerprint
    with pytest.raises(DataError, match="was called"):
        write_prepared(small_index.train, small_index.test, tmp_path / "p", size=64, workers=1)


def test_without_test_images(small_index, tmp_path):
    prepared = write_prepared(small_index.train, [], tmp_path / "p", size=32, workers=1)
    assert prepared.x_test.shape == (0, 32, 32)


def test_nothing_labelled_is_refused(tmp_path):
    with pytest.raises(DataError, match="no labelled image to prepare; see what pleura audit says"):
        write_prepared([], [], tmp_path / "p", size=32)


def test_a_file_that_vanished_is_named(small_index, tmp_path):
    gone = replace(small_index.train[0], path=str(tmp_path / "gone.dcm"))
    with pytest.raises(DataError, match=r"gone.dcm.*it could be read when the index was made"):
        write_prepared([gone], [], tmp_path / "p", size=32, workers=1)


def test_a_file_that_changed_is_named(small_index, tmp_path):
    changed = replace(small_index.train[0], pixel_hash="0" * 32)
    with pytest.raises(
        DataError, match="its pixels changed since the index was made; run it again"
    ):
        write_prepared([changed], [], tmp_path / "p", size=32, workers=1)


def test_where_the_files_lie_does_not_matter(small_index, tmp_path):
    first = write(small_index, tmp_path / "p")
    moved = [replace(record, path=f"//{record.path}") for record in small_index.train]
    second = write_prepared(moved, small_index.test, tmp_path / "q", size=32, workers=1)
    assert first.fingerprint == second.fingerprint


def test_a_full_disk_is_said_so(small_index, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arrays.os, "posix_fallocate", full)
    with pytest.raises(OutputError, match=r"could not be written \(No space left on device\)"):
        write(small_index, tmp_path / "p")


def test_a_folder_that_is_not_prepared(tmp_path):
    with pytest.raises(DataError, match=r"is not a finished prepared folder \(no manifest.json\)"):
        open_prepared(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "manifest.json: cannot be read"),
        ("[]", "manifest.json: cannot be read"),
        ("{}", "manifest.json: is not the manifest of a prepared folder"),
    ],
)
def test_a_damaged_manifest(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=message):
        open_prepared(tmp_path)


def test_a_manifest_of_another_version(small_index, tmp_path):
    prepared = write(small_index, tmp_path / "p")
    path = prepared.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(DataError, match="format is 99, this pleura reads 1; prepare the folder ag"):
        open_prepared(prepared.path)


def test_arrays_that_do_not_add_up(small_index, tmp_path):
    prepared = write(small_index, tmp_path / "p")
    np.save(prepared.path / "X_train.npy", np.zeros((1, 32, 32), np.uint8))
    with pytest.raises(DataError, match=r"holds uint8 \(1, 32, 32\), the index says uint8"):
        open_prepared(prepared.path)
    (prepared.path / "X_train.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"X_train.npy: cannot be opened"):
        open_prepared(prepared.path)
