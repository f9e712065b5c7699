"""`pleura convert`: masks from one form to another."""

from typing import Annotated

import typer

from pleura.choices import MaskTarget
from pleura.cli import console, options
from pleura.cli.stores import open_paths


def convert(
    source: Annotated[
        options.Anywhere,
        typer.Argument(
            metavar="FROM",
            help="The masks: a table of run lengths, a COCO file, a folder of masks (PNG, TIFF, "
            "NIfTI, DICOM SEG), or the folder or table of a prediction.",
        ),
    ],
    to: Annotated[
        MaskTarget, typer.Option(help="The form to write; seg is DICOM SEG, and wants --images.")
    ],
    out: Annotated[
        options.Out,
        typer.Option(help="The .csv or .json to write; for png, tiff, nifti and seg the folder."),
    ],
    images: Annotated[
        options.AnywhereOrNone,
        typer.Option(help="Folder of the radiographs: their sizes, and their ids or names."),
    ] = None,
    image_size: options.ImageSize = "",
    masks: options.MaskOptions = options.MASKS,
    polygons: Annotated[
        bool,
        typer.Option("--polygons", help="Write COCO as polygons; packed run lengths lose nothing."),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Write nothing, and exit with 1, if anything would be lost."),
    ] = False,
    workers: options.Workers = 0,
    as_json: options.AsJson = False,
) -> int:
    """Write masks in another form, and say what that form cannot hold.

    siim and absolute are tables of run lengths, of SIIM-ACR and of Kaggle. Nothing that is there
    already is overwritten. Exits with 3 where images were left out.
    """
    from pleura.errors import UsageError
    from pleura.stages.convert import Conversion, ConversionLoss
    from pleura.stages.convert import convert as written
    from pleura.storage.lock import locked_file

    if images is not None and image_size:
        raise UsageError("--images says how large each image is; leave --image-size out")
    if polygons and to != "coco":
        raise UsageError(f"--polygons is of COCO, but --to is {to}; leave it out")
    images, found = open_paths(images, source)
    source = found or source
    how = Conversion(
        to=to,
        reading=masks.reading(),
        images=images,
        match=masks.match or "",
        size=options.image_size(image_size),
        polygons=polygons,
        strict=strict,
    )

    def tell(loss: ConversionLoss) -> None:
        console.say(f"lost: {loss.says}")

    console.hold(locked_file(out, "convert"))
    with console.progress("writing", "masks") as told:
        done = written(source, out, how, workers=workers, on_loss=tell, on_progress=told)
    console.print_failures(done.failures)
    console.say(f"{done.images} images, {done.positive} with a mask; wrote {out}")
    if done.paths_as_ids:
        console.say("its ids are names of files: read it with --image-column ImageId")
    if as_json:
        console.print_json(
            {
                "converted": str(out),
                "to": to,
                "images": done.images,
                "positive": done.positive,
                "lost": [loss._asdict() for loss in done.losses],
                "failures": done.failures,
            }
        )
    else:
        console.show(str(out))
    return console.SOME_INPUTS_FAILED if done.failures else console.DONE
