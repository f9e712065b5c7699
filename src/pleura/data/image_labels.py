"""Image labels brought to the files they are of, where nobody drew a mask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pleura.choices import Match
from pleura.data.matching import first_id_alike, match_names, names_of
from pleura.data.records import ImageRecord
from pleura.dicom.values import age_years
from pleura.errors import DataError
from pleura.formats.annotations import RowProblem
from pleura.formats.label_row import ImageLabel
from pleura.formats.labels import LabelTable, boxes_text


@dataclass(frozen=True, slots=True)
class ImageLabels:
    """What a table of labels says of the files of a folder.

    Attributes:
        table: The table as read, or None where none is named.
        of: What it says of each file that it names, by path.
        without_file: The ids in it for which there is no file that can be read.
    """

    table: LabelTable | None = None
    of: Mapping[str, ImageLabel] = field(default_factory=dict)
    without_file: tuple[str, ...] = ()

    def patient(self, path: str) -> str:
        """Return who is on a file by the table, never to be written; empty where nobody says."""
        return self.of[path].patient if path in self.of else ""


def find_labels(
    table: LabelTable | None, records: Sequence[ImageRecord], match: Match = ""
) -> ImageLabels:
    """Return what a table says of the files of some records.

    Args:
        table: The table.
        records: One for each file.
        match: What it calls them by.

    Raises:
        DataError: It names none of them, or names one by what several have.
    """
    if table is None:
        return ImageLabels()
    names = table.names
    matched = match_names(sorted(names), records, match)
    if matched.ambiguous:
        name, count = next(iter(matched.ambiguous.items()))
        raise DataError(
            f"{table.path}: {len(matched.ambiguous):,} of its ids are names that several files "
            f"have, the first one {name}, which {count} files have; say with `match` path that ids "
            "are paths, or give the UIDs"
        )
    for names_of_one in matched.twice.values():
        if (
            len({table.labels[name].probability for name in names_of_one if name in table.labels})
            > 1
        ):
            raise DataError(
                f"{table.path}: its ids {' and '.join(names_of_one[:2])} mean one file and say two "
                "things of it; say with `match` path that ids are paths, or give the UIDs"
            )
    said = {
        image_id: table.labels[name]
        for name, image_id in matched.names.items()
        if name in table.labels
    }
    found = {record.path: said[record.image_id] for record in records if record.image_id in said}
    used = set(matched.names)
    if records and not used:
        raise DataError(
            f"{table.path}: none of its {len(names):,} ids belongs to a file found; the first id "
            f"is {next(iter(table.labels), 'none')}, the first file's is {records[0].image_id}; "
            + (first_id_alike(names, names_of(records)) or "name the column of ids with `label_id`")
        )
    return ImageLabels(table, found, tuple(key for key in table.labels if key not in used))


def labelled(record: ImageRecord, labels: ImageLabels) -> tuple[ImageRecord, RowProblem | None]:
    """Return a record with what the table says of it, as far as its file and its mask do not.

    A box that leaves the picture is a problem, and the image stays unlabelled.
    """
    label = labels.of.get(record.path)
    if label is None or labels.table is None:
        return record, None
    record = replace(
        record,
        sex=record.sex or label.sex,
        age_years=age_years(label.age) if record.age_years is None else record.age_years,
        view=record.view or label.view,
    )
    if record.mask_known or label.probability is None:
        return record, None
    side = labels.table.boxes_side
    scale = max(record.rows, record.columns) / side if side else 1.0
    reason = _box_fault(label, record, scale, side)
    if reason:
        return record, RowProblem(label.line, record.image_id, reason, "box-outside")
    known = replace(
        record,
        labelled=True,
        positive=label.probability > 0.5,
        label=label.probability,
        label_weight=label.weight,
        boxes=boxes_text(label.boxes, scale),
    )
    return known, None


def _box_fault(label: ImageLabel, record: ImageRecord, scale: float, side: float) -> str:
    """Return why a box cannot be, or an empty text; a pixel over the edge is rounding."""
    for box in label.boxes:
        right, bottom = scale * (box.x + box.width), scale * (box.y + box.height)
        inside = right <= record.columns + 1 and bottom <= record.rows + 1
        if not (inside and min(box.x, box.y) >= 0):
            about = f" (in a picture of {side:g})" if side else ""
            return (
                f"the box {boxes_text((box,))}{about} leaves the picture of {record.columns} x "
                f"{record.rows} pixels; say with `boxes_side` how large the picture was that the "
                "boxes were drawn in, or mend the table"
            )
    return ""
