"""One pass over the files: what an index and an audit need to know of each, in a few hundred bytes.

Every file is opened once, in a process that may be killed: a file that crashes its decoder, hangs
or takes too much memory is one that cannot be read. A scan that was cut off goes on where it was,
where it has a journal: a store in which each file is put as soon as it is known.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from pleura.data.radiographs import read_any_header, read_radiograph
from pleura.data.seen import Seen
from pleura.dicom import radiograph as dicom
from pleura.errors import (
    DamagedError,
    InputError,
    LimitError,
    MislabelledError,
    NotDicomError,
    OtherObjectError,
    OwnResultError,
    TruncatedError,
    is_about_memory,
)
from pleura.pictures.measures import Picture, measure_thumb, thumb_of
from pleura.processes.guarded import guarded_list
from pleura.processes.isolation import next_file
from pleura.processes.progress import OnProgress, untold
from pleura.storage.content import stamp_at
from pleura.storage.database import Store
from pleura.storage.elsewhere import is_address, path_at

if TYPE_CHECKING:
    from pleura.cluster.shards import Cluster

FailureCode = Literal[
    "not-dicom", "own-result", "other-object", "truncated", "damaged", "mislabelled", "unreadable"
]
_CODES: tuple[tuple[type[InputError], FailureCode], ...] = (
    (NotDicomError, "not-dicom"),
    (OwnResultError, "own-result"),
    (OtherObjectError, "other-object"),
    (TruncatedError, "truncated"),
    (DamagedError, "damaged"),
    (MislabelledError, "mislabelled"),
)

_JOURNAL = "pleura.scan/7"


@dataclass(frozen=True, slots=True)
class Scan:
    """What one file says of itself; by default nothing.

    Attributes:
        path: The file.
        image_id: SOP Instance UID; of a plain picture its name without the suffix.
        study_uid: Study Instance UID; empty where absent.
        series_uid: Series Instance UID; empty where absent.
        patient_key: Keyed hash of the file's own patient id, equal for equal ids within one scan;
            empty where the file has none. The id itself is not kept.
        rows: Height in pixels.
        columns: Width in pixels.
        sex: As in the file, empty where absent.
        age: As in the file.
        view: View Position, as in the file.
        modality: As in the file.
        body_part: As in the file.
        patient_orientation: Directions of rows and columns, as in the file.
        intent: What the picture is for, as :class:`pleura.dicom.header.Header` has it.
        photometric_interpretation: ``MONOCHROME1`` or ``MONOCHROME2``.
        transfer_syntax: Its name.
        bits_stored: 1 to 16.
        spacing_mm: Distance between (rows, columns); None where the file does not say.
        spacing_text: Pixel spacing as written.
        aspect: Height of a pixel divided by its width.
        pixel_mm: Height of a pixel in mm, to measure with; None where the file does not say, or is
            not to be believed.
        pixel_hash: As :func:`pixel_hash` gives it; empty where the pixels were not read.
        picture: What the picture says; None likewise.
        notes: What is wrong with the file and was put up with when it was read.
    """

    path: str = ""
    image_id: str = ""
    study_uid: str = ""
    series_uid: str = ""
    patient_key: str = ""
    rows: int = 0
    columns: int = 0
    sex: str = ""
    age: str = ""
    view: str = ""
    modality: str = ""
    body_part: str = ""
    patient_orientation: str = ""
    intent: str = ""
    photometric_interpretation: str = ""
    transfer_syntax: str = ""
    bits_stored: int = 8
    spacing_mm: tuple[float, float] | None = None
    spacing_text: str = ""
    pixel_hash: str = ""
    picture: Picture | None = None
    notes: tuple[dicom.Note, ...] = ()
    aspect: float = 1.0
    pixel_mm: float | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is a picture without a header."""
        return any(note.kind == "plain-picture" for note in self.notes)

    @property
    def measure_mm(self) -> tuple[float, float] | None:
        """Distance between (rows, columns) in mm, to measure with; None where it is not known."""
        return None if self.pixel_mm is None else (self.pixel_mm, self.pixel_mm / self.aspect)


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that cannot be read, of what kind the trouble is, and why."""

    path: str
    code: FailureCode
    reason: str


def scan_files(
    paths: Sequence[Path],
    *,
    pixels: bool = True,
    workers: int = 0,
    journal: Path | None = None,
    cluster: "Cluster | None" = None,
    seen: Seen | None = None,
    on_progress: OnProgress = untold,
) -> list[Scan | Failure]:
    """Return a scan, or the reason why there is none, for each file, in order.

    Args:
        paths: The files.
        pixels: Whether to decode them; headers alone are some twenty times as fast.
        workers: Processes; 0 means one per core.
        journal: A file that keeps what is finished. One that is there already is continued: files
            of the same path, size and time of change are not read again. It holds patient ids as
            keyed hashes, and the key, so it is readable by its owner alone and must be removed
            when it is no longer needed.
        cluster: Where the files are read; None: by this machine.
        seen: Keeps what is shown by files at addresses, where this machine reads them.
        on_progress: Told (files done, files in all).

    Raises:
        OutputError: The journal is damaged, no such file, or cannot be written.
        PleuraError: A process could not be started.
        UsageError: No cluster is there, or has no room.
    """
    names = [str(path) for path in paths]
    read = partial(_read_all, pixels=pixels, workers=workers, cluster=cluster, seen=seen)
    if journal is None:
        found = dict(read(names, secrets.token_bytes(16), on_progress))
        return [_told(found[name]) for name in names]
    return _journalled(names, pixels, read, journal, on_progress)


def pixel_hash(pixels: NDArray[np.generic]) -> str:
    """Return a 128-bit hash (hex) of the shape, dtype and values of C-contiguous pixels.

    XXH3 is no cryptographic hash: it tells pictures apart that differ by accident, not ones that
    were made to collide.
    """
    digest = xxhash.xxh3_128(repr((pixels.shape, pixels.dtype.str)).encode())
    digest.update(pixels.data)
    return digest.hexdigest()


class _Opened(NamedTuple):
    """What is kept of a file until the whole chunk is read."""

    scan: Scan
    patient_id: str
    thumb: NDArray[np.uint8] | None


def _texts(
    names: Sequence[str],
    pixels: bool,
    key: bytes,
    workers: int,
    on_progress: OnProgress = untold,
    seen: Seen | None = None,
) -> Iterator[str | Failure]:
    """Yield the scan of each file as a text, or why there is none."""
    scan = partial(_scan_chunk, pixels=pixels, key=key, seen=seen)
    found = guarded_list(scan, names, name=str, workers=workers, on_progress=on_progress)
    for name, one in zip(names, found, strict=True):
        if isinstance(one, LimitError):
            yield Failure(name, _code_of(one), str(one))
        else:
            yield one if isinstance(one, str) else Failure(*one)


_Read = Callable[[Sequence[str], bytes, OnProgress], Iterator[tuple[str, str | Failure]]]


def _read_all(
    names: Sequence[str],
    key: bytes,
    on_progress: OnProgress,
    *,
    pixels: bool,
    workers: int,
    cluster: "Cluster | None",
    seen: Seen | None,
) -> Iterator[tuple[str, str | Failure]]:
    """Yield what :func:`_texts` does with the name of each file; of a cluster in any order."""
    if cluster is None or not names:
        yield from zip(names, _texts(names, pixels, key, workers, on_progress, seen), strict=True)
        return
    from pleura.data.scan_on_ray import read_on  # the processes that read need none of it

    read = partial(_of_shard, pixels=pixels, key=key, workers=workers or cluster.share.cpus)
    for done, (name, found) in enumerate(read_on(cluster, names, read), 1):
        yield name, _died(name) if found is None else found
        on_progress(done, len(names))


def _of_shard(
    names: Sequence[str], *, pixels: bool, key: bytes, workers: int
) -> list[str | Failure]:
    return list(_texts(names, pixels, key, workers))


def _died(name: str) -> Failure:
    why = "two processes that read it died over it, most likely for memory"
    return Failure(name, "unreadable", f"{name}: {why}; export it again, or leave it out")


def _told(text: str | Failure) -> Scan | Failure:
    return text if isinstance(text, Failure) else _scan_of(text)


def _scan_chunk(
    paths: Sequence[str], *, pixels: bool, key: bytes, seen: Seen | None
) -> list[str | tuple[str, str, str]]:
    """Read all files, then measure all thumbs: mixed, each evicts the other from the cache."""
    if pixels:
        _ask_ahead(paths)
    opened = [_open(path, pixels, seen) for path in paths]
    return [
        astuple(file) if isinstance(file, Failure) else _text(_found(file, key)) for file in opened
    ]


def _ask_ahead(paths: Sequence[str]) -> None:
    """Ask the system to fetch files from the disk while others are being decoded."""
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:  # reading it will say why
            continue
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        except OSError:  # a pipe, say
            pass
        finally:
            os.close(descriptor)


def _open(path: str, pixels: bool, seen: Seen | None) -> _Opened | Failure:
    fault = _name_fault(path)
    if fault is not None:
        return fault
    try:
        file = path_at(path)
        if pixels:
            return _read(read_radiograph(file), seen if is_address(path) else None)
        header = read_any_header(file)
        scan = _of_header(header)
        if not scan.is_plain:
            dicom.require_radiograph(header)
        return _Opened(scan, header.patient_id, None)
    except InputError as error:
        if error.__cause__ is not None and is_about_memory(error.__cause__):
            raise  # alone it has all the memory for itself
        return Failure(path, _code_of(error), str(error))
    finally:
        next_file()


def _code_of(error: InputError) -> FailureCode:
    return next((code for kind, code in _CODES if isinstance(error, kind)), "unreadable")


def _read(radiograph: dicom.Radiograph, seen: Seen | None) -> _Opened:
    header, pixels = radiograph.header, radiograph.pixels
    scan = replace(_of_header(header), pixel_hash=pixel_hash(pixels))
    if seen is not None and pixels.shape == (scan.rows, scan.columns):
        seen.keep(pixels, scan.pixel_hash, scan.aspect)
    return _Opened(scan, header.patient_id, thumb_of(pixels))


def _name_fault(path: str) -> Failure | None:
    """Return what is wrong with a file's name: it must be text, or no table can name the file."""
    name = os.fsencode(path).decode(errors="surrogateescape")
    shown = name.encode(errors="backslashreplace").decode()
    if shown == path:
        return None
    if shown == name:
        why = "this Python does not read names as UTF-8; start it with PYTHONUTF8=1"
    else:
        why = "its name is not UTF-8; rename the file"
    return Failure(shown, "unreadable", f"{shown}: {why}")


def _found(file: _Opened, key: bytes) -> Scan:
    own = file.patient_id.encode()
    return replace(
        file.scan,
        patient_key=blake2b(own, digest_size=12, key=key).hexdigest() if own else "",
        picture=None if file.thumb is None else measure_thumb(file.thumb),
    )


def _of_header(header: dicom.Header) -> Scan:
    return Scan(
        path=str(header.path),
        image_id=header.sop_instance_uid,
        study_uid=header.study_instance_uid,
        series_uid=header.series_instance_uid,
        rows=header.rows,
        columns=header.columns,
        sex=header.sex,
        age=header.age,
        view=header.view_position,
        modality=header.modality,
        body_part=header.body_part,
        patient_orientation=header.patient_orientation,
        intent=header.intent,
        photometric_interpretation=header.photometric_interpretation,
        transfer_syntax=header.transfer_syntax_name,
        bits_stored=header.bits_stored,
        spacing_mm=header.spacing_mm,
        spacing_text=header.spacing_text,
        notes=header.notes,
        aspect=header.geometry.aspect,
        pixel_mm=None if header.geometry.measure_mm is None else header.geometry.measure_mm[0],
    )


# ------------------------------------------------------------------------------- journal


def _journalled(
    names: Sequence[str], pixels: bool, read: _Read, journal: Path, on_progress: OnProgress
) -> list[Scan | Failure]:
    """Scan what the journal does not hold yet; what could not be read is tried again."""
    what = "pictures" if pixels else "headers"
    keys = {name: _key(name) for name in names}
    with Store(journal, f"{_JOURNAL} {what}", private=True) as store:
        hashed_with = store.get(_HASHED_WITH)
        if hashed_with is None:
            hashed_with = secrets.token_hex(16)
            store.put(_HASHED_WITH, hashed_with)
        found = {name: _revived(store.get(key)) for name, key in keys.items()}
        known: dict[str, Scan | Failure] = {name: scan for name, scan in found.items() if scan}
        todo = [name for name in names if name not in known]
        offset, total = len(known), len(names)

        def told(done: int, _: int) -> None:
            on_progress(offset + done, total)

        for name, text in read(todo, bytes.fromhex(hashed_with), told):
            known[name] = _told(text)
            if isinstance(text, str):
                store.put(keys[name], text)
    return [known[name] for name in names]


_HASHED_WITH = "hashed with"
"""The key in the journal of what patient ids are hashed with."""


def _key(name: str) -> str:
    """Return what tells a file, and its content, from others."""
    return blake2b(os.fsencode(f"{name}|{stamp_at(name)}"), digest_size=16).hexdigest()


def _text(scan: Scan) -> str:
    values = {name: getattr(scan, name) for name in _SCAN_FIELDS}  # asdict takes ten times as long
    if scan.picture is not None:
        values["picture"] = {name: getattr(scan.picture, name) for name in _PICTURE_FIELDS}
    values["notes"] = [(note.kind, note.text) for note in scan.notes]
    return json.dumps(values)


_SCAN_FIELDS = tuple(field.name for field in fields(Scan))
_PICTURE_FIELDS = tuple(field.name for field in fields(Picture))


def _revived(text: str | None) -> Scan | None:
    """Return the scan that a text of the journal tells of; None where it tells of none."""
    try:
        return _scan_of(text or "")
    except (ValueError, LookupError, TypeError):
        return None


def _scan_of(text: str) -> Scan:
    values = json.loads(text)
    spacing, picture = values["spacing_mm"], values["picture"]
    values["spacing_mm"] = None if spacing is None else (float(spacing[0]), float(spacing[1]))
    values["picture"] = None if picture is None else Picture(**picture)
    values["notes"] = tuple(dicom.Note(kind, text) for kind, text in values["notes"])
    return Scan(**values)


def named_by_path(scan: Scan, root: Path) -> Scan:
    """Return a scan; a picture's id is its path below `root`, as names may come again there."""
    if not scan.is_plain:
        return scan
    path = Path(os.path.relpath(scan.path, root))
    return replace(scan, image_id="_".join((*path.parts[:-1], path.stem)).lstrip("._"))
