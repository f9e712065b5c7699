"""The prepared folder: memory-mapped arrays, the index, and a manifest that describes them.

::

    X_train.npy      (images, size, size) uint8    labelled training radiographs
    Y_train.npy      (images, size, size) bool     their masks
    X_test.npy       (images, size, size) uint8    test radiographs
    index.parquet    one row per image: the rows of X_train in order, then those of X_test
    manifest.json    written last: a folder with a manifest is complete

The arrays are written slot by slot into ``.partial`` files beside a journal of the finished
chunks; a run that was killed goes on after the last finished chunk, and nothing carries its final
name before it is whole.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pleura.data.fold_table import read_folds
from pleura.data.folds import fold_records, require_sound_folds
from pleura.data.prepare import PREPARATION, prepare_mask, prepare_pixels
from pleura.data.records import ImageRecord, read_index, write_index
from pleura.data.scan import pixel_hash
from pleura.data.workers import CHUNK, chunks, ordered_map
from pleura.errors import DataError, InputError, OutputError
from pleura.formats import dicom, rle
from pleura.formats.atomic import way_out, write_text

FORMAT = 1
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared folder, opened; its arrays are memory-mapped and read-only.

    Attributes:
        path: The folder.
        size: Side length of every image in pixels.
        x_train: ``(n, size, size)`` uint8.
        y_train: ``(n, size, size)`` bool.
        x_test: ``(m, size, size)`` uint8.
        train: The n records of ``x_train``, in order.
        test: The m records of ``x_test``, in order.
        fingerprint: Digest of the images, masks and settings that the arrays were made from.
    """

    path: Path
    size: int
    x_train: NDArray[np.uint8]
    y_train: NDArray[np.bool_]
    x_test: NDArray[np.uint8]
    train: tuple[ImageRecord, ...]
    test: tuple[ImageRecord, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class _Slot:
    """One image on its way into the arrays: where it comes from and where it goes."""

    path: str
    pixel_hash: str
    rle: str | None
    position: int


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Slots that one worker fills, with the files they go into."""

    number: int
    slots: tuple[_Slot, ...]
    size: int
    x_path: str
    y_path: str | None
    offset: int


def write_prepared(
    train: Sequence[ImageRecord],
    test: Sequence[ImageRecord],
    out: Path,
    *,
    size: int,
    workers: int = 0,
    on_progress: OnProgress | None = None,
) -> Prepared:
    """Write the prepared folder for `train` and `test`; return it opened.

    A folder that already holds exactly this is returned as it is. An unfinished one of the same
    images and settings is continued; of others, it is begun anew.

    Args:
        train: Labelled records.
        test: Test records; may be empty.
        out: The folder to write.
        size: Side length in pixels.
        workers: Processes; 0 means one per core.
        on_progress: Told (images done, images in all).

    Raises:
        DataError: There is no labelled image, a file changed since it was indexed, or the fold
            table puts a patient into two folds.
        OutputError: The folder could not be written.
    """
    if not train:
        raise DataError(f"{out}: there is no labelled image to prepare; see what pleura audit says")
    require_sound_folds(train)
    fingerprint = _fingerprint(train, test, size)
    if _manifest_says(out, fingerprint):
        return open_prepared(out)
    try:
        _write_arrays(train, test, out, size, fingerprint, workers, on_progress)
    except OSError as error:
        raise OutputError(
            f"{out}: could not be written ({error.strerror or error}); what is finished is kept: "
            f"{way_out(error)} and run it again"
        ) from error
    return open_prepared(out)


def open_prepared(path: str | os.PathLike[str]) -> Prepared:
    """Return the prepared folder at `path`, its arrays memory-mapped.

    Raises:
        DataError: The folder is missing, unfinished, from another version, or does not add up.
    """
    folder = Path(path)
    manifest = _read_manifest(folder)
    records = read_index(folder / "index.parquet")
    train = tuple(record for record in records if record.part == "train")
    test = tuple(record for record in records if record.part == "test")
    size = int(manifest["size"])
    return Prepared(
        path=folder,
        size=size,
        x_train=_open_array(folder / "X_train.npy", (len(train), size, size), np.dtype(np.uint8)),
        y_train=_open_array(folder / "Y_train.npy", (len(train), size, size), np.dtype(np.bool_)),
        x_test=_open_array(folder / "X_test.npy", (len(test), size, size), np.dtype(np.uint8)),
        train=train,
        test=test,
        fingerprint=str(manifest["fingerprint"]),
    )


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
    on_progress: OnProgress | None,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "manifest.json").unlink(missing_ok=True)
    journal = out / ".prepare.journal"
    finished = _begin_or_continue(journal, fingerprint, out)
    partials = {name: out / f".{name}.npy.partial" for name in ("X_train", "Y_train", "X_test")}
    offset = _allocate(partials["X_train"], (len(train), size, size), np.dtype(np.uint8))
    _allocate(partials["Y_train"], (len(train), size, size), np.dtype(np.bool_))
    _allocate(partials["X_test"], (len(test), size, size), np.dtype(np.uint8))

    work = [
        *_plan(train, partials["X_train"], partials["Y_train"], size, offset, first=0),
        *_plan(test, partials["X_test"], None, size, offset, first=1 + len(train) // CHUNK),
    ]
    todo = [chunk for chunk in work if chunk.number not in finished]
    total = len(train) + len(test)
    done = total - sum(len(chunk.slots) for chunk in todo)
    with journal.open("a") as log:
        for chunk, reason in zip(todo, ordered_map(_fill, todo, workers), strict=True):
            if reason is not None:
                raise DataError(reason)
            log.write(f"{chunk.number}\n")
            log.flush()
            done += len(chunk.slots)
            if on_progress is not None:
                on_progress(done, total)
    for name, partial in partials.items():
        partial.replace(out / f"{name}.npy")
    write_index([*train, *test], out / "index.parquet")
    manifest = {
        "format": FORMAT,
        "preparation": PREPARATION,
        "size": size,
        "train": len(train),
        "test": len(test),
        "fingerprint": fingerprint,
    }
    write_text(out / "manifest.json", json.dumps(manifest, indent=2) + "\n")
    journal.unlink()


def _begin_or_continue(journal: Path, fingerprint: str, out: Path) -> set[int]:
    """Return the chunks already finished; with another fingerprint, begin anew."""
    if journal.exists():
        first, *numbers = journal.read_text().splitlines() or [""]
        partial_files = [out / f".{name}.npy.partial" for name in ("X_train", "Y_train", "X_test")]
        if first == fingerprint and all(path.exists() for path in partial_files):
            return {int(number) for number in numbers if number.isdecimal()}
    journal.write_text(fingerprint + "\n")
    for stale in out.glob(".*.npy.partial"):
        stale.unlink()
    return set()


def _allocate(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Make the .npy file at `path` at its full length if it is not there; return its data offset.

    The disk space is reserved, so a full disk shows here and not in the middle of the work.
    """
    with path.open("ab") as stream:
        if stream.tell() == 0:
            header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(stream, header)
            stream.flush()
            length = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            if length:
                os.posix_fallocate(stream.fileno(), stream.tell(), length)
    with path.open("rb") as reader:
        npy.read_magic(reader)
        npy.read_array_header_1_0(reader)
        return reader.tell()


def _plan(
    records: Sequence[ImageRecord],
    x_path: Path,
    y_path: Path | None,
    size: int,
    offset: int,
    *,
    first: int,
) -> list[_Chunk]:
    slots = [
        _Slot(r.path, r.pixel_hash, r.encoded_pixels, position)
        for position, r in enumerate(records)
    ]
    y_text = None if y_path is None else str(y_path)
    return [
        _Chunk(first + number, tuple(piece), size, str(x_path), y_text, offset)
        for number, piece in enumerate(chunks(slots))
    ]


def _fill(chunk: _Chunk) -> str | None:
    """Prepare one chunk and write it into its slots; return a reason where that cannot be done."""
    images, masks = [], []
    for slot in chunk.slots:
        try:
            radiograph = dicom.read_radiograph(slot.path)
        except InputError as error:
            return f"{error} (it could be read when the index was made)"
        if pixel_hash(radiograph.pixels) != slot.pixel_hash:
            return f"{slot.path}: its pixels changed since the index was made; run it again"
        images.append(prepare_pixels(radiograph.pixels, chunk.size))
        if chunk.y_path is not None:
            mask = rle.rle2mask(slot.rle or "-1", radiograph.pixels.shape)
            masks.append(prepare_mask(mask, chunk.size))
    position = chunk.slots[0].position
    _write_at(chunk.x_path, chunk.offset, position, np.stack(images))
    if chunk.y_path is not None:
        _write_at(chunk.y_path, chunk.offset, position, np.stack(masks))
    return None


def _write_at(path: str, offset: int, position: int, block: NDArray[Any]) -> None:
    """Write `block` at its place with plain writes: mapped pages would count as our memory."""
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


def _manifest_says(out: Path, fingerprint: str) -> bool:
    try:
        return bool(_read_manifest(out)["fingerprint"] == fingerprint)
    except DataError:
        return False


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise DataError(
            f"{folder}: is not a finished prepared folder (no manifest.json); make it with "
            "pleura prepare DATA --out DIR"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if {"format", "size", "preparation", "fingerprint"} <= manifest.keys():
            _check_versions(path, manifest)
            return dict(manifest)
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); prepare the folder again") from error
    raise DataError(f"{path}: is not the manifest of a prepared folder")


def _check_versions(path: Path, manifest: dict[str, Any]) -> None:
    for key, ours in (("format", FORMAT), ("preparation", PREPARATION)):
        if manifest[key] != ours:
            raise DataError(
                f"{path}: {key} is {manifest[key]!r}, this pleura reads {ours!r}; "
                "prepare the folder again"
            )


def _open_array(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        if shape[0] == 0 and path.is_file():
            return np.zeros(shape, dtype)  # an empty file cannot be mapped
        raise DataError(f"{path}: cannot be opened ({error}); prepare the folder again") from error
    if array.shape != shape or array.dtype != dtype:
        raise DataError(
            f"{path}: holds {array.dtype} {array.shape}, the index says {dtype} {shape}; prepare "
            "the folder again"
        )
    return array
