"""What the processes of :class:`pleura.inference.readers.Readers` do with a stranger's file.

This module is all that such a process imports: neither torch nor another engine.
"""

from pathlib import Path

import cv2

from pleura.data.guard import assess
from pleura.data.isolation import Reply
from pleura.data.prepare import Frame, prepare_pixels
from pleura.errors import DicomError, OutputError
from pleura.formats.dicom import read_radiograph
from pleura.formats.preamble import preamble_note
from pleura.inference.readers import ReadRequest, Ready, WriteRequest, Wrote


def read(path: Path, size: int) -> Ready:
    """Return the radiograph at `path`, prepared for a network of `size` pixels, in this process.

    Raises:
        DicomError: The file is not a radiograph that pleura can read.
    """
    radiograph = read_radiograph(path)
    rows, columns = radiograph.pixels.shape
    judged = assess(radiograph.pixels)
    return Ready(
        path,
        radiograph.header.sop_instance_uid,
        prepare_pixels(radiograph.pixels, size),
        Frame(rows, columns, size),
        judged.score,
        ";".join(judged.flags),
        preamble_note(path),
    )


def handle(request: ReadRequest | WriteRequest) -> Reply:
    """Do what is asked; this is what runs in the other process."""
    cv2.setNumThreads(1)
    try:
        if isinstance(request, ReadRequest):
            return _packed(read(request.path, request.size))
        return Reply(_written(request)._asdict())
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
            raise
        return Reply({"memory": True})
    except DicomError as error:
        if isinstance(error.__cause__, MemoryError):
            return Reply({"memory": True})
        return Reply({"refused": str(error)})
    except OutputError as error:
        return Reply({"unwritten": str(error)})


def _written(request: WriteRequest) -> Wrote:
    """Have every writer write; that one cannot does not keep the others from it."""
    writers, path, image_id, prediction, out = request
    troubles, notes = [], []
    for writer in writers:
        try:
            notes.append(writer.write(path, image_id, prediction, out))
        except DicomError as error:
            if isinstance(error.__cause__, MemoryError):
                raise
            troubles.append(str(error))
    return Wrote("; ".join(troubles), "; ".join(filter(None, notes)))


def _packed(ready: Ready) -> Reply:
    fields = {
        "image_id": ready.image_id,
        "rows": ready.frame.rows,
        "columns": ready.frame.columns,
        "guard": ready.guard,
        "flags": ready.flags,
        "notes": ready.notes,
    }
    return Reply(fields, ready.pixels.tobytes())
