"""What would make a score too good: the same patient, picture or answer on both sides."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pleura.audit.files import cluster_items, cluster_members
from pleura.audit.findings import Finding, Item, found
from pleura.data.folds import split_values
from pleura.data.index import Index
from pleura.data.records import ImageRecord
from pleura.errors import DataError
from pleura.formats.csv_table import open_lines


def leak_findings(index: Index, submissions: Sequence[Path]) -> Iterator[Finding]:
    """Yield the leaks between training and test, between folds, and of sample submissions."""
    yield found("test-in-train", _twins(index))
    yield from _across_parts(index)
    yield from fold_findings(index.train)
    yield from patient_findings(index.train, index.patients_from)
    yield found("submission-repeats-ids", _repeated(submissions))


def _twins(index: Index) -> Iterator[Item]:
    """Yield the test images that are training images too, with those."""
    by_picture: dict[str, list[str]] = {}
    for record in index.records:
        if record.part == "train":
            by_picture.setdefault(record.pixel_hash, []).append(record.image_id)
    hashes = {record.image_id: record.pixel_hash for record in index.test}
    for image_id in index.test_in_train:
        others = by_picture.get(hashes[image_id] or "no picture", [])
        yield Item(image_id, others=tuple(other for other in others if other != image_id))


def _across_parts(index: Index) -> Iterator[Finding]:
    named = set(index.test_in_train)
    train = [record for record in index.records if record.part == "train"]
    test = [record for record in index.test if record.image_id not in named]
    apart = cluster_members([*train, *test])
    clusters = [(n, own) for n, own in apart.items() if len({record.part for record in own}) > 1]
    items = cluster_items(clusters)
    yield found("near-duplicates-across-parts", items, count=len(clusters))
    both = {r.patient for r in train} & {r.patient for r in test} - {None}
    own = (r for r in (*train, *test) if r.patient in both)
    items = (Item(record.image_id, f"{record.part} image") for record in own)
    yield found("patients-across-parts", items, count=len(both))


def fold_findings(train: Sequence[ImageRecord]) -> Iterator[Finding]:
    """Yield what a fold table takes apart."""
    for code, values in (
        ("fold-splits-patients", [record.patient for record in train]),
        ("fold-splits-clusters", [record.cluster for record in train]),
    ):
        split = set(split_values(train, values))
        items = (
            Item(record.image_id, f"fold {record.fold}")
            for record, value in zip(train, values, strict=True)
            if value is not None and str(value) in split
        )
        yield found(code, items, count=len(split))


def patient_findings(train: Sequence[ImageRecord], patients_from: str) -> Iterator[Finding]:
    """Yield which labelled images have no known patient."""
    missing = [Item(record.image_id) for record in train if record.patient is None]
    if len(missing) == len(train):
        yield found("no-patients", missing)
    else:
        yield found("unmapped-patients" if "map" in patients_from else "some-patients", missing)


def _repeated(submissions: Sequence[Path]) -> Iterator[Item]:
    for path in submissions:
        ids: Counter[str] = Counter()
        try:
            with open_lines(path, DataError) as lines:
                ids.update(line.split(",", 1)[0].strip().strip('"') for _, line in lines)
        except DataError:
            continue  # it is never used, so its own faults are nobody's
        for image_id, times in ids.items():
            if image_id and times > 1:
                yield Item(image_id[:64], f"{times} rows in {path.name}")
