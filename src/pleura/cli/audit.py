"""`pleura audit`: what a data folder holds, what is wrong with it, and the cleaned tables."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pleura.cli import console, options
from pleura.cli.stores import open_paths, open_stores
from pleura.printable import few

if TYPE_CHECKING:
    from pleura.audit.findings import Audit, AuditComparison, AuditCounts
    from pleura.cluster.shards import Cluster
    from pleura.config import Data

_SHOWN = 3
_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
_PATIENTS_FROM = {
    "map": "patient map",
    "siim": "shipped map of SIIM-ACR, names of NIH's radiographs",
    "labels": "table of labels",
    "header": "the files' own ids",
}


def audit(
    sources: options.SourceOptions = options.SOURCES,
    masks: options.MaskOptions = options.MASKS,
    labels: options.LabelOptions = options.LABELS,
    out: Annotated[
        options.OutOrNone,
        typer.Option(help="Folder for audit.html, findings.json, indices and masks.parquet."),
    ] = None,
    headers: Annotated[
        bool,
        typer.Option(
            "--headers", help="Read only headers: fast, but finds nothing about pictures."
        ),
    ] = False,
    compare: Annotated[
        options.AnywhereOrNone, typer.Option(help="An older findings.json: say what changed since.")
    ] = None,
    fail_on: Annotated[
        Literal["error", "warning", "note"] | None,
        typer.Option(help="Exit with 3 at this severity or worse."),
    ] = None,
    workers: options.Workers = 0,
    on: options.On = "local",
    cpus: options.Cpus = 0,
    as_json: options.AsJson = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of findings.json and stop.")
    ] = False,
) -> int:
    """Find everything that would hurt a model, say how pleura treats it, write the cleaned tables.

    With --annotations alone (no folder) the table is judged by itself, for images of 1024 x 1024.
    With --out an audit that was cut off goes on where it was. A folder that pleura prepare wrote is
    compared with its digests, to the last image.
    """
    from pleura.audit.annotations import NOT_TAKEN
    from pleura.audit.report import audit_table, findings_schema, read_findings
    from pleura.errors import UsageError

    if schema:
        console.print_json(findings_schema())
        return console.DONE
    if sources.data is not None and len(sources.data) == 1:
        folder = Path(sources.data[0])
        if (folder / "manifest.json").is_file():
            options.require_read(False, on)
            return _of_prepared(folder, out, as_json)
    settings = sources.required(masks, labels, or_table=True)
    options.require_read(sources.name_radiographs, on)
    (compare,) = open_paths(None, compare)[1:]
    old = read_findings(compare) if compare is not None else None
    settings = open_stores(settings)

    def compared(new: "Audit") -> "Audit":
        if old is None:
            return new
        from dataclasses import replace

        from pleura.audit.compare import compare as changes

        return replace(new, changes=changes(old, new, str(compare)))

    if not sources.name_radiographs:
        if out is not None:
            raise UsageError("--out writes tables of a data folder; name the folder")
        result = compared(audit_table(settings))
    else:
        result = _of_folder(
            settings,
            out,
            workers,
            compared,
            pixels=not headers,
            cluster=options.cluster_of(on, cpus),
        )
    if as_json:
        console.print_json(result.as_json())
    else:
        _print(result, out)
        if result.changes is not None:
            _print_changes(result.changes)
    # Inputs that could not be taken: exit status 3, whatever --fail-on says.
    failed = any(finding.code in NOT_TAKEN for finding in result.findings)
    return console.SOME_INPUTS_FAILED if failed or _reaches(result, fail_on) else console.DONE


def _of_prepared(folder: Path, out: Path | None, as_json: bool) -> int:
    from pleura.data.arrays import open_prepared
    from pleura.errors import UsageError

    if out is not None:
        raise UsageError(f"--out writes pages of a data folder; {folder} is a prepared one")
    prepared = open_prepared(folder)
    prepared.check()
    counts = {"train": len(prepared.train), "test": len(prepared.test), "size": prepared.size}
    if as_json:
        console.print_json({"prepared": str(folder), **counts, "unchanged": True})
        return console.DONE
    console.show(
        f"{counts['train']:,} training and {counts['test']:,} test images at {counts['size']} "
        "pixels; nothing changed since they were prepared"
    )
    return console.DONE


def _of_folder(
    settings: "Data",
    out: Path | None,
    workers: int,
    finished: Callable[["Audit"], "Audit"],
    *,
    pixels: bool,
    cluster: "Cluster | None",
) -> "Audit":
    from pleura.audit.report import audit_folder
    from pleura.data.sources import find_sources
    from pleura.storage.atomic import require_writable
    from pleura.storage.lock import locked_folder

    sources = find_sources(settings)
    if out is not None:
        require_writable(out)
        console.hold(locked_folder(out, "audit"))
    journal = None if out is None else out / ".audit.journal"
    with console.progress("reading") as told:
        result, index = audit_folder(
            sources,
            pixels=pixels,
            workers=workers,
            journal=journal,
            cluster=cluster,
            on_progress=told,
        )
    result = finished(result)
    if out is not None and journal is not None:
        from pleura.audit.pages import write_audit

        with console.progress("drawing", "pictures") as told:
            written = write_audit(result, index, out, workers=workers, on_progress=told)
        journal.unlink()
        console.say("wrote " + ", ".join(map(str, written)))
    return result


def _reaches(result: "Audit", fail_on: str | None) -> bool:
    from pleura.audit.catalogue import SEVERITIES

    ranks = {str(severity): rank for rank, severity in enumerate(SEVERITIES)}
    return (
        fail_on is not None and result.worst is not None and ranks[result.worst] >= ranks[fail_on]
    )


def _print(result: "Audit", out: Path | None) -> None:
    console.show(_sentence(result.counts, result.patients_from))
    if not result.findings:
        console.show("Nothing found that would hurt.")
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
    console.show(f"What pleura does about each, and every case: {everything}")


def _sentence(counts: "AuditCounts", patients_from: str) -> str:
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
        source = " and ".join(_PATIENTS_FROM[part] for part in patients_from.split("+") if part)
        parts.append(f"{counts.patients:,} patients" + (f" ({source})" if source else ""))
    return "; ".join(parts)


def _print_changes(changes: "AuditComparison") -> None:
    if changes.same:
        console.show()
        console.show(f"Nothing changed since {changes.since}.")
        return
    console.show()
    console.show(f"Since {changes.since}:")
    numbers = [(c.name, c.before, c.after) for c in changes.counts]
    numbers += [(f.name, f.before, f.after) for f in changes.findings]
    for name, *both in numbers:
        before, after = ("none" if n is None else f"{n:,}" for n in both)
        console.show(f"  {name.replace('_', ' ')}: {before} -> {after}")
    for finding in changes.findings:
        for ids, what in ((finding.came, "now concerns"), (finding.went, "no longer concerns")):
            if ids:
                console.show(f"  {finding.name} {what} {few(ids, _SHOWN)}")
    for what, ids in changes.images():
        images = "image" if len(ids) == 1 else "images"
        console.show(f"  {len(ids):,} {images} {what}: {few(ids, _SHOWN)}")
