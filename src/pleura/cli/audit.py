"""`pleura audit`: what a data folder holds, what is wrong with it, and the cleaned tables."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pleura.cli import console, options

if TYPE_CHECKING:
    from pleura.config import Data
    from pleura.data.audit.findings import Audit, Comparison, Counts

_SHOWN = 3
_FAILED = {
    "not-dicom",
    "truncated",
    "unreadable",
    "absolute-form",
    "malformed-rows",
    "runs-outside",
    "zero-runs",
    "empty-beside-mask",
}
"""Findings of inputs that could not be taken: exit status 3, whatever --fail-on says."""

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
_PATIENTS_FROM = {
    "map": "patient map",
    "siim": "shipped map of SIIM-ACR",
    "header": "the files' own ids",
    "siim+header": "shipped map of SIIM-ACR and the files' own ids",
}


def audit(
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder with the radiographs and their table.", show_default=False),
    ] = None,
    annotations: options.AnnotationTable = None,
    images: options.Images = None,
    test_images: options.TestImages = None,
    patients: options.Patients = None,
    folds: options.FoldTable = None,
    rle: options.Rle = "relative",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for audit.html, findings.json, indices and masks.parquet."),
    ] = None,
    headers: Annotated[
        bool, typer.Option("--headers", help="Read headers alone: fast, and blind to pictures.")
    ] = False,
    compare: Annotated[
        Path | None, typer.Option(help="An older findings.json: say what changed since.")
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(help="Exit with 3 at this severity or worse: error, warning or note."),
    ] = None,
    workers: options.Workers = 0,
    as_json: options.AsJson = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of findings.json and stop.")
    ] = False,
) -> int:
    """Find everything that would hurt a model, say how pleura treats it, write the cleaned tables.

    With --annotations alone (no folder) the table is judged by itself, for images of 1024 x 1024.
    With --out an audit that was cut off goes on where it was.
    """
    from pleura.data.audit.report import findings_schema, read_findings
    from pleura.errors import UsageError

    if schema:
        console.print_json(findings_schema())
        return console.DONE
    if fail_on not in (None, "error", "warning", "note"):
        raise UsageError(f"--fail-on {fail_on}: the severities are error, warning and note")
    settings = options.data_settings(data, images, test_images, annotations, patients, rle, folds)
    old = read_findings(compare) if compare is not None else None

    def compared(new: "Audit") -> "Audit":
        if old is None:
            return new
        from dataclasses import replace

        from pleura.data.audit.compare import compare as changes

        return replace(new, changes=changes(old, new, str(compare)))

    if data is None and images is None and test_images is None:
        result = compared(_of_table(settings, out))
    else:
        result = _of_folder(settings, out, workers, compared, pixels=not headers)
    if as_json:
        console.print_json(result.as_json())
    else:
        _print(result, out)
        if result.changes is not None:
            _print_changes(result.changes)
    failed = any(finding.code in _FAILED for finding in result.findings)
    return console.SOME_INPUTS_FAILED if failed or _reaches(result, fail_on) else console.DONE


def _of_table(settings: "Data", out: Path | None) -> "Audit":
    from pleura.data.audit.report import audit_table
    from pleura.errors import UsageError

    if not settings.annotations:
        raise UsageError("name a data folder, or a table with --annotations")
    if out is not None:
        raise UsageError("--out writes tables of a data folder; name the folder")
    return audit_table(
        Path(settings.annotations),
        form=settings.rle,
        patients=Path(settings.patients) if settings.patients else None,
        folds=Path(settings.folds) if settings.folds else None,
    )


def _of_folder(
    settings: "Data",
    out: Path | None,
    workers: int,
    finished: Callable[["Audit"], "Audit"],
    *,
    pixels: bool,
) -> "Audit":
    from pleura.data.audit.report import audit_folder
    from pleura.data.sources import find_sources
    from pleura.formats.atomic import require_writable

    sources = find_sources(settings)
    if out is not None:
        require_writable(out)
    journal = None if out is None else out / ".audit.journal"
    with console.progress("reading") as told:
        result, index = audit_folder(
            sources,
            form=settings.rle,
            pixels=pixels,
            workers=workers,
            journal=journal,
            on_progress=told,
        )
    result = finished(result)
    if out is not None and journal is not None:
        from pleura.data.audit.pages import write_audit

        with console.progress("drawing", "pictures") as told:
            written = write_audit(result, index, out, workers=workers, on_progress=told)
        journal.unlink()
        console.say("wrote " + ", ".join(map(str, written)))
    return result


def _reaches(result: "Audit", fail_on: str | None) -> bool:
    from pleura.data.audit.findings import SEVERITIES

    ranks = {str(severity): rank for rank, severity in enumerate(SEVERITIES)}
    return (
        fail_on is not None and result.worst is not None and ranks[result.worst] >= ranks[fail_on]
    )


def _print(result: "Audit", out: Path | None) -> None:
    console.out.print(_sentence(result.counts, result.patients_from), markup=False)
    if not result.findings:
        console.out.print("Nothing found that would hurt.", markup=False)
        return
    lines: list[tuple[str, str, str]] = []
    for finding in result.findings:
        lines.append((finding.severity, finding.code, finding.sentence))
        if finding.severity == "error":
            for item in finding.items[:_SHOWN]:
                lines.append(("", "", f"{item.id}: {item.note}" if item.note else item.id))
    console.print_columns(lines, _STYLES)
    if out is not None:
        everything = f"{out / 'audit.html'}"
    elif result.counts.files_train is not None:
        everything = "--out DIR writes a page, --json all"
    else:
        everything = "--json"
    console.out.print(f"What pleura does about each, and every case: {everything}", markup=False)


def _sentence(counts: "Counts", patients_from: str) -> str:
    """Return the counts as one line that is read at a glance."""
    parts = []
    if counts.files_train is not None:
        parts.append(f"{counts.files_train:,} training and {counts.files_test or 0:,} test files")
    else:
        parts.append(f"{counts.rows:,} rows of {counts.images:,} images")
    images = counts.images if counts.labelled is None else counts.labelled
    positive = counts.positive if counts.labelled_positive is None else counts.labelled_positive
    share = f" ({positive / images:.1%})" if images else ""
    parts.append(f"{images:,} labelled, {positive:,} with a pneumothorax{share}")
    for count, what in (
        (counts.unlabelled, "unlabelled"),
        (counts.duplicates, "copies set aside"),
        (counts.unreadable, "unreadable"),
    ):
        if count:
            parts.append(f"{count:,} {what}")
    if counts.patients:
        source = _PATIENTS_FROM.get(patients_from)
        parts.append(f"{counts.patients:,} patients" + (f" ({source})" if source else ""))
    return "; ".join(parts)


def _print_changes(changes: "Comparison") -> None:
    if changes.same:
        console.out.print(f"\nNothing changed since {changes.since}.", markup=False)
        return
    console.out.print(f"\nSince {changes.since}:", markup=False)
    numbers = [(c.name, c.before, c.after) for c in changes.counts]
    numbers += [(f.name, f.before, f.after) for f in changes.findings]
    for name, *both in numbers:
        before, after = ("none" if n is None else f"{n:,}" for n in both)
        console.out.print(f"  {name.replace('_', ' ')}: {before} -> {after}", markup=False)
    for finding in changes.findings:
        for ids, what in ((finding.came, "now concerns"), (finding.went, "no longer concerns")):
            if ids:
                console.out.print(f"  {finding.name} {what} {_few(ids)}", markup=False)
    for what, ids in changes.images():
        images = "image" if len(ids) == 1 else "images"
        console.out.print(f"  {len(ids):,} {images} {what}: {_few(ids)}", markup=False)


def _few(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN:,} more" if len(ids) > _SHOWN else ""
    return ", ".join(ids[:_SHOWN]) + more
