"""`pleura gallery`: a sheet of radiographs, with and without a pneumothorax."""

from pathlib import Path
from typing import Annotated

import typer

from pleura.cli import console, options


def gallery(
    data: options.DataFolder,
    out: Annotated[Path, typer.Option(help="The picture to write (.png).")] = Path("gallery.png"),
    healthy: Annotated[int, typer.Option(help="Radiographs without a pneumothorax.", min=0)] = 8,
    positive: Annotated[int, typer.Option(help="Radiographs with one.", min=0)] = 8,
    tile: Annotated[int, typer.Option(help="Side of each in pixels.", min=64, max=2048)] = 384,
    images: options.Images = None,
    annotations: options.AnnotationTable = None,
    rle: options.Rle = "relative",
    seed: Annotated[int, typer.Option(help="Another seed chooses others.", min=0)] = 0,
    workers: options.Workers = 0,
) -> int:
    """Draw healthy radiographs and, below, some with the annotated area laid over.

    These are spread from the smallest area to the largest. Test images are not read.
    """
    from dataclasses import replace

    from pleura.data.gallery import gallery as draw
    from pleura.data.gallery import write_png
    from pleura.data.index import build_index
    from pleura.data.sources import find_sources
    from pleura.errors import UsageError
    from pleura.formats.atomic import require_writable

    if out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: the picture is a PNG; give it a name that ends with .png")
    if healthy + positive == 0:
        raise UsageError("--healthy 0 --positive 0: nothing is left to draw")
    settings = options.data_settings(data, images, None, annotations, None, rle)
    require_writable(out.parent)
    sources = replace(find_sources(settings), test=(), patients=None)
    with console.progress("reading") as told:
        index = build_index(sources, form=settings.rle, workers=workers, on_progress=told)
    picture = draw(index.train, healthy=healthy, positive=positive, tile=tile, seed=seed)
    _say_what_lacks("without a pneumothorax", healthy, sum(not r.positive for r in index.train))
    _say_what_lacks("with a pneumothorax", positive, sum(bool(r.positive) for r in index.train))
    write_png(out, picture)
    console.out.print(str(out), markup=False)
    console.print_failures([(item.path, item.reason) for item in index.unreadable])
    return console.SOME_INPUTS_FAILED if index.unreadable else console.DONE


def _say_what_lacks(kind: str, wanted: int, found: int) -> None:
    if found < wanted:
        console.say(f"{wanted} radiographs {kind} were asked for; the folder has {found or 'none'}")
