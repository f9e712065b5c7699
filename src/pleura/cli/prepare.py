"""`pleura prepare`: arrays that a network can read."""

from pathlib import Path
from typing import Annotated

import typer

from pleura.cli import console, options


def prepare(
    data: options.DataFolder,
    out: Annotated[Path, typer.Option(help="Folder for the arrays.", show_default=False)],
    size: Annotated[int, typer.Option(help="Side of the arrays in pixels, in steps of 32.")] = 512,
    annotations: options.AnnotationTable = None,
    images: options.Images = None,
    test_images: options.TestImages = None,
    patients: options.Patients = None,
    folds: options.FoldTable = None,
    rle: options.Rle = "relative",
    workers: options.Workers = 0,
) -> int:
    """Make X_train, Y_train and X_test as memory-mapped arrays, with index and manifest.

    A run that was cut off goes on where it was.
    """
    from pleura import config
    from pleura.data.arrays import write_prepared
    from pleura.data.index import build_index
    from pleura.data.sources import find_sources
    from pleura.errors import ConfigError, UsageError
    from pleura.formats.atomic import require_writable

    try:
        wanted = config.parse(config.Prepare, {"size": size, "workers": workers}, "prepare")
    except ConfigError as error:
        raise UsageError(str(error)) from error
    settings = options.data_settings(data, images, test_images, annotations, patients, rle, folds)
    require_writable(out)
    with console.progress("reading") as told:
        index = build_index(
            find_sources(settings), form=settings.rle, workers=wanted.workers, on_progress=told
        )
    with console.progress("preparing", "images") as told:
        prepared = write_prepared(
            index.train,
            index.test,
            out,
            size=wanted.size,
            workers=wanted.workers,
            on_progress=told,
        )
    console.say(
        f"{len(prepared.train)} training and {len(prepared.test)} test images at "
        f"{prepared.size} pixels; {index.set_aside}"
    )
    console.print_failures(index.failures)
    console.out.print(str(out), markup=False)
    return console.SOME_INPUTS_FAILED if index.failures else console.DONE
