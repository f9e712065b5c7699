"""A prepared folder at an address: what is fetched of it, how often, and what is kept."""

import numpy as np
import pytest

from pleura.data.fetched import prepared_at
from pleura.errors import AddressError, DataError

IMAGE = 64 * 64


@pytest.fixture
def there(small_prepared, store, tmp_path):
    """Opens the prepared folder in the store; ``asked`` counts what was fetched of an array."""
    folder = small_prepared.path
    store.put({f"p/{path.name}": path.read_bytes() for path in folder.iterdir()})

    def opened(most_bytes=0):
        return prepared_at("s3://films/p", tmp_path / "kept", most_bytes)

    opened.asked = lambda name: store.way.gets(f"/films/p/{name}.npy") - 1  # the header
    opened.kept = lambda: next((tmp_path / "kept").iterdir())
    return opened


def test_each_image_is_fetched_once_and_empty_masks_never(small_prepared, there):
    count, order = len(small_prepared.train), np.random.default_rng(0).permutation(35)
    with there() as found:
        assert str(found.path) == "s3://films/p"
        assert (found.size, found.train, found.fingerprint) == (
            small_prepared.size,
            small_prepared.train,
            small_prepared.fingerprint,
        )
        for row in order.tolist():
            assert np.array_equal(found.x_train[row], small_prepared.x_train[row])
        for key in (-1, slice(3, 20), slice(None, None, -7), order[:5], (5, 2), []):
            assert np.array_equal(found.x_train[key], small_prepared.x_train[key])
        assert np.array_equal(np.asarray(found.y_train), small_prepared.y_train)
        assert np.array_equal(found.mask(3), small_prepared.mask(3))
    assert there.asked("X_train") == count
    positive = sum(bool(record.positive) for record in small_prepared.train)
    assert there.asked("Y_train") == positive < count / 2
    with there() as again:  # another process, another day
        again.check()
        assert np.array_equal(again.x_test[:], small_prepared.x_test[:])
    assert there.asked("X_train") == count + 1
    assert there.asked("Y_train") == positive + 1


def test_what_has_no_room_is_fetched_each_time(small_prepared, there):
    with there(most_bytes=1) as found:
        for _ in range(2):
            assert np.array_equal(found.x_train[:9], small_prepared.x_train[:9])
            assert np.array_equal(found.x_train[4, 2], small_prepared.x_train[4, 2])
    assert there.asked("X_train") == 20
    room = 8 * IMAGE + 3 * 4096  # a block of the disk before each array
    with there(most_bytes=room) as found:
        found.x_train[:]
        kept = found.x_train._sound.sum()
        assert 6 <= kept <= 9
    blocks = sum(path.stat().st_blocks for path in there.kept().glob("*.npy"))
    assert 512 * blocks <= room + 4096


def test_what_is_expected_is_on_its_way(small_prepared, there, store):
    with there(most_bytes=1) as found:
        order = [7, 3, 7, 30, 1]
        found.x_train.expect(order)
        while there.asked("X_train") < 4:  # twice the same is asked for once
            pass
        store.faults[:] = ["403"]
        for row in (7, 3):
            assert np.array_equal(found.x_train[row], small_prepared.x_train[row])
        assert store.faults
        with pytest.raises(AddressError, match=r"^s3://films/p/X_train.npy: may not be read: ch"):
            found.x_train[7]
        found.x_train.expect([])


def test_what_is_not_as_it_was_is_told(small_prepared, there, store):
    content = bytearray((small_prepared.path / "X_train.npy").read_bytes())
    content[128 + 3 * IMAGE] ^= 1
    store.put({"p/X_train.npy": bytes(content)})
    told = r"^s3://films/p/X_train.npy: row 3 changed since they were prepared; copy the prepared"
    with there() as found:
        found.x_train[:3]
        with pytest.raises(DataError, match=told):
            found.x_train[3]
        # What is kept here may be damaged, too: it is fetched anew.
        path = there.kept() / "X_train.npy"
        damaged = bytearray(path.read_bytes())
        damaged[128] ^= 1
        path.write_bytes(damaged)
    with there() as found:
        assert np.array_equal(found.x_train[0], small_prepared.x_train[0])
    store.put({"p/X_train.npy": bytes(content[: -IMAGE // 2])})
    with there() as found, pytest.raises(DataError, match=r"X_train.npy: row 34 changed since"):
        found.x_train[30:]
    store.put({"p/X_train.npy": bytes(IMAGE)})
    told = r"^s3://films/p/X_train.npy: is not the uint8 \(35, 64, 64\) that the manifest tells of"
    with pytest.raises(DataError, match=told), there():
        pass


def test_no_folder_is_there(store, tmp_path):
    told = r"^s3://films/p/index.parquet: there is no such object, or no such bucket"
    with pytest.raises(AddressError, match=told), prepared_at("s3://films/p", tmp_path):
        pass
