"""Files that show the same image: of copies one stays, and near-duplicates are grouped."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pleura.data.records import ImageRecord
from pleura.data.scan import Scan
from pleura.data.unchanged import read_unchanged
from pleura.pictures.near_duplicates import find_clusters, small
from pleura.processes.guarded import guarded_picture
from pleura.processes.workers import one_thread

Reason = Literal["same-uid", "same-pixels"]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A file set aside because `kept` shows the same image.

    Attributes:
        path: The file set aside.
        image_id: Its SOP Instance UID.
        kept: The file that stays in the index.
        kept_id: Its SOP Instance UID.
        reason: ``same-uid`` or ``same-pixels``.
        agrees: False where the two differ: in their pixels (same UID) or in their masks (same
            pixels). That is a contradiction somebody should look at.
    """

    path: str
    image_id: str
    kept: str
    kept_id: str
    reason: Reason
    agrees: bool


def drop_same_uid(records: Iterable[ImageRecord]) -> tuple[list[ImageRecord], list[Duplicate]]:
    """Keep the first file of each UID in each part."""
    first: dict[tuple[str, str], ImageRecord] = {}
    dropped = []
    for record in records:
        kept = first.setdefault((record.part, record.image_id), record)
        if kept is not record:
            agrees = kept.pixel_hash == record.pixel_hash
            dropped.append(_duplicate(record, kept, "same-uid", agrees))
    return list(first.values()), dropped


def drop_same_pixels(records: Sequence[ImageRecord]) -> tuple[list[ImageRecord], list[Duplicate]]:
    """Keep one file of each picture: the first with a mask, else with a label, else the first."""
    kept: dict[str, ImageRecord] = {}
    for record in records:
        other = kept.setdefault(_picture_key(record), record)
        if (record.mask_known, record.labelled) > (other.mask_known, other.labelled):
            kept[_picture_key(record)] = record
    dropped = []
    for record in records:
        keeper = kept[_picture_key(record)]
        if keeper is not record:
            dropped.append(_duplicate(record, keeper, "same-pixels", _agree(record, keeper)))
    return [record for record in records if kept[_picture_key(record)] is record], dropped


def _duplicate(record: ImageRecord, kept: ImageRecord, reason: Reason, agrees: bool) -> Duplicate:
    return Duplicate(record.path, record.image_id, kept.path, kept.image_id, reason, agrees)


def _agree(record: ImageRecord, keeper: ImageRecord) -> bool:
    """Return whether a copy says what the file says that is kept, as far as it says anything."""
    if record.mask_known:
        return record.encoded_pixels == keeper.encoded_pixels
    return not record.labelled or record.positive == keeper.positive


def _picture_key(record: ImageRecord) -> str:
    """Return what is equal for the same picture; where none was read, each file is its own."""
    return record.pixel_hash or record.path


def ids_in_both(train: Sequence[ImageRecord], test: Sequence[ImageRecord]) -> tuple[str, ...]:
    """Return the ids of the test images that are training images too, by UID or by pixels."""
    ids = {record.image_id for record in train}
    hashes = {record.pixel_hash for record in train} - {""}
    return tuple(r.image_id for r in test if r.image_id in ids or r.pixel_hash in hashes)


def with_clusters(records: Sequence[ImageRecord], scans: Mapping[str, Scan]) -> list[ImageRecord]:
    """Return the records with the numbers of their clusters of near-duplicates."""
    pictures = [scans[record.path].picture for record in records]
    numbers: dict[int, int] = {}
    hashed = [place for place, picture in enumerate(pictures) if picture and not picture.blank]
    hashes = {record.path: record.pixel_hash for record in records}
    with one_thread():
        clusters = find_clusters(
            [pictures[place].hash for place in hashed],  # type: ignore[union-attr]
            [records[place].path for place in hashed],
            lambda path: guarded_picture(partial(_small, expected=hashes[path]), path, path),
        )
    for number, members in enumerate(clusters, 1):
        numbers |= {hashed[member]: number for member in members}
    return [replace(record, cluster=numbers.get(place)) for place, record in enumerate(records)]


def _small(path: str, *, expected: str) -> NDArray[np.uint8]:
    return small(read_unchanged(path, expected).pixels)
