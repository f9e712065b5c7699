"""What would make a score too good: the same patient, picture or answer on both sides."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pleura.data.audit.files import cluster_items, cluster_members
from pleura.data.audit.findings import Finding, Item, found
from pleura.data.folds import split_values
from pleura.data.index import Index
from pleura.data.records import ImageRecord


def leak_findings(index: Index, submissions: Sequence[Path]) -> Iterator[Finding]:
    """Yield the leaks between training and test, between folds, and of sample submissions."""
    yield found("test-in-train", (Item(image_id) for image_id in index.test_in_train))
    yield from _across_parts(index)
    yield from _across_folds(index.train)
    yield from _without_patient(index.train)
    yield found("submission-repeats-ids", _repeated(submissions))


def _across_parts(index: Index) -> Iterator[Finding]:
    named = set(index.test_in_train)
    clusters = {
        number: own
        for number, own in cluster_members(index.records).items()
        if any(record.part == "train" for record in own)
        and any(record.part == "test" and record.image_id not in named for record in own)
    }
    items = cluster_items(clusters.items())
    yield found("near-duplicates-across-parts", items, count=len(clusters))
    parts: dict[str, set[str]] = {}
    for record in index.records:
        if record.patient is not None and record.image_id not in named:
            parts.setdefault(record.patient, set()).add(record.part)
    both = {patient for patient, places in parts.items() if len(places) > 1}
    yield found(
        "patients-across-parts",
        (Item(r.image_id, f"{r.part} image") for r in index.records if r.patient in both),
        count=len(both),
    )


def _across_folds(train: Sequence[ImageRecord]) -> Iterator[Finding]:
    patients = split_values(train, [record.patient for record in train])
    yield found(
        "fold-splits-patients",
        (Item(r.image_id, f"fold {r.fold}") for r in train if r.patient in set(patients)),
        count=len(patients),
    )
    clusters = split_values(train, [record.cluster for record in train])
    yield found(
        "fold-splits-clusters",
        (Item(r.image_id, f"fold {r.fold}") for r in train if str(r.cluster) in set(clusters)),
        count=len(clusters),
    )


def _without_patient(train: Sequence[ImageRecord]) -> Iterator[Finding]:
    missing = [record.image_id for record in train if record.patient is None]
    code = "no-patients" if len(missing) == len(train) else "unmapped-patients"
    yield found(code, (Item(image_id) for image_id in missing))


def _repeated(submissions: Sequence[Path]) -> Iterator[Item]:
    for path in submissions:
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                ids = Counter(row[0].strip() for row in csv.reader(file) if row)
        except (OSError, UnicodeDecodeError, csv.Error):
            continue  # it is never used, so its own faults are nobody's
        for image_id, times in ids.items():
            if times > 1:
                yield Item(image_id[:64], f"{times} rows in {path.name}")
