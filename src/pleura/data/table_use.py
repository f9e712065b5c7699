"""What of the tables of a data set was not used: told aloud, for nothing is passed over in silence.

A table may be read in part: images whose rows are refused, ids without a file, columns that nobody
asked for. Each is right for some table, and a mistake for another, so it is counted and said.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pleura.data.matching import first_id_alike
from pleura.formats.annotation_table import columns_of
from pleura.formats.csv_table import columns_shown, shown

UnreadFinding = Literal["foreign-table", "unused-table"]


@dataclass(frozen=True, slots=True)
class TableUse:
    """What of one table was not used.

    Attributes:
        table: Its path.
        refused: How many rows or images were refused, by the kind of their fault, as the audit
            calls it.
        unknown: How many of its ids are none of the images.
        example: The first of these ids.
        notes: What else is to be said of it, in words.
        columns: Columns that were not read.
        unread: Why nothing of it was used; empty where something was.
        finding: What the audit calls that, where it is a finding.
    """

    table: str
    refused: Mapping[str, int] = field(default_factory=dict)
    unknown: int = 0
    example: str = ""
    columns: tuple[str, ...] = ()
    unread: str = ""
    notes: tuple[str, ...] = ()
    finding: UnreadFinding | Literal[""] = ""

    def as_json(self) -> dict[str, Any]:
        """Return the fields by their names."""
        return asdict(self) | {
            "refused": dict(self.refused),
            "columns": list(self.columns),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """Return the same as a sentence."""
        if self.unread:
            return f"{self.table}: this table is not used: {self.unread}"
        said = []
        if self.refused:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.refused.items()))
            said.append(f"{sum(self.refused.values()):,} rows are refused ({kinds})")
        if self.unknown:
            ids = "id is none" if self.unknown == 1 else "ids are none"
            said.append(f"{self.unknown:,} {ids} of the images, such as {shown(self.example)}")
        if self.columns:
            word = "this column is" if len(self.columns) == 1 else "these columns are"
            said.append(f"{word} not used: {columns_shown(self.columns)}")
        return f"{self.table}: {'; '.join([*said, *self.notes])}"


def table_use(
    table: str | os.PathLike[str],
    *,
    codes: Iterable[str] = (),
    ids: Iterable[str] = (),
    known: Collection[str] = (),
    columns: Iterable[str] = (),
    names: Iterable[str] = (),
    notes: Iterable[str] = (),
) -> tuple[TableUse, ...]:
    """Return what of a table was not used; nothing where all of it was.

    Args:
        table: Its path.
        codes: The kind of the fault of each row that was refused.
        ids: The ids that it names.
        known: Those of the images.
        columns: Its columns that were not read.
        names: What a table may call the images.
        notes: What else is to be said of it.
    """
    notes = list(notes)
    unknown = [one for one in dict.fromkeys(ids) if one not in known]
    use = TableUse(
        str(table),
        dict(Counter(codes)),
        len(unknown),
        unknown[0] if unknown else "",
        tuple(columns),
        notes=(*filter(None, [first_id_alike(unknown, names)]), *notes),
    )
    return (use,) if use.refused or use.unknown or use.columns or use.notes else ()


def unused_columns(table: str | os.PathLike[str], read: Collection[str]) -> tuple[str, ...]:
    """Return the columns of a table that are not among those that are read."""
    names = columns_of(table, read) or set()
    return (
        tuple(sorted(name for name in names if name and name not in read))
        if names & set(read)
        else ()
    )
