from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pleura.data.checked import DIGESTS, CheckedArray, header, piece_digest, piece_digests, piece_of
from pleura.errors import DataError
from pleura.processes.workers import CHUNK as PIECE

UINT8 = np.dtype(np.uint8)


@pytest.fixture
def images() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (2 * PIECE + 3, 4, 4), np.uint8)


def digests(images: Any) -> list[str]:
    return piece_digests(images, PIECE)


@pytest.fixture
def array(images: Any, tmp_path: Path) -> CheckedArray:
    np.save(tmp_path / "x.npy", images)
    return CheckedArray(tmp_path / "x.npy", images.shape, UINT8, digests(images))


def test_it_is_read_as_one_of_numpy(array: CheckedArray, images: Any) -> None:
    assert array.shape == images.shape
    assert array.dtype == images.dtype
    assert len(array) == len(images)
    for key in (0, -1, slice(3, 20), slice(None, None, -7), np.array([34, 0]), (5, 2), []):
        assert np.array_equal(array[key], images[key])
    assert np.array_equal(np.asarray(array), images)
    with pytest.raises(IndexError):
        array[len(images)]


def test_it_is_read_only(array: CheckedArray) -> None:
    with pytest.raises(ValueError, match="read-only"):
        array[0][0, 0] = 1


def test_a_piece_is_compared_once(
    array: CheckedArray, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pleura.data import checked

    asked: list[int] = []
    monkeypatch.setattr(
        checked, "piece_digest", lambda block: asked.append(len(block)) or piece_digest(block)
    )
    for row in (3, 4, 34, 33, 5):
        array[row]
    assert asked == [PIECE, 3]
    array.check()
    assert asked == [PIECE, 3, PIECE, PIECE, 3]


def test_every_changed_place_is_named(images: Any, tmp_path: Path) -> None:
    pieces = [images[:1]] * (9 * PIECE)
    many = np.concatenate(pieces)
    known = digests(many)
    for piece in (0, 1, 3, 5, 7):
        many[piece * PIECE] ^= 1
    np.save(tmp_path / "x.npy", many)
    array = CheckedArray(tmp_path / "x.npy", many.shape, UINT8, known)
    message = r"x.npy: rows 0 to 31, 48 to 63, 80 to 95 and 1 more ranges changed since"
    with pytest.raises(DataError, match=message):
        array.check()
    assert np.array_equal(array[33], many[33])


@pytest.mark.parametrize(
    ("shape", "dtype"), [((35, 4, 4), np.bool_), ((35, 4, 5), np.uint8), ((0, 4, 4), np.uint8)]
)
def test_a_file_of_another_array(
    array: CheckedArray, tmp_path: Path, shape: Any, dtype: Any
) -> None:
    with pytest.raises(
        DataError, match=r"x.npy: has 688 bytes, or begins otherwise than a .* array of .*, which"
    ):
        CheckedArray(tmp_path / "x.npy", shape, np.dtype(dtype), ["", "", ""])


def test_no_file_an_empty_one_and_no_images(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    with pytest.raises(DataError, match=r"x.npy: could not be read \(.*\); check the path"):
        CheckedArray(path, (1, 4, 4), UINT8, [""])
    path.write_bytes(b"")
    with pytest.raises(
        DataError, match=r"x.npy: has 0 bytes, or begins otherwise than a uint8 array of \(1, 4"
    ):
        CheckedArray(path, (1, 4, 4), UINT8, [""])
    path.write_bytes(header((0, 4, 4), UINT8))
    assert len(CheckedArray(path, (0, 4, 4), UINT8, [])) == 0
    with pytest.raises(DataError, match=r"has 0 images and 1 digests"):
        CheckedArray(path, (0, 4, 4), UINT8, [""])


def test_the_header_is_that_of_numpy(images: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images)
    assert (tmp_path / "x.npy").read_bytes().startswith(header(images.shape, UINT8))


def test_an_image_has_a_digest_of_its_own_until_there_are_very_many(
    images: Any, tmp_path: Path
) -> None:
    numbers = (0, 1, 17, DIGESTS, DIGESTS + 1, 2 * DIGESTS + 1, 9 * DIGESTS, 10**9)
    assert [piece_of(number) for number in numbers] == [1, 1, 1, 1, 2, 4, 16, 16]
    np.save(tmp_path / "x.npy", images)
    known = piece_digests(images, 1)
    array = CheckedArray(
        tmp_path / "x.npy", images.shape, UINT8, [*known[:7], "", *known[8:20], "", *known[21:]]
    )
    assert np.array_equal(array[8:20], images[8:20])
    for rows, told in ((7, "row 7"), (slice(5, None), "rows 7, 20")):
        with pytest.raises(DataError, match=rf"x.npy: {told} changed since they were prepared"):
            array[rows]
