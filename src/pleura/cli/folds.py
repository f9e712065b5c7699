"""`pleura folds`: a split that keeps every patient on one side, as a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pleura.cli import console, options
from pleura.cli.stores import open_stores

if TYPE_CHECKING:
    from pleura.data.folds import FoldReport


_FAR = 0.02
"""From this distance of a fold's prevalence on, the reason is told."""


def folds(
    data: options.DataFolders = None,
    k: Annotated[int, typer.Option("--k", help="Number of folds.", min=2, max=100)] = 5,
    seed: Annotated[int, typer.Option(help="The same seed gives the same folds.", min=0)] = 0,
    out: Annotated[options.Out, typer.Option(help="The table to write.")] = Path("folds.csv"),
    annotations: options.AnnotationTable = None,
    images: options.Images = None,
    patients: options.Patients = None,
    masks: options.MaskOptions = options.MASKS,
    labels: options.LabelOptions = options.LABELS,
    workers: options.Workers = 0,
    on: options.On = "local",
    cpus: options.Cpus = 0,
    as_json: options.AsJson = False,
) -> int:
    """Split the labelled images into folds of like prevalence and areas, a patient in one each.

    Where patients are not known, near-duplicates stay together instead. With --annotations alone
    (no folder) the table is split by itself. `pleura prepare` and `pleura train` read the table
    with --fold-table. Exits with 3 where inputs failed, or if a patient or a cluster came apart,
    which must not happen. With --on a Ray cluster reads the files.
    """
    from dataclasses import asdict

    from pleura.data.folds import assign_folds, report_folds, write_fold_table
    from pleura.storage.atomic import require_writable
    from pleura.storage.lock import locked_file

    sources = options.SourceOptions(data, annotations, images, patients=patients)
    settings = sources.required(masks, labels, or_table=True)
    options.require_read(sources.name_radiographs, on)
    require_writable(out.parent)
    console.hold(locked_file(out, "folds"))
    settings = open_stores(settings)
    if not sources.name_radiographs:
        from pleura.data.image_masks import read_lone_table, records_of_table

        table = read_lone_table(settings)
        records = records_of_table(table, settings.patients)
        failures = [(problem.image_id, str(problem)) for problem in table.problems]
    else:
        from pleura.data.index import build_index
        from pleura.data.sources import find_sources

        with console.progress("reading") as told:
            index = build_index(
                find_sources(settings),
                workers=workers,
                cluster=options.cluster_of(on, cpus),
                on_progress=told,
            )
        records = index.train
        console.say(index.set_aside)
        failures = index.failures
        console.say_table_uses(index.tables, sources.audit_command)
    console.print_failures(failures)
    assigned = assign_folds(records, k, seed)
    write_fold_table(records, assigned, out)
    report = report_folds(records, assigned)
    if as_json:
        leaks = {"largest_deviation": report.largest_deviation}
        console.print_json({"table": str(out), "k": k, "seed": seed, **asdict(report), **leaks})
    else:
        _print(report)
        console.say(f"wrote {out}")
    leaking = report.split_patients or report.split_clusters
    return console.SOME_INPUTS_FAILED if leaking or failures else console.DONE


def _print(report: "FoldReport") -> None:
    columns = ("fold", "images", "positive", "prevalence", "patients or groups", "median area")
    rows = []
    for number, fold in enumerate(report.folds):
        area = "" if fold.median_area_px is None else f"{fold.median_area_px:,.0f} px"
        rows.append(
            (
                str(number),
                f"{fold.images:,}",
                f"{fold.positive:,}",
                f"{fold.prevalence:.2%}",
                f"{fold.groups:,}",
                area,
            )
        )
    console.print_grid(columns, rows)
    console.show(
        f"patients in more than one fold: {len(report.split_patients)}; clusters of "
        f"near-duplicates in more than one: {len(report.split_clusters)}; prevalence "
        f"{report.prevalence:.2%}, furthest fold {100 * report.largest_deviation:.2f} points away"
    )
    if report.largest_deviation > _FAR:
        images, positive = report.largest_group
        console.show(
            f"the largest patient or group has {images:,} images, {positive:,} with a "
            "pneumothorax, and stays in one fold"
        )
    if report.without_patient:
        console.show(
            f"{report.without_patient:,} images have no known patient: only studies and "
            "near-duplicates hold them together, so a patient may stand in two folds"
        )
