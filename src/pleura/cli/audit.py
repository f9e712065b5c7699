"""`pleura audit`: what a data folder holds, what is wrong with it, and the cleaned tables."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pleura.cli import console, options

if TYPE_CHECKING:
    from pleura.data.audit import Audit

_SHOWN = 5


def audit(
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder with the radiographs and their table.", show_default=False),
    ] = None,
    annotations: options.AnnotationTable = None,
    images: options.Images = None,
    test_images: options.TestImages = None,
    patients: options.Patients = None,
    rle: options.Rle = "relative",
    out: Annotated[
        Path | None, typer.Option(help="Folder for indices.parquet, masks.parquet, audit.json.")
    ] = None,
    workers: options.Workers = 0,
    as_json: options.AsJson = False,
) -> int:
    """Count everything, find what would hurt, and write the two cleaned tables.

    With --annotations alone (no folder) the table is judged by itself, for images of 1024 x 1024.
    """
    from pleura.data.audit import audit_index, audit_table, write_tables
    from pleura.data.index import build_index
    from pleura.data.sources import find_sources
    from pleura.errors import UsageError
    from pleura.formats.annotations import read_annotations

    settings = options.data_settings(data, images, test_images, annotations, patients, rle)
    failures: list[tuple[str, str]] = []
    if data is None and images is None and test_images is None:
        if annotations is None:
            raise UsageError("name a data folder, or a table with --annotations")
        if out is not None:
            raise UsageError("--out writes tables of a data folder; name the folder")
        table = read_annotations(annotations, form=settings.rle, shape=(1024, 1024))
        failures = [(item.image_id, item.reason) for item in table.problems]
        result = audit_table(table)
    else:
        with console.progress("reading") as told:
            index = build_index(
                find_sources(settings), form=settings.rle, workers=workers, on_progress=told
            )
        result = audit_index(index)
        failures = [(item.path, item.reason) for item in index.unreadable]
        failures += [(item.image_id, item.reason) for item in index.bad_annotations]
        if out is not None:
            tables = write_tables(index, out)
            _write_json(result, out / "audit.json")
            console.say(f"wrote {tables[0]}, {tables[1]} and {out / 'audit.json'}")
    if as_json:
        console.print_json(result.as_json())
    else:
        _print(result)
    return console.SOME_INPUTS_FAILED if failures else console.DONE


def _print(result: "Audit") -> None:
    labels = {
        name: f"{value:,}" for name, value in asdict(result.counts).items() if value is not None
    }
    console.print_table("Counts", {name.replace("_", " "): n for name, n in labels.items()})
    for finding in result.findings:
        console.out.print(
            f"\n{finding.severity} {finding.code}: {finding.count:,} {finding.message}",
            markup=False,
        )
        for item in finding.items[:_SHOWN]:
            console.out.print(f"  {item}", markup=False)
        if len(finding.items) > _SHOWN:
            rest = len(finding.items) - _SHOWN
            console.out.print(f"  and {rest:,} more (--json lists all)", markup=False)


def _write_json(result: "Audit", path: Path) -> None:
    import json

    from pleura.formats.atomic import write_text

    write_text(path, json.dumps(result.as_json(), indent=2) + "\n")
