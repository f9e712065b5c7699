"""The files of an audit: cleaned tables, ``findings.json`` and ``audit.html``."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pleura.data.audit.files import below
from pleura.data.audit.findings import Audit
from pleura.data.audit.page import Thumb, thumb, write_page
from pleura.data.audit.report import write_findings
from pleura.data.index import Index
from pleura.data.records import ImageRecord, write_index, write_masks
from pleura.data.scan import OnProgress
from pleura.data.workers import chunked_map
from pleura.errors import DicomError
from pleura.formats.dicom import read_radiograph
from pleura.formats.rle import EMPTY, rle2mask

GALLERY = 24
"""Pictures of each of the two galleries."""

PER_FINDING = 12
"""Pictures of a finding, at most; a page of any number of images stays of one size."""


class Written(NamedTuple):
    """The files of an audit."""

    indices: Path
    masks: Path
    findings: Path
    page: Path


def write_audit(
    audit: Audit,
    index: Index,
    out: Path,
    *,
    workers: int = 0,
    on_progress: OnProgress | None = None,
) -> Written:
    """Write all files of an audit into `out`; return their paths.

    Args:
        audit: The audit.
        index: The index that it is of.
        out: A folder; made where it is not there.
        workers: Processes that read pictures for the page; 0 means one per core.
        on_progress: Told (pictures read, pictures in all).

    Raises:
        OutputError: A file could not be written.
    """
    written = Written(*(out / name for name in _NAMES))
    write_index(index.records, written.indices)
    write_masks(index.records, written.masks)
    write_findings(audit, written.findings)
    healthy, positive = _galleries(index.train)
    shown = dict.fromkeys([*healthy, *positive, *_of_findings(audit)])
    root = Path(audit.source)
    films = {below(root, copy.path): _Film(copy.path, None) for copy in index.duplicates}
    films |= {r.image_id: _Film(r.path, r.encoded_pixels) for r in reversed(index.records)}
    wanted = {name: films[name] for name in shown if name in films}
    thumbs = _thumbs(wanted, workers, on_progress)
    write_page(audit, thumbs, healthy, positive, written.page)
    return written


_NAMES = ("indices.parquet", "masks.parquet", "findings.json", "audit.html")


def _galleries(train: Sequence[ImageRecord]) -> tuple[list[str], list[str]]:
    """Return ids of healthy images by lot, and of others from the smallest to the largest mask."""
    rng = np.random.default_rng(0)
    healthy = [record.image_id for record in train if not record.positive]
    chosen = sorted(rng.permutation(len(healthy))[:GALLERY].tolist())
    masks = sorted((r.area_px or 0, r.image_id) for r in train if r.positive)
    places = np.unique(np.linspace(0, len(masks) - 1, min(GALLERY, len(masks))).astype(int))
    return [healthy[place] for place in chosen], [masks[place][1] for place in places]


def _of_findings(audit: Audit) -> Iterable[str]:
    for finding in audit.findings:
        for item in finding.items[:PER_FINDING]:
            yield item.id
            yield from item.others[:PER_FINDING]


class _Film(NamedTuple):
    """A file to be shown, with its mask as run-length text."""

    path: str
    encoded_pixels: str | None


def _thumbs(
    films: Mapping[str, _Film], workers: int, on_progress: OnProgress | None
) -> Mapping[str, Thumb]:
    made = chunked_map(_read_thumbs, list(films.values()), workers, on_progress)
    pairs = zip(films, made, strict=True)
    return {name: picture for name, picture in pairs if picture is not None}


def _read_thumbs(films: Sequence[_Film]) -> list[Thumb | None]:
    return [_read_thumb(film) for film in films]


def _read_thumb(film: _Film) -> Thumb | None:
    try:
        pixels = read_radiograph(film.path).pixels
    except DicomError:  # read before, gone since: the page does without
        return None
    text = film.encoded_pixels or EMPTY
    return thumb(pixels, None if text == EMPTY else rle2mask(text, pixels.shape))
