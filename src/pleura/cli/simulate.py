"""`pleura simulate`: simulated pneumothorax in real radiographs that show none, to train with."""

from typing import Annotated

import typer

from pleura.cli import console, options
from pleura.cli.stores import open_paths


def simulate(
    radiographs: Annotated[
        options.Anywhere,
        typer.Argument(help="A folder of DICOM, JPEG or PNG radiographs, or its address (s3://)."),
    ],
    out: Annotated[options.Out, typer.Option(help="A new or empty folder.")],
    count: Annotated[int, typer.Option(help="Radiographs to write.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.", min=0)] = 0,
    size: Annotated[int, typer.Option(help="Side in pixels.", min=256, max=2048)] = 512,
    prevalence: Annotated[
        float, typer.Option(help="Share with a pneumothorax.", min=0.0, max=1.0)
    ] = 0.5,
    labels: Annotated[
        options.AnywhereOrNone,
        typer.Option(
            help="A table that says which show a pneumothorax: ImageId and EncodedPixels, or "
            "image and pneumothorax. Without it, none does."
        ),
    ] = None,
    exclude: Annotated[
        options.AnywhereOrNone,
        typer.Option(
            help="A folder of radiographs to judge on later: none of their patients' is drawn on."
        ),
    ] = None,
    originals: Annotated[
        bool,
        typer.Option(
            "--originals", help="Write each radiograph without a pneumothorax as it is, too."
        ),
    ] = False,
    workers: options.Workers = 0,
    on: options.On = "local",
    cpus: options.Cpus = 0,
    as_json: options.AsJson = False,
) -> None:
    """Draw pneumothoraces with exact masks on real radiographs that show none.

    The folder has the layout of the SIIM-ACR set: dicom-images-train and train-rle.csv, with
    patients.csv to keep radiographs of one patient together, and simulate.csv with what was drawn.
    Radiographs of which the lungs are not found with confidence are refused. For training and study
    alone. With --on a Ray cluster reads and draws, into a folder that all its machines see. What
    was cut off goes on with the same command.
    """
    from pleura.synthesis.simulate import write_simulated

    cluster = options.cluster_of(on, cpus)
    found, labels, exclude = open_paths(radiographs, labels, exclude)
    radiographs = found or radiographs
    with console.progress("simulating", "radiographs") as on_progress:
        cohort = write_simulated(
            radiographs,
            out,
            count=count,
            seed=seed,
            size=size,
            prevalence=prevalence,
            labels=labels,
            exclude=exclude,
            originals=originals,
            workers=workers,
            cluster=cluster,
            on_progress=on_progress,
        )
    sources = cohort.sources
    if as_json:
        console.print_json(
            {
                "cohort": str(out),
                "kinds": dict(cohort.kinds),
                "usable": len(sources.radiographs),
                "refused": len(sources.refused),
                "positive": sources.positive,
                "unlabelled": sources.unlabelled,
                "excluded": sources.excluded,
            }
        )
        return
    console.print_table(
        f"simulated radiographs in {out}",
        {
            "with a pneumothorax": cohort.kinds.get("pneumothorax", 0),
            "edited without one": cohort.kinds.get("edited", 0),
            "not edited": cohort.kinds.get("untouched", 0),
            **({"as they are": cohort.kinds.get("original", 0)} if originals else {}),
            "radiographs drawn on": (
                f"{len(sources.radiographs)} usable, {len(sources.refused)} refused, "
                f"{sources.positive} with a pneumothorax, {sources.unlabelled} without a label"
                + (f", {sources.excluded} of excluded patients" if exclude is not None else "")
            ),
        },
    )
