"""Sealed files: HDF5 for others, and for pleura what lies where the table says."""

import fcntl
import math
import os
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from pleura.errors import BundleError, OutputError
from pleura.models.sealed_file import as_columns, as_history, read_bytes, read_sealed, write_sealed
from pleura.storage import seal
from tests.full_disks import limited_file_size
from tests.models.sealing import parts, resealed

ARRAYS = {
    "f4": np.arange(6, dtype=np.float32).reshape(2, 3),
    "f2": np.array([0.5, 1], np.float16),
    "big-endian": np.array([1, 2], ">i4"),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "bool": np.array([True, False]),
    "u8": np.array([2**64 - 1], np.uint64),
    "one": np.array(7),
    "none": np.zeros((0, 3), np.uint8),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "x.h5"
    write_sealed(path, "checkpoint", (3, "0.9"), {"text": "ü", "n": 1.5}, {"a": ARRAYS, "b": {}})
    return path


def read(path, kind="checkpoint", form=3, most=2**20):
    return read_sealed(path, kind, form, most)


def test_it_comes_back_whole(path):
    found = read(path)
    assert found.about == {"text": "ü", "n": 1.5}
    assert found.group("b") == found.group("c") == {}
    assert found.group("a").keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        same = found.group("a")[name]
        assert same.dtype == array.dtype.newbyteorder("<")
        assert same.flags.aligned
        assert np.array_equal(same, array)
        assert same.shape == array.shape


def test_any_program_that_reads_hdf5_sees_the_same(path):
    with h5py.File(path) as file:
        assert file.attrs["pleura_format"] == 3
        assert file["about"][()] == b'{"text": "\\u00fc", "n": 1.5}'
        for name, array in ARRAYS.items():
            assert np.array_equal(file["a"][name][()], array), name


def test_it_is_read_while_another_program_locks_it(path):
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            h5py.File(path)
        assert read(path).about["n"] == 1.5


def test_a_flipped_bit_or_a_cut_is_noticed(path):
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    places = [*rng.integers(len(content), size=60), len(content) - 1, len(content) - 28]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(BundleError):
            read(path)
        path.write_bytes(content[:place])
        with pytest.raises(BundleError):
            read(path)


def test_a_file_that_hdf5_changed_has_lost_its_seal(path):
    with h5py.File(path, "a") as file:
        file["a/f4"][0, 0] = 42
    with pytest.raises(BundleError, match="has no seal at its end: it is cut off, or another prog"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file, not the checkpoint of a training of pleura"),
        (b"PK\x03\x04 pickle", "is an archive, not the checkpoint of a training of pleura"),
        (b"\x89HDF\r\n\x1a\n", "is cut off after 8 bytes; get it again"),
        (b"\x89HDF\r\n\x1a\n" + bytes(80), "is an HDF5 file, not the checkpoint of a training"),
    ],
)
def test_something_else(path, content, message):
    path.write_bytes(content)
    with pytest.raises(BundleError, match=message):
        read(path)


def test_half_a_file_is_called_that(path):
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(BundleError, match="is cut off after 3000 bytes; get it again"):
        read(path)


def test_damage_is_called_that(path):
    content = bytearray(path.read_bytes())
    content[2500] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(BundleError, match="does not match its digest; it was damaged or edited"):
        read(path)
    content[-100] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"its table of contents does not .*; get the file again"):
        read(path)


def test_another_kind_or_format(path):
    with pytest.raises(BundleError, match=r"is the checkpoint of a training, not a model.h5"):
        read(path, kind="model")
    with pytest.raises(
        BundleError, match=r"has format 3, written by pleura 0.9; this pleura reads format 2: in"
    ):
        read(path, form=2)
    resealed(path, lambda table: table.update(kind="recipe"))
    with pytest.raises(BundleError, match="is a file of pleura of the kind 'recipe', not the chec"):
        read(path)


def put(name, value):
    return lambda table: table["arrays"].__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("a/f4", ["<f4", [2, 3], 10**9]), "damaged: a/f4 lies outside the file or over"),
        (put("a/f4", ["<f4", [2**40, 2**40], 0]), "damaged: a/f4 lies outside the file or over"),
        (put("a/f4", ["<f4", [0, 2**70], 0]), "damaged: a/f4 lies outside the file or over"),
        (put("a/f4", ["<f4", [1] * 40, 0]), "damaged: a/f4 lies outside the file or over"),
        (put("a/f4", ["<f4", [-2, -3], 0]), "damaged: its table of contents: .*greater than or"),
        (put("a/f4", ["|O", [2], 0]), "damaged: its table of contents: arrays.a/f4.0 is '|O'"),
        (put("a/f4", ["<f4", [2, 3], "0"]), "damaged: its table of contents: arrays.a/f4.2 is '0'"),
        (lambda table: table.update(more=1), "damaged: its table of contents: unknown key more"),
        (lambda table: table.update(about=[0, 10**9]), "damaged: its text is not JSON as pleura"),
        (lambda table: table.update(about=[0, 8]), "damaged: its text is not JSON as pleura"),
        (lambda table: table.update(content="0" * 64), "does not match its digest"),
    ],
)
def test_a_hostile_table_of_contents(path, change, message):
    resealed(path, change)
    with pytest.raises(BundleError, match=message):
        read(path)


def test_many_arrays_over_the_same_bytes_are_refused(path):
    whole = len(parts(path.read_bytes())[0])
    resealed(path, lambda table: [put(f"x/{n}", ["|u1", [whole], 0])(table) for n in range(9)])
    with pytest.raises(BundleError, match=r"damaged: .* lies outside the file or over another arr"):
        read(path)


def test_a_length_that_cannot_be(path):
    path.write_bytes(path.read_bytes()[:-28] + b"9" * 20 + b" pleura\n")
    with pytest.raises(BundleError, match=r"its table of contents does not end with a seal|match"):
        read(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, message in [
        ("none", "gone"),
        ("pipe", "is a device or a pipe; name a file"),
        (".", "is a folder; name a file"),
        ("a\0b", r"cannot be read \(embedded null byte\)"),
    ]:
        with pytest.raises(BundleError, match=message):
            read_bytes(f"{tmp_path}/{name}", 100, "gone")


def test_a_file_that_is_too_large_is_not_parsed(path):
    message = r"has \d+ bytes; no such file of pleura has more than 99"
    with pytest.raises(BundleError, match=message):
        read(path, most=99)


def test_a_file_that_does_not_fit_into_memory(path, monkeypatch):
    monkeypatch.setattr(os, "fstat", lambda _: SimpleNamespace(st_size=2**62))
    with pytest.raises(BundleError, match=r"has \d+ bytes, for which there is not enough memory"):
        read(path, most=2**63)


def test_a_number_that_is_none_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_sealed(tmp_path / "y", "model", (1, "0"), {"a": math.nan}, {})
    assert not list(tmp_path.iterdir())


def test_wherever_the_disk_is_full_one_sentence_says_so(path):
    """HDF5's library, left to write the file itself, says it in five lines or crashes."""
    whole, said = path.read_bytes(), {"text": "ü", "n": 1.5}
    message = f"{path}: could not be written (File too large); choose another place"
    for size in range(0, len(whole), 97):
        with limited_file_size(size), pytest.raises(OutputError) as caught:
            write_sealed(path, "checkpoint", (3, "0.9"), said, {"a": ARRAYS, "b": {}})
        assert str(caught.value) == message
        assert [*path.parent.iterdir()] == [path]
        assert path.read_bytes() == whole


def test_a_history_with_gaps_is_json_and_comes_back():
    history = {"loss": [1.0, 0.5], "val_loss": [math.nan, 2.0]}
    columns = as_columns(history)
    assert columns == {"loss": [1.0, 0.5], "val_loss": [None, 2.0]}
    assert seal.unsealed(seal.sealed(columns)) == columns
    assert np.array_equal(as_history(columns)["val_loss"], history["val_loss"], equal_nan=True)
