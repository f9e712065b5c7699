"""The files of an audit: cleaned tables, ``findings.json`` and ``audit.html``."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pleura.audit.files import below
from pleura.audit.findings import Audit
from pleura.audit.page import write_page
from pleura.audit.report import write_findings
from pleura.audit.thumbs import Thumb, ToShow, read_thumbs
from pleura.data.index import Index
from pleura.data.records import ImageRecord, write_index, write_masks
from pleura.errors import LimitError
from pleura.processes.guarded import guarded_list
from pleura.processes.progress import OnProgress, untold

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
    audit: Audit, index: Index, out: Path, *, workers: int = 0, on_progress: OnProgress = untold
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
        below(root, copy.path): ToShow(copy.path, None, index.scans[copy.path].pixel_hash)
        for copy in index.duplicates
    }
    radiographs |= {
        r.image_id: ToShow(r.path, r.encoded_pixels, r.pixel_hash) for r in reversed(index.records)
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


def _thumbs(
    radiographs: Mapping[str, ToShow], workers: int, on_progress: OnProgress
) -> Mapping[str, Thumb]:
    made = guarded_list(
        read_thumbs,
        list(radiographs.values()),
        name=lambda radiograph: radiograph.path,
        workers=workers,
        on_progress=on_progress,
    )
    return {
        name: Thumb.unpacked(found)
        for name, found in zip(radiographs, made, strict=True)
        if found is not None and not isinstance(found, LimitError)
    }
