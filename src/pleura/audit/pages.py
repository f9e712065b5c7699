"""The files of an audit: cleaned tables, ``findings.json`` and ``audit.html``."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pleura.audit.files import below
from pleura.audit.findings import Audit
from pleura.audit.page import SIDE, Thumb, thumb, write_page
from pleura.audit.report import write_findings
from pleura.data.index import Index
from pleura.data.records import ImageRecord, write_index, write_masks
from pleura.data.unchanged import read_unchanged
from pleura.errors import ChangedError, InputError
from pleura.formats.rle import EMPTY, rle2mask
from pleura.processes.progress import OnProgress
from pleura.processes.workers import chunked_map
from pleura.rendering.notice import notice, why

GALLERY = 24
"""Pictures of each of the two galleries."""

PER_FINDING = 12
"""Pictures of a finding, at most; a page of any number of images stays of one size."""


class WrittenAudit(NamedTuple):
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
) -> WrittenAudit:
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
    written = WrittenAudit(*(out / name for name in _NAMES))
    write_index(index.records, written.indices)
    write_masks(index.records, written.masks)
    write_findings(audit, written.findings)
    negative, positive = _galleries(index.train)
    shown = dict.fromkeys([*negative, *positive, *_of_findings(audit)])
    root = Path(audit.source)
    radiographs = {
        below(root, copy.path): _Radiograph(copy.path, None, index.scans[copy.path].pixel_hash)
        for copy in index.duplicates
    }
    radiographs |= {
        r.image_id: _Radiograph(r.path, r.encoded_pixels, r.pixel_hash)
        for r in reversed(index.records)
    }
    wanted = {name: radiographs[name] for name in shown if name in radiographs}
    thumbs = _thumbs(wanted, workers, on_progress)
    write_page(audit, thumbs, negative, positive, written.page)
    return written


_NAMES = ("indices.parquet", "masks.parquet", "findings.json", "audit.html")


def _galleries(train: Sequence[ImageRecord]) -> tuple[list[str], list[str]]:
    """Return ids: negative images by lot, positive ones from the smallest mask to the largest."""
    rng = np.random.default_rng(0)
    negative = [record.image_id for record in train if not record.positive]
    chosen = sorted(rng.permutation(len(negative))[:GALLERY].tolist())
    masks = sorted((r.area_px or 0, r.image_id) for r in train if r.positive and r.mask_known)
    places = np.unique(np.linspace(0, len(masks) - 1, min(GALLERY, len(masks))).astype(int))
    return [negative[place] for place in chosen], [masks[place][1] for place in places]


def _of_findings(audit: Audit) -> Iterable[str]:
    for finding in audit.findings:
        for item in finding.items[:PER_FINDING]:
            yield item.id
            yield from item.others[:PER_FINDING]


class _Radiograph(NamedTuple):
    """A file to be shown, with its mask as run-length text."""

    path: str
    encoded_pixels: str | None
    pixel_hash: str


def _thumbs(
    radiographs: Mapping[str, _Radiograph], workers: int, on_progress: OnProgress | None
) -> Mapping[str, Thumb]:
    made = chunked_map(_read_thumbs, list(radiographs.values()), workers, on_progress)
    pairs = zip(radiographs, made, strict=True)
    return {name: picture for name, picture in pairs if picture is not None}


def _read_thumbs(radiographs: Sequence[_Radiograph]) -> list[Thumb | None]:
    return [_read_thumb(radiograph) for radiograph in radiographs]


def _read_thumb(radiograph: _Radiograph) -> Thumb | None:
    try:
        opened = read_unchanged(radiograph.path, radiograph.pixel_hash)
    except ChangedError as error:
        return thumb(notice(why(error), SIDE)[:, :, 0], None)
    except InputError:  # read before, gone since: the page does without
        return None
    pixels, mask = opened.squared(rle2mask(radiograph.encoded_pixels or EMPTY, opened.pixels.shape))
    return thumb(pixels, mask)
