import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pleura.data import arrays
from pleura.data.arrays import open_prepared, write_prepared
from pleura.data.prepare import prepare_mask, prepare_pixels
from pleura.data.seen import seen_pixels
from pleura.data.soft_masks import write_soft
from pleura.dicom.radiograph import read_radiograph
from pleura.errors import DataError, OutputError, UsageError
from pleura.formats.rle import rle2mask
from pleura.storage.database import Store
from pleura.storage.seal import digest, sealed, unsealed


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


def test_pixels_that_were_seen_are_not_read_again(small_index, tmp_path):
    whole = write(small_index, tmp_path / "whole")
    with seen_pixels(tmp_path / "p", 32) as seen:
        for record in (*small_index.train, *small_index.test):
            pixels = read_radiograph(record.path).pixels
            seen.keep(pixels, record.pixel_hash, record.aspect)
        first = small_index.train[0]
        cut_off = seen.path(first.pixel_hash, first.aspect)
        cut_off.write_bytes(b"")
        train = [first, *(replace(one, path="s3://gone") for one in small_index.train[1:])]
        test = [replace(one, path="s3://gone") for one in small_index.test]
        prepared = write_prepared(train, test, seen.folder.parent, size=32, workers=1, seen=seen)
    for name in ("X_train.npy", "Y_train.npy", "X_test.npy"):
        assert (prepared.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert not seen.folder.exists()


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
    real, calls = arrays._taken, []

    def killed_at_the_second(chunk, parts):
        calls.append(chunk.number)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(chunk, parts)

    monkeypatch.setattr(arrays, "_taken", killed_at_the_second)
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


def test_what_a_killed_run_wrote_is_compared_before_it_is_kept(small_index, tmp_path, monkeypatch):
    whole, real = write(small_index, tmp_path / "whole"), arrays._taken

    def killed_at_the_third(chunk, parts):
        if chunk.number == 2:
            raise KeyboardInterrupt
        return real(chunk, parts)

    monkeypatch.setattr(arrays, "_taken", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write(small_index, tmp_path / "p")
    (partial,) = (tmp_path / "p").glob(".X_train.npy.*.partial")
    flip(partial, 128 + 7)
    with Store(tmp_path / "p" / arrays.STORE, whole.fingerprint) as store:
        known = dict(store.items())
        assert known.keys() == {"0", "1"}
        store.put("2", known["1"])
    monkeypatch.setattr(arrays, "_taken", real)
    write(small_index, tmp_path / "p")
    for name in ("X_train.npy", "Y_train.npy", "X_test.npy", "manifest.json"):
        assert (tmp_path / "p" / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_finished_folder_is_reused_and_another_size_is_not(small_index, tmp_path, monkeypatch):
    first = write(small_index, tmp_path / "p")
    monkeypatch.setattr(arrays, "guarded_map", lambda *_, **__: pytest.fail("was called"))
    again = write(small_index, tmp_path / "p")
    assert again.fingerprint == first.fingerprint
    with pytest.raises(pytest.fail.Exception, match="was called"):
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
        ("{", "manifest.json: does not end with a seal of pleura; .*; prepare the folder again"),
        (sealed({"size": 3}), "manifest.json: format is None, this pleura reads 3; prepare the fo"),
    ],
)
def test_a_damaged_manifest(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=message):
        open_prepared(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "format is 99, this pleura reads 3; prepare the folder again"),
        ({"preparation": "none"}, "preparation is 'none', this pleura reads 'letterbox-area-1'"),
        ({"sizes": 3}, "manifest.json: unknown key sizes"),
        ({"size": "32"}, "manifest.json: size .*; prepare the folder again"),
        ({"x_train": ["0" * 64]}, r"X_train.npy: has 35 images and 1 digests; there is one for ev"),
        ({"masks": "drawn twice"}, "manifest.json: masks is 'drawn twice'"),
        ({"test": 5}, "tells of 35 training and 5 test images, the index of 35 and 6; prepare the"),
        ({"index": "0" * 64}, "index.parquet: was changed since it was written; the disk or a co"),
    ],
)
def test_a_manifest_that_does_not_fit(written, changes, message):
    change_manifest(written, **changes)
    with pytest.raises(DataError, match=message):
        open_prepared(written)


def test_maps_of_probability_take_the_place_of_masks(small_prepared, tmp_path):
    rng = np.random.default_rng(0)
    maps = rng.random((len(small_prepared.train), 64, 64), dtype=np.float32)
    scores = rng.random(len(maps)).tolist()
    soft = write_soft(small_prepared, tmp_path / "s", zip(maps, scores, strict=True), weight=0.6)
    assert soft.soft
    assert not soft.annotated.any()
    assert np.abs(np.asarray(soft.y_train) / 255 - maps).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(soft.x_train, small_prepared.x_train)
    assert len(soft.x_test) == 0
    assert [(r.label, r.label_weight, r.positive) for r in soft.train] == [
        (score, 0.6, score > 0.5) for score in scores
    ]
    again = write_soft(small_prepared, tmp_path / "t", zip(maps, scores, strict=True), weight=0.6)
    assert again.fingerprint == soft.fingerprint
    other = write_soft(small_prepared, tmp_path / "t", zip(maps, scores, strict=True))
    assert other.fingerprint != soft.fingerprint


@pytest.mark.parametrize(
    ("count", "weight", "message"),
    [
        (34, 1.0, "34 answers for the 35 images of"),
        (36, 1.0, "more answers than the 35 images of"),
        (35, 0.0, "the weight of soft masks is 0.0; it must be above 0 and up to 1"),
    ],
)
def test_answers_that_do_not_fit(small_prepared, tmp_path, count, weight, message):
    answers = [(np.zeros((64, 64), np.float32), 0.5)] * count
    with pytest.raises(UsageError, match=message):
        write_soft(small_prepared, tmp_path / "s", answers, weight=weight)
    with pytest.raises(DataError, match="is not a finished prepared folder"):
        open_prepared(tmp_path / "s")


@pytest.fixture
def written(small_prepared, tmp_path):
    """A prepared folder that may be damaged."""
    return Path(shutil.copytree(small_prepared.path, tmp_path / "p"))


def change_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(sealed({**unsealed(path.read_text()), **changes}))


def flip(path, byte, bit=0):
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(content)


def test_one_flipped_pixel_is_noticed_where_it_is_read(written):
    flip(written / "X_train.npy", 128 + 20 * 64 * 64 + 5)
    prepared = open_prepared(written)
    prepared.x_train[0:20]
    message = (
        "X_train.npy: row 20 changed since they were prepared; the disk or a copy may be "
        "damaged: prepare the folder again"
    )
    for rows in (20, slice(0, 21), np.array([3, 20])):
        with pytest.raises(DataError, match=message):
            prepared.x_train[rows]
    with pytest.raises(DataError, match=message):
        prepared.check()


def test_a_mask_of_two_is_noticed(written):
    path = written / "Y_train.npy"
    flip(path, -1, bit=1)
    with pytest.raises(DataError, match=r"Y_train.npy: row 34 changed since they were prep"):
        open_prepared(written).check()
    digests = unsealed((written / "manifest.json").read_text())["y_train"]
    last = digest(path.read_bytes()[128 + 34 * 64 * 64 :])
    change_manifest(written, y_train=[*digests[:-1], last])
    with pytest.raises(
        DataError, match=r"a mask holds the value [23]; a mask is 0 or 1: prepare t"
    ):
        open_prepared(written).mask(34)


def test_what_was_damaged_is_prepared_again(small_index, tmp_path):
    whole = write(small_index, tmp_path / "p")
    content = (whole.path / "X_test.npy").read_bytes()
    flip(whole.path / "X_test.npy", -1)
    write(small_index, tmp_path / "p")
    assert (whole.path / "X_test.npy").read_bytes() == content
