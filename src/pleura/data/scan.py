"""One pass over the files: what an index and an audit need to know of each, in a few hundred bytes.

Every file is opened once. A scan that was cut off goes on where it was, where it has a journal:
one JSON line per file, written as soon as it is known.
"""

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from pleura.data.pictures import Picture, measure_thumb, thumb_of
from pleura.data.workers import chunked_map
from pleura.errors import DicomError, NotDicomError, OutputError, TruncatedError
from pleura.formats import dicom
from pleura.formats.atomic import why_not_written

OnProgress = Callable[[int, int], None]
FailureCode = Literal["not-dicom", "truncated", "unreadable"]

OLDEST_YEARS = 120

_JOURNAL = "pleura.scan/2"
_AGE = re.compile("([0-9]{1,3})([DWMY]?)")


@dataclass(frozen=True, slots=True)
class Scan:
    """What one file says of itself.

    Attributes:
        path: The file.
        image_id: SOP Instance UID.
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
        photometric_interpretation: ``MONOCHROME1`` or ``MONOCHROME2``.
        transfer_syntax: Its name.
        bits_stored: 1 to 16.
        spacing_mm: Distance between (rows, columns); None where the file does not say.
        spacing_text: Pixel spacing as written.
        pixel_hash: As :func:`pixel_hash` gives it; empty where the pixels were not read.
        picture: What the picture says; None likewise.
    """

    path: str
    image_id: str
    study_uid: str
    series_uid: str
    patient_key: str
    rows: int
    columns: int
    sex: str
    age: str
    view: str
    modality: str
    body_part: str
    patient_orientation: str
    photometric_interpretation: str
    transfer_syntax: str
    bits_stored: int
    spacing_mm: tuple[float, float] | None
    spacing_text: str
    pixel_hash: str
    picture: Picture | None


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
    on_progress: OnProgress | None = None,
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
        on_progress: Told (files done, files in all).

    Raises:
        OutputError: The journal cannot be written.
        PleuraError: A worker process was killed.
    """
    names = [str(path) for path in paths]
    if journal is None:
        job = partial(_scan_chunk, pixels=pixels, key=secrets.token_bytes(16))
        return list(chunked_map(job, names, workers, on_progress))
    try:
        return _journalled(names, pixels, workers, journal, on_progress)
    except OSError as error:
        raise OutputError(
            f"{why_not_written(journal, error)}, and run it again: what is finished is kept"
        ) from error


def pixel_hash(pixels: NDArray[np.generic]) -> str:
    """Return a 128-bit hash (hex) of the size, type and values of C-contiguous pixels.

    XXH3 is no cryptographic hash: it tells pictures apart that differ by accident, not ones that
    were made to collide.
    """
    digest = xxhash.xxh3_128(repr((pixels.shape, pixels.dtype.str)).encode())
    digest.update(pixels.data)
    return digest.hexdigest()


def age_years(text: str) -> int | None:
    """Return whole years from a DICOM age (``038Y``, ``18M``) or a bare number, else None.

    None too above `OLDEST_YEARS`.

    Source: DICOM PS3.5 6.2, value representation AS; the SIIM-ACR files write ``38``.
    """
    found = _AGE.fullmatch(text.strip().upper())
    if found is None:
        return None
    years = int(found[1]) // {"Y": 1, "M": 12, "W": 52, "D": 365}[found[2] or "Y"]
    return years if years <= OLDEST_YEARS else None


class _Opened(NamedTuple):
    """What is kept of a file until the whole chunk is read."""

    header: dicom.Header
    pixel_hash: str
    thumb: NDArray[np.uint8] | None


def _scan_chunk(paths: Sequence[str], *, pixels: bool, key: bytes) -> list[Scan | Failure]:
    """Read all files, then measure all thumbs: mixed, each evicts the other from the cache."""
    if pixels:
        _ask_ahead(paths)
    opened = [_open(path, pixels) for path in paths]
    return [file if isinstance(file, Failure) else _found(file, key) for file in opened]


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


def _open(path: str, pixels: bool) -> _Opened | Failure:
    fault = _name_fault(path)
    if fault is not None:
        return fault
    try:
        if pixels:
            film = dicom.read_radiograph(path)
            return _Opened(film.header, pixel_hash(film.pixels), thumb_of(film.pixels))
        header = dicom.read_header(path)
        dicom.require_radiograph(header)
        return _Opened(header, "", None)
    except NotDicomError as error:
        return Failure(path, "not-dicom", str(error))
    except TruncatedError as error:
        return Failure(path, "truncated", str(error))
    except DicomError as error:
        return Failure(path, "unreadable", str(error))


def _name_fault(path: str) -> Failure | None:
    """Return what is wrong with a file's name: it must be text, or no table can name the file."""
    shown = path.encode("utf-8", "backslashreplace").decode()
    if shown == path:
        return None
    return Failure(shown, "unreadable", f"{shown}: its name is not UTF-8; rename the file")


def _found(file: _Opened, key: bytes) -> Scan:
    header = file.header
    patient_id = header.patient_id.encode()
    return Scan(
        path=str(header.path),
        image_id=header.sop_instance_uid,
        study_uid=header.study_instance_uid,
        series_uid=header.series_instance_uid,
        patient_key=blake2b(patient_id, digest_size=12, key=key).hexdigest() if patient_id else "",
        rows=header.rows,
        columns=header.columns,
        sex=header.sex,
        age=header.age,
        view=header.view_position,
        modality=header.modality,
        body_part=header.body_part,
        patient_orientation=header.patient_orientation,
        photometric_interpretation=header.photometric_interpretation,
        transfer_syntax=header.transfer_syntax_name,
        bits_stored=header.bits_stored,
        spacing_mm=header.spacing_mm,
        spacing_text=header.spacing_text,
        pixel_hash=file.pixel_hash,
        picture=None if file.thumb is None else measure_thumb(file.thumb),
    )


# ------------------------------------------------------------------------------- journal


def _journalled(
    names: Sequence[str],
    pixels: bool,
    workers: int,
    journal: Path,
    on_progress: OnProgress | None,
) -> list[Scan | Failure]:
    stamps = [_stamp(name) for name in names]
    key, finished = _read_journal(journal, pixels)
    known: dict[str, Scan | Failure] = {
        name: finished[name][1]
        for name, stamp in zip(names, stamps, strict=True)
        if name in finished and finished[name][0] == stamp
    }
    todo = [(name, stamp) for name, stamp in zip(names, stamps, strict=True) if name not in known]
    _begin_journal(journal, pixels, key, [finished[name] for name in known])
    offset, total = len(known), len(names)

    def told(done: int, _: int) -> None:
        if on_progress is not None:
            on_progress(offset + done, total)

    job = partial(_scan_chunk, pixels=pixels, key=key)
    scans = chunked_map(job, [name for name, _ in todo], workers, told)
    with journal.open("a", encoding="utf-8") as log:
        for (name, stamp), scan in zip(todo, scans, strict=True):
            known[name] = scan
            if isinstance(scan, Scan):
                log.write(_line(stamp, scan))
                log.flush()
    return [known[name] for name in names]


def _begin_journal(
    journal: Path, pixels: bool, key: bytes, finished: Sequence[tuple[str, Scan]]
) -> None:
    """Write the journal anew with what is known: a torn last line must not stay in it."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    partial_path = journal.with_name(journal.name + ".partial")
    partial_path.unlink(missing_ok=True)
    private = os.open(partial_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(private, "w", encoding="utf-8") as log:
        head = {"journal": _JOURNAL, "pixels": pixels, "key": key.hex()}
        log.write(json.dumps(head) + "\n")
        for stamp, scan in finished:
            log.write(_line(stamp, scan))
    partial_path.replace(journal)


def _read_journal(journal: Path, pixels: bool) -> tuple[bytes, dict[str, tuple[str, Scan]]]:
    """Return the key and, by path, stamp and scan of each whole line; anew where it is foreign.

    What could not be read is tried again.
    """
    try:
        with journal.open(encoding="utf-8") as log:
            head = json.loads(log.readline())
            if head["journal"] != _JOURNAL or head["pixels"] != pixels:
                raise ValueError
            key = bytes.fromhex(head["key"])
            return key, {scan.path: (stamp, scan) for stamp, scan in _lines(log)}
    except (OSError, ValueError, LookupError, TypeError):
        return secrets.token_bytes(16), {}


def _lines(log: Iterator[str]) -> Iterator[tuple[str, Scan]]:
    for line in log:
        try:
            stamp, values = json.loads(line)
            yield stamp, _revived(values)
        except (ValueError, LookupError, TypeError):  # the line that was being written
            continue


def _line(stamp: str, scan: Scan) -> str:
    values = {name: getattr(scan, name) for name in _SCAN_FIELDS}  # asdict takes ten times as long
    if scan.picture is not None:
        values["picture"] = {name: getattr(scan.picture, name) for name in _PICTURE_FIELDS}
    return json.dumps([stamp, values]) + "\n"


_SCAN_FIELDS = tuple(field.name for field in fields(Scan))
_PICTURE_FIELDS = tuple(field.name for field in fields(Picture))


def _revived(values: dict[str, Any]) -> Scan:
    spacing, picture = values["spacing_mm"], values["picture"]
    values["spacing_mm"] = None if spacing is None else (float(spacing[0]), float(spacing[1]))
    values["picture"] = None if picture is None else Picture(**picture)
    return Scan(**values)


def _stamp(name: str) -> str:
    try:
        status = os.stat(name)  # noqa: PTH116
    except OSError:
        return "gone"
    return f"{status.st_size}-{status.st_mtime_ns}"
