"""What the processes of :class:`pleura.inference.readers.Readers` do with a stranger's file.

This module is all that such a process imports: neither torch nor another engine.
"""

import io
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2

from pleura.data.prepare import Frame, prepare_pixels
from pleura.data.radiographs import open_any_radiograph, parse_any_radiograph
from pleura.dicom.preamble import preamble_note
from pleura.dicom.radiograph import Opened, Radiograph
from pleura.dicom.square import squared
from pleura.errors import ChangedError, DicomError, OutputError, PictureError
from pleura.inference.readers import ReadRequest, Ready, Version, WriteRequest
from pleura.inference.row import Wrote
from pleura.pictures.flags import judge
from pleura.processes.isolation import Reply
from pleura.remote.address import Address, Source
from pleura.storage.content import stamp_at


def read(path: Path, size: int) -> Ready:
    """Return the radiograph at `path`, prepared for a network of `size` pixels, in this process.

    Raises:
        InputError: The file is not a radiograph that pleura can read.
    """
    return _prepared(open_any_radiograph(path), size)


def read_bytes(content: bytes, size: int) -> Ready:
    """Return the radiograph in the bytes of a file, as :func:`read` does."""
    return _prepared(parse_any_radiograph(content), size)


def dataset_bytes(dataset: Any) -> bytes:
    """Return a data set of pydicom as the bytes of a file.

    Raises:
        DicomError: It cannot be written as one.
    """
    buffer = io.BytesIO()
    try:
        dataset.save_as(buffer, enforce_file_format=True)
    except Exception as error:  # what pydicom raises over a data set that is not whole, its own too
        raise DicomError(
            f"the data set cannot be written as a file ({type(error).__name__}); see that it has a "
            "Transfer Syntax UID in its file_meta and a SOP Class UID, or give its file"
        ) from error
    return buffer.getvalue()


class _Kept:
    """Radiographs that were read and may be asked for once more, by their path and bytes.

    One for which there is no room, or which a killed process took along, is opened again.
    """

    def __init__(self) -> None:
        self._opened: OrderedDict[tuple[Source, str], Opened] = OrderedDict()

    def put(self, path: Source, fingerprint: str, opened: Opened, most_bytes: int) -> None:
        """Keep one if all that are kept have no more than `most_bytes` then."""
        while len(self._opened) >= _MOST_KEPT:  # whoever asked for it never came back
            self._opened.popitem(last=False)
        if sum(map(_bytes_of, self._opened.values())) + _bytes_of(opened) <= most_bytes:
            self._opened[path, fingerprint] = opened

    def take(self, path: Source, version: Version) -> Opened | None:
        """Return one that is kept, if the file is as it was then; it is kept no longer."""
        opened = self._opened.pop((path, version.fingerprint), None)
        same = isinstance(path, Address) or stamp_at(path) == version.stamp
        return opened if same else None

    def drop(self) -> bool:
        """Keep none any longer; return whether there were any."""
        any_kept = bool(self._opened)
        self._opened.clear()
        return any_kept


_MOST_KEPT = 64
_kept = _Kept()


def _bytes_of(opened: Opened) -> int:
    return len(opened.content) + opened.radiograph.pixels.nbytes


def prepare(radiograph: Radiograph, size: int) -> Ready:
    """Return a radiograph that was read, prepared for a network of `size` pixels."""
    rows, columns = radiograph.pixels.shape
    aspect = radiograph.header.geometry.aspect
    judged = judge(squared(radiograph.pixels, aspect), radiograph.header, size)
    return Ready(
        radiograph.header.path,
        radiograph.header.sop_instance_uid,
        prepare_pixels(radiograph.pixels, size, aspect),
        Frame(rows, columns, size, aspect),
        judged.score,
        judged.flags,
        "; ".join(note.text for note in radiograph.header.notes),
    )


def _prepared(opened: Opened, size: int) -> Ready:
    ready = prepare(opened.radiograph, size)
    notes = "; ".join(filter(None, (preamble_note(opened.content), ready.notes)))
    return replace(ready, notes=notes, version=Version(opened.fingerprint, opened.stamp))


def handle(request: ReadRequest | WriteRequest) -> Reply:
    """Do what is asked; this is what runs in the other process."""
    cv2.setNumThreads(1)
    reply = _handled(request)
    if "memory" in reply.fields and _kept.drop():  # the one file has all the memory now
        reply = _handled(request)
    return reply


def _handled(request: ReadRequest | WriteRequest) -> Reply:
    try:
        if isinstance(request, ReadRequest):
            opened = _opened(request.path, request.content)
            ready = _prepared(opened, request.size)
            if request.keep_bytes:
                _kept.put(request.path, ready.version.fingerprint, opened, request.keep_bytes)
            return _packed(ready)
        return Reply(_written(request)._asdict())
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
            raise
        return Reply({"memory": True})
    except (DicomError, PictureError) as error:
        if isinstance(error.__cause__, MemoryError):
            return Reply({"memory": True})
        return Reply({"changed" if isinstance(error, ChangedError) else "refused": str(error)})
    except OutputError as error:
        return Reply({"unwritten": str(error)})


def _written(request: WriteRequest) -> Wrote:
    """Have every writer write; that one cannot does not keep the others from it.

    Writers share what was opened when the file was read. It is opened again where it is kept no
    longer, or something happened to the file: then only if it holds what it did when answered.
    """
    opened = _kept.take(request.path, request.expected)
    if opened is None:
        opened = _opened(request.path, request.content, request.expected.fingerprint)
    opened.radiograph.pixels.flags.writeable = False  # writers share them
    wrote = Wrote()
    for writer in request.writers:
        try:
            said = writer.write(opened, request.prediction, request.out)
        except DicomError as error:
            if isinstance(error.__cause__, MemoryError):
                raise
            said = Wrote(trouble=str(error))
        wrote = Wrote(
            "; ".join(filter(None, (wrote.trouble, said.trouble))),
            "; ".join(filter(None, (wrote.notes, said.notes))),
            wrote.areas if said.areas is None else said.areas,
        )
    return wrote


def _opened(source: Source, content: bytes | None, expected: str = "") -> Opened:
    """Return what is in a file, or in the bytes that were fetched from an address."""
    if isinstance(source, Path):
        return open_any_radiograph(source, expected)
    return parse_any_radiograph(content or b"", str(source), Path(source.name))


def _packed(ready: Ready) -> Reply:
    fields = {
        "image_id": ready.image_id,
        "rows": ready.frame.rows,
        "columns": ready.frame.columns,
        "aspect": ready.frame.aspect,
        "guard": ready.guard,
        "flags": ready.flags,
        "notes": ready.notes,
        "fingerprint": ready.version.fingerprint,
        "stamp": ready.version.stamp,
    }
    return Reply(fields, ready.pixels.tobytes())
