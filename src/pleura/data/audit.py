"""What a data folder holds and what is wrong with it: counts, findings, the cleaned tables."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pleura.data.index import Index, write_index, write_masks
from pleura.formats import annotations as tables

Severity = Literal["note", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the audit found.

    Attributes:
        code: Stable name, such as ``duplicate-uid``.
        severity: ``note`` (harmless), ``warning`` (pleura treats it, look at it) or ``error``
            (something is unusable or contradictory).
        count: How many files, images or rows it concerns.
        message: What it is and what pleura does about it.
        items: The files, ids or rows, each with its reason where it has one.
    """

    code: str
    severity: Severity
    count: int
    message: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of everything there is; None where only a table was given.

    Attributes:
        files_train: Training files found, readable or not.
        files_test: Test files found.
        rows: Data rows of the annotation table.
        images: Different images that the table describes, with or without a file.
        positive: Of these, with a pneumothorax.
        empty: Of these, without.
        several_rows: Positive images with more than one non-empty row.
        overlapping: Of these, with rows that cover a pixel twice.
        labelled: Training images ready for use: a file, no duplicate, a usable annotation.
        labelled_positive: Of these, with a pneumothorax.
        unlabelled: Readable training images without a usable annotation.
        rows_without_file: Annotated images for which there is no file.
        duplicates: Files set aside as copies.
        unreadable: Files that cannot be read.
        patients: Different patients among the labelled images; None without a patient map.
    """

    files_train: int | None
    files_test: int | None
    rows: int
    images: int
    positive: int
    empty: int
    several_rows: int
    overlapping: int
    labelled: int | None
    labelled_positive: int | None
    unlabelled: int | None
    rows_without_file: int | None
    duplicates: int | None
    unreadable: int | None
    patients: int | None


@dataclass(frozen=True, slots=True)
class Audit:
    """Counts and findings of one data folder or one annotation table."""

    counts: Counts
    findings: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain values: ``counts`` (flat) and ``findings`` (a list)."""
        return asdict(self)


def audit_index(index: Index) -> Audit:
    """Return counts and findings for a data folder."""
    table = _table_counts(index.table)
    train = index.train
    patients = {record.patient for record in train if record.patient is not None}
    counts = Counts(
        files_train=index.files_train,
        files_test=index.files_test,
        **table,
        labelled=len(train),
        labelled_positive=sum(bool(record.positive) for record in train),
        unlabelled=len(index.unlabelled),
        rows_without_file=len(index.rows_without_file),
        duplicates=len(index.duplicates),
        unreadable=len(index.unreadable),
        patients=len(patients) or None,
    )
    findings = [*_file_findings(index), *_label_findings(index), *_patient_findings(index)]
    return Audit(counts, tuple(finding for finding in findings if finding.count))


def audit_table(table: tables.Annotations) -> Audit:
    """Return counts and findings for an annotation table alone."""
    counts = Counts(
        files_train=None,
        files_test=None,
        **_table_counts(table),
        labelled=None,
        labelled_positive=None,
        unlabelled=None,
        rows_without_file=None,
        duplicates=None,
        unreadable=None,
        patients=None,
    )
    findings = [_several_rows(table), _bad_rows(table.problems), *_notes(table)]
    return Audit(counts, tuple(finding for finding in findings if finding.count))


def write_tables(index: Index, out: Path) -> tuple[Path, Path]:
    """Write the two cleaned tables, ``indices.parquet`` and ``masks.parquet``; return their paths.

    Raises:
        OutputError: A file could not be written.
    """
    indices, masks = out / "indices.parquet", out / "masks.parquet"
    write_index(index.records, indices)
    write_masks(index.records, masks)
    return indices, masks


def _table_counts(table: tables.Annotations | None) -> dict[str, int]:
    if table is None:
        names = ["rows", "images", "positive", "empty", "several_rows", "overlapping"]
        return dict.fromkeys(names, 0)
    return {
        "rows": table.rows,
        "images": table.images,
        "positive": table.positives,
        "empty": table.empty,
        "several_rows": table.with_several_rows,
        "overlapping": len(table.overlapping()),
    }


def _file_findings(index: Index) -> Iterable[Finding]:
    unreadable = [item.reason for item in index.unreadable]
    yield Finding(
        "unreadable",
        "error",
        len(unreadable),
        "files that cannot be read as a radiograph; they are left out",
        tuple(unreadable),
    )
    for reason, what in (
        ("same-uid", "files with the SOP Instance UID of another; one of each is used"),
        ("same-pixels", "files that show the same picture as another; one of each is used"),
    ):
        copies = [item for item in index.duplicates if item.reason == reason]
        yield Finding(
            f"duplicate-{reason.removeprefix('same-')}",
            "warning",
            len(copies),
            what,
            tuple(f"{item.path} (kept: {item.kept})" for item in copies),
        )
    contradictions = [item for item in index.duplicates if not item.agrees]
    yield Finding(
        "contradicting-duplicates",
        "error",
        len(contradictions),
        "copies that differ in pixels (same UID) or in their masks (same pixels); the one used "
        "may be the wrong one: look at both",
        tuple(f"{item.path} against {item.kept}" for item in contradictions),
    )
    yield Finding(
        "test-in-train",
        "error",
        len(index.test_in_train),
        "test images whose pixels are also among the training images; a score on them is not "
        "honest",
        index.test_in_train,
    )


def _label_findings(index: Index) -> Iterable[Finding]:
    if index.table is None:
        yield Finding(
            "no-annotations",
            "error",
            index.files_train,
            "training files but no annotation table; name it with --annotations",
        )
        return
    yield Finding(
        "unlabelled",
        "warning",
        len(index.unlabelled),
        "images without a usable annotation; they are kept apart and never used as negatives",
        tuple(record.image_id for record in index.unlabelled),
    )
    yield Finding(
        "rows-without-file",
        "warning",
        len(index.rows_without_file),
        "annotated images for which there is no file; their rows are not used",
        index.rows_without_file,
    )
    yield Finding(
        "annotated-test",
        "warning",
        len(index.annotated_test),
        "test images that the table describes; the table is not used for them",
        index.annotated_test,
    )
    yield _bad_rows(index.bad_annotations)
    yield _several_rows(index.table)
    yield from _notes(index.table)


def _patient_findings(index: Index) -> Iterable[Finding]:
    train = index.train
    unmapped = [record.image_id for record in train if record.patient is None]
    if len(unmapped) == len(train):
        yield Finding(
            "no-patients",
            "warning",
            len(train),
            "labelled images with no patient map; a patient's images may land on both sides of a "
            "split: name a map with --patients",
        )
    else:
        yield Finding(
            "unmapped-patients",
            "warning",
            len(unmapped),
            "labelled images missing from the patient map; each counts as a patient of its own",
            tuple(unmapped),
        )


def _several_rows(table: tables.Annotations) -> Finding:
    return Finding(
        "several-rows",
        "note",
        table.with_several_rows,
        f"images described by several rows ({len(table.overlapping())} with rows that overlap); "
        "their mask is the union of the rows",
    )


def _bad_rows(problems: Sequence[tables.RowProblem]) -> Finding:
    lines = (
        f"line {problem.line}, {problem.image_id}: {problem.reason}"
        if problem.line
        else f"{problem.image_id}: {problem.reason}"
        for problem in problems
    )
    return Finding(
        "bad-annotations",
        "error",
        len(problems),
        "annotations that cannot be used; their images stay unlabelled",
        tuple(lines),
    )


def _notes(table: tables.Annotations) -> Iterable[Finding]:
    for note, count in Counter(table.notes).items():
        yield Finding("table-note", "note", count, note)
