"""The prepared folder: memory-mapped arrays, the index, and a manifest that describes them.

::

    X_train.npy      (images, size, size) uint8    labelled training radiographs
    Y_train.npy      (images, size, size) bool     their masks, or uint8 maps of probability
    X_test.npy       (images, size, size) uint8    test radiographs
    index.parquet    one row per image: the rows of X_train in order, then those of X_test
    manifest.json    written last: a folder with a manifest is complete

The arrays are written slot by slot into ``.partial`` files beside a store of the finished
chunks; a run that was killed goes on after the last finished chunk, and nothing carries its final
name before it is whole.

The manifest is sealed and holds the digests of all else, so that damage, half a copy or an edit is
noticed: the index is compared whole when the folder is opened, the arrays piece by piece as they
are read (:mod:`pleura.data.checked`).
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pleura.data.checked import CheckedArray, header, piece_digests, piece_of
from pleura.data.fold_table import read_folds
from pleura.data.folds import fold_records, require_sound_folds
from pleura.data.manifest import (
    DRAWN,
    FORMAT,
    INDEX,
    NAME,
    Manifest,
    Masks,
    read_manifest,
    write_manifest,
)
from pleura.data.prepare import PREPARATION, prepare_mask
from pleura.data.radiographs import AnyRadiograph, read_any_radiograph
from pleura.data.records import ImageRecord, read_index, write_index
from pleura.data.scan import pixel_hash
from pleura.data.seen import Seen, read_seen
from pleura.errors import DataError, InputError, LimitError, OutputError
from pleura.formats import rle
from pleura.processes.guarded import guarded_map
from pleura.processes.isolation import Reply, next_file
from pleura.processes.progress import OnProgress, untold
from pleura.processes.workers import CHUNK, chunks
from pleura.storage import seal
from pleura.storage.atomic import way_out
from pleura.storage.database import Store
from pleura.storage.elsewhere import path_at
from pleura.storage.lock import locked_folder
from pleura.storage.own_file import require_own_file

Images = NDArray[Any] | CheckedArray
"""Images or masks, as a numpy array or as one on disk that is checked as it is read."""

STORE = ".prepare.sqlite"
"""Beside the arrays until they are whole: the digests of the chunks that are finished."""

_ARRAYS = ("X_train", "Y_train", "X_test")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared folder, opened; its arrays are memory-mapped, read-only, and checked as read.

    Attributes:
        path: The folder.
        size: Side length of every image in pixels.
        x_train: ``(n, size, size)`` uint8.
        y_train: ``(n, size, size)`` bool, False where a mask is not known (see the record). Where
            `soft`: uint8, probabilities in steps of 1/255.
        x_test: ``(m, size, size)`` uint8.
        train: The n records of ``x_train``, in order.
        test: The m records of ``x_test``, in order.
        fingerprint: Digest of the images, masks and settings that the arrays were made from.
    """

    path: Path
    size: int
    x_train: Images
    y_train: Images
    x_test: Images
    train: tuple[ImageRecord, ...]
    test: tuple[ImageRecord, ...]
    fingerprint: str

    @property
    def soft(self) -> bool:
        """Whether the masks are maps of probability, such as a teacher gives."""
        return self.y_train.dtype == np.uint8

    @property
    def annotated(self) -> NDArray[np.bool_]:
        """``(n,)``: whether the mask of a row of ``y_train`` is annotated, be it an empty one."""
        return np.array([not self.soft and record.mask_known for record in self.train], np.bool_)

    def mask(self, row: int) -> NDArray[np.bool_]:
        """Return the annotated mask of a row of ``x_train``, ``(size, size)``."""
        return np.asarray(self.y_train[row], np.bool_)

    def require_size(self, size: int) -> None:
        """Raise DataError where a model that wants another size is given this folder."""
        if self.size != size:
            raise DataError(
                f"{self.path}: is prepared at {self.size} pixels, the model wants {size}; "
                f"prepare it again with `size` {size}"
            )

    def check(self) -> None:
        """Compare all arrays with the manifest, to the last image.

        Raises:
            DataError: One was changed since it was prepared; the message names all places in it.
        """
        for array in (self.x_train, self.y_train, self.x_test):
            if isinstance(array, CheckedArray):
                array.check()


@dataclass(frozen=True, slots=True)
class _Slot:
    """One image on its way into the arrays: where it comes from and where it goes.

    Where it has a shape, its path is that of pixels which were prepared already.
    """

    path: str
    pixel_hash: str
    aspect: float
    rle: str | None
    position: int
    shape: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Slots that one process fills, with the files they go into."""

    number: int
    slots: tuple[_Slot, ...]
    size: int
    x_path: str
    y_path: str | None
    offset: int
    piece: int


class _Filled(NamedTuple):
    """The digests of a chunk's pieces; of the masks none where it has none."""

    x: list[str]
    y: list[str]


def write_prepared(
    train: Sequence[ImageRecord],
    test: Sequence[ImageRecord],
    out: Path,
    *,
    size: int,
    workers: int = 0,
    seen: Seen | None = None,
    on_progress: OnProgress = untold,
) -> Prepared:
    """Write the prepared folder for `train` and `test`; return it opened.

    A folder that already holds exactly this, to the last byte, is returned as it is. An unfinished
    one of the same images and settings is continued; of others, it is begun anew.

    Args:
        train: Labelled records.
        test: Test records; may be empty.
        out: The folder to write.
        size: Side length in pixels.
        workers: Processes; 0 means one per core.
        seen: Has pixels that were prepared already, so that their files are not read again.
        on_progress: Told (images done, images in all).

    Raises:
        DataError: There is no labelled image, a file changed since it was indexed, or the fold
            table puts a patient into two folds.
        OutputError: The folder could not be written, or another process writes it.
    """
    if not train:
        raise DataError(f"{out}: there is no labelled image to prepare; see what pleura audit says")
    require_sound_folds(train)
    fingerprint = _fingerprint(train, test, size)
    with hold_folder(out, "what is finished is kept: "):
        if not _is_prepared(out, fingerprint):
            _write_arrays(train, test, out, size, fingerprint, workers, seen, on_progress)
        return open_prepared(out)


@contextlib.contextmanager
def hold_folder(out: Path, kept: str = "") -> Iterator[None]:
    """Hold a folder to write to; say, and `kept` beside it, why it cannot be written."""
    try:
        with locked_folder(out, "prepare"):
            yield
    except OSError as error:
        raise OutputError(
            f"{out}: could not be written ({error.strerror or error}); {kept}{way_out(error)} and "
            "run it again"
        ) from error


def open_prepared(path: str | os.PathLike[str]) -> Prepared:
    """Return the prepared folder at `path`, its arrays memory-mapped.

    Manifest and index are compared with their digests here; the arrays as they are read, or all at
    once by :meth:`Prepared.check`. A path may be an address, while that is at hand
    (:func:`pleura.data.fetched.prepared_at`).

    Raises:
        DataError: The folder is missing, unfinished, from another version, changed since it was
            written, or does not add up.
    """
    folder = path_at(path)
    known = _at_hand.get(str(folder))
    return known or open_arrays(folder, folder, CheckedArray)


_at_hand: dict[str, Prepared] = {}


@contextlib.contextmanager
def at_hand(prepared: Prepared) -> Iterator[Prepared]:
    """Have a folder opened by its path until the block ends, wherever its arrays lie."""
    before = _at_hand.get(str(prepared.path))
    _at_hand[str(prepared.path)] = prepared
    try:
        yield prepared
    finally:
        del _at_hand[str(prepared.path)]
        if before is not None:
            _at_hand[str(prepared.path)] = before


def open_arrays(folder: Path, named: Path, array: Callable[..., CheckedArray]) -> Prepared:
    """Return a prepared folder as the one `named`, each of its arrays opened by `array`."""
    manifest = read_manifest(folder)
    records = read_index(folder / INDEX, expected=manifest.index)
    train = tuple(record for record in records if record.part == "train")
    test = tuple(record for record in records if record.part == "test")
    if (len(train), len(test)) != (manifest.train, manifest.test):
        raise DataError(
            f"{folder / NAME}: tells of {manifest.train} training and {manifest.test} "
            f"test images, the index of {len(train)} and {len(test)}; prepare the folder again"
        )
    size = manifest.size
    pixels = np.dtype(np.uint8)
    masks = np.dtype(np.bool_) if manifest.masks == DRAWN else pixels
    shape, test_shape = (len(train), size, size), (len(test), size, size)
    return Prepared(
        path=named,
        size=size,
        x_train=array(folder / "X_train.npy", shape, pixels, manifest.x_train),
        y_train=array(folder / "Y_train.npy", shape, masks, manifest.y_train),
        x_test=array(folder / "X_test.npy", test_shape, pixels, manifest.x_test),
        train=train,
        test=test,
        fingerprint=manifest.fingerprint,
    )


def partials_of(out: Path, fingerprint: str) -> dict[str, Path]:
    """Return what the arrays are called until they are whole.

    They are named after what goes in, so that a worker that outlives its killed parent for a moment
    finds no file of another preparation to write to.
    """
    return {name: out / f".{name}.npy.{fingerprint[:16]}.partial" for name in _ARRAYS}


def with_folds(prepared: Prepared, table: Path) -> Prepared:
    """Return the prepared folder with the folds of a table instead of its own.

    Raises:
        DataError: The table cannot be used, or leaves out an image.
    """
    train = tuple(fold_records(prepared.train, read_folds(table), str(table)))
    fingerprint = _fingerprint(train, prepared.test, prepared.size)
    return replace(prepared, train=train, fingerprint=fingerprint)


def _write_arrays(
    train: Sequence[ImageRecord],
    test: Sequence[ImageRecord],
    out: Path,
    size: int,
    fingerprint: str,
    workers: int,
    seen: Seen | None,
    on_progress: OnProgress,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / NAME).unlink(missing_ok=True)
    partials = partials_of(out, fingerprint)
    for stale in set(out.glob(".*.npy.*.partial")) - set(partials.values()):
        stale.unlink()
    offset = allocate(partials["X_train"], (len(train), size, size), np.dtype(np.uint8))
    allocate(partials["Y_train"], (len(train), size, size), np.dtype(np.bool_))
    allocate(partials["X_test"], (len(test), size, size), np.dtype(np.uint8))

    work = [
        *_plan(train, partials["X_train"], partials["Y_train"], size, offset, seen, first=0),
        *_plan(test, partials["X_test"], None, size, offset, seen, first=1 + len(train) // CHUNK),
    ]
    with Store(out / STORE, fingerprint) as store:
        filled = _all_filled(work, store, workers, on_progress)
        for name, partial in partials.items():
            partial.replace(out / f"{name}.npy")
        in_train = [filled[chunk.number] for chunk in work if chunk.y_path is not None]
        in_test = [filled[chunk.number] for chunk in work if chunk.y_path is None]
        digests = {
            "x_train": [one for chunk in in_train for one in chunk.x],
            "y_train": [one for chunk in in_train for one in chunk.y],
            "x_test": [one for chunk in in_test for one in chunk.x],
        }
        finish(out, train, test, size, fingerprint, DRAWN, digests)
        store.remove()


def finish(
    out: Path,
    train: Sequence[ImageRecord],
    test: Sequence[ImageRecord],
    size: int,
    fingerprint: str,
    masks: Masks,
    digests: Mapping[str, list[str]],
) -> None:
    """Write index and manifest beside arrays of which `digests` has those of the pieces."""
    write_index([*train, *test], out / INDEX)
    manifest = Manifest(
        format=FORMAT,
        preparation=PREPARATION,
        size=size,
        train=len(train),
        test=len(test),
        masks=masks,
        fingerprint=fingerprint,
        index=seal.digest((out / INDEX).read_bytes()),
        **digests,
    )
    write_manifest(out, manifest)


def _all_filled(
    work: Sequence[_Chunk], store: Store, workers: int, on_progress: OnProgress
) -> dict[int, _Filled]:
    """Fill all chunks and return what is in them; those that the store knows stay as they are.

    What is known is compared with the files first: the machine may have died meanwhile.
    """
    filled = {
        chunk.number: found
        for chunk in work
        if (text := store.get(str(chunk.number))) is not None
        and json.dumps(found := _found(chunk)) == text
    }
    todo = [chunk for chunk in work if chunk.number not in filled]
    total = sum(len(chunk.slots) for chunk in work)
    done = total - sum(len(chunk.slots) for chunk in todo)
    replies = guarded_map(_fill, todo, name=_first_path, split=_slot_by_slot, workers=workers)
    for chunk, parts in zip(todo, replies, strict=True):
        found = _taken(chunk, parts)
        filled[chunk.number] = found
        store.put(str(chunk.number), json.dumps(found))
        done += len(chunk.slots)
        on_progress(done, total)
    return filled


def allocate(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Make the .npy file at `path`, or bring it to its length; return where its images begin.

    The disk space is reserved, so a full disk shows here and not in the middle of the work.
    """
    require_own_file(path)
    begin = header(shape, dtype)
    length = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.pwrite(descriptor, begin, 0)
        os.ftruncate(descriptor, len(begin) + length)
        if length:
            os.posix_fallocate(descriptor, len(begin), length)
    finally:
        os.close(descriptor)
    return len(begin)


def _plan(
    records: Sequence[ImageRecord],
    x_path: Path,
    y_path: Path | None,
    size: int,
    offset: int,
    seen: Seen | None,
    *,
    first: int,
) -> list[_Chunk]:
    slots = []
    for position, r in enumerate(records):
        kept = seen.path(r.pixel_hash, r.aspect) if seen is not None else None
        shape = None if kept is None else (r.rows, r.columns)
        path = r.path if kept is None else str(kept)
        slots.append(_Slot(path, r.pixel_hash, r.aspect, r.encoded_pixels, position, shape))
    y_text = None if y_path is None else str(y_path)
    piece = piece_of(len(records))
    return [
        _Chunk(first + number, tuple(some), size, str(x_path), y_text, offset, piece)
        for number, some in enumerate(chunks(slots))
    ]


def _found(chunk: _Chunk) -> _Filled:
    """Return the digests of what lies in a chunk's slots."""

    def read(path: str | None) -> list[str]:
        if path is None:
            return []
        bytes_each = chunk.size * chunk.size
        with open(path, "rb") as file:  # noqa: PTH123
            file.seek(chunk.offset + chunk.slots[0].position * bytes_each)
            content = file.read(len(chunk.slots) * bytes_each)
        return piece_digests(np.frombuffer(content, np.uint8).reshape(-1, bytes_each), chunk.piece)

    return _Filled(read(chunk.x_path), read(chunk.y_path))


def _first_path(chunk: _Chunk) -> str:
    return chunk.slots[0].path


def _slot_by_slot(chunk: _Chunk) -> list[_Chunk]:
    return [replace(chunk, slots=(slot,)) for slot in chunk.slots]


def _taken(chunk: _Chunk, parts: Sequence[Reply | LimitError]) -> _Filled:
    """Return the digests of a chunk that was filled at once or, after trouble, slot by slot.

    Raises:
        DataError: A radiograph took too much, or killed the process that read it.
    """
    for part in parts:
        if isinstance(part, LimitError):
            raise DataError(f"{part} {_COULD_BE_READ}")
    whole = parts[0]
    if len(parts) > 1 or isinstance(whole, LimitError):
        return _found(chunk)
    return _Filled(**whole.fields)


_COULD_BE_READ = "(it could be read when the index was made)"


def _fill(chunk: _Chunk) -> Reply:
    """Prepare one chunk, write it into its slots and say its digests.

    Raises:
        DataError: A radiograph cannot be read any more, or shows something else.
    """
    images, masks = [], []
    for slot in chunk.slots:
        next_file()
        if slot.shape is None:
            radiograph = _read_indexed(slot)
            shape, pixels = radiograph.pixels.shape, radiograph.prepared(chunk.size)
        else:
            shape, pixels = slot.shape, read_seen(slot.path, chunk.size)
        images.append(pixels)
        if chunk.y_path is not None:
            mask = rle.rle2mask(slot.rle or "-1", shape)
            masks.append(prepare_mask(mask, chunk.size, slot.aspect))
    position, shown = chunk.slots[0].position, np.stack(images)
    write_at(chunk.x_path, chunk.offset, position, shown)
    if chunk.y_path is None:
        return Reply(_Filled(piece_digests(shown, chunk.piece), [])._asdict())
    drawn = np.stack(masks)
    write_at(chunk.y_path, chunk.offset, position, drawn)
    digests = (piece_digests(block, chunk.piece) for block in (shown, drawn))
    return Reply(_Filled(*digests)._asdict())


def _read_indexed(slot: _Slot) -> AnyRadiograph:
    try:
        radiograph = read_any_radiograph(path_at(slot.path))
    except InputError as error:
        raise DataError(f"{error} {_COULD_BE_READ}") from error.__cause__
    if pixel_hash(radiograph.pixels) != slot.pixel_hash or radiograph.aspect != slot.aspect:
        raise DataError(f"{slot.path}: its pixels changed since the index was made; run it again")
    return radiograph


def write_at(path: str, offset: int, position: int, block: NDArray[Any]) -> None:
    """Write `block` at its place with plain writes: mapped pages would count as our memory.

    Args:
        path: The file.
        offset: Bytes before the first image.
        position: Which image the first of the block is.
        block: ``(n, size, size)`` uint8 or bool.
    """
    descriptor = os.open(path, os.O_WRONLY)
    try:
        start = offset + position * block[0].nbytes
        view = np.ascontiguousarray(block).view(np.uint8).reshape(-1).data
        written = 0
        while written < len(view):
            written += os.pwrite(descriptor, view[written:], start + written)
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _fingerprint(train: Sequence[ImageRecord], test: Sequence[ImageRecord], size: int) -> str:
    digest = hashlib.sha256(json.dumps([FORMAT, PREPARATION, size]).encode())
    for record in [*train, *test]:
        content = {key: value for key, value in asdict(record).items() if key != "path"}
        digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()


def _is_prepared(out: Path, fingerprint: str) -> bool:
    """Return whether a folder holds, whole and unchanged, what has this fingerprint."""
    try:
        prepared = open_prepared(out)
        if prepared.fingerprint != fingerprint:
            return False
        prepared.check()
    except DataError:
        return False
    return True
