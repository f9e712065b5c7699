"""`pleura gallery`: a sheet of radiographs, with and without a pneumothorax."""

from pathlib import Path
from typing import Annotated

import typer

from pleura.cli import console, options
from pleura.cli.stores import open_stores


def gallery(
    data: options.DataFolders = None,
    out: Annotated[options.Out, typer.Option(help="The picture to write (.png).")] = Path(
        "gallery.png"
    ),
    negative: Annotated[int, typer.Option(help="Radiographs without a pneumothorax.", min=0)] = 8,
    positive: Annotated[int, typer.Option(help="Radiographs with one.", min=0)] = 8,
    tile: Annotated[int, typer.Option(help="Side of each in pixels.", min=64, max=2048)] = 384,
    images: options.Images = None,
    annotations: options.AnnotationTable = None,
    masks: options.MaskOptions = options.MASKS,
    seed: Annotated[int, typer.Option(help="Another seed chooses others.", min=0)] = 0,
    workers: options.Workers = 0,
    on: options.On = "local",
    cpus: options.Cpus = 0,
    as_json: options.AsJson = False,
) -> int:
    """Draw radiographs without a pneumothorax and, below, some with the annotated area laid over.

    These are spread from the smallest area to the largest. Where there are no annotations, such as
    for one file, radiographs are drawn as they are. Test images are not read. With --on a Ray
    cluster reads the others, and those that are drawn are read here once more.
    """
    from dataclasses import replace

    from pleura.data.index import build_index
    from pleura.data.sources import find_sources
    from pleura.errors import UsageError
    from pleura.rendering.overlay import write_png
    from pleura.stages.gallery import gallery as draw
    from pleura.storage.atomic import require_writable
    from pleura.storage.lock import locked_file

    if out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: the picture is a PNG; give it a name that ends with .png")
    if negative + positive == 0:
        raise UsageError("--negative 0 --positive 0: nothing is left to draw")
    named = options.SourceOptions(data, annotations, images)
    settings = named.required(masks)
    require_writable(out.parent)
    console.hold(locked_file(out, "gallery"))
    settings = open_stores(settings)
    sources = replace(find_sources(settings), test=(), patients=())
    with console.progress("reading") as told:
        cluster = options.cluster_of(on, cpus)
        index = build_index(sources, workers=workers, cluster=cluster, on_progress=told)
    # Before anything is drawn: where nothing can be, they are why.
    console.print_failures(index.failures)
    console.say_table_uses(index.tables, named.audit_command)
    records = index.train or (() if sources.annotations else index.unlabelled)
    picture = draw(records, negative=negative, positive=positive, tile=tile, seed=seed)
    positives = sum(bool(r.positive) for r in index.train)
    negatives = len(index.train) - positives
    if index.train:
        _say_what_lacks("without a pneumothorax", negative, negatives)
        _say_what_lacks("with a pneumothorax", positive, positives)
    else:
        console.say("no masks were found, so the radiographs are drawn without; --annotations FILE")
    write_png(out, picture)
    if as_json:
        console.print_json(
            {
                "gallery": str(out),
                "negative": min(negative, negatives),
                "positive": min(positive, positives),
                "failures": index.failures,
            }
        )
    else:
        console.show(str(out))
    return console.SOME_INPUTS_FAILED if index.failures else console.DONE


def _say_what_lacks(kind: str, wanted: int, found: int) -> None:
    if found < wanted:
        console.say(f"{wanted} radiographs {kind} were asked for; the folder has {found or 'none'}")
