"""`pleura prepare`: arrays that a network can read."""

from typing import Annotated

import typer

from pleura.cli import console, options
from pleura.cli.stores import open_stores


def prepare(
    out: Annotated[options.Out, typer.Option(help="Folder for the arrays.")],
    size: Annotated[int, typer.Option(help="Side of the arrays in pixels, in steps of 32.")] = 512,
    sources: options.SourceOptions = options.SOURCES,
    masks: options.MaskOptions = options.MASKS,
    labels: options.LabelOptions = options.LABELS,
    workers: options.Workers = 0,
    on: options.On = "local",
    cpus: options.Cpus = 0,
    as_json: options.AsJson = False,
) -> int:
    """Make X_train, Y_train and X_test as memory-mapped arrays, with index and manifest.

    With --labels, images without a mask are training images too: their label trains the score, a
    box says where no pneumothorax is, and what is not known of a mask trains nothing.

    What of a table is not used is said: rows that are refused, ids without a file, columns.

    A run that was cut off goes on where it was. With --on a Ray cluster reads the files, and the
    arrays are written here.
    """
    from pleura import config
    from pleura.data.arrays import write_prepared
    from pleura.data.index import build_index
    from pleura.data.seen import seen_pixels
    from pleura.data.sources import find_sources
    from pleura.errors import ConfigError, UsageError
    from pleura.storage.atomic import require_writable
    from pleura.storage.lock import locked_folder

    try:
        wanted = config.parse(config.Prepare, {"size": size, "workers": workers}, "prepare")
    except ConfigError as error:
        raise UsageError(str(error)) from error
    settings = sources.required(masks, labels)
    require_writable(out)
    console.hold(locked_folder(out, "prepare"))
    settings = open_stores(settings)
    seen = console.hold(seen_pixels(out, wanted.size))
    with console.progress("reading") as told:
        index = build_index(
            find_sources(settings),
            workers=wanted.workers,
            cluster=options.cluster_of(on, cpus),
            seen=seen,
            on_progress=told,
        )
    # Before anything is prepared: where nothing can be, they are why.
    console.print_failures(index.failures)
    console.say_table_uses(index.tables, sources.audit_command)
    with console.progress("preparing", "images") as told:
        prepared = write_prepared(
            index.train,
            index.test,
            out,
            size=wanted.size,
            workers=wanted.workers,
            seen=seen,
            on_progress=told,
        )
    annotated = int(prepared.annotated.sum())
    without = len(prepared.train) - annotated
    console.say(
        f"{len(prepared.train)} training"
        + (f" ({annotated} with a known mask, {without} with a label alone)" if without else "")
        + f" and {len(prepared.test)} test images at "
        f"{prepared.size} pixels; {index.set_aside}"
    )
    if as_json:
        console.print_json(
            {
                "prepared": str(out),
                "train": len(prepared.train),
                "annotated": annotated,
                "test": len(prepared.test),
                "size": prepared.size,
                "tables": [use.as_json() for use in index.tables],
                "failures": index.failures,
            }
        )
    else:
        console.show(str(out))
    return console.SOME_INPUTS_FAILED if index.failures else console.DONE
