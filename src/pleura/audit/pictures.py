"""What the pictures say: see :mod:`pleura.pictures.measures` for how each is measured."""

from collections.abc import Iterator

from pleura.audit.catalogue import catalogue
from pleura.audit.findings import Finding, Item, found
from pleura.data.index import Index
from pleura.pictures.measures import faults


def picture_findings(index: Index) -> Iterator[Finding]:
    """Yield what is to be said of the pictures of `index`, where they were read."""
    items: dict[str, list[Item]] = {
        code: [] for code, kind in catalogue().items() if kind.group == "pictures"
    }
    for record in index.records:
        picture = index.scans[record.path].picture
        for code in faults(picture) if picture is not None else ():
            items[code].append(Item(record.image_id))
    for code, own in items.items():
        yield found(code, own)
