"""A small PACS that speaks DICOMweb: it finds instances page by page, and gives them back."""

import base64
import contextlib
import io
import json
from collections.abc import Iterable, Iterator
from email.message import Message
from itertools import groupby
from urllib.parse import parse_qs, urlsplit

import pydicom

from tests.remote.servers import Server, serving

ROOT = "/dicom-web"
USER = "me:the-password"

_TAGS = {
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018",
    "Modality": "00080060",
}


class _Pacs:
    def __init__(self, files: Iterable[bytes]) -> None:
        self._files = {}
        self._rows = []
        for content in files:
            found = pydicom.dcmread(io.BytesIO(content), force=True, stop_before_pixels=True)
            row = {tag: str(found.get(name, "")) for name, tag in _TAGS.items()}
            study, series, instance, _ = row.values()
            self._rows.append(row)
            self._files[f"/studies/{study}/series/{series}/instances/{instance}"] = content
        self._rows.sort(key=lambda row: list(row.values()))

    def answer(self, path: str, headers: Message) -> tuple[int, bytes, dict[str, str]]:
        right = headers["Authorization"]
        if right not in (f"Basic {base64.b64encode(USER.encode()).decode()}", "Bearer the-token"):
            return 401, b"", {}
        asked = urlsplit(path)
        place = asked.path.removeprefix(ROOT)
        if place in self._files:
            assert headers["Accept"].startswith('multipart/related; type="application/dicom"')
            part = b"\r\n--a-b\r\nContent-Type: application/dicom\r\n\r\n" + self._files[place]
            kind = 'multipart/related; type="application/dicom"; boundary=a-b'
            return 200, part + b"\r\n--a-b--\r\n", {"Content-Type": kind}
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        found = self._found(place, query.get("ModalitiesInStudy") or query.get("Modality"))
        page = found[int(query["offset"]) :][: int(query["limit"])]
        rows = [{tag: {"Value": [text]} for tag, text in row.items()} for row in page]
        return (200, json.dumps(rows).encode(), {}) if rows else (204, b"", {})

    def _found(self, place: str, modality: str | None) -> list[dict[str, str]]:
        rows = [row for row in self._rows if modality in (None, row["00080060"])]
        if place == "/studies":
            return [next(group) for _, group in groupby(rows, key=lambda row: row["0020000D"])]
        _, _, study, *more = place.split("/")
        series = more[1] if len(more) > 1 else None
        return [
            row for row in rows if row["0020000D"] == study and series in (None, row["0020000E"])
        ]


@contextlib.contextmanager
def pacs(*files: bytes) -> Iterator[Server]:
    """Yield a PACS that holds some files, and gives them to `USER` or for ``the-token``."""
    with serving(answer=_Pacs(files).answer) as server:
        yield server


def address(server: Server, user: str = USER) -> str:
    """Return the address of its service."""
    return f"dicomweb+http://{user}{'@' * bool(user)}{server.address}{ROOT}"
